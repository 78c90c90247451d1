"""One data set as columns: what every annotation format is read into.

Two rules about boxes, both official: training clips them to the image and leaves out what is then one pixel
thin or less (in the inclusive convention) and crowds; evaluation takes them as the file has them. Boxes that
hold no part of their image count for neither.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from glip_lightning.common.errors import GLIPError
from glip_lightning.common.escaping import is_text, printable
from glip_lightning.data.checks.findings import Findings, listing
from glip_lightning.data.images import Header, ImageSource
from glip_lightning.ops import box_arrays

Ints = NDArray[np.int64]
Mask = NDArray[np.bool_]
CLIPPED = 1.0  # pixels that a box has to leave its image by before that is mentioned


class RawImage(NamedTuple):
    """An image as an annotation file lists it."""

    id: int
    size: (
        tuple[int, int] | None
    )  # height, width that its boxes refer to; None: those of the stored pixels


class RawBox(NamedTuple):
    """A box as an annotation file has it; the ids are known to exist."""

    image: int
    category: int
    xywh: Sequence[float]
    area: float | None = None  # of a mask, if it differs from the box's
    crowd: bool = False


def coordinate(text: str | None) -> float | None:
    """A number of a text file, finite and usable in float32 arithmetic; None for anything else."""
    try:
        value = float(text or "")
    except ValueError:
        return None
    return value if -1e9 < value < 1e9 else None


@dataclass(frozen=True, eq=False)
class Boxes:
    """M boxes, those of one image side by side, images in the index's order."""

    xywh: NDArray[np.float64]  # [M, 4], as in the file
    area: NDArray[np.float64]  # [M]
    labels: Ints  # [M], 0-based class index
    crowd: Mask  # [M]
    inside: Mask  # [M]: some part of the image is in it
    images: Ints  # [M], index of the image

    def select(self, chosen: Ints | Mask | slice) -> "Boxes":
        """Return some of the boxes."""
        return Boxes(**{name: column[chosen] for name, column in vars(self).items()})


