"""Paths and names of a command line, checked before heavy imports and before any download.

Only faults that need neither torch, Lightning nor the network to be known are found here.
"""

import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from glip_lightning.common.files import need_file, need_folder
from glip_lightning.common.locks import LOCK_NAME, FolderLock
from glip_lightning.common.schema import parse_yaml
from glip_lightning.config.overrides import Overrides, overrides_of
from glip_lightning.config.recipe_files import given_recipes
from glip_lightning.config.wrong_usage import WrongUsage, missing_values
from glip_lightning.weights.run_files import check_unfinished, is_in_run

PLACES = {"ODinW": ("root", "task"), "CustomData": ("root",), "Pretraining": ("root",)}
"""Classes of data whose root has to exist, and their arguments that say where the data are.

Other classes make their root.
"""
PRINTING = ("--help", "-h", "--print_config")
"""Options with which a verb prints something and runs nothing."""
RANKS = ("RANK", "LOCAL_RANK", "NODE_RANK", "GROUP_RANK", "SLURM_PROCID")
"""Variables that tell the processes of a run apart: in the first process each is 0 or not set."""
LIGHTNING_FINDS = ("best", "last", "hpc")
"""Words for checkpoints that Lightning looks for itself."""
CHECKED = (
    *("config", "data", "data.root", "data.task", "data.phrases_file"),
    *("model.detector", "model.tuning.file", "ckpt_path", "run"),
)
"""Options whose values are checked here, or before."""
NUMBERS = (
    *("data.shots", "data.seed", "data.batch_size", "seed_everything"),
    *("trainer.max_epochs", "trainer.max_steps"),
)
"""Everyday options that take any whole number."""


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
        WrongUsage: neither a recipe nor a class of data is named (``no-recipe``), or nobody says
            where the data are (``missing-value``).
        GLIPError: a folder or a task of data, a file or a detector does not exist, or the folder
            for the run holds a finished run or is in use.
    """
    if asks_to_print(arguments):
        return
    verb, *words = arguments
    names = {word.split("=")[0] for word in words}
    if not names & {"--config", "-c", "--data", "--resume"}:
        message = f"{verb}: needs --config RECIPE: custom_nano for photos of yours on a CPU, "
        message += "custom with a GPU; glip recipes lists all"
        raise WrongUsage(message, code="no-recipe")
    given: dict[str, Given] = {}
    for file in given_recipes(arguments):
        given |= _in_recipe(file, parse_yaml(Path(file).read_text(encoding="utf-8"), file))
    given = _texts(given | _in_options(list(_options_in(words))))
    _check_places(given, is_fit=verb == "fit")
    checkpoint = given.get("ckpt_path")
    if checkpoint and is_path(checkpoint.value) and not is_in_run(Path(checkpoint.value)):
        need_file(checkpoint.value, checkpoint.place)
    resume = given.get("resume")
    if resume:
        need_folder(resume.value, resume.place, "give the folder of the interrupted run")
    run = given.get("run")
    if run and all(os.environ.get(rank, "0") == "0" for rank in RANKS):
        _check_run(Path(run.value))
    if _are_right(words):
        _check_data(given, arguments)


def check_sweep(
    file: Path, content: Mapping[str, Any], overrides: Overrides, axes: Collection[str]
) -> None:
    """Check a recipe of a sweep and the options of its command line.

    Args:
        file: where the content was read; messages name it.
        content: of the recipe.
        overrides: the options.
        axes: keys that the sweep sets itself, with all that is below them.

    Raises:
        GLIPError: a folder of data, a file or a detector does not exist.
    """
    given = _texts(_in_recipe(str(file), content) | _in_options(overrides))
    beginnings = tuple(f"{axis}." for axis in axes)
    for key in list(given):
        if f"{key}.".startswith(beginnings):
            del given[key]
    _check_places(given, is_fit=True)


def _check_places(given: Mapping[str, Given], is_fit: bool) -> None:
    """Raise GLIPError for a folder of data, a file or a detector that does not exist."""
    for data in ("data", "retention.data"):
        kind, root = given.get(data), given.get(f"{data}.root")
        if kind and root and _short(kind.value) in PLACES:
            cure = "give the folder of the data; glip download gets tasks of ODinW"
            need_folder(root.value, root.place, cure)
    phrases = given.get("data.phrases_file")
    if phrases:
        need_file(phrases.value, phrases.place)
    tuning, prompt = given.get("model.tuning"), given.get("model.tuning.file")
    if tuning and prompt and _short(tuning.value) == "SavedPrompt":
        need_file(prompt.value, prompt.place)
    detector = given.get("model.detector")
    # test and validate of a run take what it learned, not the detector of its recipe
    if detector and (is_fit or detector.place.startswith("--")):
        from glip_lightning.weights.detector_files import check_detector  # brings numpy

        check_detector(detector.value)


def _check_data(given: Mapping[str, Given], arguments: Sequence[str]) -> None:
    """Raise GLIPError if the data are not there, or if nobody says where they are."""
    data = given.get("data")
    if data is None:
        return
    of_data: dict[str, str] = {}
    missing: list[str] = []
    for name in PLACES.get(_short(data.value), ()):
        each = given.get(f"data.{name}")
        if each is None:
            missing.append(name)
        else:
            of_data[name] = each.value
    if missing:
        raise missing_values("data", data.value, missing, arguments)
    check_data(data.value, of_data)


def check_data(kind: str, arguments: Mapping[str, Any]) -> None:
    """Raise GLIPError if a data module will not find its data; they are not read.

    Args:
        kind: the class of the data module.
        arguments: its arguments, at least those that somebody gives.
    """
    root, task = arguments.get("root"), arguments.get("task")
    if _short(kind) == "ODinW" and root and task:
        from glip_lightning.data.benchmarks.odinw import ODinWTask, find_task  # bring numpy
        from glip_lightning.data.benchmarks.tasks import get_task

        found = get_task(task)
        if isinstance(found, ODinWTask):  # the class says to whom another one belongs
            find_task(root, found.name)
    if _short(kind) == "CustomData" and root:
        from glip_lightning.data.formats.layouts import need_data_set  # brings numpy

        need_data_set(root)


def is_path(checkpoint: str) -> bool:
    """Return whether a value of ``--ckpt_path`` is no address and no word of Lightning's."""
    return "://" not in checkpoint and checkpoint not in LIGHTNING_FINDS


