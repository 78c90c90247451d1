"""The trials of a grid: its points are checked, equal runs are one trial, steps are counted."""

import hashlib
import json
import logging
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import torch

from glip_lightning import __version__
from glip_lightning.config.overrides import Overrides
from glip_lightning.config.recipe_checker import CheckedRecipe, Once, RecipeChecker, built
from glip_lightning.config.wrong_usage import WrongUsage
from glip_lightning.data.checks.consistency import check_splits, choose_classes
from glip_lightning.data.checks.findings import Findings, data_error
from glip_lightning.data.index import Index
from glip_lightning.experiments.recipe_keys import WITHOUT_EFFECT
from glip_lightning.experiments.sweep.grid import KEYS, Grid
from glip_lightning.training.batching import plan
from glip_lightning.training.callbacks.retention import probe_split
from glip_lightning.training.data_module import DetectionData
from glip_lightning.training.trial import Axes, Trial
from glip_lightning.tuning.base import Tuning
from glip_lightning.weights.load import shipped, skeleton
from glip_lightning.weights.run_files import RUN_ADAPTER, RUN_DETECTOR

UNTRAINED: dict[str, Any] = {
    "model.tuning": None,
    "model.schedule": None,
    "trainer.callbacks": None,
    "trainer.max_epochs": None,
    "trainer.max_steps": -1,
    "trainer.min_epochs": None,
    "trainer.min_steps": None,
    "trainer.max_time": None,
    "trainer.gradient_clip_val": None,
    "trainer.check_val_every_n_epoch": None,
    "trainer.val_check_interval": None,
    "data.images_per_device": None,
    "data.seed": 0,
    "data.copies": 1,
    "data.batch_size": 1,
    "data.flip": 0.0,
    "data.negatives": True,
}
"""Keys of training and the values that they get where nothing is trained."""

NOT_READ = (
    *("shots", "seed", "copies", "batch_size", "images_per_device"),
    *("min_sizes", "max_size", "test_size", "flip", "workers", "negatives", "prompts"),
)
"""Arguments of data that do not change which files are read."""

NOT_FOR_SWEEPS = ("config", "run", "resume", "ckpt_path")
"""Options of ``fit`` that the sweep file or the sweep itself decides."""


@dataclass(frozen=True)
class Planned:
    """A trial to run."""

    trial: Trial
    recipe: dict[str, Any]
    """Complete recipe of the run."""
    images: int
    """Number of images that it trains on."""
    steps: int | None
    """Most optimizer steps that it takes; None where nothing bounds them."""


def resolve(
    grid: Grid, overrides: Overrides, progress: Callable[[int, int], None] | None = None
) -> list[Planned]:
    """Return all trials of ``grid`` in the order of its points.

    ``overrides`` hold for each trial. ``progress`` is called with the number of points that are
    done and of all points.

    Raises:
        WrongUsage: each error of all trials once, with the number of trials that have it. Its code
            is that of the first one.
    """
    _check_overrides(grid, overrides)
    points = list(grid.points())
    found: dict[str, Planned] = {}
    errors: Counter[str] = Counter()
    codes = []
    checker = RecipeChecker()
    reader = _Reader()
    with _without_warnings():
        for number, point in enumerate(points, start=1):
            try:
                planned = _planned(grid, point, overrides, checker, reader)
            except (ValueError, TypeError, OSError) as error:
                errors[_with_axis(str(error), grid)] += 1
                codes.append(getattr(error, "code", "wrong-usage"))
                continue
            finally:
                if progress:
                    progress(number, len(points))
            same = found.get(planned.trial.id)
            if same:
                points_of_both = (*same.trial.points, *planned.trial.points)
                planned = replace(same, trial=replace(same.trial, points=points_of_both))
            found[planned.trial.id] = planned
    if errors:
        messages = [_with_count(text, count, len(points)) for text, count in errors.items()]
        raise WrongUsage("\n  ".join(messages), code=codes[0])
    return list(found.values())


def _check_overrides(grid: Grid, overrides: Overrides) -> None:
    """Raise WrongUsage for an option that an axis or the sweep itself sets."""
    axis_of = grid.axis_of
    for option, _ in overrides:
        if option in NOT_FOR_SWEEPS:
            raise WrongUsage(
                f"--{option}: not for a sweep, whose file names recipes and folders",
                code="option-without-use",
            )
        key = option.replace(".init_args", "")
        if key in axis_of:
            axis = axis_of[key]
            raise WrongUsage(
                f"--{key}: {axis} is an axis of {grid.file}; --only {axis}=VALUE runs a part of it",
                code="option-of-an-axis",
            )


def _planned(
    grid: Grid, point: Axes, overrides: Overrides, checker: RecipeChecker, reader: "_Reader"
) -> Planned:
    """Return the trial of one point, or raise what is wrong with its recipe, data or tuning."""
    regime = grid.regime(point)
    changes = [*grid.changes(point).items(), *overrides]
    checked = checker.check(regime.file, regime.content, changes)
    if checked.data.shots == 0:
        checked = replace(checked, recipe=untrained(checked.recipe))
    images = reader.images(checked)
    reader.check_tuning(checked)
    reader.check_probe(checked)
    axes = {**_own_axes(checked), **point}
    trial = Trial(grid.name, identity(checked), axes, (axes,))
    return Planned(trial, checked.recipe, images, _steps(checked, images))


