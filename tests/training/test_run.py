"""Runs from Python: the files and numbers of the command line, and a trainer that is as before."""

import json
import logging
import re
import shutil
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from lightning import Callback, Trainer, seed_everything
from lightning.pytorch.callbacks import ModelCheckpoint
from safetensors.torch import load_file

import glip_lightning
from glip_lightning import (
    Cosine,
    CustomData,
    EarlyStop,
    FullTuning,
    GLIPError,
    GLIPModule,
    Retention,
)
from glip_lightning.app.cli import main
from glip_lightning.evaluation.points import in_points
from glip_lightning.experiments.report.collect import collect
from glip_lightning.training.callbacks import progress
from printed import line_with, numbers
from small_runs import Trouble, go, make_shapes, result, trained_losses

OWN = {"command", "recipe", "seconds", "memory"}
"""Keys of result.json that differ from run to run."""


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_shapes(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def fitted(shapes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of the command line."""
    run = tmp_path_factory.mktemp("runs") / "cli"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WANDB_MODE", "disabled")
        go("fit", shapes, run, "--trainer.accelerator=cpu")
    return run


def data(shapes: Path, **options: Any) -> CustomData:
    sizes: dict[str, Any] = {"min_sizes": [96], "max_size": 128, "test_size": 96}
    return CustomData(str(shapes), batch_size=2, **sizes, **options)


def module() -> GLIPModule:
    """As recipes/shapes/blocks.yaml says."""
    seed_everything(0, verbose=False)
    tuning = FullTuning(lr=1e-3, text_lr=1e-3, weight_decay=0.05, freeze_at=-1)
    return GLIPModule("glip-nano", "random", tuning, Cosine(warmup_steps=20))


def trainer(folder: Path, *callbacks: Callback, **options: Any) -> Trainer:
    given: dict[str, Any] = {"max_epochs": 2, "gradient_clip_val": 1.0, "log_every_n_steps": 1}
    quiet: dict[str, Any] = {
        "logger": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }
    return Trainer(
        accelerator="cpu",
        callbacks=list(callbacks),
        default_root_dir=folder,
        **given | quiet | options,
    )


def test_a_trainer_of_another_package_is_refused(shapes: Path) -> None:
    class Foreign:
        """Stands for the trainer of pytorch_lightning."""

    with pytest.raises(GLIPError, match=r"lightning\.pytorch") as refused:
        glip_lightning.fit(module(), data(shapes), Foreign())  # type: ignore[arg-type]
    assert refused.value.code == "other-trainer"


def learned(run: Path) -> dict[str, torch.Tensor]:
    return load_file(run / "detector" / "model.safetensors")


def equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(
        torch.equal(tensor, other[key]) for key, tensor in one.items()
    )


def check_same(run: Path, other: Path) -> None:
    """The results agree in all that does not belong to one start."""
    one, two = result(run), result(other)
    assert one.keys() == two.keys()
    for key in one.keys() - OWN:
        assert one[key] == two[key], key


def files(run: Path) -> set[str]:
    return {path.relative_to(run).as_posix() for path in run.rglob("*") if path.is_file()}


def test_a_fit_leaves_what_the_command_line_leaves(
    fitted: Path, shapes: Path, tmp_path: Path
) -> None:
    run, used = tmp_path / "run", trainer(tmp_path)
    callbacks = list(used.callbacks)  # type: ignore[attr-defined]
    metrics = glip_lightning.fit(module(), data(shapes), used, run)
    assert used.callbacks == callbacks  # type: ignore[attr-defined]
    assert used.loggers == []
    check_same(run, fitted)
    assert metrics["val"] is not None
    assert metrics["val"]["AP"] == result(run)["metrics"]["val"]["AP"]
    assert files(run) == files(fitted)
    assert equal(learned(run), learned(fitted))
    recipe = yaml.safe_load((run / "recipe.yaml").read_text())
    assert recipe == result(run)["recipe"]
    written = result(fitted)["recipe"]
    assert recipe["seed_everything"] == written["seed_everything"] == 0
    for key, value in recipe["data"]["init_args"].items():
        assert written["data"]["init_args"][key] == value
    for part in ("tuning", "schedule"):
        assert recipe["model"][part] == written["model"][part]
    with pytest.raises(GLIPError, match=re.escape(str(run))) as taken:
        glip_lightning.fit(module(), data(shapes), used, run)
    assert taken.value.code == "finished-run"
    assert (
        main(["fit", "--config", str(run / "recipe.yaml"), "--run", str(tmp_path / "again")]) == 2
    )


def test_its_weights_are_validated_and_tested_alone(
    fitted: Path, shapes: Path, tmp_path: Path
) -> None:
    for verb, stage in (("validate", "val"), ("test", "test")):
        detector = [
            f"--model.detector={fitted}",
            "--model.weights=pretrained",
            "--trainer.accelerator=cpu",
        ]
        go(verb, shapes, tmp_path / f"{verb}-cli", *detector)
        made = GLIPModule(str(fitted), tuning=FullTuning(lr=1e-3))
        metrics = getattr(glip_lightning, verb)(
            made, data(shapes), trainer(tmp_path), str(tmp_path / verb)
        )
        assert [split for split, found in metrics.items() if found] == [stage]
        assert metrics[stage]["AP"] == result(fitted)["metrics"][stage]["AP"]
        check_same(tmp_path / verb, tmp_path / f"{verb}-cli")
        assert files(tmp_path / verb) == files(tmp_path / f"{verb}-cli")


def test_without_a_folder_nothing_is_left(fitted: Path, shapes: Path, tmp_path: Path) -> None:
    """The batch is the global one here, too, and accumulation is the trainer's own afterwards."""
    used = trainer(tmp_path, enable_checkpointing=False)
    metrics = glip_lightning.fit(module(), data(shapes, images_per_device=1), used)
    assert metrics.keys() == {"val", "test"}
    assert (used.global_step, used.accumulate_grad_batches) == (4, 1)
    assert list(tmp_path.iterdir()) == []


def test_without_a_folder_the_first_checkpoint_of_the_trainer_says_what_is_evaluated(
    shapes: Path, tmp_path: Path
) -> None:
    # of the first epoch
    first = ModelCheckpoint(tmp_path, "{epoch}", "step", mode="min", save_top_k=1)
    made, used = module(), trainer(tmp_path, first)
    glip_lightning.fit(made, data(shapes), used)
    assert made.record.best_epoch == 0
    saved = torch.load(tmp_path / "epoch=0.ckpt", weights_only=True)["state_dict"]
    assert equal(dict(made.state_dict()), saved)


def test_a_run_that_broke_goes_on(fitted: Path, shapes: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    with pytest.raises(KeyError) as broken:
        glip_lightning.fit(module(), data(shapes), trainer(tmp_path, Trouble(2, "bug")), run)
    last = run / "checkpoints" / "last.ckpt"
    assert any(str(last) in note for note in broken.value.__notes__)
    with pytest.raises(GLIPError, match=re.escape(str(run))) as taken:
        glip_lightning.fit(module(), data(shapes), trainer(tmp_path), run)
    assert taken.value.code == "unfinished-run"
    glip_lightning.fit(module(), data(shapes), trainer(tmp_path), run, ckpt_path=last)
    check_same(run, fitted)
    assert equal(learned(run), learned(fitted))
    assert trained_losses(run) == trained_losses(fitted)


def test_callbacks_of_the_trainer_write_into_the_record(shapes: Path, tmp_path: Path) -> None:
    probe = Retention(data(shapes))
    used = trainer(tmp_path, probe, EarlyStop(patience=0), max_epochs=1)
    glip_lightning.fit(module(), data(shapes), used, tmp_path / "run")
    found = result(tmp_path / "run")["retention"]
    assert (found["probe"], found["images"]) == ("shapes", 2)
    assert found["after"] == result(tmp_path / "run")["metrics"]["test"]["AP"]


def test_no_shots_train_nothing(shapes: Path, tmp_path: Path) -> None:
    glip_lightning.fit(module(), data(shapes, shots=0), trainer(tmp_path), tmp_path / "run")
    found = result(tmp_path / "run")
    assert (found["fitted"], found["steps"], found["verb"]) == (False, 0, "fit")


def test_a_folder_in_use_is_refused_and_free_afterwards(shapes: Path, tmp_path: Path) -> None:
    class Second(Callback):
        def on_validation_start(self, *_: Any) -> None:
            with pytest.raises(GLIPError) as refused:
                glip_lightning.validate(module(), data(shapes), trainer(tmp_path), tmp_path / "run")
            codes.append(refused.value.code)

    codes: list[str] = []
    glip_lightning.validate(module(), data(shapes), trainer(tmp_path, Second()), tmp_path / "run")
    assert set(codes) == {"folder-in-use"}


def test_the_card_is_about_the_detector(fitted: Path) -> None:
    found, card = result(fitted), (fitted / "detector" / "README.md").read_text(encoding="utf-8")
    assert card.startswith("---\nlibrary_name: glip-lightning\n")
    assert f"# {fitted.name}" in card
    assert "Needed" not in card
    metrics = found["metrics"]["test"]
    (row,) = re.findall(r"^\| test \|.*$", card, re.MULTILINE)
    expected = [metrics["AP"], *metrics["bootstrap"]["interval95"]]
    assert numbers(row)[:4] == [str(metrics["images"]), *map(in_points, expected)]
    for name in found["classes"]:
        (last,) = re.findall(rf"^\| {name} \| {name} \| (.*) \|$", card, re.MULTILINE)
        assert last == in_points(metrics["AP_class"].get(name))
    assert not (fitted / "unfinished.json").exists()


class Broken(Callback):
    """Fails in the second step."""

    def on_train_batch_start(self, trainer: Trainer, *_: Any) -> None:
        if trainer.global_step == 1:
            raise ValueError("the second step\nfails")


def test_a_run_that_ends_early_says_why(shapes: Path, tmp_path: Path) -> None:
    """In the report it stands under the name of its data, as a finished one does."""
    with pytest.raises(ValueError, match="second step"):
        glip_lightning.fit(
            module(), data(shapes), trainer(tmp_path, Broken()), tmp_path / "runs" / "early"
        )
    (found,) = collect(tmp_path / "runs").runs
    assert (found.state, found.points[0].task) == ("missing", data(shapes).label)
    assert "the second step fails" in found.error
    assert "1" in numbers(found.error)  # the step, counted from 0
    (tmp_path / "runs" / "early" / "unfinished.json").write_text(
        json.dumps({"data": "cats", "why": ""})
    )
    (killed,) = collect(tmp_path / "runs").runs
    assert killed.points[0].task == "cats"
    assert killed.error
    assert "the second step fails" not in killed.error


def test_a_run_is_tested_by_its_folder(fitted: Path, shapes: Path, tmp_path: Path) -> None:
    """With its own recipe, with other data, and with another recipe, whose model is not used."""
    own, other, recipe = tmp_path / "own", tmp_path / "other", tmp_path / "recipe"
    assert main(["test", str(fitted), "--run", str(own)]) == 0
    expected = json.loads((fitted / "detections.json").read_text())
    assert expected
    assert json.loads((own / "detections.json").read_text()) == expected
    shutil.copytree(shapes / "train", tmp_path / "data" / "test")
    assert main(["test", str(fitted), f"--data.root={tmp_path / 'data'}", "--run", str(other)]) == 0
    assert result(other)["metrics"]["test"]["images"] == result(fitted)["data"]["images"]["train"]
    shutil.copy(fitted / "recipe.yaml", tmp_path / "other.yaml")
    given = ["--config", str(tmp_path / "other.yaml"), "--run", str(recipe)]
    assert main(["test", str(fitted / "detector"), *given]) == 0
    assert json.loads((recipe / "detections.json").read_text()) == expected


def test_ten_lines_at_most_come_before_the_first_step(
    shapes: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Of a recipe that leaves sizes and rates open, with augmentation and frozen layers."""
    run = tmp_path / "run"
    open_settings = ["--data.min_sizes=null", "--model.tuning=PromptTuning", "--data.copies=1"]
    recipe = ["--config", "custom_nano", f"--data.root={shapes}", "--trainer.max_epochs=1"]
    with caplog.at_level(logging.INFO, logger="glip_lightning"):
        assert main(["fit", *recipe, *open_settings, "--run", str(run)]) == 0
    names = [record.name for record in caplog.records]
    before = caplog.records[: names.index(progress.__name__)]
    lines = [record.getMessage() for record in before if record.levelno == logging.INFO]
    assert len(lines) <= 10
    found = result(run)
    parts = found["parts"]["all"]
    line_with("\n".join(lines), f"{parts['trainable']:,} of {parts['total']:,}")
    line_with("\n".join(lines), str(run))
    for group in found["groups"]:
        line_with(
            "\n".join(lines), f"{group['name']} {group['lr']:g} and {group['weight_decay']:g}"
        )
    sizes = found["recipe"]["data"]["init_args"]["min_sizes"]
    line_with("\n".join(lines), "min_sizes", sizes)


def test_messages_of_lightning_about_our_own_module_are_not_shown(
    shapes: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Warnings and advertisements; filters and levels are as before afterwards."""
    used = trainer(tmp_path, max_epochs=1, log_every_n_steps=50)
    level, filters = logging.getLogger("lightning.pytorch").level, list(warnings.filters)
    caplog.clear()
    with warnings.catch_warnings(record=True) as seen, caplog.at_level(logging.INFO):
        warnings.simplefilter("always")
        glip_lightning.fit(module(), data(shapes), used, tmp_path / "run")
    assert [str(each.message) for each in seen if "lightning" in each.filename] == []
    assert [each for each in caplog.records if each.name.startswith("lightning")] == []
    assert logging.getLogger("lightning.pytorch").level == level
    assert list(warnings.filters) == filters
