"""Private names of other packages: they exist, do what we expect, and only one file uses them."""

import ast
import importlib
import inspect
import json
import os
import re
import signal
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from jsonargparse import ArgumentParser
from lightning import Trainer
from lightning.pytorch.loggers import WandbLogger

import glip_lightning
from glip_lightning.common import private_names
from glip_lightning.common.private_names import (
    fingerprint_of,
    leave_signals_to_us,
    options_with_types,
    page_as_json,
    pass_no_anonymous,
    version_of,
)

PACKAGE = Path(glip_lightning.__file__).parent
OWN = ("self", "cls", "super()")
"""Owners of private names that are the class itself."""
OF_NAMED_TUPLES = {"_asdict", "_fields", "_make", "_replace"}
"""Names that only look private, so that they cannot be those of fields."""


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


def test_the_argument_that_wandb_warns_of_is_taken_out(tmp_path: Path) -> None:
    logger = WandbLogger(offline=True, save_dir=tmp_path)
    assert "anonymous" in logger._wandb_init
    pass_no_anonymous(logger)
    assert "anonymous" not in logger._wandb_init


def test_a_tensor_counts_its_changes() -> None:
    tensor = torch.zeros(2)
    before = version_of(tensor)
    tensor += 1
    assert version_of(tensor) == before + 1


def test_rows_have_a_fingerprint() -> None:
    datasets = pytest.importorskip("datasets")
    one, same, other = (datasets.Dataset.from_dict({"x": [x]}) for x in (1, 1, 2))
    assert fingerprint_of(one) == fingerprint_of(same) != fingerprint_of(other)


def test_options_have_keys_and_types() -> None:
    parser = ArgumentParser()
    parser.add_argument("--data.root", type=str)
    parser.add_argument("--data.shots", type=int | str)
    found = dict(options_with_types(parser))
    assert found["data.shots"] == int | str
    assert "data.root" in found


def test_a_page_is_json() -> None:
    workspaces = pytest.importorskip("wandb_workspaces.workspaces")
    page = workspaces.Workspace(entity="me", project="mine", name="a page")
    assert json.loads(page_as_json(page))


def names_of_others(path: Path) -> Iterator[str]:
    """Yield the private names in a file that no function of this file has defined."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    own = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
    for node in ast.walk(tree):
        if not isinstance(node, ast.Attribute) or not re.match("_(?!_)", node.attr):
            continue
        if ast.unparse(node.value) not in OWN and node.attr not in own | OF_NAMED_TUPLES:
            yield ast.unparse(node)


def test_they_stand_in_one_file() -> None:
    found = {path: list(names_of_others(path)) for path in sorted(PACKAGE.rglob("*.py"))}
    users = {path: names for path, names in found.items() if names}
    assert users.keys() == {Path(private_names.__file__)}, users


def our_subclasses() -> Iterator[type]:
    """Yield the classes of the package that inherit from Lightning's."""
    for path in PACKAGE.rglob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        if "lightning" not in path.read_text(encoding="utf-8"):
            continue
        name = ".".join(["glip_lightning", *path.relative_to(PACKAGE).with_suffix("").parts])
        for node in tree.body:
            if isinstance(node, ast.ClassDef):
                found = getattr(importlib.import_module(name), node.name)
                if any(is_of_lightning(base) for base in found.__mro__):
                    yield found


def is_of_lightning(kind: type) -> bool:
    return kind.__module__.partition(".")[0] == "lightning"


def names_of_class(kind: type) -> set[str]:
    """The private names that the code of a class reads, sets or defines on itself."""
    found = set()
    for node in ast.walk(ast.parse(textwrap.dedent(inspect.getsource(kind)))):
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) in ("self", "super()"):
            found.add(node.attr)
        elif isinstance(node, ast.FunctionDef):
            found.add(node.name)
    return {name for name in found if name.startswith("_") and not name.startswith("__")}


def test_subclasses_use_no_private_name_that_they_inherit() -> None:
    classes = list(our_subclasses())
    assert {"GLIPModule", "EMA", "EarlyStop", "MetricsTable", "CarefulWandb", "GLIPCLI"} <= {
        each.__name__ for each in classes
    }
    found = {}
    for each in classes:
        inherited = [base for base in each.__mro__ if is_of_lightning(base)]
        shared = names_of_class(each) & set().union(*map(names_of_class, inherited))
        if shared:
            found[each.__name__] = shared
    assert found == {}
