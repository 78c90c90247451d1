"""Detection sets of the Hugging Face Hub, or saved by ``datasets``: read, and written.

The convention on the Hub (cppe-5 and others): a column ``image``, and ``objects`` with ``bbox`` (x,
y, width, height in pixels) and ``category`` (ClassLabel). The images stay encoded in the Arrow
files until a sample needs them.
"""

import io
from collections import Counter
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from PIL import Image

from glip_lightning.common.errors import GLIPError
from glip_lightning.common.files import regular_file
from glip_lightning.common.imports import import_optional
from glip_lightning.common.private_names import fingerprint_of
from glip_lightning.data.checks.findings import DataError, Findings, data_error, listing, short
from glip_lightning.data.images import (
    Header,
    ImageCheck,
    ImageFiles,
    ImageSource,
    Source,
    check_image,
    is_file,
    read_header,
    read_image,
)
from glip_lightning.data.index import Index, RawBox, RawImage, build_index, coordinate
from glip_lightning.data.splits import SPLIT_WORDS
from glip_lightning.data.types import SPLITS, Split

if TYPE_CHECKING:
    import datasets

SAVED = ("dataset_dict.json", "state.json")  # of a DatasetDict, of a single Dataset
OBJECTS = ("objects", "annotations", "annotation")
BOXES = ("bbox", "bboxes", "boxes", "box")
CATEGORIES = ("category", "categories", "category_id", "label", "labels", "class")
WANTED = (
    "image: Image(), "
    "objects: {bbox: List(List(float)) as x, y, width, height, category: List(ClassLabel)}, "
    "perhaps image_id, width, height and objects.area, objects.iscrowd"
)
EXPORTED: Mapping[Split, str] = {"train": "train", "valid": "validation", "test": "test"}


class ImageRows:
    """The images of a column; ``train[3]`` is row 3 of the split."""

    def __init__(self, rows: "datasets.Dataset", column: str, split: str) -> None:
        from datasets import Image as Encoded

        self._rows = rows.select_columns([column]).cast_column(column, Encoded(decode=False))
        self._column = column
        self._split = split
        self.fingerprint = f"{fingerprint_of(rows)} {column}"

    def __len__(self) -> int:
        return len(self._rows)

    def name(self, index: int) -> str:
        """Return split and row, such as ``train[3]``."""
        return f"{self._split}[{index}]"

    def cell(self, index: int) -> dict[str, Any]:
        """Return what the column holds: the file's bytes, or its path if they are not embedded."""
        row = cast(dict[str, Any], self._rows[index])
        return row[self._column] or {}

    def _file(self, index: int) -> Source:
        cell = self.cell(index)
        if cell.get("bytes"):
            return io.BytesIO(cell["bytes"])
        if cell.get("path") and is_file(Path(cell["path"])):
            return Path(cell["path"])
        message = f"{self.name(index)}: there is no image in this row; remove the row"
        raise GLIPError(message, code="missing-image")

    def header(self, index: int) -> Header:
        """Return the sizes of the image in a row.

        Raises:
            GLIPError: there is no image, or it cannot be read.
        """
        return read_header(self._file(index), self.name(index))

    def read(self, index: int, *, upright: bool) -> Image.Image:
        """Read the image in a row as RGB, turned as EXIF says if ``upright``.

        Raises:
            GLIPError: there is no image, or it cannot be read.
        """
        return read_image(self._file(index), upright=upright, name=self.name(index))

    def check(self, index: int) -> ImageCheck:
        """Decode an image and return what is wrong with it."""
        try:
            return check_image(self._file(index), self.name(index))
        except GLIPError as error:  # there is no image
            return ImageCheck(fault=str(error))


def is_saved(folder: Path) -> bool:
    """Return whether ``save_to_disk`` of ``datasets`` wrote the folder."""
    return any((folder / name).is_file() for name in SAVED)


def read_hub(name: str | Path, findings: Findings, subset: str | None = None) -> dict[Split, Index]:
    """Read the splits of a data set; a single split is ``train``.

    Args:
        name: a data set on the Hub ("owner/name"), or a folder that ``save_to_disk`` wrote.
        findings: where faults of rows are added.
        subset: the configuration, if the Hub's data set has several.

    Raises:
        DataError: the data set cannot be loaded, or its columns cannot be understood.
    """
    found = _load(name, subset)
    chosen: dict[Split, tuple[str, datasets.Dataset]] = {}
    for key, rows in found.items():
        split = SPLIT_WORDS.get(key.lower())
        if split is None and len(found) == 1:
            split = "train"
        if split is None or split in chosen:
            findings.add("unused-split", name, name=key)
        else:
            chosen[split] = (key, rows)
    if not chosen:
        raise data_error("no-known-split", name, names=", ".join(found))
    indexes: dict[Split, Index] = {}
    for split, (key, rows) in chosen.items():
        indexes[split] = _index(f"{name}/{key}", key, rows, findings)
    return indexes


