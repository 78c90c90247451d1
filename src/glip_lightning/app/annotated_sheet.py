"""A sheet of photos of a data set with their annotations: ``glip doctor --show``."""

from collections.abc import Mapping

import numpy as np
from PIL import Image

from glip_lightning.data.index import Index
from glip_lightning.data.types import Split
from glip_lightning.inference.sheet import save_sheet, small_with_boxes

PHOTOS, COLUMNS = 24, 4


def save_annotated(file: str, splits: Mapping[Split, Index]) -> str:
    """Write some photos of every split with all their boxes as the file has them; return a line for people.

    A photo of each class comes first, then others evenly from the rest. What cannot be read is left out and counted.
    """
    chosen = [
        (split, index, image)
        for split, index in splits.items()
        for image in _chosen(index, len(splits))
    ]
    places, failed = [], 0
    for split, index, image in chosen:
        try:
            picture = index.picture(image)
        except (OSError, ValueError):  # the doctor's own findings say which
            failed += 1
            continue
        places.append((_drawn(index, image, picture), f"{split}: {index.name(image)}"))
    save_sheet(file, [places[first : first + COLUMNS] for first in range(0, len(places), COLUMNS)])
    total = sum(map(len, splits.values()))
    unreadable = f", {failed} cannot be read" if failed else ""
    return f"{len(places)} of {total} photos with their annotations: {file}{unreadable}"


def _chosen(index: Index, splits: int) -> list[int]:
    """Return the images of one of so many splits that are shown, in the order of the file."""
    room = min(PHOTOS // splits, len(index))
    _, first = np.unique(index.boxes.labels, return_index=True)
    found = dict.fromkeys(index.boxes.images[first].tolist())
    for image in np.linspace(0, len(index) - 1, room).astype(int).tolist():
        found.setdefault(image)
    return sorted([*found][:room])


def _drawn(index: Index, image: int, picture: Image.Image) -> Image.Image:
    boxes = index.boxes_of(image)
    corners = np.concatenate([boxes.xywh[:, :2], boxes.xywh[:, :2] + boxes.xywh[:, 2:]], axis=1)
    names = [index.class_names[label] for label in boxes.labels.tolist()]
    return small_with_boxes(picture, corners.tolist(), names, index.class_names)
