"""Pascal VOC: one XML file of boxes per picture, and lists of the pictures of each split.

Corners are pixels counted from 1, and both end pixels belong to the box (VOC2012 development kit,
section 6.2).
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import chain, islice
from pathlib import Path
from xml.etree import ElementTree
from xml.parsers import expat

from glip_lightning.common.errors import GLIPError
from glip_lightning.common.files import regular_file
from glip_lightning.data.checks.findings import Faults, Findings, listing, short
from glip_lightning.data.formats.file_names import read_list
from glip_lightning.data.formats.mask_boxes import Corners, around_turned
from glip_lightning.data.formats.per_picture import (
    Annotation,
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

POINT = re.compile(r"[xy]\d+")
ROOT = re.compile(rb"<annotation[\s>]")
DECLARED = re.compile(
    rb"""\s*<\?xml[^>]*?encoding=["'](?!(?:utf-8|utf-16)["'])([\w.-]+)["'][^>]*\?>""", re.IGNORECASE
)
LOOKED_AT = 5  # files that decide whether the XML files of a folder are annotations


def xml_files(folder: Path) -> dict[str, Path]:
    """Return annotation files by their stems, none if the folder has none.

    They are in ``Annotations``, in the folder itself, or in the only sub-folder that has some.
    """
    children = sub_folders(folder)
    for place in children:
        if place.name.lower() == "annotations":
            files = _xml_in(place)
            if files:
                return files
    own = _xml_in(folder)
    if _are_annotations(own):
        return own
    others = [_xml_in(place) for place in children if place.name.lower() not in SPLIT_WORDS]
    found = [files for files in others if _are_annotations(files)]
    return found[0] if len(found) == 1 else {}


def sub_folders(folder: Path) -> list[Path]:
    """Return the folders in a folder by name, without hidden ones."""
    shown = [path for path in folder.iterdir() if not path.name.startswith(".")]
    return sorted(path for path in shown if path.is_dir())


def _xml_in(folder: Path) -> dict[str, Path]:
    files = sorted(folder.glob("*.xml"))
    return {path.stem: path for path in files if not path.name.startswith(".")}


def _are_annotations(files: Mapping[str, Path]) -> bool:
    """Return whether one of the first files begins as an annotation does.

    XML files of other programs do not.
    """
    for path in islice(files.values(), LOOKED_AT):
        if is_file(path):
            with path.open("rb") as stream:
                head = stream.read(4000).replace(b"\0", b"")  # as in UTF-16
            if ROOT.search(head):
                return True
    return False


def is_voc(folder: Path) -> bool:
    """Return whether the folder or its folders of splits hold annotation files."""
    return bool(xml_files(folder) or _split_folders(folder))


def _split_folders(folder: Path) -> dict[Split, Path]:
    """Return the folders of splits that hold annotation files.

    They are in the folder itself (``train/``) or in a sub-folder (``annotations/train/``).
    """
    for above in (folder, *sub_folders(folder)):
        found: dict[Split, Path] = {}
        for word, split in SPLIT_WORDS.items():
            place = above / word
            if place.is_dir() and xml_files(place):
                found[split] = place
        if found:
            return found
    return {}


def read_voc(folder: Path, findings: Findings) -> dict[Split, Index]:
    """Read the splits of a VOC folder.

    The splits are those of ``ImageSets/Main`` or of the folders of splits, else ``train`` only.
    Classes are the names that the objects have, sorted. Objects marked difficult are, as in VOC's
    own evaluation, neither trained on nor counted. If any corner is 0, all corners are taken as
    counted from 0. Faults go to ``findings``.
    """
    faults = Faults()
    finder = PictureFinder(folder)
    files: dict[Split, list[Path]] = {}
    by_stem = xml_files(folder)
    if by_stem:
        for split, stems in _split_stems(folder, by_stem, findings).items():
            files[split] = [by_stem[stem] for stem in stems]
    else:
        for split, place in _split_folders(folder).items():
            files[split] = list(xml_files(place).values())
    parsed: dict[Path, Annotation | None] = {}  # several lists may name one file
    groups: dict[Split, list[Annotation]] = {}
    for split, group in files.items():
        groups[split] = []
        for file in group:
            if file not in parsed:
                parsed[file] = _parse(file, finder, faults)
            item = parsed[file]
            if item is not None:
                groups[split].append(item)
    groups = {split: one_each(items, faults) for split, items in groups.items()}
    faults.report(folder, findings, VALUES)
    return build_indexes(folder, ".xml", _with_edges(folder, groups, findings), findings)


def _split_stems(
    folder: Path, files: Mapping[str, Path], findings: Findings
) -> dict[Split, list[str]]:
    """Return the stems of each split of ``ImageSets/Main``; without lists, all are ``train``.

    The lists of single classes (``dog_train.txt``) do not matter.
    """
    main = folder / "ImageSets" / "Main"
    lists: dict[Split, Path] = {}
    for word, split in SPLIT_WORDS.items():
        if is_file(main / f"{word}.txt"):
            lists[split] = main / f"{word}.txt"
    if "train" not in lists and is_file(main / "trainval.txt"):
        lists["train"] = main / "trainval.txt"
    if not lists:
        return {"train": list(files)}
    found: dict[Split, list[str]] = {}
    for split in SPLITS:
        if split not in lists:
            continue
        listed = dict.fromkeys(_stem(line, files) for line in read_list(lists[split]))
        stems = [stem for stem in listed if stem]
        missing = [repr(stem) for stem in stems if stem not in files]
        if missing:
            items, total = listing(missing), len(stems)
            findings.add("missing-annotation", lists[split], len(missing), total=total, items=items)
        found[split] = [stem for stem in stems if stem in files]
    unlisted = sorted(files.keys() - set().union(*found.values()))
    if unlisted:
        items, what = listing(unlisted), "annotation files"
        findings.add("split-unlisted", main, len(unlisted), what=what, items=items)
    return found


def _stem(line: str, files: Mapping[str, Path]) -> str:
    """Return the stem that a line names; a second column (-1, 0 or 1) may follow it."""
    first, _, last = line.rpartition(" ")
    return first.strip() if line not in files and last in ("-1", "0", "1") else line


def parse_xml(data: bytes) -> ElementTree.Element:
    """Return the root of an XML text.

    Document type declarations are refused, and with them all entities.

    Raises:
        GLIPError: the text is broken; the message has the line of the fault.
    """
    data = _in_utf_8(data)
    parser = expat.ParserCreate()
    parser.StartDoctypeDeclHandler = _refuse_doctype
    try:
        parser.Parse(data, True)
        return ElementTree.fromstring(data)
    except (expat.ExpatError, ElementTree.ParseError, LookupError) as error:
        raise GLIPError(str(error), code="broken-xml") from None


def _in_utf_8(data: bytes) -> bytes:
    """Return an XML text in UTF-8 if it declares a charset that expat does not read.

    Examples are gbk and big5. Other texts stay as they are.
    """
    declared = DECLARED.match(data)
    if declared is None:
        return data
    try:
        text = data[declared.end() :].decode(declared[1].decode("ascii"))
    except (LookupError, UnicodeError):  # expat names the fault
        return data
    return text.encode("utf-8", "surrogatepass")


def _refuse_doctype(*_: object) -> None:
    message = "it declares a document type, which can hold entities; remove <!DOCTYPE ...>"
    raise GLIPError(message, code="broken-xml")


def _parse(file: Path, finder: PictureFinder, faults: Faults) -> Annotation | None:
    """Return the annotation that a file holds; None, and a fault, if it cannot be used."""
    try:
        root = parse_xml(regular_file(file).read_bytes())
    except (ValueError, OSError) as error:
        faults["broken-xml"].append(f"{file.name} ({error})")
        return None
    filename = _text(root, "filename")
    if filename and not is_below(filename):
        faults["outside-folder"].append(f"{filename!r} ({file.name})")
        return None
    picture = finder.find(filename, file)
    if picture is None:
        faults["missing-image/files"].append(f"{filename or file.stem} ({file.name})")
        return None
    objects = []
    for number, entry in enumerate(root.findall("object"), start=1):
        found = _object(entry, f"{file.name}, object {number}", faults)
        if found is not None:
            objects.append(found)
    return Annotation(file, picture, _size(root), objects)


def _text(entry: ElementTree.Element, key: str) -> str:
    return (entry.findtext(key) or "").strip()


def _size(root: ElementTree.Element) -> tuple[int, int] | None:
    """Return height and width; None for the zeros that some exporters write."""
    height = coordinate(root.findtext("size/height"))
    width = coordinate(root.findtext("size/width"))
    return (int(height), int(width)) if height and width else None


def _object(entry: ElementTree.Element, place: str, faults: Faults) -> Object | None:
    """Return an object; None, and a fault at ``place``, if it has no usable box or no name."""
    corners, turned = _corners(entry)
    name = " ".join(_text(entry, "name").split())
    if corners is None or corners[2] < corners[0] or corners[3] < corners[1]:
        texts = [entry.findtext(f"bndbox/{key}") for key in ("xmin", "ymin", "xmax", "ymax")]
        faults["bad-box"].append(f"{place} ({short(texts)})")
        return None
    if not name:
        faults["no-category-name"].append(place)
        return None
    if turned:
        faults["turned-box"].append(place)
    return Object(name, corners, difficult=_text(entry, "difficult") == "1")


def _corners(entry: ElementTree.Element) -> tuple[Corners | None, bool]:
    """Return the corners of an object, None without any, and whether its box was turned.

    A turned box and a polygon get the corners of the upright box around them.
    """
    box = _numbers(entry, "bndbox")
    match [box.get(key) for key in ("xmin", "ymin", "xmax", "ymax")]:
        case [float(x1), float(y1), float(x2), float(y2)]:
            degrees = _rotation(entry)
            if degrees == 0:
                return (x1, y1, x2, y2), False
            return _around((x1, y1, x2, y2), degrees), True
    turned_box = _numbers(entry, "robndbox")  # of roLabelImg, its angle in radians
    match [turned_box.get(key) for key in ("cx", "cy", "w", "h", "angle")]:
        case [float(x), float(y), float(w), float(h), float(angle)]:
            upright = (x - w / 2, y - h / 2, x + w / 2, y + h / 2)
            return _around(upright, math.degrees(angle)), True
    for points in (_numbers(entry, "polygon"), box):
        points = {key: value for key, value in points.items() if POINT.fullmatch(key)}
        xs = [value for key, value in points.items() if key.startswith("x")]
        ys = [value for key, value in points.items() if key.startswith("y")]
        if len(xs) == len(ys) > 2:
            return (min(xs), min(ys), max(xs), max(ys)), True
    return None, False


def _numbers(entry: ElementTree.Element, shape: str) -> dict[str, float]:
    """Return the numbers of a shape by their names."""
    values = {child.tag: coordinate(child.text) for child in entry.findall(f"{shape}/*")}
    return {key: value for key, value in values.items() if value is not None}


def _rotation(entry: ElementTree.Element) -> float:
    """Return by how many degrees CVAT has turned the box about its centre."""
    degrees = None
    for attribute in entry.findall("attributes/attribute"):
        if attribute.findtext("name") == "rotation":
            degrees = coordinate(attribute.findtext("value"))
    return (degrees or 0.0) % 360


def _around(corners: Corners, degrees: float) -> Corners:
    x1, y1, x2, y2 = corners
    x, y, width, height = around_turned((x1, y1, x2 - x1, y2 - y1), degrees)
    return x, y, x + width, y + height


def _with_edges(
    folder: Path, groups: Mapping[Split, Sequence[Annotation]], findings: Findings
) -> dict[Split, list[Annotation]]:
    """Return the annotations with corners that are edges between pixels, counted from 0.

    Add what was decided to ``findings``, and how many objects are difficult.
    """
    items = list(chain.from_iterable(groups.values()))
    objects = chain.from_iterable(item.objects for item in items)
    difficult = sum(found.difficult for found in objects)
    if difficult:
        findings.add("difficult", folder, difficult)
    start, extra = _convention(folder, items, findings)
    moved: dict[Split, list[Annotation]] = {}
    for split, group in groups.items():
        moved[split] = []
        for item in group:
            edges = [_moved(found, start, extra) for found in item.objects]
            moved[split].append(replace(item, objects=edges))
    return moved


def _moved(found: Object, start: int, extra: int) -> Object:
    x1, y1, x2, y2 = found.corners
    return replace(found, corners=(x1 - start, y1 - start, x2 - start + extra, y2 - start + extra))


def _convention(folder: Path, items: Sequence[Annotation], findings: Findings) -> tuple[int, int]:
    """Return the first pixel's number, and 1 if the last pixel belongs to the box, else 0.

    VOC says 1 and 1. Where a corner is 0, pixels are counted from 0. If a corner then reaches the
    picture's width or height, corners are edges between pixels.
    """
    zeros: list[str] = []
    edges = False
    for item in items:
        for found in item.objects:
            x1, y1, x2, y2 = found.corners
            if x1 == 0 or y1 == 0:
                zeros.append(item.picture.name)
            if item.size is not None and (x2 == item.size[1] or y2 == item.size[0]):
                edges = True
    if not zeros:
        return 1, 1
    kind = "pixels counted from 0"
    if edges:
        kind = "edges between pixels, as some reach the full width or height"
    findings.add("zero-based", folder, len(zeros), items=listing(dict.fromkeys(zeros)), kind=kind)
    return 0, 0 if edges else 1
