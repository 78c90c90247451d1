"""Detection sets of the Hugging Face Hub, or saved by ``datasets``: read into the index, and written from it.

The convention on the Hub (cppe-5 and others): a column ``image``, and ``objects`` with ``bbox`` (x, y, width,
height in pixels) and ``category`` (ClassLabel). The images stay encoded in the Arrow files until a sample needs them.
"""

import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import numpy as np
from PIL import Image

from glip_lightning.common.errors import GLIPError
from glip_lightning.common.files import regular_file
from glip_lightning.common.imports import import_optional
from glip_lightning.data.checks.findings import DataError, Findings, data_error, listing, short
from glip_lightning.data.images import (
    Header,
    ImageFiles,
    ImageSource,
    Source,
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
    "image: Image(), objects: {bbox: List(List(float)) as x, y, width, height, category: List(ClassLabel)}, "
    "perhaps image_id, width, height and objects.area, objects.iscrowd"
)
EXPORTED: Mapping[Split, str] = {"train": "train", "valid": "validation", "test": "test"}


class ImageRows:
    """The images of a column; ``train[3]`` is row 3 of the split."""

    def __init__(self, rows: "datasets.Dataset", column: str, split: str) -> None:
        from datasets import Image as Encoded

        self._rows = rows.select_columns([column]).cast_column(column, Encoded(decode=False))
        self._column, self._split = column, split

    def __len__(self) -> int:
        return len(self._rows)

    def name(self, index: int) -> str:
        return f"{self._split}[{index}]"

    def cell(self, index: int) -> dict[str, Any]:
        """What the column holds: the file's bytes, or its path where they are not embedded."""
        return cast(dict[str, Any], self._rows[index])[self._column] or {}

    def _file(self, index: int) -> Source:
        cell = self.cell(index)
        if cell.get("bytes"):
            return io.BytesIO(cell["bytes"])
        if cell.get("path") and is_file(Path(cell["path"])):
            return Path(cell["path"])
        raise GLIPError(
            f"{self.name(index)}: there is no image in this row; remove the row",
            code="missing-image",
        )

    def header(self, index: int) -> Header:
        return read_header(self._file(index), self.name(index))

    def read(self, index: int, *, upright: bool) -> Image.Image:
        return read_image(self._file(index), upright=upright, name=self.name(index))


def is_saved(folder: Path) -> bool:
    """Whether ``save_to_disk`` wrote the folder."""
    return any((folder / name).is_file() for name in SAVED)


def read_hub(name: str | Path, findings: Findings, subset: str | None = None) -> dict[Split, Index]:
    """The splits of a data set on the Hub or of a folder of ``save_to_disk``; a single one is ``train``.

    ``subset`` is the configuration where the Hub's data set has several. Columns that cannot be understood, and
    data that cannot be had, are a :class:`DataError`; faults of rows go to ``findings``.
    """
    found = _load(name, subset)
    chosen: dict[Split, tuple[str, datasets.Dataset]] = {}
    for key, rows in found.items():
        split = SPLIT_WORDS.get(key.lower()) or ("train" if len(found) == 1 else None)
        if split is None or split in chosen:
            findings.add("unused-split", name, name=key)
        else:
            chosen[split] = (key, rows)
    if not chosen:
        raise data_error("no-known-split", name, names=", ".join(found))
    return {
        split: _index(f"{name}/{key}", key, rows, findings) for split, (key, rows) in chosen.items()
    }


def _load(name: str | Path, subset: str | None) -> "dict[str, datasets.Dataset]":
    datasets = import_optional("datasets", str(name))
    local = is_saved(Path(name))
    for path in Path(name).rglob("*") if Path(name).is_dir() else ():
        if not path.is_dir():
            regular_file(path)  # `datasets` would wait for a named pipe
    try:
        found = (
            datasets.load_from_disk(str(name))
            if local
            else datasets.load_dataset(str(name), subset)
        )
    except Exception as error:  # Arrow, file system, network and Hub have errors of their own
        reason = " ".join(str(error).split()) or type(error).__name__
        cure = (
            "save it again"
            if local
            else "check the name and the network; a folder needs what save_to_disk wrote"
        )
        raise data_error("hub-unreadable", name, reason=reason, cure=cure) from error
    return {"train": found} if isinstance(found, datasets.Dataset) else dict(found)