@dataclass(frozen=True, eq=False)
class Index:
    """N images in ascending id with their boxes.

    Columns are arrays, which worker processes share: lists would be copied touch by touch.
    """

    where: str  # the file or folder that it was read from
    class_names: tuple[str, ...]
    category_ids: tuple[int, ...]  # the file's id of each class, ascending
    source: ImageSource
    rows: Ints  # [N]: where the source has each image
    ids: Ints  # [N]
    sizes: Ints  # [N, 2]: height, width of the view that the boxes refer to
    upright: Mask  # [N]: that view is the one that EXIF asks for, not the stored pixels
    boxes: Boxes
    starts: Ints  # [N + 1]: where the boxes of each image begin

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.ids)

    def name(self, image: int) -> str:
        """Return the file name of an image (its position, from 0), below the folder of its split."""
        return self.source.name(int(self.rows[image]))

    def size(self, image: int) -> tuple[int, int]:
        """Return height and width in pixels of the view that the boxes refer to."""
        height, width = self.sizes[image].tolist()
        return height, width

    def boxes_of(self, image: int) -> Boxes:
        """Return the boxes of an image (its position, from 0) in the order of the file."""
        return self.boxes.select(slice(int(self.starts[image]), int(self.starts[image + 1])))

    def select(self, images: Sequence[int]) -> "Index":
        """The index of some of the images (positions, in the order in which they are given)."""
        chosen = np.asarray(images, dtype=np.int64)
        lengths = np.diff(self.starts)[chosen]
        within = [np.arange(self.starts[i], self.starts[i + 1]) for i in chosen]
        boxes = self.boxes.select(np.concatenate([np.empty(0, dtype=np.int64), *within]))
        boxes = replace(boxes, images=np.repeat(np.arange(len(chosen)), lengths))
        return replace(
            self,
            rows=self.rows[chosen],
            ids=self.ids[chosen],
            sizes=self.sizes[chosen],
            upright=self.upright[chosen],
            boxes=boxes,
            starts=_starts(boxes.images, len(chosen)),
        )

    def only(self, labels: Sequence[int]) -> "Index":
        """Return the index of some of the classes (labels, ascending): all images, and the boxes of these classes."""
        new_label = np.full(len(self.class_names), -1, dtype=np.int64)
        new_label[list(labels)] = np.arange(len(labels))
        boxes = self.boxes.select(new_label[self.boxes.labels] >= 0)
        boxes = replace(boxes, labels=new_label[boxes.labels])
        return replace(
            self,
            class_names=tuple(self.class_names[label] for label in labels),
            category_ids=tuple(self.category_ids[label] for label in labels),
            boxes=boxes,
            starts=_starts(boxes.images, len(self)),
        )

    def find(self, image_id: int) -> int:
        """Position of an image."""
        return int(np.flatnonzero(self.ids == image_id)[0])

    def picture(self, image: int) -> Image.Image:
        """Read an image (its position, from 0) as RGB, in the view that its boxes refer to."""
        picture = self.source.read(int(self.rows[image]), upright=bool(self.upright[image]))
        if (picture.height, picture.width) != self.size(image):
            message = f"{self.where}: {self.name(image)} is {picture.width} x {picture.height} now and was "
            message += f"{self.size(image)[::-1]} when the data were read; leave files alone while they are in use"
            raise GLIPError(message, code="changed-image")
        return picture

    def target(self, image: int) -> tuple[NDArray[np.float32], Ints]:
        """What an image trains on: inclusive float32 boxes [G, 4] in the original frame, labels [G]."""
        found = self.boxes_of(image)
        found = found.select(found.inside & ~found.crowd)
        boxes = box_arrays.clip_to_images(
            box_arrays.from_xywh(found.xywh.astype(np.float32)), self.sizes[image]
        )
        keep = box_arrays.nonempty(boxes)
        return boxes[keep], found.labels[keep]

    def with_boxes(self) -> list[int]:
        """The images that have a box to train on, ascending."""
        return np.flatnonzero(np.bincount(self.boxes.images[self.trains()])).tolist()

    def trains(self) -> Mask:
        """Mask [M] of the boxes that :meth:`target` gives."""
        return self.boxes.inside & ~self.boxes.crowd & ~self._thin()

    def _thin(self) -> Mask:
        """Mask [M]: one pixel wide or high, or less, once clipped."""
        boxes = box_arrays.from_xywh(self.boxes.xywh.astype(np.float32))
        return ~box_arrays.nonempty(box_arrays.clip_to_images(boxes, self.sizes[self.boxes.images]))

    def dropped(self) -> dict[str, Mask]:
        """Reason -> mask [M] of the boxes that training does without for it; reasons without a box left out."""
        flat = self.boxes.xywh[:, 2:].min(1) <= 0
        usable = self.boxes.inside & ~self.boxes.crowd
        reasons = {
            "without area": flat,
            "outside the image": ~self.boxes.inside & ~flat,
            "crowd": self.boxes.inside & self.boxes.crowd,
            "one pixel thin": usable & self._thin(),
        }
        return {reason: mask for reason, mask in reasons.items() if mask.any()}

    def clipped(self) -> Mask:
        """Mask [M] of the boxes that train and leave their image by more than a pixel."""
        height, width = self.sizes[self.boxes.images].T
        x, y, w, h = self.boxes.xywh.T
        over = np.max([-x, -y, x + w - width, y + h - height], axis=0)
        return self.trains() & (over > CLIPPED)

    def ground_truth(self) -> dict[str, list[dict[str, Any]]]:
        """The COCO dictionary that ``CocoEvaluator`` takes: 1-based classes, annotations numbered from 1.

        Numbered anew, because COCO's evaluation takes a match with annotation 0 for no match.
        """
        ids, sizes = self.ids.tolist(), self.sizes.tolist()
        found = self.boxes.select(self.boxes.inside)
        columns = (found.xywh, found.area, found.labels, found.crowd, found.images)
        return {
            "images": [
                {"id": i, "height": h, "width": w} for i, (h, w) in zip(ids, sizes, strict=True)
            ],
            "categories": [
                {"id": k, "name": name} for k, name in enumerate(self.class_names, start=1)
            ],
            "annotations": [
                {
                    "id": number,
                    "image_id": ids[image],
                    "category_id": label + 1,
                    "bbox": xywh,
                    "area": area,
                    "iscrowd": int(crowd),
                }
                for number, (xywh, area, label, crowd, image) in enumerate(
                    zip(*(column.tolist() for column in columns), strict=True), start=1
                )
            ],
        }


