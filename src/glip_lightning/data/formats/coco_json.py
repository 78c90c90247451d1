"""COCO annotation files: checked, with every fault named, and read into an :class:`Index`."""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from glip_lightning.common.errors import GLIPError
from glip_lightning.common.files import regular_file
from glip_lightning.data.checks.findings import Findings, data_error, listing, short
from glip_lightning.data.formats.file_names import same_last_part
from glip_lightning.data.formats.mask_boxes import around_turned, box_around, is_number
from glip_lightning.data.formats.other_tools import tool_of
from glip_lightning.data.images import ImageFiles, is_below, is_file
from glip_lightning.data.index import Index, RawBox, RawImage, build_index


def read_coco(annotation_file: str | Path, image_dir: str | Path, findings: Findings) -> Index:
    """The images and boxes of a COCO file.

    Classes are all categories in ascending id; a category 0 that no box uses and that others name as their
    supercategory is Roboflow's name of the data set, and left out. Faults go to ``findings``; those that leave
    nothing to go on with raise :class:`DataError`.
    """
    file = Path(annotation_file)
    content = load_coco(file)
    if phrases := sum(
        isinstance(entry, dict) and "tokens_positive" in entry for entry in content["annotations"]
    ):
        findings.add("caption-phrases", file, phrases)
    return index_coco(content, file, image_dir, findings)


def index_coco(
    content: Mapping[str, Any], file: Path, image_dir: str | Path, findings: Findings
) -> Index:
    """:func:`read_coco` of a content that :func:`load_coco` gave."""
    numbers = _Numbers()
    categories = _categories(content, file, numbers, findings)
    images, names = _images(content, file, Path(image_dir), numbers, findings)
    boxes = _boxes(content, file, images, categories, numbers, findings)
    numbers.report(file, findings)
    return build_index(
        file, categories, images, boxes, ImageFiles(Path(image_dir), names), findings
    )


class _Numbers:
    """Reads ids; whole numbers in quotes or with a point are taken for what they mean, and counted."""

    def __init__(self) -> None:
        self.converted = 0

    def read(self, entry: object, key: str) -> int | None:
        """None if there is no such number."""
        number = _whole(entry, key)
        self.converted += number is not None and not isinstance(_get(entry, key), int)
        return number

    def report(self, file: Path, findings: Findings) -> None:
        if self.converted:
            findings.add("text-id", file, self.converted)


def _whole(entry: object, key: str) -> int | None:
    """The whole number that ``entry[key]`` is, or means; else None."""
    value = entry.get(key) if isinstance(entry, dict) else None
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    try:
        number = float(value) if isinstance(value, str | float) else math.nan
    except ValueError:
        return None
    return int(number) if number.is_integer() else None


def load_coco(file: Path) -> dict[str, Any]:
    """What a COCO file holds; its three lists are there, nothing else is checked."""
    try:
        text = regular_file(file).read_text(encoding="utf-8-sig")
        content = json.loads(text, object_pairs_hook=_unlike_pairs)
    except _Twice as error:
        raise data_error("duplicate-key", file, key=short(str(error))) from None
    except GLIPError:
        raise
    except FileNotFoundError:
        raise data_error("missing-file", file, kind="annotation file") from None
    except RecursionError:
        raise data_error("nested-too-deeply", file) from None
    except (
        ValueError
    ) as error:  # JSONDecodeError, UnicodeDecodeError, a number of thousands of digits
        raise data_error("not-json", file, reason=error) from error
    for key in ("images", "annotations", "categories"):
        if not isinstance(content, dict) or not isinstance(content.get(key), list):
            if tool := tool_of(content):
                raise data_error("other-tool", file, tool=tool.name, cure=tool.cure)
            raise data_error("not-coco", file, key=key)
    return content


class _Twice(Exception):
    """A key that comes twice in an object: JSON readers would take its last value and lose the others."""


