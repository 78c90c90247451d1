"""A user's folder: which layout it has, and its splits."""

import json
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from glip_lightning.common.files import regular_file
from glip_lightning.data.benchmarks.odinw import ANNOTATIONS
from glip_lightning.data.checks.consistency import check_splits
from glip_lightning.data.checks.findings import Findings, data_error, listing
from glip_lightning.data.formats.coco_json import read_coco
from glip_lightning.data.formats.hub_dataset import is_saved, read_hub
from glip_lightning.data.formats.labelme_json import is_labelme, read_labelme
from glip_lightning.data.formats.other_tools import refuse_tool, refuse_tools
from glip_lightning.data.formats.voc_xml import is_voc, read_voc
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
  annotations/*.json with train, val, test in their names, images in images/ or train2017/, ... (COCO)
  data.yaml, or labels/ and classes.txt, with images/ and labels/ (YOLO)
  Annotations/*.xml, or another folder of them, and JPEGImages/, images/, ..., perhaps ImageSets/Main/*.txt (Pascal VOC)
  one JSON file per picture (LabelMe), perhaps in train/, valid/, test/
  a folder written by save_to_disk (datasets)
  one COCO file (*.json), images beside it or in images/; it is split by a rule"""
IMAGE_FOLDERS = ("images", "Images", "imgs", "data", "JPEGImages")
OTHER_TASKS = (
    "captions",
    "person_keypoints",
    "panoptic",
    "stuff",
    "image_info",
)  # of COCO, beside its instances
WORD = re.compile(
    rf"(?<![a-z])({'|'.join(sorted(SPLIT_WORDS, key=len, reverse=True))})(?![a-z])\d*"
)
SAMPLED = 20  # images whose names decide in which folder they are

Reader = Callable[[Findings], dict[Split, Index]]


class Layout(NamedTuple):
    name: str  # for messages
    splits: dict[Split, Index]


@dataclass(frozen=True)
class DataSet:
    """A folder of labelled images as it was read: its splits and what is wrong with it.

    ``splits[name]`` (``train``, ``valid``, ``test``, as far as they are there) has ``len()`` images, ``name(i)``, the
    file name of image i, ``boxes_of(i).xywh``, its boxes as x, y, width, height in pixels of the original image
    (array, float64 [M, 4]), ``boxes_of(i).labels`` (int64 [M]), and ``class_names``, the same in all splits.
    ``findings`` are in the order in which they were met; each has ``level``, ``code`` and ``text``.
    """

    layout: str  # what the folder was taken for, e.g. "YOLO"
    splits: dict[Split, Index]
    findings: Findings


def read_dataset(path: str | Path, split_seed: int = 0) -> DataSet:
    """Read and check a folder of labelled images in any known layout; nothing is written.

    Args:
        path: the folder: COCO, ODinW, Roboflow, YOLO, Pascal VOC, or saved by ``datasets``.
        split_seed: divides the images where there are no splits, as ``CustomData(split_seed=...)`` does.

    Returns:
        What ``glip fit`` would train on. Faults are findings; one of level "error" would stop ``glip fit``.

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

    Where there is only one set of images, :mod:`.splits` divides it with ``seed``, and writes that down if
    ``write``. No layout, or one that cannot be read at all, is a :class:`DataError`; other faults go to ``findings``.
    """
    folder = Path(folder)
    try:
        found = _find(_checked(folder))
        if not found:
            refuse_tools(folder)
            raise data_error("no-data-set", folder, details=_nothing(folder))
        name, read = found[0]
        if others := [other for other, _ in found[1:]]:
            findings.add("two-layouts", folder, name=name, others=listing(others))
        splits = read(findings)
        _report_strays(folder, splits, findings)
        splits = complete_splits(splits, folder, findings, seed, write)
    except OSError as error:
        raise data_error(
            "unreadable-folder", error.filename or folder, reason=error.strerror or error
        ) from error
    return Layout(name, splits)


def _report_strays(folder: Path, splits: dict[Split, Index], findings: Findings) -> None:
    """Name the pictures in folders of the data set that no split reads from.

    Those in the folders of the splits are named when the splits are checked; lists of splits, and pictures in formats
    that are not read, wherever they are.
    """
    if unread := unread_pictures(folder):
        items = listing(path.relative_to(folder) for path in unread)
        findings.add("unread-picture", folder, len(unread), items=items)
    _report_lists(folder, splits, findings)
    known = {finding.where for finding in findings if finding.code == "unannotated-split"}
    for source in (index.source for index in splits.values()):
        if not isinstance(source, ImageFiles):
            return
        known.add(str(source.folder))
    strays = []
    for path in pictures(folder):
        inside = [path, *path.parents][
            : -len(folder.parents) - 1
        ]  # the picture and the folders that it is in
        if len(inside) > 1 and known.isdisjoint(map(str, inside)):
            strays.append(str(path.relative_to(folder)))
    if strays:
        findings.add("stray-image/folders", folder, len(strays), items=listing(strays))


def _report_lists(folder: Path, splits: dict[Split, Index], findings: Findings) -> None:
    """Name lists of pictures, such as train.txt, that divide the data in another way than they were divided."""
    stems = {
        split: {Path(index.name(i)).stem for i in range(len(index))}
        for split, index in splits.items()
    }
    every = set().union(*stems.values())
    for path in sorted((*folder.glob("*.txt"), *folder.glob("ImageSets/*.txt"))):
        split = SPLIT_WORDS.get(path.stem.lower())
        if split is None or not is_file(path):
            continue
        lines = regular_file(path).read_text(encoding="utf-8-sig", errors="replace").splitlines()
        listed = {Path(line.strip().replace("\\", "/")).stem for line in lines if line.strip()}
        if listed & every and listed & every != stems.get(split):
            findings.add("unused-list", path, len(listed), split=split)


def _checked(folder: Path) -> Path:
    if folder.is_dir():
        return folder
    if folder.suffix.lower() in (".zip", ".tar", ".gz", ".tgz", ".7z", ".rar"):
        raise data_error("not-a-folder/archive", folder)
    if folder.is_file():
        raise data_error("not-a-folder", folder, parent=folder.parent)
    near = [path.name for path in _folders(folder.parent)] if folder.parent.is_dir() else []
    there = (
        f"{folder.parent} has {listing(near)}"
        if near
        else f"{folder.parent} is not there or has no folders"
    )
    raise data_error("missing-folder", folder, near=there)


def _folders(folder: Path) -> list[Path]:
    return sorted(
        path for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")
    )


def _find(folder: Path) -> list[tuple[str, Reader]]:
    """The layouts that a folder has, the one to take first."""
    if is_saved(folder):
        return [("a folder saved by datasets", lambda findings: read_hub(folder, findings))]
    if is_labelme(folder):
        return [("LabelMe", lambda findings: read_labelme(folder, findings))]
    found: list[tuple[str, Reader]] = []
    if parts := _split_folders(folder):
        found.append(
            (
                "one folder per split (ODinW, Roboflow)",
                lambda findings: _read_parts(folder, parts, findings),
            )
        )
    if files := _coco_files(folder):
        found.append(
            ("annotations by split (COCO)", lambda findings: _read_files(folder, files, findings))
        )
    if is_yolo(folder):
        found.append(("YOLO", lambda findings: read_yolo(folder, findings)))
    if is_voc(folder):
        found.append(("Pascal VOC", lambda findings: read_voc(folder, findings)))
    if not found and (singles := _singles(folder)):
        found.append(("one COCO file", lambda findings: _read_single(folder, singles, findings)))
    return found


def _json_files(folder: Path) -> list[Path]:
    files = (path for path in folder.iterdir() if path.suffix.lower() == ".json" and path.is_file())
    return sorted(
        path for path in files if path.name != SPLIT_FILE and not path.name.startswith(".")
    )


def _split_folders(folder: Path) -> dict[Split, list[Path]]:
    """Annotation files of each split folder; more than one means that none has a known name."""
    found: dict[Split, list[Path]] = {}
    for path in _folders(folder):
        split = SPLIT_WORDS.get(path.name.lower())
        if split and not is_saved(path) and (files := _json_files(path)):
            known = [
                path / name
                for name in (ANNOTATIONS, "_annotations.coco.json")
                if (path / name).is_file()
            ]
            found.setdefault(split, known[:1] or files)
    return found


def _read_parts(
    folder: Path, parts: dict[Split, list[Path]], findings: Findings
) -> dict[Split, Index]:
    for path in _folders(folder):
        split = SPLIT_WORDS.get(path.name.lower())
        if split and split not in parts and _has_pictures(path):
            findings.add("unannotated-split", path, split=split, named=f" ({ANNOTATIONS}, ...)")
    return {split: _read(_only(files), folder, findings) for split, files in parts.items()}


def _only(files: Sequence[Path]) -> Path:
    if len(files) > 1:
        refuse_tool(files[0])
        names = listing(path.name for path in files)
        raise data_error(
            "several-annotation-files", files[0].parent, names=names, expected=ANNOTATIONS
        )
    return files[0]


def _coco_files(folder: Path) -> dict[Split, list[Path]]:
    """Annotation files with a split in their names, in ``annotations`` or in the folder itself."""
    places = [path for path in _folders(folder) if path.name.lower() == "annotations"]
    for place in [*places, folder]:
        found: dict[Split, list[Path]] = {}
        for file in _json_files(place):
            word = WORD.search(file.stem.lower())
            if word and not file.stem.startswith(OTHER_TASKS):
                found.setdefault(SPLIT_WORDS[word[1]], []).append(file)
        if found:
            return {
                split: [f for f in files if f.stem.startswith("instances")] or files
                for split, files in found.items()
            }
    return {}


def _read_files(
    folder: Path, files: dict[Split, list[Path]], findings: Findings
) -> dict[Split, Index]:
    splits = {split: _read(_only(found), folder, findings) for split, found in files.items()}
    for path in (each for place in (folder, *_picture_folders(folder)) for each in _folders(place)):
        word = WORD.fullmatch(path.name.lower())
        split = SPLIT_WORDS[word[1]] if word else None
        if split and split not in splits and _has_pictures(path) and not _is_used(path, splits):
            findings.add("unannotated-split", path, split=split, named="")
    return splits


def _picture_folders(folder: Path) -> list[Path]:
    """Return the folders in which those of splits may be."""
    return [path for path in _folders(folder) if path.name in IMAGE_FOLDERS]


def _has_pictures(folder: Path) -> bool:
    return any(file.suffix.lower() in PICTURES for file in folder.rglob("*"))


def _is_used(folder: Path, splits: dict[Split, Index]) -> bool:
    """Return whether a split has a picture in the folder, whatever the folder is called."""
    paths = (index.source.path(row) for index in splits.values() for row in index.rows.tolist())  # pyrefly: ignore
    return any(path.is_relative_to(folder) for path in paths)


def _singles(folder: Path) -> list[Path]:
    places = [path for path in _folders(folder) if path.name.lower() == "annotations"]
    return next((files for place in [folder, *places] if (files := _json_files(place))), [])


def _read_single(folder: Path, files: list[Path], findings: Findings) -> dict[Split, Index]:
    return {"train": _read(_only(files), folder, findings)}


def _read(file: Path, folder: Path, findings: Findings) -> Index:
    return read_coco(file, _image_folder(file, folder), findings)


def _image_folder(file: Path, folder: Path) -> Path:
    """The folder with most of the first images of a COCO file; beside the file if there are none anywhere."""
    names = [name for name in _file_names(file) if is_below(name)]
    candidates = dict.fromkeys(place for place in _image_folders(file, folder) if place.is_dir())
    return max(candidates, key=lambda place: sum(is_file(place / name) for name in names))


def _image_folders(file: Path, folder: Path) -> Iterator[Path]:
    """Where the images of an annotation file may be, more special places first."""
    word = WORD.search(file.stem.lower())
    words = (
        [word[0], *(w for w, split in SPLIT_WORDS.items() if split == SPLIT_WORDS[word[1]])]
        if word
        else []
    )
    beside = file.parent.name.lower() != "annotations"
    for place in dict.fromkeys((file.parent, folder) if beside else (folder, file.parent)):
        for name in words:
            yield from (
                place / name,
                *(place / images / name for images in IMAGE_FOLDERS),
                place / name / "images",
            )
        yield from (place / images for images in IMAGE_FOLDERS)
        yield place
    yield folder / "images" / file.parent.name


def _file_names(file: Path) -> list[str]:
    """The first file names of a COCO file, found without reading all of it where they come early."""
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


def _nothing(folder: Path) -> str:
    """What was looked for, what is there, and what is probably wrong."""
    there = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    names = listing(f"{path.name}/" if path.is_dir() else path.name for path in there)
    text = f"It holds {names or 'nothing'}. Known layouts:{LAYOUTS}"
    if inner := next(filter(_is_readable, _below(folder)), None):
        return f"{text}\ndid you mean {inner}?"
    if archives := [
        path.name for path in there if path.suffix.lower() in (".zip", ".tar", ".gz", ".tgz")
    ]:
        return f"{text}\nunpack {archives[0]} first"
    if any(path.suffix.lower() in PICTURES for path in islice(folder.rglob("*"), 10_000)):
        return f"{text}\nthere are pictures, but no annotations; add the annotation file or files"
    return text


def _is_readable(folder: Path) -> bool:
    """Whether a folder is a data set; what only looks like one is not worth a proposal."""
    findings = Findings()
    with suppress(ValueError, OSError):
        return any(len(index) for _, read in _find(folder)[:1] for index in read(findings).values())
    return False


def _below(folder: Path) -> Iterator[Path]:
    """Folders one and two levels down, as far as they can be read; not all of a whole disk."""
    near = _folders(folder)[:50]
    yield from near
    for path in near:
        with suppress(OSError):
            yield from _folders(path)[:50]
