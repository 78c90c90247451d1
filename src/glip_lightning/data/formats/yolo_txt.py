"""YOLO data sets: pictures, and one text file of normalised boxes per picture.

A line of a label file is ``class cx cy w h``, the same with key points where ``kpt_shape`` says so, or
``class x1 y1 x2 y2 x3 y3 ...`` (a polygon, of which the box around it is taken), in fractions of the upright
picture: ultralytics turns photos as EXIF says. What describes the set is read by :mod:`.yolo_description`.
"""

import os
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from glip_lightning.common.files import regular_file
from glip_lightning.data.checks.findings import Findings, data_error, listing, short
from glip_lightning.data.formats.yolo_description import (
    CLASS_FILES,
    Config,
    class_files,
    describe,
    find_darknet,
    find_yaml,
    locate,
    read_names,
)
from glip_lightning.data.images import ImageFiles, is_file, pictures
from glip_lightning.data.index import Index, RawBox, RawImage, build_index, coordinate
from glip_lightning.data.splits import SPLIT_WORDS
from glip_lightning.data.types import SPLITS, Split

OVERSHOOT = 0.01  # of the picture's side: coordinates beyond 0..1 by no more are rounding errors, and clipped


def is_yolo(folder: Path) -> bool:
    """A description, or label files where they use to be."""
    if find_yaml(folder) or find_darknet(folder) or class_files(folder):
        return True
    places = [folder / "labels", *(folder / word / "labels" for word in SPLIT_WORDS)]
    return any(
        path.suffix == ".txt" for place in places if place.is_dir() for path in place.rglob("*")
    )


def read_yolo(folder: Path, findings: Findings) -> dict[Split, Index]:
    """The splits of a YOLO folder; one without split folders has ``train`` only.

    Faults go to ``findings`` with file and line; a description that cannot be read is a :class:`DataError`.
    """
    config = describe(folder)
    categories = read_names(config, findings)
    files = _described(config, findings) if config.splits else _conventional(folder)
    if not any(files.values()):
        looked = ", ".join(map(str, config.splits.values())) or "images/, train/images/, ..."
        looked += config.foreign_path
        if there := sorted({path.parent.relative_to(folder) for path in pictures(folder)}):
            looked += f"; there are some in {listing(there)}"
        raise data_error("no-pictures", config.file, looked=looked)
    labels = _Labels(categories, folder, config.key_points)
    splits = {
        split: _read_split(files[split], labels, findings) for split in SPLITS if split in files
    }
    labels.report(config.file, sum(map(len, files.values())), findings)
    return splits


def _described(config: Config, findings: Findings) -> dict[Split, list[Path]]:
    """The pictures of the splits that data.yaml names; what it names and is not there is a finding."""
    found: dict[Split, list[Path]] = {}
    for split, value in config.splits.items():
        entries = value if isinstance(value, list) else [value]
        files: list[Path] = []
        for entry in entries:
            place = locate(entry, config, config.folder) if isinstance(entry, str) else None
            if place is not None and place.is_file():
                files += _image_list(place, config, findings)
                continue
            there = [] if place is None else pictures(place)
            files += there
            if not there:
                fault = f"is not there{config.foreign_path}" if place is None else "has no picture"
                key = f"missing-split-path/{'train' if split == 'train' else 'other'}"
                findings.add(key, config.file, split=split, entry=short(entry), fault=fault)
        if files:
            found[split] = list(dict.fromkeys(files))
    return found


def _image_list(file: Path, config: Config, findings: Findings) -> list[Path]:
    """The pictures that a text file names, one a line."""
    found, missing, leaving = [], [], []
    lines = regular_file(file).read_text(encoding="utf-8-sig", errors="replace").splitlines()
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        place = locate(line.strip(), config, file.parent)
        if place is None or not place.is_file():
            missing.append(f"{line.strip()!r} (line {number})")
        elif not any(
            place.is_relative_to(os.path.normpath(root)) for root in (config.folder, config.root)
        ):
            leaving.append(f"{line.strip()!r} (line {number})")
        else:
            found.append(place)
    if missing:
        total, folder = len(lines), config.folder
        findings.add(
            "missing-image", file, len(missing), total=total, folder=folder, items=listing(missing)
        )
    if leaving:
        folder = config.folder
        findings.add(
            "outside-folder",
            file,
            len(leaving),
            what="pictures",
            folder=folder,
            items=listing(leaving),
        )
    return found


def _conventional(folder: Path) -> dict[Split, list[Path]]:
    """The pictures where they are without a description: by split, else all in ``images`` or the folder."""
    found: dict[Split, list[Path]] = {}
    for word, split in SPLIT_WORDS.items():
        places = (folder / "images" / word, folder / word / "images", folder / word)
        files = next(
            (files for place in places if place.is_dir() and (files := pictures(place))), []
        )
        if files and split not in found:
            found[split] = files
    if found:
        return found
    return {"train": pictures(folder / "images" if (folder / "images").is_dir() else folder)}


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
    return replace(
        index, upright=np.ones(len(index), dtype=bool)
    )  # also half turns and square photos


Corners = tuple[float, float, float, float]


