"""The cheap checks of a data set that was read: what training would trip over, and what it should know."""

import hashlib
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from .findings import Findings, listing
from .images import PICTURES, ImageFiles
from .index import Index
from .types import SPLITS, Split

SMALLEST, LONGEST = 8, 20  # pixels of the shorter side, ratio of the sides: beyond them little is left to see
CURES = {
    "without area": "draw them again or remove them",
    "outside the image": "check that the boxes are x, y, width, height in pixels of this image",
    "one pixel thin": "remove them, or use larger images",
}


def check_splits(splits: Mapping[Split, Index], findings: Findings) -> dict[Split, Index]:
    """Check each split and all together; the result numbers the classes alike in all of them."""
    for split in SPLITS:
        if split not in splits:
            _report_missing(split, splits, findings)
        else:
            check_index(split, splits[split], findings)
    _report_leaks(splits, findings)
    _report_strays(splits, findings)
    return align_classes(splits, findings)


def _report_missing(split: Split, splits: Mapping[Split, Index], findings: Findings) -> None:
    where = Path(next(iter(splits.values())).where).parent if splits else "data"
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
        consequence = {"train": "nothing can be trained on it", "valid": "no ground truth, AP is not defined"}
        text = f"the {split} split is empty: {consequence.get(split, 'no ground truth, AP is not defined')}"
        (findings.error if split == "train" else findings.warn)("empty-split", index.where, text)
        return
    if not len(index.boxes.labels):
        text = f"the {split} split has no box: " + (
            "it can only teach what is background" if split == "train" else "no ground truth, AP is not defined"
        )
        findings.warn("no-boxes", index.where, text)
    _report_boxes(index, findings)
    _report_convention(index, findings)
    short, long = index.sizes.amin(1), index.sizes.amax(1)
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
    x, y, w, h = index.boxes.xywh.unbind(-1)
    if not len(x):
        return
    if float(index.boxes.xywh.max()) <= 1:
        text = "every box is below one pixel: these look like fractions of the image; multiply them by width and height"
        findings.warn("normalised-boxes", index.where, text, len(x))
        return
    corners = (w > x) & (h > y)
    area = (w - x) * (h - y)
    by_area = ((index.boxes.area - area).abs() <= 0.02 * area) & ((index.boxes.area - w * h).abs() > 0.02 * w * h)
    height, width = index.sizes[index.boxes.images].double().unbind(-1)
    leaving = (x + w > width + 1) | (y + h > height + 1)
    suspects = int((by_area & corners).sum()), int(leaving.sum())
    if corners.all() and max(suspects) > len(x) / 2:
        text = (
            f"these look like corners x1, y1, x2, y2 instead of x, y, width, height: of {len(x)} boxes {suspects[1]} "
            f"leave their image and {suspects[0]} have the area of such corners; convert them"
        )
        findings.warn("corner-boxes", index.where, text, len(x))


def _have(index: Index, mask: Tensor) -> Tensor:
    """Mask [N] of the images with a box of ``mask`` [M]."""
    have = torch.zeros(len(index), dtype=torch.bool)
    have[index.boxes.images[mask]] = True
    return have


def _images(index: Index, mask: Tensor, most: int = 10) -> str:
    chosen = mask.nonzero().flatten().tolist()
    more = f" and {len(chosen) - most} more" if len(chosen) > most else ""
    return ", ".join(index.name(image) for image in chosen[:most]) + more


def align_classes(splits: Mapping[Split, Index], findings: Findings) -> dict[Split, Index]:
    """Number the classes of all splits as those of the first one (train, if there is one), by their names.

    A split may have fewer classes; one that the first split does not know is an error.
    """
    if not splits:
        return {}
    first, *others = sorted(splits, key=SPLITS.index)
    names = splits[first].class_names
    aligned = {first: splits[first]}
    for split in others:
        index = splits[split]
        aligned[split] = index
        if index.class_names == names:
            continue
        unknown = [name for name in index.class_names if name not in names]
        if unknown:
            text = (
                f"the {split} split has classes that {first} lacks: {listing(map(repr, unknown))} ({first} has "
                f"{listing(map(repr, names))}); give all splits the same categories"
            )
            findings.error("classes-differ", index.where, text, len(unknown))
            continue
        text = (
            f"the {split} split lists {len(index.class_names)} of the {len(names)} classes of {first}; matched by name"
        )
        findings.warn("fewer-classes", index.where, text)
        table = torch.tensor([names.index(name) for name in index.class_names])
        boxes = index.boxes._replace(labels=table[index.boxes.labels])
        aligned[split] = replace(index, class_names=names, category_ids=splits[first].category_ids, boxes=boxes)
    return aligned


def _report_leaks(splits: Mapping[Split, Index], findings: Findings) -> None:
    """Files with the same bytes in two splits; only files of equal length are read."""
    by_length: dict[int, list[tuple[Split, Path]]] = defaultdict(list)
    for split, index in splits.items():
        if isinstance(index.source, ImageFiles):
            for row in index.rows.tolist():
                path = index.source.path(row)
                by_length[path.stat().st_size if path.is_file() else -1].append((split, path))
    leaks = []
    for length, group in by_length.items():
        if length < 1 or len({split for split, _ in group}) == 1:
            continue
        by_content: dict[bytes, list[tuple[Split, Path]]] = defaultdict(list)
        for split, path in group:
            by_content[hashlib.sha256(path.read_bytes()).digest()].append((split, path))
        same = [members for members in by_content.values() if len({split for split, _ in members}) > 1]
        leaks += [" = ".join(f"{split}/{path.name}" for split, path in members) for members in same]
    if leaks:
        where = next(iter(splits.values())).where
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
