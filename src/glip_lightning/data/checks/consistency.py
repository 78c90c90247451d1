"""Checks of a data set that need no pixels: what stops a training, and what is good to know."""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from glip_lightning.common.escaping import is_text, printable
from glip_lightning.common.files import regular_file
from glip_lightning.data.checks.findings import Findings, data_error, listing
from glip_lightning.data.images import ImageFiles, pictures
from glip_lightning.data.index import Index, Mask
from glip_lightning.data.types import SPLITS, Split
from glip_lightning.ops.dense_outputs import MAX_TOKENS
from glip_lightning.text.phrases import Phrase
from glip_lightning.text.tokenizer import Tokenizer

SMALLEST_SIDE = 8  # pixels; little is left to see in smaller images
LONGEST_SHAPE = 20  # longer side over shorter side; longer images lose their details in resizing
COUNTED = 100  # detections of an image that AP looks at (COCO's maxDets)
LONGEST_NAME = MAX_TOKENS - 4
"""Tokens that a class may have.

A caption holds 256, with [CLS], [SEP], a separator and one to spare, without which
:func:`glip_lightning.text.captions.sample_phrases` finds no class for an image.
"""

DROPPED = {
    "without area": "dropped-box/flat",
    "outside the image": "dropped-box/outside",
    "one pixel thin": "dropped-box/thin",
    "crowd": "crowd",
}
"""The problem of each reason to train without a box."""


def check_names(phrases: Sequence[Phrase], tokenizer: Tokenizer, where: object) -> None:
    """Raise an error for classes whose names fit into no caption.

    A detector with a table of classes reads no names, so that every name fits.

    Raises:
        DataError: a name is not valid text (``broken-text``) or too long (``name-too-long``).
    """
    broken = [phrase.text for phrase in phrases if not is_text(phrase.text)]
    if broken:
        raise data_error("broken-text", where, items=listing(broken))
    long = []
    for phrase in phrases:
        tokens = len(tokenizer.offsets(phrase.text)) - 2  # without [CLS] and [SEP]
        if tokens > LONGEST_NAME:
            long.append(f"'{printable(phrase.name[:40])}...' ({tokens} tokens)")
    if long:
        raise data_error("name-too-long", where, len(long), room=LONGEST_NAME, items=listing(long))


def check_splits(splits: Mapping[Split, Index], findings: Findings) -> dict[Split, Index]:
    """Check each split and all together.

    Returns:
        The splits in their usual order, with the same classes in all of them.
    """
    splits = {split: splits[split] for split in SPLITS if split in splits}
    if not splits:
        return {}
    first = next(iter(splits.values()))
    any_image = any(len(index) for index in splits.values())
    any_box = any(index.trains().any() for index in splits.values())
    if any_image and not any_box:
        counts = ", ".join(
            f"{split}: images {len(index)}, boxes {len(index.boxes.labels)}"
            for split, index in splits.items()
        )
        findings.add("no-boxes/all", first.where, counts=counts)
    for split in SPLITS:
        if split not in splits:
            findings.add(f"missing-split/{split}", Path(first.where).parent)
        else:
            check_index(split, splits[split], findings)
            _report_duplicates(splits[split], findings)
    report_leaks(splits.items(), findings)
    _report_strays(splits, findings)
    aligned = align_classes(splits, findings)
    _report_classes(aligned, findings)
    return aligned


