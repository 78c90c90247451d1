"""What a folder of runs holds: sweeps with their trials, or runs that were started one by one.

Every run stands for points (task, line, shots, seed). A *line* is what is compared: a tuning with all that must be
equal for numbers to stand beside each other (detector, weights, prompts, split, further axes).
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from glip_lightning.common.errors import GLIPError, MissingFile
from glip_lightning.common.escaping import is_text, printable
from glip_lightning.common.files import regular_file
from glip_lightning.common.schema import AxisValue, Items, parse_yaml, short_repr
from glip_lightning.config.class_paths import with_public_names
from glip_lightning.experiments.recipe_keys import WITHOUT_EFFECT
from glip_lightning.experiments.report.paper_numbers import official_task
from glip_lightning.experiments.report.runs import (
    SETTINGS,
    Collection,
    Line,
    Point,
    Run,
    Shots,
    State,
    get,
    percent,
)
from glip_lightning.weights.run_files import RECIPE_NAME, RESULT_NAME, UNFINISHED_NAME

PLAIN_AXES = ("task", "shots", "seed", "tuning")
SAID_ELSEWHERE = (
    "seed_everything",
    "data.task",
    "data.shots",
    "data.seed",
    "run",
    "ckpt_path",
    "weights_only",
)
"""Settings that a point holds already, and arguments of the command."""


def collect(folder: Path) -> Collection:
    """The runs of a folder of sweeps, of a folder of runs, or the one run that ``folder`` is."""
    if not folder.is_dir():
        raise MissingFile(
            f"{folder}: no such folder; give a sweep's folder, or one with runs in it",
            code="missing-folder",
        )
    if files := sorted((folder / "sweeps").glob("*.json")):
        return _sweeps(folder, files)
    places = [folder] if (folder / RESULT_NAME).is_file() else sorted(folder.iterdir())
    runs = [_plain(place) for place in places if _is_run(place)]
    if not runs:
        raise GLIPError(
            f"{folder}: neither sweeps/*.json nor runs (folders with a recipe.yaml) in it; "
            "give what glip sweep or glip fit has written",
            code="no-runs",
        )
    return Collection(folder.resolve().name, folder, {}, _without_repeats(_with_axes(runs)))


def _is_run(place: Path) -> bool:
    return any((place / name).is_file() for name in (RECIPE_NAME, RESULT_NAME))


class _Trial(NamedTuple):
    points: list[Mapping[str, Any]]
    recipe: Mapping[str, Any]
    planned: list[float]  # when each sweep that has it was written


def _sweeps(folder: Path, files: Sequence[Path]) -> Collection:
    """All sweeps of a folder as one: a trial that several have stands for the points of each.

    Where sweeps have different trials for a point, as after a change of weights or pictures, the newest plan counts.
    """
    names: list[str] = []
    axes: dict[str, list[Any]] = {}
    trials: dict[str, _Trial] = {}
    for path in files:
        try:
            content = json.loads(regular_file(path).read_text(encoding="utf-8"))
            names.append(_add_sweep(with_public_names(content), path.stat().st_mtime, axes, trials))
            _check_text(content)
        except (AttributeError, KeyError, TypeError, ValueError, RecursionError) as error:
            raise GLIPError(
                f"{path}: not what glip sweep writes ({error!r}); run the sweep again",
                code="damaged-record",
            ) from error
    runs = [_trial(folder / "trials" / id, id, trial) for id, trial in trials.items()]
    planned = {id: max(trial.planned) for id, trial in trials.items()}
    found = _as_planned_last(_with_split(runs), planned)
    return Collection(names[0] if len(names) == 1 else folder.resolve().name, folder, axes, found)


def _add_sweep(
    content: Mapping[str, Any],
    written: float,
    axes: dict[str, list[Any]],
    trials: dict[str, _Trial],
) -> str:
    """Add the axes and trials of a sweep's file; its name."""
    for axis, labels in content["axes"].items():
        known = axes.setdefault(str(axis), [])
        known += [label for label in labels if label not in known]
    for each in content["trials"]:
        trial = trials.setdefault(str(each["id"]), _Trial([], dict(each["recipe"]), []))
        trial.planned.append(written)
        trial.points.extend(dict(point) for point in list(each["points"]) or [each["axes"]])
    return str(content["name"])


def _trial(place: Path, id: str, trial: _Trial) -> Run:
    state, result, error = _outcome(place)
    recipe = trial.recipe
    settings = _settings(recipe, result)
    points = []
    for point in trial.points:
        others = tuple((k, _text(v)) for k, v in point.items() if k not in (*PLAIN_AXES, *SETTINGS))
        line = Line(str(point.get("tuning")), (*settings, *others))
        task = _task(recipe, str(point.get("task")))
        points.append(Point(task, line, _shots(point.get("shots")), point.get("seed")))
    return Run(id, place, state, tuple(dict.fromkeys(points)), recipe, result, error)


