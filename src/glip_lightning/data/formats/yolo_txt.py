"""YOLO data sets: ``data.yaml``, pictures, and one text file of normalised boxes per picture.

A line of a label file is ``class cx cy w h`` or ``class x1 y1 x2 y2 x3 y3 ...`` (a polygon, of which the box
around it is taken), in fractions of the upright picture: ultralytics turns photos as EXIF says.
"""

import os
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np

from glip_lightning.common.errors import GLIPError
from glip_lightning.common.files import regular_file
from glip_lightning.data.checks.findings import Findings, data_error, listing, short
from glip_lightning.data.images import ImageFiles, is_file, pictures
from glip_lightning.data.index import Index, RawBox, RawImage, build_index, coordinate
from glip_lightning.data.splits import SPLIT_WORDS
from glip_lightning.data.types import SPLITS, Split

YAML_FILES = ("data.yaml", "data.yml", "dataset.yaml", "dataset.yml")
CLASS_FILES = ("classes.txt", "obj.names", "labels/classes.txt", "train/classes.txt", "train/labels/classes.txt")
DEEPEST = 10  # levels of data.yaml
OVERSHOOT = 0.01  # of the picture's side: coordinates beyond 0..1 by no more are rounding errors, and clipped


class Config(NamedTuple):
    """What is known of a YOLO folder before its pictures are looked at."""

    folder: Path
    file: Path  # data.yaml, or the folder where there is none
    content: Mapping[str, Any]
    root: Path  # what the entries of data.yaml are relative to

    @property
    def splits(self) -> dict[Split, Any]:
        """The entries of the splits that data.yaml names."""
        items = ((word, split) for word, split in SPLIT_WORDS.items() if self.content.get(word) is not None)
        return {split: self.content[word] for word, split in items}


def find_yaml(folder: Path) -> Path | None:
    """The file that describes the data set: a usual name, or the only YAML file that has a key ``names``."""
    if usual := [folder / name for name in YAML_FILES if (folder / name).is_file()]:
        return usual[0]
    files = [path for path in sorted(folder.iterdir()) if path.suffix.lower() in (".yaml", ".yml") and path.is_file()]
    named = [
        path for path in files if "\nnames:" in "\n" + regular_file(path).read_text(encoding="utf-8", errors="replace")
    ]
    return named[0] if len(named) == 1 else None


def is_yolo(folder: Path) -> bool:
    """A description, or label files where they use to be."""
    if find_yaml(folder) or any((folder / name).is_file() for name in CLASS_FILES):
        return True
    places = [folder / "labels", *(folder / word / "labels" for word in SPLIT_WORDS)]
    return any(path.suffix == ".txt" for place in places if place.is_dir() for path in place.rglob("*"))


def read_yolo(folder: Path, findings: Findings) -> dict[Split, Index]:
    """The splits of a YOLO folder; one without split folders has ``train`` only.

    Faults go to ``findings`` with file and line; a description that cannot be read is a :class:`DataError`.
    """
    config = _config(folder)
    categories = _names(config, findings)
    files = _described(config, findings) if config.splits else _conventional(folder)
    if not any(files.values()):
        looked = ", ".join(map(str, config.splits.values())) or "images/, train/images/, ..."
        raise data_error("no-pictures", config.file, looked=looked)
    labels = _Labels(categories, folder)
    splits = {split: _read_split(files[split], labels, findings) for split in SPLITS if split in files}
    labels.report(config.file, sum(map(len, files.values())), findings)
    return splits


def _config(folder: Path) -> Config:
    file = find_yaml(folder)
    if file is None:
        return Config(folder, folder, {}, folder)
    content = _load(file)
    path = content.get("path")
    root = folder / path if isinstance(path, str) and "\0" not in path else folder
    return Config(folder, file, content, root if root.is_dir() else folder)


def _load(file: Path) -> dict[str, Any]:
    import yaml

    try:
        text = regular_file(file).read_text(encoding="utf-8-sig")
        _refuse_bombs(text)
        content = yaml.safe_load(text)
    except Exception as error:  # the constructors of PyYAML let all kinds of errors through
        reason = " ".join(str(error).split()) or type(error).__name__
        raise data_error("not-yaml", file, reason=reason) from None
    if not isinstance(content, dict):
        raise data_error("not-yaml/keys", file, value=short(content))
    return content


