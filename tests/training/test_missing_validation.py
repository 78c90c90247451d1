"""A warning where training ends before its first validation: such a run keeps no best weights."""

from pathlib import Path
from typing import Any

import pytest

import glip_lightning
from glip_lightning.training.callbacks import missing_validation
from printed import numbers
from small_runs import make_shapes
from test_run import data, module, trainer

BY_BATCHES = {"check_val_every_n_epoch": None}
"""Lightning counts val_check_interval over the whole training."""


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two steps per epoch."""
    return make_shapes(tmp_path_factory.mktemp("data"))


def warned_numbers(caplog: pytest.LogCaptureFixture) -> list[list[str]]:
    """Return the numbers of each warning: steps per epoch, first validation after, last step."""
    return [
        numbers(record.getMessage())
        for record in caplog.records
        if record.name == missing_validation.__name__
    ]


@pytest.mark.parametrize(
    "options, expected",
    [
        ({"max_steps": 3, "val_check_interval": 200, **BY_BATCHES}, ["2", "200", "3"]),
        ({"max_steps": 1}, ["2", "2", "1"]),
        ({"max_epochs": 2, "check_val_every_n_epoch": 3}, ["2", "6", "4"]),
        ({"max_steps": 3, "val_check_interval": 3, **BY_BATCHES}, None),
        ({"max_steps": 2}, None),
        ({"max_steps": 1, "limit_val_batches": 0}, None),
    ],
)  # fmt: skip
def test_a_training_that_ends_before_its_first_validation_says_so(
    shapes: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    options: dict[str, Any],
    expected: list[str] | None,
) -> None:
    glip_lightning.fit(module(), data(shapes), trainer(tmp_path, **options), tmp_path / "run")
    assert warned_numbers(caplog) == ([] if expected is None else [expected])
    if "limit_val_batches" not in options:
        best = tmp_path / "run" / "checkpoints" / "best.ckpt"
        assert best.exists() == (expected is None)


def test_accumulated_batches_are_counted_as_steps(
    shapes: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Lightning counts the interval in batches: four of one image make two steps."""
    options = {"max_steps": 1, "val_check_interval": 4, **BY_BATCHES}
    glip_lightning.fit(module(), data(shapes, images_per_device=1), trainer(tmp_path, **options))
    assert warned_numbers(caplog) == [["2", "2", "1"]]
