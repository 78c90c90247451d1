"""Pascal VOC: one XML file of boxes per picture, and lists of the pictures of each split.

Corners are pixels counted from 1, both ends belonging to the box (VOC2012 development kit, section 6.2).
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree
from xml.parsers import expat

from glip_lightning.common.errors import GLIPError
from glip_lightning.common.files import regular_file
from glip_lightning.data.checks.findings import Findings, listing, short
from glip_lightning.data.images import PICTURES, ImageFiles, is_below, is_file
from glip_lightning.data.index import Index, RawBox, RawImage, build_index, coordinate
from glip_lightning.data.splits import SPLIT_WORDS
from glip_lightning.data.types import SPLITS, Split

VALUES: Mapping[str, Mapping[str, str]] = {
    "bad-box": {"what": "objects whose bndbox", "expected": "xmin, ymin, xmax, ymax in pixels"},
    "outside-folder": {"what": "file names"},
}
"""What else the texts of these problems say."""

IMAGE_FOLDERS = ("JPEGImages", "images", "Images", "img", "imgs")


class Object(NamedTuple):
    name: str
    corners: tuple[float, float, float, float]  # as in the file
    difficult: bool


class Annotation(NamedTuple):
    stem: str  # of the XML file
    folder: Path  # of the picture
    image: str  # its name there
    size: tuple[int, int] | None  # height, width, if stated
    objects: list[Object]


def xml_files(folder: Path) -> dict[str, Path]:
    """Annotation files by their stems: in ``Annotations`` if there is such a folder, else in the folder itself."""
    inner = [path for path in folder.iterdir() if path.name.lower() == "annotations" and path.is_dir()]
    files = sorted(path for path in (inner or [folder])[0].glob("*.xml") if not path.name.startswith("."))
    return {path.stem: path for path in files}


def is_voc(folder: Path) -> bool:
    return bool(xml_files(folder)) or any(xml_files(place) for place in _split_folders(folder).values())


def _split_folders(folder: Path) -> dict[Split, Path]:
    places = ((split, folder / word) for word, split in SPLIT_WORDS.items())
    return {split: place for split, place in places if place.is_dir() and xml_files(place)}


def read_voc(folder: Path, findings: Findings) -> dict[Split, Index]:
    """The splits of a VOC folder: of its ``ImageSets/Main`` or its split folders, else ``train`` only.

    Classes are the names that the objects have, sorted. Objects marked difficult are, as in VOC's own
    evaluation, neither trained on nor counted. If any corner is 0, all are taken as counted from 0.
    """
    faults = _Faults()
    if parts := _split_folders(folder) if not xml_files(folder) else {}:
        found = {
            split: [_parse(file, place, faults) for file in xml_files(place).values()] for split, place in parts.items()
        }
        groups = {split: [item for item in items if item] for split, items in found.items()}
    else:
        files = xml_files(folder)
        lists = _lists(folder, files, findings)
        wanted = {stem: files[stem] for stems in lists.values() for stem in stems}
        parsed = {stem: _parse(file, folder, faults) for stem, file in wanted.items()}
        groups = {split: [item for stem in stems if (item := parsed[stem])] for split, stems in lists.items()}
    groups = {split: _once(items, faults) for split, items in groups.items()}
    faults.report(folder, findings)
    return _indexes(folder, groups, findings)


class _Faults(defaultdict[str, list[str]]):
    """Items by the keys of their problems."""

    def __init__(self) -> None:
        super().__init__(list)

    def report(self, where: Path, findings: Findings) -> None:
        for key, items in self.items():
            findings.add(key, where, len(items), items=listing(items), folder=where, **VALUES.get(key, {}))


def _lists(folder: Path, files: Mapping[str, Path], findings: Findings) -> dict[Split, list[str]]:
    """Stems of each split of ``ImageSets/Main``; the lists of single classes (``dog_train.txt``) do not matter."""
    main = folder / "ImageSets" / "Main"
    lists = {split: main / f"{word}.txt" for word, split in SPLIT_WORDS.items() if is_file(main / f"{word}.txt")}
    if "train" not in lists and is_file(main / "trainval.txt"):
        lists["train"] = main / "trainval.txt"
    if not lists:
        return {"train": list(files)}
    found: dict[Split, list[str]] = {}
    for split in (split for split in SPLITS if split in lists):
        text = regular_file(lists[split]).read_text("utf-8-sig", "replace")
        stems = [_stem(line.strip(), files) for line in text.splitlines()]
        stems = list(dict.fromkeys(stem for stem in stems if stem))
        if missing := [stem for stem in stems if stem not in files]:
            items = listing(map(repr, missing))
            findings.add("missing-annotation", lists[split], len(missing), total=len(stems), items=items)
        found[split] = [stem for stem in stems if stem in files]
    if unlisted := sorted(files.keys() - {stem for stems in found.values() for stem in stems}):
        findings.add("split-unlisted", main, len(unlisted), what="annotation files", items=listing(unlisted))
    return found


def _stem(line: str, files: Mapping[str, Path]) -> str:
    """The stem that a line names; a second column (-1, 0 or 1) may follow it."""
    first, _, last = line.rpartition(" ")
    return first.strip() if line not in files and last in ("-1", "0", "1") else line


def parse_xml(data: bytes) -> ElementTree.Element:
    """The root of an XML text; document type declarations, and so all entities, are refused.

    Raises:
        GLIPError: the text is broken; the message has the line of the fault.
    """
    parser = expat.ParserCreate()
    parser.StartDoctypeDeclHandler = _refuse
    try:
        parser.Parse(data, True)
        return ElementTree.fromstring(data)
    except (expat.ExpatError, ElementTree.ParseError, LookupError) as error:
        raise GLIPError(str(error), code="broken-xml") from None


def _refuse(*_: object) -> None:
    message = "it declares a document type, which can hold entities; remove <!DOCTYPE ...>"
    raise GLIPError(message, code="broken-xml")


def _parse(file: Path, folder: Path, faults: _Faults) -> Annotation | None:
    """What an annotation file of the data in ``folder`` says; None, and a fault, if that is of no use."""
    try:
        root = parse_xml(regular_file(file).read_bytes())
    except (ValueError, OSError) as error:
        faults["broken-xml"].append(f"{file.name} ({error})")
        return None
    filename = (root.findtext("filename") or "").strip()
    if filename and not is_below(filename):
        faults["outside-folder"].append(f"{filename!r} ({file.name})")
        return None
    picture = _picture(filename, file, folder)
    if picture is None:
        faults["missing-image/xml"].append(f"{filename or file.stem} ({file.name})")
        return None
    objects = [_object(entry, f"{file.name}, object {n}", faults) for n, entry in enumerate(root.findall("object"), 1)]
    return Annotation(file.stem, *picture, _size(root), [found for found in objects if found])


def _picture(filename: str, file: Path, folder: Path) -> tuple[Path, str] | None:
    """Folder and name of the picture: as <filename> says, else by the stem of the XML file."""
    places = [*(folder / name for name in IMAGE_FOLDERS), folder, file.parent]
    names = [filename] if filename else []
    names += [file.stem + ending for suffix in sorted(PICTURES) for ending in (suffix, suffix.upper())]
    return next(((place, name) for name in names for place in places if is_file(place / name)), None)


def _size(root: ElementTree.Element) -> tuple[int, int] | None:
    """Height and width; the zeros that some exporters write say nothing."""
    height, width = (coordinate(root.findtext(f"size/{key}")) for key in ("height", "width"))
    return None if not height or not width else (int(height), int(width))


def _object(entry: ElementTree.Element, place: str, faults: _Faults) -> Object | None:
    corners = [coordinate(entry.findtext(f"bndbox/{key}")) for key in ("xmin", "ymin", "xmax", "ymax")]
    name = " ".join((entry.findtext("name") or "").split())
    x1, y1, x2, y2 = (value if value is not None else -1.0 for value in corners)
    if None in corners or x2 < x1 or y2 < y1:
        texts = [entry.findtext(f"bndbox/{key}") for key in ("xmin", "ymin", "xmax", "ymax")]
        faults["bad-box"].append(f"{place} ({short(texts)})")
    elif not name:
        faults["no-category-name"].append(place)
    else:
        return Object(name, (x1, y1, x2, y2), (entry.findtext("difficult") or "").strip() == "1")
    return None


def _once(items: Iterable[Annotation], faults: _Faults) -> list[Annotation]:
    """One annotation per picture, by file name."""
    found: dict[Path, Annotation] = {}
    for item in items:
        first = found.setdefault(item.folder / item.image, item)
        if first is not item:
            faults["duplicate-image/files"].append(f"{item.image} ({first.stem}.xml, {item.stem}.xml)")
    return sorted(found.values(), key=lambda item: item.image)


def _indexes(folder: Path, groups: Mapping[Split, Sequence[Annotation]], findings: Findings) -> dict[Split, Index]:
    items = [item for group in groups.values() for item in group]
    names = sorted({found.name for item in items for found in item.objects})
    if not names and items:
        findings.add("no-categories", folder, reason="no annotation file has an object")
    if count := sum(found.difficult for item in items for found in item.objects):
        findings.add("difficult", folder, count)
    start, extra = _convention(folder, items, findings)
    categories = dict(enumerate(names, start=1))
    number_of = {name: number for number, name in categories.items()}
    indexes: dict[Split, Index] = {}
    for split, group in groups.items():
        place = group[0].folder if group and len({item.folder for item in group}) == 1 else folder
        source = ImageFiles(place, [str((item.folder / item.image).relative_to(place)) for item in group])
        images = [RawImage(number, item.size) for number, item in enumerate(group)]
        boxes = [
            RawBox(number, number_of[found.name], _xywh(found, start, extra), crowd=found.difficult)
            for number, item in enumerate(group)
            for found in item.objects
        ]
        where = place if place != folder else folder / "*.xml"
        indexes[split] = build_index(where, categories, images, boxes, source, findings)
    return indexes


def _xywh(found: Object, start: int, extra: int) -> tuple[float, float, float, float]:
    x1, y1, x2, y2 = found.corners
    return x1 - start, y1 - start, x2 - x1 + extra, y2 - y1 + extra


def _convention(folder: Path, items: Sequence[Annotation], findings: Findings) -> tuple[int, int]:
    """From which number pixels are counted, and 1 if the last pixel belongs to the box, else 0.

    VOC says 1 and 1. Where a corner is 0 pixels are counted from 0, and if a corner then reaches the
    picture's width or height, corners are edges between pixels.
    """
    zeros, edges = [], False
    for item in items:
        for found in item.objects:
            x1, y1, x2, y2 = found.corners
            zeros += [item.image] if x1 == 0 or y1 == 0 else []
            edges |= item.size is not None and (x2 == item.size[1] or y2 == item.size[0])
    if not zeros:
        return 1, 1
    kind = "edges between pixels, as some reach the full width or height" if edges else "pixels counted from 0"
    findings.add("zero-based", folder, len(zeros), items=listing(dict.fromkeys(zeros)), kind=kind)
    return 0, 0 if edges else 1