def _plain(place: Path) -> Run:
    """A run of its own; its recipe says the point."""
    state, result, error = _outcome(place)
    name = printable(place.name)  # whatever bytes the folder's name has
    recipe = (result or {}).get("recipe")
    try:
        if not recipe:
            recipe = parse_yaml(
                regular_file(place / RECIPE_NAME).read_text(encoding="utf-8"), RECIPE_NAME
            )
        _check_text(recipe)
        recipe = with_public_names(recipe)
    except (OSError, ValueError) as problem:
        state, result, recipe, error = "failed", None, {}, error or f"recipe.yaml: {problem}"
    recipe = recipe if isinstance(recipe, Mapping) else {}
    data = get(recipe, "data.init_args")
    data = data if isinstance(data, Mapping) else {}
    tuning = get(recipe, "model.tuning")
    label = (
        str(tuning["class_path"]).split(".")[-1] if isinstance(tuning, Mapping) else "FullTuning"
    )
    shots = _shots(data.get("shots", "all"))
    known = (result or {}).get("data") or {"name": _unfinished(place).get("data")}
    task = _task(recipe, str(data.get("task") or known.get("name") or name))
    settings = _settings(recipe, result)
    fixed = shots == 0 and dict(settings).get("weights") != "random"
    point = Point(task, Line(label, settings), shots, None if fixed else _seed(recipe, data))
    return Run(name, place, state, (point,), recipe, result, error)


def _outcome(place: Path) -> tuple[State, dict[str, Any] | None, str]:
    """How a run ended: its state, its result and the reason where there is none."""
    if (place / "failed.json").is_file():  # with a result, too, where the last evaluation failed
        try:
            content = json.loads((place / "failed.json").read_text(encoding="utf-8"))
            _check_text(content)
            return "failed", None, str(content["error"])
        except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
            return "failed", None, f"failed.json: cannot be read: {error}"
    path = place / RESULT_NAME
    if path.is_file():
        try:
            result = json.loads(path.read_text(encoding="utf-8"))
            _check(result)
            return "finished", with_public_names(result), ""
        except (OSError, ValueError, TypeError, AttributeError, RecursionError) as error:
            return "failed", None, f"{path.name}: cannot be read: {error}"
    if not _is_run(place):
        return "missing", None, "not started"
    said = _unfinished(place)
    why = f": {said['why'] or 'it still runs, or was killed'}" if said else ""
    return "missing", None, f"not finished{why}"


def _unfinished(place: Path) -> dict[str, str]:
    """Return what a run without a result says of itself: the name of its ``data`` and ``why`` it ended.

    Runs of earlier versions say nothing.
    """
    try:
        content = json.loads(regular_file(place / UNFINISHED_NAME).read_text(encoding="utf-8"))
        _check_text(content)
        return {key: printable(str(content[key])) for key in ("data", "why")}
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return {}


def _check(result: Any) -> None:
    if not isinstance(result, dict) or not isinstance(result.get("metrics"), dict):
        raise GLIPError("it has no metrics", code="damaged-record")
    for split, metrics in result["metrics"].items():
        ap = (metrics or {}).get("AP")
        if (
            ap is not None and ap == ap and percent(ap) is None
        ):  # nan, as null, is an AP without a box to find
            raise GLIPError(f"AP of {split} is {ap!r}, not from 0 to 1", code="damaged-record")
        interval = ((metrics or {}).get("bootstrap") or {}).get("interval95")
        if interval is not None:
            Items(AxisValue(), 2, 2).check(interval, split, "bootstrap.interval95")
    if not any(result["metrics"].values()):
        raise GLIPError("nothing was evaluated", code="damaged-record")
    if not isinstance(get(result, "recipe.data.init_args") or {}, Mapping):
        raise GLIPError(
            f"recipe.data.init_args is {short_repr(get(result, 'recipe.data.init_args'))}, no mapping",
            code="damaged-record",
        )
    _check_text(result)


def _check_text(content: Any) -> None:
    """Raise an error if there is half a character in it: JSON can hold one, no page and no table can."""
    if not is_text(json.dumps(content, ensure_ascii=False, default=str)):
        raise GLIPError("a part of a character in it is no Unicode text", code="broken-text")


def _settings(
    recipe: Mapping[str, Any], result: Mapping[str, Any] | None
) -> tuple[tuple[str, str], ...]:
    """Detector, weights, prompts and, of a finished run, the split that was measured."""
    found = {
        "detector": get(recipe, "model.detector") or (result or {}).get("detector"),
        "weights": get(recipe, "model.weights") or (result or {}).get("weights"),
        "prompts": get(recipe, "data.init_args.prompts"),
        "split": ("test" if result["metrics"].get("test") else "val") if result else None,
    }
    return tuple((key, _text(value)) for key, value in found.items() if value is not None)


