"""YOLO data sets: pictures, and one text file of normalised boxes per picture.

A line of a label file is ``class cx cy w h``, the same with key points where ``kpt_shape`` says so,
or ``class x1 y1 x2 y2 x3 y3 ...`` (a polygon, of which the box around it is taken). All are
fractions of the upright picture: ultralytics turns photos as EXIF says.
:mod:`.yolo_description` reads what describes the data set.
"""

import os
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from glip_lightning.common.files import regular_file
from glip_lightning.data.checks.findings import Faults, Findings, data_error, listing, short
from glip_lightning.data.formats.file_names import read_list
from glip_lightning.data.formats.mask_boxes import Corners
from glip_lightning.data.formats.yolo_description import (
    CLASS_FILES,
    YoloDescription,
    class_files,
    find_darknet,
    find_yaml,
    locate,
    read_description,
    read_names,
)
from glip_lightning.data.images import ImageFiles, is_file, pictures
from glip_lightning.data.index import Index, RawBox, RawImage, build_index, coordinate
from glip_lightning.data.splits import SPLIT_WORDS
from glip_lightning.data.types import SPLITS, Split

OVERSHOOT = 0.01
"""Fraction of the picture's side: a coordinate outside 0..1 by no more is a rounding error."""


def is_yolo(folder: Path) -> bool:
    """Return whether the folder has a description, or label files in the usual places."""
    if find_yaml(folder) or find_darknet(folder) or class_files(folder):
        return True
    for place in (folder / "labels", *(folder / word / "labels" for word in SPLIT_WORDS)):
        if place.is_dir() and any(path.suffix == ".txt" for path in place.rglob("*")):
            return True
    return False


def read_yolo(folder: Path, findings: Findings) -> dict[Split, Index]:
    """Read the splits of a YOLO folder; one without split folders has ``train`` only.

    Faults of label lines go to ``findings`` with file and line.

    Raises:
        DataError: the description cannot be read, or leads to no picture.
    """
    description = read_description(folder)
    categories = read_names(description, findings)
    files = _pictures_by_split(description, findings)
    if not any(files.values()):
        looked = ", ".join(str(entry) for entry in description.splits.values())
        looked = f"{looked or 'images/, train/images/, ...'}{description.foreign_path}"
        there = sorted({path.parent.relative_to(folder) for path in pictures(folder)})
        if there:
            looked += f"; there are some in {listing(there)}"
        raise data_error("no-pictures", description.file, looked=looked)
    labels = _Labels(categories, folder, description.key_points)
    splits: dict[Split, Index] = {}
    for split in SPLITS:
        if split in files:
            splits[split] = _read_split(files[split], labels, findings)
    count = sum(len(group) for group in files.values())
    labels.report(description.file, count, findings)
    return splits


def _pictures_by_split(description: YoloDescription, findings: Findings) -> dict[Split, list[Path]]:
    """Return the pictures of the splits that data.yaml names, else those in the usual folders.

    Add a finding for each entry of data.yaml that leads to no picture.
    """
    if not description.splits:
        return _pictures_by_convention(description.folder)
    found: dict[Split, list[Path]] = {}
    for split, value in description.splits.items():
        entries = value if isinstance(value, list) else [value]
        files: list[Path] = []
        for entry in entries:
            place = None
            if isinstance(entry, str):
                place = locate(entry, description, description.folder)
            if place is None:
                fault = f"is not there{description.foreign_path}"
            elif place.is_file():
                files += _listed_pictures(place, description, findings)
                continue
            else:
                there = pictures(place)
                files += there
                fault = "" if there else "has no picture"
            if fault:
                key = f"missing-split-path/{'train' if split == 'train' else 'other'}"
                where = description.file
                findings.add(key, where, split=split, entry=short(entry), fault=fault)
        if files:
            found[split] = list(dict.fromkeys(files))
    return found


def _listed_pictures(file: Path, description: YoloDescription, findings: Findings) -> list[Path]:
    """Return the pictures that a text file names, one on each line."""
    folder = description.folder
    roots = [os.path.normpath(root) for root in (folder, description.root)]
    found: list[Path] = []
    faults = Faults("missing-image", "outside-folder")
    lines = read_list(file)
    for number, entry in enumerate(lines, start=1):
        if not entry:
            continue
        place = locate(entry, description, file.parent)
        if place is None or not place.is_file():
            faults["missing-image"].append(f"{entry!r} (line {number})")
        elif not any(place.is_relative_to(root) for root in roots):
            faults["outside-folder"].append(f"{entry!r} (line {number})")
        else:
            found.append(place)
    values = {
        "missing-image": {"total": len(lines), "folder": folder},
        "outside-folder": {"what": "pictures", "folder": folder},
    }
    faults.report(file, findings, values)
    return found


