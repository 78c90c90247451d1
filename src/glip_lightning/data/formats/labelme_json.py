"""LabelMe: one JSON file of shapes beside each picture, also as AnyLabeling writes it."""

import math
from pathlib import Path
from typing import Any

from glip_lightning.common.errors import GLIPError
from glip_lightning.data.checks.findings import Faults, Findings, short
from glip_lightning.data.formats.mask_boxes import Corners, is_number
from glip_lightning.data.formats.other_tools import load_json
from glip_lightning.data.formats.per_picture import (
    Annotation,
    Object,
    PictureFinder,
    build_indexes,
    one_each,
)
from glip_lightning.data.images import is_file, pictures
from glip_lightning.data.index import Index
from glip_lightning.data.splits import SPLIT_FILE, SPLIT_WORDS
from glip_lightning.data.types import Split

LOOKED_AT = 3  # files that decide whether a folder is LabelMe's
LEAST = {"rectangle": 2, "mask": 2, "polygon": 3, "rotation": 3, "circle": 2}
"""How many points the shapes with a box have at least; lines and points have no box."""
IGNORED = ("__ignore__", "_background_")
VALUES = {"bad-box": {"what": "shapes whose points", "expected": "a list of [x, y] in pixels"}}


def json_files(folder: Path) -> list[Path]:
    """Return the JSON files below a folder that may be annotations, by name.

    They are looked for in the same sub-folders as pictures: not in hidden ones, and behind links.
    """
    files = pictures(folder, frozenset({".json"}))
    return [path for path in files if path.name != SPLIT_FILE and is_file(path)]


def is_labelme(folder: Path) -> bool:
    """Return whether one of the first JSON files beside the pictures is LabelMe's."""
    for path in json_files(folder)[:LOOKED_AT]:
        try:
            content = load_json(path)
        except (ValueError, OSError):
            continue
        if is_annotation(content):
            return True
    return False


def is_annotation(content: Any) -> bool:
    """Return whether a JSON file with this content is one of LabelMe."""
    if not isinstance(content, dict) or "imagePath" not in content:
        return False
    return isinstance(content.get("shapes"), list)


def read_labelme(folder: Path, findings: Findings) -> dict[Split, Index]:
    """Read the splits of a folder of LabelMe: by the names of its folders, else ``train`` only.

    Shapes with one label and one group are one object, as in LabelMe's own conversions. Lines and
    points have no box, and ``__ignore__`` and ``_background_`` are no classes: all of them are
    counted and left out. Faults go to ``findings``.
    """
    faults = Faults()
    finder = PictureFinder(folder)
    groups: dict[Split, list[Annotation]] = {}
    others: list[Annotation] = []
    for file in json_files(folder):
        item = _parse(file, finder, faults)
        if item is None:
            continue
        split = _split_of(file.relative_to(folder))
        if split is None:
            others.append(item)
        else:
            groups.setdefault(split, []).append(item)
    if not groups:
        groups = {"train": others}
    elif others:
        faults["stray-annotation"] += [item.file.name for item in others]
    groups = {split: one_each(items, faults) for split, items in groups.items()}
    faults.report(folder, findings, VALUES)
    return build_indexes(folder, ".json", groups, findings)


def _split_of(path: Path) -> Split | None:
    """Return the split that the first of the folders of a path names, None if none does."""
    for folder in path.parts[:-1]:
        split = SPLIT_WORDS.get(folder.lower())
        if split is not None:
            return split
    return None


def _parse(file: Path, finder: PictureFinder, faults: Faults) -> Annotation | None:
    """Return the annotation that a file holds; None, and a fault, if it cannot be used."""
    try:
        content = load_json(file)
    except (GLIPError, OSError) as error:
        faults["broken-json"].append(f"{file.name} ({error})")
        return None
    if not is_annotation(content):
        faults["stray-annotation"].append(file.name)
        return None
    name = content["imagePath"] if isinstance(content["imagePath"], str) else ""
    picture = finder.find(name, file)
    if picture is None:
        inside = ", which is only inside the file" if content.get("imageData") else ""
        faults["missing-image/files"].append(f"{short(name)} ({file.name}{inside})")
        return None
    height, width = content.get("imageHeight"), content.get("imageWidth")
    size = (int(height), int(width)) if is_number(height) and is_number(width) else None
    return Annotation(file, picture, size, _objects(content["shapes"], file.name, faults))


def _objects(shapes: list[Any], name: str, faults: Faults) -> list[Object]:
    """Return the objects in a picture, in the order of their first shapes.

    Args:
        shapes: as the file has them.
        name: of the file, for faults.
        faults: where shapes without a box or a label are added.
    """
    merged: dict[object, Object] = {}
    for number, entry in enumerate(shapes, start=1):
        place = f"{name}, shape {number}"
        shape = entry if isinstance(entry, dict) else {}
        label = shape.get("label")
        kind = shape.get("shape_type") or "polygon"
        corners = _corners(kind, shape.get("points"))
        if label in IGNORED:
            faults["left-out-shape"].append(f"{place} ({label})")
        elif not isinstance(label, str) or not label.strip():
            faults["no-category-name"].append(place)
        elif kind not in LEAST:
            faults["left-out-shape"].append(f"{place} ({short(kind)})")
        elif corners is None:
            faults["bad-box"].append(f"{place} ({short(shape.get('points'))})")
        else:
            group = shape.get("group_id")
            key = number if group is None else (label, str(group))
            if key in merged:
                corners = _around(merged[key].corners, corners)
            merged[key] = Object(" ".join(label.split()), corners)
    return list(merged.values())


def _corners(kind: object, points: Any) -> Corners | None:
    """Return the corners of the box around a shape.

    Return None if its points are no points or too few.
    """
    pairs = points if isinstance(points, list) else []
    for pair in pairs:
        if not isinstance(pair, list) or len(pair) != 2:
            return None
        if not is_number(pair[0]) or not is_number(pair[1]):
            return None
    if len(pairs) < LEAST.get(str(kind), 1):
        return None
    xs, ys = zip(*pairs, strict=True)
    if kind == "circle":  # its centre, and a point on it
        radius = math.dist(pairs[0], pairs[1])
        return xs[0] - radius, ys[0] - radius, xs[0] + radius, ys[0] + radius
    return float(min(xs)), float(min(ys)), float(max(xs)), float(max(ys))


def _around(one: Corners, other: Corners) -> Corners:
    left, top = min(one[0], other[0]), min(one[1], other[1])
    right, bottom = max(one[2], other[2]), max(one[3], other[3])
    return left, top, right, bottom
