"""Sweep files: which points their grids have, and what each point changes in its recipe.

::

    name: odinw13_fewshot
    recipe: {0: zero_shot, all: all_shot, default: few_shot}  # or one; names, or files beside this
    axes:
      task: [Aquarium, Raccoon]    # also odinw13, odinw35, shapes13
      shots: [0, 1, 3, all]
      seed: [3, 30, 300]           # of the images and of the training
      tuning: [FullTuning, {...}]  # or {label: class name, or class_path and init_args}
      model.detector: [glip-tiny]  # any other dotted key of a recipe
    skip:                          # points that are left out
      - {shots: [3, all], tuning: PromptTuning}
"""

import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from glip_lightning.common.escaping import is_text
from glip_lightning.config.class_paths import with_public_names
from glip_lightning.config.recipe_files import recipe_file, recipe_names
from glip_lightning.config.usage_errors import read_recipe
from glip_lightning.config.wrong_usage import WrongUsage, meant
from glip_lightning.data.benchmarks.tasks import benchmarks, get_task, task_names
from glip_lightning.training.trial import Axes
from glip_lightning.weights.run_files import RUNS

KEYS = {
    "task": ("data.task",),
    "shots": ("data.shots",),
    "seed": ("seed_everything", "data.seed"),
    "tuning": ("model.tuning",),
}
"""The axes with a name of their own and what they set in a recipe."""
DEFAULT = "default"
FILE_KEYS = ("name", "recipe", "axes", "skip")
SWEEP_FOLDERS = ("sweeps", "shapes/sweeps")
"""Folders of the recipes in which a sweep is looked for by its name alone."""


@dataclass(frozen=True, slots=True)
class Regime:
    """A recipe file and its content."""

    file: Path
    content: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Grid:
    """The content of a sweep file, checked as far as it can be without the recipes' classes."""

    file: Path
    name: str
    regimes: dict[Any, Regime]
    """By number of shots; DEFAULT holds for all other numbers."""
    axes: dict[str, list[Any]]
    """Labels of each axis, in the order of the file."""
    tunings: dict[str, dict[str, Any]]
    """By label: ``class_path`` and perhaps ``init_args``."""
    skip: list[dict[str, list[Any]]] = field(default_factory=list)
    """Labels by axis, of each entry of ``skip``."""

    @property
    def axis_of(self) -> dict[str, str]:
        """The axes by the keys of recipes that they set."""
        found: dict[str, str] = {}
        for axis in self.axes:
            found |= dict.fromkeys(KEYS.get(axis, (axis,)), axis)
        return found

    def points(self) -> Iterator[Axes]:
        """Yield all combinations but those to skip; the axis that was named last changes first."""
        for values in itertools.product(*self.axes.values()):
            point = dict(zip(self.axes, values, strict=True))
            if not any(_agrees(point, entry) for entry in self.skip):
                yield point

    def regime(self, point: Mapping[str, Any]) -> Regime:
        """Return the recipe for the number of shots of a point.

        Raises:
            WrongUsage: the file names none for it (``no-recipe``).
        """
        regime = self.regimes.get(point.get("shots"), self.regimes.get(DEFAULT))
        if regime is None:
            shots = point.get("shots", "that the recipe itself names")
            raise WrongUsage(
                f"{self.file}, recipe: none for shots {shots}, and there is no {DEFAULT!r}",
                code="no-recipe",
            )
        return regime

    def changes(self, point: Mapping[str, Any]) -> dict[str, Any]:
        """Return what makes the recipe of ``point`` this point: values by dotted key.

        A tuning replaces the recipe's as a whole, so that no rate of one class reaches another.
        Where it is the recipe's own class and says nothing more, the recipe's values stay.
        """
        changes: dict[str, Any] = {}
        for axis, value in point.items():
            if axis == "tuning":
                value = self.tunings[value]
                own = (self.regime(point).content.get("model") or {}).get("tuning")
                if value.keys() == {"class_path"} and _same_class(value, own):
                    continue
            changes |= dict.fromkeys(KEYS.get(axis, (axis,)), value)
        return changes


def _agrees(point: Axes, labels: Mapping[str, Sequence[Any]]) -> bool:
    """Return whether a point has one of the given labels on each axis that is named."""
    return all(point[axis] in known for axis, known in labels.items())


def _same_class(one: Mapping[str, Any], other: object) -> bool:
    path = other.get("class_path") if isinstance(other, dict) else other
    return isinstance(path, str) and path.split(".")[-1] == one["class_path"].split(".")[-1]


