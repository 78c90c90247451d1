"""The report as CSV (``report.csv``: a row per trial, ``cells.csv``: a row per mean over seeds) and Markdown."""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from glip_lightning.common import registry
from glip_lightning.common.escaping import printable
from glip_lightning.experiments.report.details import costs_of
from glip_lightning.experiments.report.runs import Line, Run, Shots, number, part, trainable
from glip_lightning.experiments.report.sections import partners
from glip_lightning.experiments.report.statistics import Group, Stat
from glip_lightning.experiments.report.view import (
    MISSING,
    View,
    bounds,
    inside,
    lacking,
    seconds,
    shots_name,
    signed,
    signed_spread,
    spread,
    task_name,
)

METRICS = ("AP", "AP50", "AP75", "APs", "APm", "APl")


def trials_csv(view: View) -> str:
    keys = dict.fromkeys(key for line in view.lines for key, _ in line.settings)
    return csv_text(_trial(view, run, list(keys)) for run in view.collection.runs)


def _trial(view: View, run: Run, keys: Sequence[str]) -> dict[str, Any]:
    point, result, metrics = run.points[0], run.result or {}, run.metrics
    memory, drawn = part(result, "memory"), part(metrics, "bootstrap")
    interval = drawn.get("interval95") or (None, None)
    return {
        "trial": run.id,
        "state": run.state,
        "task": point.task,
        "shots": point.shots,
        "seed": "/".join(dict.fromkeys(str(p.seed) for p in run.points if p.seed is not None)),
        "tuning": "/".join(dict.fromkeys(p.line.tuning for p in run.points)),
        **{key: point.line.get(key) for key in keys},
        **{name: number(metrics.get(name)) for name in METRICS},
        "AP_low": interval[0],
        "AP_high": interval[1],
        "images": metrics.get("images"),
        **{name: result.get(name) for name in ("seconds", "steps", "epochs", "best_epoch", "ended", "device", "git")},
        "process_peak_bytes": memory.get("process_peak"),
        "device_peak_bytes": memory.get("device_peak"),
        "trainable_parameters": trainable(run) if run.result else None,
        "parameters": result.get("parameters"),
        "error": run.error,
        "folder": inside(view.collection.folder, run.folder),
    }


def cells_csv(view: View) -> str:
    """AP in percent. Rows of means over tasks say how many of how many went into them."""
    return csv_text(row for line in view.lines for shots in view.cells.shots for row in _cells(view, line, shots))


def _cells(view: View, line: Line, shots: Shots) -> Iterable[dict[str, Any]]:
    start = {"tuning": line.tuning, **dict(line.settings), "shots": shots}
    for group in view.groups:
        if mean := view.cells.mean(line, shots, group):
            tasks = f"{len(mean.tasks)}/{len(group.tasks)}"
            paper = view.cells.paper(line, shots, group.tasks) if mean.whole else None
            yield {**start, "task": group.name, "tasks": tasks, **stat_columns(mean.stat, paper)}
    for task in view.cells.tasks:
        if stat := view.cells.cell(line, shots, task).stat():
            yield {**start, "task": task, "tasks": "1/1", **stat_columns(stat, view.cells.paper(line, shots, [task]))}


def stat_columns(stat: Stat, paper: float | None) -> dict[str, Any]:
    """Return the columns of a mean in percent, with the paper's value beside it."""
    low, high = stat.interval or (None, None)
    found = {"AP": stat.mean, "std": stat.std, "n": stat.n, "low": low, "high": high, "paper": paper}
    found["minus_paper"] = None if paper is None else stat.mean - paper
    return {key: round(x, 4) if isinstance(x, float) else x for key, x in found.items()}


def csv_text(rows: Iterable[Mapping[str, Any]]) -> str:
    """Return rows as CSV; a row may lack columns that others have."""
    found = list(rows)
    names = dict.fromkeys(name for row in found for name in row)
    target = io.StringIO()
    writer = csv.DictWriter(target, list(names), lineterminator="\n")
    writer.writeheader()
    writer.writerows(
        {name: printable(" ".join(x.split())) if isinstance(x, str) else x for name, x in row.items()} for row in found
    )
    return target.getvalue()


def markdown(view: View) -> str:
    """The numbers of the page as tables; its figures and pictures are left to it."""
    added = [text for each in registry.report_sections.rows().values() for text in each.markdown(view)]
    parts = [f"# {plain_text(view.collection.name)}", _states(view), *_numbers_table(view), *_paper_table(view)]
    parts += [*_tunings_table(view), *added, *_cost_table(view), *_undone(view)]
    return "\n\n".join(parts) + "\n"


