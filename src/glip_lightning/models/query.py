"""A class list as a detector takes it: captions with their tokens, encoded once for all images.

Three words for what a detector is asked:

* a *phrase* (:class:`~glip_lightning.text.phrases.Phrase`) is one class as it stands in a caption:
  "a red star";
* a *prompt* (:class:`~glip_lightning.text.captions.Prompt`) is one caption of phrases,
  "a red star. a circle", and says which of its tokens name which class;
* a *query* (:class:`Query`) is the class list of a task: its phrases, as many prompts as it takes
  (a caption holds at most 256 tokens), and the text features of each.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from torch import Tensor

from glip_lightning.models.detector import Detector
from glip_lightning.models.text_features import TextFeatures
from glip_lightning.text.captions import Prompt, build_prompts
from glip_lightning.text.phrases import Phrase
from glip_lightning.text.tokenizer import Tokenizer


@dataclass(frozen=True)
class Query:
    """A class list ready for the detector: one prompt, or several for a long list."""

    phrases: tuple[Phrase, ...]
    prompts: tuple[Prompt, ...]
    texts: tuple[TextFeatures, ...]  # one caption each: [1, T, D]
    names: tuple[str, ...] = ()  # of the classes in the data; empty: those of the phrases

    @property
    def class_names(self) -> tuple[str, ...]:
        """Return what results call the classes."""
        return self.names or tuple(phrase.name for phrase in self.phrases)

    def class_tokens(self, k: int) -> list[tuple[int, ...]]:
        """Return the tokens of every class in prompt ``k``; none for classes of other prompts."""
        tokens: list[tuple[int, ...]] = [()] * len(self.phrases)
        for index, found in zip(self.prompts[k].classes, self.prompts[k].tokens, strict=True):
            tokens[index] = found
        return tokens


def same_names(one: Iterable[Phrase], other: Iterable[Phrase]) -> bool:
    """Return whether both have the same class names in the same order.

    Words around the names do not count.
    """
    return [phrase.name for phrase in one] == [phrase.name for phrase in other]


def encode_query(
    model: Detector,
    tokenizer: Tokenizer,
    phrases: Sequence[Phrase],
    encode_text: Callable[[Tensor, Tensor], TextFeatures] | None = None,
    names: Sequence[str] = (),
    prompts: Sequence[Prompt] | None = None,
) -> Query:
    """Tokenise and encode a class list once, for any number of images.

    Args:
        model: the detector.
        tokenizer: of the detector.
        phrases: the classes as they stand in captions.
        encode_text: of a tuning; None takes the detector's own.
        names: what the data call the classes, where phrases say it in other words.
        prompts: the captions of all phrases, where they are made already.
    """
    encode_text = encode_text or model.encode_text
    if prompts is None:
        prompts = build_prompts(phrases, tokenizer)
    device = model.device
    texts = []
    for prompt in prompts:
        ids, mask = tokenizer.encode([prompt.caption])
        texts.append(encode_text(ids.to(device), mask.to(device)))
    return Query(tuple(phrases), tuple(prompts), tuple(texts), tuple(names))