def _refuse_bombs(text: str) -> None:
    """Raise GLIPError for what takes PyYAML without end, and no description needs."""
    import yaml

    depth = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if isinstance(event, yaml.AliasEvent) or depth > DEEPEST:
            raise GLIPError("aliases (*name) and deep nesting are not read", code="not-yaml")


def _names(config: Config, findings: Findings) -> dict[int, str]:
    """Class number -> name, from data.yaml or classes.txt."""
    names = config.content.get("names")
    where = config.file
    if names is None:
        found = next((config.folder / name for name in CLASS_FILES if (config.folder / name).is_file()), None)
        if found is None:
            cure = "write them as `names:` into data.yaml or into classes.txt"
            raise data_error("bad-names", where, fault="no names of classes", cure=cure)
        text = regular_file(found).read_text(encoding="utf-8-sig", errors="replace")
        where, names = found, text.rstrip().splitlines()
    entries = names if isinstance(names, dict) else dict(enumerate(names)) if isinstance(names, list) else {}
    if not entries:
        cure = "write a list of names, or numbers with names"
        raise data_error("bad-names", where, fault=f"names is {short(names)}", cure=cure)
    result: dict[int, str] = {}
    for key, name in entries.items():
        number = int(key) if isinstance(key, str) and key.isdecimal() and len(key) < 10 else key
        if isinstance(number, bool) or not isinstance(number, int) or not 0 <= number < 1e9:
            fault = f"names has the key {short(key)}"
            raise data_error("bad-names", where, fault=fault, cure="number the classes from 0")
        if isinstance(name, bool) or not isinstance(name, str | int | float):
            fault = f"the name of class {number} is {short(name)}"
            raise data_error("bad-names", where, fault=fault, cure="put it in quotes")
        result[number] = str(name)
    count = config.content.get("nc")
    if count is not None and count != len(result):
        findings.add("class-count", where, len(result), given=short(count))
    return result


def _described(config: Config, findings: Findings) -> dict[Split, list[Path]]:
    """The pictures of the splits that data.yaml names; what it names and is not there is a finding."""
    found: dict[Split, list[Path]] = {}
    for split, value in config.splits.items():
        entries = value if isinstance(value, list) else [value]
        files: list[Path] = []
        for entry in entries:
            place = _locate(entry, config, config.folder) if isinstance(entry, str) else None
            if place is not None and place.is_file():
                files += _image_list(place, config, findings)
                continue
            there = [] if place is None else pictures(place)
            files += there
            if not there:
                fault = "is not there" if place is None else "has no picture"
                key = f"missing-split-path/{'train' if split == 'train' else 'other'}"
                findings.add(key, config.file, split=split, entry=short(entry), fault=fault)
        if files:
            found[split] = list(dict.fromkeys(files))
    return found


def _locate(entry: str, config: Config, base: Path) -> Path | None:
    """Where a path of data.yaml or of an image list is.

    Roboflow writes ``../train/images`` for its own ``train/images``; a path that was right on another
    machine is looked for below the folder, its first parts left off one by one.
    """
    parts = [part for part in PurePosixPath(entry.replace("\\", "/")).parts if part not in ("/", ".")]
    while parts and parts[0] == "..":
        parts = parts[1:]
    shorter = [config.folder.joinpath(*parts[i:]) for i in range(len(parts))] if ".." not in parts else []
    first = [config.root / entry] if config.root != config.folder else []
    places = [*first, *shorter[:1], base / entry, *shorter[1:]]
    return next((Path(os.path.normpath(place)) for place in places if _exists(place)), None)


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):  # too long, a null byte
        return False


