"""The average of the weights: what is evaluated, kept and resumed."""

from pathlib import Path
from typing import Any

import pytest
import torch
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor

from glip_lightning.common.errors import GLIPError
from glip_lightning.training.callbacks.best_checkpoint import BestCheckpoint
from glip_lightning.training.callbacks.ema import EMA
from glip_lightning.training.callbacks.global_batch import GlobalBatch
from glip_lightning.training.module import GLIPModule
from glip_lightning.tuning.weight_tunings import FullTuning
from tiny import Offset, same, tiny_data, tiny_module, tiny_trainer, weights

DECAY = 0.9  # not 0.5, at which rounding hides


class Recorder(Callback):
    """The weights after every step, and those that each validation sees."""

    def __init__(self) -> None:
        self.steps: list[dict[str, Tensor]] = []
        self.validated: list[dict[str, Tensor]] = []

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self.steps.append(weights(pl_module))

    def on_validation_batch_start(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        if batch_idx == 0:
            self.validated.append(weights(pl_module))

    def average(self) -> dict[str, Tensor]:
        """By the formula; the first step starts the average."""
        average = {key: x.clone() for key, x in self.steps[0].items()}
        for step in self.steps[1:]:
            average = {key: DECAY * average[key] + (1 - DECAY) * x for key, x in step.items()}
        return average


def full() -> GLIPModule:
    return tiny_module(FullTuning(lr=1e-3, text_lr=1e-3, freeze_at=2))


def close(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(
        torch.allclose(one[k], x, atol=1e-7) for k, x in other.items()
    )


def test_validation_and_checkpoint_have_the_average_and_training_goes_on_without(
    tmp_path: Path,
) -> None:
    module, recorder = full(), Recorder()
    start, index = (
        weights(module),
        module.model.backbone.stages[3].blocks[0].attn.relative_position_index.clone(),
    )
    best = BestCheckpoint(tmp_path / "checkpoints")
    trainer = tiny_trainer(
        tmp_path, EMA(DECAY), recorder, best, enable_checkpointing=True, max_epochs=3
    )
    trainer.fit(module, datamodule=tiny_data(tmp_path / "data"))
    plain, steps = full(), Recorder()
    tiny_trainer(tmp_path, steps, max_epochs=3).fit(plain, datamodule=tiny_data(tmp_path / "data"))
    assert all(same(one, other) for one, other in zip(recorder.steps, steps.steps, strict=True))
    assert close(recorder.validated[-1], recorder.average())
    assert not close(recorder.validated[-1], recorder.steps[-1])
    assert same(weights(module), recorder.validated[-1])  # the detector that is kept
    for key, parameter in module.named_parameters():
        assert parameter.requires_grad or torch.equal(parameter, start[key]), f"{key} drifted"
    assert torch.equal(
        index, module.model.backbone.stages[3].blocks[0].attn.relative_position_index
    )
    kept = torch.load(best.best_model_path, weights_only=True)
    assert any(same(kept["state_dict"], seen) for seen in recorder.validated)


def test_the_best_checkpoint_is_tested_with_its_average(tmp_path: Path) -> None:
    """Loaded after the fit, into the trainer that still has the callback."""
    module, recorder, data = full(), Recorder(), tiny_data(tmp_path / "data")
    first = ModelCheckpoint(tmp_path, filename="{epoch}", save_top_k=-1)
    trainer = tiny_trainer(tmp_path, EMA(DECAY), recorder, first, enable_checkpointing=True)
    trainer.fit(module, datamodule=data)
    averages = list(recorder.validated)
    trainer.validate(
        module, datamodule=data, ckpt_path=str(tmp_path / "epoch=0.ckpt"), verbose=False
    )
    assert same(recorder.validated[-1], averages[0])
    assert same(weights(module), averages[0])
    trainer.test(module, datamodule=data, verbose=False)
    assert same(weights(module), averages[0])


@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_resumed_run_is_bit_equal(tmp_path: Path, accumulate: int) -> None:
    data = tiny_data(tmp_path / "data")
    data.images_per_device = data.batch_size // accumulate
    options = {"enable_checkpointing": True, "max_epochs": 4}
    whole = full()
    every = ModelCheckpoint(
        tmp_path, filename="{epoch}", save_top_k=-1, save_on_train_epoch_end=True
    )
    tiny_trainer(tmp_path, GlobalBatch(), EMA(DECAY), every, **options).fit(whole, datamodule=data)
    half = full()
    with torch.no_grad():
        for parameter in half.parameters():
            parameter.zero_()  # everything must come from the checkpoint
    again = ModelCheckpoint(
        tmp_path / "again", filename="{epoch}", save_top_k=-1, save_on_train_epoch_end=True
    )
    checkpoint = str(tmp_path / "epoch=1.ckpt")
    tiny_trainer(tmp_path, GlobalBatch(), EMA(DECAY), again, **options).fit(
        half, datamodule=data, ckpt_path=checkpoint
    )
    assert same(weights(half), weights(whole))
    one, other = (
        torch.load(x / "epoch=3.ckpt", weights_only=True) for x in (tmp_path, tmp_path / "again")
    )
    for key in ("state_dict", "current_model_state", "averaging_state"):
        assert same(one[key], other[key]), key


class Interrupted(GLIPModule):
    """Stops in the middle of its second validation."""

    def validation_step(self, batch: Any, *rest: Any) -> dict[str, Any]:
        if self.current_epoch == 1:
            raise RuntimeError("stop")
        return super().validation_step(batch, *rest)


def test_a_checkpoint_written_on_an_exception_in_a_validation(tmp_path: Path) -> None:
    """The checkpoint of an interruption has the weights as weights and the average as average."""
    module = Interrupted("glip-nano", "random", FullTuning(lr=1e-3, text_lr=1e-3, freeze_at=2))
    recorder = Recorder()
    last = ModelCheckpoint(tmp_path, filename="last", save_on_exception=True, every_n_epochs=100)
    trainer = tiny_trainer(tmp_path, EMA(DECAY), recorder, last, enable_checkpointing=True)
    with pytest.raises(RuntimeError, match="stop"):
        trainer.fit(module, datamodule=tiny_data(tmp_path / "data"))
    saved = torch.load(tmp_path / "last.ckpt", weights_only=True)
    assert same(saved["current_model_state"], recorder.steps[-1])
    assert close(saved["state_dict"], recorder.average())


def test_parameters_of_the_tuning_are_averaged(tmp_path: Path) -> None:
    """Also those that it makes only when it sees the detector."""
    module, recorder = tiny_module(Offset()), Recorder()
    start = weights(module)
    tiny_trainer(tmp_path, EMA(DECAY), recorder).fit(
        module, datamodule=tiny_data(tmp_path / "data")
    )
    assert close(weights(module), recorder.average())
    assert all(torch.equal(weights(module)[key], x) for key, x in start.items())
    assert not torch.equal(weights(module)["tuning.offset"], recorder.steps[-1]["tuning.offset"])


def test_a_wrong_decay_is_named() -> None:
    with pytest.raises(GLIPError, match=r"decay=1\.5") as caught:
        EMA(1.5)
    assert caught.value.code == "bad-value"
