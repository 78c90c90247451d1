"""Which checkpoint is kept, and when a run ends, by the AP of its validations."""

import math
from pathlib import Path

import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint

from glip_lightning.evaluation.points import in_points
from glip_lightning.training.callbacks.best_checkpoint import BestCheckpoint, EarlyStop
from printed import numbers
from tiny import Scripted, tiny_trainer

NAN = math.nan


def best_epoch(folder: Path) -> int:
    assert [path.name for path in folder.glob("best*")] == ["best.ckpt"]
    return torch.load(folder / "best.ckpt", weights_only=True)["epoch"]


def fit(folder: Path, aps: list[float], *callbacks, resume: Path | None = None, **options) -> None:
    trainer = tiny_trainer(
        folder, *callbacks, enable_checkpointing=True, max_epochs=len(aps), **options
    )
    trainer.fit(Scripted(aps), ckpt_path=resume)


@pytest.mark.parametrize(
    "aps, epoch",
    [
        ([0.1, 0.3, 0.2], 1),
        ([0.3, 0.3, 0.2], 1),  # a tie is saved again
        ([0.0, 0.0, 0.0], 2),
        ([NAN, NAN, NAN], 2),  # no ground truth: the last
        ([NAN, 0.1, NAN], 1),
        ([0.1, NAN, 0.05], 0),
    ],
)
def test_best_checkpoint(tmp_path: Path, aps: list[float], epoch: int) -> None:
    best = BestCheckpoint(tmp_path)
    fit(tmp_path, aps, best)
    assert best_epoch(tmp_path) == epoch
    assert best.best_model_path == str(tmp_path / "best.ckpt")


def test_without_validation_there_is_no_best_checkpoint(tmp_path: Path) -> None:
    best = BestCheckpoint(tmp_path)
    fit(tmp_path, [0.5], best, EarlyStop(1), limit_val_batches=0)
    assert best.best_model_path == ""
    assert not list(tmp_path.glob("*.ckpt"))


@pytest.mark.parametrize("move", [False, True])
@pytest.mark.parametrize("third, epoch", [(0.2, 0), (0.3, 2), (0.4, 2)])
def test_a_resumed_run_remembers_the_best(
    tmp_path: Path, move: bool, third: float, epoch: int
) -> None:
    """In the same folder, and where the folder was moved; the file is overwritten in place."""
    first = tmp_path / "first"
    last = ModelCheckpoint(first, filename="last", save_on_train_epoch_end=True)
    fit(tmp_path, [0.3, 0.1], BestCheckpoint(first), last)
    folder = first.rename(tmp_path / "second") if move else first
    best = BestCheckpoint(folder)
    fit(tmp_path, [0.3, 0.1, third], best, resume=folder / "last.ckpt")
    assert best_epoch(folder) == epoch
    assert float(best.best_model_score) == pytest.approx(max(0.3, third))


def test_a_lost_best_checkpoint_is_written_anew(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    last = ModelCheckpoint(tmp_path, filename="last", save_on_train_epoch_end=True)
    fit(tmp_path, [0.3, 0.1], BestCheckpoint(tmp_path), last)
    (tmp_path / "best.ckpt").unlink()
    with caplog.at_level("WARNING", logger="glip_lightning"):
        fit(tmp_path, [0.3, 0.1, 0.2], BestCheckpoint(tmp_path), resume=tmp_path / "last.ckpt")
    assert len([line for line in caplog.messages if str(tmp_path / "best.ckpt") in line]) == 1
    assert best_epoch(tmp_path) == 2


@pytest.mark.parametrize(
    "aps, epochs",
    [
        ([0.3, 0.2, 0.2, 0.4], 3),
        ([0.3, 0.2, 0.3, 0.2, 0.2, 0.5], 5),  # a tie counts as progress
        ([0.0, 0.0, 0.0, 0.0], 4),
        ([NAN, NAN, NAN, NAN], 4),
        ([0.3, 0.2, NAN, 0.2, 0.5], 4),  # nothing is learned from an undefined AP
    ],
)
def test_early_stop(tmp_path: Path, aps: list[float], epochs: int) -> None:
    stop = EarlyStop(patience=2)
    trainer = tiny_trainer(tmp_path, stop, max_epochs=len(aps))
    trainer.fit(Scripted(aps))
    assert trainer.current_epoch == epochs
    assert (stop.ended is None) == (epochs == len(aps))
    if stop.ended:
        best = max(ap for ap in aps[:epochs] if not math.isnan(ap))
        assert numbers(stop.ended) == [in_points(best), "2"]  # times


def test_early_stop_goes_on_counting_after_a_resume(tmp_path: Path) -> None:
    """The first part ends after one bad validation; the next bad one is the second."""
    trainer = tiny_trainer(tmp_path, EarlyStop(patience=2), max_epochs=2)
    trainer.fit(Scripted([0.3, 0.2]))
    trainer.save_checkpoint(tmp_path / "half.ckpt")
    again = tiny_trainer(tmp_path, EarlyStop(patience=2), max_epochs=9)
    again.fit(Scripted([0.3] + [0.2] * 8), ckpt_path=str(tmp_path / "half.ckpt"))
    assert again.current_epoch == 3
