"""Best and worst images, by cases that are computed by hand."""

from typing import Any

import numpy as np
import pytest

from glip_lightning.evaluation.image_f1 import image_f1

BOX = (10.0, 10.0, 20.0, 20.0)


def truth(*boxes: tuple[int, int], crowd: int = 0) -> dict[str, list[dict[str, Any]]]:
    """Return a COCO dictionary of boxes at the same place, each of an image and a category."""
    annotations = [
        {
            "id": k,
            "image_id": image,
            "category_id": category,
            "bbox": list(BOX),
            "area": 400,
            "iscrowd": crowd,
        }
        for k, (image, category) in enumerate(boxes, 1)
    ]
    return {
        "images": [],
        "categories": [{"id": 1, "name": "a"}, {"id": 2, "name": "b"}],
        "annotations": annotations,
    }


def rows(image: int, *found: tuple[float, int], move: float = 0.0) -> np.ndarray:
    x, y, width, height = BOX
    return np.array(
        [[image, x + move, y, width, height, score, category] for score, category in found]
    ).reshape(-1, 7)


def test_f1_counts_what_is_found_missed_and_wrong() -> None:
    found = {
        7: rows(7, (0.9, 1)),  # right
        8: rows(8),  # missed
        9: rows(9, (0.9, 1), (0.8, 1)),  # once right, once wrong: 2 / (2 + 1)
        4: rows(4, (0.9, 2)),  # another class
    }
    scores = image_f1(truth((7, 1), (8, 1), (9, 1), (4, 1)), found, [0.5, 0.5])
    assert scores == pytest.approx([0, 1, 0, 2 / 3])  # in the order of the ids: 4, 7, 8, 9


def test_only_what_is_shown_counts_by_the_threshold_of_its_class() -> None:
    found = {1: rows(1, (0.4, 1), (0.4, 2))}
    assert image_f1(truth((1, 1), (1, 2)), found, [0.3, 0.3]) == pytest.approx([1])
    # one of two, nothing wrong
    assert image_f1(truth((1, 1), (1, 2)), found, [0.3, 0.5]) == pytest.approx([2 / 3])
    assert image_f1(truth((1, 1), (1, 2)), found, [0.5, 0.5]) == pytest.approx([0])


def test_closer_boxes_are_better() -> None:
    """Moved by 5 of 20 pixels the IoU is 0.6: a hit at 0.5, 0.55 and 0.6 of ten."""
    found = {1: rows(1, (0.9, 1), move=5.0)}
    assert image_f1(truth((1, 1)), found, [0.5, 0.5]) == pytest.approx([0.3])


def test_nothing_to_find_and_nothing_found_has_no_score() -> None:
    scores = image_f1(
        truth((1, 1)), {1: rows(1, (0.9, 1)), 2: rows(2), 3: rows(3, (0.9, 2))}, [0.5, 0.5]
    )
    assert scores[[0, 2]] == pytest.approx([1, 0])
    assert np.isnan(scores[1])


def test_what_lies_on_a_crowd_is_neither_right_nor_wrong() -> None:
    assert np.isnan(image_f1(truth((1, 1), crowd=1), {1: rows(1, (0.9, 1))}, [0.5, 0.5])).all()
