"""Prompt tuning: only embeddings of the prompt learn.

Image encoder, fusion, text encoder and head are frozen.
"""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import ClassVar, Literal, cast, get_args

import torch
from torch import Tensor, nn
from typing_extensions import override

from glip_lightning.common.errors import GLIPError
from glip_lightning.models.detector import Detector
from glip_lightning.models.query import encode_query, same_names
from glip_lightning.models.rates import Rates
from glip_lightning.models.text_features import TextFeatures
from glip_lightning.ops.dense_outputs import MAX_TOKENS
from glip_lightning.text.captions import Prompt
from glip_lightning.text.phrases import Phrase
from glip_lightning.text.tokenizer import PLACEHOLDERS, Tokenizer
from glip_lightning.tuning.base import ParameterGroup, Tuning, need_text_encoder
from glip_lightning.weights.base_model import Base, absolute, weights_hash
from glip_lightning.weights.load import Loaded, Task
from glip_lightning.weights.prompt_file import (
    TunedPrompt,
    check_prompt,
    load_prompt,
    save_prompt,
)
from glip_lightning.weights.run_files import PROMPT_NAME

Form = Literal["offset", "features", "context"]


class TextTuning(Tuning):
    """A tuning of the text features alone; its runs keep the features of their classes.

    They are a small file that holds the whole task.
    """

    learns_text = True
    _base_sha256 = ""

    @override
    def remember_base(self, model: Detector) -> None:
        self._base_sha256 = weights_hash(model, text=False)

    @override
    def save(self, folder: Path, trained: Loaded, task: Task) -> None:
        base = Base(absolute(trained.name), self._base_sha256, task.input_size)
        if trained.weights == "random":
            super().save(folder, trained, task)
            sha256 = weights_hash(trained.model, text=False)
            base = Base(absolute(str(folder)), sha256, task.input_size)
        encode_text = partial(self.encode_text, trained.model)
        phrases = self.phrases(task.phrases)
        query = encode_query(trained.model, trained.tokenizer, phrases, encode_text, task.names)
        save_prompt(folder / PROMPT_NAME, TunedPrompt(query, self.described(), base))

    @override
    def saved_bytes(self, model: Detector, random: bool) -> dict[str, int]:
        return super().saved_bytes(model, random) if random else {}


class PromptTuning(TextTuning):
    """A learned prompt for one task.

    * ``offset``: a vector per token is added to the text encoder's output, before the first fusion
      layer; zero in the beginning (official modes "language_prompt_v2" and v4;
      modeling/rpn/vldyhead.py:888-917).
    * ``features``: the text encoder's output itself is optimised. It starts as the caption's, and
      the text encoder is not needed any more.
    * ``context``: words without a meaning of their own stand before every class, the same for all.
      Their embeddings are learned through the frozen text encoder (as CoOp, arXiv 2109.01134, with
      one context for all classes).

    The first two begin as the untuned detector, bit for bit. They belong to one caption, so a class
    list that needs several captions takes ``context``.
    """

    own_rates: ClassVar = {"lr": "prompt"}

    def __init__(
        self,
        form: Form = "offset",
        lr: float | None = None,
        weight_decay: float | None = None,
        context: int = 4,
    ) -> None:
        """Make the tuning.

        Args:
            form: what is learned.
            lr: learning rate of AdamW. null is the detector's own: GLIP 0.05, nano 0.3.
            weight_decay: pulls towards zero, which is the untuned prompt for ``offset`` alone.
                null is the detector's own for ``offset`` (GLIP 0.25, nano 0), else 0.
            context: number of learned words before each class, for ``context``.
        """
        super().__init__()
        if form not in get_args(Form):
            raise GLIPError(
                f"form={form!r}: expected {', '.join(get_args(Form))}", code="bad-value"
            )
        if not 1 <= context <= len(PLACEHOLDERS):
            raise GLIPError(
                f"context={context}: expected 1 to {len(PLACEHOLDERS)} words", code="bad-value"
            )
        if weight_decay is None and form != "offset":
            weight_decay = 0.0
        self.form: Form = form
        # None until use_rates
        self.lr, self.weight_decay = cast(float, lr), cast(float, weight_decay)
        self.context = context
        self.learned: _Offset | _Features | _Context | None = None

    @override
    def extra_repr(self) -> str:
        rate = "own" if self.lr is None else f"{self.lr:g}"
        decay = "own" if self.weight_decay is None else f"{self.weight_decay:g}"
        return f"form={self.form}, lr={rate}, weight_decay={decay}"

    @override
    def use_rates(self, own: Rates) -> dict[str, float]:
        rates = super().use_rates(own)
        if self.weight_decay is None:
            self.weight_decay = own.prompt_decay
        return rates

    @override
    def phrases(self, phrases: Sequence[Phrase]) -> list[Phrase]:
        """Return the classes, each after placeholders of the learned words."""
        if self.form != "context":
            return list(phrases)
        words = " ".join(PLACEHOLDERS[: self.context])
        return [phrase._replace(prefix=f"{words} {phrase.prefix.lstrip()}") for phrase in phrases]

    @override
    def check_model(self, model: Detector) -> None:
        need_text_encoder(model, self)

    @override
    def setup(
        self, model: Detector, prompt: Prompt | None, tokenizer: Tokenizer
    ) -> list[ParameterGroup]:
        need_text_encoder(model, self)
        self.use_rates(model.defaults.rates)
        model.requires_grad_(False)
        self.learned = self._begin(model, prompt, tokenizer)
        learned = list(self.learned.parameters())
        group = ParameterGroup(
            name="prompt", params=learned, lr=self.lr, weight_decay=self.weight_decay
        )
        return [group]

    def _begin(
        self, model: Detector, prompt: Prompt | None, tokenizer: Tokenizer
    ) -> "_Offset | _Features | _Context":
        """Return what is learned, as it is in the beginning."""
        if self.form == "context":
            return _Context(model, tokenizer, self.context)
        if prompt is None:
            raise GLIPError(
                f"PromptTuning(form={self.form!r}) learns the tokens of one caption, but these "
                "classes need several; use form: context, or train on fewer classes",
                code="several-captions",
            )
        if self.form == "offset":
            return _Offset(model)
        ids, mask = tokenizer.encode([prompt.caption])
        return _Features(model, ids, mask)

    @override
    def encode_text(
        self, model: Detector, input_ids: Tensor, attention_mask: Tensor
    ) -> TextFeatures:
        if self.learned is None:
            raise RuntimeError("a prompt is learned for a detector: call setup first")
        if isinstance(self.learned, _Offset):
            return self.learned(super().encode_text(model, input_ids, attention_mask))
        return self.learned(model, input_ids, attention_mask)


