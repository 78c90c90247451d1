"""The global batch of a recipe, spread over devices and time."""

import logging
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lightning import Trainer

from glip_lightning.common.errors import GLIPError
from glip_lightning.shapes.data_modules import Shapes
from glip_lightning.shapes.task_pictures import write_task
from glip_lightning.training.batching import plan
from glip_lightning.training.callbacks.global_batch import GlobalBatch
from glip_lightning.training.module import GLIPModule
from glip_lightning.training.schedules import Cosine
from printed import numbers, words

sizes = st.integers(1, 96)


@given(sizes, st.integers(1, 16), st.none() | sizes)
def test_plan(batch_size: int, world: int, limit: int | None) -> None:
    found = plan(batch_size, world, limit)
    assert found.per_device * world * found.accumulate == found.total
    assert found.devices == world
    assert found.lr_factor == found.total / batch_size
    assert batch_size <= found.total < batch_size + world
    assert (found.total == batch_size) == (batch_size % world == 0)
    assert limit is None or found.per_device <= limit
    larger = range(found.per_device + 1, min(limit or batch_size, found.total // world) + 1)
    assert all(found.total // world % n for n in larger)  # nothing larger would have been exact


@given(sizes, st.integers(1, 8), st.none() | sizes, st.integers(1, 500))
def test_steps_are_what_a_sampler_gives(
    batch_size: int, world: int, limit: int | None, samples: int
) -> None:
    found = plan(batch_size, world, limit)
    # the ranks repeat images to be equally many
    per_rank = len(range(0, samples + (-samples) % world, world))
    batches = len(range(0, per_rank, found.per_device))
    assert found.steps(samples) == len(range(0, batches, found.accumulate))


@pytest.mark.parametrize(
    "arguments, expected",
    [
        # batch = devices x images x accumulated; images x copies / batch = steps
        ((4, 2, 1), ["4", "2", "1", "2", "10", "4", "4", "10"]),
        ((4, 1, None), ["4", "1", "4", "1", "10", "4", "4", "10"]),
        # between both: the batch asked for, the devices that do not divide it, the factor of rates
        ((4, 3, None), ["6", "3", "2", "1", "4", "3", "1.5", "10", "4", "6", "7"]),
    ],
)
def test_arithmetic_in_one_line(
    arguments: tuple[int, int, int | None], expected: list[str]
) -> None:
    line = plan(*arguments).describe(10, copies=4)
    assert numbers(line) == expected
    longer = plan(*arguments).describe(10, copies=4, epochs=3)
    assert longer.startswith(line)
    assert numbers(longer) == [*expected, "3", str(3 * int(expected[-1]))]


@pytest.mark.parametrize("arguments", [(0, 1, None), (4, 0, None), (4, 1, 0)])
def test_nonsense_is_refused(arguments: tuple[int, int, int | None]) -> None:
    name = ("data.batch_size", "devices", "data.images_per_device")[arguments.index(0)]
    with pytest.raises(GLIPError, match=f"{name}=0") as caught:
        plan(*arguments)
    assert caught.value.code == "bad-value"


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    counts = {"train": 5, "valid": 1, "test": 1}
    return write_task(tmp_path_factory.mktemp("data") / "Blocks", counts=counts, size=96).parent


def fit(
    shapes: Path, batch_size: int, images_per_device: int | None, **trainer: object
) -> tuple[Trainer, GLIPModule]:
    data = Shapes(str(shapes), batch_size=batch_size, min_sizes=(64,), max_size=64, test_size=64)
    data.prepare_data = lambda: None  # type: ignore[method-assign]
    data.images_per_device = images_per_device
    module = GLIPModule("glip-nano", "random", schedule=Cosine())
    quiet = {
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "accelerator": "cpu",
    }
    made = Trainer(**{"max_epochs": 1, "limit_val_batches": 0, **quiet, **trainer})  # type: ignore[arg-type]
    made.fit(module, datamodule=data)
    return made, module


def test_accumulation_is_set_before_the_schedule_counts_steps(
    shapes: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, logger="glip_lightning"):
        trainer, module = fit(shapes, 4, 2, callbacks=[GlobalBatch()])
    assert (trainer.accumulate_grad_batches, module.lr_factor) == (2, 1.0)
    assert trainer.num_training_batches == 3
    assert trainer.global_step == trainer.estimated_stepping_batches == 2
    line = plan(4, 1, 2).describe(5, copies=1, epochs=1)
    assert line in caplog.messages


def test_another_accumulation_is_refused(shapes: Path) -> None:
    with pytest.raises(GLIPError) as caught:
        fit(shapes, 4, None, callbacks=[GlobalBatch()], accumulate_grad_batches=3)
    assert caught.value.code == "other-batch-size"
    assert {"trainer.accumulate_grad_batches=3", "data.batch_size", "1"} <= words(str(caught.value))
    with pytest.raises(GLIPError) as caught:
        fit(shapes, 4, 1)
    assert caught.value.code == "other-batch-size"
    assert {"trainer.accumulate_grad_batches=1", "data.batch_size", "4"} <= words(str(caught.value))
    assert "glip_lightning.fit(" in str(caught.value)
