"""Shared parts of the formats with one annotation file per picture.

They find the picture that a file is about, and make an index of all annotations.
"""

import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path, PurePosixPath

from glip_lightning.data.checks.findings import Faults, Findings
from glip_lightning.data.formats.mask_boxes import Corners
from glip_lightning.data.images import ImageFiles, is_file, pictures
from glip_lightning.data.index import Index, RawBox, RawImage, build_index
from glip_lightning.data.types import Split

IMAGE_FOLDERS = ("JPEGImages", "images", "Images", "img", "imgs")
"""Names of folders of pictures, the most usual one first."""


@dataclass(frozen=True)
class Object:
    """A thing in a picture, as its annotation file has it; corners in pixels."""

    name: str
    corners: Corners
    difficult: bool = False


@dataclass(frozen=True)
class Annotation:
    """The content of an annotation file."""

    file: Path
    picture: Path
    size: tuple[int, int] | None  # height, width, if stated
    objects: list[Object]


class PictureFinder:
    """The pictures below a folder by their names, for annotation files to find theirs.

    The names of the folders between do not matter.
    """

    def __init__(self, folder: Path) -> None:
        self._by_name: defaultdict[str, list[Path]] = defaultdict(list)
        self._by_stem: defaultdict[str, list[Path]] = defaultdict(list)
        for path in pictures(folder):
            self._by_name[_comparable(path.name)].append(path)
            self._by_stem[_comparable(path.stem)].append(path)

    def find(self, name: str, file: Path) -> Path | None:
        """Return the picture that an annotation file calls ``name``, None if there is none.

        ``name`` may begin with folders. Without a picture of this name, the one with the stem of
        the annotation file is taken, or the one with the stem of ``name``. Of several pictures, the
        one in the same folder is taken, then one in a folder with a usual name, then the one next
        to the file.
        """
        given = PurePosixPath(name.replace("\\", "/"))

        def rank(path: Path) -> tuple[object, ...]:
            folder = path.parent.name
            usual = len(IMAGE_FOLDERS)
            if folder in IMAGE_FOLDERS:
                usual = IMAGE_FOLDERS.index(folder)
            common = sum(part in file.parts for part in path.parts)
            return (path.name != given.name, folder != given.parent.name, usual, -common, path)

        for group in (
            self._by_name[_comparable(given.name)],
            self._by_stem[_comparable(file.stem)],
            self._by_stem[_comparable(given.stem)],
        ):
            files = [path for path in group if is_file(path)]
            if files:
                return min(files, key=rank)
        return None


def _comparable(name: str) -> str:
    """Return a name without what some systems ignore: capitals, and how accents are written."""
    return unicodedata.normalize("NFC", name).casefold()


def one_each(items: Iterable[Annotation], faults: Faults) -> list[Annotation]:
    """Return the first annotation of each picture, by file name; others are faults."""
    found: dict[Path, Annotation] = {}
    for item in items:
        first = found.setdefault(item.picture, item)
        if first is not item:
            files = f"{first.file.name}, {item.file.name}"
            faults["duplicate-image/files"].append(f"{item.picture.name} ({files})")
    return sorted(found.values(), key=lambda item: (item.picture.name, item.picture))


def build_indexes(
    folder: Path, ending: str, groups: Mapping[Split, Sequence[Annotation]], findings: Findings
) -> dict[Split, Index]:
    """Return the index of each split; classes are the names that occur, sorted.

    Args:
        folder: the data set.
        ending: of the annotation files, for messages, e.g. ".xml".
        groups: the annotations of each split. Corners are edges between pixels, counted from 0.
        findings: where faults are added.
    """
    items = list(chain.from_iterable(groups.values()))
    objects = chain.from_iterable(item.objects for item in items)
    names = sorted({found.name for found in objects})
    if not names and items:
        findings.add("no-categories", folder, reason="no annotation file has an object")
    categories = dict(enumerate(names, start=1))
    number_of = {name: number for number, name in categories.items()}
    indexes: dict[Split, Index] = {}
    for split, group in groups.items():
        folders = {item.picture.parent for item in group}
        place = folders.pop() if len(folders) == 1 else folder
        source = ImageFiles(place, [str(item.picture.relative_to(place)) for item in group])
        images = [RawImage(number, item.size) for number, item in enumerate(group)]
        boxes = []
        for number, item in enumerate(group):
            for found in item.objects:
                x1, y1, x2, y2 = found.corners
                box = (x1, y1, x2 - x1, y2 - y1)
                boxes.append(RawBox(number, number_of[found.name], box, crowd=found.difficult))
        where = place if place != folder else folder / f"*{ending}"
        indexes[split] = build_index(where, categories, images, boxes, source, findings)
    return indexes