def _pictures_by_convention(folder: Path) -> dict[Split, list[Path]]:
    """Return the pictures of a folder without a description.

    They are in folders of splits, else all in ``images`` or in the folder itself.
    """
    found: dict[Split, list[Path]] = {}
    for word, split in SPLIT_WORDS.items():
        for place in (folder / "images" / word, folder / word / "images", folder / word):
            if split not in found and place.is_dir():
                files = pictures(place)
                if files:
                    found[split] = files
    if found:
        return found
    images = folder / "images"
    return {"train": pictures(images if images.is_dir() else folder)}


def _read_split(files: list[Path], labels: "_Labels", findings: Findings) -> Index:
    base = Path(os.path.commonpath([path.parent for path in files]))
    source = ImageFiles(base, sorted(str(path.relative_to(base)) for path in files))
    images, boxes = [], []
    for number in range(len(source)):
        try:
            size = source.header(number).upright
        except (ValueError, OSError):  # build_index names the file
            size = None
        images.append(RawImage(number, size))
        height, width = size or (1, 1)
        for label, (x1, y1, x2, y2) in labels.read(source.path(number)):
            box = (x1 * width, y1 * height, (x2 - x1) * width, (y2 - y1) * height)
            boxes.append(RawBox(number, label, box))
    where = base if base != labels.folder else base / "*.txt"
    index = build_index(where, labels.categories, images, boxes, source, findings)
    # build_index sees the turn by the sizes: those of half turns and square photos are the same
    return replace(index, upright=np.ones(len(index), dtype=bool))


class _Labels:
    """The reader of all label files of a data set, with what was wrong in them so far."""

    def __init__(self, categories: Mapping[int, str], folder: Path, key_points: int = 0) -> None:
        self.categories = categories
        self.folder = folder
        self._key_points = key_points  # how many numbers of them are behind each box
        self._faults = Faults()
        self._used: dict[Path, Path] = {}  # label file -> the picture that it was read for
        self._notes = Faults()  # places that were read in part, or as something else
        self._lengths: set[int] = set()  # of polygons
        self._posed = 0  # polygons that may be a box with key points
        self._lines = 0

    def read(self, image: Path) -> Iterator[tuple[int, Corners]]:
        """Yield class number and corners, in fractions of the picture, of each usable line."""
        file = self._label_file(image)
        if file is None:
            return
        first = self._used.setdefault(file, image)
        if first != image:
            self._notes["shared-label"].append(f"{self._name(file)} ({first.name}, {image.name})")
        try:
            lines = regular_file(file).read_text(encoding="utf-8-sig").split("\n")
        except (UnicodeDecodeError, OSError):
            self._faults["label-unreadable"].append(self._name(file))
            return
        for number, line in enumerate(lines, start=1):
            if line.strip():
                self._lines += 1
                found = self._read_line(line.split(), f"{self._name(file)}:{number}")
                if found is not None:
                    yield found

    def _label_file(self, image: Path) -> Path | None:
        """Return the label file of a picture, where ultralytics looks for it; None without one.

        The last folder ``images`` becomes ``labels``; without one, the file is beside the picture.
        Some tools keep the picture's ending (``a.jpg.txt``), which tells ``a.jpg`` and ``a.png``
        apart.
        """
        top, parts = Path(), image.parts
        if image.is_relative_to(self.folder):
            top, parts = self.folder, image.relative_to(self.folder).parts
        places = [image]
        levels = [i for i, part in enumerate(parts[:-1]) if part == "images"]
        if levels:
            last = levels[-1]
            places.insert(0, top.joinpath(*parts[:last], "labels", *parts[last + 1 :]))
        for place in places:
            for file in (place.with_name(f"{place.name}.txt"), place.with_suffix(".txt")):
                if is_file(file):
                    return file
        return None

    def _name(self, file: Path) -> str:
        if file.is_relative_to(self.folder):
            return str(file.relative_to(self.folder))
        return str(file)

    def _read_line(self, words: list[str], place: str) -> tuple[int, Corners] | None:
        """Return class number and corners; None, and a fault, for a line that is no box."""
        line = f"{place} ({short(' '.join(words))})"
        numbers = []
        for word in words:
            number = coordinate(word)
            if number is None:
                self._faults["label-not-a-number"].append(line)
                return None
            numbers.append(number)
        label = numbers[0]
        points = self._box_or_polygon(numbers[1:], place, line)
        if points is None:
            return None
        if label not in self.categories:
            self._faults["unknown-class"].append(f"{place} ({words[0]})")
            return None
        if len(points) > 4:
            self._notes["polygon"].append(place)
            self._lengths.add(len(points))
            self._posed += _is_pose(points, 2)
        if min(points) < -OVERSHOOT or max(points) > 1 + OVERSHOOT:
            self._faults["label-outside"].append(line)
            return None
        return int(label), _corners([min(max(point, 0.0), 1.0) for point in points])

    def _box_or_polygon(self, points: list[float], place: str, line: str) -> list[float] | None:
        """Return what is left without key points and confidence; None, and a fault, for neither.

        Args:
            points: all numbers behind the class.
            place: file and line, for notes.
            line: file, line and what is written there, for faults.
        """
        count = len(points) + 1
        if self._key_points and len(points) == 4 + self._key_points:
            self._notes["key-points"].append(place)
            return points[:4]
        if _has_more(points):
            self._faults["more-numbers"].append(line)
            return None
        if len(points) == 5:
            self._notes["confidence-column"].append(place)
            return points[:4]
        if len(points) > 5 and _is_pose(points, 3):
            self._faults["key-points/unsaid"].append(f"{place} ({count} numbers)")
            return None
        if len(points) != 4 and (len(points) < 6 or len(points) % 2):
            self._faults["label-numbers"].append(f"{place} ({count} numbers)")
            return None
        return points

    def report(self, where: Path, images: int, findings: Findings) -> None:
        """Add the faults of all label files that were read, and the files without a picture.

        Args:
            where: the description, which the findings name.
            images: how many pictures there are.
            findings: where they are added.
        """
        named = {"first": min(self.categories), "last": max(self.categories)}
        self._faults.report(where, findings, {"unknown-class": named})
        likely = self._posed == len(self._notes["polygon"]) and len(self._lengths) == 1
        notes = Faults()
        for key, items in self._notes.items():
            notes["key-points/likely" if key == "polygon" and likely else key] = items
        notes.report(where, findings)
        folders = {file.parent for file in self._used}
        if images and not self._used:
            findings.add("no-labels", where, images)
        elif self._used and not self._lines:
            names = listing(sorted(self._name(folder) for folder in folders))
            findings.add("empty-labels", where, len(self._used), items=names)
        strays = []
        for folder in folders:
            unused = [file for file in folder.glob("*.txt") if file not in self._used]
            strays += [self._name(file) for file in unused if _is_label(file)]
        if strays:
            findings.add("stray-label", where, len(strays), items=listing(sorted(strays)))