def _with_split(runs: Sequence[Run]) -> list[Run]:
    """Runs without a result get the split of the finished ones, so that they stand in the cell that misses them."""
    splits = [split for run in runs for point in run.points if (split := point.line.get("split"))]
    split = max(set(splits), key=splits.count) if splits else "test"

    def complete(point: Point) -> Point:
        settings = dict(point.line.settings)
        order = {
            k: settings.get(k, split if k == "split" else None)
            for k in ("detector", "weights", "prompts", "split")
        }
        full = {**{k: v for k, v in order.items() if v is not None}, **settings}
        return point._replace(line=Line(point.line.tuning, tuple(full.items())))

    return [replace(run, points=tuple(map(complete, run.points))) for run in runs]


def _as_planned_last(runs: Sequence[Run], planned: Mapping[str, float]) -> list[Run]:
    """Each point with the run that was planned for it last. A run without a point is repeated, or no longer wanted."""
    owner: dict[Point, str] = {}
    for run in sorted(runs, key=lambda run: planned[run.id]):
        owner |= dict.fromkeys(run.points, run.id)
    found = []
    for run in runs:
        points = tuple(point for point in run.points if owner[point] == run.id)
        if points:
            found.append(replace(run, points=points))
        elif run.state == "finished":
            found.append(replace(run, state="repeated"))
    return found


def _with_axes(runs: Sequence[Run]) -> list[Run]:
    """Runs that agree in task, shots, tuning and seed but not in their recipes: what differs becomes an axis."""
    runs = _with_split(runs)
    flat = {run.id: _flat(run.recipe) for run in runs}
    groups: dict[Point, list[Run]] = {}
    for run in runs:
        groups.setdefault(run.points[0], []).append(run)
    varied: dict[str, None] = {}
    for same in groups.values():
        keys = dict.fromkeys(key for run in same for key in flat[run.id])
        varied |= {key: None for key in keys if len({flat[run.id].get(key) for run in same}) > 1}

    def own(run: Run) -> Line:
        others = tuple((key, flat[run.id].get(key, "-")) for key in varied)
        return Line(run.points[0].line.tuning, (*run.points[0].line.settings, *others))

    trained = [(run.points[0].line.settings, own(run)) for run in runs if run.points[0].shots != 0]
    found = []
    for run in runs:
        point = run.points[0]
        same = (
            [line for settings, line in trained if settings == point.line.settings]
            if point.shots == 0
            else []
        )
        lines = dict.fromkeys(
            same or [own(run)]
        )  # zero-shot is where every tuning of its detector begins
        found.append(replace(run, points=tuple(point._replace(line=line) for line in lines)))
    return found


def _without_repeats(runs: Sequence[Run]) -> list[Run]:
    """Of runs with equal points the newest finished one counts; the others are said to be repeated."""
    best: dict[tuple[Point, ...], Run] = {}
    for run in runs:
        other = best.get(run.points)
        if other is None or _rank(run) >= _rank(other):
            best[run.points] = run
    return [run if best[run.points] is run else replace(run, state="repeated") for run in runs]


def _rank(run: Run) -> tuple[bool, float]:
    path = run.folder / RESULT_NAME
    return run.state == "finished", path.stat().st_mtime if path.is_file() else 0.0


def _flat(value: Any, key: str = "") -> dict[str, str]:
    """A recipe as dotted keys without ``init_args``, less what changes no result."""
    if isinstance(value, Mapping) and value and key not in WITHOUT_EFFECT:
        parts = [
            _flat(x, key if k == "init_args" else f"{key}.{k}".strip(".")) for k, x in value.items()
        ]
        return {k: x for part in parts for k, x in part.items()}
    ignored = key in SAID_ELSEWHERE or key.endswith("class_path")
    return {} if ignored or key in WITHOUT_EFFECT else {key: _text(value)}


def _seed(recipe: Mapping[str, Any], data: Mapping[str, Any]) -> Any:
    """That of the images; both where the training has another one."""
    chosen, training = data.get("seed"), recipe.get("seed_everything")
    return chosen if training is None or training == chosen else f"{chosen}/{training}"


def _task(recipe: Mapping[str, Any], label: str) -> str:
    """The short official name if the data are ODinW's, else the label."""
    source = str(get(recipe, "data.class_path") or "")
    return official_task(label) or label if source.split(".")[-1] == "ODinW" else label


def _shots(value: Any) -> Shots:
    return value if isinstance(value, int) and not isinstance(value, bool) else str(value)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
