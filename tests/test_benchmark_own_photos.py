"""The script for photos of one's own: which photos a row trains on, what is kept, its tables."""

import json
import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "benchmarks"))

import numpy as np
import pytest

import own_photos
from glip_lightning.data.formats.layouts import read_dataset
from own_photos import (
    BESIDE,
    HUNDRED,
    PAIRED,
    PHOTOS,
    RECIPE,
    SEEDS,
    SETS,
    WAYS,
    Row,
    _f1,
    keep_rows,
    photos_folder,
    plan,
    read_rows,
)
from own_photos_tables import PAGE, differences, tables, with_tables
from small_runs import make_shapes
from torchvision_photos import learn


def test_a_row_trains_on_so_many_photos_drawn_by_its_seed(tmp_path: Path) -> None:
    shapes = make_shapes(tmp_path)
    row = Row("nano_c", shapes.name, "2", 0)
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
    everything = Row("nano_c", shapes.name, "all", 0)
    assert photos_folder(shapes.parent, everything, tmp_path / "out") == shapes.resolve()


def test_every_row_is_planned_once_and_a_time_before_it_is_needed() -> None:
    rows = list(plan())
    photos, ways, sets = BESIDE
    paired = len(SEEDS) * len(PAIRED) * len(PHOTOS) * len(SETS)
    beside = len(photos) * len(ways) * len(sets)
    assert len(rows) == len(set(rows)) == paired + beside + len(HUNDRED) + len(PHOTOS)
    for place, row in enumerate(rows):
        assert row.seed == 0 or row.way in PAIRED
        if WAYS[row.way].torchvision:
            assert Row(RECIPE, row.set, row.photos, row.seed) in rows[:place]


def write_row(row: Row, ap: float, out: Path) -> None:
    scores = {"AP": ap, "AP50": 2 * ap}
    content = {
        "row": vars(row),
        "val": scores,
        "test": scores,
        "interval95": {"AP": [0.05, 0.2], "AP50": [0.1, 0.3]},
        "core_seconds": 90,
        "seconds": 90 / row.threads,
        "f1": {"0.5": ap, "best of all valid": 0.5},
    }
    row.file(out).parent.mkdir(parents=True, exist_ok=True)
    row.file(out).write_text(json.dumps(content))


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file for kept rows that is not there yet."""
    monkeypatch.setattr(own_photos, "KEPT", tmp_path / "kept.jsonl")
    return own_photos.KEPT


def test_kept_rows_are_lines_in_the_order_of_the_plan(tmp_path: Path, kept: Path) -> None:
    rows = list(plan())[3:6]
    for number, row in enumerate(reversed(rows)):
        write_row(row, number / 10, tmp_path)
    keep_rows(tmp_path)
    lines = [json.loads(line) for line in kept.read_text().splitlines()]
    assert [Row(**line["row"]) for line in lines] == rows
    assert [line["test"]["AP"] for line in lines] == [0.2, 0.1, 0.0]
    write_row(rows[0], 0.7, tmp_path / "another")  # measured anew
    assert read_rows(tmp_path / "another")[rows[0]]["test"]["AP"] == 0.7
    assert len(read_rows(tmp_path / "another")) == 3
    keep_rows(tmp_path / "another")
    assert len(kept.read_text().splitlines()) == 3
    assert read_rows(tmp_path / "none")[rows[0]]["test"]["AP"] == 0.7


def test_all_rows_of_the_documents_are_kept() -> None:
    """Each row has what a reader needs to repeat it, and the page has all tables of them."""
    rows = read_rows(Path("no such folder"))
    assert rows
    assert "/" not in own_photos.KEPT.read_text(encoding="utf-8")  # no path of a machine
    assert set(rows) <= set(plan())
    for row, found in rows.items():
        assert found["core_seconds"] > 20, row
        assert found["versions"]["torch"], row
        assert 0 <= found["test"]["AP"] <= found["test"]["AP50"] <= 1, row
    page = PAGE.read_text(encoding="utf-8")
    assert with_tables(page, rows) == page
    shown = re.findall(r"^<!-- table: (\w+) -->$", page, re.MULTILINE)
    assert sorted(shown) == sorted(tables(rows))


def test_differences_are_those_of_equal_photos_and_seeds(tmp_path: Path, kept: Path) -> None:
    for name, gains in (("Raccoon", (0.1, 0.2)), ("BCCD", (0.0, 0.06))):
        for seed, gain in enumerate(gains):
            write_row(Row("nano_c", name, "10", seed), 0.1 * seed, tmp_path)
            write_row(Row("photo", name, "10", seed), 0.1 * seed + gain, tmp_path)
    write_row(Row("photo", "BCCD", "10", 2), 0.9, tmp_path)  # without a partner
    # means of 15 and 3 points: 12.71 standard errors of 8.49 / sqrt(2) on each side
    line = "| 10 | 2 | 4 | +9.0 ± 76.3 | +18.0 ± 152.5 | +9.0 ± 76.3 | +18.0 ± 152.5 |"
    assert line in list(differences(read_rows(tmp_path)))


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


def test_the_tables_show_means_with_intervals(tmp_path: Path, kept: Path) -> None:
    for seed, ap in enumerate((0.2, 0.3, 0.4)):
        write_row(Row("nano_c", "Raccoon", "30", seed), ap, tmp_path)
    write_row(Row("photo", "Raccoon", "30", 0), 0.25, tmp_path)
    write_row(Row("random", "BCCD", "30", 0), 0.1, tmp_path)
    write_row(Row("nano_c", "Raccoon", "30", 0, threads=2), 0.1, tmp_path)
    found = tables(read_rows(tmp_path))
    lines = [line for table in found.values() for line in table]
    # 4.30 standard errors of 10 / sqrt(3) on each side
    assert "| Raccoon | 30 | 30.0 ± 24.8 / 60.0 ± 49.7 | 25.0 / 50.0 (1 seed) |" in lines
    assert "| 30 | 1 | 1.5 | 1.5 |" in lines  # minutes
    assert "| Raccoon | 30 | 1.5 | 0.8 |" in lines  # with one and two threads
    assert "| the same network from random weights |  |  | 10.0 / 20.0 |" in lines
    assert "| Raccoon | 30 | 30.0 | 50.0 |" in lines  # F1
    assert list(found) == [
        *("reached", "differences", "minutes", "threads", "beside", "thresholds")
    ]
    comment = "<!-- table: minutes -->"
    page = with_tables(f"A\n\n{comment}\n\n| old |\n\nB\n", read_rows(tmp_path))
    assert page.split("\n") == ["A", "", comment, "", *found["minutes"], "", "B", ""]
    assert tables({}) == {}


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["ssdlite320_mobilenet_v3_large", "fasterrcnn_mobilenet_v3_large_320_fpn"]
)
def test_a_detector_of_torchvision_learns_for_a_time(tmp_path: Path, name: str) -> None:
    found = learn(name, make_shapes(tmp_path), seconds=8, seed=0)
    assert found["steps"] > 0
    assert found["core_seconds"] > 8
    assert 0 <= found["test"]["AP50"] <= 1
