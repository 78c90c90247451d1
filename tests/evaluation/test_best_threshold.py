"""The best threshold of a class: values by hand, and equal to trying every score."""

from typing import Any

import numpy as np
import pytest

from glip_lightning.evaluation.best_threshold import LEAST, BestThreshold, best_thresholds

NAMES = ["cat", "dog"]


def truth(
    *boxes: tuple[int, int, list[float]], crowd: int | None = None
) -> dict[str, list[dict[str, Any]]]:
    """Return a COCO dictionary of boxes: image, category, x y w h; number ``crowd`` is a crowd."""
    annotations = [
        {
            "id": i,
            "image_id": image,
            "category_id": category,
            "bbox": xywh,
            "area": 1,
            "iscrowd": int(i - 1 == crowd),
        }
        for i, (image, category, xywh) in enumerate(boxes, start=1)
    ]
    return {"images": [{"id": i} for i in range(4)], "annotations": annotations, "categories": []}


def rows(*found: tuple[int, int, list[float], float]) -> dict[int, np.ndarray]:
    """Detections: image, category, x y w h, score."""
    listed: dict[int, list[list[float]]] = {image: [] for image in range(4)}
    for image, category, xywh, score in found:
        listed[image].append([image, *xywh, score, category])
    return {
        image: np.array(each, dtype=np.float64).reshape(-1, 7) for image, each in listed.items()
    }


A, B, FAR = [0.0, 0, 10, 10], [50.0, 50, 20, 20], [200.0, 200, 5, 5]


def test_the_threshold_lies_between_the_last_that_helps_and_the_next() -> None:
    """Right at 0.9 and 0.7, wrong at 0.4: F1 is 1 from there to 0.7."""
    found = best_thresholds(
        truth((0, 1, A), (1, 1, B)), rows((0, 1, A, 0.9), (1, 1, B, 0.7), (0, 1, FAR, 0.4)), NAMES
    )
    assert found == {"cat": BestThreshold(pytest.approx(0.55), precision=1.0, recall=1.0, boxes=2)}


def test_a_wrong_one_is_shown_where_a_right_one_below_it_is_worth_it() -> None:
    """0.9 right, 0.8 wrong, 0.6 right: F1 2/3, 1/2, 4/5; 2 of 3 are right, 2 of 2 found."""
    found = best_thresholds(
        truth((0, 1, A), (1, 1, B)), rows((0, 1, A, 0.9), (0, 1, FAR, 0.8), (1, 1, B, 0.6)), NAMES
    )
    best = found["cat"]
    assert best.threshold == pytest.approx((0.6 + LEAST) / 2)
    assert (best.precision, best.recall, best.f1) == (pytest.approx(2 / 3), 1.0, pytest.approx(0.8))


def test_a_box_is_found_once_and_detections_of_one_score_come_together() -> None:
    twice = best_thresholds(truth((0, 1, A)), rows((0, 1, A, 0.9), (0, 1, A, 0.8)), NAMES)["cat"]
    assert (twice.threshold, twice.precision) == (pytest.approx(0.85), 1.0)
    equal = best_thresholds(truth((0, 1, A)), rows((0, 1, A, 0.9), (1, 1, A, 0.9)), NAMES)["cat"]
    assert (equal.precision, equal.recall) == (0.5, 1.0)


def test_what_lies_on_a_crowd_counts_for_nothing() -> None:
    found = best_thresholds(
        truth((0, 1, A), (0, 1, B), crowd=1), rows((0, 1, B, 0.9), (0, 1, A, 0.8)), NAMES
    )["cat"]
    assert (found.precision, found.recall, found.boxes) == (1.0, 1.0, 1)


def test_classes_without_boxes_or_without_a_right_detection_have_none() -> None:
    found = best_thresholds(truth((0, 1, A)), rows((0, 1, FAR, 0.9), (0, 2, A, 0.9)), NAMES)
    assert found == {}


def test_no_other_threshold_is_better() -> None:
    rng = np.random.default_rng(0)
    boxes = [(int(rng.integers(4)), 1, [float(x), 0.0, 10.0, 10.0]) for x in range(0, 400, 20)]
    seen = [(image, 1, xywh, float(rng.random())) for image, _, xywh in boxes if rng.random() < 0.7]
    seen += [
        (int(rng.integers(4)), 1, [float(x), 50.0, 10.0, 10.0], float(rng.random()) * 0.6)
        for x in range(30)
    ]
    best = best_thresholds(truth(*boxes), rows(*seen), NAMES)["cat"]

    def f1(threshold: float) -> float:
        shown = [xywh for _, _, xywh, score in seen if score >= threshold]
        right = sum(xywh[1] == 0 for xywh in shown)
        return 2 * right / (len(shown) + len(boxes))

    assert best.f1 == pytest.approx(f1(best.threshold))
    assert best.f1 == pytest.approx(max(f1(score) for *_, score in seen))
