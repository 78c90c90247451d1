"""The numbers of a report as data frames, of which tables, charts and CSV files are made."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd

from glip_lightning.common.escaping import printable
from glip_lightning.experiments.report.number_formats import inside, of_shots
from glip_lightning.experiments.report.runs import (
    Run,
    mapping_at,
    number,
    setting_names,
    trainable,
)
from glip_lightning.experiments.report.statistics import Stat
from glip_lightning.experiments.report.view import ReportView

METRICS = ("AP", "AP50", "AP75", "APs", "APm", "APl")
FROM_RESULT = ("seconds", "steps", "epochs", "best_epoch", "ended", "device", "git")
COSTS = ("seconds", "memory", "trainable", "parameters")


def frame_of(rows: Iterable[Mapping[str, Any]], columns: Sequence[str] = ()) -> pd.DataFrame:
    """Return rows as a frame: numbers as they are, texts in one line.

    A row may lack columns of others. ``columns`` are those of a frame without rows.
    """
    found = [_in_one_line(row) for row in rows]
    return pd.DataFrame(found, columns=None if found else list(columns), dtype=object)


def _in_one_line(row: Mapping[str, Any]) -> dict[str, Any]:
    found = dict(row)
    for name, value in row.items():
        if isinstance(value, str):
            found[name] = printable(" ".join(value.split()))
    return found


def cells(view: ReportView) -> pd.DataFrame:
    """Return ``cells.csv``: AP in points (51.6), where ``report.csv`` has 0.516.

    ``tasks`` says how many of how many a mean has.
    """
    rows = []
    known: list[Any] = list(view.frame[view.frame["stat"].notna()].itertuples())
    for row in known:
        line = view.lines[row.line]
        rows.append(
            {
                "tuning": line.tuning,
                **dict(line.settings),
                "shots": row.shots,
                "task": row.place,
                "tasks": row.tasks,
                **stat_columns(row.stat, row.paper if row.whole else None),
            }
        )
    return frame_of(rows)


def stat_columns(stat: Stat, paper: float | None) -> dict[str, Any]:
    """Return the columns of a mean in percent, with the paper's value beside it."""
    low, high = stat.interval or (None, None)
    columns = {
        "AP": stat.mean,
        "std": stat.std,
        "n": stat.n,
        "low": low,
        "high": high,
        "paper": paper,
        "minus_paper": None if paper is None else stat.mean - paper,
    }
    for key, value in columns.items():
        if isinstance(value, float):
            columns[key] = round(value, 4)
    return columns


def trials(view: ReportView) -> pd.DataFrame:
    """Return ``report.csv``: a row per trial, AP from 0 to 1."""
    keys = setting_names(view.lines)
    return frame_of(_trial_row(view, run, keys) for run in view.collection.runs)


def _trial_row(view: ReportView, run: Run, keys: Sequence[str]) -> dict[str, Any]:
    point = run.points[0]
    result = run.result
    memory = mapping_at(result, "memory")
    interval = mapping_at(run.metrics, "bootstrap").get("interval95") or (None, None)
    tunings = dict.fromkeys(point.line.tuning for point in run.points)
    return {
        "trial": run.id,
        "state": run.state,
        "task": point.task,
        "shots": point.shots,
        "seed": run.seeds,
        "tuning": "/".join(tunings),
        **{key: point.line.get(key) for key in keys},
        **{name: number(run.metrics.get(name)) for name in METRICS},
        "AP_low": interval[0],
        "AP_high": interval[1],
        "images": run.metrics.get("images"),
        **{name: result.get(name) for name in FROM_RESULT},
        "process_peak_bytes": memory.get("process_peak"),
        "device_peak_bytes": memory.get("device_peak"),
        "trainable_parameters": trainable(run) if run.result else None,
        "parameters": result.get("parameters"),
        "error": run.error,
        "folder": inside(view.collection.folder, run.folder),
    }


def costs_of(run: Run) -> dict[str, float | None]:
    """Return seconds, peak memory in bytes, trained and all parameters of a run."""
    memory = mapping_at(run.result, "memory")
    return {
        "seconds": number(run.result.get("seconds")),
        "memory": number(memory.get("device_peak")) or number(memory.get("process_peak")),
        "trainable": trainable(run),
        "parameters": number(run.result.get("parameters")),
    }


def trained(view: ReportView) -> pd.DataFrame:
    """Return the costs of all finished trials that trained: a row per trial and line."""
    rows = {}
    for point, run in view.collection.points:
        if point.shots != 0 and run.state == "finished":
            rows[point.line, run.id] = {
                "line": view.lines.index(point.line),
                "what": f"{run.points[0].task}, {of_shots(point.shots)}",
                **costs_of(run),
            }
    frame = frame_of(rows.values(), ("line", "what", *COSTS))
    return frame.astype(dict.fromkeys(COSTS, float) | {"line": int})