def sweep_file(given: str) -> Path:
    """Return the file of a sweep by its name or path; the path where there is no such sweep.

    A name without a folder, like ``demo``, also means a sweep in one of :data:`SWEEP_FOLDERS` of
    the recipes. What exists at the path wins, but for a folder, which is no sweep file.
    """
    file = recipe_file(given)
    if file.exists() and not file.is_dir():
        return file
    names = recipe_names()
    for folder in SWEEP_FOLDERS:
        if f"{folder}/{given}" in names:
            return recipe_file(f"{folder}/{given}")
    return file


def default_folder(grid: Grid) -> Path:
    """Return where the trials of a sweep are if the user names no folder."""
    return RUNS / grid.name


def sweep_folder(given: str) -> Path:
    """Return the folder of the sweep that is called ``given``; the path ``given`` where none is."""
    file = sweep_file(given)
    if Path(given).exists() or not file.is_file():
        return Path(given)
    return default_folder(read_grid(file))


def read_grid(file: Path) -> Grid:
    """Return the grid of a sweep file.

    Raises:
        WrongUsage: something in it cannot be right; the message names the file and the axis.
    """
    content = _read(file)
    unknown = [str(key) for key in content if key not in FILE_KEYS]
    if unknown:
        raise WrongUsage(
            f"{file}: {unknown[0]}: no such key{meant(unknown[0], FILE_KEYS)}", code="unknown-key"
        )
    axes = content.get("axes")
    if not isinstance(axes, dict) or not axes:
        raise WrongUsage(
            f"{file}: axes is missing: a mapping like {{shots: [1, 10, all], seed: [3, 30]}}",
            code="missing-key",
        )
    labels = {axis: _labels(file, axis, values) for axis, values in axes.items()}
    name = content.get("name", file.stem)
    if not isinstance(name, str) or not name or Path(name).name != name:
        raise WrongUsage(
            f"{file}: name: {name!r}: expected a text that can name a folder", code="bad-value"
        )
    tunings = _tunings(file, axes["tuning"]) if "tuning" in axes else {}
    skip = _skipped(file, content.get("skip", []), labels)
    grid = Grid(file, name, _regimes(file, content.get("recipe")), labels, tunings, skip)
    if next(grid.points(), None) is None:
        raise WrongUsage(f"{file}, skip: leaves no point at all", code="empty-grid")
    return grid


def _read(file: Path) -> dict[str, Any]:
    try:
        content = read_recipe(file)
    except WrongUsage as error:
        raise WrongUsage(str(error).removeprefix("--config "), code=error.code) from None
    if not is_text(json.dumps(content, ensure_ascii=False, default=str)):
        raise WrongUsage(
            f"{file}: a part of a character in it (\\uD800 to \\uDFFF) is no Unicode text",
            code="broken-text",
        )
    return with_public_names(content)


def _regimes(file: Path, given: object) -> dict[Any, Regime]:
    files = given if isinstance(given, dict) else {DEFAULT: given}
    if not files or not all(isinstance(path, str) for path in files.values()):
        raise WrongUsage(
            f"{file}: recipe: a file, or a mapping like {{0: zero_shot, default: nano}}",
            code="bad-value",
        )
    for shots in files:
        if shots != DEFAULT and not _is_shots(shots):
            raise WrongUsage(
                f"{file}, recipe: {shots!r}: expected 0, 1, 2, ..., all or {DEFAULT}",
                code="bad-value",
            )
    regimes = {}
    for shots, path in files.items():
        recipe = recipe_file(path, file.parent)
        regimes[shots] = Regime(recipe, _read(recipe))
    return regimes


def _labels(file: Path, axis: object, given: object) -> list[Any]:
    """Return the labels of an axis as they are shown and compared, or raise WrongUsage."""
    where = f"{file}, axis {axis}"
    for named, keys in KEYS.items():
        if axis in keys:
            raise WrongUsage(f"{where}: write {named} instead", code="unknown-axis")
    if not isinstance(axis, str) or (axis not in KEYS and "." not in axis):
        raise WrongUsage(
            f"{where}: no such axis{meant(str(axis), list(KEYS))}; there are {', '.join(KEYS)} and "
            "the dotted keys of recipes, like trainer.max_epochs",
            code="unknown-axis",
        )
    values = list(given) if isinstance(given, dict) and axis == "tuning" else given
    if not isinstance(values, list):
        raise WrongUsage(f"{where}: {values!r}: expected a list", code="bad-value")
    if not values:
        raise WrongUsage(f"{where}: is empty; give it a value or leave it out", code="empty-axis")
    labels: list[Any] = []
    names: list[str] = []
    for value in values:
        for label in _checked(where, axis, value):
            name = get_task(label).name if axis == "task" else json.dumps(label)
            if name in names:
                first = labels[names.index(name)]
                raise WrongUsage(f"{where}: {first} is named twice", code="duplicate-value")
            labels.append(label)
            names.append(name)
    return labels