def _is_label(file: Path) -> bool:
    """Return whether a text file is one of labels: it is empty, or its first line is a label."""
    if file.name in CLASS_FILES:
        return False
    with regular_file(file).open(encoding="utf-8", errors="replace") as stream:
        words = stream.readline(1000).split()
    numbers = [coordinate(word) for word in words]
    return not words or (len(words) >= 5 and None not in numbers)


def _is_pose(points: list[float], numbers: int) -> bool:
    """Return whether what looks like a polygon can be a box with key points inside it.

    Args:
        points: all numbers behind the class.
        numbers: how many each key point has: x, y (2), or x, y and visibility (3).
    """
    extra = points[4:]
    if len(extra) < numbers or len(extra) % numbers:
        return False
    if numbers == 3 and not set(extra[2::3]) <= {0.0, 1.0, 2.0}:
        return False
    x1, y1, x2, y2 = _corners(points[:4])
    drawn = 0
    for x, y in zip(extra[::numbers], extra[1::numbers], strict=True):
        if (x, y) == (0, 0):  # nobody has drawn this key point
            continue
        drawn += 1
        if not (x1 <= x <= x2 and y1 <= y <= y2):
            return False
    return drawn > 0


def _has_more(points: list[float]) -> bool:
    """Return whether something else than a confidence follows the box.

    It may be an angle or a track, or a confidence and a track.
    """
    match points:
        case [_, _, _, _, number]:
            return not 0 <= number <= 1
        case [x, y, w, h, _, track]:
            is_box = max(x, y, w, h) <= 1
            return is_box and track > 1 + OVERSHOOT and track.is_integer()
    return False


def _corners(points: list[float]) -> Corners:
    """Return the corners of a box (centre, width, height) or those of the box around a polygon."""
    if len(points) == 4:
        x, y, w, h = points
        return x - w / 2, y - h / 2, x + w / 2, y + h / 2
    return min(points[::2]), min(points[1::2]), max(points[::2]), max(points[1::2])