def build_index(
    where: object,
    categories: Mapping[int, str],
    images: Sequence[RawImage],
    boxes: Sequence[RawBox],
    source: ImageSource,
    findings: Findings,
) -> Index:
    """Columns of what a reader found; ``images[i]`` is image i of ``source``.

    The header of every image is read: files that are no images and sizes that differ from the annotated ones
    are errors, EXIF turns are decided (by which view has the annotated size), all by name.
    """
    order = sorted(range(len(images)), key=lambda row: images[row].id)
    views = _views(str(where), images, source, findings)
    sizes, upright = [views[row][0] for row in order], [views[row][1] for row in order]
    position = {images[row].id: i for i, row in enumerate(order)}
    ids = sorted(categories)
    columns = _columns(boxes, position, {number: label for label, number in enumerate(ids)}, sizes)
    return Index(
        where=str(where),
        class_names=_distinct_names(
            {number: categories[number] for number in ids}, str(where), findings
        ),
        category_ids=tuple(ids),
        source=source,
        rows=np.array(order, dtype=np.int64),
        ids=np.array([images[row].id for row in order], dtype=np.int64),
        sizes=np.array(sizes, dtype=np.int64).reshape(-1, 2),
        upright=np.array(upright, dtype=bool),
        boxes=columns,
        starts=_starts(columns.images, len(order)),
    )


def _starts(images: Ints, count: int) -> Ints:
    return np.searchsorted(images, np.arange(count + 1))


def _columns(
    boxes: Sequence[RawBox],
    position: dict[int, int],
    label_of: dict[int, int],
    sizes: list[tuple[int, int]],
) -> Boxes:
    boxes = sorted(
        boxes, key=lambda box: position[box.image]
    )  # stable: an image's boxes stay in the file's order
    xywh = np.array([box.xywh for box in boxes], dtype=np.float64).reshape(-1, 4)
    area = [box.xywh[2] * box.xywh[3] if box.area is None else box.area for box in boxes]
    images = np.array([position[box.image] for box in boxes], dtype=np.int64)
    height, width = np.array(sizes, dtype=np.int64).reshape(-1, 2)[images].T
    x, y, w, h = xywh.T
    return Boxes(
        xywh=xywh,
        area=np.array(area, dtype=np.float64),
        labels=np.array([label_of[box.category] for box in boxes], dtype=np.int64),
        crowd=np.array([box.crowd for box in boxes], dtype=bool),
        inside=(w > 0) & (h > 0) & (x < width) & (y < height) & (x + w > 0) & (y + h > 0),
        images=images,
    )


def _views(
    where: str, images: Sequence[RawImage], source: ImageSource, findings: Findings
) -> list[tuple[tuple[int, int], bool]]:
    """Per image the size of the view that its boxes refer to, and whether that is the upright one."""
    views, broken, wrong, turned, kept, framed = [], [], [], [], [], []
    for row, image in enumerate(images):
        view = image.size if image.size and max(map(abs, image.size)) < 2**31 else (1, 1)
        try:
            header = source.header(row)
        except (ValueError, OSError) as error:
            broken.append(str(error))
            views.append((view, False))
            continue
        view = image.size or header.stored
        upright = view != header.stored and view == header.upright
        if header.frames > 1:
            framed.append(source.name(row))
        if view not in (header.stored, header.upright):
            wrong.append(_sizes(source.name(row), image, header))
            view = header.stored
        elif upright:
            turned.append(source.name(row))
        elif header.stored != header.upright:
            kept.append(source.name(row))
        views.append((view, upright))
    if broken:
        findings.add("unreadable-image", where, len(broken), items=listing(broken, "; "))
    if wrong:
        findings.add("wrong-size", where, len(wrong), items=listing(wrong))
    if turned:
        findings.add("exif-turned", where, len(turned), items=listing(turned))
    if kept:
        findings.add("exif-kept", where, len(kept), items=listing(kept))
    if framed:
        findings.add("several-frames", where, len(framed), items=listing(framed))
    return views


def _sizes(name: str, image: RawImage, header: Header) -> str:
    assert image.size is not None
    (height, width), (real_height, real_width) = image.size, header.stored
    return f"{name} (image {image.id}) is {width} x {height} there, {real_width} x {real_height} in truth"


def _distinct_names(
    categories: Mapping[int, str], where: str, findings: Findings
) -> tuple[str, ...]:
    """A name for each class that is not blank and no other's; the captions are made of them."""
    names: dict[str, int] = {}
    for number, raw in categories.items():
        name = " ".join(raw.split()) or f"category {number}"
        if not is_text(name):
            name = printable(name)
            findings.add("broken-text", where, items=f"the name of category {number}, '{name}'")
        if not raw.strip():
            findings.add("blank-name", where, number=number, name=name)
        if name in names:
            findings.add("duplicate-name", where, number=number, other=names[name], name=name)
            while name in names:
                name = f"{name} ({number})"
        names[name] = number
    return tuple(names)
