"""A user's folder: which layout it has, and its splits."""

import json
import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import Any

from glip_lightning.common.errors import GLIPError
from glip_lightning.common.files import regular_file
from glip_lightning.data.benchmarks.odinw import ANNOTATIONS
from glip_lightning.data.checks.consistency import check_splits
from glip_lightning.data.checks.findings import Findings, data_error, listing
from glip_lightning.data.formats.coco_json import read_coco
from glip_lightning.data.formats.file_names import read_list
from glip_lightning.data.formats.hub_dataset import is_saved, read_hub
from glip_lightning.data.formats.labelme_json import is_labelme, read_labelme
from glip_lightning.data.formats.other_tools import refuse_tool, refuse_tools
from glip_lightning.data.formats.voc_xml import is_voc, read_voc, sub_folders
from glip_lightning.data.formats.yolo_txt import is_yolo, read_yolo
from glip_lightning.data.images import (
    PICTURES,
    ImageFiles,
    is_below,
    is_file,
    pictures,
    unread_pictures,
)
from glip_lightning.data.index import Index
from glip_lightning.data.splits import SPLIT_FILE, SPLIT_WORDS, complete_splits
from glip_lightning.data.types import Split

LAYOUTS = """
  train/, valid/, test/, each with one COCO file (*.json) beside its images (ODinW, Roboflow)
  annotations/*.json with train, val, test in their names, \
images in images/ or train2017/, ... (COCO)
  data.yaml, or labels/ and classes.txt, with images/ and labels/ (YOLO)
  Annotations/*.xml, or another folder of them, and JPEGImages/, images/, ..., \
perhaps ImageSets/Main/*.txt (Pascal VOC)
  one JSON file per picture (LabelMe), perhaps in train/, valid/, test/
  a folder written by save_to_disk (datasets)
  one COCO file (*.json), images beside it or in images/; it is split by a rule"""
"""The part of a message that lists what can be read."""

IMAGE_FOLDERS = ("images", "Images", "imgs", "data", "JPEGImages")
USUAL_FILES = (ANNOTATIONS, "_annotations.coco.json")  # of ODinW, of Roboflow
OTHER_TASKS = ("captions", "person_keypoints", "panoptic", "stuff", "image_info")
"""First words of the files that COCO has beside its instances."""

_LONGEST_FIRST = sorted(SPLIT_WORDS, key=len, reverse=True)
SPLIT_WORD = re.compile(rf"(?<![a-z])({'|'.join(_LONGEST_FIRST)})(?![a-z])\d*")
"""A split's word in the name of a file or a folder, perhaps with a year: train2017."""

SAMPLED = 20  # images whose names decide in which folder they are
ARCHIVES = (".zip", ".tar", ".gz", ".tgz", ".7z", ".rar")


Splits = dict[Split, Index]


@dataclass(frozen=True)
class KnownLayout:
    """A layout that can be read."""

    name: str  # for messages
    sign: Callable[[Path], Any]  # what shows it in a folder; false where nothing does
    read: Callable[[Path, Any, Findings], Splits]  # takes what the sign has found
    sign_reads_files: bool = False  # which takes long for a large COCO file


@dataclass(frozen=True)
class Layout:
    """The layout of a folder, by its name for messages, and the splits that were read."""

    name: str
    splits: dict[Split, Index]


@dataclass(frozen=True)
class DataSet:
    """A folder of labelled images as it was read: its splits and what is wrong with it.

    ``splits[name]`` (``train``, ``valid``, ``test``, as far as they are there) has

    - ``len()``: how many images,
    - ``name(i)``: the file name of image i,
    - ``boxes_of(i).xywh``: its boxes as x, y, width, height in pixels of the original image (array,
      float64 [M, 4]),
    - ``boxes_of(i).labels``: their classes (int64 [M]),
    - ``class_names``: the same in all splits.

    ``findings`` are in the order in which they were met; each has ``level``, ``code`` and ``text``.
    """

    layout: str  # what the folder was taken for, e.g. "YOLO"
    splits: dict[Split, Index]
    findings: Findings


def read_dataset(path: str | Path, split_seed: int = 0) -> DataSet:
    """Read and check a folder of labelled images in any known layout; nothing is written.

    Args:
        path: the folder: COCO, ODinW, Roboflow, YOLO, Pascal VOC, LabelMe, or saved by
            ``datasets``.
        split_seed: divides the images where there are no splits, as ``CustomData(split_seed=...)``
            does.

    Returns:
        What ``glip fit`` would train on. Faults are findings; one of level "error" would stop
        ``glip fit``.

    Raises:
        GLIPError: there is no data set at ``path``, or it cannot be read at all.
    """
    findings = Findings()
    found = read_folder(path, findings, split_seed)
    return DataSet(found.name, check_splits(found.splits, findings), findings)


