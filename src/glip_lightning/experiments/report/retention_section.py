"""The section about retention: what a detector still finds of other things after it was tuned.

It shows ``retention`` in ``result.json``: ``{"probe": name, "before": AP, "after": AP, "wise_ft":
[{"alpha", "AP", "probe_AP"}]}`` with AP from 0 to 1 on a set that was not trained on. ``wise_ft``
are weights between those before (alpha 0) and after (1).
"""

from dataclasses import dataclass
from typing import Any

import pandas as pd

from glip_lightning.experiments.report.ap_sections import legend, line_cell, mark_columns
from glip_lightning.experiments.report.charts import dots, plane
from glip_lightning.experiments.report.number_formats import (
    MISSING,
    ap_text,
    of_shots,
    signed,
    task_name,
)
from glip_lightning.experiments.report.parts import (
    Cell,
    Figure,
    Figures,
    ReportTable,
    ReportText,
    Section,
)
from glip_lightning.experiments.report.runs import Run, mapping_at, number, percent
from glip_lightning.experiments.report.view import ReportView

HEAD = (
    *("tuning", "task", "probe", "before", "after", "change"),
    *("test AP", "best alpha", "valid AP", "probe AP"),
)


@dataclass(frozen=True, slots=True, order=True)
class _Step:
    """AP in percent of weights between those before and after the tuning."""

    alpha: float
    ap: float
    probe_ap: float

    @property
    def sum(self) -> float:
        return self.ap + self.probe_ap


def retention(view: ReportView) -> Section | None:
    """Return the loss on the probe against the gain on the task, and the best weights between."""
    finished = [run for run in view.collection.runs if run.state == "finished"]
    runs = [run for run in finished if mapping_at(run.result, "retention")]
    if not runs:
        return None
    marks: list[dict[str, Any]] = []
    rows: list[list[Cell | str]] = []
    names: dict[str, int] = {}
    for run in runs:
        content = mapping_at(run.result, "retention")
        before = percent(content.get("before"))
        after = percent(content.get("after"))
        if before is None or after is None:
            continue
        point = run.points[0]
        name = f"{task_name(point.task)}, {of_shots(point.shots)}"
        change = signed(after - before)
        title = f"{name}, {view.names[point.line]}: {change} on {content.get('probe')}"
        place = {"row": names.setdefault(name, len(names)), "line": view.lines.index(point.line)}
        marks.append(place | mark_columns(after - before, None, title))
        seed = f", seed {point.seed}" if point.seed is not None else ""
        rows.append(
            [
                line_cell(view, place["line"]),
                Cell(name + seed, kind="left"),
                Cell(str(content.get("probe")), kind="left"),
                f"{before:.1f}",
                f"{after:.1f}",
                change,
                ap_text(run.ap),
                *_best_step(run),
            ]
        )
    text = "AP (points) on a probe that was not trained on, before and after tuning."
    if any(_steps(run) for run in runs):
        text += (
            " Weights between (WiSE-FT): the alpha with the highest sum of probe AP and AP on the "
            "valid split of the task; alpha 0 are the weights before, 1 those after."
        )
    figures = []
    if marks:
        title = "Change on the probe"
        chart = dots(list(names), pd.DataFrame(marks), 320, title, "AP (points)", [-1, 1])
        figures.append(Figure(title, chart))
    figures += _planes(view, runs)
    parts = [
        ReportText(text, True),
        legend(view, "retention", view.lines),
        ReportTable.of("What is kept", HEAD, rows),
        Figures("tall", figures),
    ]
    return Section("retention", "What is kept", "What is kept", parts)


def _best_step(run: Run) -> list[str]:
    """Return alpha, task AP and probe AP of the mixture of weights with the highest sum of both."""
    steps = _steps(run)
    if not steps:
        return [MISSING] * 3
    best = max(steps, key=lambda step: step.sum)
    return [f"{best.alpha:g}", f"{best.ap:.1f}", f"{best.probe_ap:.1f}"]


def _steps(run: Run) -> list[_Step]:
    """Return the mixtures of weights that say all three numbers, by their alpha."""
    given = mapping_at(run.result, "retention").get("wise_ft")
    if not isinstance(given, list):
        return []
    steps = []
    for each in given:
        if not isinstance(each, dict):
            continue
        alpha = number(each.get("alpha"))
        ap = percent(each.get("AP"))
        probe_ap = percent(each.get("probe_AP"))
        if alpha is not None and ap is not None and probe_ap is not None:
            steps.append(_Step(alpha, ap, probe_ap))
    return sorted(steps)


def _planes(view: ReportView, runs: list[Run]) -> list[Figure]:
    """Return a chart per task: the ways of task AP and probe AP from before to after."""
    rows = []
    for way, run in enumerate(runs):
        point = run.points[0]
        task = task_name(point.task)
        for step in _steps(run):
            title = f"alpha {step.alpha:g}: {task} {step.ap:.1f}, probe {step.probe_ap:.1f}"
            rows.append(
                {
                    "task": task,
                    "way": way,
                    "line": view.lines.index(point.line),
                    "x": step.probe_ap,
                    "y": step.ap,
                    "title": title,
                }
            )
    if not rows:
        return []
    figures = []
    for task, ways in pd.DataFrame(rows).groupby("task", sort=False):
        chart = plane(ways, 320, f"Probe and {task}", "probe AP (points)", "AP on valid (points)")
        figures.append(Figure(f"{task}, from before to after", chart))
    return figures
