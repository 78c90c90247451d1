"""What the loggers of a run hold, and that none of them can end it."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from glip_lightning.data.types import Batch
from glip_lightning.training.callbacks import prediction_pictures
from glip_lightning.training.logging.metrics_table import MetricsTable
from glip_lightning.training.logging.pictures import LONGEST, EvaluatedImage, evaluated_image
from glip_lightning.training.logging.run_names import (
    CLASSES,
    CURVE_AP,
    CURVE_IMAGES,
    CURVE_SHOTS,
    TOTAL,
    TRAINABLE,
)
from glip_lightning.training.logging.wandb_run import _earlier_id, import_wandb, sync_command
from glip_lightning.training.trial import Trial
from small_runs import COUNTS, Offline, go, make_shapes, rows


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_shapes(tmp_path_factory.mktemp("data"))


def test_wandb_is_offline_by_default_and_holds_the_run(
    shapes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("WANDB_MODE")
    result = go("fit", shapes, tmp_path / "first-run", "--trainer.max_epochs=1")
    found = Offline(tmp_path / "first-run")
    assert found.start["display_name"] == "first-run"
    assert found.start["run_group"] == result["data"]["name"] == "shapes"
    assert found.start["job_type"] == "FullTuning"
    axes = {"task": "shapes", "shots": "all", "seed": 0, "tuning": "FullTuning"}
    assert found.config["axes"] == axes
    assert axes.items() <= found.config.items()
    assert found.config["image_ids"] == result["image_ids"]
    assert found.config["recipe"]["model"]["detector"] == "glip-nano"
    history = found.history
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


def test_a_picture_is_drawn_once_for_the_folder_and_the_loggers(
    shapes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    drawn = []

    def counted(batch: Batch, i: int, *others: Any) -> EvaluatedImage:
        drawn.append(batch["names"][i])
        return evaluated_image(batch, i, *others)

    monkeypatch.setattr(prediction_pictures, "evaluated_image", counted)
    go("test", shapes, tmp_path / "run")
    assert len(drawn) == len(set(drawn)) == COUNTS["test"]
    files = sorted(path.stem for path in (tmp_path / "run" / "predictions").iterdir())
    assert files == sorted(Path(name).stem for name in drawn)
    summary = Offline(tmp_path / "run").summary
    assert all(f"test/picture_{i}.path" in summary for i in range(COUNTS["test"]))


SWEEP = {
    "zero": (0, ["LinearProbe", "PromptTuning"], []),
    "linear": (1, ["LinearProbe"], ["--model.tuning=LinearProbe"]),
    "prompt": ("all", ["PromptTuning"], ["--model.tuning=PromptTuning"]),
}
"""Folder of the trial, its shots, the tunings that it stands for, its options."""


@pytest.fixture(scope="module")
def sweep(
    shapes: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, tuple[Offline, dict[str, Any]]]:
    """A sweep of three trials: its offline W&B runs and results."""
    folder = tmp_path_factory.mktemp("sweep") / "trials"
    found = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WANDB_MODE", "offline")
        for name, (shots, tunings, options) in SWEEP.items():
            points = tuple(
                {
                    "task": "Shapes",
                    "shots": shots,
                    "seed": seed,
                    "tuning": tuning,
                    "trainer.max_epochs": 1,
                }
                for tuning in tunings
                for seed in ((3, 30) if shots == 0 else (3,))
            )
            Trial("tiny sweep", name, points[0], points).write(folder / name)
            shot = f"--data.shots={shots}"
            result = go(
                "fit",
                shapes,
                folder / name,
                shot,
                "--data.seed=3",
                "--trainer.max_epochs=1",
                *options,
            )
            found[name] = (Offline(folder / name), result)
    return found


def test_runs_of_a_sweep_are_found_by_group_job_type_tags_and_axes(
    sweep: dict[str, tuple[Offline, dict[str, Any]]],
) -> None:
    names = {}
    for name, (offline, result) in sweep.items():
        start, config, (shots, tunings, _) = offline.start, offline.config, SWEEP[name]
        tuning = tunings[0] if len(tunings) == 1 else "zero-shot"
        assert start["run_group"] == "tiny sweep"
        assert start["job_type"] == config["tuning"] == tuning
        assert start["tags"] == ["Shapes", f"{shots}-shot", tuning, "glip-nano"]
        assert config["axes"] == result["trial"]["axes"]
        assert config["trial"] == result["trial"]["id"] == name
        assert config["points"] == result["trial"]["points"]
        assert (config["task"], config["shots"], config["seed"]) == ("Shapes", shots, 3)
        names[name] = start["display_name"]
    assert names == {
        "zero": "Shapes 0-shot max_epochs 1",
        "linear": "Shapes 1-shot seed 3 LinearProbe max_epochs 1",
        "prompt": "Shapes all-shot seed 3 PromptTuning max_epochs 1",
    }


def test_runs_of_a_sweep_hold_metrics_costs_and_parameters(
    sweep: dict[str, tuple[Offline, dict[str, Any]]],
) -> None:
    for name, (offline, result) in sweep.items():
        summary = offline.summary
        assert summary["test/AP"] == pytest.approx(result["metrics"]["test"]["AP"])
        assert summary["val/AP"] == pytest.approx(result["metrics"]["val"]["AP"])
        parts = result["parts"]
        assert summary[TOTAL] == result["parameters"]
        assert summary[TRAINABLE] == (parts["all"]["trainable"] if parts else 0)
        for part in parts.keys() - {"all"}:
            assert summary[f"parameters/{part}/trainable"] == parts[part]["trainable"]
        assert summary["cost/seconds"] == result["seconds"]
        assert summary["cost/process_gb"] == pytest.approx(result["memory"]["process_peak"] / 1e9)
        (point,) = (row for row in offline.history if CURVE_AP in row)
        assert point[CURVE_AP] == pytest.approx(result["metrics"]["test"]["AP"])
        assert point[CURVE_IMAGES] == len(result["image_ids"])
        assert point.get(CURVE_SHOTS, "all") == SWEEP[name][0]
    assert sweep["linear"][0].summary[TRAINABLE] > 0
    assert sweep["zero"][0].summary[TRAINABLE] == 0


def test_runs_of_a_sweep_hold_pictures_and_a_table_of_classes(
    sweep: dict[str, tuple[Offline, dict[str, Any]]],
) -> None:
    for offline, result in sweep.values():
        for i in range(2):
            assert offline.file(offline.summary[f"test/picture_{i}.path"]).is_file()
            boxes = offline.file(offline.summary[f"test/picture_{i}.boxes.ground_truth.path"])
            assert json.loads(boxes.read_text())["box_data"]
        table = json.loads(offline.file(offline.summary[f"{CLASSES}.path"]).read_text())
        assert table["columns"] == ["class", "AP", "images", "boxes"]
        assert [row[0] for row in table["data"]] == result["classes"]
        known = result["metrics"]["test"]["AP_class"]
        assert {row[0]: row[1] for row in table["data"] if row[3]} == pytest.approx(known)
        truth = json.loads((Path(result["data"]["splits"]["test"])).read_text())
        assert sum(row[3] for row in table["data"]) == len(truth["annotations"])
        assert all(row[2] <= row[3] for row in table["data"])


def test_one_command_uploads_a_run(
    sweep: dict[str, tuple[Offline, dict[str, Any]]],
    shapes: Path,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    folder = sweep["linear"][0].folder
    (part,) = (folder / "wandb").glob("offline-run-*")
    assert sync_command(folder) == f"wandb sync {part}"
    assert sync_command(tmp_path) is None
    go("validate", shapes, tmp_path / "disabled")
    assert "wandb sync" not in capsys.readouterr().out
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("WANDB_MODE")
        go("validate", shapes, tmp_path / "offline run")
    assert str(sync_command(tmp_path / "offline run")) in capsys.readouterr().out


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


def test_a_disabled_wandb_is_not_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("wandb", "wandb.sdk", "wandb.sdk.launch"):
        monkeypatch.setitem(sys.modules, module, None)  # an import of it would be an error
    monkeypatch.setenv("WANDB_MODE", "disabled")
    import_wandb()
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setattr("glip_lightning.training.logging.wandb_run.find_spec", lambda name: True)
    with pytest.raises(ImportError):
        import_wandb()


def test_a_named_logger_takes_the_place_of_wandb(
    shapes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("WANDB_MODE")
    named = ["--trainer.logger=CSVLogger", f"--trainer.logger.save_dir={tmp_path / 'mine'}"]
    go("fit", shapes, tmp_path / "named", *named, "--trainer.max_epochs=1")
    assert list((tmp_path / "mine").rglob("metrics.csv"))
    assert rows(tmp_path / "named")
    assert not (tmp_path / "named" / "wandb").exists()


def test_no_logger_leaves_the_table(
    shapes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("WANDB_MODE")
    go("validate", shapes, tmp_path / "none", "--trainer.logger=false")
    assert [row["val/AP"] for row in rows(tmp_path / "none")]
    assert not (tmp_path / "none" / "wandb").exists()


def test_a_table_is_continued_from_the_step_where_the_run_goes_on(tmp_path: Path) -> None:
    first = MetricsTable(tmp_path)
    for step in range(4):
        first.log_metrics({"train/loss": step / 10}, step)
    first.save()
    with (tmp_path / "logs" / "metrics.csv").open("a") as file:
        file.write("4")  # killed in the middle of a row
    second = MetricsTable(tmp_path)
    second.forget_from(2)
    second.log_metrics({"train/loss": 0.9, "val/AP": 0.5}, 2)
    second.save()
    found = [(row["step"], row["train/loss"], row["val/AP"]) for row in rows(tmp_path)]
    assert found == [("0", "0.0", ""), ("1", "0.1", ""), ("2", "0.9", "0.5")]


def test_large_pictures_are_shrunk_with_their_boxes() -> None:
    picture = Image.new("RGB", (2 * LONGEST, LONGEST))
    shown = EvaluatedImage(
        "a.jpg", picture, ["cat"], [[100, 200, 300, 400]], [0.5], [0], [[0, 0, 1600, 800]], [0]
    )
    small = shown.smaller()
    assert small.picture.size == (LONGEST, LONGEST // 2)
    assert small.boxes == [[50, 100, 150, 200]]
    assert small.truth == [[0, 0, 800, 400]]
    assert picture.size == (2 * LONGEST, LONGEST)
    assert small.smaller() is small


def test_both_parts_of_an_interrupted_run_have_one_id(tmp_path: Path) -> None:
    assert _earlier_id(tmp_path) is None
    for day in (1, 2):
        (tmp_path / "wandb" / f"offline-run-2026010{day}_000000-abc12345").mkdir(parents=True)
    assert _earlier_id(tmp_path) == "abc12345"
