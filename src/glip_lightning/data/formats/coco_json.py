"""COCO annotation files: checked, with every fault named, and read into an :class:`Index`."""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from glip_lightning.common.errors import GLIPError
from glip_lightning.common.files import regular_file
from glip_lightning.data.checks.findings import Faults, Findings, data_error, listing, short
from glip_lightning.data.formats.file_names import same_last_part
from glip_lightning.data.formats.mask_boxes import around_turned, box_around, is_number
from glip_lightning.data.formats.other_tools import tool_of
from glip_lightning.data.images import ImageFiles, is_below, is_file
from glip_lightning.data.index import Index, RawBox, RawImage, build_index

FAULTS = (
    "duplicate-annotation-id",
    "unknown-image",
    "unknown-category",
    "bad-box",
    "box-of-mask",
    "turned-box",
    "annotation-id-zero",
    "missing-keys",
)
"""Problems of annotations in the order in which they are reported."""


def read_coco(annotation_file: str | Path, image_dir: str | Path, findings: Findings) -> Index:
    """Read the images and boxes of a COCO file.

    Classes are all categories in ascending id. Category 0 is left out if no box uses it and others
    name it as their supercategory: it is Roboflow's name of the data set.

    Args:
        annotation_file: JSON with the lists images, annotations and categories.
        image_dir: folder of the images.
        findings: where faults are added.

    Raises:
        DataError: the file cannot be read, or is no COCO file.
    """
    file = Path(annotation_file)
    content = load_coco(file)
    phrases = 0
    for entry in content["annotations"]:
        if isinstance(entry, dict) and "tokens_positive" in entry:
            phrases += 1
    if phrases:
        findings.add("caption-phrases", file, phrases)
    return index_coco(content, file, image_dir, findings)


def index_coco(
    content: Mapping[str, Any], file: Path, image_dir: str | Path, findings: Findings
) -> Index:
    """Make the index of what :func:`load_coco` returned, as :func:`read_coco` does."""
    return _CocoReader(content, file, Path(image_dir), findings).read()


def load_coco(file: Path) -> dict[str, Any]:
    """Return what a COCO file holds; its three lists are there, nothing else is checked.

    Raises:
        DataError: the file is missing, is no JSON, has a key twice in an object, or is no COCO.
        GLIPError: the path leads to no plain file, such as a folder.
    """
    try:
        text = regular_file(file).read_text(encoding="utf-8-sig")
        content = json.loads(text, object_pairs_hook=_without_duplicate_keys)
    except _DuplicateKey as error:
        raise data_error("duplicate-key", file, key=short(str(error))) from None
    except GLIPError:
        raise
    except FileNotFoundError:
        raise data_error("missing-file", file, kind="annotation file") from None
    except RecursionError:
        raise data_error("nested-too-deeply", file) from None
    except ValueError as error:  # broken JSON, other encodings, a number of thousands of digits
        raise data_error("not-json", file, reason=error) from error
    for key in ("images", "annotations", "categories"):
        if not isinstance(content, dict) or not isinstance(content.get(key), list):
            tool = tool_of(content)
            if tool is not None:
                raise data_error("other-tool", file, tool=tool.name, cure=tool.cure)
            raise data_error("not-coco", file, key=key)
    return content


class _DuplicateKey(Exception):
    """A key that is twice in an object, with different values.

    JSON readers take the last value and lose the others.
    """