class _Columns(NamedTuple):
    """Where the parts of an annotation are."""

    image: str
    objects: str | None  # None: boxes and categories are columns of their own
    bbox: str
    category: str
    names: list[str] | None  # None: the categories are texts

    def read(self) -> list[str]:
        """Return the columns that are read, those that a data set need not have included."""
        objects = [self.objects] if self.objects else [self.bbox, self.category, "area", "iscrowd"]
        return [*objects, "image_id", "height", "width", "upright"]


def _columns(where: str, features: "datasets.Features") -> _Columns:
    import datasets

    images = [key for key, feature in features.items() if isinstance(feature, datasets.Image)]
    image = "image" if "image" in images else images[0] if len(images) == 1 else None
    objects = next((key for key in OBJECTS if _fields(features.get(key))), None)
    fields = _fields(features[objects]) if objects else features
    bbox = next((key for key in BOXES if key in fields), None)
    category = next((key for key in CATEGORIES if key in fields), None)
    if image is None or bbox is None or category is None:
        raise _unsupported(where, features)
    kind = _inner(fields[category])
    if isinstance(kind, datasets.ClassLabel):
        return _Columns(image, objects, bbox, category, kind.names)
    if getattr(kind, "dtype", None) in ("string", "large_string"):
        return _Columns(image, objects, bbox, category, None)
    raise _unsupported(where, features, f"; {category} has no names, make it a ClassLabel")


def _unsupported(where: str, features: "datasets.Features", reason: str = "") -> DataError:
    columns = ", ".join(f"{key}: {feature}" for key, feature in features.items())
    return data_error("unknown-columns", where, columns=columns, reason=reason, wanted=WANTED)


def _inner(feature: Any) -> Any:
    """What a list, of lists perhaps, is made of."""
    while hasattr(feature, "feature"):
        feature = feature.feature
    return feature


def _fields(feature: Any) -> Mapping[str, Any]:
    """Of a column of objects, both as a list of records and as a record of lists."""
    inner = _inner(feature)
    return inner if isinstance(inner, dict) else {}


def _index(where: str, key: str, rows: "datasets.Dataset", findings: Findings) -> Index:
    columns = _columns(where, rows.features)
    source = ImageRows(rows, columns.image, key)
    read = [
        key for key in columns.read() if key in rows.features
    ]  # other columns may hold pictures, to be decoded
    table = cast(dict[str, list[Any]], rows.select_columns(read).with_format(None)[:])
    objects = [list(_objects(table, row, columns)) for row in range(len(rows))]
    names = columns.names
    if names is None:
        names = sorted(
            {category for row in objects for _, category, *_ in row if isinstance(category, str)}
        )
    labels: dict[Any, int] = {name: number for number, name in enumerate(names)}
    labels |= {number: number for number in range(len(names))}
    ids = _ids(where, table, len(rows), findings)
    images = [RawImage(ids[row], _size(table, row, source)) for row in range(len(rows))]
    boxes, bad = [], []
    for row, found in enumerate(objects):
        for number, (bbox, category, area, crowd) in enumerate(found):
            xywh = [coordinate(str(value)) for value in bbox] if isinstance(bbox, list) else []
            if len(xywh) != 4 or None in xywh or category not in labels:
                bad.append(
                    f"{key}[{row}], object {number} ({short(bbox)}, category {short(category)})"
                )
            else:
                numbers = [value for value in xywh if value is not None]
                boxes.append(
                    RawBox(
                        ids[row],
                        labels[category],
                        numbers,
                        coordinate(str(area)) or None,
                        bool(crowd),
                    )
                )
    if bad:
        expected = "x, y, width, height of a known category"
        findings.add(
            "bad-box",
            where,
            len(bad),
            what="what objects hold",
            expected=expected,
            items=listing(bad),
        )
    index = build_index(where, dict(enumerate(names)), images, boxes, source, findings)
    if "upright" not in table:
        return index
    upright = np.array([bool(value) for value in table["upright"]])
    return replace(index, upright=upright[index.rows])  # sizes alone do not tell half turns


