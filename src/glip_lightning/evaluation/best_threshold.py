"""From which score on the boxes of a class are worth showing: where F1 on the images that were evaluated is best."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from glip_lightning.evaluation.bootstrap import IOUS, ClassMatches, Rows, Truth, match

IOU = float(IOUS[0])  # that makes a detection a right one: 0.5
LEAST = 0.05  # class scores below it are never kept


@dataclass(frozen=True)
class BestThreshold:
    """The least score to show of a class, and what that reaches on the images it was chosen on."""

    threshold: float
    precision: float
    recall: float
    boxes: int  # ground truth that this rests on

    @property
    def f1(self) -> float:
        return 2 * self.precision * self.recall / (self.precision + self.recall)


def best_thresholds(
    truth: Truth, rows: Rows, class_names: Sequence[str]
) -> dict[str, BestThreshold]:
    """Return the best threshold of each class of which something was found; ``class_names[k]`` is category k + 1.

    ``truth`` is a COCO dictionary, ``rows`` are detections by image id (:data:`.bootstrap.Rows`), of which those
    that lie on a crowd count neither as right nor as wrong.
    """
    found = {class_names[matches.category - 1]: _best(matches) for matches in match(truth, rows)}
    return {name: best for name, best in found.items() if best is not None}


def _best(matches: ClassMatches) -> BestThreshold | None:
    """Return the threshold with the best F1, of equal ones the highest; None if there is no right detection.

    All scores between that of the last detection above it and the next one do the same; it lies in their middle.
    """
    counted = ~matches.ignored[:, 0]
    scores, right = matches.scores[counted], matches.hit[counted, 0]
    if not right.any():
        return None
    boxes = int(matches.boxes.sum())
    last = np.append(scores[1:] < scores[:-1], True)  # detections of equal score are shown together
    hits = right.cumsum()
    shown = np.arange(1, len(scores) + 1)
    f1 = np.where(last, 2 * hits / (shown + boxes), 0.0)
    best = int(f1.argmax())
    below = max(LEAST, scores[best + 1]) if best + 1 < len(scores) else LEAST
    threshold = (min(below, scores[best]) + scores[best]) / 2
    return BestThreshold(
        float(threshold), float(hits[best] / shown[best]), float(hits[best] / boxes), boxes
    )