def _checked(where: str, axis: str, value: object) -> list[Any]:
    """Return the labels that one entry of an axis means, or raise WrongUsage."""
    if axis == "task":
        return _tasks(where, value)
    wanted = None
    if axis == "shots" and not _is_shots(value):
        wanted = "a whole number (0 for zero-shot) or all"
    elif axis == "seed" and not _is_count(value):
        wanted = "a whole number, 0 or more"
    elif axis == "tuning" and not isinstance(value, str):
        wanted = (
            "the name of a class; with arguments: {label: {class_path: NAME, init_args: {...}}}"
        )
    elif isinstance(value, list | dict):
        wanted = "a number, a text, true, false or null"
    if wanted:
        raise WrongUsage(f"{where}: {value!r}: expected {wanted}", code="bad-value")
    return [value]


def _is_shots(value: object) -> bool:
    return value == "all" or _is_count(value)


def _is_count(value: object) -> bool:
    """Return whether a value is a whole number from 0 on."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _tasks(where: str, value: object) -> list[str]:
    """Return the tasks of a benchmark by their clear names, or the one task."""
    if isinstance(value, str) and value in benchmarks():
        return [_clear_name(name) for name in task_names(value)]
    try:
        get_task(str(value))
    except ValueError as error:
        raise WrongUsage(f"{where}: {error}", code="unknown-task") from None
    return [str(value)]


def _clear_name(name: str) -> str:
    """Return the short name of a task; its full name where several variants have the short one."""
    short = get_task(name).short
    try:
        is_clear = get_task(short).name == name
    except ValueError:
        return name
    return short if is_clear else name


def _tunings(file: Path, given: list[Any] | dict[str, Any]) -> dict[str, dict[str, Any]]:
    named = given if isinstance(given, dict) else {name: name for name in given}
    tunings = {}
    for label, value in named.items():
        where = f"{file}, axis tuning, {label}"
        tuning = {"class_path": value} if isinstance(value, str) else value
        if not isinstance(tuning, dict) or not isinstance(tuning.get("class_path"), str):
            raise WrongUsage(
                f"{where}: {tuning!r}: expected class_path and perhaps init_args", code="bad-value"
            )
        extra = tuning.keys() - {"class_path", "init_args"}
        if extra:
            raise WrongUsage(f"{where}: {min(extra)}: belongs below init_args", code="unknown-key")
        tunings[label] = tuning
    return tunings


def _skipped(
    file: Path, given: object, axes: Mapping[str, list[Any]]
) -> list[dict[str, list[Any]]]:
    """Return the labels by axis of each entry of ``skip``, or raise WrongUsage."""
    if not isinstance(given, list) or not all(isinstance(each, dict) and each for each in given):
        raise WrongUsage(
            f"{file}, skip: expected a list of mappings like {{shots: 0, tuning: [PromptTuning]}}",
            code="bad-value",
        )
    found = []
    for number, each in enumerate(given, start=1):
        where = f"{file}, skip, entry {number}"
        entry = {}
        for axis, value in each.items():
            if axis not in axes:
                raise WrongUsage(
                    f"{where}: {axis}: no axis of this sweep{meant(str(axis), list(axes))}",
                    code="unknown-axis",
                )
            entry[axis] = value if isinstance(value, list) else [value]
            for label in entry[axis]:
                if label not in axes[axis]:
                    raise WrongUsage(
                        f"{where}: {axis} {label!r}: not on the axis, which has {axes[axis]}",
                        code="unknown-value",
                    )
        found.append(entry)
    return found


def select(points: Sequence[Axes], only: str) -> list[Axes]:
    """Return the points that ``only`` names, like ``task=Raccoon,shots=1,shots=10``.

    A point has to agree with every axis that is named, and with any of the values that it has
    there.

    Raises:
        WrongUsage: ``unknown-axis`` or ``unknown-value``.
    """
    axes = list(points[0])
    wanted: dict[str, list[str]] = {}
    for part in only.split(","):
        axis, sep, value = part.partition("=")
        axis, value = axis.strip(), value.strip()
        if not sep or axis not in axes:
            raise WrongUsage(
                f"--only {part}: expected AXIS=VALUE with an axis of "
                f"{', '.join(axes)}{meant(axis, axes)}",
                code="unknown-axis",
            )
        values = list(dict.fromkeys(label_text(point[axis]) for point in points))
        if value not in values:
            raise WrongUsage(
                f"--only {part}: the axis {axis} has {', '.join(values)}{meant(value, values)}",
                code="unknown-value",
            )
        wanted.setdefault(axis, []).append(value)

    def is_named(point: Axes) -> bool:
        return all(label_text(point[axis]) in values for axis, values in wanted.items())

    return [point for point in points if is_named(point)]


def label_text(label: object) -> str:
    """Return a label as it stands in a sweep file."""
    return label if isinstance(label, str) else json.dumps(label)
