"""Means over seeds with their spread, intervals over images, means over tasks. AP here is in percent.

Spread is the sample standard deviation (divided by n - 1) over seeds; of one seed there is none. Intervals hold 95 %
of the AP of redrawn test images: seeds of a task share their draws (evaluation/bootstrap.py), tasks do not.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from glip_lightning.experiments.report.paper_numbers import LARGE, ORDER, paper_cells
from glip_lightning.experiments.report.runs import Collection, Line, Run, Shots, percent

Interval = tuple[float, float]


class Stat(NamedTuple):
    """What is known of a cell, in percent."""

    mean: float
    std: float | None  # sample standard deviation over seeds; None of one
    n: int  # different runs, or sets of runs, behind the mean
    values: tuple[float, ...]  # of each
    interval: Interval | None = None  # 95 % over redrawn images


class Group(NamedTuple):
    """Tasks that are averaged."""

    name: str
    short: str
    tasks: tuple[str, ...]


class Mean(NamedTuple):
    """A mean over ``tasks``. It is ``whole`` if at least one seed has all tasks of the group."""

    stat: Stat
    tasks: tuple[str, ...]
    whole: bool


class SeedRuns(NamedTuple):
    """The runs of one task, line and number of shots by their seed."""

    done: dict[Any, Run]  # finished, with an AP
    open: list[Run]  # failed, missing, or without a box to find

    def stat(self) -> Stat | None:
        runs = list({run.id: run for run in self.done.values()}.values())
        if not runs:
            return None
        return _stat([_ap(run) for run in runs], _mean_draws([draws_of(run) for run in runs]))


class Cells:
    """All cells of a collection."""

    def __init__(self, collection: Collection) -> None:
        self.collection = collection
        self.tasks, self.shots, self.lines = collection.tasks, collection.shots, collection.lines
        self._cells: dict[tuple[Line, Shots, str], SeedRuns] = {}
        for point, run in collection.points:
            cell = self._cells.setdefault((point.line, point.shots, point.task), SeedRuns({}, []))
            if run.ap is not None:
                cell.done[point.seed] = run
            elif run not in cell.open:
                cell.open.append(run)

    def cell(self, line: Line, shots: Shots, task: str) -> SeedRuns:
        return self._cells.get((line, shots, task), SeedRuns({}, []))

    def planned(self, line: Line, shots: Shots) -> bool:
        """Whether any run of this row exists or should."""
        return any((line, shots, task) in self._cells for task in self.tasks)

    def mean(self, line: Line, shots: Shots, group: Group) -> Mean | None:
        """Mean over the tasks of each seed that has them all, then over seeds.

        Where no seed is complete, the mean of the tasks that there are, without a spread.
        """
        if len(group.tasks) == 1:
            stat = self.cell(line, shots, group.tasks[0]).stat()
            return Mean(stat, group.tasks, True) if stat else None
        cells = {task: self.cell(line, shots, task) for task in group.tasks}
        sets = _complete(cells.values())
        if sets:
            values = [float(np.mean([_ap(run) for run in runs])) for runs in sets]
            draws = _mean_draws([draws_of(run) for runs in sets for run in runs])
            return Mean(_stat(values, draws), group.tasks, True)
        known = {task: stat for task, cell in cells.items() if (stat := cell.stat())}
        if not known:
            return None
        mean = float(np.mean([stat.mean for stat in known.values()]))
        return Mean(Stat(mean, None, 0, ()), tuple(known), False)

    def contrast(self, terms: Sequence[tuple[float, SeedRuns]]) -> Stat | None:
        """Weighted sum of the AP of cells, seed by seed and draw by draw; None unless a seed has all of them."""
        sets = _complete([cell for _, cell in terms])
        if not sets:
            return None
        weights = [weight for weight, _ in terms]
        values = [sum(w * _ap(run) for w, run in zip(weights, runs, strict=True)) for runs in sets]
        draws = [draws_of(run) for runs in sets for run in runs]
        return _stat(values, _sum_draws(draws, [w / len(sets) for w in weights] * len(sets)))

    def difference(
        self, line: Line, other: Line, shots: Shots, tasks: Sequence[str]
    ) -> Stat | None:
        """``line`` minus ``other``, seed by seed and draw by draw, in the mean over ``tasks``; None if one lacks."""
        share = 1 / len(tasks)
        signed = [(share, line), (-share, other)]
        return self.contrast(
            [(weight, self.cell(of, shots, task)) for task in tasks for weight, of in signed]
        )

    def paper(self, line: Line, shots: Shots, tasks: Sequence[str]) -> float | None:
        """The paper's number in the mean over ``tasks``; None if it has none for this line or for one of them."""
        if line.get("weights") == "random":
            return None
        cells = paper_cells(line.get("detector"), self.collection.kind(line), shots)
        return (
            float(np.mean([cells[task] for task in tasks]))
            if all(task in cells for task in tasks)
            else None
        )


