"""The bootstrap over images equals COCO's evaluation, also where images count twice."""

import time
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from glip_lightning.evaluation.bootstrap import bootstrap, draw_counts, resampled_ap
from glip_lightning.evaluation.coco_ap import CocoEvaluator
from test_coco_ap import NAMES, detections_of, evaluated, random_truth

Truth = dict[str, list[dict[str, Any]]]
# equal ones often: ties and exact matches
SIDES = st.sampled_from([4.0, 10.0, 10.0, 12.5, 20.0, 40.0])
SCORES = st.sampled_from([0.1, 0.25, 0.5, 0.5, 0.75, 0.9])
BOX = st.tuples(
    st.sampled_from([0.0, 1.0, 5.0, 10.0]), st.sampled_from([0.0, 2.0, 10.0]), SIDES, SIDES
)
REAL = st.tuples(BOX, st.integers(1, 3), st.booleans())
FOUND = st.tuples(BOX, st.integers(1, 4), SCORES)
IMAGES = st.lists(
    st.tuples(st.lists(REAL, max_size=4), st.lists(FOUND, max_size=6)), min_size=1, max_size=6
)


def evaluator_of(images: list[Any]) -> CocoEvaluator:
    """What hypothesis drew; image ids fall, class 4 has no boxes."""
    ids = [100 - 7 * i for i in range(len(images))]
    annotations = [
        {
            "image_id": image_id,
            "category_id": category,
            "bbox": list(box),
            "area": box[2] * box[3],
            "iscrowd": int(crowd),
        }
        for image_id, (real, _) in zip(ids, images, strict=True)
        for box, category, crowd in real
    ]
    truth = {
        "images": [{"id": i, "height": 100, "width": 100} for i in ids],
        "categories": [{"id": k, "name": name} for k, name in enumerate(NAMES, start=1)],
        "annotations": [{"id": n, **a} for n, a in enumerate(annotations, start=1)],
    }
    evaluator = CocoEvaluator(truth, NAMES)
    for image_id, (_, found) in zip(ids, images, strict=True):
        boxes = torch.tensor([box for box, _, _ in found], dtype=torch.float64).reshape(-1, 4)
        boxes[:, 2:] += boxes[:, :2]
        labels = torch.tensor([category - 1 for _, category, _ in found], dtype=torch.int64)
        scores = torch.tensor([score for *_, score in found], dtype=torch.float64)
        evaluator.update([image_id], [{"boxes": boxes, "labels": labels, "scores": scores}])
    return evaluator


def once(evaluator: CocoEvaluator) -> np.ndarray:
    """AP at each IoU [10] where every image is drawn once."""
    counts = np.ones((1, len(evaluator._rows)), dtype=np.int64)
    return resampled_ap(evaluator.ground_truth, evaluator._rows, counts)[:, 0]


@settings(max_examples=150, deadline=None)
@given(IMAGES)
def test_every_image_once_is_the_evaluators_ap(images: list[Any]) -> None:
    evaluator = evaluator_of(images)
    metrics = evaluator.compute()
    np.testing.assert_allclose(once(evaluator).mean(), metrics["AP"], atol=1e-9, equal_nan=True)
    np.testing.assert_allclose(once(evaluator)[0], metrics["AP50"], atol=1e-9, equal_nan=True)


@settings(max_examples=75, deadline=None)
@given(IMAGES, st.data())
def test_an_image_drawn_twice_counts_as_two(images: list[Any], data: st.DataObject) -> None:
    drawn = data.draw(st.lists(st.integers(0, len(images) - 1), min_size=1, max_size=8))
    scored = [  # equal scores in two images stand in either order; here no two are equal
        (real, [(box, k, score + 1e-3 * i + 1e-5 * d) for d, (box, k, score) in enumerate(found)])
        for i, (real, found) in enumerate(images)
    ]
    evaluator, repeated = evaluator_of(scored), evaluator_of([scored[i] for i in drawn])
    counts = np.bincount(drawn, minlength=len(images))[None, ::-1]
    ap = resampled_ap(evaluator.ground_truth, evaluator._rows, counts).mean(0)
    np.testing.assert_allclose(ap, [repeated.compute()["AP"]], atol=1e-9, equal_nan=True)