def _without_duplicate_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return an object as a dictionary; raise :class:`_DuplicateKey` if a value would be lost."""
    found = dict(pairs)
    if len(found) < len(pairs):
        for key, value in pairs:
            if found[key] != value:
                raise _DuplicateKey(key)
    return found


class _CocoReader:
    """The reader of one COCO file: what it has read so far, and the faults of its annotations."""

    def __init__(
        self, content: Mapping[str, Any], file: Path, folder: Path, findings: Findings
    ) -> None:
        self._content = content
        self._file = file
        self._folder = folder
        self._findings = findings
        self._converted = 0  # ids in quotes or with a point
        self._classes: dict[int, str] = {}  # category id -> name
        self._present: set[int] = set()  # ids of the images that are there
        self._listed: set[int | None] = set()  # ids of all image entries
        self._faults = Faults(*FAULTS)

    def read(self) -> Index:
        """Return the index; faults are added to the findings."""
        self._classes = self._categories()
        images, names = self._images()
        self._present = {image.id for image in images}
        self._listed = {_whole(entry, "id") for entry in self._content["images"]}
        boxes = self._boxes()
        if self._converted:
            self._findings.add("text-id", self._file, self._converted)
        source = ImageFiles(self._folder, names)
        return build_index(self._file, self._classes, images, boxes, source, self._findings)

    def _number(self, entry: object, key: str) -> int | None:
        """Return the whole number that ``entry[key]`` means, None if it means none."""
        number = _whole(entry, key)
        if number is not None and not isinstance(_get(entry, key), int):
            self._converted += 1
        return number

    def _by_id(self, entries: Sequence[Any], what: str) -> dict[int, dict[str, Any]]:
        """Return entries by their ids; those without an id, or with a taken one, are faults.

        Args:
            entries: of one of the file's lists.
            what: "category" or "image", as in the codes of findings.
        """
        found: dict[int, Any] = {}
        faults = Faults(f"no-{what}-id", f"duplicate-{what}-id")
        for place, entry in enumerate(entries, start=1):
            number = self._number(entry, "id")
            if number is None or abs(number) >= 2**63:
                faults[f"no-{what}-id"].append(f"number {place} ({short(entry)})")
            elif number in found:
                faults[f"duplicate-{what}-id"].append(number)
            else:
                found[number] = entry
        faults.report(self._file, self._findings)
        return found

    def _categories(self) -> dict[int, str]:
        """Return category id -> name."""
        names: dict[int, str] = {}
        parents = []
        for number, entry in self._by_id(self._content["categories"], "category").items():
            name = entry.get("name")
            if isinstance(name, str):
                names[number] = name
            else:
                names[number] = ""
                items = f"category {number}: name is {short(name)}"
                self._findings.add("no-category-name", self._file, items=items)
            if number != 0:
                parents.append(entry.get("supercategory"))
        if 0 in names and names[0] in parents and not self._has_boxes_of(0):
            self._findings.add("background-category", self._file, name=names.pop(0))
        if not names:
            reason = "its list of categories is empty"
            self._findings.add("no-categories", self._file, reason=reason)
        return names

    def _has_boxes_of(self, category: int) -> bool:
        annotations = self._content["annotations"]
        return any(_whole(entry, "category_id") == category for entry in annotations)

    def _images(self) -> tuple[list[RawImage], list[str]]:
        """Return the images that are there, and their file names."""
        named: dict[int, str] = {}
        entries = self._by_id(self._content["images"], "image")
        for number, entry in entries.items():
            name = entry.get("file_name")
            if isinstance(name, str) and name:
                named[number] = name
            else:
                self._findings.add("no-file-name", self._file, number=number, value=short(name))
        images, names = [], []
        faults = Faults("outside-folder", "missing-image")
        meant = self._names_of_other_systems(named.values())
        for number, name in named.items():
            there = meant.get(name, name)
            if not is_below(there):
                faults["outside-folder"].append(f"{name!r} (image {number})")
            elif not is_file(self._folder / there):
                faults["missing-image"].append(f"{name!r} (image {number})")
            else:
                height = self._number(entries[number], "height")
                width = self._number(entries[number], "width")
                size = None if height is None or width is None else (height, width)
                images.append(RawImage(number, size))
                names.append(there)
        values = {
            "outside-folder": {"what": "file names", "folder": self._folder},
            "missing-image": {"total": len(self._content["images"]), "folder": self._folder},
        }
        faults.report(self._file, self._findings, values)
        return images, names

    def _names_of_other_systems(self, names: Iterable[str]) -> dict[str, str]:
        """Return the pictures that names of another machine mean, and add a finding for them."""
        there, gone = [], []
        for name in dict.fromkeys(names):
            if is_below(name) and is_file(self._folder / name):
                there.append(name)
            else:
                gone.append(name)
        if not gone:
            return {}
        meant = same_last_part(gone, self._folder, there)
        if meant:
            items = listing(f"{name!r} = {picture}" for name, picture in meant.items())
            self._findings.add("other-names", self._file, len(meant), items=items)
        return meant

    def _boxes(self) -> list[RawBox]:
        """Return all annotations that can be used; the others are faults that name their ids."""
        found: list[RawBox] = []
        ids: set[object] = set()
        for place, entry in enumerate(self._content["annotations"], start=1):
            number = entry.get("id") if isinstance(entry, dict) else None
            name = f"number {place}" if number is None else short(number)
            if isinstance(number, int | str | float):
                if number in ids:
                    self._faults["duplicate-annotation-id"].append(number)
                ids.add(number)
            box = self._box(entry, name)
            if box is not None:
                found.append(box)
        if 0 in ids:
            self._faults["annotation-id-zero"].append(0)
        known = ", ".join(str(number) for number in sorted(self._classes))
        expected = "x, y, width, height in pixels"
        values = {
            "unknown-category": {"known": known},
            "bad-box": {"what": "annotations whose bbox", "expected": expected},
        }
        self._faults.report(self._file, self._findings, values)
        return found

    def _box(self, entry: Any, name: str) -> RawBox | None:
        """Return the box of an annotation, None if it has a fault or its image is not there.

        Args:
            entry: the annotation.
            name: its id or place, for faults.
        """
        image = self._number(entry, "image_id")
        category = self._number(entry, "category_id")
        bbox = _get(entry, "bbox")
        masked = isinstance(entry, dict) and bbox in (None, [])
        xywh = box_around(entry.get("segmentation")) if masked else _xywh(bbox)
        if image is None or image not in self._listed:
            given = short(_get(entry, "image_id"))
            self._faults["unknown-image"].append(f"{name} (image {given})")
            return None
        if category is None or category not in self._classes:
            given = short(_get(entry, "category_id"))
            self._faults["unknown-category"].append(f"{name} (category {given})")
            return None
        if xywh is None:
            no_mask = ", and no mask" if masked else ""
            self._faults["bad-box"].append(f"{name} ({short(bbox)}{no_mask})")
            return None
        if image not in self._present:
            return None
        degrees = _rotation(entry)
        if masked:
            self._faults["box-of-mask"].append(name)
        elif degrees:
            self._faults["turned-box"].append(name)
            xywh = around_turned(xywh, degrees)
        if "area" not in entry or "iscrowd" not in entry:
            self._faults["missing-keys"].append(name)
        return RawBox(image, category, xywh, _area(entry), _is_crowd(entry))


def _get(entry: object, key: str) -> object:
    """Return ``entry[key]``, or what stands in place of an entry."""
    return entry.get(key) if isinstance(entry, dict) else entry


def _whole(entry: object, key: str) -> int | None:
    """Return the whole number that ``entry[key]`` means, None if it means none.

    In quotes or with a point it is a number, too.
    """
    value = entry.get(key) if isinstance(entry, dict) else None
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    try:
        number = float(value) if isinstance(value, str | float) else math.nan
    except ValueError:
        return None
    return int(number) if number.is_integer() else None


def _is_crowd(entry: Mapping[str, Any]) -> bool:
    """Return whether an annotation is a crowd; 0 and 1 may stand in quotes."""
    return entry.get("iscrowd") is True or _whole(entry, "iscrowd") not in (None, 0)


def _rotation(entry: Mapping[str, Any]) -> float:
    """Return by how many degrees CVAT and others have turned the box about its centre."""
    attributes = entry.get("attributes")
    degrees = attributes.get("rotation") if isinstance(attributes, dict) else None
    return degrees % 360 if is_number(degrees) else 0.0


def _xywh(bbox: object) -> list[float] | None:
    if not isinstance(bbox, list) or len(bbox) != 4:
        return None
    return [float(x) for x in bbox] if all(is_number(x) for x in bbox) else None


def _area(entry: Mapping[str, Any]) -> float | None:
    area = entry.get("area")
    return float(area) if is_number(area) and area > 0 else None
