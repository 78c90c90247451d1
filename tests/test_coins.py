"""The photo of coins in two halves, and what two runs have found in one of them."""

import hashlib
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "notebooks"))

import numpy as np
import pytest

from coins import (
    BOXES,
    CUT,
    GAP,
    HALVES,
    HEAD,
    SCALE,
    SIZE,
    boxes_between,
    compare,
    photo,
    write_halves,
)
from glip_lightning import GLIPError, read_dataset
from printed import numbers


@pytest.fixture(scope="module")
def halves(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("coins")
    said = write_halves(folder)
    # to learn from, to test on, on the cut, all coins
    assert numbers(said) == ["12", "13", "1", "24"]
    return folder


def test_the_photo_is_the_one_that_the_boxes_are_of() -> None:
    image = photo()
    assert (image.size, image.mode) == (SIZE, "RGB")
    grey = np.asarray(image)[..., 0]
    assert (
        hashlib.sha256(grey.tobytes()).hexdigest()
        == "e080cc03805f1fa70516c3cb84883d4633bda2a1b51841da7c22f3d14c072451"
    )


def test_every_box_holds_a_bright_coin_in_a_dark_frame() -> None:
    grey = np.asarray(photo(), dtype=float)[..., 0]
    assert len(set(BOXES)) == 24
    for x, y, width, height in BOXES:
        middle = grey[
            y + height // 4 : y + 3 * height // 4, x + width // 4 : x + 3 * width // 4
        ].mean()
        corners = [grey[v, u] for u in (x, x + width - 1) for v in (y, y + height - 1)]
        assert middle > np.mean(corners) + 20, (x, y)


def test_no_coin_is_lost_at_the_cut(halves: Path) -> None:
    assert min(sum(x < c < x + w for x, _, w, _ in BOXES) for c in range(150, 235)) == 1
    on_the_cut = [(x, y, w, h) for x, y, w, h in BOXES if x < CUT < x + w]
    assert on_the_cut == [(144, 236, 57, 52)]
    assert (144, 236, CUT - 144, 52) in boxes_between(*HALVES["train"])
    assert (0, 236, 201 - CUT, 52) in boxes_between(*HALVES["test"])
    whole = [boxes_between(*columns) for columns in HALVES.values()]
    assert [len(boxes) for boxes in whole] == [12, 13]
    area = sum(w * h for _, _, w, h in BOXES)
    assert sum(w * h for boxes in whole for _, _, w, h in boxes) == area


def test_the_halves_are_a_data_set_without_findings(halves: Path) -> None:
    found = read_dataset(halves)
    assert {split: len(index) for split, index in found.splits.items()} == {"train": 1, "test": 1}
    assert [finding.code for finding in found.findings if finding.level == "error"] == []
    pixels = np.concatenate(
        [np.asarray(found.splits[split].picture(0)) for split in ("train", "test")], axis=1
    )
    assert (pixels == np.asarray(photo())).all()
    for split, columns in HALVES.items():
        assert found.splits[split].class_names == ("coin",)
        assert found.splits[split].boxes_of(0).xywh.tolist() == [
            list(map(float, box)) for box in boxes_between(*columns)
        ]


def test_a_foreign_photo_and_a_missing_package_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("coins.SIZE", (384, 304))
    with pytest.raises(GLIPError) as other:
        photo()
    assert other.value.code == "bad-value"
    monkeypatch.setattr("coins.find_spec", lambda name: None)
    with pytest.raises(GLIPError) as missing:
        photo()
    assert missing.value.code == "not-installed"
    assert "scikit-image" in str(missing.value)


def write_run(folder: Path, halves: Path, ap: float, boxes: list[list[int]], steps: int) -> Path:
    """Write what a run leaves, as far as it is read."""
    folder.mkdir()
    recipe = {"data": {"init_args": {"root": str(halves)}}}
    result = {
        "recipe": recipe,
        "metrics": {"test": {"AP": ap}},
        "steps": steps,
        "fitted": steps > 0,
    }
    (folder / "result.json").write_text(json.dumps(result))
    rows = [{"image_id": 1, "category_id": 1, "bbox": box, "score": 0.9} for box in boxes]
    weak = {"image_id": 1, "category_id": 1, "bbox": [90, 150, 20, 20], "score": 0.4}
    (folder / "detections.json").write_text(json.dumps([*rows, weak]))
    return folder


def test_two_runs_are_drawn_side_by_side(halves: Path, tmp_path: Path) -> None:
    before = write_run(tmp_path / "before", halves, 0.5, [], 0)
    after = write_run(tmp_path / "after", halves, 0.75, [[100, 100, 40, 30]], 100)
    both, said = compare(before, after)
    assert numbers(said) == ["50.0", "75.0", "100"]  # AP before, AP after, steps
    width, height = SCALE * (SIZE[0] - CUT), SCALE * SIZE[1] + HEAD
    assert both.size == (2 * width + GAP, height)
    left, right = (
        np.asarray(both)[HEAD:, start : start + width].astype(int) for start in (0, width + GAP)
    )
    # the box and its label, nothing of what is below 0.5
    changed = np.abs(left - right).max(axis=2) > 60
    rows, columns = changed.nonzero()
    assert SCALE * 100 - 40 <= rows.min() < SCALE * 100
    assert abs(rows.max() - SCALE * 130) < 5
    assert abs(columns.min() - SCALE * 100) < 5
    assert abs(columns.max() - SCALE * 140) < 5
