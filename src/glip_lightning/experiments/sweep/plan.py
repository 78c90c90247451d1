"""The trials of a grid: every point checked and validated, equal runs told by their hash, their work counted."""

import hashlib
import json
import logging
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import torch

from glip_lightning import __version__
from glip_lightning.config.recipe_checker import CheckedRecipe, Once, RecipeChecker, built
from glip_lightning.config.wrong_usage import WrongUsage
from glip_lightning.data.checks.consistency import check_splits, choose_classes
from glip_lightning.data.checks.findings import DataError, Findings
from glip_lightning.data.index import Index
from glip_lightning.experiments.recipe_keys import WITHOUT_EFFECT
from glip_lightning.experiments.sweep.grid import KEYS, Grid
from glip_lightning.text.tokenizer import Tokenizer
from glip_lightning.training.batching import plan
from glip_lightning.training.callbacks.retention import probe_split
from glip_lightning.training.data_module import DetectionData
from glip_lightning.training.trial import Axes, Trial
from glip_lightning.tuning.base import Tuning
from glip_lightning.tuning.lora import LoRATuning
from glip_lightning.tuning.prompt import PromptTuning
from glip_lightning.tuning.weight_tunings import FullTuning, LanguageTuning, PartialTuning
from glip_lightning.weights.base_model import RUN_ADAPTER
from glip_lightning.weights.detector_files import RUN_DETECTOR
from glip_lightning.weights.load import shipped, skeleton

CHECKED = (FullTuning, LanguageTuning, LoRATuning, PartialTuning, PromptTuning)
"""Tunings that may not fit a detector."""

UNTRAINED: dict[str, Any] = {
    **dict.fromkeys(
        ("model.tuning", "model.schedule", "trainer.callbacks", "trainer.max_epochs"), None
    ),
    **dict.fromkeys(
        ("trainer.gradient_clip_val", "trainer.check_val_every_n_epoch", "data.images_per_device"),
        None,
    ),
    **{
        "trainer.max_steps": -1,
        "trainer.min_epochs": None,
        "trainer.min_steps": None,
        "trainer.max_time": None,
    },
    "trainer.val_check_interval": None,
    **{
        "data.seed": 0,
        "data.copies": 1,
        "data.batch_size": 1,
        "data.flip": 0.0,
        "data.negatives": True,
    },
}
"""Keys of training and the values that they get where nothing is trained."""

NOT_READ = (
    *(
        "shots",
        "seed",
        "copies",
        "batch_size",
        "images_per_device",
        "min_sizes",
        "max_size",
        "test_size",
    ),
    *("flip", "workers", "negatives", "prompts"),
)
"""Arguments of data that do not change which files are read."""


@dataclass(frozen=True)
class Planned:
    """A trial to run."""

    trial: Trial
    recipe: dict[str, Any]
    """Complete."""
    images: int
    """How many it trains on."""
    steps: int | None
    """It takes at most so many; None where nothing bounds them."""


def resolve(
    grid: Grid, overrides: Sequence[str], tell: Callable[[int, int], None] | None = None
) -> list[Planned]:
    """All trials of ``grid`` in the order of its points, with ``overrides`` (options of ``fit``) in each.

    Every error of every trial is collected; then :class:`WrongUsage` says each once, with how many trials have it; its
    code is that of the first one.
    ``tell`` is told how many points of how many are done.
    """
    _check_overrides(grid, overrides)
    points = list(grid.points())
    found: dict[str, Planned] = {}
    errors: Counter[str] = Counter()
    codes = []
    checker, reader = RecipeChecker(), _Reader()
    with _silent():
        for number, point in enumerate(points):
            try:
                planned = _planned(grid, point, overrides, checker, reader)
            except (ValueError, TypeError, OSError) as error:
                errors[_of_axis(str(error), grid)] += 1
                codes.append(getattr(error, "code", "wrong-usage"))
                continue
            finally:
                if tell:
                    tell(number + 1, len(points))
            if same := found.get(planned.trial.id):
                points_of_both = (*same.trial.points, *planned.trial.points)
                planned = replace(same, trial=replace(same.trial, points=points_of_both))
            found[planned.trial.id] = planned
    if errors:
        said = "\n  ".join(_counted(message, n, len(points)) for message, n in errors.items())
        raise WrongUsage(said, code=codes[0])
    return list(found.values())


