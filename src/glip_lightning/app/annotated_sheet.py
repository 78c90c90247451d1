"""A sheet of photos of a data set with their annotations: ``glip doctor --show``."""

from collections.abc import Mapping

import numpy as np
from PIL import Image

from glip_lightning.data.index import Index
from glip_lightning.data.types import Split
from glip_lightning.inference.sheet import save_sheet, small_with_boxes
from glip_lightning.ops.box_arrays import outside_from_xywh

PHOTOS, COLUMNS = 24, 4


def save_annotated(file: str, splits: Mapping[Split, Index]) -> str:
    """Write some photos of every split with all their annotations, and return a line for people.

    Photos that show each class come first, then others at equal distances in the list. Photos that
    cannot be read are left out and counted.
    """
    places: list[tuple[Image.Image, str]] = []
    failed = 0
    for split, index in splits.items():
        for image in _choose_images(index, len(splits)):
            try:
                picture = index.picture(image)
            except (OSError, ValueError):  # the doctor's own findings say which
                failed += 1
                continue
            drawn = _draw_annotations(index, image, picture)
            places.append((drawn, f"{split}: {index.name(image)}"))
    save_sheet(file, [places[first : first + COLUMNS] for first in range(0, len(places), COLUMNS)])
    total = sum(len(index) for index in splits.values())
    unreadable = f", {failed} cannot be read" if failed else ""
    return f"{len(places)} of {total} photos with their annotations: {file}{unreadable}"


def _choose_images(index: Index, splits: int) -> list[int]:
    """Return the images of one split that the sheet shows, in the order of the file.

    ``splits`` is the number of splits that share the sheet.
    """
    room = min(PHOTOS // splits, len(index))
    _, first = np.unique(index.boxes.labels, return_index=True)
    first_of_classes = index.boxes.images[first].tolist()
    evenly = np.linspace(0, len(index) - 1, room).astype(int).tolist()
    chosen = list(dict.fromkeys([*first_of_classes, *evenly]))
    return sorted(chosen[:room])


def _draw_annotations(index: Index, image: int, picture: Image.Image) -> Image.Image:
    boxes = index.boxes_of(image)
    names = [index.class_names[label] for label in boxes.labels.tolist()]
    corners = outside_from_xywh(boxes.xywh).tolist()
    return small_with_boxes(picture, corners, names, index.class_names)
