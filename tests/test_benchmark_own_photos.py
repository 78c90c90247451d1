"""The script for photos of one's own: which photos a row trains on, what it says of thresholds, and
its table.
"""

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "benchmarks"))

import numpy as np
import pytest

from glip_lightning.data.formats.layouts import read_dataset
from own_photos import BESIDE, SEEDS, SETS, Row, _f1, _mean, photos_folder, plan, table
from small_runs import make_shapes
from torchvision_photos import learn


def test_a_row_trains_on_so_many_photos_drawn_by_its_seed(tmp_path: Path) -> None:
    shapes = make_shapes(tmp_path)
    row = Row("custom_nano", shapes.name, "2", 0)
    whole = read_dataset(shapes).splits
    found = read_dataset(photos_folder(shapes.parent, row, tmp_path / "out")).splits
    assert {split: len(index) for split, index in found.items()} == {
        "train": 2,
        "valid": 2,
        "test": 2,
    }
    assert set(found["train"].ids.tolist()) < set(whole["train"].ids.tolist())
    assert found["valid"].ids.tolist() == whole["valid"].ids.tolist()
    for place, image in enumerate(found["train"].ids.tolist()):
        boxes = whole["train"].boxes_of(whole["train"].find(image)).xywh
        assert found["train"].boxes_of(place).xywh.tolist() == boxes.tolist()
    everything = Row("custom_nano", shapes.name, "all", 0)
    assert photos_folder(shapes.parent, everything, tmp_path / "out") == shapes.resolve()


def test_every_row_is_planned_once_and_a_time_before_it_is_needed() -> None:
    rows = list(plan())
    assert (
        len(rows)
        == len(set(rows))
        == len(SEEDS) * 2 * 3 * len(SETS) + len(BESIDE[0]) * len(BESIDE[1]) * 3
    )
    for place, row in enumerate(rows):
        assert row.seed == 0 or row.way in ("custom_nano", "nano_all_shot")
        assert Row("custom_nano", row.set, row.photos, row.seed) in rows[: place + 1]


def test_f1_at_thresholds(tmp_path: Path) -> None:
    """All boxes are found at 0.4, one wrong one at 0.45: nothing at 0.5, all and one more at the
    thresholds of 0.3.
    """
    index = read_dataset(make_shapes(tmp_path)).splits["test"]
    found = {}
    for image in range(len(index)):
        boxes = index.boxes_of(image)
        rows = [
            [int(index.ids[image]), *xywh, 0.4, int(k) + 1]
            for xywh, k in zip(boxes.xywh, boxes.labels, strict=True)
        ]
        found[int(index.ids[image])] = np.array(rows, dtype=np.float64)
    label = int(index.boxes.labels[0])
    wrong = np.array([[int(index.ids[0]), 0, 0, 1, 1, 0.45, label + 1]])
    found[int(index.ids[0])] = np.concatenate([found[int(index.ids[0])], wrong])
    boxes = len(index.boxes.labels)
    assert _f1(index, found, {}) == 0
    assert _f1(index, found, dict.fromkeys(index.class_names, 0.3)) == pytest.approx(
        2 * boxes / (2 * boxes + 1)
    )


def test_the_table_shows_means_with_intervals(tmp_path: Path) -> None:
    (tmp_path / "rows").mkdir()
    rows = [Row("custom_nano", "Raccoon", "10", seed) for seed in range(3)] + [
        Row("random", "BCCD", "all", 0)
    ]
    for row, ap in zip(rows, (0.2, 0.3, 0.4, 0.1), strict=True):
        scores = {"AP": ap, "AP50": 2 * ap}
        content = {
            "row": vars(row),
            "test": scores,
            "core_seconds": 90,
            "f1": {"0.5": ap, "best of all valid": 0.5},
        }
        content["interval95"] = {"AP": [0.05, 0.2], "AP50": [0.1, 0.3]}
        row.file(tmp_path).write_text(json.dumps(content))
    lines = list(table(tmp_path))
    # 4.30 standard errors of 0.1 / sqrt(3) on each side
    assert "| custom_nano | Raccoon | 10 | 3 | 0.300 ± 0.248 | 0.600 ± 0.497 | 1.5 |" in lines
    assert any(
        line.endswith("| BCCD | all | 1 | 0.100 (0.05 to 0.20) | 0.200 (0.10 to 0.30) | 1.5 |")
        for line in lines
    )
    assert "| Raccoon, 10 | 0.300 | 0.500 |" in lines
    assert (
        _mean([{"test": {"AP": 0.5}, "interval95": {"AP": [0, 1]}}], "AP") == "0.500 (0.00 to 1.00)"
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["ssdlite320_mobilenet_v3_large", "fasterrcnn_mobilenet_v3_large_320_fpn"]
)
def test_a_detector_of_torchvision_learns_for_a_time(tmp_path: Path, name: str) -> None:
    found = learn(name, make_shapes(tmp_path), seconds=8, seed=0)
    assert found["steps"] > 0
    assert found["core_seconds"] > 8
    assert 0 <= found["test"]["AP50"] <= 1