def _check_overrides(grid: Grid, overrides: Sequence[str]) -> None:
    taken = {key: axis for axis in grid.axes for key in KEYS.get(axis, (axis,))}
    for word in overrides:
        key = word.split("=")[0].removeprefix("--").replace(".init_args", "")
        if not word.startswith("-"):
            continue
        if word.split("=")[0] in ("--config", "-c", "--run", "--resume", "--ckpt_path"):
            raise WrongUsage(
                f"{word.split('=')[0]}: not for a sweep, whose file names recipes and folders",
                code="option-without-use",
            )
        if axis := next((axis for k, axis in taken.items() if key == k), None):
            raise WrongUsage(
                f"--{key}: {axis} is an axis of {grid.file}; --only {axis}=VALUE runs a part of it",
                code="option-of-an-axis",
            )


def _planned(
    grid: Grid, point: Axes, overrides: Sequence[str], checker: RecipeChecker, reader: "_Reader"
) -> Planned:
    regime = grid.regime(point)
    checked = checker.check(regime.file, regime.content, grid.changes(point), overrides)
    if checked.data.shots == 0:
        checked = replace(checked, recipe=untrained(checked.recipe))
    images = reader.images(checked)
    reader.check_tuning(checked)
    reader.check_probe(checked)
    axes = {**_own_axes(checked), **point}
    trial = Trial(grid.name, identity(checked), axes, (axes,))
    return Planned(trial, checked.recipe, images, _steps(checked, images))


def _own_axes(checked: CheckedRecipe) -> Axes:
    """The four axes that every trial has, from the recipe where the grid does not name them."""
    data = checked.data
    tuning = checked.recipe["model"]["tuning"] or {"class_path": "FullTuning"}
    name = tuning["class_path"].split(".")[-1]
    return {"task": data.task_name, "shots": data.shots, "seed": data.seed, "tuning": name}