def choose_classes(
    splits: Mapping[Split, Index], wanted: Sequence[str] | None, findings: Findings
) -> dict[Split, Index]:
    """Return the splits with the ``wanted`` classes only, in the order of the data; None for all.

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
        items = listing(map(repr, unknown)) or "an empty list"
        known = ", ".join(map(printable, names))
        raise data_error(
            "unknown-class/chosen", "data.classes", items=items, file=first.where, known=known
        )
    labels = [label for label, name in enumerate(names) if name in wanted]
    others = listing(name for name in names if name not in wanted)
    chosen = {split: index.only(labels) for split, index in splits.items()}
    for split, index in splits.items():
        count = len(index.boxes.labels) - len(chosen[split].boxes.labels)
        if count:
            findings.add("class-not-chosen", index.where, count, split=split, items=others)
    return chosen


def check_index(split: Split, index: Index, findings: Findings) -> None:
    """Check images and boxes of one split."""
    kind = "train" if split == "train" else "other"
    if not len(index):
        findings.add(f"empty-split/{kind}", index.where, split=split)
        return
    if not index.trains().any():
        findings.add(f"no-boxes/{kind}", index.where, split=split)
    _report_boxes(index, findings)
    if split != "train":
        _report_many_objects(index, findings)
    _report_convention(index, findings)
    short, long = index.sizes.min(1), index.sizes.max(1)
    extreme = (short < SMALLEST_SIDE) | (long > LONGEST_SHAPE * short)
    count = int(extreme.sum())
    if count:
        findings.add("extreme-image", index.where, count, items=_list_images(index, extreme))


def _report_boxes(index: Index, findings: Findings) -> None:
    """Report boxes that are not trained on or clipped, and images without boxes."""
    for reason, mask in index.dropped().items():
        items = _list_images(index, _images_with(index, mask))
        findings.add(DROPPED[reason], index.where, int(mask.sum()), items=items)
    clipped = index.clipped()
    count = int(clipped.sum())
    if count:
        items = _list_images(index, _images_with(index, clipped))
        findings.add("clipped-box", index.where, count, items=items)
    empty = ~_images_with(index, index.trains())
    count = int(empty.sum())
    if count:
        items = _list_images(index, empty)
        findings.add("image-without-boxes", index.where, count, total=len(index), items=items)


def _report_duplicates(index: Index, findings: Findings) -> None:
    """Report images that are listed twice, and boxes that repeat one of their image and class."""
    names = Counter(index.name(image) for image in range(len(index)))
    listed = [name for name, count in names.items() if count > 1]
    if listed:
        findings.add("duplicate-image/entries", index.where, len(listed), items=listing(listed))
    boxes = index.boxes
    rows = np.column_stack((boxes.images, boxes.labels, boxes.xywh))
    _, first = np.unique(rows, axis=0, return_index=True)
    again = np.ones(len(rows), dtype=bool)
    again[first] = False
    count = int(again.sum())
    if count:
        items = _list_images(index, _images_with(index, again))
        findings.add("duplicate-box", index.where, count, items=items)


def _report_many_objects(index: Index, findings: Findings) -> None:
    """Report images with more objects than AP counts detections: the others cannot be found."""
    real = index.boxes.inside & ~index.boxes.crowd
    objects = np.bincount(index.boxes.images[real], minlength=len(index))
    many = objects > COUNTED
    if not many.any():
        return
    highest = np.minimum(objects, COUNTED).sum() / objects.sum()
    findings.add(
        "many-objects",
        index.where,
        int(many.sum()),
        counted=COUNTED,
        most=objects.max(),
        highest=f"{highest:.0%}",
        items=_list_images(index, many),
    )


def _report_convention(index: Index, findings: Findings) -> None:
    """Report boxes in another convention than x, y, width, height in pixels."""
    x, y, w, h = index.boxes.xywh.T
    if not len(x):
        return
    if float(index.boxes.xywh.max()) <= 1:
        findings.add("normalised-boxes", index.where, len(x))
        return
    # what if w and h were the second corner? Then the area of the file tells, or the border
    possible = (w > x) & (h > y)
    area = (w - x) * (h - y)
    is_area_of_corners = np.abs(index.boxes.area - area) <= 0.02 * area
    is_area_of_sides = np.abs(index.boxes.area - w * h) <= 0.02 * w * h
    corners = int((possible & is_area_of_corners & ~is_area_of_sides).sum())
    height, width = index.sizes[index.boxes.images].T
    leaving = int(((x + w > width + 1) | (y + h > height + 1)).sum())
    if possible.all() and max(corners, leaving) > len(x) / 2:
        findings.add("corner-boxes", index.where, len(x), corners=corners, leaving=leaving)


def _images_with(index: Index, mask: Mask) -> Mask:
    """Return the mask [N] of the images with a box of ``mask`` [M]."""
    images = np.zeros(len(index), dtype=bool)
    images[index.boxes.images[mask]] = True
    return images


def _list_images(index: Index, mask: Mask) -> str:
    """Return the names of the images of ``mask`` [N] as a message lists them."""
    return listing(index.name(image) for image in np.flatnonzero(mask).tolist())


def align_classes(splits: Mapping[Split, Index], findings: Findings) -> dict[Split, Index]:
    """Give the classes the same numbers in all splits, by name, those of the first split first.

    A split may have fewer classes, or others besides, which an open vocabulary can be tested on.
    One that has others and numbers the common ones differently was made for another list: this is
    an error.
    """
    numbers: dict[str, int] = {}  # of all classes, by name
    first: dict[str, int] = {}
    first_split = next(iter(splits), None)
    for split, index in splits.items():
        own = dict(zip(index.class_names, index.category_ids, strict=True))
        first = first or own
        unknown = [name for name in own if name not in first]
        other = [name for name, number in own.items() if first.get(name, number) != number]
        if unknown and other:
            findings.add(
                "classes-differ/numbers",
                index.where,
                len(unknown),
                split=split,
                first=first_split,
                unknown=listing(map(repr, unknown)),
                other=listing(map(repr, other)),
            )
        elif own != first:
            findings.add(
                "classes-differ/names",
                index.where,
                split=split,
                first=first_split,
                own=listing(map(repr, own)),
                others=listing(map(repr, first)),
            )
        numbers |= {name: number for name, number in own.items() if name not in numbers}
    return {split: _renumber(index, numbers) for split, index in splits.items()}


def _report_classes(splits: Mapping[Split, Index], findings: Findings) -> None:
    """Report classes without a box to train on, and those that only another split has boxes of."""
    counts = {}
    for split, index in splits.items():
        labels = index.boxes.labels[index.trains()]
        counts[split] = np.bincount(labels, minlength=len(index.class_names))
    anywhere = np.sum([*counts.values()], axis=0) > 0
    for split, index in splits.items():
        absent = counts[split] == 0
        key = "untrained-class"
        if split != "train":
            absent &= anywhere
            key = "missing-class"
        missing = [repr(index.class_names[label]) for label in np.flatnonzero(absent)]
        if missing and counts[split].any():  # a split without any box is another finding
            findings.add(key, index.where, len(missing), split=split, items=listing(missing))


def _renumber(index: Index, numbers: Mapping[str, int]) -> Index:
    """Return the index with the classes of ``numbers``: names in order, with their category ids."""
    label_of = {name: label for label, name in enumerate(numbers)}
    new_labels = np.array([label_of[name] for name in index.class_names], dtype=np.int64)
    boxes = replace(index.boxes, labels=new_labels[index.boxes.labels])
    ids = tuple(numbers.values())
    return replace(index, class_names=tuple(numbers), category_ids=ids, boxes=boxes)


def report_leaks(parts: Iterable[tuple[Split, Index]], findings: Findings) -> None:
    """Report files with the same bytes in two splits.

    A split may have several parts. Only files of equal length are read.
    """
    parts = list(parts)
    by_length: dict[int, list[tuple[Split, Path]]] = defaultdict(list)
    # each file once: an annotation file may list a photo once for each of its captions
    for split, path in dict.fromkeys(_image_files(parts)):
        if path.is_file():
            by_length[path.stat().st_size].append((split, path))
    leaks: list[list[tuple[Split, Path]]] = []
    for length, group in by_length.items():
        if length == 0 or not _is_across_splits(group):
            continue
        by_content: dict[bytes, list[tuple[Split, Path]]] = defaultdict(list)
        for split, path in group:
            digest = hashlib.sha256(regular_file(path).read_bytes()).digest()
            by_content[digest].append((split, path))
        leaks += [members for members in by_content.values() if _is_across_splits(members)]
    if leaks:
        items = listing(_describe_leak(members) for members in leaks)
        findings.add("leak", parts[0][1].where, len(leaks), items=items)


def _describe_leak(members: Sequence[tuple[Split, Path]]) -> str:
    return " = ".join(f"{split}/{path.name}" for split, path in members)


def _image_files(parts: Iterable[tuple[Split, Index]]) -> Iterator[tuple[Split, Path]]:
    """Yield split and path of all images that are files."""
    for split, index in parts:
        if isinstance(index.source, ImageFiles):
            for row in index.rows.tolist():
                yield split, index.source.path(row)


def _is_across_splits(members: Sequence[tuple[Split, Path]]) -> bool:
    """Return whether the files are of more than one split."""
    return len({split for split, _ in members}) > 1


def _report_strays(splits: Mapping[Split, Index], findings: Findings) -> None:
    """Report images below the image folders that no split lists."""
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
