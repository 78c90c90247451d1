"""Pascal VOC: one XML file of boxes per picture, and lists of the pictures of each split.

Corners are pixels counted from 1, both ends belonging to the box (VOC2012 development kit, section 6.2).
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from xml.etree import ElementTree
from xml.parsers import expat

from glip_lightning.common.errors import GLIPError
from glip_lightning.common.files import regular_file
from glip_lightning.data.checks.findings import Findings, listing, short
from glip_lightning.data.formats.mask_boxes import around_turned
from glip_lightning.data.formats.per_picture import (
    Annotation,
    Faults,
    Object,
    PictureFinder,
    build_indexes,
    one_each,
)
from glip_lightning.data.images import is_below, is_file
from glip_lightning.data.index import Index, coordinate
from glip_lightning.data.splits import SPLIT_WORDS
from glip_lightning.data.types import SPLITS, Split

VALUES: Mapping[str, Mapping[str, str]] = {
    "bad-box": {"what": "objects whose bndbox", "expected": "xmin, ymin, xmax, ymax in pixels"},
    "outside-folder": {"what": "file names"},
}
"""What else the texts of these problems say."""

Corners = tuple[float, float, float, float]
POINT = re.compile(r"[xy]\d+")
ROOT = re.compile(rb"<annotation[\s>]")
DECLARED = re.compile(
    rb"""\s*<\?xml[^>]*?encoding=["'](?!(?:utf-8|utf-16)["'])([\w.-]+)["'][^>]*\?>""", re.IGNORECASE
)
LOOKED_AT = 5  # files that decide whether the XML files of a folder are annotations


def xml_files(folder: Path) -> dict[str, Path]:
    """Annotation files by their stems: in ``Annotations``, in the folder itself, or in the one folder that has some."""
    children = [
        path for path in sorted(folder.iterdir()) if path.is_dir() and not path.name.startswith(".")
    ]
    for place in [path for path in children if path.name.lower() == "annotations"]:
        if files := _xml_in(place):
            return files
    own = _xml_in(folder)
    if own and _are_annotations(own):
        return own
    others = [_xml_in(path) for path in children if path.name.lower() not in SPLIT_WORDS]
    found = [files for files in others if files and _are_annotations(files)]
    return found[0] if len(found) == 1 else {}


def _xml_in(folder: Path) -> dict[str, Path]:
    return {
        path.stem: path for path in sorted(folder.glob("*.xml")) if not path.name.startswith(".")
    }


def _are_annotations(files: Mapping[str, Path]) -> bool:
    """Whether one of the first files begins as an annotation does, not as XML of other programs."""
    for path in islice(files.values(), LOOKED_AT):
        if is_file(path):
            with path.open("rb") as stream:
                if ROOT.search(stream.read(4000).replace(b"\0", b"")):
                    return True
    return False


def is_voc(folder: Path) -> bool:
    return bool(xml_files(folder)) or any(
        xml_files(place) for place in _split_folders(folder).values()
    )


def _split_folders(folder: Path) -> dict[Split, Path]:
    """The folders of splits that hold annotation files: ``train/``, or ``annotations/train/``."""
    children = [
        path for path in sorted(folder.iterdir()) if path.is_dir() and not path.name.startswith(".")
    ]
    for above in (folder, *children):
        places = ((split, above / word) for word, split in SPLIT_WORDS.items())
        if found := {
            split: place for split, place in places if place.is_dir() and xml_files(place)
        }:
            return found
    return {}


def read_voc(folder: Path, findings: Findings) -> dict[Split, Index]:
    """The splits of a VOC folder: of its ``ImageSets/Main`` or its split folders, else ``train`` only.

    Classes are the names that the objects have, sorted. Objects marked difficult are, as in VOC's own
    evaluation, neither trained on nor counted. If any corner is 0, all are taken as counted from 0.
    """
    faults, finder = Faults(), PictureFinder(folder)
    if parts := _split_folders(folder) if not xml_files(folder) else {}:
        files = {split: xml_files(place).values() for split, place in parts.items()}
        found = {
            split: [_parse(file, finder, faults) for file in group]
            for split, group in files.items()
        }
        groups = {split: [item for item in items if item] for split, items in found.items()}
    else:
        by_stem = xml_files(folder)
        lists = _lists(folder, by_stem, findings)
        wanted = {stem: by_stem[stem] for stems in lists.values() for stem in stems}
        parsed = {stem: _parse(file, finder, faults) for stem, file in wanted.items()}
        groups = {
            split: [item for stem in stems if (item := parsed[stem])]
            for split, stems in lists.items()
        }
    groups = {split: one_each(items, faults) for split, items in groups.items()}
    faults.report(folder, findings, VALUES)
    return build_indexes(folder, ".xml", _with_edges(folder, groups, findings), findings)


def _lists(folder: Path, files: Mapping[str, Path], findings: Findings) -> dict[Split, list[str]]:
    """Stems of each split of ``ImageSets/Main``; the lists of single classes (``dog_train.txt``) do not matter."""
    main = folder / "ImageSets" / "Main"
    lists = {
        split: main / f"{word}.txt"
        for word, split in SPLIT_WORDS.items()
        if is_file(main / f"{word}.txt")
    }
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
            findings.add(
                "missing-annotation", lists[split], len(missing), total=len(stems), items=items
            )
        found[split] = [stem for stem in stems if stem in files]
    if unlisted := sorted(files.keys() - {stem for stems in found.values() for stem in stems}):
        findings.add(
            "split-unlisted", main, len(unlisted), what="annotation files", items=listing(unlisted)
        )
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
    data = _in_utf_8(data)
    parser = expat.ParserCreate()
    parser.StartDoctypeDeclHandler = _refuse
    try:
        parser.Parse(data, True)
        return ElementTree.fromstring(data)
    except (expat.ExpatError, ElementTree.ParseError, LookupError) as error:
        raise GLIPError(str(error), code="broken-xml") from None


def _in_utf_8(data: bytes) -> bytes:
    """The same XML text in UTF-8 where it declares a charset that expat does not read, such as gbk or big5."""
    declared = DECLARED.match(data)
    if declared is None:
        return data
    try:
        text = data[declared.end() :].decode(declared[1].decode("ascii"))
    except (LookupError, UnicodeError):  # expat names the fault
        return data
    return text.encode("utf-8", "surrogatepass")


def _refuse(*_: object) -> None:
    message = "it declares a document type, which can hold entities; remove <!DOCTYPE ...>"
    raise GLIPError(message, code="broken-xml")


def _parse(file: Path, finder: PictureFinder, faults: Faults) -> Annotation | None:
    """What an annotation file says; None, and a fault, if that is of no use."""
    try:
        root = parse_xml(regular_file(file).read_bytes())
    except (ValueError, OSError) as error:
        faults["broken-xml"].append(f"{file.name} ({error})")
        return None
    filename = (root.findtext("filename") or "").strip()
    if filename and not is_below(filename):
        faults["outside-folder"].append(f"{filename!r} ({file.name})")
        return None
    picture = finder.find(filename, file)
    if picture is None:
        faults["missing-image/files"].append(f"{filename or file.stem} ({file.name})")
        return None
    objects = [
        _object(entry, f"{file.name}, object {n}", faults)
        for n, entry in enumerate(root.findall("object"), 1)
    ]
    return Annotation(file, picture, _size(root), [found for found in objects if found])


def _size(root: ElementTree.Element) -> tuple[int, int] | None:
    """Height and width; the zeros that some exporters write say nothing."""
    height, width = (coordinate(root.findtext(f"size/{key}")) for key in ("height", "width"))
    return None if not height or not width else (int(height), int(width))


def _object(entry: ElementTree.Element, place: str, faults: Faults) -> Object | None:
    corners, turned = _corners(entry)
    name = " ".join((entry.findtext("name") or "").split())
    x1, y1, x2, y2 = corners or (0.0, 0.0, 0.0, 0.0)
    if corners is None or x2 < x1 or y2 < y1:
        texts = [entry.findtext(f"bndbox/{key}") for key in ("xmin", "ymin", "xmax", "ymax")]
        faults["bad-box"].append(f"{place} ({short(texts)})")
    elif not name:
        faults["no-category-name"].append(place)
    else:
        if turned:
            faults["turned-box"].append(place)
        return Object(name, (x1, y1, x2, y2), (entry.findtext("difficult") or "").strip() == "1")
    return None


def _corners(entry: ElementTree.Element) -> tuple[Corners | None, bool]:
    """The corners of an object, None where it has none, and whether they are those around a turned box or a polygon."""
    match [_numbers(entry, "bndbox").get(key) for key in ("xmin", "ymin", "xmax", "ymax")]:
        case [float(x1), float(y1), float(x2), float(y2)]:
            degrees = _rotation(entry)
            return _around((x1, y1, x2, y2), degrees) if degrees else (x1, y1, x2, y2), degrees != 0
    match [
        _numbers(entry, "robndbox").get(key) for key in ("cx", "cy", "w", "h", "angle")
    ]:  # roLabelImg, in radians
        case [float(x), float(y), float(w), float(h), float(angle)]:
            return _around((x - w / 2, y - h / 2, x + w / 2, y + h / 2), math.degrees(angle)), True
    for shape in ("polygon", "bndbox"):
        points = _numbers(entry, shape)
        xs, ys = (
            [value for key, value in points.items() if POINT.fullmatch(key) and key[0] == axis]
            for axis in "xy"
        )
        if len(xs) == len(ys) > 2:
            return (min(xs), min(ys), max(xs), max(ys)), True
    return None, False


def _numbers(entry: ElementTree.Element, shape: str) -> dict[str, float]:
    """The numbers of a shape by their names."""
    values = {child.tag: coordinate(child.text) for child in entry.findall(f"{shape}/*")}
    return {key: value for key, value in values.items() if value is not None}


def _rotation(entry: ElementTree.Element) -> float:
    """Degrees that CVAT has turned the box about its centre."""
    found = {
        each.findtext("name"): each.findtext("value")
        for each in entry.findall("attributes/attribute")
    }
    return (coordinate(found.get("rotation")) or 0.0) % 360


def _around(corners: Corners, degrees: float) -> Corners:
    x1, y1, x2, y2 = corners
    x, y, width, height = around_turned((x1, y1, x2 - x1, y2 - y1), degrees)
    return x, y, x + width, y + height


def _with_edges(
    folder: Path, groups: Mapping[Split, Sequence[Annotation]], findings: Findings
) -> dict[Split, list[Annotation]]:
    """The annotations with corners that are edges between pixels, counted from 0."""
    items = [item for group in groups.values() for item in group]
    if count := sum(found.difficult for item in items for found in item.objects):
        findings.add("difficult", folder, count)
    start, extra = _convention(folder, items, findings)

    def moved(found: Object) -> Object:
        x1, y1, x2, y2 = found.corners
        return replace(
            found, corners=(x1 - start, y1 - start, x2 - start + extra, y2 - start + extra)
        )

    return {
        split: [replace(item, objects=[moved(found) for found in item.objects]) for item in group]
        for split, group in groups.items()
    }


def _convention(folder: Path, items: Sequence[Annotation], findings: Findings) -> tuple[int, int]:
    """From which number pixels are counted, and 1 if the last pixel belongs to the box, else 0.

    VOC says 1 and 1. Where a corner is 0 pixels are counted from 0, and if a corner then reaches the
    picture's width or height, corners are edges between pixels.
    """
    zeros, edges = [], False
    for item in items:
        for found in item.objects:
            x1, y1, x2, y2 = found.corners
            zeros += [item.picture.name] if x1 == 0 or y1 == 0 else []
            edges |= item.size is not None and (x2 == item.size[1] or y2 == item.size[0])
    if not zeros:
        return 1, 1
    kind = (
        "edges between pixels, as some reach the full width or height"
        if edges
        else "pixels counted from 0"
    )
    findings.add("zero-based", folder, len(zeros), items=listing(dict.fromkeys(zeros)), kind=kind)
    return 0, 0 if edges else 1
