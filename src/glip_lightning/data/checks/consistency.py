"""The cheap checks of a data set that was read: what training would trip over, and what it should know."""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from glip_lightning.common.escaping import is_text, printable
from glip_lightning.common.files import regular_file
from glip_lightning.data.checks.findings import DataError, Findings, data_error, listing
from glip_lightning.data.images import ImageFiles, pictures
from glip_lightning.data.index import Index, Mask
from glip_lightning.data.types import SPLITS, Split
from glip_lightning.ops.dense_outputs import MAX_TOKENS
from glip_lightning.text.phrases import Phrase
from glip_lightning.text.tokenizer import Tokenizer

SMALLEST, LONGEST = (
    8,
    20,
)  # pixels of the shorter side, ratio of the sides: beyond them little is left to see
COUNTED = 100  # detections of an image that AP looks at (COCO's maxDets)
LONGEST_NAME = MAX_TOKENS - 4
"""Tokens that a class may have: a caption holds 256, with [CLS], [SEP], a separator and one to spare, without which
:func:`..prompts.sample_phrases` finds no class for a picture."""

DROPPED = {
    "without area": "dropped-box/flat",
    "outside the image": "dropped-box/outside",
    "one pixel thin": "dropped-box/thin",
    "crowd": "crowd",
}
"""The problem of each reason to train without a box."""


def check_names(phrases: Sequence[Phrase], tokenizer: Tokenizer, where: object) -> None:
    """Raise GLIPError for classes whose names no caption can hold; a detector with a table of classes reads none."""
    if broken := [phrase.text for phrase in phrases if not is_text(phrase.text)]:
        raise data_error("broken-text", where, items=listing(broken))
    counts = [
        len(tokenizer.offsets(phrase.text)) - 2 for phrase in phrases
    ]  # without [CLS] and [SEP]
    pairs = zip(phrases, counts, strict=True)
    if long := [
        f"'{printable(phrase.name[:40])}...' ({n} tokens)"
        for phrase, n in pairs
        if n > LONGEST_NAME
    ]:
        raise data_error(
            "name-too-long", where, count=len(long), room=LONGEST_NAME, items=listing(long)
        )


def check_splits(splits: Mapping[Split, Index], findings: Findings) -> dict[Split, Index]:
    """Check each split and all together; the result numbers the classes alike in all of them."""
    splits = {split: splits[split] for split in SPLITS if split in splits}
    if not splits:
        return {}
    if any(map(len, splits.values())) and not any(
        index.trains().any() for index in splits.values()
    ):
        counts = ", ".join(
            f"{split}: {len(x.boxes.labels)} boxes in {len(x)} images"
            for split, x in splits.items()
        )
        findings.add("no-boxes/all", next(iter(splits.values())).where, counts=counts)
    for split in SPLITS:
        if split not in splits:
            findings.add(f"missing-split/{split}", Path(next(iter(splits.values())).where).parent)
        else:
            check_index(split, splits[split], findings)
            _report_twice(splits[split], findings)
    report_leaks(splits.items(), findings)
    _report_strays(splits, findings)
    aligned = align_classes(splits, findings)
    _report_classes(aligned, findings)
    return aligned


def choose_classes(
    splits: Mapping[Split, Index], wanted: Sequence[str] | None, findings: Findings
) -> dict[Split, Index]:
    """Return the splits with the ``wanted`` classes alone, in the order of the data; None are all.

    The boxes of the others are counted, their images stay.

    Raises:
        DataError: there is no class of that name (``unknown-class``).
    """
    if wanted is None or not splits:
        return dict(splits)
    first = next(iter(splits.values()))
    names = first.class_names
    unknown = [name for name in wanted if name not in names]
    if unknown or not wanted:
        told = listing(map(repr, unknown)) or "an empty list"
        raise DataError(
            f"data.classes: {told} is none of the classes of {first.where}: {', '.join(map(printable, names))}",
            code="unknown-class",
        )
    labels = [label for label, name in enumerate(names) if name in wanted]
    others = listing(name for name in names if name not in wanted)
    chosen = {split: index.only(labels) for split, index in splits.items()}
    for split, index in splits.items():
        if count := len(index.boxes.labels) - len(chosen[split].boxes.labels):
            findings.add("class-not-chosen", index.where, count, split=split, items=others)
    return chosen


