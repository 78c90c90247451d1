"""What a detector still finds of other things after it was tuned: ``retention`` in ``result.json``.

``{"probe": name, "before": AP, "after": AP, "wise_ft": [{"alpha", "AP", "probe_AP"}]}``: AP from 0 to 1 on a set that
was not trained on; ``wise_ft`` are weights between those before (alpha 0) and after (1).
"""

from typing import Any

import pandas as pd

from glip_lightning.experiments.report.ap_sections import legend, line_cell, mark_columns
from glip_lightning.experiments.report.charts import dots, plane
from glip_lightning.experiments.report.number_formats import MISSING, of_shots, signed, task_name
from glip_lightning.experiments.report.parts import (
    Cell,
    Figure,
    Figures,
    ReportTable,
    ReportText,
    Section,
)
from glip_lightning.experiments.report.runs import Run, number, part, percent
from glip_lightning.experiments.report.view import ReportView


def retention(view: ReportView) -> Section | None:
    """Return the loss on the probe against the gain on the task, and the best weights between."""
    runs = [
        run
        for run in view.collection.runs
        if run.state == "finished" and part(run.result or {}, "retention")
    ]
    if not runs:
        return None
    found = [row for run in runs if (row := _change(view, run))]
    names = list(dict.fromkeys(row["name"] for row in found))
    marks = pd.DataFrame(
        [row | {"row": names.index(row["name"])} for row in found], columns=COLUMNS
    )
    head = [
        "tuning",
        "task",
        "probe",
        "before",
        "after",
        "change",
        "test AP",
        "best alpha",
        "valid AP",
        "probe AP",
    ]
    numbers = ReportTable.of("What is kept", head, [_row(view, row) for row in found])
    text = (
        "AP on a probe that was not trained on, before and after tuning. Weights between (WiSE-FT): the alpha with the "
        "highest sum of probe AP and AP on the valid split of the task; alpha 0 are the weights before, 1 those after."
    )
    title = "Change on the probe"
    changes = (
        [Figure(title, dots(names, marks, 320, title, "AP (points)", [-1, 1]))] if found else []
    )
    parts = [ReportText(text, True), legend(view, "retention", view.lines), numbers]
    return Section(
        "retention",
        "What is kept",
        "What is kept",
        [*parts, Figures("tall", [*changes, *_planes(view, runs)])],
    )


COLUMNS = ("run", "line", "name", "before", "after", "row", "x", "low", "high", "title", "kind")


def _change(view: ReportView, run: Run) -> dict[str, Any] | None:
    """Return the mark of a run; None where it says no AP before and after."""
    point, content = run.points[0], part(run.result or {}, "retention")
    before, after = percent(content.get("before")), percent(content.get("after"))
    if before is None or after is None:
        return None
    name = f"{task_name(point.task)}, {of_shots(point.shots)}"
    title = f"{name}, {view.names[point.line]}: {signed(after - before)} on {content.get('probe')}"
    start = {
        "run": run,
        "line": view.lines.index(point.line),
        "name": name,
        "before": before,
        "after": after,
    }
    return start | mark_columns(after - before, None, title)


def _row(view: ReportView, row: dict[str, Any]) -> list[Cell | str]:
    run, point = row["run"], row["run"].points[0]
    steps = _steps(run)
    best = max(steps, key=lambda step: step[1] + step[2]) if steps else None
    seed = f", seed {point.seed}" if point.seed is not None else ""
    return [
        line_cell(view, row["line"]),
        Cell(row["name"] + seed, kind="left"),
        Cell(str(part(run.result, "retention").get("probe")), kind="left"),
        *(f"{row['before']:.1f}", f"{row['after']:.1f}", signed(row["x"])),
        f"{100 * run.ap:.1f}" if run.ap is not None else MISSING,
        *([f"{best[0]:g}", f"{best[1]:.1f}", f"{best[2]:.1f}"] if best else [MISSING] * 3),
    ]


def _steps(run: Run) -> list[tuple[float, float, float]]:
    """Return alpha, task AP and probe AP in percent, of each mixture of weights that says all three."""
    steps = part(run.result or {}, "retention").get("wise_ft")
    found = []
    for step in steps if isinstance(steps, list) else ():
        if isinstance(step, dict):
            alpha, own, probe = (
                number(step.get("alpha")),
                percent(step.get("AP")),
                percent(step.get("probe_AP")),
            )
            if alpha is not None and own is not None and probe is not None:
                found.append((alpha, own, probe))
    return sorted(found)


def _planes(view: ReportView, runs: list[Run]) -> list[Figure]:
    """Return of each task the ways from the weights before to those after: task AP over probe AP."""
    rows = []
    for way, run in enumerate(runs):
        line, task = view.lines.index(run.points[0].line), task_name(run.points[0].task)
        for alpha, own, probe in _steps(run):
            title = f"alpha {alpha:g}: {task} {own:.1f}, probe {probe:.1f}"
            rows.append(
                {"task": task, "way": way, "line": line, "x": probe, "y": own, "title": title}
            )
    frame = pd.DataFrame(rows, columns=["task", "way", "line", "x", "y", "title"])
    axes = "probe AP (%)", "AP on valid (%)"
    return [
        Figure(f"{task}, from before to after", plane(ways, 320, f"Probe and {task}", *axes))
        for task, ways in frame.groupby("task", sort=False)
    ]
