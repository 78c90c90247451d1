"""Captions out of class names, and the tokens by which each class is known to the detector.

GLIP finds what a caption names: ``"raccoon. dog"``. A class is scored by the tokens of its name, so each
class carries the character span of its name (G spans) and from it the indices of its tokens (T tokens,
:mod:`.token_spans`).

Source: microsoft/GLIP data/datasets/od_to_grounding.py, engine/inference.py (create_queries_and_maps).
"""

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from glip_lightning.common.errors import GLIPError
from glip_lightning.ops.dense_outputs import MAX_TOKENS
from glip_lightning.text.phrases import Phrase
from glip_lightning.text.token_spans import Span, token_indices
from glip_lightning.text.tokenizer import SEPARATOR, Tokenizer

if TYPE_CHECKING:
    from random import Random

    import numpy as np


class Prompt(NamedTuple):
    """A caption and, per class in it, the tokens of its name and its index among all classes.

    ``tokens`` of a class is empty where nothing of its name is left after tokenisation (a blank name).
    """

    caption: str
    tokens: tuple[tuple[int, ...], ...]
    classes: tuple[int, ...]


def caption_of(phrases: Iterable[Phrase], separator: str = SEPARATOR) -> tuple[str, list[Span]]:
    """Join ``phrases``; also return where each name stands, without its prefix and suffix."""
    caption, spans = "", []
    for phrase in phrases:
        if spans:
            caption += separator
        start = len(caption) + len(phrase.prefix)
        spans.append((start, start + len(phrase.name)))
        caption += phrase.text
    return caption, spans


def build_prompt(
    phrases: Sequence[Phrase],
    tokenizer: Tokenizer,
    classes: Sequence[int] | None = None,
    max_tokens: int = MAX_TOKENS,
) -> Prompt:
    """One caption of all ``phrases``; ``classes`` are their class indices (default 0, 1, ...).

    Tokens that a caption cut to ``max_tokens`` (the last of which is [SEP]) does not hold are left out.
    """
    if not phrases:
        message = "no phrases to build a caption from; name at least one class, e.g. 'raccoon'"
        raise GLIPError(message, code="no-phrases")
    caption, spans = caption_of(phrases, tokenizer.separator)
    offsets = tokenizer.offsets(caption)
    found = (token_indices([span], offsets) for span in spans)
    tokens = tuple(tuple(t for t in indices if t < max_tokens - 1) for indices in found)
    chosen = range(len(phrases)) if classes is None else classes
    if len(chosen) != len(phrases):
        message = (
            f"{len(phrases)} phrases but {len(chosen)} entries in classes; give one per phrase"
        )
        raise GLIPError(message, code="bad-value")
    return Prompt(caption, tokens, tuple(chosen))


def build_prompts(
    phrases: Sequence[Phrase],
    tokenizer: Tokenizer,
    max_tokens: int = MAX_TOKENS,
    max_classes: int | None = None,
) -> list[Prompt]:
    """As few captions as hold all ``phrases`` in order, each at most ``max_tokens`` tokens long.

    ``max_classes=40`` cuts as the official chunked evaluation does. A phrase that is too long by itself
    gets a caption of its own and keeps the tokens inside the limit.
    """
    if max_tokens < 3 or (max_classes is not None and max_classes < 1):
        message = f"max_tokens={max_tokens}, max_classes={max_classes}: a caption needs room for [CLS], one token "
        message += "and [SEP] (max_tokens >= 3) and for one class (max_classes >= 1)"
        raise GLIPError(message, code="bad-value")
    if not phrases:
        return [build_prompt(phrases, tokenizer)]  # raises
    sizes = [_token_count(phrase.text, tokenizer) for phrase in phrases]
    separator = _token_count(tokenizer.separator, tokenizer)
    chunks = _chunk(sizes, separator, max_tokens - 2, max_classes or len(phrases))
    return [
        build_prompt([phrases[c] for c in chunk], tokenizer, chunk, max_tokens) for chunk in chunks
    ]