def _load(name: str | Path, subset: str | None) -> "dict[str, datasets.Dataset]":
    datasets = import_optional("datasets", str(name))
    folder = Path(name)
    if folder.is_dir():
        for path in folder.rglob("*"):
            if not path.is_dir():
                regular_file(path)  # `datasets` would wait for a named pipe
    if is_saved(folder):
        load = partial(datasets.load_from_disk, str(name))
        cure = "save it again"
    else:
        load = partial(datasets.load_dataset, str(name), subset)
        cure = "check the name and the network; a folder needs what save_to_disk wrote"
    try:
        found = load()
    except Exception as error:  # Arrow, file system, network and Hub have errors of their own
        reason = " ".join(str(error).split()) or type(error).__name__
        raise data_error("hub-unreadable", name, reason=reason, cure=cure) from error
    return {"train": found} if isinstance(found, datasets.Dataset) else dict(found)


@dataclass(frozen=True)
class _Columns:
    """The names of the columns that hold the parts of an annotation."""

    image: str
    objects: str | None  # None: boxes and categories are columns of their own
    bbox: str
    category: str
    names: list[str] | None  # None: the categories are texts

    def read(self) -> list[str]:
        """Return the columns that are read, with those that are optional."""
        more = ["image_id", "height", "width", "upright"]
        if self.objects is not None:
            return [self.objects, *more]
        return [self.bbox, self.category, "area", "iscrowd", *more]


def _columns(where: str, features: "datasets.Features") -> _Columns:
    import datasets

    images = [key for key, feature in features.items() if isinstance(feature, datasets.Image)]
    image = "image" if "image" in images else None
    if len(images) == 1:
        image = images[0]
    objects = _first(OBJECTS, [key for key in OBJECTS if _fields(features.get(key))])
    fields = features if objects is None else _fields(features[objects])
    bbox = _first(BOXES, fields)
    category = _first(CATEGORIES, fields)
    if image is None or bbox is None or category is None:
        raise _unsupported(where, features)
    kind = _inner(fields[category])
    if isinstance(kind, datasets.ClassLabel):
        return _Columns(image, objects, bbox, category, kind.names)
    if getattr(kind, "dtype", None) in ("string", "large_string"):
        return _Columns(image, objects, bbox, category, None)
    raise _unsupported(where, features, f"; {category} has no names, make it a ClassLabel")


def _first(names: Sequence[str], known: Container[str]) -> str | None:
    """Return the first name that is known, None if none is."""
    for name in names:
        if name in known:
            return name
    return None


def _unsupported(where: str, features: "datasets.Features", reason: str = "") -> DataError:
    columns = ", ".join(f"{key}: {feature}" for key, feature in features.items())
    return data_error("unknown-columns", where, columns=columns, reason=reason, wanted=WANTED)


def _inner(feature: Any) -> Any:
    """Return what a list, or a list of lists, is made of."""
    while hasattr(feature, "feature"):
        feature = feature.feature
    return feature


def _fields(feature: Any) -> Mapping[str, Any]:
    """Return the fields of a column of objects, none for another column.

    The column may be a list of records or a record of lists.
    """
    inner = _inner(feature)
    return inner if isinstance(inner, dict) else {}


def _index(where: str, split: str, rows: "datasets.Dataset", findings: Findings) -> Index:
    columns = _columns(where, rows.features)
    source = ImageRows(rows, columns.image, split)
    # other columns may hold pictures, which would be decoded
    read = [key for key in columns.read() if key in rows.features]
    table = cast(dict[str, list[Any]], rows.select_columns(read).with_format(None)[:])
    objects = [list(_objects(table, row, columns)) for row in range(len(rows))]
    names = columns.names
    if names is None:
        names = _names_that_occur(objects)
    labels: dict[Any, int] = {name: number for number, name in enumerate(names)}
    labels |= {number: number for number in range(len(names))}
    ids = _ids(where, table, len(rows), findings)
    images = [RawImage(ids[row], _size(table, row, source)) for row in range(len(rows))]
    boxes, bad = [], []
    for row, found in enumerate(objects):
        for number, (bbox, category, area, crowd) in enumerate(found):
            xywh = _xywh(bbox)
            if xywh is None or category not in labels:
                values = f"{short(bbox)}, category {short(category)}"
                bad.append(f"{source.name(row)}, object {number} ({values})")
            else:
                size = coordinate(str(area)) or None
                boxes.append(RawBox(ids[row], labels[category], xywh, size, bool(crowd)))
    if bad:
        values = {"what": "what objects hold", "items": listing(bad)}
        expected = "x, y, width, height of a known category"
        findings.add("bad-box", where, len(bad), expected=expected, **values)
    index = build_index(where, dict(enumerate(names)), images, boxes, source, findings)
    if "upright" not in table:
        return index
    upright = np.array([bool(value) for value in table["upright"]])
    return replace(index, upright=upright[index.rows])  # sizes alone do not tell half turns


def _names_that_occur(objects: Sequence[Sequence[tuple[Any, ...]]]) -> list[str]:
    """Return the categories of all objects that are texts, sorted."""
    names: set[str] = set()
    for row in objects:
        names |= {category for _, category, *_ in row if isinstance(category, str)}
    return sorted(names)


