"""Captions out of class names, and the tokens by which each class is known to the detector.

GLIP finds what a caption names: ``"raccoon. dog"``. A class is scored by the tokens of its name, so each
class carries the character span of its name (G spans) and from it the indices of its tokens (T tokens).
A tokenizer is anything with ``offsets(caption)``: one ``(start, end)`` per token, ``(0, 0)`` for [CLS] and
[SEP]; :class:`glip_lightning.text.tokenizer.Tokenizer` is ours.

Source: microsoft/GLIP data/datasets/od_to_grounding.py, data/datasets/modulated_coco.py
(create_positive_map), engine/inference.py (create_queries_and_maps).
"""

import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol

import torch
from torch import Tensor

from glip_lightning.common.errors import GLIPError
from glip_lightning.common.files import regular_file
from glip_lightning.common.schema import MOST_CLASSES, PHRASE, parse_json, parse_yaml, shown
from glip_lightning.ops.outputs import MAX_TOKENS

if TYPE_CHECKING:
    from random import Random

    import numpy as np

SEPARATOR = ". "
"""Between two phrases, never behind the last (DATASETS.SEPARATION_TOKENS); a tokenizer may have its own."""

Span = tuple[int, int]  # characters or tokens' characters: start, end (exclusive)


class Phrase(NamedTuple):
    """One class as it stands in the caption; only the tokens of ``name`` are scored."""

    name: str
    prefix: str = ""
    suffix: str = ""

    @property
    def text(self) -> str:
        return f"{self.prefix}{self.name}{self.suffix}"


class Prompt(NamedTuple):
    """A caption and, per class in it, the tokens of its name and its index among all classes.

    ``tokens`` of a class is empty where nothing of its name is left after tokenisation (a blank name).
    """

    caption: str
    tokens: tuple[tuple[int, ...], ...]
    classes: tuple[int, ...]


class HasOffsets(Protocol):
    separator: str

    def offsets(self, caption: str) -> Sequence[Span]: ...


def clean_name(name: str) -> str:
    """A category name as it enters a caption, exactly as official: ``"wine_glass(red)" -> "wine glass"``.

    Everything from the first ``(`` to the last ``)`` goes, and a blank at the end stays
    (od_to_grounding.py:9-13).
    """
    name = re.sub(r"\(.*\)", "", name)
    return name.replace("_", " ").replace("  ", " ")


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


def char_to_token(offsets: Sequence[Span], char: int) -> int | None:
    """Index of the first token that covers character ``char``; None for blanks and outside the caption."""
    return next((i for i, (start, end) in enumerate(offsets) if start <= char < end), None)


def token_indices(spans: Iterable[Span], offsets: Sequence[Span]) -> tuple[int, ...]:
    """Tokens of one phrase that stands at ``spans`` of the caption, ascending.

    A border that falls on no token moves inwards by one, then two characters; a span without a token at
    either border is left out (modulated_coco.py, create_positive_map).
    """
    found: set[int] = set()
    for start, end in spans:
        first = _first_token(offsets, (start, start + 1, start + 2))
        last = _first_token(offsets, (end - 1, end - 2, end - 3))
        if first is not None and last is not None:
            found.update(range(first, last + 1))
    return tuple(sorted(found))


def _first_token(offsets: Sequence[Span], chars: Iterable[int]) -> int | None:
    tokens = (char_to_token(offsets, char) for char in chars)
    return next((token for token in tokens if token is not None), None)


def positive_map(token_lists: Sequence[Sequence[int]], length: int) -> Tensor:
    """Bool [G, T]: True where token t < ``length`` names phrase g; later tokens were truncated away.

    The official data set divides rows by their sum, but its collator casts them to bool, so the losses
    see 0 and 1 (data/collate_batch.py:38-46).
    """
    rows = torch.zeros(len(token_lists), length, dtype=torch.bool)
    for row, tokens in zip(rows, token_lists, strict=True):
        row[[t for t in tokens if t < length]] = True
    return rows


def build_prompt(
    phrases: Sequence[Phrase],
    tokenizer: HasOffsets,
    classes: Sequence[int] | None = None,
    max_tokens: int = MAX_TOKENS,
) -> Prompt:
    """One caption of all ``phrases``; ``classes`` are their class indices (default 0, 1, ...).

    Tokens that a caption cut to ``max_tokens`` (the last of which is [SEP]) does not hold are left out.
    """
    if not phrases:
        raise ValueError("no phrases to build a caption from; name at least one class, e.g. 'raccoon'")
    caption, spans = caption_of(phrases, tokenizer.separator)
    offsets = tokenizer.offsets(caption)
    found = (token_indices([span], offsets) for span in spans)
    tokens = tuple(tuple(t for t in indices if t < max_tokens - 1) for indices in found)
    chosen = range(len(phrases)) if classes is None else classes
    if len(chosen) != len(phrases):
        raise ValueError(f"{len(phrases)} phrases but {len(chosen)} entries in classes; give one per phrase")
    return Prompt(caption, tokens, tuple(chosen))


