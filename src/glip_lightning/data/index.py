"""One data set as columns: every annotation format is read into them.

Two rules about boxes, both official. Training clips them to the image; it leaves out crowds, and
boxes that are then one pixel thin or less (in the inclusive convention). Evaluation takes boxes as
the file has them. Boxes that hold no part of their image count for neither.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from glip_lightning.common.errors import GLIPError
from glip_lightning.common.escaping import is_text, printable
from glip_lightning.data.checks.findings import Faults, Findings, listing
from glip_lightning.data.images import Header, ImageSource
from glip_lightning.ops import box_arrays

Ints = NDArray[np.int64]
Mask = NDArray[np.bool_]
CLIPPED = 1.0  # pixels by which a box may reach beyond its image before this is reported


# not frozen: there may be millions of boxes, and frozen ones take five times as long to make
@dataclass(slots=True)
class RawImage:
    """An image as an annotation file lists it."""

    id: int
    size: tuple[int, int] | None  # height, width that its boxes refer to; None: as stored


@dataclass(slots=True)
class RawBox:
    """A box as an annotation file has it; the ids are known to exist."""

    image: int
    category: int
    xywh: Sequence[float]  # left, top, width, height in pixels
    area: float | None = None  # of a mask, if it differs from that of the box
    crowd: bool = False


def coordinate(text: str | None) -> float | None:
    """Return a number of a text file that float32 arithmetic can use; None for anything else."""
    try:
        value = float(text or "")
    except ValueError:
        return None
    return value if -1e9 < value < 1e9 else None


@dataclass(frozen=True, eq=False)
class Boxes:
    """M boxes, those of one image side by side, images in the index's order."""

    xywh: NDArray[np.float64]  # [M, 4], left, top, width, height in pixels, as in the file
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

    Columns are arrays, because worker processes share them; lists would be copied piece by piece.
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
        """Return the file name, below the folder of its split, of an image (position, from 0)."""
        return self.source.name(int(self.rows[image]))

    def size(self, image: int) -> tuple[int, int]:
        """Return height and width in pixels of the view that the boxes refer to."""
        height, width = self.sizes[image].tolist()
        return height, width

    def boxes_of(self, image: int) -> Boxes:
        """Return the boxes of an image (its position, from 0) in the order of the file."""
        return self.boxes.select(slice(int(self.starts[image]), int(self.starts[image + 1])))

    def select(self, images: Sequence[int]) -> "Index":
        """Return the index of some of the images (positions), in the order given."""
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
        """Return the index of some of the classes (labels, ascending).

        All images stay, with the boxes of these classes.
        """
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
        """Return the position of an image."""
        return int(np.flatnonzero(self.ids == image_id)[0])

    def picture(self, image: int) -> Image.Image:
        """Read an image (its position, from 0) as RGB, in the view that its boxes refer to.

        Raises:
            MissingFile: it is not there.
            GLIPError: it cannot be read, or its size has changed since the data were read.
        """
        picture = self.source.read(int(self.rows[image]), upright=bool(self.upright[image]))
        height, width = self.size(image)
        if (picture.height, picture.width) != (height, width):
            message = f"{self.where}: {self.name(image)} is {picture.width} x {picture.height} now "
            message += f"and was {width} x {height} when the data were read; "
            message += "do not change files while they are in use"
            raise GLIPError(message, code="changed-image")
        return picture

    def target(self, image: int) -> tuple[NDArray[np.float32], Ints]:
        """Return what is trained on in an image (its position, from 0).

        Returns:
            Inclusive boxes, float32 [G, 4] in the frame of the original image, and labels [G].
        """
        found = self.boxes_of(image)
        found = found.select(found.inside & ~found.crowd)
        corners = self._clipped_corners(found)
        keep = box_arrays.nonempty(corners)
        return corners[keep], found.labels[keep]

    def with_boxes(self) -> list[int]:
        """Return the images (positions, ascending) that have a box to train on."""
        return np.flatnonzero(np.bincount(self.boxes.images[self.trains()])).tolist()

    def trains(self) -> Mask:
        """Return the mask [M] of the boxes that :meth:`target` gives."""
        return self.boxes.inside & ~self.boxes.crowd & ~self._thin()

    def _thin(self) -> Mask:
        """Return the mask [M] of the boxes that are one pixel wide or high, or less, if clipped."""
        return ~box_arrays.nonempty(self._clipped_corners(self.boxes))

    def _clipped_corners(self, boxes: Boxes) -> NDArray[np.float32]:
        """Return inclusive corners, float32 [M, 4], clipped to the images of the boxes."""
        corners = box_arrays.from_xywh(boxes.xywh.astype(np.float32))
        return box_arrays.clip_to_images(corners, self.sizes[boxes.images])

    def dropped(self) -> dict[str, Mask]:
        """Return the boxes that are not trained on, as a mask [M] for each reason that occurs."""
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
        """Return the mask [M] of the boxes to train on that exceed their image by over a pixel."""
        height, width = self.sizes[self.boxes.images].T
        x, y, w, h = self.boxes.xywh.T
        over = np.max([-x, -y, x + w - width, y + h - height], axis=0)
        return self.trains() & (over > CLIPPED)

    def ground_truth(self) -> dict[str, list[dict[str, Any]]]:
        """Return the COCO dictionary that ``CocoEvaluator`` takes.

        Classes are numbered from 1, and so are annotations: the evaluation of COCO takes a match
        with annotation 0 for no match.
        """
        ids = self.ids.tolist()
        images = []
        for number, (height, width) in zip(ids, self.sizes.tolist(), strict=True):
            images.append({"id": number, "height": height, "width": width})
        categories = []
        for number, name in enumerate(self.class_names, start=1):
            categories.append({"id": number, "name": name})
        found = self.boxes.select(self.boxes.inside)
        # lists of Python's numbers, because it takes long to read single items of arrays
        xywh, area, labels = found.xywh.tolist(), found.area.tolist(), found.labels.tolist()
        crowd, positions = found.crowd.tolist(), found.images.tolist()
        annotations = []
        for box in range(len(labels)):
            annotation = {
                "id": box + 1,
                "image_id": ids[positions[box]],
                "category_id": labels[box] + 1,
                "bbox": xywh[box],
                "area": area[box],
                "iscrowd": int(crowd[box]),
            }
            annotations.append(annotation)
        return {"images": images, "categories": categories, "annotations": annotations}


