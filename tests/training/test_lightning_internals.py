"""Private attributes of Lightning: they exist, do what we expect, and only one file uses them."""

import ast
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from lightning import Trainer
from lightning.pytorch.cli import LightningCLI
from lightning.pytorch.loggers import WandbLogger

import glip_lightning
from glip_lightning.training import lightning_internals
from glip_lightning.training.lightning_internals import leave_signals_to_us

PACKAGE = Path(glip_lightning.__file__).parent
OWNERS = {
    "trainer",
    "loop",
    "steps",
    "fit_loop",
    "epoch_loop",
    "val_loop",
    "strategy",
    "callback",
    "datamodule",
}
"""Names by which Lightning's objects go in our code."""


@pytest.fixture
def heard() -> Iterator[list[int]]:
    """Signals that a handler of ours got."""
    numbers: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, _: numbers.append(number))
    yield numbers
    signal.signal(signal.SIGTERM, before)


@pytest.mark.parametrize("ours", [True, False])
def test_sigterm_is_left_to_us(ours: bool, heard: list[int]) -> None:
    trainer = Trainer(
        accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False
    )
    assert callable(trainer._signal_connector._sigterm_notifier_fn)
    if ours:
        leave_signals_to_us(trainer)
    trainer._signal_connector.register_signal_handlers()
    os.kill(os.getpid(), signal.SIGTERM)
    trainer._signal_connector.teardown()
    assert heard == [signal.SIGTERM]
    assert trainer.received_sigterm == (not ours)


def test_without_a_handler_of_ours_lightning_keeps_its_own() -> None:
    trainer = Trainer(
        accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False
    )
    before = trainer._signal_connector._sigterm_notifier_fn
    # other tests, like those of Ray, leave one of theirs
    handler = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        leave_signals_to_us(trainer)
    finally:
        signal.signal(signal.SIGTERM, handler)
    assert trainer._signal_connector._sigterm_notifier_fn == before


def test_what_our_subclasses_inherit_is_there(tmp_path: Path) -> None:
    """Private names of the classes that CarefulWandb and GLIPCLI are made of."""
    inherited = {
        WandbLogger(offline=True, save_dir=tmp_path): (
            "_wandb_init",
        ),  # an argument that W&B warns of
        LightningCLI: ("_parser",),  # the parser of one verb
    }
    for owner, names in inherited.items():
        assert [name for name in names if not hasattr(owner, name)] == [], owner
    assert "anonymous" in WandbLogger(offline=True, save_dir=tmp_path)._wandb_init


def private(path: Path) -> Iterator[str]:
    """Yield the private attributes of Lightning's objects that a file names."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if (
            isinstance(node, ast.Attribute)
            and node.attr.startswith("_")
            and not node.attr.startswith("__")
        ):
            owner = node.value
            name = owner.attr if isinstance(owner, ast.Attribute) else getattr(owner, "id", "")
            if name in OWNERS:
                yield ast.unparse(node)


def test_they_stand_in_one_file() -> None:
    found = {path: list(private(path)) for path in sorted(PACKAGE.rglob("*.py"))}
    users = {path: names for path, names in found.items() if names}
    assert users.keys() == {Path(lightning_internals.__file__)}, users