def read_folder(
    folder: str | Path, findings: Findings, seed: int = 0, write: bool = False
) -> Layout:
    """Return the splits of a data set in any of the layouts above, before they are checked.

    Args:
        folder: the data set.
        findings: where faults are added.
        seed: divides the images where there is only one set of them (:mod:`.splits`).
        write: whether that division is written to the folder.

    Raises:
        DataError: the folder has no known layout, or cannot be read at all.
    """
    folder = Path(folder)
    try:
        _check_folder(folder)
        found = _find_layouts(folder)
        if not found:
            raise _no_data_set(folder)
        (name, read), *others = found
        if others:
            names = listing(other for other, _ in others)
            findings.add("two-layouts", folder, name=name, others=names)
        splits = read(findings)
        _report_strays(folder, splits, findings)
        splits = complete_splits(splits, folder, findings, seed, write)
    except OSError as error:
        where = error.filename or folder
        reason = error.strerror or error
        raise data_error("unreadable-folder", where, reason=reason) from error
    return Layout(name, splits)


def need_data_set(folder: str | Path) -> None:
    """Raise DataError if a folder has no known layout, as :func:`read_folder` does.

    The layouts that are seen at once come first: where there is one, no file is read. What the
    system does not let see is left to the reader.
    """
    folder = Path(folder)
    layouts = sorted(chain.from_iterable(KNOWN), key=lambda layout: layout.sign_reads_files)
    with suppress(OSError):
        if not any(layout.sign(folder) for layout in layouts):
            raise _no_data_set(folder)


def _no_data_set(folder: Path) -> GLIPError:
    """Return the error for a folder without a known layout; raise that of another tool's format."""
    refuse_tools(folder)
    return data_error("no-data-set", folder, details=_describe_unknown(folder))


def _report_strays(folder: Path, splits: dict[Split, Index], findings: Findings) -> None:
    """Add findings for the pictures in folders of the data set that no split reads from.

    Those in the folders of the splits are named when the splits are checked. Lists of pictures, and
    pictures in formats that are not read, are named wherever they are.
    """
    unread = unread_pictures(folder)
    if unread:
        items = listing(path.relative_to(folder) for path in unread)
        findings.add("unread-picture", folder, len(unread), items=items)
    _report_lists(folder, splits, findings)
    known = {finding.where for finding in findings if finding.code == "unannotated-split"}
    for index in splits.values():
        if not isinstance(index.source, ImageFiles):
            return
        known.add(str(index.source.folder))
    strays = []
    for path in pictures(folder):
        below = path.relative_to(folder)
        inside = [str(folder / part) for part in (below, *below.parents)]
        if path.parent != folder and known.isdisjoint(inside):
            strays.append(str(below))
    if strays:
        findings.add("stray-image/folders", folder, len(strays), items=listing(strays))


def _report_lists(folder: Path, splits: dict[Split, Index], findings: Findings) -> None:
    """Add findings for lists of pictures that divide the data in another way than was done.

    An example is train.txt.
    """
    stems: dict[Split, set[str]] = {}
    for split, index in splits.items():
        stems[split] = {Path(index.name(i)).stem for i in range(len(index))}
    every = set().union(*stems.values())
    for path in sorted((*folder.glob("*.txt"), *folder.glob("ImageSets/*.txt"))):
        split = SPLIT_WORDS.get(path.stem.lower())
        if split is None or not is_file(path):
            continue
        listed = {Path(name.replace("\\", "/")).stem for name in read_list(path) if name}
        if listed & every and listed & every != stems.get(split):
            findings.add("unused-list", path, len(listed), split=split)


def _check_folder(folder: Path) -> None:
    """Raise DataError for what is no folder."""
    if folder.is_dir():
        return
    if folder.suffix.lower() in ARCHIVES:
        raise data_error("not-a-folder/archive", folder)
    if folder.is_file():
        raise data_error("not-a-folder", folder, parent=folder.parent)
    there = f"{folder.parent} is not there or has no folders"
    if folder.parent.is_dir():
        near = [path.name for path in sub_folders(folder.parent)]
        if near:
            there = f"{folder.parent} has {listing(near)}"
    raise data_error("missing-folder", folder, near=there)


