"""The runs of a folder: sweeps with their trials, or runs that were started one by one.

Every run stands for points (task, line, shots, seed). A *line* is what is compared: a tuning with
all that must be equal for numbers to stand beside each other (detector, weights, prompts, split,
further axes).
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from glip_lightning.common.errors import GLIPError, MissingFile
from glip_lightning.common.escaping import is_text, printable
from glip_lightning.common.files import regular_file
from glip_lightning.common.schema import parse_yaml, short_repr
from glip_lightning.config.class_paths import with_public_names
from glip_lightning.experiments.failures import FAILED_NAME, read_failure
from glip_lightning.experiments.recipe_keys import WITHOUT_EFFECT
from glip_lightning.experiments.report.paper_numbers import official_task
from glip_lightning.experiments.report.runs import (
    MEASURED,
    NO_VALUE,
    SETTINGS,
    Collection,
    Line,
    Point,
    Run,
    Shots,
    State,
    value_at,
)
from glip_lightning.weights.run_files import (
    RECIPE_NAME,
    RESULT_NAME,
    UNFINISHED_NAME,
    read_result,
)

PLAIN_AXES = ("task", "shots", "seed", "tuning")
IN_POINT = (
    "seed_everything",
    "data.task",
    "data.shots",
    "data.seed",
    "run",
    "ckpt_path",
    "weights_only",
)
"""Settings that a point holds already, and arguments of the command."""
UNREADABLE = (AttributeError, KeyError, OSError, RecursionError, TypeError, ValueError)
"""Errors from reading a file that somebody has edited or damaged; GLIPError is a ValueError."""


def collect(folder: Path) -> Collection:
    """Return the runs of a folder of sweeps or of runs, or the one run that ``folder`` is.

    Raises:
        MissingFile: there is no such folder.
        GLIPError: it holds neither sweeps nor runs (``no-runs``), or a sweep's file is damaged.
    """
    if not folder.is_dir():
        raise MissingFile(
            f"{folder}: no such folder; give a sweep's folder, or one with runs in it",
            code="missing-folder",
        )
    files = sorted((folder / "sweeps").glob("*.json"))
    if files:
        return _sweeps(folder, files)
    places = [folder] if (folder / RESULT_NAME).is_file() else sorted(folder.iterdir())
    runs = [_plain_run(place) for place in places if _is_run(place)]
    if not runs:
        raise GLIPError(
            f"{folder}: neither sweeps/*.json nor runs (folders with a recipe.yaml) in it; "
            "give what glip sweep or glip fit has written",
            code="no-runs",
        )
    return Collection(folder.resolve().name, folder, {}, _without_repeats(_with_axes(runs)))


def _is_run(place: Path) -> bool:
    return (place / RECIPE_NAME).is_file() or (place / RESULT_NAME).is_file()


# --- sweeps ---------------------------------------------------------------------------------------


@dataclass
class _Trial:
    """A trial in the files of one or more sweeps."""

    recipe: Mapping[str, Any]
    points: list[Mapping[str, Any]] = field(default_factory=list)
    planned: float = 0.0
    """When the newest file was written that has it."""
    is_wanted: bool = False
    """Whether any sweep has it without leaving it out."""


@dataclass
class _Sweeps:
    """The content of the files of all sweeps in a folder."""

    names: list[str] = field(default_factory=list)
    commands: list[str] = field(default_factory=list)
    axes: dict[str, list[Any]] = field(default_factory=dict)
    trials: dict[str, _Trial] = field(default_factory=dict)

    def add(self, content: Mapping[str, Any], written: float) -> None:
        """Add the content of a sweep's file, which was written at the time ``written``."""
        for axis, labels in content["axes"].items():
            known = self.axes.setdefault(str(axis), [])
            known += [label for label in labels if label not in known]
        left_out = list(content.get("left_out", []))
        for each in content["trials"]:
            trial = self.trials.setdefault(str(each["id"]), _Trial(dict(each["recipe"])))
            points = list(each["points"]) or [each["axes"]]
            trial.points += [dict(point) for point in points]
            trial.planned = max(trial.planned, written)
            trial.is_wanted = trial.is_wanted or each["id"] not in left_out
        self.names.append(str(content["name"]))
        if "command" in content:  # not in files of version 0.1
            self.commands.append(str(content["command"]))


