"""What a run will take: what is said of it, and that the run is the same."""

import logging
import re
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning import Callback, Trainer, seed_everything

from glip_lightning.data.augment import AugmentName
from glip_lightning.shapes.data_modules import Shapes
from glip_lightning.shapes.task_pictures import write_task
from glip_lightning.training.callbacks import estimate
from glip_lightning.training.callbacks.estimate import Estimate
from glip_lightning.training.callbacks.global_batch import GlobalBatch
from glip_lightning.training.module import GLIPModule
from glip_lightning.training.record import RunRecord
from glip_lightning.tuning.base import Tuning
from glip_lightning.tuning.prompt import PromptTuning
from glip_lightning.tuning.weight_tunings import FullTuning, LinearProbe
from printed import numbers, words


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    counts = {"train": 6, "valid": 3, "test": 1}
    return write_task(tmp_path_factory.mktemp("data") / "Blocks", counts=counts, size=96).parent


def fit(
    shapes: Path,
    *callbacks: Callback,
    steps: int = 20,
    sizes: tuple[int, ...] = (64,),
    tuning: Tuning | None = None,
    images_per_device: int | None = None,
    augment: AugmentName | None = None,
    ckpt_path: Path | None = None,
    **given: Any,
) -> GLIPModule:
    torch.set_num_threads(1)
    seed_everything(0, verbose=False)
    data = Shapes(str(shapes), batch_size=2, min_sizes=sizes, max_size=128, test_size=64,
                  images_per_device=images_per_device, augment=augment)  # fmt: skip
    data.prepare_data = lambda: None  # type: ignore[method-assign]
    module = GLIPModule("glip-nano", "random", tuning)
    settings = {
        "accelerator": "cpu",
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
    }
    trainer = Trainer(
        max_steps=steps,
        callbacks=[GlobalBatch(), *callbacks],
        use_distributed_sampler=False,
        **settings,
        **given,
    )
    trainer.fit(module, datamodule=data, ckpt_path=ckpt_path)
    return module


def test_the_run_is_bit_for_bit_the_same(shapes: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="glip_lightning"):
        done = Estimate(RunRecord("fit"))
        with_it = fit(shapes, done, limit_val_batches=0)
        without = fit(shapes, limit_val_batches=0)
    for a, b in zip(with_it.parameters(), without.parameters(), strict=True):
        assert torch.equal(a, b)
    assert done.seconds is not None
    assert done.memory is not None
    assert done.memory > 8 * sum(p.numel() for p in with_it.parameters())
    # steps left after 1 and 10 batches
    assert [numbers(line)[1] for line in estimates(caplog)] == ["18", "9"]