def _find_layouts(folder: Path) -> list[tuple[str, Callable[[Findings], Splits]]]:
    """Return name and reader of the layouts that a folder has, the one to take first."""
    for group in KNOWN:
        found: list[tuple[str, Callable[[Findings], Splits]]] = []
        for layout in group:
            shown = layout.sign(folder)
            if shown:
                found.append((layout.name, partial(layout.read, folder, shown)))
        if found:
            return found
    return []


def _json_files(folder: Path) -> list[Path]:
    files = [path for path in folder.iterdir() if path.suffix.lower() == ".json"]
    shown = [path for path in files if path.name != SPLIT_FILE and not path.name.startswith(".")]
    return sorted(path for path in shown if path.is_file())


def _split_folders(folder: Path) -> dict[Split, list[Path]]:
    """Return the annotation files of each split folder.

    Only one file is meant, so that several mean that none has a known name.
    """
    found: dict[Split, list[Path]] = {}
    for path in sub_folders(folder):
        split = SPLIT_WORDS.get(path.name.lower())
        if split is None or split in found or is_saved(path):
            continue
        files = _json_files(path)
        known = [path / name for name in USUAL_FILES if (path / name).is_file()]
        if files:
            found[split] = known[:1] if known else files
    return found


def _read_split_folders(
    folder: Path, parts: dict[Split, list[Path]], findings: Findings
) -> dict[Split, Index]:
    for path in sub_folders(folder):
        split = SPLIT_WORDS.get(path.name.lower())
        if split and split not in parts and _has_pictures(path):
            findings.add("unannotated-split", path, split=split, named=f" ({ANNOTATIONS}, ...)")
    return {split: _read(_only(files), folder, findings) for split, files in parts.items()}


def _only(files: Sequence[Path]) -> Path:
    """Return the only annotation file of a split; raise DataError if there are several."""
    if len(files) > 1:
        refuse_tool(files[0])
        where, names = files[0].parent, listing(path.name for path in files)
        raise data_error("several-annotation-files", where, names=names, expected=ANNOTATIONS)
    return files[0]


def _files_by_split(folder: Path) -> dict[Split, list[Path]]:
    """Return annotation files by the split in their names, none if no name has one.

    They are in ``annotations`` or in the folder itself. COCO's ``instances_*`` precede others.
    """
    for place in [*_annotation_folders(folder), folder]:
        found: defaultdict[Split, list[Path]] = defaultdict(list)
        instances: defaultdict[Split, list[Path]] = defaultdict(list)
        for file in _json_files(place):
            split = _split_in(file.stem)
            if split is None or file.stem.startswith(OTHER_TASKS):
                continue
            found[split].append(file)
            if file.stem.startswith("instances"):
                instances[split].append(file)
        if found:
            return {**found, **instances}
    return {}


def _annotation_folders(folder: Path) -> list[Path]:
    return [path for path in sub_folders(folder) if path.name.lower() == "annotations"]


def _split_in(name: str) -> Split | None:
    """Return the split that a word in a name says, None if none does."""
    word = SPLIT_WORD.search(name.lower())
    return None if word is None else SPLIT_WORDS[word[1]]


def _read_files(
    folder: Path, files: dict[Split, list[Path]], findings: Findings
) -> dict[Split, Index]:
    splits = {split: _read(_only(found), folder, findings) for split, found in files.items()}
    children = sub_folders(folder)
    candidates = list(children)
    for path in children:
        if path.name in IMAGE_FOLDERS:
            candidates += sub_folders(path)
    for path in candidates:
        word = SPLIT_WORD.fullmatch(path.name.lower())
        if word is None or SPLIT_WORDS[word[1]] in splits:
            continue
        if _has_pictures(path) and not _is_used(path, splits):
            split = SPLIT_WORDS[word[1]]
            findings.add("unannotated-split", path, split=split, named="")
    return splits


def _has_pictures(folder: Path) -> bool:
    return any(file.suffix.lower() in PICTURES for file in folder.rglob("*"))


def _is_used(folder: Path, splits: dict[Split, Index]) -> bool:
    """Return whether a split has a picture in the folder, whatever the folder is called."""
    for index in splits.values():
        for row in index.rows.tolist():
            if index.source.path(row).is_relative_to(folder):  # pyrefly: ignore
                return True
    return False


def _files_without_split(folder: Path) -> list[Path]:
    """Return the JSON files of the folder, or else those of ``annotations``."""
    for place in [folder, *_annotation_folders(folder)]:
        files = _json_files(place)
        if files:
            return files
    return []