def groups_of(tasks: Sequence[str]) -> list[Group]:
    """The means that the tasks allow: ODinW-13 and its large tasks side by side, else that of all tasks."""
    groups = []
    if set(ORDER) <= set(tasks):
        groups.append(Group("ODinW-13 mean", "ODinW-13", ORDER))
    elif len(tasks) > 1:
        groups.append(Group(f"mean of {len(tasks)} tasks", f"{len(tasks)} tasks", tuple(tasks)))
    if set(LARGE) <= set(tasks) and set(LARGE) != set(tasks):
        groups.append(
            Group("mean of the 7 tasks with at least 58 test images", "7 large tasks", LARGE)
        )
    if set(ORDER) < set(tasks):
        groups.append(
            Group(f"mean of all {len(tasks)} tasks", f"all {len(tasks)} tasks", tuple(tasks))
        )
    return groups


def headline(tasks: Sequence[str]) -> Group:
    """What the report speaks of first: the first mean, or the only task."""
    found = groups_of(tasks)
    return found[0] if found else Group(tasks[0], tasks[0], tuple(tasks))


def draws_of(run: Run) -> np.ndarray | None:
    """AP in percent of every resample of the test images; nan where no box was drawn."""
    drawn = run.metrics.get("bootstrap")
    values = drawn.get("AP") if isinstance(drawn, Mapping) else None
    if not isinstance(values, list) or not values:
        return None
    known = [percent(x) for x in values]
    return np.array([math.nan if x is None else x for x in known])


def _ap(run: Run) -> float:
    assert run.ap is not None
    return 100 * run.ap


def _stat(values: Sequence[float], draws: np.ndarray | None) -> Stat:
    """Mean, sample standard deviation, and the interval of the mean's resamples."""
    std = float(np.std(values, ddof=1)) if len(values) > 1 else None
    return Stat(float(np.mean(values)), std, len(values), tuple(values), _interval(draws))


def _interval(draws: np.ndarray | None) -> Interval | None:
    known = draws[~np.isnan(draws)] if draws is not None else np.empty(0)
    if not known.size:
        return None
    low, high = np.percentile(known, [2.5, 97.5])
    return float(low), float(high)


def _mean_draws(draws: Sequence[np.ndarray | None]) -> np.ndarray | None:
    return _sum_draws(draws, [1 / len(draws)] * len(draws))


def _sum_draws(draws: Sequence[np.ndarray | None], weights: Sequence[float]) -> np.ndarray | None:
    """Weighted, resample by resample; None unless all are known and equally many."""
    known = [each for each in draws if each is not None]
    if not known or len(known) < len(draws) or len({len(each) for each in known}) > 1:
        return None
    return np.asarray(weights) @ np.stack(known)


def _by_seed(cells: Sequence[SeedRuns]) -> dict[Any, tuple[Run, ...]]:
    """The runs of every seed that all cells have. What was measured without a seed stands for every seed."""
    seeds = dict.fromkeys(seed for cell in cells for seed in cell.done if seed is not None)
    found = {}
    for seed in seeds or [None]:
        runs = [cell.done.get(seed) or cell.done.get(None) for cell in cells]
        if runs and all(run is not None for run in runs):
            found[seed] = tuple(run for run in runs if run is not None)
    return found


def _complete(cells: Iterable[SeedRuns]) -> list[tuple[Run, ...]]:
    """The different sets of runs, one per seed."""
    sets = _by_seed(list(cells))
    return list({tuple(run.id for run in runs): runs for runs in sets.values()}.values())
