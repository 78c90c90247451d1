"""A teacher's boxes of a class list as the content of a COCO file, an ordinary data set."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import torch
from torchvision.ops import box_convert, nms

from glip_lightning.inference.limits import ONE_LABEL_IOU
from glip_lightning.inference.pseudo_label.grounding_file import (
    CUT,
    Labelled,
    annotation_entry,
    found_in,
    image_entry,
    names_in,
)
from glip_lightning.inference.pseudo_label.teacher import Row
from glip_lightning.inference.thresholds import Thresholds


def class_content(
    labelled: Labelled,
    categories: Sequence[tuple[int, str]],
    thresholds: Thresholds,
    *,
    keep_empty: bool,
    most: int,
    one_label: bool,
) -> tuple[dict[str, Any], Counter[str]]:
    """Return the content of the file and the counts of photos and boxes that were kept or left out.

    Args:
        labelled: every photo with its record. All photos have the same captions.
        categories: id and name of each class, in the order in which the captions name them.
        thresholds: the least scores.
        keep_empty: keep photos without a box.
        most: the largest number of boxes of a photo; the best ones are kept.
        one_label: keep only the best box of an object, whatever its class.
    """
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    counts: Counter[str] = Counter()
    for photo, record in labelled:
        passed: list[tuple[int, Row]] = []  # class and row
        first = 0  # class that the sentence names first
        for sentence, rows in found_in(photo, record):
            names = names_in(sentence)
            chosen = [row for row in rows if row[1] >= thresholds.of(names[row[0]])]
            counts["boxes below their threshold"] += len(rows) - len(chosen)
            passed += [(first + row[0], row) for row in chosen]
            first += len(names)
        passed.sort(key=lambda found: -found[1][1])
        kept = _best_of_objects(passed) if one_label else passed
        counts["boxes of an object that has a better one"] += len(passed) - len(kept)
        counts[CUT] += len(kept[most:])
        counts["photos in which nothing was found"] += not kept
        if not kept and not keep_empty:
            continue
        images.append(image_entry(len(images) + 1, photo.file_name, record))
        for label, row in kept[:most]:
            category_id = categories[label][0]
            entry = annotation_entry(len(annotations) + 1, len(images), category_id, row)
            annotations.append(entry)
    counts["photos kept"] = len(images)
    counts["boxes kept"] = len(annotations)
    listed = [{"id": number, "name": name} for number, name in categories]
    return {"images": images, "annotations": annotations, "categories": listed}, counts


def _best_of_objects(found: Sequence[tuple[int, Row]]) -> list[tuple[int, Row]]:
    """Return the best box of each object, whatever the classes; ``found`` is sorted by score."""
    rows = torch.tensor([row for _, row in found], dtype=torch.float64).reshape(-1, 6)
    corners = box_convert(rows[:, 2:], "xywh", "xyxy")
    keep = nms(corners, rows[:, 1], ONE_LABEL_IOU)  # best first
    return [found[k] for k in keep.tolist()]