def _own_axes(checked: CheckedRecipe) -> Axes:
    """Return the four axes that every trial has, as the recipe says them."""
    data = checked.data
    tuning = checked.recipe["model"]["tuning"] or {"class_path": "FullTuning"}
    name = tuning["class_path"].split(".")[-1]
    return {"task": data.task_name, "shots": data.shots, "seed": data.seed, "tuning": name}


def untrained(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """Return the recipe of a run that trains nothing, with fixed values where they cannot matter.

    So recipes of equal runs become equal. The seed stays where it draws the weights.
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
    """Return the id of a trial: twelve hexadecimal digits of a SHA-256.

    It covers all that decides the result: the recipe, the weights, the version of
    generated data and the version of the package.
    """
    content = deepcopy(checked.recipe)
    for key in WITHOUT_EFFECT:
        part, name = key.split(".")
        content[part].get("init_args", content[part]).pop(name, None)
    generated = [data.version for data in (checked.data, checked.probe) if data is not None]
    decides = [content, _weights_of(content["model"]["detector"]), generated, __version__]
    text = json.dumps(decides, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _weights_of(detector: str) -> str | None:
    """Return a hash of the weights of a detector; None where its folder has none.

    Where the detector is trained anew, its trials are other trials.
    """
    folder = Path(shipped(detector) or detector)
    files: list[Path] = []
    for name in (".", RUN_DETECTOR, RUN_ADAPTER):
        files += Path(folder, name).glob("*.safetensors")
    if not files:
        return None
    return _digest(tuple((str(file), file.stat().st_mtime_ns) for file in sorted(files)))


@cache
def _digest(files: tuple[tuple[str, int], ...]) -> str:
    """Return the SHA-256 of the contents of files, of which each comes with its time of change."""
    digest = hashlib.sha256()
    for file, _ in files:
        digest.update(Path(file).read_bytes())
    return digest.hexdigest()


class _Reader:
    """Reads every data set once, and chooses the images of every number of shots and seed once."""

    def __init__(self) -> None:
        self._once = Once()

    def check_tuning(self, checked: CheckedRecipe) -> None:
        """Raise an error if the tuning does not fit the parts of the detector."""
        model = checked.recipe["model"]
        tuning = checked.tuning
        if checked.data.shots != 0 and tuning:
            key = ["tuning", model["detector"], model["tuning"]]
            self._once.get(key, lambda: _check_tuning(model["detector"], built(tuning)))

    def check_probe(self, checked: CheckedRecipe) -> None:
        """Raise an error if the probe set of retention cannot be read."""
        probe = checked.probe
        if probe is not None:
            self._once.get(["probe", checked.recipe["retention"]], lambda: probe_split(probe))

    def images(self, checked: CheckedRecipe) -> int:
        """Return how many images a trial trains on; raise faults of the data for each trial."""
        data = checked.data
        given = checked.recipe["data"]
        ignored = () if getattr(data, "prepared", False) else NOT_READ
        arguments = {key: value for key, value in given["init_args"].items() if key not in ignored}
        which = [given["class_path"], arguments]
        train = self._once.get(["data", which], lambda: _train_split(data))
        if data.shots == 0:
            return 0
        chosen = ["images", which, data.shots, data.seed, data.negatives]
        return self._once.get(chosen, lambda: data.count(train))


def _check_tuning(detector: str, tuning: Tuning) -> None:
    """Raise an error if the tuning does not fit a detector, of which no weights are loaded."""
    model = skeleton(detector)
    if model is not None:
        with torch.device("meta"):
            tuning.check_model(model)


def _train_split(data: DetectionData) -> Index | None:
    """Return the split to train on, or raise the errors of the data."""
    findings = Findings()
    data.prepare_data()
    splits = choose_classes(check_splits(data.read(findings), findings), data.classes, findings)
    findings.raise_errors()
    if not splits:
        raise data_error("no-split", data.label)
    return splits.get("train")


def _steps(checked: CheckedRecipe, images: int) -> int | None:
    """Return the optimizer steps if nothing ends the run early; None where that is unknown."""
    data = checked.data
    trainer = checked.recipe["trainer"]
    if data.shots == 0:
        return 0
    is_limited = trainer["limit_train_batches"] not in (None, 1.0)
    if is_limited or trainer["overfit_batches"] or trainer["fast_dev_run"]:
        return None
    devices = trainer["devices"]
    if not isinstance(devices, int) or devices < 1:
        devices = 1
    batching = plan(data.batch_size, devices * trainer["num_nodes"], data.images_per_device)
    epochs = trainer["max_epochs"]
    steps = trainer["max_steps"]
    bounds = [steps] if steps >= 0 else []
    if epochs is None and not bounds:
        epochs = 1000  # the default of Lightning
    if epochs is not None and epochs >= 0:
        bounds.append(epochs * batching.steps(images * data.copies))
    return min(bounds, default=None)


def _with_axis(message: str, grid: Grid) -> str:
    """Return a message that names the axis in place of the options that it sets."""
    for axis in grid.axes:
        for key in KEYS.get(axis, (axis,)):
            message = message.replace(f"--{key}: ", f"{grid.file}, axis {axis}: ")
            message = message.replace(f"--{key} ", f"{grid.file}, axis {axis}: ", 1)
    return message


def _with_count(message: str, count: int, total: int) -> str:
    """Return a message with the number of trials that it is about."""
    if total == 1:
        return message
    affected = "all" if count == total else count
    return f"{message} (in {affected} of {total} trials)"


@contextmanager
def _without_warnings() -> Iterator[None]:
    """Silence warnings about data: each trial writes them to its own log."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)