def _are_right(words: Sequence[str]) -> bool:
    """Return whether no option can be wrong, as far as that is known without the parser.

    Otherwise the data wait for the parser: a wrong option is said before a task that is missing.
    """
    try:
        options = overrides_of(words)
    except WrongUsage:
        return False
    return all(_is_right(key.replace(".init_args", ""), value) for key, value in options)


def _is_right(key: str, value: str) -> bool:
    if key in NUMBERS:
        return value.isdigit() or (key, value) == ("data.shots", "all")
    return key in CHECKED and value != "" and not value.startswith("--")


def _short(class_path: str) -> str:
    return class_path.split(".")[-1]


def _check_run(folder: Path) -> None:
    """Raise GLIPError if the folder holds a finished run or another process works in it."""
    check_unfinished(folder)
    if (folder / LOCK_NAME).exists():
        lock = FolderLock()
        lock.hold(folder)
        lock.release()


def _in_recipe(file: str, content: Any) -> dict[str, Given]:
    """Return the values of a recipe by their dotted keys; of an object, its class."""
    found = {}
    for key, value in _flat(content):
        found[key] = Given(value, f"{file}: {key}: {value}")
    return found


def _in_options(overrides: Overrides) -> dict[str, Given]:
    """Return the values of options by their dotted keys, the last of each."""
    found = {}
    for key, value in overrides:
        found[key.replace(".init_args", "")] = Given(value, f"--{key} {value}")
    return found


def _options_in(words: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield the options of a command line that may be wrong, each with the text that follows."""
    for word, following in pairwise([*words, ""]):
        if word.startswith("--"):
            name, equals, value = word.removeprefix("--").partition("=")
            yield name, value if equals else following


def _texts(given: Mapping[str, Given]) -> dict[str, Given]:
    return {
        key: each
        for key, each in given.items()
        if isinstance(each.value, str) and each.value != "null"
    }


def _flat(content: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the values of nested mappings by dotted key, without ``init_args``, ``class_path``."""
    if not isinstance(content, dict):
        yield key, content
        return
    for name, value in content.items():
        passed_through = name in ("init_args", "class_path")
        below = key if passed_through else f"{key}.{name}".lstrip(".")
        yield from _flat(value, below)
