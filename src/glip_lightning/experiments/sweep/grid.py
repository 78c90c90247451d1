"""A sweep file -> the points of its grid, each as a recipe and what it changes in it.

::

    name: odinw13_fewshot
    recipe: {0: zero_shot, all: all_shot, default: few_shot}  # or one; names, or files beside this one
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
from pathlib import Path
from typing import Any, NamedTuple, cast

from glip_lightning.common.escaping import is_text
from glip_lightning.config.class_paths import with_public_names
from glip_lightning.config.recipe_files import recipe_file
from glip_lightning.config.usage_errors import read_recipe
from glip_lightning.config.wrong_usage import WrongUsage, meant
from glip_lightning.data.benchmarks.tasks import benchmarks, get_task, task_names
from glip_lightning.training.trial import Axes

KEYS = {
    "task": ("data.task",),
    "shots": ("data.shots",),
    "seed": ("seed_everything", "data.seed"),
    "tuning": ("model.tuning",),
}
"""The axes with a name of their own and what they set in a recipe."""
DEFAULT = "default"
FILE_KEYS = ("name", "recipe", "axes", "skip")


class Regime(NamedTuple):
    """A recipe file and what is in it."""

    file: Path
    content: dict[str, Any]


class Grid(NamedTuple):
    """The content of a sweep file, checked as far as it can be without the recipes' classes."""

    file: Path
    name: str
    regimes: dict[Any, Regime]  # by shots; DEFAULT for the others
    axes: dict[str, list[Any]]  # labels, in the order of the file
    tunings: dict[str, dict[str, Any]]  # by label: class_path and perhaps init_args
    skip: list[dict[str, list[Any]]] = []  # noqa: RUF012 - labels by axis; nobody changes it

    def points(self) -> Iterator[Axes]:
        """All combinations but those to skip; the axis that was named last changes first."""
        for values in itertools.product(*self.axes.values()):
            point = dict(zip(self.axes, values, strict=True))
            if not any(
                all(point[axis] in labels for axis, labels in each.items()) for each in self.skip
            ):
                yield point

    def regime(self, point: Mapping[str, Any]) -> Regime:
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

        A tuning replaces the recipe's as a whole, so that no rate of one class reaches another; where it is the
        recipe's own class and says nothing more, the recipe's values stay.
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


def _same_class(one: Mapping[str, Any], other: object) -> bool:
    path = other.get("class_path") if isinstance(other, dict) else other
    return isinstance(path, str) and path.split(".")[-1] == one["class_path"].split(".")[-1]


