"""Samples to a batch: captions to tokens, and the tokens that name each box.

Detection samples, whose caption is made of class names, and grounding samples, which bring their own, give
the same batch and may stand in one.
"""

from collections.abc import Sequence
from random import Random
from typing import NamedTuple, cast

import torch
from torch import Tensor

from glip_lightning.data.grounding import GroundingSample
from glip_lightning.data.sampler import KeyedSample, random_stream
from glip_lightning.data.types import Batch
from glip_lightning.ops.dense_outputs import MAX_TOKENS
from glip_lightning.text.captions import Prompt, build_prompt, build_prompts, sample_phrases
from glip_lightning.text.phrases import Phrase
from glip_lightning.text.token_spans import positive_map, token_indices
from glip_lightning.text.tokenizer import Tokenizer


class _Text(NamedTuple):
    """What a sample reads."""

    caption: str
    kept: Tensor  # bool [G]: boxes that stay
    tokens: list[tuple[int, ...]]  # of each box that stays


class Collate:
    """Collate function: ``phrases[k]`` is how class k stands in the caption; none for grounding data alone.

    A class list that fits into one caption gives all images that caption, in that order (the official
    DISABLE_SHUFFLE). A longer one gives each image a caption of its own: the classes of its boxes and random
    others, drawn from (seed, epoch, index). Should the classes of its boxes alone be too many, some are left
    out of that caption and, as official, so are their boxes.
    """

    def __init__(self, tokenizer: Tokenizer, phrases: Sequence[Phrase], seed: int = 0) -> None:
        self.tokenizer, self.phrases, self.seed = tokenizer, tuple(phrases), seed
        prompts = build_prompts(self.phrases, tokenizer) if self.phrases else []
        self._common = prompts[0] if len(prompts) == 1 else None

    def __call__(self, samples: Sequence[KeyedSample | GroundingSample]) -> Batch:
        texts = [self._text(sample) for sample in samples]
        captions = list(dict.fromkeys(text.caption for text in texts))
        input_ids, mask = self.tokenizer.encode(captions)
        return Batch(
            images=[sample["image"] for sample in samples],
            input_ids=input_ids,
            attention_mask=mask,
            caption_index=torch.tensor([captions.index(text.caption) for text in texts]),
            boxes=[sample["boxes"][text.kept] for sample, text in zip(samples, texts, strict=True)],
            labels=[
                sample["labels"][text.kept] for sample, text in zip(samples, texts, strict=True)
            ],
            positive_maps=[positive_map(text.tokens, input_ids.shape[1]) for text in texts],
            image_ids=[sample["image_id"] for sample in samples],
            original_sizes=[sample["original_size"] for sample in samples],
            names=[sample["name"] for sample in samples],
        )

    def _text(self, sample: KeyedSample | GroundingSample) -> _Text:
        if "caption" in sample:
            return self._sentence(cast(GroundingSample, sample))
        prompt = self._common or self._sampled(sample)
        kept = torch.isin(sample["labels"], torch.tensor(prompt.classes))
        tokens = dict(zip(prompt.classes, prompt.tokens, strict=True))
        return _Text(
            prompt.caption, kept, [tokens[label] for label in sample["labels"][kept].tolist()]
        )

    def _sentence(self, sample: GroundingSample) -> _Text:
        """The sample's own caption; a box whose phrase has no token stays, as official, with an empty row."""
        offsets = self.tokenizer.offsets(sample["caption"])[: MAX_TOKENS - 1]  # [SEP] is the last
        tokens = [token_indices(spans, offsets) for spans in sample["spans"]]
        return _Text(sample["caption"], torch.ones(len(tokens), dtype=torch.bool), tokens)

    def _sampled(self, sample: KeyedSample) -> Prompt:
        """The caption of one image where the whole class list is too long for one."""
        chosen = sampled_classes(self.phrases, sample, self.tokenizer, self.seed)
        return build_prompt([self.phrases[k] for k in chosen], self.tokenizer, chosen)


def sampled_classes(
    phrases: Sequence[Phrase], sample: KeyedSample, tokenizer: Tokenizer, seed: int
) -> list[int]:
    """The classes of one image's caption, in its order: those of its boxes and random others, as many as fit. Drawn
    from (seed, epoch, index)."""
    numbers = random_stream("caption", seed, sample["epoch"], sample["index"])
    rng = Random(int(numbers.integers(2**63)))
    texts = [phrase.text for phrase in phrases]
    return sample_phrases(texts, sample["labels"].tolist(), tokenizer, rng, numbers)
