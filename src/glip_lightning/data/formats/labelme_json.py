"""LabelMe: one JSON file of shapes beside each picture, also as AnyLabeling writes it."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from glip_lightning.common.errors import GLIPError
from glip_lightning.data.checks.findings import Findings, short
from glip_lightning.data.formats.mask_boxes import is_number
from glip_lightning.data.formats.other_tools import load_json
from glip_lightning.data.formats.per_picture import (
    Annotation,
    Faults,
    Object,
    PictureFinder,
    build_indexes,
    one_each,
)
from glip_lightning.data.index import Index
from glip_lightning.data.splits import SPLIT_FILE, SPLIT_WORDS
from glip_lightning.data.types import Split

LOOKED_AT = 3  # files that decide whether a folder is LabelMe's
LEAST = {"rectangle": 2, "mask": 2, "polygon": 3, "rotation": 3, "circle": 2}
"""Points of the shapes that have a box; lines and points have none."""
IGNORED = ("__ignore__", "_background_")
VALUES = {"bad-box": {"what": "shapes whose points", "expected": "a list of [x, y] in pixels"}}


def json_files(folder: Path) -> Iterator[Path]:
    """The JSON files below the folder that may be annotations, by name."""
    for path in sorted(folder.rglob("*.json")):
        inside = path.relative_to(folder).parts
        if (
            path.name != SPLIT_FILE
            and not any(part.startswith(".") for part in inside)
            and path.is_file()
        ):
            yield path


def is_labelme(folder: Path) -> bool:
    """Return whether one of the first JSON files beside the pictures is LabelMe's."""
    for path, _ in zip(json_files(folder), range(LOOKED_AT), strict=False):
        try:
            content = load_json(path)
        except (ValueError, OSError):
            continue
        if is_annotation(content):
            return True
    return False


def is_annotation(content: Any) -> bool:
    """Return whether a file holds what LabelMe writes."""
    return (
        isinstance(content, dict)
        and isinstance(content.get("shapes"), list)
        and "imagePath" in content
    )


def read_labelme(folder: Path, findings: Findings) -> dict[Split, Index]:
    """The splits of a folder of LabelMe: by the names of the folders, else ``train`` only.

    Shapes with one label and one group are one object, as in LabelMe's own conversions. Lines and points have no box,
    and ``__ignore__`` and ``_background_`` are no classes: they are counted and left out.
    """
    faults, finder = Faults(), PictureFinder(folder)
    found: dict[Split | None, list[Annotation]] = {}
    for file in json_files(folder):
        words = [part.lower() for part in file.relative_to(folder).parts[:-1]]
        split = next((SPLIT_WORDS[word] for word in words if word in SPLIT_WORDS), None)
        if item := _parse(file, finder, faults):
            found.setdefault(split, []).append(item)
    others = found.pop(None, [])
    groups: dict[Split, list[Annotation]] = {
        split: items for split, items in found.items() if split
    }
    if not groups:
        groups = {"train": others}
    elif others:
        faults["stray-annotation"] += [item.file.name for item in others]
    groups = {split: one_each(items, faults) for split, items in groups.items()}
    faults.report(folder, findings, VALUES)
    return build_indexes(folder, ".json", groups, findings)


def _parse(file: Path, finder: PictureFinder, faults: Faults) -> Annotation | None:
    """What an annotation file says; None, and a fault, if that is of no use."""
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
    """The things in a picture, in the order of their first shapes."""
    merged: dict[object, Object] = {}
    for number, shape in enumerate(shapes, start=1):
        place = f"{name}, shape {number}"
        shape = shape if isinstance(shape, dict) else {}
        label, kind = shape.get("label"), shape.get("shape_type") or "polygon"
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
            first = merged.get(key)
            merged[key] = Object(
                " ".join(label.split()), _around(first.corners, corners) if first else corners
            )
    return list(merged.values())


def _corners(kind: object, points: Any) -> tuple[float, float, float, float] | None:
    """The box around a shape; None if its points are no points, or too few."""
    pairs = points if isinstance(points, list) else []
    if not all(
        isinstance(pair, list) and len(pair) == 2 and all(map(is_number, pair)) for pair in pairs
    ):
        return None
    if len(pairs) < LEAST.get(str(kind), 1):
        return None
    xs, ys = zip(*pairs, strict=True)
    if kind == "circle":  # its centre, and a point on it
        radius = math.dist(pairs[0], pairs[1])
        return xs[0] - radius, ys[0] - radius, xs[0] + radius, ys[0] + radius
    return float(min(xs)), float(min(ys)), float(max(xs)), float(max(ys))


def _around(
    one: tuple[float, float, float, float], other: tuple[float, float, float, float]
) -> tuple[float, float, float, float]:
    return (
        min(one[0], other[0]),
        min(one[1], other[1]),
        max(one[2], other[2]),
        max(one[3], other[3]),
    )
