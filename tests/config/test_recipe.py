"""Runs through the command line: their folders, their ends, and how they go on."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml

from glip_lightning.app.cli import main
from glip_lightning.common.errors import GLIPError, MissingFile
from glip_lightning.config.arguments import finished as finished_arguments
from glip_lightning.config.arguments import fresh
from glip_lightning.config.continuing import resumed
from glip_lightning.config.wrong_usage import WrongUsage
from printed import ap_lines, line_with, numbers, words
from refusals import refusal
from small_runs import (
    BLOCKS,
    SHORT,
    SMALL,
    go,
    make_shapes,
    options,
    out_of_trouble,
    result,
    rows,
    trained_losses,
    trouble,
    without,
)


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_shapes(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def finished(shapes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("runs") / "first"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WANDB_MODE", "disabled")
        go("fit", shapes, run)
    return run


def test_the_recipe_of_a_run_repeats_it(finished: Path, tmp_path: Path) -> None:
    again = tmp_path / "again"
    recipe = yaml.safe_load((finished / "recipe.yaml").read_text())
    assert not {"run", "resume", "config", "ckpt_path"} & recipe.keys()
    assert main(["fit", "--config", str(finished / "recipe.yaml"), "--run", str(again)]) == 0
    first, second = result(finished), result(again)
    assert second["recipe"] == first["recipe"] == recipe
    assert second["metrics"] == first["metrics"]


def test_the_detector_of_a_run_is_validated_and_tested_alone(
    finished: Path, shapes: Path, tmp_path: Path
) -> None:
    fitted = result(finished)["metrics"]
    detector = [f"--model.detector={finished}", "--model.weights=pretrained"]
    tested = go("test", shapes, tmp_path / "test", *detector)
    assert tested["metrics"] == {"val": None, "test": fitted["test"]}
    validated = go("validate", shapes, tmp_path / "validate", *detector)
    assert validated["metrics"] == {"val": fitted["val"], "test": None}
    assert validated["verb"] == "validate"
    assert not validated["fitted"]
    for run in ("test", "validate"):
        assert len(list((tmp_path / run / "predictions").glob("*.jpg"))) == 2
        assert not (tmp_path / run / "detector").exists()


def test_a_folder_with_a_run_is_left_alone(finished: Path, shapes: Path) -> None:
    assert main(["fit", *options(shapes, finished)]) == 1
    for again in (refusal("fit", *options(shapes, finished)), refusal("fit", "--resume", finished)):
        assert again.code == "finished-run"
        assert str(finished) in str(again)


def test_bad_data_leave_no_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert (
        main(["fit", "--config", str(BLOCKS), "--data", "CustomData", "--data.root=nowhere"]) == 1
    )
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("at", [2, 3], ids=["within an epoch", "at its end"])
def test_ctrl_c_keeps_what_there_is_and_says_how_to_go_on(
    at: int, finished: Path, shapes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    assert main(["fit", *options(shapes, run), *trouble(at, "ctrl-c")]) == 130
    said = capsys.readouterr().err
    assert f"glip fit --resume {run}" in said
    assert "Traceback" not in said
    assert (run / "checkpoints" / "last.ckpt").is_file()
    assert not (run / "result.json").exists()
    assert main(["fit", *options(shapes, run)]) == 1  # not over it
    assert f"glip fit --resume {run}" in capsys.readouterr().err
    grown_old(run / "checkpoints" / "last.ckpt", by=1000)
    out_of_trouble(run)
    assert main(["fit", "--resume", str(run)]) == 0
    assert result(run)["metrics"] == result(finished)["metrics"]
    assert 1000 < result(run)["seconds"] < 2000  # of both lives
    assert trained_losses(run) == trained_losses(finished)
    assert rows(run) == rows(finished)


def grown_old(checkpoint: Path, by: float) -> None:
    """As if training up to there had taken ``by`` seconds more."""
    content = torch.load(checkpoint, weights_only=True)
    content["callbacks"]["RunFolder"]["seconds"] += by
    torch.save(content, checkpoint)


def test_trouble_names_the_run_and_the_fix(
    shapes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["fit", *options(shapes, tmp_path / "memory"), *trouble(0, "memory")]) == 1
    said = capsys.readouterr().err
    assert "--data.images_per_device" in said
    assert str(tmp_path / "memory") in said
    assert main(["fit", *options(shapes, tmp_path / "disk"), *trouble(0, "disk")]) == 1
    said = capsys.readouterr().err
    line_with(said, "--run FOLDER")
    assert str(tmp_path / "disk") in said.splitlines()[-1]  # what there is so far
    with pytest.raises(KeyError, match="bug") as unexpected:
        main(["fit", *options(shapes, tmp_path / "bug"), *trouble(0, "bug")])
    assert any(str(tmp_path / "bug") in note for note in unexpected.value.__notes__)


def test_without_valid_split_the_last_weights_are_tested(shapes: Path, tmp_path: Path) -> None:
    found = go("fit", shapes, tmp_path / "run", *without(shapes, tmp_path / "data", "valid"))
    assert found["metrics"]["val"] is None
    assert found["metrics"]["test"]["images"] == 2
    assert found["best_epoch"] is None
    assert found["data"]["images"] == {"train": 4, "test": 2}
    assert found["data"]["findings"]["missing-split"] == 1
    last = torch.load(tmp_path / "run" / "checkpoints" / "last.ckpt", weights_only=True)
    assert last["global_step"] == found["steps"] == 4
    assert not (tmp_path / "run" / "checkpoints" / "best.ckpt").exists()


def test_without_test_split_the_valid_one_is_the_result(
    shapes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = go("fit", shapes, tmp_path / "run", *without(shapes, tmp_path / "data", "test"))
    assert found["metrics"]["test"] is None
    assert found["metrics"]["val"]["images"] == 2
    (line,) = ap_lines(capsys.readouterr().out, "validation")
    assert numbers(line)[-1] == "2"  # images
    assert list((tmp_path / "run" / "predictions").glob("*.jpg"))


def test_no_shots_train_nothing(shapes: Path, tmp_path: Path, finished: Path) -> None:
    found = go("fit", shapes, tmp_path / "run", "--data.shots=0")
    assert not found["fitted"]
    assert found["image_ids"] == found["groups"] == []
    assert found["steps"] == 0
    assert found["metrics"]["val"]["images"] == found["metrics"]["test"]["images"] == 2
    assert not (tmp_path / "run" / "detector").exists()
    assert not (tmp_path / "run" / "checkpoints").exists()


def test_torchrun_finds_the_folder_that_its_first_process_made(
    shapes: Path, tmp_path: Path
) -> None:
    config = [
        "--config",
        str(BLOCKS),
        "--data=CustomData",
        f"--data.root={shapes}",
        *SMALL,
        *SHORT,
        "--trainer.max_epochs=1",
    ]
    ddp = ["--trainer.accelerator=cpu", "--trainer.devices=2", "--trainer.strategy=ddp"]
    torchrun = [
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc_per_node=2",
        "-m",
        "glip_lightning.app.cli",
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, *torchrun, "fit", *config, *ddp],
        cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert [run.name for run in (tmp_path / "runs").iterdir()] == ["shapes-001"]
    found = result(tmp_path / "runs" / "shapes-001")
    assert found["processes"] == 2
    assert found["metrics"]["test"]["images"] == 2
    assert len(ap_lines(done.stdout, "test")) == 1


def test_resume_stands_for_recipe_folder_and_checkpoint(tmp_path: Path) -> None:
    run = tmp_path / "run"
    (run / "checkpoints").mkdir(parents=True)
    with pytest.raises(MissingFile) as missing:
        resumed(["fit", "--resume", str(run)])
    assert missing.value.code == "no-run"
    (run / "recipe.yaml").write_text("{}")
    with pytest.raises(MissingFile) as missing:
        resumed(["fit", "--resume", str(run)])
    assert missing.value.code == "no-checkpoint"
    (run / "checkpoints" / "last.ckpt").touch()
    wanted = [
        "fit",
        "--config",
        f"{run}/recipe.yaml",
        "--run",
        str(run),
        "--ckpt_path",
        f"{run}/checkpoints/last.ckpt",
    ]
    assert resumed(["fit", f"--resume={run}"]) == wanted
    assert resumed(["fit", "--resume", str(run), "--trainer.max_epochs", "9"]) == [
        *wanted,
        "--trainer.max_epochs",
        "9",
    ]
    assert resumed(["fit", "--config", "a"]) == ["fit", "--config", "a"]
    for wrong, option, code in (
        (["fit", "--resume"], "--resume", "missing-value"),
        (["test", "--resume", str(run)], "--resume", "option-without-use"),
        (["fit", "--resume", str(run), "--run=x"], "--run=x", "exclusive-options"),
    ):
        with pytest.raises(WrongUsage) as refused:
            resumed(wrong)
        assert refused.value.code == code
        assert str(refused.value).startswith(f"{option}: ")
    (run / "result.json").write_text(json.dumps({}))
    with pytest.raises(GLIPError) as refused:
        resumed(["fit", "--resume", str(run)])
    assert refused.value.code == "finished-run"
    shutil.rmtree(run)


def test_the_recipe_of_a_finished_run_means_its_detector(tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.yaml"
    (tmp_path / "detector").mkdir()
    tested = [
        "test",
        "--config",
        str(recipe),
        f"--model.detector={tmp_path}",
        "--model.weights=pretrained",
    ]
    for config in (["--config", str(recipe)], [f"--config={recipe}"]):
        assert sorted(finished_arguments(["test", *config])) == sorted(
            [*["test", *config], *tested[3:]]
        )
    named = ["test", "--config", str(recipe), "--model.detector", "glip-nano"]
    assert finished_arguments(named) == named
    assert finished_arguments(["fit", "--config", str(recipe)]) == ["fit", "--config", str(recipe)]


def test_another_tuning_begins_with_its_own_defaults_and_comes_before_its_options() -> None:
    assert fresh(["fit", "--model.tuning", "PromptTuning", "--model.tuning.lr=1"]) == [
        *("fit", "--model.tuning=null", "--model.tuning", "PromptTuning", "--model.tuning.lr=1")
    ]
    with pytest.raises(WrongUsage) as refused:
        fresh(["fit", "--model.tuning.lr=1", "--model.tuning=PromptTuning"])
    assert refused.value.code == "order-of-options"
    assert {"--model.tuning", "--model.tuning.lr"} <= words(str(refused.value))