def untrained(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """``recipe`` of a run that trains nothing, without what then cannot matter: equal runs become equal.

    The seed stays where it draws the weights.
    """
    content = deepcopy(dict(recipe)) | {"retention": None}
    for key, value in UNTRAINED.items():
        part, name = key.split(".")
        owner = content[part].get("init_args", content[part])
        if name in owner:
            owner[name] = value
    if content["model"]["weights"] != "random":
        content["seed_everything"] = 0
    return content


def identity(checked: CheckedRecipe) -> str:
    """Twelve hexadecimal digits of the SHA-256 of all that decides the result: recipe, weights, generated data and
    version of the package."""
    content = deepcopy(checked.recipe)
    for key in WITHOUT_EFFECT:
        part, name = key.split(".")
        content[part].get("init_args", content[part]).pop(name, None)
    generated = [data.version for data in (checked.data, checked.probe) if data is not None]
    decides = [content, _weights_of(content["model"]["detector"]), generated, __version__]
    text = json.dumps(decides, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _weights_of(detector: str) -> str | None:
    """What is in the folder of a detector, also of a shipped one: trained anew, it makes other trials."""
    folder = shipped(detector) or detector
    files = [
        x
        for name in (".", RUN_DETECTOR, RUN_ADAPTER)
        for x in Path(folder, name).glob("*.safetensors")
    ]
    return _digest(tuple((str(x), x.stat().st_mtime_ns) for x in sorted(files))) if files else None


@cache
def _digest(files: tuple[tuple[str, int], ...]) -> str:
    """SHA-256 of the contents; the times say when one has changed."""
    digest = hashlib.sha256()
    for file, _ in files:
        digest.update(Path(file).read_bytes())
    return digest.hexdigest()


class _Reader:
    """Reads every data set once, and chooses the images of every number of shots and seed once."""

    def __init__(self) -> None:
        self._once = Once()

    def check_tuning(self, checked: CheckedRecipe) -> None:
        """Raise an error if the tuning does not fit the detector, as far as the names of its parts say."""
        model, tuning = checked.recipe["model"], checked.tuning
        if checked.data.shots != 0 and tuning:
            key = ["tuning", model["detector"], model["tuning"]]
            self._once.get(key, lambda: _set_up(model["detector"], built(tuning)))

    def check_probe(self, checked: CheckedRecipe) -> None:
        """Raise an error if the probe set of retention cannot be read."""
        if (probe := checked.probe) is not None:
            self._once.get(["probe", checked.recipe["retention"]], lambda: probe_split(probe))

    def images(self, checked: CheckedRecipe) -> int:
        """Return how many a trial trains on; a fault of the data is raised for every trial that has them."""
        data, given = checked.data, checked.recipe["data"]
        own = () if getattr(data, "prepared", False) else NOT_READ
        arguments = {key: value for key, value in given["init_args"].items() if key not in own}
        which = [given["class_path"], arguments]
        train = self._once.get(["data", which], lambda: _train_split(data))
        if data.shots == 0:
            return 0
        chosen = ["images", which, data.shots, data.seed, data.negatives]
        return self._once.get(chosen, lambda: data.count(train))


def _set_up(detector: str, tuning: Tuning) -> None:
    model = skeleton(detector) if isinstance(tuning, CHECKED) else None
    if model is None or (isinstance(tuning, PromptTuning) and model.reads_text):
        return  # a prompt asks the classes of the data
    with torch.device("meta"):
        tuning.setup(model, None, Tokenizer.nano())  # the others ask neither classes nor tokenizer


def _train_split(data: DetectionData) -> Index | None:
    """Return the split to train on, of data whose splits have no error."""
    findings = Findings()
    data.prepare_data()
    splits = choose_classes(check_splits(data.read(findings), findings), data.classes, findings)
    findings.raise_errors()
    if not splits:
        raise DataError(f"{data.label}: there is no split at all; check the path", code="no-split")
    return splits.get("train")


def _steps(checked: CheckedRecipe, images: int) -> int | None:
    """Optimizer steps if nothing ends the run early; None where that is unknown."""
    data, trainer = checked.data, checked.recipe["trainer"]
    if data.shots == 0:
        return 0
    if (
        trainer["limit_train_batches"] not in (None, 1.0)
        or trainer["overfit_batches"]
        or trainer["fast_dev_run"]
    ):
        return None
    devices = (
        trainer["devices"] if isinstance(trainer["devices"], int) and trainer["devices"] > 0 else 1
    )
    per_epoch = plan(data.batch_size, devices * trainer["num_nodes"], data.images_per_device)
    epochs, steps = trainer["max_epochs"], trainer["max_steps"]
    bounds = [steps] if steps >= 0 else []
    if epochs is None and not bounds:
        epochs = 1000  # Lightning's
    if epochs is not None and epochs >= 0:
        bounds.append(epochs * per_epoch.steps(images * data.copies))
    return min(bounds, default=None)


def _of_axis(message: str, grid: Grid) -> str:
    """The axis in the place of the options that it sets."""
    for axis in grid.axes:
        for key in KEYS.get(axis, (axis,)):
            message = message.replace(f"--{key}: ", f"{grid.file}, axis {axis}: ")
            message = message.replace(f"--{key} ", f"{grid.file}, axis {axis}: ", 1)
    return message


def _counted(message: str, count: int, total: int) -> str:
    return (
        message
        if total == 1
        else f"{message} (in {'all' if count == total else count} of {total} trials)"
    )


@contextmanager
def _silent() -> Iterator[None]:
    """What data have to say is said by each trial in its log."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)
