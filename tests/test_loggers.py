"""What the loggers of a run hold, and that none of them can end it."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from glip_lightning.loggers import LONGEST, ContinuedCSV, _earlier_id, _smaller
from glip_lightning.pictures import Shown
from small_runs import go, make_shapes, rows


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_shapes(tmp_path_factory.mktemp("data"))


def records(run: Path) -> list[dict[str, Any]]:
    """The offline W&B run as the program that comes with W&B reads it."""
    (folder,) = (run / "wandb").glob("offline-run-*")
    wandb = Path(sys.executable).with_name("wandb")
    done = subprocess.run([wandb, "leet", "inspect", "--json", folder], capture_output=True, text=True, check=True)
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


def test_wandb_is_offline_by_default_and_holds_the_run(
    shapes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("WANDB_MODE")
    result = go("fit", shapes, tmp_path / "first-run", "--trainer.max_epochs=1")
    found = records(tmp_path / "first-run")
    start = next(record["run"] for record in found if record["type"] == "run")
    assert start["display_name"] == "first-run"
    assert start["run_group"] == result["data"]["name"] == "shapes"
    config: dict[str, Any] = {}
    for record in found:
        config |= record.get("config", {}).get("update", {})
    assert config["image_ids"] == result["image_ids"]
    assert config["recipe"]["model"]["detector"] == "glip-nano"
    history = [record["history"]["item"] for record in found if record["type"] == "history"]
    logged = {name for item in history for name in item}
    rates = {f"lr-AdamW/{group['name']}" for group in result["groups"]}
    assert {"train/loss", "val/AP", "test/AP", "val/AP_class/red circle", *rates} <= logged
    losses = [item["train/loss"] for item in history if "train/loss" in item]
    assert losses == pytest.approx(
        [float(row["train/loss"]) for row in rows(tmp_path / "first-run") if row["train/loss"]]
    )
    images = [item for item in history if any(name.startswith("val/picture_0") for name in item)]
    assert images
    assert "ground_truth" in json.dumps(images[0])
    assert "predictions" in json.dumps(images[0])


@pytest.mark.parametrize("broken", ["init", "log"])
def test_a_failing_wandb_does_not_end_a_training(
    broken: str,
    shapes: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.delenv("WANDB_MODE")
    monkeypatch.setattr("wandb.init" if broken == "init" else "wandb.sdk.wandb_run.Run.log", fail)
    with caplog.at_level("WARNING", logger="glip_lightning"):
        assert go("fit", shapes, tmp_path / "run", "--trainer.max_epochs=1")["fitted"]
    warnings = [record.getMessage() for record in caplog.records if "W&B" in record.getMessage()]
    assert len(warnings) == 1
    assert "No space left on device" in warnings[0]
    assert any(row["val/AP"] for row in rows(tmp_path / "run"))


def test_a_named_logger_takes_the_place_of_wandb(shapes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WANDB_MODE")
    named = ["--trainer.logger=CSVLogger", f"--trainer.logger.save_dir={tmp_path / 'mine'}"]
    go("fit", shapes, tmp_path / "named", *named, "--trainer.max_epochs=1")
    assert list((tmp_path / "mine").rglob("metrics.csv"))
    assert rows(tmp_path / "named")
    assert not (tmp_path / "named" / "wandb").exists()


def test_no_logger_leaves_the_table(shapes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WANDB_MODE")
    go("validate", shapes, tmp_path / "none", "--trainer.logger=false")
    assert [row["val/AP"] for row in rows(tmp_path / "none")]
    assert not (tmp_path / "none" / "wandb").exists()


def test_a_table_is_continued_from_the_step_where_the_run_goes_on(tmp_path: Path) -> None:
    first = ContinuedCSV(tmp_path)
    for step in range(4):
        first.log_metrics({"train/loss": step / 10}, step)
    first.save()
    second = ContinuedCSV(tmp_path)
    second.restore()
    second.forget_from(2)
    second.log_metrics({"train/loss": 0.9, "val/AP": 0.5}, 2)
    second.save()
    found = [(row["step"], row["train/loss"], row["val/AP"]) for row in rows(tmp_path)]
    assert found == [("0", "0.0", ""), ("1", "0.1", ""), ("2", "0.9", "0.5")]


def test_large_pictures_are_shrunk_with_their_boxes() -> None:
    picture = Image.new("RGB", (2 * LONGEST, LONGEST))
    shown = Shown("a.jpg", picture, ["cat"], [[100, 200, 300, 400]], [0.5], [0], [[0, 0, 1600, 800]], [0])
    small = _smaller(shown)
    assert small.picture.size == (LONGEST, LONGEST // 2)
    assert small.boxes == [[50, 100, 150, 200]]
    assert small.truth == [[0, 0, 800, 400]]
    assert picture.size == (2 * LONGEST, LONGEST)
    assert _smaller(small) is small


def test_both_parts_of_an_interrupted_run_have_one_id(tmp_path: Path) -> None:
    assert _earlier_id(tmp_path) is None
    for day in (1, 2):
        (tmp_path / "wandb" / f"offline-run-2026010{day}_000000-abc12345").mkdir(parents=True)
    assert _earlier_id(tmp_path) == "abc12345"
