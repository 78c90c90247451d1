"""COCO AP: equal to torchmetrics with exact thresholds, each image once, equal on all ranks."""

import json
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.multiprocessing as mp
from torch import Tensor
from torchmetrics.detection import MeanAveragePrecision

import malformed_coco
from glip_lightning.common.errors import GLIPError
from glip_lightning.data.benchmarks.odinw import ANNOTATIONS
from glip_lightning.data.dataset import CocoDetection
from glip_lightning.evaluation.coco_ap import CocoEvaluator

NAMES = ["raccoon", "dog", "traffic light", "unused"]
Detection = dict[str, Tensor]


def random_boxes(rng: np.random.Generator, count: int) -> np.ndarray:
    """Outside corners, sides of 7 to 200 pixels."""
    corner = rng.uniform(0, 200, (count, 2))
    return np.concatenate([corner, corner + np.exp(rng.uniform(2, 5.3, (count, 2)))], axis=1)


def random_truth(images: int, seed: int = 0) -> dict[str, list[dict[str, Any]]]:
    """Ground truth of the first three classes; some images are empty, some boxes are crowds."""
    rng = np.random.default_rng(seed)
    annotations: list[dict[str, Any]] = []
    for image_id in range(images):
        for x1, y1, x2, y2 in random_boxes(rng, int(rng.integers(0, 6))).tolist():
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image_id,
                    "category_id": int(rng.integers(1, 4)),
                    "bbox": [x1, y1, x2 - x1, y2 - y1],
                    "area": (x2 - x1) * (y2 - y1),
                    "iscrowd": int(rng.random() < 0.1),
                }
            )
    return {
        "images": [{"id": i, "height": 300, "width": 300} for i in range(images)],
        "categories": [{"id": k, "name": name} for k, name in enumerate(NAMES, start=1)],
        "annotations": annotations,
    }


def truth_of(truth: dict[str, list[dict[str, Any]]], image_id: int) -> Detection:
    """The boxes of one image as torchmetrics wants them."""
    found = [a for a in truth["annotations"] if a["image_id"] == image_id]
    boxes = torch.tensor([a["bbox"] for a in found], dtype=torch.float64).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    return {
        "boxes": boxes,
        "labels": torch.tensor([a["category_id"] - 1 for a in found], dtype=torch.int64),
        "iscrowd": torch.tensor([a["iscrowd"] for a in found], dtype=torch.int64),
        "area": torch.tensor([a["area"] for a in found], dtype=torch.float64),
    }


def detections_of(truth: dict[str, list[dict[str, Any]]], image_id: int) -> Detection:
    """The true boxes, shaken, some under a wrong name, and false ones among them."""
    rng = np.random.default_rng([1, image_id])
    real = truth_of(truth, image_id)
    shaken = real["boxes"].numpy() + rng.normal(0, 1.5, (len(real["boxes"]), 4))
    shaken[:, 2:] = np.maximum(shaken[:, 2:], shaken[:, :2] + 1)
    boxes = np.concatenate([shaken, random_boxes(rng, 2)])
    labels = np.concatenate([real["labels"].numpy(), rng.integers(0, 3, 2)])
    labels = np.where(rng.random(len(labels)) < 0.15, rng.integers(0, 3, len(labels)), labels)
    return {
        "boxes": torch.from_numpy(boxes),
        "scores": torch.from_numpy(rng.random(len(boxes))),
        "labels": torch.from_numpy(labels).long(),
    }


def perfect(real: Detection) -> Detection:
    return {
        "boxes": real["boxes"],
        "labels": real["labels"],
        "scores": torch.ones(len(real["boxes"])),
    }


def evaluated(truth: dict[str, list[dict[str, Any]]], images: list[int]) -> CocoEvaluator:
    evaluator = CocoEvaluator(truth, NAMES)
    for image_id in images:
        evaluator.update([image_id], [detections_of(truth, image_id)])
    return evaluator