def estimates(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return the lines of the estimate.

    Each has five numbers: time, steps that are left, seconds of a step, memory needed, memory
    available.
    """
    said = [
        record
        for record in caplog.records
        if record.name == estimate.__name__ and record.levelname == "INFO"
    ]
    lines = [record.getMessage() for record in said]
    assert all(len(numbers(line)) == 5 for line in lines)
    return lines


def test_short_runs_are_left_alone(shapes: Path) -> None:
    short = Estimate(RunRecord("fit"))
    fit(shapes, short, steps=19, limit_val_batches=0)
    assert (short.seconds, short.memory) == (None, None)


def test_a_resumed_run_is_told_what_is_left(
    shapes: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    fit(shapes, steps=6, limit_val_batches=0).trainer.save_checkpoint(tmp_path / "some.ckpt")
    with caplog.at_level(logging.INFO, logger="glip_lightning"):
        fit(
            shapes,
            Estimate(RunRecord("fit")),
            steps=26,
            limit_val_batches=0,
            ckpt_path=tmp_path / "some.ckpt",
        )
    first, _ = estimates(caplog)
    assert numbers(first)[1] == "18"  # steps


def test_too_little_memory_is_a_warning_that_says_what_to_change(
    shapes: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(estimate, "_available", lambda _: 10**8)
    with caplog.at_level(logging.WARNING, logger="glip_lightning"):
        fit(shapes, Estimate(RunRecord("fit")), limit_val_batches=0)
    warnings = [line for line in caplog.messages if "data.images_per_device" in line]
    assert warnings
    assert all("0.1 GB" in line for line in warnings)


def test_a_step_is_all_batches_that_it_accumulates(
    shapes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By this clock a batch lasts a second, the first of an epoch, too."""
    monkeypatch.setattr(estimate.time, "perf_counter", Ticks())
    plain, accumulated = Estimate(RunRecord("fit")), Estimate(RunRecord("fit"))
    fit(shapes, plain, steps=30, limit_val_batches=0)
    fit(shapes, accumulated, steps=30, limit_val_batches=0, images_per_device=1)
    # as renewed after ten batches
    assert (plain.seconds, accumulated.seconds) == (30 - 11, 2 * (30 - 5))


def test_kept_features_are_named(shapes: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="glip_lightning"):
        fit(shapes, Estimate(RunRecord("fit")), tuning=FullTuning(), limit_val_batches=0)
        fit(shapes, Estimate(RunRecord("fit")), tuning=LinearProbe(), limit_val_batches=0)
    first, second, *kept = [len(words(re.sub(r"[\d.]+", "0", line))) for line in estimates(caplog)]
    assert len(kept) == 2
    assert min(kept) > first == second  # one more clause


@pytest.mark.parametrize("augment", ["light", None])
def test_what_is_said_about_cached_features_happens(
    shapes: Path, caplog: pytest.LogCaptureFixture, augment: AugmentName | None
) -> None:
    """Validation images are cached in both runs; those of training only without augmentation."""
    with caplog.at_level(logging.INFO, logger="glip_lightning"):
        fit(shapes, Estimate(RunRecord("fit")), tuning=FullTuning(), limit_val_batches=0)
        module = fit(shapes, Estimate(RunRecord("fit")), tuning=PromptTuning(), augment=augment)
    full, _, *prompt = [words(re.sub(r"[\d.]+", "0", line)) for line in estimates(caplog)]
    promised = [line - full for line in prompt]  # the words about features
    said = [line for line in caplog.messages if line.startswith("features of frozen layers")]
    validation_images = 3
    assert len(said) == 1
    assert module.caches_training_features() == (augment is None)
    assert all(bool(clause) == (augment is None) for clause in promised)
    assert (module.features.misses > validation_images) == (augment is None)
    assert module.features.hits > 0


class Ticks:
    """A clock that ticks once per look at it."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += 1
        return self.now


class SlowEvaluation(Callback):
    """Evaluations of a thousand seconds."""

    def __init__(self, clock: Ticks) -> None:
        self.clock = clock

    def on_validation_start(self, trainer: Trainer, pl_module: Any) -> None:
        self.clock.now += 1000


def test_evaluations_are_no_part_of_a_step(shapes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They come after every second step here, and would make each step hundreds of seconds long."""
    clock = Ticks()
    monkeypatch.setattr(estimate.time, "perf_counter", clock)
    done = Estimate(RunRecord("fit"))
    fit(shapes, SlowEvaluation(clock), done, steps=22, val_check_interval=2, limit_val_batches=1)
    assert clock.now > 5000
    assert done.seconds == 22 - 11  # as renewed after ten batches


@pytest.mark.slow
@pytest.mark.parametrize("tuning, least", [(FullTuning, 1 / 1.5), (PromptTuning, 0.0)])
def test_time_is_foretold_within_a_factor_of_one_and_a_half(
    shapes: Path, tuning: type[Tuning], least: float
) -> None:
    """Where features are kept for later epochs, a run may take far less than is said."""
    done, clock = Estimate(RunRecord("fit")), Clock()
    fit(shapes, done, clock, steps=60, sizes=(64, 96), tuning=tuning(), limit_val_batches=0)
    assert done.seconds is not None
    foretold = done.seconds * 60 / 49  # it was renewed when 49 steps were left
    print(f"foretold {foretold:.2f} s, took {clock.seconds:.2f} s")
    assert least < clock.seconds / foretold < 1.5


class Clock(Callback):
    def on_train_epoch_start(self, trainer: Trainer, pl_module: Any) -> None:
        if trainer.current_epoch == 0:
            self.began = time.perf_counter()

    def on_train_end(self, trainer: Trainer, pl_module: Any) -> None:
        self.seconds = time.perf_counter() - self.began