def _sweeps(folder: Path, files: Sequence[Path]) -> Collection:
    """Return all sweeps of a folder as one.

    A trial that several sweeps have stands for the points of each. Where sweeps have different
    trials for a point, as after a change of weights or pictures, the newest plan counts. Trials
    that ``--only`` left out and that did not begin are only counted.
    """
    sweeps = _Sweeps()
    for path in files:
        try:
            content = json.loads(regular_file(path).read_text(encoding="utf-8"))
            sweeps.add(with_public_names(content), path.stat().st_mtime)
            _check_text(content)
        except (AttributeError, KeyError, TypeError, ValueError, RecursionError) as error:
            raise GLIPError(
                f"{path}: not what glip sweep writes ({error!r}); run the sweep again",
                code="damaged-record",
            ) from error
    runs = []
    left_out = 0
    for id, trial in sweeps.trials.items():
        run = _trial_run(folder / "trials" / id, id, trial)
        if trial.is_wanted or run.state != "missing" or _is_run(run.folder):
            runs.append(run)
        else:
            left_out += 1
    if not runs:
        raise GLIPError(f"{folder}: its sweeps have no trials; run one again", code="no-runs")
    runs = _as_planned_last(_with_split(runs), sweeps.trials)
    if left_out:
        runs = _without_untrained_lines(runs)
    name = sweeps.names[0] if len(files) == 1 else folder.resolve().name
    return Collection(name, folder, sweeps.axes, runs, left_out, tuple(sweeps.commands))


def _trial_run(place: Path, id: str, trial: _Trial) -> Run:
    state, result, error = _outcome(place)
    settings = _settings(trial.recipe, result)
    points: list[Point] = []
    for axes in trial.points:
        further = []
        for axis, label in axes.items():
            if axis not in PLAIN_AXES and axis not in SETTINGS:
                further.append((axis, _label_text(label)))
        line = Line(str(axes.get("tuning")), (*settings, *further))
        task = _task(trial.recipe, str(axes.get("task")))
        point = Point(task, line, _shots(axes.get("shots")), axes.get("seed"))
        if point not in points:
            points.append(point)
    return Run(id, place, state, tuple(points), trial.recipe, result, error)


def _with_split(runs: Sequence[Run]) -> list[Run]:
    """Give runs without a result the split of the finished ones: they stand in the same cell."""
    splits = []
    for run in runs:
        for point in run.points:
            split = point.line.get("split")
            if split:
                splits.append(split)
    split = max(set(splits), key=splits.count) if splits else "test"
    found = []
    for run in runs:
        points = []
        for point in run.points:
            settings = {"split": split, **dict(point.line.settings)}
            measured = [(key, settings.pop(key)) for key in MEASURED if key in settings]
            line = Line(point.line.tuning, (*measured, *settings.items()))
            points.append(replace(point, line=line))
        found.append(replace(run, points=tuple(points)))
    return found


def _as_planned_last(runs: Sequence[Run], trials: Mapping[str, _Trial]) -> list[Run]:
    """Give each point to the run that was planned for it last.

    A run that keeps no point is repeated if it is finished; else nobody waits for it.
    """
    owner: dict[Point, str] = {}
    for run in sorted(runs, key=lambda run: trials[run.id].planned):
        for point in run.points:
            owner[point] = run.id
    found = []
    for run in runs:
        points = tuple(point for point in run.points if owner[point] == run.id)
        if points:
            found.append(replace(run, points=points))
        elif run.state == "finished":
            found.append(replace(run, state="repeated"))
    return found


