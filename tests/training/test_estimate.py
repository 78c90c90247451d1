"""The estimate before the first step: what it costs, what it says, what it leaves untouched."""

import logging
import math
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning import Callback, Trainer, seed_everything

from glip_lightning.shapes.data_modules import Shapes
from glip_lightning.shapes.task_pictures import write_task
from glip_lightning.training.callbacks import estimate
from glip_lightning.training.callbacks.estimate import Estimate, Trial, Work, seconds
from glip_lightning.training.callbacks.global_batch import GlobalBatch
from glip_lightning.training.module import GLIPModule
from glip_lightning.tuning.base import Tuning
from glip_lightning.tuning.prompt import PromptTuning
from glip_lightning.tuning.weight_tunings import FullTuning, LinearProbe


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    counts = {"train": 6, "valid": 3, "test": 1}
    return write_task(tmp_path_factory.mktemp("data") / "Blocks", counts=counts, size=96).parent


class Watch(Callback):
    """What stands when the first real step begins, and what is logged up to there."""

    def on_train_batch_start(self, trainer: Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
        if trainer.global_step == 0:
            self.gradients = [p for p in pl_module.parameters() if p.grad is not None]
            self.logged = dict(trainer.logged_metrics)
            self.sizes = {tuple(image.shape[1:]) for image in batch["images"]}

    def on_train_start(self, trainer: Trainer, pl_module: Any) -> None:
        self.random = torch.get_rng_state()


def fit(
    shapes: Path,
    *callbacks: Callback,
    steps: int = 20,
    sizes: tuple[int, ...] = (64,),
    tuning: Tuning | None = None,
    **given: Any,
) -> GLIPModule:
    torch.set_num_threads(1)
    seed_everything(0, verbose=False)
    data = Shapes(str(shapes), batch_size=2, min_sizes=sizes, max_size=128, test_size=64)
    data.prepare_data = lambda: None  # type: ignore[method-assign]
    module = GLIPModule("glip-nano", "random", tuning)
    settings = {"accelerator": "cpu", "logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    trainer = Trainer(
        max_steps=steps, callbacks=[GlobalBatch(), *callbacks], use_distributed_sampler=False, **settings, **given
    )
    trainer.fit(module, datamodule=data)
    return module


def test_the_run_is_bit_for_bit_the_same(shapes: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="glip_lightning"):
        done, watch, plain = Estimate(), Watch(), Watch()
        with_it = fit(shapes, done, watch, limit_val_batches=0)
        without = fit(shapes, plain, limit_val_batches=0)
    for a, b in zip(with_it.parameters(), without.parameters(), strict=True):
        assert torch.equal(a, b)
    assert torch.equal(watch.random, plain.random)
    assert watch.gradients == []
    assert watch.logged == {}
    assert "log" not in vars(with_it)
    assert done.seconds is not None
    assert done.memory is not None
    assert done.memory > 8 * sum(p.numel() for p in with_it.parameters())
    lines = [line for line in caplog.messages if line.startswith("estimate")]
    assert len(lines) == 1
    assert "for 20 steps" in lines[0]


def test_largest_and_smallest_size_are_tried(shapes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tried, first_images = [], estimate.first_images

    def remember(*arguments: Any) -> Any:
        tried.append(first_images(*arguments))
        return tried[-1]

    monkeypatch.setattr(estimate, "first_images", remember)
    fit(shapes, Estimate(), sizes=(48, 64, 80), limit_val_batches=0)
    assert [[image.shape[-1] for image in batch["images"]] for batch in tried] == [[80, 80], [48, 48], [64]]


def test_short_runs_and_resumed_ones_are_left_alone(shapes: Path, tmp_path: Path) -> None:
    short = Estimate()
    module = fit(shapes, short, steps=2, limit_val_batches=0)
    assert short.seconds is None
    module.trainer.save_checkpoint(tmp_path / "some.ckpt")
    resumed = Estimate()
    data = Shapes(str(shapes), batch_size=2, min_sizes=(64,), max_size=64, test_size=64)
    data.prepare_data = lambda: None  # type: ignore[method-assign]
    trainer = Trainer(max_steps=30, limit_train_batches=1, max_epochs=4, accelerator="cpu", logger=False,
                      enable_checkpointing=False, limit_val_batches=0, callbacks=[resumed, Stop()])  # fmt: skip
    trainer.fit(module, datamodule=data, ckpt_path=tmp_path / "some.ckpt")
    assert resumed.seconds is None


class Stop(Callback):
    def on_train_batch_start(self, trainer: Trainer, *_: Any) -> None:
        trainer.should_stop = True


def test_too_little_memory_is_a_warning_that_says_what_to_change(
    shapes: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(estimate, "_available", lambda _: 10**8)
    with caplog.at_level(logging.WARNING, logger="glip_lightning"):
        fit(shapes, Estimate(), limit_val_batches=0)
    assert "but there are 0.1 GB" in caplog.text
    assert "data.images_per_device" in caplog.text


def test_arithmetic() -> None:
    trial = Trial(step=3.0, small_step=1.0, load=1.0, detect=0.5)
    work = Work(batches=10, evaluated=4, share=0.5, workers=0)
    assert seconds(trial, work) == 10 * (2 + 1) + 2
    assert seconds(trial, work._replace(workers=2)) == 10 * 2 + 2
    assert seconds(trial._replace(load=8.0), work._replace(workers=2)) == 10 * 4 + 2


def test_arithmetic_of_kept_features() -> None:
    """Of ten steps four are new, of two validations the first; what is kept takes a tenth."""
    trial = Trial(step=1.0, small_step=1.0, load=0.0, detect=1.0, kept_step=0.1, kept_detect=0.1)
    work = Work(batches=10, evaluated=4, share=1.0, workers=0, fresh=0.4, fresh_evaluated=0.5)
    assert seconds(trial, work) == pytest.approx(4 + 0.6 + 2 + 0.2)


def test_kept_features_are_foretold_and_the_cache_is_left_alone(shapes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done = Estimate()
    foretold = []
    monkeypatch.setattr(estimate, "seconds", lambda trial, work: foretold.append((trial, work)) or 1.0)
    module = fit(shapes, done, steps=30, tuning=LinearProbe(), check_val_every_n_epoch=5)  # 10 epochs
    plain = fit(shapes, steps=30, tuning=LinearProbe(), check_val_every_n_epoch=5)
    ((trial, work),) = foretold
    draws = module.features.hits + module.features.misses - 2 * 3 - 2  # with the sanity check
    assert draws == 60
    assert trial.kept_step < 1
    assert trial.room > 2000
    assert work.fresh == pytest.approx(12 * (1 - math.exp(-60 / 12)) / 60)  # six images, mirrored or not
    assert work.fresh_evaluated == 0.5  # of two validations
    assert (module.features.hits, module.features.misses) == (plain.features.hits, plain.features.misses)
    for a, b in zip(module.parameters(), plain.parameters(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.slow
@pytest.mark.parametrize("tuning", [FullTuning, PromptTuning])
def test_time_is_foretold_within_a_factor_of_one_and_a_half(shapes: Path, tuning: type[Tuning]) -> None:
    done, clock = Estimate(), Clock()
    fit(shapes, done, clock, steps=60, sizes=(64, 96), tuning=tuning())
    print(f"foretold {done.seconds:.2f} s, took {clock.seconds:.2f} s")
    assert done.seconds is not None
    assert 1 / 1.5 < done.seconds / clock.seconds < 1.5


class Clock(Callback):
    def on_train_epoch_start(self, trainer: Trainer, pl_module: Any) -> None:
        if trainer.current_epoch == 0:
            self.began = time.perf_counter()

    def on_train_end(self, trainer: Trainer, pl_module: Any) -> None:
        self.seconds = time.perf_counter() - self.began
