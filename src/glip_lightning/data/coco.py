"""A COCO annotation file and its folder of images as samples, and as ground truth for the evaluator.

Two rules about boxes, both official: training clips them to the image and leaves out what is then one pixel
thin or less (in the inclusive convention) and crowds; evaluation takes the file's boxes as they are. Boxes
without any pixel of the image count for neither.
"""

import json
import logging
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from .. import boxes as box_ops
from .images import read_image
from .sampler import Key, KeyedSample
from .transforms import Transform

log = logging.getLogger(__name__)


class ImageEntry(NamedTuple):
    id: int
    path: Path
    size: tuple[int, int]  # height, width of the stored pixels


class Boxes(NamedTuple):
    """Annotations of M objects, those of one image side by side, images in the data set's order."""

    xywh: np.ndarray  # float64 [M, 4], as in the file
    area: np.ndarray  # float64 [M]: the file's, which may be that of a mask, else width x height
    labels: np.ndarray  # int64 [M], 0-based class index
    crowd: np.ndarray  # bool [M]
    images: np.ndarray  # int64 [M], index of the image

    def select(self, chosen: np.ndarray | slice) -> "Boxes":
        return Boxes(*(column[chosen] for column in self))


_Row = tuple[int, int, bool, float, list[float]]  # image index, label, crowd, area, xywh


class CocoDetection(Dataset[KeyedSample]):
    """Samples of a COCO file, images in ascending id; images without boxes stay and train as negatives.

    Boxes refer to the stored pixels, so a photo is not turned by its EXIF orientation. What is wrong with
    the annotation file, and every missing image, is an error at once; an image that cannot be read, or has
    another size than the file says, when its turn comes. Errors name the file, the id and the fix.

    Attributes:
        class_names: all categories in ascending id; ``labels`` index them. A category 0 that no box uses
            and that others name as their supercategory is Roboflow's name of the data set, and left out.
        category_ids: the file's id of each class.
        images: id, path and size of each image.
        dropped: reason -> number of boxes that training does without.
    """

    def __init__(self, annotation_file: str | Path, image_dir: str | Path, transform: Transform | None = None) -> None:
        self.annotation_file = Path(annotation_file)
        self.transform = transform or Transform()
        content = _read(self.annotation_file)
        categories = _categories(content, self.annotation_file)
        self.category_ids, self.class_names = list(categories), list(categories.values())
        self.images = _images(content, self.annotation_file, Path(image_dir))
        found = _boxes(content, self.annotation_file, self.images, self.category_ids)
        self._boxes, self.dropped = _inside(found, self.images)
        self._starts = np.searchsorted(self._boxes.images, np.arange(len(self.images) + 1))
        self._count_dropped()

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: Key | int) -> KeyedSample:
        """The sample of ``(epoch, index)``; an index alone means epoch 0."""
        epoch, index = (0, index) if isinstance(index, int) else index
        entry = self.images[index]
        image = read_image(entry.path, upright=False)
        if (image.height, image.width) != entry.size:
            raise ValueError(_wrong_size(self.annotation_file, entry, image))
        boxes, labels = self.target(index)
        resized, boxes = self.transform(image, boxes, epoch, index)
        return KeyedSample(
            image=resized,
            boxes=boxes,
            labels=labels,
            image_id=entry.id,
            original_size=entry.size,
            path=str(entry.path),
            epoch=epoch,
            index=index,
        )

    def target(self, index: int) -> tuple[Tensor, Tensor]:
        """What image ``index`` trains on: inclusive boxes [G, 4] in the original frame, labels [G]."""
        found = self._boxes.select(slice(*self._starts[index : index + 2]))
        found = found.select(~found.crowd)
        boxes = box_ops.from_xywh(torch.from_numpy(found.xywh).float())
        boxes = box_ops.clip(boxes, *self.images[index].size)
        keep = box_ops.nonempty(boxes)
        return boxes[keep], torch.from_numpy(found.labels)[keep]

    def ground_truth(self) -> dict[str, list[dict[str, Any]]]:
        """The COCO dictionary that ``CocoEvaluator`` takes: 1-based classes, annotations numbered from 1.

        Numbered anew, because COCO's evaluation takes a match with annotation 0 for no match.
        """
        sizes = [(entry.id, *entry.size) for entry in self.images]
        rows = zip(*(column.tolist() for column in self._boxes), strict=True)
        return {
            "images": [{"id": i, "height": h, "width": w} for i, h, w in sizes],
            "categories": [{"id": k, "name": name} for k, name in enumerate(self.class_names, start=1)],
            "annotations": [
                {
                    "id": number,
                    "image_id": sizes[image][0],
                    "category_id": label + 1,
                    "bbox": xywh,
                    "area": area,
                    "iscrowd": int(crowd),
                }
                for number, (xywh, area, label, crowd, image) in enumerate(rows, start=1)
            ],
        }

    def _count_dropped(self) -> None:
        kept = sum(len(self.target(index)[1]) for index in range(len(self)))
        crowds = int(self._boxes.crowd.sum())
        self.dropped += Counter({"crowd": crowds, "one pixel thin": len(self._boxes.crowd) - crowds - kept})
        if self.dropped:
            counts = ", ".join(f"{count} {reason}" for reason, count in self.dropped.items())
            log.warning("%s: %d boxes to train on, left out: %s", self.annotation_file, kept, counts)