def _unlike_pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return an object as a dictionary."""
    found = dict(pairs)
    if len(found) < len(pairs):
        for key, value in pairs:
            if found[key] != value:
                raise _Twice(key)
    return found


def _by_id(
    entries: Sequence[Any], what: str, file: Path, numbers: _Numbers, findings: Findings
) -> dict[int, dict[str, Any]]:
    """``entries`` by their ids; those without a usable one, or with one that came before, are errors."""
    found: dict[int, Any] = {}
    without, twice = [], []
    for place, entry in enumerate(entries, start=1):
        number = numbers.read(entry, "id")
        if number is None or abs(number) >= 2**63:
            without.append(f"number {place} ({short(entry)})")
        elif number in found:
            twice.append(number)
        else:
            found[number] = entry
    if without:
        findings.add(f"no-{what}-id", file, len(without), items=listing(without))
    if twice:
        findings.add(f"duplicate-{what}-id", file, len(twice), items=listing(twice))
    return found


def _categories(
    content: Mapping[str, Any], file: Path, numbers: _Numbers, findings: Findings
) -> dict[int, str]:
    """Category id -> name."""
    entries = _by_id(content["categories"], "category", file, numbers, findings)
    names: dict[int, str] = {}
    for number, entry in entries.items():
        name = entry.get("name")
        names[number] = name if isinstance(name, str) else ""
        if not isinstance(name, str):
            findings.add(
                "no-category-name", file, items=f"category {number}: name is {short(name)}"
            )
    parents = [entry.get("supercategory") for number, entry in entries.items() if number != 0]
    if (
        0 in names
        and names[0] in parents
        and all(_whole(annotation, "category_id") != 0 for annotation in content["annotations"])
    ):
        findings.add("background-category", file, name=names.pop(0))
    if not names:
        findings.add("no-categories", file, reason="its list of categories is empty")
    return names


def _images(
    content: Mapping[str, Any], file: Path, folder: Path, numbers: _Numbers, findings: Findings
) -> tuple[list[RawImage], list[str]]:
    """The images that are there, and their file names."""
    named = {}
    entries = _by_id(content["images"], "image", file, numbers, findings)
    for number, entry in entries.items():
        name = entry.get("file_name")
        if isinstance(name, str) and name:
            named[number] = name
        else:
            findings.add("no-file-name", file, number=number, value=short(name))
    images, names, missing, leaving = [], [], [], []
    meant = _meant(named.values(), folder, file, findings)
    for number, name in named.items():
        there = meant.get(name, name)
        if not is_below(there):
            leaving.append(f"{name!r} (image {number})")
        elif not is_file(folder / there):
            missing.append(f"{name!r} (image {number})")
        else:
            images.append(RawImage(number, _size(entries[number], numbers)))
            names.append(there)
    if leaving:
        findings.add(
            "outside-folder",
            file,
            len(leaving),
            what="file names",
            folder=folder,
            items=listing(leaving),
        )
    if missing:
        total = len(content["images"])
        findings.add(
            "missing-image", file, len(missing), total=total, folder=folder, items=listing(missing)
        )
    return images, names


def _meant(names: Iterable[str], folder: Path, file: Path, findings: Findings) -> dict[str, str]:
    """Return the pictures that names from another machine mean, and say so."""
    known = {name: is_below(name) and is_file(folder / name) for name in names}
    gone = [name for name, there in known.items() if not there]
    if not gone:
        return {}
    meant = same_last_part(gone, folder, [name for name, there in known.items() if there])
    if meant:
        items = listing(f"{name!r} = {picture}" for name, picture in meant.items())
        findings.add("other-names", file, len(meant), items=items)
    return meant


def _size(entry: Mapping[str, Any], numbers: _Numbers) -> tuple[int, int] | None:
    """Height and width, if the file says both."""
    height, width = numbers.read(entry, "height"), numbers.read(entry, "width")
    return None if height is None or width is None else (height, width)


def _boxes(
    content: Mapping[str, Any],
    file: Path,
    images: Sequence[RawImage],
    categories: Mapping[int, str],
    numbers: _Numbers,
    findings: Findings,
) -> list[RawBox]:
    """All annotations that can be used; the others are errors that name their ids."""
    listed = {_whole(entry, "id") for entry in content["images"]}
    there = {image.id for image in images}
    found: list[RawBox] = []
    seen: set[object] = set()
    twice: list[object] = []
    stray: list[str] = []
    unknown: list[str] = []
    bad: list[str] = []
    turned: list[str] = []
    unfilled = around = 0
    for place, entry in enumerate(content["annotations"], start=1):
        number = entry.get("id") if isinstance(entry, dict) else None
        name = f"number {place}" if number is None else short(number)
        if isinstance(number, int | str | float):
            twice += [number] if number in seen else []
            seen.add(number)
        image, category = numbers.read(entry, "image_id"), numbers.read(entry, "category_id")
        masked = _get(entry, "bbox") in (None, []) and isinstance(entry, dict)
        xywh = box_around(entry.get("segmentation")) if masked else _xywh(entry)
        if image not in listed or image is None:
            stray.append(f"{name} (image {short(_get(entry, 'image_id'))})")
        elif category not in categories or category is None:
            unknown.append(f"{name} (category {short(_get(entry, 'category_id'))})")
        elif xywh is None:
            bad.append(f"{name} ({short(_get(entry, 'bbox'))}{', and no mask' if masked else ''})")
        elif image in there:
            around += masked
            if not masked and (degrees := _rotation(entry)):
                turned.append(name)
                xywh = around_turned(xywh, degrees)
            unfilled += "area" not in entry or "iscrowd" not in entry
            found.append(RawBox(image, category, xywh, _area(entry), _is_crowd(entry)))
    if twice:
        findings.add("duplicate-annotation-id", file, len(twice), items=listing(twice))
    if stray:
        findings.add("unknown-image", file, len(stray), items=listing(stray))
    if unknown:
        known = ", ".join(map(str, sorted(categories)))
        findings.add("unknown-category", file, len(unknown), items=listing(unknown), known=known)
    if bad:
        expected = "x, y, width, height in pixels"
        findings.add(
            "bad-box",
            file,
            len(bad),
            what="annotations whose bbox",
            expected=expected,
            items=listing(bad),
        )
    if around:
        findings.add("box-of-mask", file, around)
    if turned:
        findings.add("turned-box", file, len(turned), items=listing(turned))
    if 0 in seen:
        findings.add("annotation-id-zero", file)
    if unfilled:
        findings.add("missing-keys", file, unfilled)
    return found


def _is_crowd(entry: Mapping[str, Any]) -> bool:
    """Also where 0 and 1 stand in quotes."""
    return entry.get("iscrowd") is True or _whole(entry, "iscrowd") not in (None, 0)


def _rotation(entry: Mapping[str, Any]) -> float:
    """Degrees that CVAT and others have turned the box about its centre."""
    attributes = entry.get("attributes")
    degrees = attributes.get("rotation") if isinstance(attributes, dict) else None
    return degrees % 360 if is_number(degrees) else 0.0


def _get(entry: object, key: str) -> object:
    return entry.get(key) if isinstance(entry, dict) else entry


def _xywh(entry: object) -> list[float] | None:
    box = _get(entry, "bbox")
    if not isinstance(box, list) or len(box) != 4:
        return None
    return [float(x) for x in box] if all(is_number(x) for x in box) else None


def _area(entry: Mapping[str, Any]) -> float | None:
    area = entry.get("area")
    return float(area) if is_number(area) and area > 0 else None
