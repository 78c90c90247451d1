"""What all parts of a report need to know."""

import functools
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from glip_lightning.experiments.report.number_formats import lacking, task_name
from glip_lightning.experiments.report.runs import Collection, Line, Shots
from glip_lightning.experiments.report.statistics import Cells, Group, groups_of, headline


@dataclass(frozen=True)
class ReportView:
    """A collection with its cells; the place of a line in ``lines`` is its colour and its marker everywhere."""

    collection: Collection
    cells: Cells
    names: dict[Line, str]
    groups: list[Group]
    headline: Group

    @property
    def lines(self) -> list[Line]:
        """What is compared."""
        return self.cells.lines

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
        collection, cells, collection.names(), groups_of(cells.tasks), headline(cells.tasks)
    )


def ap_frame(view: ReportView, groups: Sequence[Group], lines: Sequence[Line]) -> pd.DataFrame:
    """Return a row per line, number of shots and group of tasks: its AP, and what lacks.

    ``stat`` is None where no run has finished. A row is ``whole`` if at least one seed has all tasks, ``best`` if no
    whole row of as many shots has a higher AP and another one has a lower AP; ``paper`` is the paper's number.
    """
    rows = [
        _ap_row(view, line, shots, group)
        for line in lines
        for shots in view.cells.shots
        for group in groups
    ]
    frame = pd.DataFrame(rows)
    frame = frame.astype({"AP": float, "paper": float})
    whole = frame[frame["whole"] & (frame["x"] != view.shots_place(0))]
    columns = whole.groupby(["x", "place"])["AP"]
    best = (columns.transform("max") == whole["AP"]) & (columns.transform("size") > 1)
    return frame.assign(best=best.reindex(frame.index, fill_value=False))


def _ap_row(view: ReportView, line: Line, shots: Shots, group: Group) -> dict[str, Any]:
    mean = view.cells.mean(line, shots, group)
    cell = view.cells.cell(line, shots, group.tasks[0]) if len(group.tasks) == 1 else None
    undone = cell.open if cell else []
    counted = Counter(run.state for run in undone).items()
    said = ", ".join(f"{n} {state}" for state, n in counted)
    return {
        "line": view.lines.index(line),
        "name": view.names[line],
        "shots": shots,
        "x": view.shots_place(shots),
        "place": group.name,
        "heading": group.short,
        "planned": view.cells.planned(line, shots),
        "is_mean": cell is None,
        "stat": mean.stat if mean else None,
        "AP": mean.stat.mean if mean else None,
        "whole": mean is not None and mean.whole,
        "tasks": f"{len(mean.tasks) if mean else 0}/{len(group.tasks)}",
        "lacks": lacking(mean, group) if mean else "",
        "known": ", ".join(map(task_name, mean.tasks)) if mean else "",
        "paper": view.cells.paper(line, shots, group.tasks),
        # finished without an AP: no box was there to be found
        "undone": said.replace("finished", "undefined"),
        "reason": "; ".join(run.error for run in undone if run.error)[:300],
    }