def _read(file: Path) -> Mapping[str, Any]:
    if not file.is_file():
        raise FileNotFoundError(f"{file}: no such annotation file; check the path")
    try:
        content = json.loads(file.read_text(encoding="utf-8-sig"))
    except ValueError as error:  # JSONDecodeError, UnicodeDecodeError
        raise ValueError(f"{file}: not readable JSON ({error}); export or download it again") from error
    for key in ("images", "annotations", "categories"):
        if not isinstance(content, dict) or not isinstance(content.get(key), list):
            raise ValueError(
                f"{file}: no list {key!r} at its top level; expected a COCO file, "
                '{"images": [...], "annotations": [...], "categories": [...]}'
            )
    return content


def _get(entry: Mapping[str, Any], key: str, kind: type, place: str) -> Any:
    """``entry[key]``, of type ``kind``."""
    value = entry.get(key) if isinstance(entry, dict) else None
    if not isinstance(value, kind) or isinstance(value, bool):
        wanted = {int: "a whole number without quotes", str: "a text", list: "a list"}[kind]
        raise ValueError(f"{place}: {key} is {value!r}; it has to be {wanted}")
    return value


def _by_id(entries: Sequence[Any], what: str, file: Path) -> dict[int, Any]:
    """``entries`` by their ids, ascending; an id that comes twice is an error."""
    found: dict[int, Any] = {}
    for place, entry in enumerate(entries, start=1):
        number = _get(entry, "id", int, f"{file}: {what} number {place}")
        if number in found:
            raise ValueError(f"{file}: {what} id {number} occurs twice; give every {what} an id of its own")
        found[number] = entry
    return dict(sorted(found.items()))


def _categories(content: Mapping[str, Any], file: Path) -> dict[int, str]:
    """Category id -> name, ascending."""
    entries = _by_id(content["categories"], "category", file)
    names = {number: _get(e, "name", str, f"{file}: category {number}") for number, e in entries.items()}
    parents = {entry.get("supercategory") for number, entry in entries.items() if number != 0}
    used = any(isinstance(a, dict) and a.get("category_id") == 0 for a in content["annotations"])
    if 0 in names and names[0] in parents and not used:
        log.info("%s: category 0 (%r) is the group of the others, no class", file, names.pop(0))
    if not names:
        raise ValueError(f"{file}: its list of categories is empty; name at least one class")
    return names


def _images(content: Mapping[str, Any], file: Path, folder: Path) -> list[ImageEntry]:
    entries, missing = [], []
    for number, entry in _by_id(content["images"], "image", file).items():
        name = _get(entry, "file_name", str, f"{file}: image {number}")
        if Path(name).is_absolute() or ".." in Path(name).parts:
            raise ValueError(f"{file}: image {number}: {name!r} leads out of {folder}; write a path inside it")
        path = folder / name
        if path.is_file():
            entries.append(ImageEntry(number, path, _size(entry, path)))
        else:
            missing.append(f"{name!r} (image {number})")
    if missing:
        more = f" and {len(missing) - 5} more" if len(missing) > 5 else ""
        raise FileNotFoundError(
            f"{file}: {len(missing)} of {len(missing) + len(entries)} images are not in {folder}: "
            f"{', '.join(missing[:5])}{more}; add the files or take their entries out"
        )
    return entries