def _objects(
    table: Mapping[str, list[Any]], row: int, columns: _Columns
) -> Iterator[tuple[Any, ...]]:
    """bbox, category, area, iscrowd of each object of a row; None for what is not there."""
    keys = (columns.bbox, columns.category, "area", "iscrowd")
    value = (
        table[columns.objects][row]
        if columns.objects
        else {key: table[key][row] for key in keys if key in table}
    )
    if isinstance(value, list):
        yield from (tuple((entry or {}).get(key) for key in keys) for entry in value)
        return
    lists = [(value or {}).get(key) or [] for key in keys]
    lists = [entries if isinstance(entries, list) else [entries] for entries in lists]
    for number in range(max(map(len, lists[:2]))):
        yield tuple(entries[number] if number < len(entries) else None for entries in lists)


def _ids(
    where: str, table: Mapping[str, list[Any]], count: int, findings: Findings
) -> Sequence[int]:
    """The column ``image_id``, or the numbers of the rows where it is missing or holds no whole numbers."""
    values = table.get("image_id", [])
    if not values or not all(isinstance(value, int) for value in values):
        return range(count)
    if len(set(values)) == len(values):
        return values
    twice = sorted({value for value in values if values.count(value) > 1})
    findings.add("duplicate-image-id", where, len(twice), items=listing(twice))
    return range(count)


def _size(table: Mapping[str, list[Any]], row: int, source: ImageSource) -> tuple[int, int] | None:
    """Height and width as stated; else of the upright view, which `datasets` itself shows."""
    height, width = (table[key][row] if key in table else None for key in ("height", "width"))
    if isinstance(height, int) and isinstance(width, int):
        return height, width
    try:
        return source.header(row).upright
    except (ValueError, OSError):  # build_index names the row
        return None


def to_hub(splits: Mapping[Split, Index]) -> "datasets.DatasetDict":
    """Return the splits with typed columns, for ``save_to_disk`` or ``push_to_hub``, as ``HubData`` reads them again.

    Both embed the images' files as they are, not encoded again. Boxes are x, y, width, height in pixels. Empty splits
    are left out, since `datasets` cannot read back what it saves of them.

    Args:
        splits: those of :func:`read_dataset`.

    Raises:
        GLIPError: the splits have different lists of classes; those of :func:`read_dataset` never do.
    """
    datasets = import_optional("datasets", "to_hub")
    names = {index.class_names for index in splits.values()}
    if len(names) != 1:
        message = (
            f"the splits have {len(names)} different lists of classes; give all of them the same"
        )
        raise GLIPError(message, code="classes-differ")
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
    for split in (split for split in SPLITS if len(splits.get(split, ()))):
        found[EXPORTED[split]] = datasets.Dataset.from_dict(_export(splits[split]), features)
    return found


def _export(index: Index) -> dict[str, list[Any]]:
    columns = [index.boxes_of(image) for image in range(len(index))]
    return {
        "image": [_cell(index.source, row) for row in index.rows.tolist()],
        "image_id": index.ids.tolist(),
        "width": index.sizes[:, 1].tolist(),
        "height": index.sizes[:, 0].tolist(),
        "upright": index.upright.tolist(),
        "objects": [
            {
                "bbox": boxes.xywh.tolist(),
                "category": boxes.labels.tolist(),
                "area": boxes.area.tolist(),
                "iscrowd": boxes.crowd.tolist(),
            }
            for boxes in columns
        ],
    }


def _cell(source: ImageSource, row: int) -> dict[str, Any]:
    """The image as a path, from which saving embeds it, or as bytes where there is no file."""
    if isinstance(source, ImageFiles):
        return {"path": str(source.path(row).absolute()), "bytes": None}
    if isinstance(source, ImageRows):
        return source.cell(row)
    raise TypeError(f"{type(source).__name__}: images of this kind have no encoded bytes to export")