@pytest.mark.parametrize("seed", [0, 1])
def test_equals_torchmetrics(seed: int) -> None:
    truth = random_truth(40, seed)
    result = evaluated(truth, list(range(40))).compute()
    reference = MeanAveragePrecision(
        backend="faster_coco_eval",
        class_metrics=True,
        iou_thresholds=np.linspace(0.5, 0.95, 10).tolist(),
        rec_thresholds=np.linspace(0, 1, 101).tolist(),
    )
    for image_id in range(40):
        reference.update([detections_of(truth, image_id)], [truth_of(truth, image_id)])
    expected = reference.compute()
    assert not math.isnan(result["APs"] + result["APm"] + result["APl"])
    names = {
        "AP": "map",
        "AP50": "map_50",
        "AP75": "map_75",
        "APs": "map_small",
        "APm": "map_medium",
    }
    for ours, theirs in {**names, "APl": "map_large"}.items():
        assert result[ours] == pytest.approx(float(expected[theirs]), abs=1e-6), ours
    assert 0.1 < result["AP"] < 0.95
    classes = [NAMES[k] for k in expected["classes"].tolist()]
    per_class = dict(zip(classes, expected["map_per_class"].tolist(), strict=True))
    assert result["AP_class"] == pytest.approx(per_class, abs=1e-6)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_identical_to_pycocotools(seed: int) -> None:
    """All areas and classes, with crowds, empty images and detections of an unused class."""
    coco, cocoeval = (
        pytest.importorskip("pycocotools.coco"),
        pytest.importorskip("pycocotools.cocoeval"),
    )
    truth = random_truth(60, seed)
    evaluator = evaluated(truth, list(range(60)))
    reference = coco.COCO()
    reference.dataset = truth
    reference.createIndex()
    rows = np.concatenate([evaluator._rows[image_id] for image_id in range(60)])
    evaluation = cocoeval.COCOeval(reference, reference.loadRes(rows), "bbox")
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    result = evaluator.compute()
    assert [result[name] for name in ("AP", "AP50", "AP75", "APs", "APm", "APl")] == pytest.approx(
        evaluation.stats[:6].tolist(), abs=1e-12
    )
    precision = evaluation.eval["precision"][..., 0, -1]
    per_class = {
        NAMES[k]: table[table > -1].mean()
        for k in range(3)
        if (table := precision[..., k]).max() > -1
    }
    assert result["AP_class"] == pytest.approx(per_class, abs=1e-12)
    assert any(a["iscrowd"] for a in truth["annotations"])
    assert min(evaluation.stats[:6]) > 0


def test_a_class_without_boxes_is_left_out() -> None:
    truth = random_truth(10)
    result = evaluated(truth, list(range(10))).compute()
    assert list(result["AP_class"]) == NAMES[:3]
    assert result["AP"] == pytest.approx(np.mean(list(result["AP_class"].values())))


def test_only_what_was_seen_counts(capfd: pytest.CaptureFixture[str]) -> None:
    truth = random_truth(20)
    half = {**truth, "images": truth["images"][:10]}
    half["annotations"] = [a for a in truth["annotations"] if a["image_id"] < 10]
    result = evaluated(truth, list(range(10))).compute()
    expected = evaluated(half, list(range(10))).compute()
    assert (result["images"], result["images_total"]) == (10, 20)
    np.testing.assert_equal(result, {**expected, "images_total": 20})
    assert capfd.readouterr() == ("", "")  # faster_coco_eval is talkative


def test_an_image_is_counted_once_and_order_does_not_matter() -> None:
    truth = random_truth(8)
    result = evaluated(truth, list(range(8))).compute()
    np.testing.assert_equal(evaluated(truth, [3, 0, 1, 2, 7, 6, 5, 4, 3, 0]).compute(), result)


def test_reset() -> None:
    truth = random_truth(8)
    evaluator = evaluated(truth, list(range(8)))
    first = evaluator.compute()
    evaluator.reset()
    evaluator.update([0], [detections_of(truth, 0)])
    assert evaluator.compute()["images"] == 1
    for image_id in range(1, 8):
        evaluator.update([image_id], [detections_of(truth, image_id)])
    np.testing.assert_equal(evaluator.compute(), first)