class _Labels:
    """Reads label files, and remembers what is wrong with them."""

    def __init__(self, categories: Mapping[int, str], folder: Path, key_points: int = 0) -> None:
        self.categories, self.folder = categories, folder
        self._key_points = key_points  # numbers of them behind each box
        self._faults: defaultdict[str, list[str]] = defaultdict(list)
        self._used: dict[Path, Path] = {}  # label file -> the picture that it was read for
        self._notes: defaultdict[str, list[str]] = defaultdict(
            list
        )  # lines that are read in part or as something else
        self._lengths: set[int] = set()  # of polygons
        self._posed = 0  # polygons that may be a box with key points
        self._lines = 0

    def read(self, image: Path) -> Iterator[tuple[int, Corners]]:
        """Class number and corners, in fractions of the picture, of each usable line for ``image``."""
        file = next((path for path in self._places(image) if is_file(path)), None)
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
                found = self._line(line.split(), f"{self._name(file)}:{number}")
                if found is not None:
                    yield found

    def _places(self, image: Path) -> Iterator[Path]:
        """As ultralytics: the last folder ``images`` becomes ``labels``; without one, beside the picture.

        Some tools keep the picture's ending (``a.jpg.txt``), which tells ``a.jpg`` and ``a.png`` apart.
        """
        inside = image.is_relative_to(self.folder)
        top, parts = (
            (self.folder, image.relative_to(self.folder).parts) if inside else (Path(), image.parts)
        )
        places = [i for i, part in enumerate(parts[:-1]) if part == "images"]
        beside = [top.joinpath(*parts[:i], "labels", *parts[i + 1 :]) for i in places[-1:]]
        for place in (*beside, image):
            yield place.with_name(f"{place.name}.txt")
            yield place.with_suffix(".txt")

    def _name(self, file: Path) -> str:
        return str(file.relative_to(self.folder) if file.is_relative_to(self.folder) else file)

    def _line(self, words: list[str], place: str) -> tuple[int, Corners] | None:
        """None, and a fault, for a line that is no box."""
        numbers = [coordinate(word) for word in words]
        label, *points = [number for number in numbers if number is not None] or [0.0]
        if None in numbers:
            return self._fault("label-not-a-number", f"{place} ({short(' '.join(words))})")
        if self._key_points and len(words) == 5 + self._key_points:
            self._notes["key-points"].append(place)
            points = points[:4]
        elif _has_more(points):
            return self._fault("more-numbers", f"{place} ({short(' '.join(words))})")
        elif len(words) == 6:
            self._notes["confidence-column"].append(place)
            points = points[:4]
        elif len(words) > 6 and _is_pose(points, 3):
            return self._fault("key-points/unsaid", f"{place} ({len(words)} numbers)")
        if len(points) != 4 and (len(points) < 6 or len(points) % 2):
            return self._fault("label-numbers", f"{place} ({len(words)} numbers)")
        if label not in self.categories:
            return self._fault("unknown-class", f"{place} ({words[0]})")
        if len(points) > 4:
            self._notes["polygon"].append(place)
            self._lengths.add(len(points))
            self._posed += _is_pose(points, 2)
        if min(points) < -OVERSHOOT or max(points) > 1 + OVERSHOOT:
            return self._fault("label-outside", f"{place} ({short(' '.join(words))})")
        return int(label), _corners([min(max(point, 0.0), 1.0) for point in points])

    def _fault(self, code: str, item: str) -> None:
        self._faults[code].append(item)

    def report(self, where: Path, images: int, findings: Findings) -> None:
        """Faults of all label files that were read, and files that belong to no picture."""
        first, last = min(self.categories), max(self.categories)
        for key, items in self._faults.items():
            findings.add(key, where, len(items), items=listing(items), first=first, last=last)
        for key, items in self._notes.items():
            likely = key == "polygon" and self._posed == len(items) and len(self._lengths) == 1
            findings.add(
                "key-points/likely" if likely else key, where, len(items), items=listing(items)
            )
        if images and not self._used:
            findings.add("no-labels", where, images)
        elif self._used and not self._lines:
            folders = listing(sorted({self._name(file.parent) for file in self._used}))
            findings.add("empty-labels", where, len(self._used), items=folders)
        files = (
            file for folder in {file.parent for file in self._used} for file in folder.glob("*.txt")
        )
        if strays := sorted(
            self._name(file) for file in files if file not in self._used and _is_label(file)
        ):
            findings.add("stray-label", where, len(strays), items=listing(strays))


def _is_label(file: Path) -> bool:
    """Whether a text file is one of labels: empty, or by its first line."""
    if file.name in CLASS_FILES:
        return False
    with regular_file(file).open(encoding="utf-8", errors="replace") as stream:
        words = stream.readline(1000).split()
    return not words or (len(words) >= 5 and None not in map(coordinate, words))


def _is_pose(points: list[float], numbers: int) -> bool:
    """Whether what looks like a polygon can be a box with key points, of so many numbers each, inside it."""
    extra = points[4:]
    if len(extra) < numbers or len(extra) % numbers:
        return False
    x1, y1, x2, y2 = _corners(points[:4])
    found = [tuple(extra[i : i + numbers]) for i in range(0, len(extra), numbers)]
    if numbers == 3 and not {seen for *_, seen in found} <= {0.0, 1.0, 2.0}:
        return False
    shown = [
        (x, y) for x, y, *_ in found if (x, y) != (0, 0)
    ]  # zeros are points that nobody has drawn
    return bool(shown) and all(x1 <= x <= x2 and y1 <= y <= y2 for x, y in shown)


def _has_more(points: list[float]) -> bool:
    """Whether a number follows the box that is no confidence: an angle or a track, or a confidence and a track."""
    match points:
        case [_, _, _, _, number]:
            return not 0 <= number <= 1
        case [*box, _, track]:
            return (
                len(points) == 6 and max(box) <= 1 and track > 1 + OVERSHOOT and track.is_integer()
            )
    return False


def _corners(points: list[float]) -> Corners:
    """Of centre and size, or of a polygon."""
    if len(points) == 4:
        x, y, w, h = points
        return x - w / 2, y - h / 2, x + w / 2, y + h / 2
    return min(points[::2]), min(points[1::2]), max(points[::2]), max(points[1::2])
