"""The best score threshold of each class: the one with the best F1 on the evaluated images."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from glip_lightning.evaluation.bootstrap import (
    IOUS,
    ClassMatches,
    Rows,
    Truth,
    match_detections,
)

IOU = float(IOUS[0])
"""The IoU from which on a detection is right: 0.5."""

LEAST = 0.05
"""Class scores below it are never kept."""


@dataclass(frozen=True)
class BestThreshold:
    """The threshold of a class, with its precision and recall on the images it was chosen on."""

    threshold: float
    precision: float
    recall: float
    boxes: int  # ground-truth boxes in these images

    @property
    def f1(self) -> float:
        """The harmonic mean of precision and recall."""
        return 2 * self.precision * self.recall / (self.precision + self.recall)


def best_thresholds(
    truth: Truth, rows: Rows, class_names: Sequence[str]
) -> dict[str, BestThreshold]:
    """Return the best threshold of each class that has a right detection, by its name.

    Args:
        truth: a COCO dictionary.
        rows: detections by image id (:data:`.bootstrap.Rows`). Those on a crowd count neither as
            right nor as wrong.
        class_names: ``class_names[k]`` is the name of category k + 1.
    """
    found = {}
    for matches in match_detections(truth, rows):
        best = _best(matches)
        if best is not None:
            found[class_names[matches.category - 1]] = best
    return found


def _best(matches: ClassMatches) -> BestThreshold | None:
    """Return the threshold with the best F1; None without a right detection.

    Of equal ones it is the highest. All thresholds between the lowest score that is shown and the
    next lower score do the same; the threshold lies in their middle.
    """
    counted = ~matches.ignored[:, 0]
    scores = matches.scores[counted]
    right = matches.hit[counted, 0]
    if not right.any():
        return None
    boxes = int(matches.boxes.sum())
    # detections of equal score are shown together, so a threshold follows the last of them
    last = np.append(scores[1:] < scores[:-1], True)
    hits = right.cumsum()
    shown = np.arange(1, len(scores) + 1)
    f1 = np.where(last, 2 * hits / (shown + boxes), 0.0)
    best = int(f1.argmax())
    below = LEAST
    if best + 1 < len(scores):
        below = max(LEAST, scores[best + 1])
    threshold = (min(below, scores[best]) + scores[best]) / 2
    precision = float(hits[best] / shown[best])
    recall = float(hits[best] / boxes)
    return BestThreshold(float(threshold), precision, recall, boxes)
