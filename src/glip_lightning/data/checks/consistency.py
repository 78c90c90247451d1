"""The cheap checks of a data set that was read: what training would trip over, and what it should know."""

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from glip_lightning.common.errors import GLIPError
from glip_lightning.common.escaping import is_text, printable
from glip_lightning.common.files import regular_file
from glip_lightning.data.checks.findings import Findings, listing
from glip_lightning.data.images import PICTURES, ImageFiles
from glip_lightning.data.index import Index, Mask
from glip_lightning.data.types import SPLITS, Split
from glip_lightning.ops.dense_outputs import MAX_TOKENS
from glip_lightning.text.phrases import Phrase
from glip_lightning.text.token_spans import HasOffsets

SMALLEST, LONGEST = 8, 20  # pixels of the shorter side, ratio of the sides: beyond them little is left to see
LONGEST_NAME = MAX_TOKENS - 4
"""Tokens that a class may have: a caption holds 256, with [CLS], [SEP], a separator and one to spare, without which
:func:`..prompts.sample_phrases` finds no class for a picture."""

CURES = {
    "without area": "draw them again or remove them",
    "outside the image": "check that the boxes are x, y, width, height in pixels of this image",
    "one pixel thin": "remove them, or use larger images",
}


def check_names(phrases: Sequence[Phrase], tokenizer: HasOffsets, where: object) -> None:
    """Raise GLIPError for classes whose names no caption can hold; a detector with a table of classes reads none."""
    if broken := [phrase.text for phrase in phrases if not is_text(phrase.text)]:
        text = f"half a character (a lone surrogate) is in {listing(broken)}"
        raise GLIPError(f"{where}: {text}; write the names anew", code="broken-text")
    counts = [len(tokenizer.offsets(phrase.text)) - 2 for phrase in phrases]  # without [CLS] and [SEP]
    pairs = zip(phrases, counts, strict=True)
    if long := [f"'{printable(phrase.name[:40])}...' ({n} tokens)" for phrase, n in pairs if n > LONGEST_NAME]:
        text = f"{len(long)} classes are too long for a caption, which has room for {LONGEST_NAME} tokens of a class"
        raise GLIPError(f"{where}: {text}: {listing(long)}; say it in a few words", code="name-too-long")


def check_splits(splits: Mapping[Split, Index], findings: Findings) -> dict[Split, Index]:
    """Check each split and all together; the result numbers the classes alike in all of them."""
    splits = {split: splits[split] for split in SPLITS if split in splits}
    if not splits:
        return {}
    for split in SPLITS:
        if split not in splits:
            _report_missing(split, splits, findings)
        else:
            check_index(split, splits[split], findings)
    report_leaks(splits.items(), findings)
    _report_strays(splits, findings)
    return align_classes(splits, findings)


def _report_missing(split: Split, splits: Mapping[Split, Index], findings: Findings) -> None:
    where = Path(next(iter(splits.values())).where).parent
    if split == "train":
        findings.warn("missing-split", where, "there is no train split: nothing can be trained on it")
    elif split == "valid":
        text = (
            "there is no valid split: the last weights are kept instead of the best ones (test is not used to choose)"
        )
        findings.warn("missing-split", where, text)
    else:
        findings.warn("missing-split", where, "there is no test split: the result is the AP of the valid split")


def check_index(split: Split, index: Index, findings: Findings) -> None:
    """Images and boxes of one split."""
    if not len(index):
        consequence = "nothing can be trained on it" if split == "train" else "no ground truth, AP is not defined"
        text = f"the {split} split is empty: {consequence}"
        (findings.error if split == "train" else findings.warn)("empty-split", index.where, text)
        return
    if not len(index.boxes.labels):
        text = f"the {split} split has no box: " + (
            "it can only teach what is background" if split == "train" else "no ground truth, AP is not defined"
        )
        findings.warn("no-boxes", index.where, text)
    _report_boxes(index, findings)
    _report_convention(index, findings)
    short, long = index.sizes.min(1), index.sizes.max(1)
    extreme = (short < SMALLEST) | (long > LONGEST * short)
    if extreme.any():
        text = f"very small or very long images: {_images(index, extreme)}; check whether they are meant"
        findings.warn("extreme-image", index.where, text, int(extreme.sum()))


