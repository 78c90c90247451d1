"""What formats with one annotation file per picture share: which picture a file is about, and the columns of all."""

import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from glip_lightning.data.checks.findings import Findings, listing
from glip_lightning.data.images import ImageFiles, is_file, pictures
from glip_lightning.data.index import Index, RawBox, RawImage, build_index
from glip_lightning.data.types import Split

IMAGE_FOLDERS = ("JPEGImages", "images", "Images", "img", "imgs")
"""What folders of pictures are called, the most usual name first."""


@dataclass(frozen=True)
class Object:
    """A thing in a picture, as its annotation file has it."""

    name: str
    corners: tuple[float, float, float, float]
    difficult: bool = False


@dataclass(frozen=True)
class Annotation:
    """An annotation file."""

    file: Path
    picture: Path
    size: tuple[int, int] | None  # height, width, if stated
    objects: list[Object]


class Faults(defaultdict[str, list[str]]):
    """Items by the keys of their problems."""

    def __init__(self) -> None:
        super().__init__(list)

    def report(
        self, where: Path, findings: Findings, values: Mapping[str, Mapping[str, str]]
    ) -> None:
        """Add a finding for each problem; ``values`` are what else its text says."""
        for key, items in self.items():
            findings.add(
                key, where, len(items), items=listing(items), folder=where, **values.get(key, {})
            )


class PictureFinder:
    """Finds the pictures of annotation files below a folder, whatever the folders between are called."""

    def __init__(self, folder: Path) -> None:
        self._by_name: defaultdict[str, list[Path]] = defaultdict(list)
        self._by_stem: defaultdict[str, list[Path]] = defaultdict(list)
        for path in pictures(folder):
            self._by_name[_key(path.name)].append(path)
            self._by_stem[_key(path.stem)].append(path)

    def find(self, name: str, file: Path) -> Path | None:
        """The picture that ``file`` calls ``name`` (perhaps with folders), else the one with the stem of ``file``.

        Of several the one in the same folder, in a usual one, or next to the file is taken.
        """
        given = PurePosixPath(name.replace("\\", "/"))

        def rank(path: Path) -> tuple[object, ...]:
            usual = (
                IMAGE_FOLDERS.index(path.parent.name)
                if path.parent.name in IMAGE_FOLDERS
                else len(IMAGE_FOLDERS)
            )
            common = sum(part in file.parts for part in path.parts)
            return (
                path.name != given.name,
                path.parent.name != given.parent.name,
                usual,
                -common,
                path,
            )

        groups = (
            self._by_name[_key(given.name)],
            self._by_stem[_key(file.stem)],
            self._by_stem[_key(given.stem)],
        )
        for group in groups:
            if found := sorted(filter(is_file, group), key=rank):
                return found[0]
        return None


def _key(name: str) -> str:
    """The same for names that only systems tell apart: by capitals or by how accents are written."""
    return unicodedata.normalize("NFC", name).casefold()


def one_each(items: Iterable[Annotation], faults: Faults) -> list[Annotation]:
    """One annotation per picture, by file name."""
    found: dict[Path, Annotation] = {}
    for item in items:
        first = found.setdefault(item.picture, item)
        if first is not item:
            faults["duplicate-image/files"].append(
                f"{item.picture.name} ({first.file.name}, {item.file.name})"
            )
    return sorted(found.values(), key=lambda item: (item.picture.name, item.picture))


def build_indexes(
    folder: Path, ending: str, groups: Mapping[Split, Sequence[Annotation]], findings: Findings
) -> dict[Split, Index]:
    """Columns of the annotations of each split, corners being edges; classes are the names that occur, sorted."""
    items = [item for group in groups.values() for item in group]
    names = sorted({found.name for item in items for found in item.objects})
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