def _without_untrained_lines(runs: Sequence[Run]) -> list[Run]:
    """Let a zero-shot run stand for the lines that have trained runs, if there are any.

    The trained runs of its other lines are left out.
    """
    trained: set[Line] = set()
    for run in runs:
        trained |= {point.line for point in run.points if point.shots != 0}
    found = []
    for run in runs:
        kept = tuple(point for point in run.points if point.line in trained)
        found.append(replace(run, points=kept) if kept else run)
    return found


# --- runs of their own ----------------------------------------------------------------------------


def _plain_run(place: Path) -> Run:
    """Return a run of its own; its recipe says its point."""
    state, result, error = _outcome(place)
    name = printable(place.name)  # whatever bytes the folder's name has
    recipe = result.get("recipe")
    try:
        if not recipe:
            text = regular_file(place / RECIPE_NAME).read_text(encoding="utf-8")
            recipe = parse_yaml(text, RECIPE_NAME)
        _check_text(recipe)
        recipe = with_public_names(recipe)
    except (OSError, ValueError) as problem:
        state, result, recipe = "failed", {}, {}
        error = error or f"recipe.yaml: {problem}"
    if not isinstance(recipe, Mapping):
        recipe = {}
    data = value_at(recipe, "data.init_args")
    if not isinstance(data, Mapping):
        data = {}
    tuning = value_at(recipe, "model.tuning")
    label = "FullTuning"
    if isinstance(tuning, Mapping):
        label = str(tuning["class_path"]).split(".")[-1]
    shots = _shots(data.get("shots", "all"))
    known = result.get("data") or {"name": _unfinished(place).get("data")}
    task = _task(recipe, str(data.get("task") or known.get("name") or name))
    settings = _settings(recipe, result)
    # without training a seed matters only where it draws the weights
    is_drawn = shots != 0 or dict(settings).get("weights") == "random"
    seed = _seed(recipe, data) if is_drawn else None
    point = Point(task, Line(label, settings), shots, seed)
    return Run(name, place, state, (point,), recipe, result, error)


def _with_axes(runs: Sequence[Run]) -> list[Run]:
    """Tell runs apart that have the same point: what differs in their recipes becomes an axis."""
    runs = _with_split(runs)
    recipes = {run.id: _flat(run.recipe) for run in runs}
    groups: dict[Point, list[Run]] = {}
    for run in runs:
        groups.setdefault(run.points[0], []).append(run)
    varied: list[str] = []
    for group in groups.values():
        own = [recipes[run.id] for run in group]
        keys: dict[str, str] = {}
        for recipe in own:
            keys |= recipe
        for key in keys:
            values = {recipe.get(key) for recipe in own}
            if len(values) > 1 and key not in varied:
                varied.append(key)
    lines: dict[str, Line] = {}
    trained: dict[tuple[tuple[str, str], ...], list[Line]] = {}
    for run in runs:
        line = run.points[0].line
        further = [(key, recipes[run.id].get(key, NO_VALUE)) for key in varied]
        lines[run.id] = Line(line.tuning, (*line.settings, *further))
        if run.points[0].shots != 0:
            trained.setdefault(line.settings, []).append(lines[run.id])
    found = []
    for run in runs:
        point = run.points[0]
        own_lines = [lines[run.id]]
        if point.shots == 0:  # every tuning of a detector begins with its zero-shot run
            own_lines = trained.get(point.line.settings, own_lines)
        points = tuple(replace(point, line=line) for line in dict.fromkeys(own_lines))
        found.append(replace(run, points=points))
    return found


def _without_repeats(runs: Sequence[Run]) -> list[Run]:
    """Mark runs as repeated where a newer finished one has equal points."""
    best: dict[tuple[Point, ...], Run] = {}
    for run in runs:
        other = best.get(run.points)
        if other is None or _rank(run) >= _rank(other):
            best[run.points] = run
    return [run if best[run.points] is run else replace(run, state="repeated") for run in runs]


def _rank(run: Run) -> tuple[bool, float]:
    path = run.folder / RESULT_NAME
    time = path.stat().st_mtime if path.is_file() else 0.0
    return run.state == "finished", time