def _read_single(folder: Path, files: list[Path], findings: Findings) -> dict[Split, Index]:
    return {"train": _read(_only(files), folder, findings)}


def _read(file: Path, folder: Path, findings: Findings) -> Index:
    return read_coco(file, _image_folder(file, folder), findings)


def _image_folder(file: Path, folder: Path) -> Path:
    """Return the folder with most of the first images of a COCO file.

    Return the folder of the file if the images are nowhere.
    """
    names = [name for name in _first_file_names(file) if is_below(name)]
    places = dict.fromkeys(_possible_image_folders(file, folder))

    def count(place: Path) -> int:
        return sum(is_file(place / name) for name in names)

    return max([place for place in places if place.is_dir()], key=count)


def _possible_image_folders(file: Path, folder: Path) -> Iterator[Path]:
    """Yield where the images of an annotation file may be, more special places first."""
    words: list[str] = []
    word = SPLIT_WORD.search(file.stem.lower())
    if word is not None:
        split = SPLIT_WORDS[word[1]]
        words = [word[0], *(name for name, meant in SPLIT_WORDS.items() if meant == split)]
    places = [file.parent, folder]
    if file.parent.name.lower() == "annotations":
        places = [folder, file.parent]
    for place in dict.fromkeys(places):
        for name in words:
            yield place / name
            for images in IMAGE_FOLDERS:
                yield place / images / name
            yield place / name / "images"
        for images in IMAGE_FOLDERS:
            yield place / images
        yield place
    yield folder / "images" / file.parent.name


def _first_file_names(file: Path) -> list[str]:
    """Return the first file names of a COCO file.

    Not all of the file is read if they come early.
    """
    with regular_file(file).open("rb") as stream:
        for size in (1 << 20, -1):
            text = stream.read(size).decode("utf-8", "replace")
            found = re.findall(r'"file_name"\s*:\s*("(?:[^"\\]|\\.){0,1000}")', text)[:SAMPLED]
            if found:
                break
    names = []
    for literal in found:
        try:
            names.append(json.loads(literal))
        except ValueError:  # read_coco names the fault
            continue
    return names


def _describe_unknown(folder: Path) -> str:
    """Return what a folder without a known layout holds, the layouts, and what may be wrong."""
    there = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    names = listing(f"{path.name}/" if path.is_dir() else path.name for path in there)
    text = f"It holds {names or 'nothing'}. Known layouts:{LAYOUTS}"
    for inner in _folders_below(folder):
        if _is_readable(inner):
            return f"{text}\ndid you mean {inner}?"
    for path in there:
        if path.suffix.lower() in (".zip", ".tar", ".gz", ".tgz"):
            return f"{text}\nunpack {path.name} first"
    if any(path.suffix.lower() in PICTURES for path in islice(folder.rglob("*"), 10_000)):
        return f"{text}\nthere are pictures, but no annotations; add the annotation file or files"
    return text


def _is_readable(folder: Path) -> bool:
    """Return whether a folder is a data set, and does not only look like one."""
    with suppress(ValueError, OSError):
        for _, read in _find_layouts(folder)[:1]:
            splits = read(Findings())
            return any(len(index) > 0 for index in splits.values())
    return False


def _folders_below(folder: Path) -> Iterator[Path]:
    """Yield folders one and two levels down that can be read, at most 50 of each folder."""
    near = sub_folders(folder)[:50]
    yield from near
    for path in near:
        with suppress(OSError):
            yield from sub_folders(path)[:50]


def _by_folder(read: Callable[[Path, Findings], Splits]) -> Callable[[Path, Any, Findings], Splits]:
    """Return a reader that needs nothing of what the sign has found."""
    return lambda folder, _, findings: read(folder, findings)


KNOWN: Sequence[Sequence[KnownLayout]] = (
    (KnownLayout("a folder saved by datasets", is_saved, _by_folder(read_hub)),),
    (KnownLayout("LabelMe", is_labelme, _by_folder(read_labelme), sign_reads_files=True),),
    (
        KnownLayout("one folder per split (ODinW, Roboflow)", _split_folders, _read_split_folders),
        KnownLayout("annotations by split (COCO)", _files_by_split, _read_files),
        KnownLayout("YOLO", is_yolo, _by_folder(read_yolo)),
        KnownLayout("Pascal VOC", is_voc, _by_folder(read_voc)),
    ),
    (KnownLayout("one COCO file", _files_without_split, _read_single),),
)
"""All layouts: a folder has those of the first group that shows a sign, the first of them wins."""
