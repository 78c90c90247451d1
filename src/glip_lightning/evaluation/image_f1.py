"""F1 of each image, which tells the best images from the worst."""

from collections.abc import Sequence

import numpy as np

from glip_lightning.evaluation.bootstrap import IOUS, Rows, Truth, match_detections


def image_f1(truth: Truth, rows: Rows, thresholds: Sequence[float]) -> np.ndarray:
    """Return the F1 of each image [I], the mean over the IoUs .50:.05:.95 of COCO.

    The images are in ascending order of their ids. F1 is nan where there is neither a box nor a
    detection. Detections on a crowd count neither as right nor as wrong.

    Args:
        truth: a COCO dictionary with categories 1 to K.
        rows: the detections of every image that counts (:data:`.bootstrap.Rows`).
        thresholds: ``thresholds[k]`` is the threshold of category k + 1; detections with a lower
            score do not count.
    """
    images = sorted(rows)
    least = np.asarray(thresholds, dtype=np.float64)
    right = np.zeros((len(images), len(IOUS)))
    shown = np.zeros((len(images), len(IOUS)))
    boxes = np.zeros(len(images))
    with_boxes = set()
    for matches in match_detections(truth, rows):
        is_shown = matches.scores >= least[matches.category - 1]
        counted = ~matches.ignored & is_shown[:, None]
        np.add.at(right, matches.images, matches.hit & counted)
        np.add.at(shown, matches.images, counted)
        boxes += matches.boxes
        with_boxes.add(matches.category)
    # Of classes without a box in any image, all detections are wrong.
    for place, image in enumerate(images):
        categories = rows[image][:, 6].astype(int)
        is_shown = rows[image][:, 5] >= least[categories - 1]
        wrong = is_shown & ~np.isin(categories, list(with_boxes))
        shown[place] += int(wrong.sum())
    total = shown + boxes[:, None]
    with np.errstate(invalid="ignore"):
        f1 = np.where(total > 0, 2 * right / total, np.nan)
    return f1.mean(axis=1)