@dataclass(frozen=True, slots=True)
class _View:
    """The view of an image that its boxes refer to."""

    size: tuple[int, int]  # height, width
    upright: bool = False  # turned as EXIF asks for, not as stored


def build_index(
    where: object,
    categories: Mapping[int, str],
    images: Sequence[RawImage],
    boxes: Sequence[RawBox],
    source: ImageSource,
    findings: Findings,
) -> Index:
    """Make the columns of what a reader found.

    The header of every image is read. Files that are no images, and sizes that differ from the
    annotated ones, are errors that are reported by name. Which view of a photo with an EXIF turn
    the boxes refer to is decided by the annotated size.

    Args:
        where: the file or folder that was read.
        categories: names of the classes by their ids in the file.
        images: ``images[i]`` is image i of ``source``.
        boxes: in any order; those of one image keep theirs.
        source: reads the images.
        findings: get what is wrong.
    """
    order = sorted(range(len(images)), key=lambda row: images[row].id)
    views = _decide_views(str(where), images, source, findings)
    sizes = np.array([views[row].size for row in order], dtype=np.int64).reshape(-1, 2)
    position = {images[row].id: place for place, row in enumerate(order)}
    ids = sorted(categories)
    label_of = {number: label for label, number in enumerate(ids)}
    columns = _columns(boxes, position, label_of, sizes)
    names = {number: categories[number] for number in ids}
    return Index(
        where=str(where),
        class_names=_distinct_names(names, str(where), findings),
        category_ids=tuple(ids),
        source=source,
        rows=np.array(order, dtype=np.int64),
        ids=np.array([images[row].id for row in order], dtype=np.int64),
        sizes=sizes,
        upright=np.array([views[row].upright for row in order], dtype=bool),
        boxes=columns,
        starts=_starts(columns.images, len(order)),
    )


