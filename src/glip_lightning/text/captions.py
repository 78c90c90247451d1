"""Captions of class names, and the tokens that stand for each class.

GLIP finds what a caption names: ``"raccoon. dog"``. A class is scored by the tokens of its name.
They are found from the characters of the name in the caption (:mod:`.token_spans`).

Source: microsoft/GLIP data/datasets/od_to_grounding.py, engine/inference.py
(create_queries_and_maps).
"""

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from glip_lightning.common.errors import GLIPError
from glip_lightning.common.plurals import count_with_noun
from glip_lightning.ops.dense_outputs import MAX_TOKENS
from glip_lightning.text.phrases import Phrase
from glip_lightning.text.token_spans import Span, token_indices
from glip_lightning.text.tokenizer import SEPARATOR, Tokenizer

if TYPE_CHECKING:
    from random import Random

    import numpy as np


class Prompt(NamedTuple):
    """A caption and, of each class in it, the tokens of its name and its index among all classes.

    ``tokens`` of a class is empty if tokenisation leaves nothing of its name (a blank name).
    """

    caption: str
    tokens: tuple[tuple[int, ...], ...]
    classes: tuple[int, ...]


def caption_of(phrases: Iterable[Phrase], separator: str = SEPARATOR) -> tuple[str, list[Span]]:
    """Join ``phrases``; return the caption and the span of each name without prefix and suffix."""
    caption = ""
    spans: list[Span] = []
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
    """Return one caption of all ``phrases``, with the tokens of each.

    A longer caption is cut to ``max_tokens``, the last of which is [SEP]; tokens behind the cut are
    left out.

    Args:
        phrases: one per class.
        tokenizer: that of the detector.
        classes: the index of each phrase among all classes; default 0, 1, ...
        max_tokens: the longest caption of the detector.

    Raises:
        GLIPError: there is no phrase (code ``no-phrases``), or not one class per phrase
            (``bad-value``).
    """
    if not phrases:
        message = "no phrases to build a caption from; name at least one class, e.g. 'raccoon'"
        raise GLIPError(message, code="no-phrases")
    caption, spans = caption_of(phrases, tokenizer.separator)
    offsets = tokenizer.offsets(caption)
    tokens = []
    for span in spans:
        found = token_indices([span], offsets)
        tokens.append(tuple(token for token in found if token < max_tokens - 1))
    if classes is None:
        classes = range(len(phrases))
    if len(classes) != len(phrases):
        message = f"{count_with_noun(len(phrases), 'phrase')} but "
        message += f"{count_with_noun(len(classes), 'entry')} in classes; give one per phrase"
        raise GLIPError(message, code="bad-value")
    return Prompt(caption, tuple(tokens), tuple(classes))


def build_prompts(
    phrases: Sequence[Phrase],
    tokenizer: Tokenizer,
    max_tokens: int = MAX_TOKENS,
    max_classes: int | None = None,
) -> list[Prompt]:
    """Return as few captions as hold all ``phrases`` in order.

    A phrase that is too long by itself gets a caption of its own, with its first tokens.

    Args:
        phrases: one per class.
        tokenizer: that of the detector.
        max_tokens: the longest caption, [CLS] and [SEP] included.
        max_classes: the most classes of a caption; the official chunked evaluation has 40. None: as
            many as fit.

    Raises:
        GLIPError: a limit leaves no room (code ``bad-value``), or as :func:`build_prompt`.
    """
    if max_tokens < 3 or (max_classes is not None and max_classes < 1):
        message = f"max_tokens={max_tokens}, max_classes={max_classes}: a caption needs room for "
        message += (
            "[CLS], one token and [SEP] (max_tokens >= 3) and for one class (max_classes >= 1)"
        )
        raise GLIPError(message, code="bad-value")
    if not phrases:
        return [build_prompt(phrases, tokenizer)]  # raises
    sizes = [_token_count(phrase.text, tokenizer) for phrase in phrases]
    separator = _token_count(tokenizer.separator, tokenizer)
    if max_classes is None:
        max_classes = len(phrases)
    prompts = []
    for chunk in _chunk(sizes, separator, max_tokens - 2, max_classes):
        chosen = [phrases[index] for index in chunk]
        prompts.append(build_prompt(chosen, tokenizer, chunk, max_tokens))
    return prompts


