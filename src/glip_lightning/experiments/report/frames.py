"""The numbers of a report as data frames: what the tables, the charts and the CSV files are made of."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd

from glip_lightning.common.escaping import printable
from glip_lightning.experiments.report.number_formats import inside, of_shots
from glip_lightning.experiments.report.runs import Run, number, part, trainable
from glip_lightning.experiments.report.statistics import Stat
from glip_lightning.experiments.report.view import ReportView

METRICS = ("AP", "AP50", "AP75", "APs", "APm", "APl")


def frame_of(rows: Iterable[Mapping[str, Any]], columns: Sequence[str] = ()) -> pd.DataFrame:
    """Return rows as a frame of numbers as they are and texts in one line; a row may lack columns of others."""
    found = [{name: _one_line(value) for name, value in row.items()} for row in rows]
    return pd.DataFrame(found, columns=None if found else list(columns), dtype=object)


def _one_line(value: Any) -> Any:
    return printable(" ".join(value.split())) if isinstance(value, str) else value


def cells(view: ReportView) -> pd.DataFrame:
    """Return ``cells.csv``: AP in percent. Rows of means over tasks say how many of how many went into them."""
    rows = []
    known: list[Any] = list(view.frame[view.frame["stat"].notna()].itertuples())
    for row in known:
        line = view.lines[row.line]
        start = {"tuning": line.tuning, **dict(line.settings), "shots": row.shots}
        paper = row.paper if row.whole else None
        rows.append(
            {**start, "task": row.place, "tasks": row.tasks, **stat_columns(row.stat, paper)}
        )
    return frame_of(rows)


def stat_columns(stat: Stat, paper: float | None) -> dict[str, Any]:
    """Return the columns of a mean in percent, with the paper's value beside it."""
    low, high = stat.interval or (None, None)
    found = {
        "AP": stat.mean,
        "std": stat.std,
        "n": stat.n,
        "low": low,
        "high": high,
        "paper": paper,
    }
    found["minus_paper"] = None if paper is None else stat.mean - paper
    return {key: round(x, 4) if isinstance(x, float) else x for key, x in found.items()}


def trials(view: ReportView) -> pd.DataFrame:
    """Return ``report.csv``: a row per trial."""
    keys = dict.fromkeys(key for line in view.lines for key, _ in line.settings)
    return frame_of(_trial(view, run, list(keys)) for run in view.collection.runs)


def _trial(view: ReportView, run: Run, keys: Sequence[str]) -> dict[str, Any]:
    point, result, metrics = run.points[0], run.result or {}, run.metrics
    memory, drawn = part(result, "memory"), part(metrics, "bootstrap")
    interval = drawn.get("interval95") or (None, None)
    return {
        "trial": run.id,
        "state": run.state,
        "task": point.task,
        "shots": point.shots,
        "seed": run.seeds,
        "tuning": "/".join(dict.fromkeys(p.line.tuning for p in run.points)),
        **{key: point.line.get(key) for key in keys},
        **{name: number(metrics.get(name)) for name in METRICS},
        "AP_low": interval[0],
        "AP_high": interval[1],
        "images": metrics.get("images"),
        **{
            name: result.get(name)
            for name in ("seconds", "steps", "epochs", "best_epoch", "ended", "device", "git")
        },
        "process_peak_bytes": memory.get("process_peak"),
        "device_peak_bytes": memory.get("device_peak"),
        "trainable_parameters": trainable(run) if run.result else None,
        "parameters": result.get("parameters"),
        "error": run.error,
        "folder": inside(view.collection.folder, run.folder),
    }


COSTS = ("seconds", "memory", "trainable", "parameters")


def costs_of(run: Run) -> dict[str, float | None]:
    """Return a run's seconds, peak of memory in bytes, and numbers of trained and of all parameters."""
    result = run.result or {}
    memory = part(result, "memory")
    peak = number(memory.get("device_peak")) or number(memory.get("process_peak"))
    return {
        "seconds": number(result.get("seconds")),
        "memory": peak,
        "trainable": trainable(run),
        "parameters": number(result.get("parameters")),
    }


def trained(view: ReportView) -> pd.DataFrame:
    """Return the costs of all finished trials that trained, a row for each line that a trial is of."""
    rows = {}
    for point, run in view.collection.points:
        if point.shots != 0 and run.state == "finished":
            what = f"{run.points[0].task}, {of_shots(point.shots)}"
            rows[point.line, run.id] = {
                "line": view.lines.index(point.line),
                "what": what,
                **costs_of(run),
            }
    frame = frame_of(rows.values(), ("line", "what", *COSTS))
    return frame.astype(dict.fromkeys(COSTS, float) | {"line": int})