def _states(view: View) -> str:
    runs = view.collection.runs
    states = list(dict.fromkeys(run.state for run in runs))
    counted = ", ".join(f"{sum(run.state == state for run in runs)} {state}" for state in states)
    return f"{len(runs)} trials: {counted}."


def _numbers_table(view: View) -> list[str]:
    head = ["tuning", "shots", *(g.short for g in view.groups), *map(task_name, view.cells.tasks)]
    rows = []
    for line in view.lines:
        for shots in view.cells.shots:
            if view.cells.planned(line, shots):
                cells = [_mean(view, line, shots, group) for group in view.groups]
                cells += [_ap(view, line, shots, task) for task in view.cells.tasks]
                rows.append([view.names[line], shots_name(shots), *cells])
    text = "AP in percent: mean ± sample standard deviation over seeds [95 % of redrawn test images]."
    return ["## All numbers", text, markdown_table(head, rows)]


def _mean(view: View, line: Line, shots: Shots, group: Group) -> str:
    mean = view.cells.mean(line, shots, group)
    if mean is None:
        return MISSING
    if not mean.whole:
        return f"({mean.stat.mean:.1f}, {lacking(mean, group)})"
    return f"{spread(mean.stat)} {bounds(mean.stat)}".strip()


def _ap(view: View, line: Line, shots: Shots, task: str) -> str:
    cell = view.cells.cell(line, shots, task)
    stat = cell.stat()
    if stat is None:
        return ", ".join(dict.fromkeys(run.state for run in cell.open)) or MISSING
    return f"{spread(stat)} {bounds(stat)}".strip()


def _paper_table(view: View) -> list[str]:
    if not view.has_paper:
        return []
    head = ["tuning", "shots", *(g.short for g in view.groups), *map(task_name, view.cells.tasks)]
    rows = []
    for line in view.lines:
        for shots in view.cells.shots:
            known = [(view.cells.mean(line, shots, g), view.cells.paper(line, shots, g.tasks)) for g in view.groups]
            cells = [signed(m.stat.mean - p) if m and m.whole and p is not None else MISSING for m, p in known]
            for task in view.cells.tasks:
                stat, printed = view.cells.cell(line, shots, task).stat(), view.cells.paper(line, shots, [task])
                cells.append(signed(stat.mean - printed) if stat and printed is not None else MISSING)
            if set(cells) != {MISSING}:
                rows.append([view.names[line], shots_name(shots), *cells])
    return ["## Difference to the paper", "Points of AP, ours minus the paper's.", markdown_table(head, rows)]


def _tunings_table(view: View) -> list[str]:
    rows = []
    shots = [k for k in view.cells.shots if k != 0]
    for line, base in partners(view):
        for group in view.groups or [view.headline]:
            stats = [view.cells.difference(line, base, k, group.tasks) for k in shots]
            cells = [f"{signed_spread(stat)} {bounds(stat)}".strip() if stat else MISSING for stat in stats]
            rows.append([f"{view.names[line]} minus {view.names[base]}", group.short, *cells])
    head = ["tunings", "mean", *map(shots_name, shots)]
    return ["## Tuning against tuning", "Points of AP, of the same seeds.", markdown_table(head, rows)] if rows else []


def _cost_table(view: View) -> list[str]:
    rows = []
    for line in view.lines:
        runs = {run.id: run for p, run in view.collection.points if p.line == line and p.shots != 0}.values()
        times = [t for run in runs if (t := costs_of(run)["seconds"]) is not None]
        sizes = [s for run in runs if (s := costs_of(run)["memory"]) is not None]
        counts = [c for run in runs if run.result and (c := trainable(run)) is not None]
        if times:
            peak = f"{max(sizes) / 1e9:.1f} GB" if sizes else MISSING
            trained = f"{max(counts):,.0f}" if counts else MISSING
            rows.append([view.names[line], str(len(times)), seconds(sum(times) / len(times)), peak, trained])
    head = ["tuning", "trials", "mean time", "peak memory", "trained parameters"]
    return ["## Cost", markdown_table(head, rows)] if rows else []


def _undone(view: View) -> list[str]:
    lost = [run for run in view.collection.runs if run.state in ("failed", "missing")]
    rows = [[run.id, run.state, run.points[0].task, shots_name(run.points[0].shots), run.error] for run in lost]
    head = ["trial", "state", "task", "shots", "reason"]
    return ["## Failed and missing trials", markdown_table(head, rows)] if rows else []


def markdown_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table in Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(plain_text(str(cell)) for cell in line)} |" for line in lines)


def plain_text(content: str) -> str:
    """Return one line without what Markdown would read as markup."""
    content = printable(" ".join(content.split()))
    for sign in "\\|`*_<>[]":
        content = content.replace(sign, f"\\{sign}") if sign not in "[]" else content
    return content