def check_index(split: Split, index: Index, findings: Findings) -> None:
    """Images and boxes of one split."""
    kind = "train" if split == "train" else "other"
    if not len(index):
        findings.add(f"empty-split/{kind}", index.where, split=split)
        return
    if not index.trains().any():
        findings.add(f"no-boxes/{kind}", index.where, split=split)
    _report_boxes(index, findings)
    if split != "train":
        _report_many(index, findings)
    _report_convention(index, findings)
    short, long = index.sizes.min(1), index.sizes.max(1)
    extreme = (short < SMALLEST) | (long > LONGEST * short)
    if extreme.any():
        findings.add(
            "extreme-image", index.where, int(extreme.sum()), items=_images(index, extreme)
        )


def _report_boxes(index: Index, findings: Findings) -> None:
    """What training does without, what it clips, and the images without boxes."""
    for reason, mask in index.dropped().items():
        items = _images(index, _have(index, mask))
        findings.add(DROPPED[reason], index.where, int(mask.sum()), items=items)
    if count := int((clipped := index.clipped()).sum()):
        findings.add("clipped-box", index.where, count, items=_images(index, _have(index, clipped)))
    if count := int((empty := ~_have(index, index.trains())).sum()):
        findings.add(
            "image-without-boxes", index.where, count, total=len(index), items=_images(index, empty)
        )


def _report_twice(index: Index, findings: Findings) -> None:
    """Pictures that are listed more than once, and boxes that their image has already, with the same class."""
    names = Counter(map(index.name, range(len(index))))
    if listed := [name for name, count in names.items() if count > 1]:
        findings.add("duplicate-image/entries", index.where, len(listed), items=listing(listed))
    boxes = index.boxes
    rows = np.column_stack((boxes.images, boxes.labels, boxes.xywh))
    _, first = np.unique(rows, axis=0, return_index=True)
    again = np.ones(len(rows), dtype=bool)
    again[first] = False
    if again.any():
        findings.add(
            "duplicate-box",
            index.where,
            int(again.sum()),
            items=_images(index, _have(index, again)),
        )


def _report_many(index: Index, findings: Findings) -> None:
    """Images with more objects than AP counts detections: what is beyond can never be found."""
    real = index.boxes.inside & ~index.boxes.crowd
    objects = np.bincount(index.boxes.images[real], minlength=len(index))
    if (many := objects > COUNTED).any():
        highest = np.minimum(objects, COUNTED).sum() / objects.sum()
        values = {
            "counted": COUNTED,
            "most": objects.max(),
            "highest": f"{highest:.0%}",
            "items": _images(index, many),
        }
        findings.add("many-objects", index.where, int(many.sum()), **values)


def _report_convention(index: Index, findings: Findings) -> None:
    """Boxes in another convention than x, y, width, height in pixels."""
    x, y, w, h = index.boxes.xywh.T
    if not len(x):
        return
    if float(index.boxes.xywh.max()) <= 1:
        findings.add("normalised-boxes", index.where, len(x))
        return
    corners = (w > x) & (h > y)
    area = (w - x) * (h - y)
    by_area = (np.abs(index.boxes.area - area) <= 0.02 * area) & (
        np.abs(index.boxes.area - w * h) > 0.02 * w * h
    )
    height, width = index.sizes[index.boxes.images].T
    leaving = (x + w > width + 1) | (y + h > height + 1)
    suspects = int((by_area & corners).sum()), int(leaving.sum())
    if corners.all() and max(suspects) > len(x) / 2:
        findings.add("corner-boxes", index.where, len(x), corners=suspects[0], leaving=suspects[1])


def _have(index: Index, mask: Mask) -> Mask:
    """Mask [N] of the images with a box of ``mask`` [M]."""
    have = np.zeros(len(index), dtype=bool)
    have[index.boxes.images[mask]] = True
    return have


def _images(index: Index, mask: Mask) -> str:
    return listing(index.name(image) for image in np.flatnonzero(mask).tolist())