def _size(entry: Mapping[str, Any], path: Path) -> tuple[int, int]:
    """Height and width: the file's where it says so (checked when the image is read), else the image's."""
    height, width = entry.get("height"), entry.get("width")
    if isinstance(height, int) and isinstance(width, int):
        return height, width
    with Image.open(path) as image:
        return image.height, image.width


def _boxes(content: Mapping[str, Any], file: Path, images: list[ImageEntry], category_ids: list[int]) -> Boxes:
    """All annotations, checked, those of an image in the file's order."""
    image_index = {entry.id: index for index, entry in enumerate(images)}
    label_of = {number: label for label, number in enumerate(category_ids)}
    rows: list[_Row] = []
    seen: set[object] = set()
    for place, entry in enumerate(content["annotations"], start=1):
        number = entry.get("id") if isinstance(entry, dict) else None
        where = f"{file}: annotation {f'number {place}' if number is None else f'id {number}'}"
        if number is not None and number in seen:
            raise ValueError(f"{where} occurs twice; give every annotation an id of its own")
        seen.add(number)
        rows.append(_row(entry, where, image_index, label_of))
    rows.sort(key=lambda row: row[0])
    index, labels, crowd, area, xywh = zip(*rows, strict=True) if rows else ((), (), (), (), ())
    return Boxes(
        xywh=np.array(xywh, dtype=np.float64).reshape(-1, 4),
        area=np.array(area, dtype=np.float64),
        labels=np.array(labels, dtype=np.int64),
        crowd=np.array(crowd, dtype=bool),
        images=np.array(index, dtype=np.int64),
    )


def _row(entry: Mapping[str, Any], where: str, image_index: dict[int, int], label_of: dict[int, int]) -> _Row:
    image, category = (_get(entry, key, int, where) for key in ("image_id", "category_id"))
    if image not in image_index:
        raise ValueError(f"{where} belongs to image {image}, which is not in the file; add it or take it out")
    if category not in label_of:
        known = ", ".join(map(str, label_of))
        raise ValueError(f"{where} has category {category}; the file's categories are {known}")
    xywh, area = _xywh(entry, where), entry.get("area")
    if not isinstance(area, int | float) or area <= 0:
        area = xywh[2] * xywh[3]
    return image_index[image], label_of[category], bool(entry.get("iscrowd")), float(area), xywh


def _xywh(entry: Mapping[str, Any], where: str) -> list[float]:
    box = _get(entry, "bbox", list, where)
    numbers = [x for x in box if isinstance(x, int | float) and math.isfinite(x)]
    if len(box) != 4 or len(numbers) != 4:
        raise ValueError(f"{where}: bbox is {box}; it has to be x, y, width, height in pixels")
    return numbers


def _inside(found: Boxes, images: list[ImageEntry]) -> tuple[Boxes, Counter[str]]:
    """The boxes that hold some part of their image, and why the others do not."""
    heights, widths = np.array([entry.size for entry in images]).reshape(-1, 2)[found.images].T
    x, y, w, h = found.xywh.T
    flat = (w <= 0) | (h <= 0)
    outside = ~flat & ((x >= widths) | (y >= heights) | (x + w <= 0) | (y + h <= 0))
    dropped = Counter({"without area": int(flat.sum()), "outside the image": int(outside.sum())})
    return found.select(~flat & ~outside), +dropped


def _wrong_size(file: Path, entry: ImageEntry, image: Image.Image) -> str:
    height, width = entry.size
    return (
        f"{file}: image {entry.id} ({entry.path.name}) is {width} x {height} there, but the stored pixels are "
        f"{image.width} x {image.height}; correct width and height and check the boxes (a photo that its EXIF "
        "orientation turns has to be saved upright if its boxes were drawn upright)"
    )