def _image_list(file: Path, config: Config, findings: Findings) -> list[Path]:
    """The pictures that a text file names, one a line."""
    found, missing, leaving = [], [], []
    lines = regular_file(file).read_text(encoding="utf-8-sig", errors="replace").splitlines()
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        place = _locate(line.strip(), config, file.parent)
        if place is None or not place.is_file():
            missing.append(f"{line.strip()!r} (line {number})")
        elif not any(place.is_relative_to(os.path.normpath(root)) for root in (config.folder, config.root)):
            leaving.append(f"{line.strip()!r} (line {number})")
        else:
            found.append(place)
    if missing:
        total, folder = len(lines), config.folder
        findings.add("missing-image", file, len(missing), total=total, folder=folder, items=listing(missing))
    if leaving:
        folder = config.folder
        findings.add("outside-folder", file, len(leaving), what="pictures", folder=folder, items=listing(leaving))
    return found


def _conventional(folder: Path) -> dict[Split, list[Path]]:
    """The pictures where they are without a description: by split, else all in ``images`` or the folder."""
    found: dict[Split, list[Path]] = {}
    for word, split in SPLIT_WORDS.items():
        places = (folder / "images" / word, folder / word / "images", folder / word)
        files = next((files for place in places if place.is_dir() and (files := pictures(place))), [])
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
    return replace(index, upright=np.ones(len(index), dtype=bool))  # also half turns and square photos


Corners = tuple[float, float, float, float]


class _Labels:
    """Reads label files, and remembers what is wrong with them."""

    def __init__(self, categories: Mapping[int, str], folder: Path) -> None:
        self.categories, self.folder = categories, folder
        self._faults: defaultdict[str, list[str]] = defaultdict(list)
        self._used: set[Path] = set()
        self._confidences: list[str] = []

    def read(self, image: Path) -> Iterator[tuple[int, Corners]]:
        """Class number and corners, in fractions of the picture, of each usable line for ``image``."""
        file = next((path for path in self._places(image) if is_file(path)), None)
        if file is None:
            return
        self._used.add(file)
        try:
            lines = regular_file(file).read_text(encoding="utf-8-sig").split("\n")
        except (UnicodeDecodeError, OSError):
            self._faults["label-unreadable"].append(self._name(file))
            return
        for number, line in enumerate(lines, start=1):
            if line.strip():
                found = self._line(line.split(), f"{self._name(file)}:{number}")
                if found is not None:
                    yield found

    def _places(self, image: Path) -> Iterator[Path]:
        """As ultralytics: the last folder ``images`` becomes ``labels``; without one, beside the picture."""
        inside = image.is_relative_to(self.folder)
        top, parts = (self.folder, image.relative_to(self.folder).parts) if inside else (Path(), image.parts)
        places = [i for i, part in enumerate(parts[:-1]) if part == "images"]
        for i in places[-1:]:
            yield top.joinpath(*parts[:i], "labels", *parts[i + 1 :]).with_suffix(".txt")
        yield image.with_suffix(".txt")

    def _name(self, file: Path) -> str:
        return str(file.relative_to(self.folder) if file.is_relative_to(self.folder) else file)

    def _line(self, words: list[str], place: str) -> tuple[int, Corners] | None:
        """None, and a fault, for a line that is no box."""
        numbers = [coordinate(word) for word in words]
        label, *points = [number for number in numbers if number is not None] or [0.0]
        if None in numbers:
            return self._fault("label-not-a-number", f"{place} ({short(' '.join(words))})")
        if len(words) == 6:
            self._confidences.append(place)
            points = points[:4]
        if len(points) != 4 and (len(points) < 6 or len(points) % 2):
            return self._fault("label-numbers", f"{place} ({len(words)} numbers)")
        if label not in self.categories:
            return self._fault("unknown-class", f"{place} ({words[0]})")
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
        if places := self._confidences:
            findings.add("confidence-column", where, len(places), items=listing(places))
        if images and not self._used:
            findings.add("no-labels", where, images)
        folders = {file.parent for file in self._used if "labels" in file.parts}
        files = (file for folder in folders for file in folder.glob("*.txt") if file.name != "classes.txt")
        if strays := sorted(self._name(file) for file in files if file not in self._used):
            findings.add("stray-label", where, len(strays), items=listing(strays))


def _corners(points: list[float]) -> Corners:
    """Of centre and size, or of a polygon."""
    if len(points) == 4:
        x, y, w, h = points
        return x - w / 2, y - h / 2, x + w / 2, y + h / 2
    return min(points[::2]), min(points[1::2]), max(points[::2]), max(points[1::2])