def align_classes(splits: Mapping[Split, Index], findings: Findings) -> dict[Split, Index]:
    """Number the classes alike in all splits, by their names, those of the first split (train) first.

    A split may have fewer classes, or others besides, which an open vocabulary can be tested on. One that has
    others and numbers the common ones differently was made with another list in mind: an error.
    """
    names: dict[str, int] = {}
    first: dict[str, int] = {}
    for split, index in splits.items():
        numbered = dict(zip(index.class_names, index.category_ids, strict=True))
        first = first or numbered
        unknown = [name for name in numbered if name not in first]
        other = [name for name, number in numbered.items() if first.get(name, number) != number]
        if unknown and other:
            values = {"unknown": listing(map(repr, unknown)), "other": listing(map(repr, other))}
            findings.add(
                "classes-differ/numbers",
                index.where,
                len(unknown),
                split=split,
                first=next(iter(splits)),
                **values,
            )
        elif numbered != first:
            values = {"own": listing(map(repr, numbered)), "others": listing(map(repr, first))}
            findings.add(
                "classes-differ/names", index.where, split=split, first=next(iter(splits)), **values
            )
        names = names | {name: number for name, number in numbered.items() if name not in names}
    return {split: _renumbered(index, names) for split, index in splits.items()}


def _report_classes(splits: Mapping[Split, Index], findings: Findings) -> None:
    """Classes without a box to train on, and those that have some, but none in another split."""
    counts = {
        split: np.bincount(index.boxes.labels[index.trains()], minlength=len(index.class_names))
        for split, index in splits.items()
    }
    anywhere = np.sum([*counts.values()], axis=0) > 0
    for split, index in splits.items():
        absent = counts[split] == 0 if split == "train" else anywhere & (counts[split] == 0)
        missing = [repr(index.class_names[label]) for label in np.flatnonzero(absent)]
        if missing and counts[split].any():  # a split without any box is another finding
            key = "untrained-class" if split == "train" else "missing-class"
            findings.add(key, index.where, len(missing), split=split, items=listing(missing))


def _renumbered(index: Index, names: Mapping[str, int]) -> Index:
    label_of = {name: label for label, name in enumerate(names)}
    table = np.array([label_of[name] for name in index.class_names], dtype=np.int64)
    boxes = replace(index.boxes, labels=table[index.boxes.labels])
    return replace(index, class_names=tuple(names), category_ids=tuple(names.values()), boxes=boxes)


def report_leaks(parts: Iterable[tuple[Split, Index]], findings: Findings) -> None:
    """Files with the same bytes in two splits, which may have several parts; only files of equal length are read."""
    parts = list(parts)
    files = (
        (split, index.source.path(row))
        for split, index in parts
        if isinstance(index.source, ImageFiles)
        for row in index.rows.tolist()
    )
    by_length: dict[int, list[tuple[Split, Path]]] = defaultdict(list)
    for split, path in dict.fromkeys(
        files
    ):  # a photo may stand in a file once for each of its captions
        by_length[path.stat().st_size if path.is_file() else -1].append((split, path))
    leaks = []
    for length, group in by_length.items():
        if length < 1 or len({split for split, _ in group}) == 1:
            continue
        by_content: dict[bytes, list[tuple[Split, Path]]] = defaultdict(list)
        for split, path in group:
            by_content[hashlib.sha256(regular_file(path).read_bytes()).digest()].append(
                (split, path)
            )
        same = [
            members for members in by_content.values() if len({split for split, _ in members}) > 1
        ]
        leaks += [" = ".join(f"{split}/{path.name}" for split, path in members) for members in same]
    if leaks:
        where = parts[0][1].where
        findings.add("leak", where, len(leaks), items=listing(leaks))


def _report_strays(splits: Mapping[Split, Index], findings: Findings) -> None:
    """Pictures below the image folders that no split lists."""
    known: set[Path] = set()
    folders: dict[Path, str] = {}
    for index in splits.values():
        if isinstance(index.source, ImageFiles):
            known |= {index.source.path(row) for row in range(len(index.source))}
            folders.setdefault(index.source.folder, index.where)
    for folder, where in folders.items():
        if folder.is_dir():
            strays = [path for path in pictures(folder) if path not in known]
            known |= set(strays)
            if strays:
                names = listing(str(path.relative_to(folder)) for path in strays)
                findings.add("stray-image", where, len(strays), folder=folder, items=names)