def _token_count(text: str, tokenizer: Tokenizer) -> int:
    """Return the number of tokens of ``text`` without [CLS] and [SEP].

    The numbers of phrases and separators add up, since a separator is no part of a word. It is 0
    for a table of classes, which has neither token: its list is never cut into several captions.
    """
    return max(0, len(tokenizer.offsets(text)) - 2)


def _chunk(sizes: Sequence[int], separator: int, budget: int, most: int) -> list[list[int]]:
    """Return the indices of ``sizes`` in consecutive chunks.

    The sizes of a chunk with a ``separator`` between any two fit into ``budget``, unless it has one
    index only. A chunk has at most ``most`` indices.
    """
    chunks: list[list[int]] = [[]]
    used = 0
    for index, size in enumerate(sizes):
        if chunks[-1] and (used + separator + size > budget or len(chunks[-1]) == most):
            chunks.append([])
        if chunks[-1]:
            used += separator + size
        else:
            used = size
        chunks[-1].append(index)
    return chunks


def classes_without_tokens(prompts: Iterable[Prompt], names: Sequence[str]) -> list[str]:
    """Return the names of the classes that can never be detected: no token stands for them."""
    found = []
    for prompt in prompts:
        for index, tokens in zip(prompt.classes, prompt.tokens, strict=True):
            if not tokens:
                found.append(names[index])
    return found


def sample_phrases(
    names: Sequence[str],
    positives: Sequence[int],
    tokenizer: Tokenizer,
    rng: "Random",
    numpy_rng: "np.random.RandomState | np.random.Generator",
    negatives: int = 85,
    budget: int = MAX_TOKENS - 2,
) -> list[int]:
    """Return the classes of a training image where one caption cannot hold all, in caption order.

    As many classes of the image's boxes as fit are kept; boxes of the others must be removed.
    Random absent classes follow while they fit: up to ``negatives`` for half of the images, fewer
    for the others. All are shuffled together.

    Source: od_to_grounding.py, check_for_positive_overflow and
    convert_object_detection_to_grounding_optimized_for_od with CONTROL_PROB (0, 0, 0.5, 0). The
    draws are equal to the official ones if the cleaned names begin, as there, with
    "__background__". That is why there are two generators, unused draws, and sets of small
    integers, whose order CPython fixes.

    Args:
        names: of all classes, cleaned.
        positives: the labels of the image's boxes.
        tokenizer: that of the detector.
        rng: draws as Python's ``random`` does in the official code.
        numpy_rng: draws as ``numpy.random`` does there.
        negatives: the most absent classes (DATASETS.RANDOM_SAMPLE_NEG).
        budget: the tokens of a caption without [CLS] and [SEP].
    """

    def cost(label: int) -> int:
        return _token_count(f"{names[label]}{SEPARATOR}", tokenizer)

    kept, used = _fit_positives(positives, cost, rng, budget)
    most = min(negatives, len(names))
    count = most if rng.random() < 0.5 else _draw_count(most, rng, numpy_rng)
    drawn = numpy_rng.choice(len(names), size=count, replace=False).tolist()
    present = _shuffled({label for label in positives if label in kept}, rng)
    absent = _shuffled({label for label in drawn if label not in kept}, rng)
    chosen = _fit_negatives(absent, cost, budget - used) + present
    return _shuffled(chosen, rng)


def _shuffled(items: Iterable[int], rng: "Random") -> list[int]:
    items = list(items)
    rng.shuffle(items)
    return items


def _fit_positives(
    positives: Iterable[int], cost: Callable[[int], int], rng: "Random", budget: int
) -> tuple[list[int], int]:
    """Return the classes that fit and the number of tokens.

    As in the official code, the number includes the class that did not fit any more.
    """
    kept = []
    used = 0
    for label in _shuffled(set(positives), rng):
        used += cost(label)
        if used > budget:
            break
        kept.append(label)
    return kept, used


def _fit_negatives(absent: Iterable[int], cost: Callable[[int], int], room: int) -> list[int]:
    """Return the first classes that leave at least one token of ``room``."""
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
    """Return a number of negatives from 1 to ``most``.

    The official code draws once before and once after, without any effect.
    """
    rng.random()
    count = int(numpy_rng.choice(max(1, most))) + 1
    rng.random()
    return min(count, most)
