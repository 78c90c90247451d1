"""The folder of a run and what is shown while it works."""

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from lightning import LightningModule, Trainer

from glip_lightning.common.errors import GLIPError
from glip_lightning.training.callbacks.progress import Lines, position_text
from glip_lightning.training.callbacks.run_folder import check_run_folder_is_free, new_run_folder
from glip_lightning.weights.run_files import CHECKPOINTS, LAST, goes_on
from printed import numbers, words


def test_folders_are_numbered_without_taking_any_twice(tmp_path: Path) -> None:
    (tmp_path / "runs" / "cats-002").mkdir(parents=True)
    claimed = [new_run_folder(tmp_path / "runs", "cats").name for _ in range(3)]
    assert claimed == ["cats-001", "cats-003", "cats-004"]


def test_a_folder_that_holds_a_run_is_refused(tmp_path: Path) -> None:
    check_run_folder_is_free(tmp_path / "new", resuming=False)
    (tmp_path / "recipe.yaml").touch()
    check_run_folder_is_free(tmp_path, resuming=True)
    with pytest.raises(GLIPError, match=re.escape(str(tmp_path))) as refused:
        check_run_folder_is_free(tmp_path, resuming=False)
    assert refused.value.code == "unfinished-run"
    assert "--resume" not in str(refused.value)  # nothing was saved yet
    (tmp_path / CHECKPOINTS).mkdir()
    (tmp_path / CHECKPOINTS / LAST).touch()
    with pytest.raises(GLIPError, match=re.escape(f"glip fit --resume {tmp_path}")) as refused:
        check_run_folder_is_free(tmp_path, resuming=False)
    assert refused.value.code == "unfinished-run"
    (tmp_path / "result.json").touch()
    with pytest.raises(GLIPError, match=re.escape(str(tmp_path))) as refused:
        check_run_folder_is_free(tmp_path, resuming=False)
    assert refused.value.code == "finished-run"


def test_only_a_training_from_a_checkpoint_of_the_folder_goes_on_with_its_run(
    tmp_path: Path,
) -> None:
    last = tmp_path / "run" / CHECKPOINTS / LAST
    assert goes_on("fit", tmp_path / "run", last)
    assert not goes_on("test", tmp_path / "run", last)
    assert not goes_on("fit", tmp_path / "other", last)
    assert not goes_on("fit", tmp_path / "run", None)
    assert not goes_on("fit", None, last)


def trainer(validates: bool, max_steps: int = -1, fn: str = "fit") -> Trainer:
    """What a trainer is to ``Lines`` at the end of its third epoch."""
    shown: dict[str, Any] = {"train/loss": 1.5, "val/AP": 0.25}
    loaders = [object()] if validates else []
    return cast(
        Trainer,
        SimpleNamespace(
            is_global_zero=True,
            sanity_checking=False,
            state=SimpleNamespace(fn=fn),
            val_dataloaders=loaders,
            progress_bar_metrics=shown,
            current_epoch=2,
            max_epochs=9,
            max_steps=max_steps,
            global_step=40,
            estimated_stepping_batches=60,
        ),
    )


def test_a_line_per_validation(caplog: pytest.LogCaptureFixture) -> None:
    lines, module = Lines(), cast(LightningModule, None)
    with caplog.at_level("INFO", logger="glip_lightning"):
        lines.on_train_epoch_end(trainer(True), module)
        assert not caplog.messages  # nothing was validated in this epoch
        lines.on_validation_end(trainer(True), module)
        lines.on_train_epoch_end(trainer(True), module)
        lines.on_validation_end(trainer(True, fn="validate"), module)  # of the best weights
        lines.on_train_epoch_end(trainer(False), module)
    line, again = caplog.messages
    assert line == again
    # epoch, epochs, step, loss, AP in points
    assert numbers(line) == ["3", "9", "40", "1.500", "25.0"]
    assert {"train/loss", "val/AP"} <= words(line)


def test_where_steps_are_the_end_they_are_counted() -> None:
    epochs_end_it_earlier = trainer(True, max_steps=80)
    assert numbers(position_text(epochs_end_it_earlier)) == ["40", "60"]


def test_a_line_after_the_first_step_and_then_one_a_minute(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [100.0]
    monkeypatch.setattr(
        "glip_lightning.training.callbacks.progress.time.monotonic", lambda: clock[0]
    )
    lines, module = Lines(), cast(LightningModule, None)
    with caplog.at_level("INFO", logger="glip_lightning"):
        for seconds in (0, 30, 29, 2, 30):
            clock[0] += seconds
            lines.on_train_batch_end(trainer(True), module, None, None, 0)
    assert len(caplog.messages) == 2
    # the AP is that of an earlier step
    assert all("train/loss" in words(line) and "val/AP" not in line for line in caplog.messages)
