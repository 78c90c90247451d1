"""What all sections of a report need to know."""

import functools
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from glip_lightning.experiments.report.line_names import LineNames, name_lines
from glip_lightning.experiments.report.number_formats import lacking, task_name
from glip_lightning.experiments.report.runs import Collection, Line, Shots
from glip_lightning.experiments.report.statistics import Cells, Group, groups_of, headline


@dataclass(frozen=True)
class ReportView:
    """A collection with its cells.

    The place of a line in ``lines`` is its colour and its marker everywhere.
    """

    collection: Collection
    cells: Cells
    line_names: LineNames
    groups: list[Group]
    headline: Group

    @property
    def lines(self) -> list[Line]:
        """What is compared."""
        return self.cells.lines

    @property
    def names(self) -> dict[Line, str]:
        """The name of each line."""
        return self.line_names.names

    @functools.cached_property
    def frame(self) -> pd.DataFrame:
        """AP of every line and number of shots: the means of all groups, then every task."""
        tasks = [Group(task, task_name(task), (task,)) for task in self.cells.tasks]
        return ap_frame(self, [*self.groups, *tasks], self.lines)

    @property
    def has_paper(self) -> bool:
        """Whether the paper has a number for any of them."""
        return bool(self.frame["paper"].notna().any())

    def shots_place(self, shots: Shots) -> int:
        """Return the place of a number of shots on an axis; -1 if no run has it."""
        return self.cells.shots.index(shots) if shots in self.cells.shots else -1


def make_view(collection: Collection) -> ReportView:
    """Return the view of a collection."""
    cells = Cells(collection)
    return ReportView(
        collection, cells, name_lines(cells.lines), groups_of(cells.tasks), headline(cells.tasks)
    )


def ap_frame(view: ReportView, groups: Sequence[Group], lines: Sequence[Line]) -> pd.DataFrame:
    """Return a row per line, number of shots and group of tasks: its AP in percent, and what lacks.

    ``stat`` is None where no run has finished. A row is ``whole`` if at least one seed has all
    tasks. It is ``best`` if no whole row of as many shots has a higher AP and another one has a
    lower AP. ``paper`` is the paper's number.
    """
    rows = []
    for line in lines:
        for shots in view.cells.shots:
            rows += [_ap_row(view, line, shots, group) for group in groups]
    frame = pd.DataFrame(rows)
    frame = frame.astype({"AP": float, "paper": float})
    whole = frame[frame["whole"] & (frame["x"] != view.shots_place(0))]
    columns = whole.groupby(["x", "place"])["AP"]
    best = (columns.transform("max") == whole["AP"]) & (columns.transform("size") > 1)
    return frame.assign(best=best.reindex(frame.index, fill_value=False))


def _ap_row(view: ReportView, line: Line, shots: Shots, group: Group) -> dict[str, Any]:
    mean = view.cells.mean(line, shots, group)
    row = {
        "line": view.lines.index(line),
        "name": view.names[line],
        "shots": shots,
        "x": view.shots_place(shots),
        "place": group.name,
        "heading": group.short,
        "planned": view.cells.planned(line, shots),
        "is_mean": len(group.tasks) != 1,
        "stat": None,
        "AP": None,
        "whole": False,
        "tasks": f"0/{len(group.tasks)}",
        "lacks": "",
        "known": "",
        "paper": view.cells.paper(line, shots, group.tasks),
        "undone": "",
        "reason": "",
    }
    if mean:
        row |= {
            "stat": mean.stat,
            "AP": mean.stat.mean,
            "whole": mean.whole,
            "tasks": f"{len(mean.tasks)}/{len(group.tasks)}",
            "lacks": lacking(mean, group),
            "known": ", ".join(task_name(task) for task in mean.tasks),
        }
    if len(group.tasks) == 1:
        undone = view.cells.cell(line, shots, group.tasks[0]).open
        counts = Counter(run.state for run in undone)
        text = ", ".join(f"{count} {state}" for state, count in counts.items())
        # a run that finished without an AP had no box to find
        row["undone"] = text.replace("finished", "undefined")
        row["reason"] = "; ".join(run.error for run in undone if run.error)[:300]
    return row