def read_grid(file: Path) -> Grid:
    """Raises :class:`WrongUsage` that names the file and the axis."""
    content = _read(file)
    if unknown := [key for key in content if key not in FILE_KEYS]:
        raise WrongUsage(
            f"{file}: {unknown[0]}: no such key{meant(str(unknown[0]), FILE_KEYS)}",
            code="unknown-key",
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
    if not all(isinstance(path, str) for path in files.values()) or not files:
        raise WrongUsage(
            f"{file}: recipe: a file, or a mapping like {{0: zero_shot, default: nano}}",
            code="bad-value",
        )
    if wrong := [shots for shots in files if shots != DEFAULT and not _is_shots(shots)]:
        raise WrongUsage(
            f"{file}, recipe: {wrong[0]!r}: expected 0, 1, 2, ..., all or {DEFAULT}",
            code="bad-value",
        )
    paths = {shots: recipe_file(path, file.parent) for shots, path in files.items()}
    return {shots: Regime(path, _read(path)) for shots, path in paths.items()}


def _labels(file: Path, axis: object, given: object) -> list[Any]:
    """The values of an axis as they are shown and compared; what they may be is checked here."""
    where = f"{file}, axis {axis}"
    named = {key: axis for axis, keys in KEYS.items() for key in keys}
    if axis in named:
        raise WrongUsage(f"{where}: write {named[axis]} instead", code="unknown-axis")
    if not isinstance(axis, str) or (axis not in KEYS and "." not in axis):
        raise WrongUsage(
            f"{where}: no such axis{meant(str(axis), list(KEYS))}; there are {', '.join(KEYS)} and the dotted keys "
            "of recipes, like trainer.max_epochs",
            code="unknown-axis",
        )
    values = list(given) if isinstance(given, dict) and axis == "tuning" else given
    if not isinstance(values, list):
        raise WrongUsage(f"{where}: {values!r}: expected a list", code="bad-value")
    if not values:
        raise WrongUsage(f"{where}: is empty; give it a value or leave it out", code="empty-axis")
    labels = [label for value in values for label in _checked(where, axis, value)]
    known = (
        [get_task(label).name for label in labels]
        if axis == "task"
        else [json.dumps(x) for x in labels]
    )
    if twice := [label for label, name in zip(labels, known, strict=True) if known.count(name) > 1]:
        raise WrongUsage(f"{where}: {twice[0]} is named twice", code="duplicate-value")
    return labels


def _checked(where: str, axis: str, value: object) -> list[Any]:
    """What one entry of an axis stands for."""
    if axis == "task":
        return _tasks(where, value)
    wanted = None
    if axis == "shots" and not _is_shots(value):
        wanted = "a whole number (0 for zero-shot) or all"
    elif axis == "seed" and (not _is_whole(value) or cast(int, value) < 0):
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
    return value == "all" or (_is_whole(value) and cast(int, value) >= 0)


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _tasks(where: str, value: object) -> list[str]:
    """Short names where these are clear."""
    if isinstance(value, str) and value in benchmarks():
        names = task_names(value)
        return [short if _means(short := get_task(name).short, name) else name for name in names]
    try:
        get_task(str(value))
    except ValueError as error:
        raise WrongUsage(f"{where}: {error}", code="unknown-task") from None
    return [str(value)]


def _means(short: str, name: str) -> bool:
    try:
        return get_task(short).name == name
    except ValueError:  # several variants have it
        return False


def _tunings(file: Path, given: list[Any] | dict[str, Any]) -> dict[str, dict[str, Any]]:
    named = given if isinstance(given, dict) else {name: name for name in given}
    tunings = {label: {"class_path": x} if isinstance(x, str) else x for label, x in named.items()}
    for label, tuning in tunings.items():
        if not isinstance(tuning, dict) or not isinstance(tuning.get("class_path"), str):
            raise WrongUsage(
                f"{file}, axis tuning, {label}: {tuning!r}: expected class_path and perhaps init_args",
                code="bad-value",
            )
        if extra := tuning.keys() - {"class_path", "init_args"}:
            raise WrongUsage(
                f"{file}, axis tuning, {label}: {min(extra)}: belongs below init_args",
                code="unknown-key",
            )
    return tunings


def _skipped(
    file: Path, given: object, axes: Mapping[str, list[Any]]
) -> list[dict[str, list[Any]]]:
    """The labels that each entry of ``skip`` names; all of its axes must agree for a point to be left out."""
    if not isinstance(given, list) or not all(isinstance(each, dict) and each for each in given):
        raise WrongUsage(
            f"{file}, skip: expected a list of mappings like {{shots: 0, tuning: [PromptTuning]}}",
            code="bad-value",
        )
    found = []
    for number, each in enumerate(given, start=1):
        where = f"{file}, skip, entry {number}"
        if unknown := [axis for axis in each if axis not in axes]:
            raise WrongUsage(
                f"{where}: {unknown[0]}: no axis of this sweep{meant(str(unknown[0]), list(axes))}",
                code="unknown-axis",
            )
        entry = {axis: x if isinstance(x, list) else [x] for axis, x in each.items()}
        for axis, labels in entry.items():
            if wrong := [label for label in labels if label not in axes[axis]]:
                raise WrongUsage(
                    f"{where}: {axis} {wrong[0]!r}: not on the axis, which has {axes[axis]}",
                    code="unknown-value",
                )
        found.append(entry)
    return found


def select(points: Sequence[Axes], only: str) -> list[Axes]:
    """The points that ``only`` names, like ``task=Raccoon,shots=1,shots=10``: any of an axis's values, all axes."""
    wanted: dict[str, set[str]] = {}
    for part in only.split(","):
        axis, sep, value = (text.strip() for text in part.partition("="))
        known = list(points[0])
        if not sep or axis not in known:
            raise WrongUsage(
                f"--only {part}: expected AXIS=VALUE with an axis of {', '.join(known)}{meant(axis, known)}",
                code="unknown-axis",
            )
        values = list(dict.fromkeys(label_text(point[axis]) for point in points))
        if value not in values:
            raise WrongUsage(
                f"--only {part}: the axis {axis} has {', '.join(values)}{meant(value, values)}",
                code="unknown-value",
            )
        wanted.setdefault(axis, set()).add(value)
    return [
        p for p in points if all(label_text(p[axis]) in values for axis, values in wanted.items())
    ]


def label_text(label: object) -> str:
    """A label as it stands in a sweep file."""
    return label if isinstance(label, str) else json.dumps(label)
