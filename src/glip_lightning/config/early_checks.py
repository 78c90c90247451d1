"""Paths and names of a command line, checked before anything heavy is imported and anything is downloaded.

Only what cannot be right is refused here; what needs torch, Lightning or the network to be known is checked later.
"""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from glip_lightning.common.errors import GLIPError
from glip_lightning.common.files import regular_file
from glip_lightning.common.locks import LOCK_NAME, FolderLock
from glip_lightning.common.schema import parse_yaml
from glip_lightning.config.recipe_files import given_recipes
from glip_lightning.config.wrong_usage import WrongUsage
from glip_lightning.weights.detector_files import check_detector
from glip_lightning.weights.run_files import check_unfinished

READ_FROM_ROOT = ("ODinW", "CustomData", "Pretraining")
"""Classes of data whose root has to be there; others make theirs."""
PRINTING = ("--help", "-h", "--print_config")
RANKS = ("RANK", "LOCAL_RANK", "NODE_RANK", "GROUP_RANK", "SLURM_PROCID")
"""What tells the processes of a run apart: the first one has 0 or none in all of them."""


class Given(NamedTuple):
    """The value of an option, and where it stands."""

    value: Any
    place: str


def check_training(arguments: Sequence[str]) -> None:
    """Check what ``fit``, ``validate`` or ``test`` is given, in recipes and on the command line.

    Raises:
        WrongUsage: neither a recipe nor a class of data is named (``no-recipe``).
        GLIPError: a folder of data, a file of phrases or a detector that is not there; a folder for the run that is
            finished or in use.
    """
    if any(word.split("=")[0] in PRINTING for word in arguments):
        return
    given = {key: each for key, each in _given(arguments) if isinstance(each.value, str)}
    names = {word.split("=")[0] for word in arguments}
    if not names & {"--config", "-c", "--data", "--resume"}:
        message = (
            "needs --config RECIPE: custom_nano for photos of yours on a CPU, custom with a GPU"
        )
        raise WrongUsage(f"{arguments[0]}: {message}; glip recipes lists all", code="no-recipe")
    if (
        "data.root" in given
        and "data" in given
        and given["data"].value.split(".")[-1] in READ_FROM_ROOT
    ):
        root = given["data.root"]
        need_folder(
            root.value, root.place, "give the folder of the data; glip download gets tasks of ODinW"
        )
    if "data.phrases_file" in given:
        need_file(*given["data.phrases_file"])
    detector = given.get("model.detector")
    if detector and (
        arguments[0] == "fit" or detector.place.startswith("--")
    ):  # test of a run takes what it learned
        check_detector(detector.value)
    if "resume" in given:
        need_folder(
            given["resume"].value, given["resume"].place, "give the folder of the interrupted run"
        )
    if "run" in given and all(os.environ.get(rank, "0") == "0" for rank in RANKS):
        _check_run(Path(given["run"].value))


def need_file(path: str | None, place: str) -> None:
    """Raise GLIPError if no file is at ``path``; ``place`` begins the message. None is a file that is not asked for."""
    if path is None:
        return
    try:
        regular_file(path)
    except (FileNotFoundError, NotADirectoryError):
        raise GLIPError(f"{place}: no such file; check the path", code="missing-file") from None


def need_folder(path: str, place: str, cure: str = "check the path") -> None:
    """Raise GLIPError if no folder is at ``path``; ``place`` begins the message, ``cure`` ends it."""
    if not Path(path).is_dir():
        what = "is a file, not a folder" if Path(path).exists() else "no such folder"
        raise GLIPError(f"{place}: {what}; {cure}", code="missing-folder")


def _check_run(folder: Path) -> None:
    """Raise GLIPError if the folder holds a finished run or another process works in it."""
    check_unfinished(folder)
    if (folder / LOCK_NAME).exists():
        lock = FolderLock()
        lock.hold(folder)
        lock.release()


def _given(arguments: Sequence[str]) -> Iterator[tuple[str, Given]]:
    """Yield the dotted key of each option with its value; of an object its class. Later ones replace earlier ones."""
    for file in given_recipes(arguments):
        for key, value in _flat(parse_yaml(Path(file).read_text(encoding="utf-8"), file)):
            yield key, Given(value, f"{file}: {key}: {value}")
    for word, following in zip(arguments, [*arguments[1:], ""], strict=True):
        if word.startswith("--"):
            name, equals, value = word.removeprefix("--").partition("=")
            value = value if equals else following
            yield name.replace(".init_args", ""), Given(value, f"--{name} {value}")


def _flat(content: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the values of nested mappings by dotted key, without ``init_args`` and ``class_path``."""
    if not isinstance(content, dict):
        yield key, content
        return
    for name, value in content.items():
        yield from _flat(
            value, key if name in ("init_args", "class_path") else f"{key}.{name}".lstrip(".")
        )