def _xywh(bbox: object) -> list[float] | None:
    """Return the four numbers of a box, None for anything else."""
    if not isinstance(bbox, list) or len(bbox) != 4:
        return None
    numbers = [coordinate(str(value)) for value in bbox]
    found = [number for number in numbers if number is not None]
    return found if len(found) == 4 else None


def _objects(
    table: Mapping[str, list[Any]], row: int, columns: _Columns
) -> Iterator[tuple[Any, ...]]:
    """Yield bbox, category, area, iscrowd of each object of a row; None for what is not there."""
    keys = (columns.bbox, columns.category, "area", "iscrowd")
    value: Any = {key: table[key][row] for key in keys if key in table}
    if columns.objects is not None:
        value = table[columns.objects][row]
    if isinstance(value, list):  # of records
        for entry in value:
            record = entry or {}
            yield tuple(record.get(key) for key in keys)
        return
    record = value or {}
    lists = []
    for key in keys:
        entries = record.get(key) or []
        lists.append(entries if isinstance(entries, list) else [entries])
    for number in range(max(len(lists[0]), len(lists[1]))):
        yield tuple(entries[number] if number < len(entries) else None for entries in lists)


def _ids(
    where: str, table: Mapping[str, list[Any]], count: int, findings: Findings
) -> Sequence[int]:
    """Return the column ``image_id``.

    Return the numbers of the rows if it is missing, holds no whole numbers, or one of them twice.
    """
    values = table.get("image_id", [])
    if not values or not all(isinstance(value, int) for value in values):
        return range(count)
    if len(set(values)) == len(values):
        return values
    twice = sorted(value for value, times in Counter(values).items() if times > 1)
    findings.add("duplicate-image-id", where, len(twice), items=listing(twice))
    return range(count)


def _size(table: Mapping[str, list[Any]], row: int, source: ImageSource) -> tuple[int, int] | None:
    """Return height and width as stated, else those of the upright view.

    `datasets` itself shows the upright view.
    """
    if "height" in table and "width" in table:
        height, width = table["height"][row], table["width"][row]
        if isinstance(height, int) and isinstance(width, int):
            return height, width
    try:
        return source.header(row).upright
    except (ValueError, OSError):  # build_index names the row
        return None


def to_hub(splits: Mapping[Split, Index]) -> "datasets.DatasetDict":
    """Return the splits with typed columns, for ``save_to_disk`` or ``push_to_hub``.

    ``HubData`` reads them again. The images' files are embedded as they are, not encoded again.
    Boxes are x, y, width, height in pixels. Empty splits are left out, since `datasets` cannot read
    back what it saves of them.

    Args:
        splits: those of :func:`read_dataset`.

    Raises:
        GLIPError: the splits have different lists of classes; those of :func:`read_dataset` never
            do.
    """
    datasets = import_optional("datasets", "to_hub")
    names = {index.class_names for index in splits.values()}
    if len(names) != 1:
        message = f"the splits have {len(names)} different lists of classes"
        raise GLIPError(f"{message}; give all of them the same", code="classes-differ")
    features = datasets.Features(
        {
            "image": datasets.Image(),
            "image_id": datasets.Value("int64"),
            "width": datasets.Value("int64"),
            "height": datasets.Value("int64"),
            "upright": datasets.Value("bool"),
            "objects": {
                "bbox": datasets.List(datasets.List(datasets.Value("float64"), length=4)),
                "category": datasets.List(datasets.ClassLabel(names=list(names.pop()))),
                "area": datasets.List(datasets.Value("float64")),
                "iscrowd": datasets.List(datasets.Value("bool")),
            },
        }
    )
    found = datasets.DatasetDict()
    for split in SPLITS:
        if split in splits and len(splits[split]):
            table = _table(splits[split])
            found[EXPORTED[split]] = datasets.Dataset.from_dict(table, features)
    return found


def _table(index: Index) -> dict[str, list[Any]]:
    """Return the columns of a split."""
    objects = []
    for image in range(len(index)):
        boxes = index.boxes_of(image)
        objects.append(
            {
                "bbox": boxes.xywh.tolist(),
                "category": boxes.labels.tolist(),
                "area": boxes.area.tolist(),
                "iscrowd": boxes.crowd.tolist(),
            }
        )
    return {
        "image": [_cell(index.source, row) for row in index.rows.tolist()],
        "image_id": index.ids.tolist(),
        "width": index.sizes[:, 1].tolist(),
        "height": index.sizes[:, 0].tolist(),
        "upright": index.upright.tolist(),
        "objects": objects,
    }


def _cell(source: ImageSource, row: int) -> dict[str, Any]:
    """Return an image as a path, whose file saving embeds, or as bytes if there is no file."""
    if isinstance(source, ImageFiles):
        return {"path": str(source.path(row).absolute()), "bytes": None}
    if isinstance(source, ImageRows):
        return source.cell(row)
    raise TypeError(f"{type(source).__name__}: images of this kind have no encoded bytes to export")