class _Offset(nn.Module):
    """One vector per position of the caption, [CLS] and [SEP] included."""

    def __init__(self, model: Detector) -> None:
        super().__init__()
        # the official table has 1000 rows, of which those above the longest caption never learn
        self.offset = nn.Parameter(torch.zeros(MAX_TOKENS, model.prompt_width))

    @override
    def forward(self, text: TextFeatures) -> TextFeatures:
        return TextFeatures(text.hidden + self.offset[: text.hidden.shape[1]], text.mask)


class _Features(nn.Module):
    """Features of the caption's tokens [T, D]."""

    caption: Tensor

    def __init__(self, model: Detector, input_ids: Tensor, mask: Tensor) -> None:
        super().__init__()
        encoder = model.modules_of("text")
        training = [module.training for module in encoder]
        for module in encoder:
            module.eval()
        with torch.no_grad():
            text = model.encode_text(input_ids.to(model.device), mask.to(model.device))
        for module, mode in zip(encoder, training, strict=True):
            module.train(mode)
        self.features = nn.Parameter(text.hidden[0].clone())
        self.register_buffer("caption", input_ids[0].to(model.device), persistent=False)

    @override
    def forward(self, model: Detector, input_ids: Tensor, attention_mask: Tensor) -> TextFeatures:
        if input_ids.shape[1:] != self.caption.shape or (input_ids != self.caption).any():
            message = "the learned features belong to the caption that they were made for, not to "
            message += "another one"
            raise GLIPError(message, code="other-classes")
        rows = len(input_ids)
        return TextFeatures(self.features.expand(rows, -1, -1), attention_mask.to(torch.bool))


class _Context(nn.Module):
    """Embeddings of the learned words [n, D], in the place of their placeholders' own."""

    words: Tensor

    def __init__(self, model: Detector, tokenizer: Tokenizer, context: int) -> None:
        super().__init__()
        embedding = model.word_embeddings.get_parameter("weight")
        # as large as the words that the encoder knows
        self.embeddings = nn.Parameter(
            torch.randn(context, embedding.shape[1]) * embedding.detach().std().cpu()
        )
        ids, _ = tokenizer.encode([" ".join(PLACEHOLDERS[:context])])
        words = ids[0, 1:-1]
        if len(words) != context:
            message = (
                f"the vocabulary of this detector lacks some of {', '.join(PLACEHOLDERS[:context])}"
            )
            raise GLIPError(message, code="no-placeholders")
        self.register_buffer("words", words, persistent=False)

    @override
    def forward(self, model: Detector, input_ids: Tensor, attention_mask: Tensor) -> TextFeatures:
        known = model.word_embeddings(input_ids)  # [U, T, E]
        is_word = input_ids[..., None] == self.words  # [U, T, n]
        learned = is_word.to(self.embeddings.dtype) @ self.embeddings
        embeddings = torch.where(is_word.any(-1, keepdim=True), learned, known)
        return model.encode_text(input_ids, attention_mask, embeddings)


class SavedPrompt(TextTuning):
    """A tuned prompt, used as it is: for ``glip test`` and ``glip validate``."""

    def __init__(self, file: str) -> None:
        """Read ``file``, the ``prompt.safetensors`` of a run with PromptTuning."""
        super().__init__()
        self.file, self.prompt = file, load_prompt(file)
        self._captions: list[Tensor] = []

    @override
    def phrases(self, phrases: Sequence[Phrase]) -> list[Phrase]:
        saved = self.prompt.query.phrases
        if not same_names(phrases, saved):
            raise GLIPError(
                f"{self.file}: tuned for {', '.join(p.name for p in saved)}, but the data have "
                f"{', '.join(p.name for p in phrases)}; the classes must be the same, in the same "
                "order",
                code="other-classes",
            )
        return list(saved)

    @override
    def setup(
        self, model: Detector, prompt: Prompt | None, tokenizer: Tokenizer
    ) -> list[ParameterGroup]:
        model.requires_grad_(False)
        check_prompt(self.file, self.prompt, model, "the detector of this run")
        self._captions = [tokenizer.encode([part.caption])[0] for part in self.prompt.query.prompts]
        return []

    @override
    def encode_text(
        self, model: Detector, input_ids: Tensor, attention_mask: Tensor
    ) -> TextFeatures:
        for caption, text in zip(self._captions, self.prompt.query.texts, strict=True):
            if torch.equal(caption, input_ids.cpu()):
                return text.to(input_ids.device)
        message = f"{self.file}: the tuned prompt belongs to other captions than those of the data"
        raise GLIPError(message, code="other-classes")