def build_prompts(
    phrases: Sequence[Phrase],
    tokenizer: HasOffsets,
    max_tokens: int = MAX_TOKENS,
    max_classes: int | None = None,
) -> list[Prompt]:
    """As few captions as hold all ``phrases`` in order, each at most ``max_tokens`` tokens long.

    ``max_classes=40`` cuts as the official chunked evaluation does. A phrase that is too long by itself
    gets a caption of its own and keeps the tokens inside the limit.
    """
    if max_tokens < 3 or (max_classes is not None and max_classes < 1):
        raise ValueError(
            f"max_tokens={max_tokens}, max_classes={max_classes}: a caption needs room for [CLS], one token "
            "and [SEP] (max_tokens >= 3) and for one class (max_classes >= 1)"
        )
    if not phrases:
        return [build_prompt(phrases, tokenizer)]  # raises
    sizes = [_token_count(phrase.text, tokenizer) for phrase in phrases]
    separator = _token_count(tokenizer.separator, tokenizer)
    chunks = _chunk(sizes, separator, max_tokens - 2, max_classes or len(phrases))
    return [build_prompt([phrases[c] for c in chunk], tokenizer, chunk, max_tokens) for chunk in chunks]


def _token_count(text: str, tokenizer: HasOffsets) -> int:
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


def check_phrases(phrases: Sequence[Phrase], source: str = "phrases") -> None:
    """Refuse what a user cannot have meant: no phrase, a blank name, the same phrase twice.

    Official data sets do hold blank names (ODinW ChessPieces), so :func:`build_prompts` takes them.
    """
    if not phrases:
        raise ValueError(f"{source}: there is no phrase in it; name at least one class, e.g. 'raccoon'")
    seen: dict[str, int] = {}
    if len(phrases) > MOST_CLASSES:
        raise GLIPError(f"{source}: {len(phrases)} phrases, expected at most {MOST_CLASSES}", code="bad-value")
    for place, phrase in enumerate(phrases, start=1):
        PHRASE.check(phrase._asdict(), source, f"phrase {place}")
        if not phrase.name.strip():
            raise ValueError(
                f"{source}: phrase {place} of {len(phrases)} is blank ({phrase.name!r}); "
                "remove the extra separator or write a name there"
            )
        first = seen.setdefault(" ".join(phrase.text.lower().split()), place)
        if first != place:
            raise ValueError(
                f"{source}: phrase {place} ({phrase.text!r}) repeats phrase {first}; "
                "keep one of them, capitals and blanks make no difference"
            )


def read_phrases(text: str) -> list[Phrase]:
    """Phrases a user typed: ``"raccoon. dog"``, ``"raccoon; dog"``, or one per line.

    A period separates where a blank or the end follows (``"2.5 mm"`` is one phrase); names that need one,
    such as ``"St. Bernard"``, go into a file (:func:`read_phrases_file`).
    """
    names = re.split(r"\s*(?:\.(?=\s|$)|;|\n)\s*", text.strip())
    if len(names) > 1 and not names[-1]:
        names.pop()  # a separator at the end is fine
    phrases = [Phrase(name) for name in names]
    check_phrases(phrases, source=repr(text))
    return phrases


def read_phrases_file(path: str | Path) -> list[Phrase]:
    """Phrases from ``.txt`` (one per line, ``#`` starts a comment line) or from ``.json``, ``.yaml``.

    The latter two hold a list of names or of mappings with ``name``, ``prefix`` and ``suffix``.
    """
    path = regular_file(path)
    readers = {".txt": _read_lines, ".json": parse_json, ".yaml": parse_yaml, ".yml": parse_yaml}
    if path.suffix.lower() not in readers:
        raise ValueError(f"{path}: phrases are read from {', '.join(readers)}, not from {path.suffix!r}")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        message = f"{path}: not a readable {path.suffix} file in UTF-8 ({error})"
        raise GLIPError(message, code="unreadable-phrases") from error
    entries = readers[path.suffix.lower()](text, f"{path}: not a readable {path.suffix} file")
    if not isinstance(entries, list):
        message = f"{path}: expected a list of phrases, found {shown(entries)}; write '- raccoon' lines"
        raise GLIPError(message, code="bad-value")
    phrases = [_phrase(entry, f"{path}, entry {place}") for place, entry in enumerate(entries, start=1)]
    check_phrases(phrases, source=str(path))
    return phrases


def _read_lines(text: str, where: str) -> list[str]:
    lines = (line.strip() for line in text.splitlines())
    return [line for line in lines if line and not line.startswith("#")]


def _phrase(entry: object, place: str) -> Phrase:
    """Return one entry of a file; ``place`` says where it stands."""
    fields = {"name": entry} if isinstance(entry, str) else entry
    if not isinstance(fields, dict):
        quoted = shown(str(entry)) if isinstance(entry, int | float) else "'raccoon'"
        message = f"{place}: {shown(entry)} is no text; put it in quotes, e.g. {quoted}"
        raise GLIPError(message, code="bad-value")
    PHRASE.check(fields, place)
    return Phrase(**fields)


def sample_phrases(
    names: Sequence[str],
    positives: Sequence[int],
    tokenizer: HasOffsets,
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


def _draw_count(most: int, rng: "Random", numpy_rng: "np.random.RandomState | np.random.Generator") -> int:
    """A number of negatives from 1 to ``most``; official draws on either side decide nothing any more."""
    rng.random()
    count = int(numpy_rng.choice(max(1, most))) + 1
    rng.random()
    return min(count, most)