def test_nothing_found_and_nothing_to_find() -> None:
    truth = random_truth(8)
    nothing = {
        "boxes": torch.zeros(0, 4),
        "scores": torch.zeros(0),
        "labels": torch.zeros(0, dtype=torch.int64),
    }
    evaluator = CocoEvaluator(truth, NAMES)
    evaluator.update(list(range(8)), [nothing] * 8)
    assert evaluator.compute()["AP"] == 0
    evaluator = CocoEvaluator({**truth, "annotations": []}, NAMES)
    evaluator.update([0, 1], [detections_of(truth, 0), nothing])
    result = evaluator.compute()
    assert math.isnan(result["AP"])
    assert result["AP_class"] == {}


@pytest.mark.parametrize("task", ["Raccoon", "Packages", "pothole", "BCCD", "ChessPieces"])
def test_own_boxes_are_perfect(odinw_data: Path, task: str) -> None:
    folder = odinw_data / task / "test"
    check_own_boxes(CocoDetection(folder / ANNOTATIONS, folder))


@pytest.mark.parametrize("split", ["train", "valid", "test"])
def test_own_boxes_are_perfect_with_annotation_id_0(tmp_path: Path, split: str) -> None:
    malformed_coco.CASES["annotation_id_zero"](tmp_path)
    folder = tmp_path / split
    assert json.loads((folder / ANNOTATIONS).read_text())["annotations"][0]["id"] == 0
    check_own_boxes(CocoDetection(folder / ANNOTATIONS, folder))


def check_own_boxes(data: CocoDetection) -> None:
    truth = data.index.ground_truth()
    evaluator = CocoEvaluator(truth, data.class_names)
    for image_id in data.image_ids:
        evaluator.update([image_id], [perfect(truth_of(truth, image_id))])
    result = evaluator.compute()
    assert result["AP"] == pytest.approx(1.0, abs=1e-9)
    assert result["images"] == len(data)


def test_wrong_use_is_named() -> None:
    truth = random_truth(3)
    evaluator = CocoEvaluator(truth, NAMES)
    with pytest.raises(GLIPError) as caught:
        evaluator.update([77], [detections_of(truth, 0)])
    assert caught.value.code == "unknown-image"
    assert re.findall(r"\d+", str(caught.value)) == ["77", "3"]  # the image, and how many there are
    with pytest.raises(GLIPError) as caught:
        CocoEvaluator(truth, ["raccoon"])
    assert caught.value.code == "bad-ground-truth"
    assert "[1, 2, 3, 4]" in str(caught.value)
    assert str(caught.value).replace("[1, 2, 3, 4]", "").count("1") > 0  # name
    with pytest.raises(GLIPError) as caught:
        CocoEvaluator(truth, ["dog", "dog", "a", "b"])
    assert caught.value.code == "bad-ground-truth"
    assert "['dog']" in str(caught.value)


def _one_rank(rank: int, world: int, folder: Path) -> None:
    store = (folder / "store").as_uri()
    torch.distributed.init_process_group("gloo", init_method=store, rank=rank, world_size=world)
    shards = [[0, 1, 2, 3, 4, 5], [5, 6, 0]]  # uneven, with images that were shown to both
    result = evaluated(random_truth(7), shards[rank]).compute()
    torch.save(result, folder / f"{rank}.pt")
    torch.distributed.destroy_process_group()


def test_two_processes_equal_one(tmp_path: Path) -> None:
    # forked, because a spawned process would import torch and torchmetrics for ten seconds and more
    mp.start_processes(_one_rank, args=(2, tmp_path), nprocs=2, start_method="fork")
    expected = evaluated(random_truth(7), list(range(7))).compute()
    for rank in range(2):
        np.testing.assert_equal(torch.load(tmp_path / f"{rank}.pt"), expected)
