"""How well each image came out: F1 of the boxes that are shown, to tell the best images from the worst."""

from collections.abc import Sequence

import numpy as np

from glip_lightning.evaluation.bootstrap import IOUS, Rows, Truth, match


def image_f1(truth: Truth, rows: Rows, thresholds: Sequence[float]) -> np.ndarray:
    """Return F1 of each image [I] in the order of the ids in ``rows``, the mean over the IoUs .50:.05:.95 of COCO.

    ``truth`` is a COCO dictionary with categories 1 to K, ``rows`` are the detections of every image that counts
    (:data:`.bootstrap.Rows`), ``thresholds[k]`` is the least score of category k + 1: what lies below is not shown.
    Detections on a crowd count neither as right nor as wrong. nan where there is neither a box nor a detection.
    """
    images = sorted(rows)
    least = np.asarray(thresholds, dtype=np.float64)
    right, shown = (np.zeros((len(images), len(IOUS))) for _ in range(2))
    boxes = np.zeros(len(images))
    with_boxes = set()
    for matches in match(truth, rows):
        counted = ~matches.ignored & (matches.scores >= least[matches.category - 1])[:, None]
        np.add.at(right, matches.images, matches.hit & counted)
        np.add.at(shown, matches.images, counted)
        boxes += matches.boxes
        with_boxes.add(matches.category)
    for place, image in enumerate(
        images
    ):  # classes that have no box in any image: all of it is wrong
        categories = rows[image][:, 6].astype(int)
        is_shown = rows[image][:, 5] >= least[categories - 1]
        shown[place] += int((is_shown & ~np.isin(categories, list(with_boxes))).sum())
    whole = shown + boxes[:, None]
    with np.errstate(invalid="ignore"):
        return np.where(whole > 0, 2 * right / whole, np.nan).mean(axis=1)