@pytest.mark.parametrize("seed", range(4))
def test_equal_on_boxes_of_all_sizes(seed: int) -> None:
    evaluator = evaluated(random_truth(60, seed), list(range(60)))
    assert once(evaluator).mean() == pytest.approx(evaluator.compute()["AP"], abs=1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_more_than_a_hundred_detections(seed: int) -> None:
    """Some of them turned inside out by the noise."""
    truth = random_truth(3, 1)
    rng = np.random.default_rng(seed)
    evaluator = CocoEvaluator(truth, NAMES)
    for image_id in range(3):
        one = detections_of(truth, image_id)
        boxes = one["boxes"].repeat(60, 1) + torch.from_numpy(
            rng.normal(0, 3, (60 * len(one["boxes"]), 4))
        )
        labels = one["labels"].repeat(60)
        evaluator.update(
            [image_id],
            [
                {
                    "boxes": boxes,
                    "labels": labels,
                    "scores": torch.from_numpy(rng.random(len(boxes))),
                }
            ],
        )
    assert once(evaluator).mean() == pytest.approx(evaluator.compute()["AP"], abs=1e-12)


def test_interval_is_deterministic_and_holds_the_ap() -> None:
    evaluator = evaluated(random_truth(40), list(range(40)))
    result = evaluator.bootstrap()
    ap = evaluator.compute()["AP"]
    low, high = result["interval95"]
    low50, high50 = result["AP50_interval95"]
    assert low50 < evaluator.compute()["AP50"] < high50
    assert (result["resamples"], len(result["AP"])) == (200, 200)
    assert low < ap < high
    assert 0.03 < high - low < 0.3
    assert result == evaluated(random_truth(40), list(range(40))).bootstrap()
    assert low == pytest.approx(np.percentile(result["AP"], 2.5), abs=1e-5)


def test_interval_of_rare_classes_holds_the_ap() -> None:
    """Many classes with two boxes each: AP is lowest where each image is drawn once."""
    rng = np.random.default_rng(0)
    images, classes = 60, 120
    chosen = rng.integers(0, images, (classes, 2))
    boxes = [
        {"image_id": int(i), "category_id": k, "bbox": [0, 0, 10, 10]}
        for k, pair in enumerate(chosen, start=1)
        for i in pair
    ]
    truth = {"images": [{"id": i} for i in range(images)], "annotations": boxes}
    place = np.tile([0, 0, 10, 10], (classes, 1))
    rows = {
        i: np.column_stack(
            [np.full(classes, i), place, rng.random(classes), np.arange(1, classes + 1)]
        )
        for i in range(images)
    }
    counts = draw_counts(rng, images, 200)
    ap = float(resampled_ap(truth, rows, np.ones((1, images), dtype=np.int64)).mean())
    assert np.percentile(resampled_ap(truth, rows, counts).mean(0), 2.5) > ap
    result = bootstrap(truth, rows)
    assert result["interval95"][0] < ap < result["interval95"][1]
    assert np.mean(result["AP"]) == pytest.approx(ap, abs=1e-4)


def test_detectors_on_the_same_images_are_drawn_alike() -> None:
    """So that their difference can be taken resample by resample."""
    truth = random_truth(12)
    good, bad = evaluated(truth, list(range(12))), CocoEvaluator(truth, NAMES)
    for image_id in range(12):
        shaken = detections_of(truth, image_id)
        bad.update([image_id], [{**shaken, "boxes": shaken["boxes"] + 1}])
    first, second = good.bootstrap()["AP"], bad.bootstrap()["AP"]
    assert np.corrcoef(first, second)[0, 1] > 0.5
    assert bootstrap(random_truth(12, 5), good._rows)["AP"] != first


def test_no_box_and_no_image() -> None:
    truth = random_truth(4)
    empty = CocoEvaluator({**truth, "annotations": []}, NAMES)
    empty.update([0], [detections_of(truth, 0)])
    assert empty.bootstrap()["interval95"] is None
    assert set(empty.bootstrap()["AP"]) == {None}
    assert np.isnan(resampled_ap(truth, {}, draw_counts(np.random.default_rng(0), 0, 1))).all()


def test_pascal_voc_in_seconds() -> None:
    """As many images and classes as the largest task has, ten detections in each image."""
    rng = np.random.default_rng(0)
    images, classes = 3422, 20
    boxes = rng.uniform(0, 300, (images, 3, 4)) + np.array([0, 0, 20, 20])
    labels = rng.integers(1, classes + 1, (images, 3))
    truth = {
        "images": [{"id": i} for i in range(images)],
        "annotations": [
            {
                "image_id": i,
                "category_id": int(labels[i, j]),
                "bbox": boxes[i, j].tolist(),
                "iscrowd": 0,
            }
            for i in range(images)
            for j in range(3)
        ],
    }
    rows = {}
    for i in range(images):
        shaken = np.concatenate([boxes[i] + rng.normal(0, 8, (3, 4)), rng.uniform(1, 300, (7, 4))])
        found = np.concatenate([labels[i], rng.integers(1, classes + 1, 7)])
        rows[i] = np.column_stack([np.full(10, i), shaken, rng.random(10), found])
    started = time.process_time()
    result = bootstrap(truth, rows)
    assert time.process_time() - started < 20
    assert result["interval95"][0] > 0.05
