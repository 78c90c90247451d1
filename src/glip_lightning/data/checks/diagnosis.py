"""All that can be known of a data set before training: cheap checks, every pixel, every class."""

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np

from glip_lightning.data.checks.class_words import Reader, check_words, word_pieces
from glip_lightning.data.checks.consistency import check_names, check_splits
from glip_lightning.data.checks.findings import Findings, listing
from glip_lightning.data.images import is_flat
from glip_lightning.data.index import Index
from glip_lightning.data.types import SPLITS, Split
from glip_lightning.text.phrases import Phrase, clean_name
from glip_lightning.text.tokenizer import Tokenizer

LONG_NAME = 16  # tokens; names are a few words, longer ones are usually a mistake or a description
THREADS = 4


class SplitCounts(NamedTuple):
    """Numbers of one split, in the order in which the doctor's table shows them."""

    images: int
    without_boxes: int
    boxes: int  # to train on
    dropped: int
    clipped: int
    unreadable: int  # images that cannot be decoded


@dataclass(frozen=True, slots=True)
class ClassRow:
    """One class in the doctor's table."""

    name: str
    category_id: int
    tokens: list[str]  # the word pieces that name it in a caption
    boxes: dict[Split, int]  # to train on


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What the doctor says of a data set."""

    splits: dict[Split, SplitCounts]
    classes: list[ClassRow]
    findings: Findings


@dataclass(frozen=True, slots=True)
class _Pixels:
    """What is kept of an image that was read."""

    digest: bytes  # of size and pixels
    flat: bool


def diagnose(
    splits: Mapping[Split, Index],
    reader: Reader,
    findings: Findings,
    progress: Callable[[Iterator[None], int], Iterator[None]],
) -> Diagnosis:
    """Check splits as read, decode every image, and list what names each class for ``reader``.

    Args:
        splits: what a data set was read into, before any check.
        reader: the detector or the vocabulary that reads the names of the classes.
        findings: hold what was found while reading, and get the rest.
        progress: wraps the iterator over the images, whose number it is told.
    """
    checked = check_splits(splits, findings)
    unreadable: dict[Split, int] = {}
    steps = _decode(checked, findings, unreadable)
    for _ in progress(steps, sum(len(index) for index in checked.values())):
        pass
    rows = _class_rows(checked, reader.tokenizer)
    _check_class_names(rows, reader, checked, findings)
    counts = {split: _count(index, unreadable[split]) for split, index in checked.items()}
    return Diagnosis(counts, rows, findings)


def _count(index: Index, unreadable: int) -> SplitCounts:
    trains = index.trains()
    return SplitCounts(
        images=len(index),
        without_boxes=len(index) - len(index.with_boxes()),
        boxes=int(trains.sum()),
        dropped=len(trains) - int(trains.sum()),
        clipped=int(index.clipped().sum()),
        unreadable=unreadable,
    )


def _decode(
    splits: Mapping[Split, Index], findings: Findings, unreadable: dict[Split, int]
) -> Iterator[None]:
    """Read every image and report those that fail, are flat or have equal pixels.

    ``unreadable`` gets the number of images of each split that fail.

    Yields:
        None, once per image.
    """
    seen: dict[bytes, list[tuple[Split, str]]] = defaultdict(list)
    for split, index in splits.items():
        broken, flat = [], []
        with ThreadPoolExecutor(THREADS) as pool:
            outcomes = pool.map(partial(_read_pixels, index), range(len(index)))
            for image, outcome in enumerate(outcomes):
                if isinstance(outcome, str):
                    broken.append(outcome)
                else:
                    seen[outcome.digest].append((split, index.name(image)))
                    if outcome.flat:
                        flat.append(index.name(image))
                yield
        unreadable[split] = len(broken)
        if broken:
            findings.add("undecodable-image", index.where, len(broken), items=listing(broken, "; "))
        if flat:
            findings.add("flat-image", index.where, len(flat), items=listing(flat))
    _report_equal_pixels(seen, splits, findings)


def _read_pixels(index: Index, image: int) -> _Pixels | str:
    """Return what is kept of an image, or what is wrong with its file."""
    try:
        picture = index.picture(image)
    except (ValueError, OSError) as error:
        return str(error)
    content = repr(picture.size).encode() + picture.tobytes()
    return _Pixels(hashlib.blake2b(content, digest_size=16).digest(), is_flat(picture))


def _report_equal_pixels(
    seen: Mapping[bytes, list[tuple[Split, str]]], splits: Mapping[Split, Index], findings: Findings
) -> None:
    """Report images with equal pixels, in two splits or in one."""
    across, within = [], []
    for members in seen.values():
        if len({split for split, _ in members}) > 1:
            across.append(_describe_group(members))
        elif len(members) > 1:
            within.append(_describe_group(members))
    where = _first_place(splits)
    more = len(across) - findings.counts("leak")  # those with the same bytes were found before
    if more > 0:
        findings.add("leak", where, more, items=listing(across))
    if within:
        findings.add("duplicate-image/pixels", where, len(within), items=listing(within))


def _describe_group(members: Sequence[tuple[Split, str]]) -> str:
    return " = ".join(f"{split}/{name}" for split, name in members)


def _first_place(splits: Mapping[Split, Index]) -> str:
    """Return where the first split was read from, an empty text for no splits."""
    if not splits:
        return ""
    return splits[min(splits, key=SPLITS.index)].where


def _class_rows(splits: Mapping[Split, Index], tokenizer: Tokenizer) -> list[ClassRow]:
    if not splits:
        return []
    first = splits[min(splits, key=SPLITS.index)]
    counts = {}
    for split, index in splits.items():
        labels = index.boxes.labels[index.trains()]
        counts[split] = np.bincount(labels, minlength=len(first.class_names)).tolist()
    rows = []
    for label, (name, number) in enumerate(zip(first.class_names, first.category_ids, strict=True)):
        pieces = word_pieces(Phrase(clean_name(name)), tokenizer)
        boxes = {split: count[label] for split, count in counts.items()}
        rows.append(ClassRow(name, number, pieces, boxes))
    return rows


def _check_class_names(
    rows: Sequence[ClassRow], reader: Reader, splits: Mapping[Split, Index], findings: Findings
) -> None:
    """Report classes that words cannot name well."""
    where = _first_place(splits)
    phrases = [Phrase(clean_name(row.name)) for row in rows]
    findings.attempt(where, partial(check_names, phrases, reader.tokenizer, where))
    long = [row for row in rows if len(row.tokens) > LONG_NAME]
    if long:
        items = listing(f"{row.name[:40]!r} ({len(row.tokens)} tokens)" for row in long)
        findings.add("long-name", where, len(long), items=items)
    check_words([row.name for row in rows], phrases, reader, where, findings)
