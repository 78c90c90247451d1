"""What a teacher found of a class list -> the content of a COCO file of these classes, an ordinary data set."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import torch
from torchvision.ops import nms

from glip_lightning.inference.pseudo_label.grounding_file import (
    CUT,
    Labelled,
    annotation_entry,
    found_in,
    image_entry,
    names_in,
)
from glip_lightning.inference.pseudo_label.teacher import Row
from glip_lightning.inference.thresholds import ONE_LABEL_IOU, Thresholds


def class_content(
    labelled: Labelled,
    categories: Sequence[tuple[int, str]],
    thresholds: Thresholds,
    *,
    keep_empty: bool,
    most: int,
    one_label: bool,
) -> tuple[dict[str, Any], Counter[str]]:
    """Return the three lists of the file and what became of photos and boxes.

    Every photo has the same captions, which together name the classes of ``categories`` (id and name) in their order.
    At most ``most`` boxes of a photo are kept; with ``one_label`` only the best of those of an object.
    """
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    counts: Counter[str] = Counter()
    for photo, record in labelled:
        passed: list[tuple[int, Row]] = []  # class and row
        first = 0
        for sentence, rows in found_in(photo, record):
            names = names_in(sentence)
            chosen = [row for row in rows if row[1] >= thresholds.of(names[row[0]])]
            counts["boxes below their threshold"] += len(rows) - len(chosen)
            passed += [(first + row[0], row) for row in chosen]
            first += len(names)
        passed.sort(key=lambda found: -found[1][1])
        kept = _one_per_object(passed) if one_label else passed
        counts["boxes of an object that has a better one"] += len(passed) - len(kept)
        counts[CUT] += len(kept[most:])
        counts["photos in which nothing was found"] += not kept
        if not kept and not keep_empty:
            continue
        images.append(image_entry(len(images) + 1, photo.file_name, record))
        for label, row in kept[:most]:
            annotations.append(
                annotation_entry(len(annotations) + 1, len(images), categories[label][0], row)
            )
    counts["photos kept"], counts["boxes kept"] = len(images), len(annotations)
    listed = [{"id": number, "name": name} for number, name in categories]
    return {"images": images, "annotations": annotations, "categories": listed}, counts


def _one_per_object(found: Sequence[tuple[int, Row]]) -> list[tuple[int, Row]]:
    """Return the best of the boxes that show one object, whatever their classes; ``found`` is sorted."""
    rows = torch.tensor([row for _, row in found], dtype=torch.float64).reshape(-1, 6)
    corners = torch.cat([rows[:, 2:4], rows[:, 2:4] + rows[:, 4:]], dim=1)
    keep = nms(corners, rows[:, 1], ONE_LABEL_IOU)  # best first
    return [found[k] for k in keep.tolist()]