def _flat(value: Any, key: str = "") -> dict[str, str]:
    """Return a recipe as dotted keys without ``init_args`` and without what changes no result."""
    if key in WITHOUT_EFFECT:
        return {}
    if not isinstance(value, Mapping) or not value:
        if key in IN_POINT or key.endswith("class_path"):
            return {}
        return {key: _label_text(value)}
    found: dict[str, str] = {}
    for name, part in value.items():
        found |= _flat(part, key if name == "init_args" else f"{key}.{name}".strip("."))
    return found


def _seed(recipe: Mapping[str, Any], data: Mapping[str, Any]) -> Any:
    """Return the seed of the images; both seeds where the training has another one."""
    chosen = data.get("seed")
    training = recipe.get("seed_everything")
    if training is None or training == chosen:
        return chosen
    return f"{chosen}/{training}"


# --- files of a run -------------------------------------------------------------------------------


def _outcome(place: Path) -> tuple[State, dict[str, Any], str]:
    """Return how a run ended: its state, its result, and the reason where there is none."""
    # a run that failed in its last evaluation may have left a result, too
    if (place / FAILED_NAME).is_file():
        return "failed", {}, printable(read_failure(place).error)
    if (place / RESULT_NAME).is_file():
        try:
            result = read_result(place, ("metrics",), "not the result of a run")
            _check_result(result)
            return "finished", with_public_names(result), ""
        except UNREADABLE as error:
            return "failed", {}, f"{RESULT_NAME}: cannot be read: {error}"
    if not _is_run(place):
        return "missing", {}, "not started"
    unfinished = _unfinished(place)
    if not unfinished:
        return "missing", {}, "not finished"
    why = unfinished["why"] or "it still runs, or was killed"
    return "missing", {}, f"not finished: {why}"


def _unfinished(place: Path) -> dict[str, str]:
    """Return what a run without a result says of itself: its ``data`` and ``why`` it ended.

    Runs of earlier versions say nothing.
    """
    try:
        content = json.loads(regular_file(place / UNFINISHED_NAME).read_text(encoding="utf-8"))
        _check_text(content)
        return {key: printable(str(content[key])) for key in ("data", "why")}
    except UNREADABLE:
        return {}


def _check_result(result: Mapping[str, Any]) -> None:
    """Raise an error if a result lacks what a report shows."""
    if not any(result["metrics"].values()):
        raise GLIPError("nothing was evaluated", code="damaged-record")
    data = value_at(result, "recipe.data.init_args")
    if data and not isinstance(data, Mapping):
        raise GLIPError(
            f"recipe.data.init_args is {short_repr(data)}, no mapping", code="damaged-record"
        )
    _check_text(result)


def _check_text(content: Any) -> None:
    """Raise an error if there is half a character in it, which only JSON can hold."""
    if not is_text(json.dumps(content, ensure_ascii=False, default=str)):
        raise GLIPError("a part of a character in it is no Unicode text", code="broken-text")


# --- points ---------------------------------------------------------------------------------------


def _settings(recipe: Mapping[str, Any], result: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    """Return detector, weights, prompts and, of a finished run, the split that was measured."""
    found = {name: value_at(recipe, key) for key, name in SETTINGS.items()}
    found["prompts"] = value_at(recipe, "data.init_args.prompts")
    if result:
        for name in ("detector", "weights"):
            found[name] = found[name] or result.get(name)
        found["split"] = "test" if result["metrics"].get("test") else "val"
    return tuple((key, _label_text(value)) for key, value in found.items() if value is not None)


def _task(recipe: Mapping[str, Any], label: str) -> str:
    """Return the short official name if the data are ODinW's, else the label."""
    source = str(value_at(recipe, "data.class_path") or "")
    if source.split(".")[-1] != "ODinW":
        return label
    return official_task(label) or label


def _shots(value: Any) -> Shots:
    is_number = isinstance(value, int) and not isinstance(value, bool)
    return value if is_number else str(value)


def _label_text(value: Any) -> str:
    if isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False, default=str)
