"""Paths and names of a command line, checked before heavy imports and before any download.

Only faults that need neither torch, Lightning nor the network to be known are found here.
"""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from glip_lightning.common.files import need_file, need_folder
from glip_lightning.common.locks import LOCK_NAME, FolderLock
from glip_lightning.common.schema import parse_yaml
from glip_lightning.config.recipe_files import given_recipes
from glip_lightning.config.wrong_usage import WrongUsage
from glip_lightning.weights.run_files import check_unfinished

READ_FROM_ROOT = ("ODinW", "CustomData", "Pretraining")
"""Classes of data whose root has to exist; others make theirs."""
PRINTING = ("--help", "-h", "--print_config")
"""Options with which a verb prints something and runs nothing."""
RANKS = ("RANK", "LOCAL_RANK", "NODE_RANK", "GROUP_RANK", "SLURM_PROCID")
"""Variables that tell the processes of a run apart: in the first process each is 0 or not set."""


@dataclass(frozen=True, slots=True)
class Given:
    """The value of an option, and where it stands."""

    value: Any
    place: str


def asks_to_print(arguments: Sequence[str]) -> bool:
    """Return whether an option like ``--help`` asks for a text, and no run is to start."""
    return any(word.split("=")[0] in PRINTING for word in arguments)


def check_training(arguments: Sequence[str]) -> None:
    """Check what ``fit``, ``validate`` or ``test`` is given, in recipes and on the command line.

    Raises:
        WrongUsage: neither a recipe nor a class of data is named (``no-recipe``).
        GLIPError: a folder of data, a file of phrases or a detector does not exist, or the folder
            for the run holds a finished run or is in use.
    """
    if asks_to_print(arguments):
        return
    given = {key: each for key, each in _options_in(arguments) if isinstance(each.value, str)}
    names = {word.split("=")[0] for word in arguments}
    if not names & {"--config", "-c", "--data", "--resume"}:
        message = (
            f"{arguments[0]}: needs --config RECIPE: custom_nano for photos of yours on a CPU, "
        )
        message += "custom with a GPU; glip recipes lists all"
        raise WrongUsage(message, code="no-recipe")
    data, root = given.get("data"), given.get("data.root")
    if data and root and data.value.split(".")[-1] in READ_FROM_ROOT:
        cure = "give the folder of the data; glip download gets tasks of ODinW"
        need_folder(root.value, root.place, cure)
    phrases = given.get("data.phrases_file")
    if phrases:
        need_file(phrases.value, phrases.place)
    detector = given.get("model.detector")
    # test and validate of a run take what it learned, not the detector of its recipe
    if detector and (arguments[0] == "fit" or detector.place.startswith("--")):
        from glip_lightning.weights.detector_files import check_detector  # brings numpy

        check_detector(detector.value)
    resume = given.get("resume")
    if resume:
        need_folder(resume.value, resume.place, "give the folder of the interrupted run")
    run = given.get("run")
    if run and all(os.environ.get(rank, "0") == "0" for rank in RANKS):
        _check_run(Path(run.value))


def _check_run(folder: Path) -> None:
    """Raise GLIPError if the folder holds a finished run or another process works in it."""
    check_unfinished(folder)
    if (folder / LOCK_NAME).exists():
        lock = FolderLock()
        lock.hold(folder)
        lock.release()


def _options_in(arguments: Sequence[str]) -> Iterator[tuple[str, Given]]:
    """Yield the dotted key of each option, and its value; of an object, its class.

    Recipes come before the command line: of equal keys, the last one counts.
    """
    for file in given_recipes(arguments):
        content = parse_yaml(Path(file).read_text(encoding="utf-8"), file)
        for key, value in _flat(content):
            yield key, Given(value, f"{file}: {key}: {value}")
    for word, following in zip(arguments, [*arguments[1:], ""], strict=True):
        if word.startswith("--"):
            name, equals, value = word.removeprefix("--").partition("=")
            if not equals:
                value = following
            yield name.replace(".init_args", ""), Given(value, f"--{name} {value}")


def _flat(content: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the values of nested mappings by dotted key, without ``init_args``, ``class_path``."""
    if not isinstance(content, dict):
        yield key, content
        return
    for name, value in content.items():
        passed_through = name in ("init_args", "class_path")
        below = key if passed_through else f"{key}.{name}".lstrip(".")
        yield from _flat(value, below)