def _token_count(text: str, tokenizer: Tokenizer) -> int:
    """Tokens of ``text`` without [CLS] and [SEP]; they add up, since the separator is no part of a word.
    0 for a table of classes, which has neither: its list is never cut into several captions."""
    return max(0, len(tokenizer.offsets(text)) - 2)


def _chunk(sizes: Sequence[int], separator: int, budget: int, most: int) -> list[list[int]]:
    """Indices of ``sizes`` in consecutive runs that fit, separators included, into ``budget``."""
    chunks: list[list[int]] = [[]]
    used = 0
    for index, size in enumerate(sizes):
        if chunks[-1] and (used + separator + size > budget or len(chunks[-1]) == most):
            chunks.append([])
        used = used + separator + size if chunks[-1] else size
        chunks[-1].append(index)
    return chunks


def classes_without_tokens(prompts: Iterable[Prompt], names: Sequence[str]) -> list[str]:
    """Names of the classes that can never be detected, because no token stands for them."""
    pairs = (pair for prompt in prompts for pair in zip(prompt.classes, prompt.tokens, strict=True))
    return [names[index] for index, tokens in pairs if not tokens]


def sample_phrases(
    names: Sequence[str],
    positives: Sequence[int],
    tokenizer: Tokenizer,
    rng: "Random",
    numpy_rng: "np.random.RandomState | np.random.Generator",
    negatives: int = 85,
    budget: int = MAX_TOKENS - 2,
) -> list[int]:
    """Classes, in caption order, for a training image when all ``names`` do not fit into one caption.

    ``positives`` are the labels of the image's boxes. As many of their classes as fit into ``budget``
    tokens are kept (boxes of the others must go); random absent classes follow while they fit: for half of
    the images up to ``negatives`` (DATASETS.RANDOM_SAMPLE_NEG), else fewer; all are shuffled together.

    Source: od_to_grounding.py, check_for_positive_overflow and
    convert_object_detection_to_grounding_optimized_for_od with CONTROL_PROB (0, 0, 0.5, 0). Equal draw by
    draw if the cleaned names begin, as there, with "__background__". Hence the two generators, the unused
    draws, and sets of small integers whose order CPython fixes.
    """

    def cost(label: int) -> int:
        return _token_count(f"{names[label]}{SEPARATOR}", tokenizer)

    kept, used = _fit_positives(positives, cost, rng, budget)
    most = min(negatives, len(names))
    count = most if rng.random() < 0.5 else _draw_count(most, rng, numpy_rng)
    drawn = numpy_rng.choice(len(names), size=count, replace=False).tolist()
    present = _shuffled({label for label in positives if label in kept}, rng)
    absent = _shuffled({label for label in drawn if label not in kept}, rng)
    return _shuffled(_fit_negatives(absent, cost, budget - used) + present, rng)


def _shuffled(items: Iterable[int], rng: "Random") -> list[int]:
    items = list(items)
    rng.shuffle(items)
    return items


def _fit_positives(
    positives: Iterable[int], cost: Callable[[int], int], rng: "Random", budget: int
) -> tuple[list[int], int]:
    """Classes that fit, and the tokens they take; as official, with the class that no longer fitted."""
    kept, used = [], 0
    for label in _shuffled(set(positives), rng):
        used += cost(label)
        if used > budget:
            break
        kept.append(label)
    return kept, used


def _fit_negatives(absent: Iterable[int], cost: Callable[[int], int], room: int) -> list[int]:
    """The first classes that leave at least one token of ``room``."""
    kept = []
    for label in absent:
        room -= cost(label)
        if room <= 0:
            break
        kept.append(label)
    return kept


def _draw_count(
    most: int, rng: "Random", numpy_rng: "np.random.RandomState | np.random.Generator"
) -> int:
    """A number of negatives from 1 to ``most``; official draws on either side decide nothing any more."""
    rng.random()
    count = int(numpy_rng.choice(max(1, most))) + 1
    rng.random()
    return min(count, most)