def _starts(images: Ints, count: int) -> Ints:
    """Return where the boxes of each image begin, and their number, from the image of each box."""
    return np.searchsorted(images, np.arange(count + 1))


def _columns(
    boxes: Sequence[RawBox], position: dict[int, int], label_of: dict[int, int], sizes: Ints
) -> Boxes:
    """Return the columns of boxes whose images have these positions and ``sizes`` [N, 2]."""
    # stable: the boxes of an image stay in the order of the file
    boxes = sorted(boxes, key=lambda box: position[box.image])
    xywh = np.array([box.xywh for box in boxes], dtype=np.float64).reshape(-1, 4)
    area = xywh[:, 2] * xywh[:, 3]
    for place, box in enumerate(boxes):
        if box.area is not None:
            area[place] = box.area
    images = np.array([position[box.image] for box in boxes], dtype=np.int64)
    height, width = sizes[images].T
    x, y, w, h = xywh.T
    return Boxes(
        xywh=xywh,
        area=area,
        labels=np.array([label_of[box.category] for box in boxes], dtype=np.int64),
        crowd=np.array([box.crowd for box in boxes], dtype=bool),
        inside=(w > 0) & (h > 0) & (x < width) & (y < height) & (x + w > 0) & (y + h > 0),
        images=images,
    )


def _decide_views(
    where: str, images: Sequence[RawImage], source: ImageSource, findings: Findings
) -> list[_View]:
    """Read the header of each image, and decide which view its boxes refer to."""
    views = []
    faults = Faults("unreadable-image", "wrong-size", "exif-turned", "exif-kept", "several-frames")
    for row, image in enumerate(images):
        try:
            header = source.header(row)
        except (ValueError, OSError) as error:
            faults["unreadable-image"].append(str(error))
            views.append(_View(_size_without_file(image)))
            continue
        view, key = _decide_view(image, header)
        views.append(view)
        if key == "wrong-size":
            faults[key].append(_describe_sizes(source.name(row), image, header))
        elif key is not None:
            faults[key].append(source.name(row))
        if header.frames > 1:
            faults["several-frames"].append(source.name(row))
    # messages of errors have commas
    unreadable = listing(faults["unreadable-image"], "; ")
    faults.report(where, findings, {"unreadable-image": {"items": unreadable}})
    return views


def _decide_view(image: RawImage, header: Header) -> tuple[_View, str | None]:
    """Return the view of an image by its annotated size, and the problem to report, if any."""
    size = image.size or header.stored
    if size not in (header.stored, header.upright):
        return _View(header.stored), "wrong-size"
    if size != header.stored:
        return _View(size, upright=True), "exif-turned"
    if header.stored != header.upright:
        return _View(size), "exif-kept"
    return _View(size), None


def _size_without_file(image: RawImage) -> tuple[int, int]:
    """Return height and width of an image that cannot be read: as annotated, if usable."""
    if image.size and max(map(abs, image.size)) < 2**31:
        return image.size
    return 1, 1


def _describe_sizes(name: str, image: RawImage, header: Header) -> str:
    assert image.size is not None
    (height, width), (real_height, real_width) = image.size, header.stored
    return (
        f"{name} (image {image.id}) is {width} x {height} there, "
        f"{real_width} x {real_height} in the file"
    )


def _distinct_names(
    categories: Mapping[int, str], where: str, findings: Findings
) -> tuple[str, ...]:
    """Return a name for each class, of which captions are made: not blank, and no other's."""
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