def _report_boxes(index: Index, findings: Findings) -> None:
    """What training does without, what it clips, and the images without boxes."""
    for reason, mask in index.dropped().items():
        count = int(mask.sum())
        where = _images(index, _have(index, mask))
        if reason == "crowd":
            text = f"{count} crowd boxes are ignored in evaluation and not trained on ({where})"
            findings.note("crowd", index.where, text, count)
        else:
            text = f"{count} boxes {reason} are left out ({where}); {CURES[reason]}"
            findings.warn("dropped-box", index.where, text, count)
    if count := int((clipped := index.clipped()).sum()):
        text = f"{count} boxes leave their image and are clipped to it ({_images(index, _have(index, clipped))})"
        findings.warn("clipped-box", index.where, text, count)
    if count := int((empty := ~_have(index, index.trains())).sum()):
        text = f"{count} of {len(index)} images have no box to train on ({_images(index, empty)}); they are negatives"
        findings.note("image-without-boxes", index.where, text, count)


def _report_convention(index: Index, findings: Findings) -> None:
    """Boxes in another convention than x, y, width, height in pixels."""
    x, y, w, h = index.boxes.xywh.T
    if not len(x):
        return
    if float(index.boxes.xywh.max()) <= 1:
        text = "every box is below one pixel: these look like fractions of the image; multiply them by width and height"
        findings.warn("normalised-boxes", index.where, text, len(x))
        return
    corners = (w > x) & (h > y)
    area = (w - x) * (h - y)
    by_area = (np.abs(index.boxes.area - area) <= 0.02 * area) & (np.abs(index.boxes.area - w * h) > 0.02 * w * h)
    height, width = index.sizes[index.boxes.images].T
    leaving = (x + w > width + 1) | (y + h > height + 1)
    suspects = int((by_area & corners).sum()), int(leaving.sum())
    if corners.all() and max(suspects) > len(x) / 2:
        text = (
            f"these look like corners x1, y1, x2, y2 instead of x, y, width, height: of {len(x)} boxes {suspects[1]} "
            f"leave their image and {suspects[0]} have the area of such corners; convert them"
        )
        findings.warn("corner-boxes", index.where, text, len(x))


def _have(index: Index, mask: Mask) -> Mask:
    """Mask [N] of the images with a box of ``mask`` [M]."""
    have = np.zeros(len(index), dtype=bool)
    have[index.boxes.images[mask]] = True
    return have


def _images(index: Index, mask: Mask, most: int = 10) -> str:
    chosen = np.flatnonzero(mask).tolist()
    more = f" and {len(chosen) - most} more" if len(chosen) > most else ""
    return ", ".join(index.name(image) for image in chosen[:most]) + more


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
            text = (
                f"the {split} split has classes that {next(iter(splits))} lacks, {listing(map(repr, unknown))}, and "
                f"numbers {listing(map(repr, other))} differently; give all splits the same categories"
            )
            findings.error("classes-differ", index.where, text, len(unknown))
        elif numbered != first:
            lists = f"lists {listing(map(repr, numbered))}, {next(iter(splits))} {listing(map(repr, first))}"
            findings.warn("classes-differ", index.where, f"the {split} split {lists}; matched by name")
        names = names | {name: number for name, number in numbered.items() if name not in names}
    return {split: _renumbered(index, names) for split, index in splits.items()}


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
    for split, path in dict.fromkeys(files):  # a photo may stand in a file once for each of its captions
        by_length[path.stat().st_size if path.is_file() else -1].append((split, path))
    leaks = []
    for length, group in by_length.items():
        if length < 1 or len({split for split, _ in group}) == 1:
            continue
        by_content: dict[bytes, list[tuple[Split, Path]]] = defaultdict(list)
        for split, path in group:
            by_content[hashlib.sha256(regular_file(path).read_bytes()).digest()].append((split, path))
        same = [members for members in by_content.values() if len({split for split, _ in members}) > 1]
        leaks += [" = ".join(f"{split}/{path.name}" for split, path in members) for members in same]
    if leaks:
        where = parts[0][1].where
        text = f"the same image is in two splits: {listing(leaks)}; take it out of one, or the AP is too good"
        findings.warn("leak", where, text, len(leaks))


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
            strays = [p for p in sorted(folder.rglob("*")) if p.suffix.lower() in PICTURES and p not in known]
            known |= set(strays)
            if strays:
                names = listing(str(path.relative_to(folder)) for path in strays)
                text = f"{len(strays)} pictures in {folder} are not listed and not used: {names}"
                findings.warn("stray-image", where, text, len(strays))
