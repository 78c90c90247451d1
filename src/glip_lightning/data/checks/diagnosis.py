"""All that can be known of a data set before it is trained on: the cheap checks, every pixel, every class."""

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import NamedTuple

import numpy as np

from glip_lightning.data.checks.class_words import Reader, check_words, word_pieces
from glip_lightning.data.checks.consistency import check_names, check_splits
from glip_lightning.data.checks.findings import Findings, listing
from glip_lightning.data.index import Index
from glip_lightning.data.types import SPLITS, Split
from glip_lightning.text.phrases import Phrase, clean_name
from glip_lightning.text.tokenizer import Tokenizer

LONG_NAME = 16  # tokens; names are a few words, longer ones are usually a mistake or a description
READERS = 4
FLAT = 24  # of 256 levels: a picture with fewer shows next to nothing


class SplitCounts(NamedTuple):
    images: int
    without_boxes: int
    boxes: int  # to train on
    dropped: int
    clipped: int
    unreadable: int  # images that cannot be decoded


class ClassRow(NamedTuple):
    name: str
    category_id: int
    tokens: list[str]  # the word pieces that name it in a caption
    boxes: dict[Split, int]


class Diagnosis(NamedTuple):
    splits: dict[Split, SplitCounts]
    classes: list[ClassRow]
    findings: Findings


def diagnose(
    splits: Mapping[Split, Index],
    reader: Reader,
    findings: Findings,
    progress: Callable[[Iterator[None], int], Iterator[None]],
) -> Diagnosis:
    """Check splits as read, decode every image, and count what names each class for ``reader``.

    ``findings`` holds what the readers found and gets the rest. ``progress`` wraps the iterator over the images,
    whose number it is told.
    """
    checked = check_splits(splits, findings)
    unreadable: dict[Split, int] = {}
    for _ in progress(_decode(checked, findings, unreadable), sum(map(len, checked.values()))):
        pass
    rows = _classes(checked, reader.tokenizer)
    _check_names(rows, reader, checked, findings)
    counts = {split: _counts(index, unreadable[split]) for split, index in checked.items()}
    return Diagnosis(counts, rows, findings)


def _counts(index: Index, unreadable: int) -> SplitCounts:
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
    """Read every image; one that fails is an error, equal pixels are a warning. Yields once per image.

    ``unreadable`` gets the number of images of each split that fail.
    """
    seen: dict[bytes, list[tuple[Split, str]]] = defaultdict(list)
    for split, index in splits.items():
        broken, flat = [], []
        with ThreadPoolExecutor(READERS) as pool:
            for image, outcome in enumerate(pool.map(partial(_digest, index), range(len(index)))):
                if isinstance(outcome, Pixels):
                    seen[outcome.digest].append((split, index.name(image)))
                    flat += [index.name(image)] if outcome.levels < FLAT else []
                else:
                    broken.append(outcome)
                yield
        unreadable[split] = len(broken)
        if broken:
            findings.add("undecodable-image", index.where, len(broken), items=listing(broken, "; "))
        if flat:
            findings.add("flat-image", index.where, len(flat), items=listing(flat))
    _report_equal(seen, splits, findings)


class Pixels(NamedTuple):
    digest: bytes
    levels: int  # between the darkest and the brightest, in the channel with most


def _digest(index: Index, image: int) -> Pixels | str:
    """What the pixels are, or what is wrong with the file."""
    try:
        picture = index.picture(image)
    except (ValueError, OSError) as error:
        return str(error)
    digest = hashlib.blake2b(
        repr(picture.size).encode() + picture.tobytes(), digest_size=16
    ).digest()
    return Pixels(digest, int(np.ptp(np.asarray(picture), axis=(0, 1)).max()))


def _report_equal(
    seen: Mapping[bytes, list[tuple[Split, str]]], splits: Mapping[Split, Index], findings: Findings
) -> None:
    groups = [members for members in seen.values() if len(members) > 1]
    across = [members for members in groups if len({split for split, _ in members}) > 1]
    within = [members for members in groups if members not in across]
    where = splits[next(iter(splits))].where if splits else ""
    more = len(across) - findings.counts("leak")  # those with the same bytes were found before
    if more > 0:
        findings.add("leak", where, more, items=_names(across))
    if within:
        findings.add("duplicate-image/pixels", where, len(within), items=_names(within))


def _names(groups: Sequence[Sequence[tuple[Split, str]]]) -> str:
    return listing(" = ".join(f"{split}/{name}" for split, name in members) for members in groups)


def _classes(splits: Mapping[Split, Index], tokenizer: Tokenizer) -> list[ClassRow]:
    if not splits:
        return []
    index = splits[min(splits, key=SPLITS.index)]
    counts = {
        split: np.bincount(each.boxes.labels[each.trains()], minlength=len(index.class_names))
        for split, each in splits.items()
    }
    rows = []
    for label, (name, number) in enumerate(zip(index.class_names, index.category_ids, strict=True)):
        pieces = word_pieces(Phrase(clean_name(name)), tokenizer)
        rows.append(
            ClassRow(
                name, number, pieces, {split: int(count[label]) for split, count in counts.items()}
            )
        )
    return rows


def _check_names(
    rows: Sequence[ClassRow], reader: Reader, splits: Mapping[Split, Index], findings: Findings
) -> None:
    """Classes that words cannot name well."""
    where = splits[min(splits, key=SPLITS.index)].where if splits else ""
    phrases = [Phrase(clean_name(row.name)) for row in rows]
    findings.attempt(where, lambda: check_names(phrases, reader.tokenizer, where))
    long = [
        f"{row.name[:40]!r} ({len(row.tokens)} tokens)"
        for row in rows
        if len(row.tokens) > LONG_NAME
    ]
    if long:
        findings.add("long-name", where, len(long), items=listing(long))
    check_words([row.name for row in rows], phrases, reader, where, findings)
