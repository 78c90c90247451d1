"""Means over seeds with their spread, intervals over images, means over tasks.

AP here is in percent. Spread is the sample standard deviation (divided by n - 1) over seeds; one
seed has none. Intervals hold 95 % of the AP of redrawn test images: seeds of a task share their
draws (evaluation/bootstrap.py), tasks do not.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from glip_lightning.experiments.report.paper_numbers import LARGE, ORDER, paper_cells
from glip_lightning.experiments.report.runs import Collection, Line, Run, Shots, percent

Interval = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Stat:
    """A mean with its spread, in percent."""

    mean: float
    std: float | None
    """Sample standard deviation over seeds; None of one seed."""
    n: int
    """Number of different runs, or sets of runs, behind the mean."""
    values: tuple[float, ...]
    """The value of each of them."""
    interval: Interval | None = None
    """95 % over redrawn images; None where it is not known."""


@dataclass(frozen=True, slots=True)
class Group:
    """Tasks that are averaged."""

    name: str
    short: str
    tasks: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Mean:
    """A mean over ``tasks``; it is ``whole`` if at least one seed has all tasks of the group."""

    stat: Stat
    tasks: tuple[str, ...]
    whole: bool


@dataclass(frozen=True, slots=True)
class SeedRuns:
    """The runs of one task, line and number of shots."""

    done: dict[Any, Run] = field(default_factory=dict)
    """Finished runs with an AP, by their seed."""
    open: list[Run] = field(default_factory=list)
    """Runs that failed, are missing, or had no box to find."""

    def stat(self) -> Stat | None:
        """Return the mean over seeds; None where no run is done."""
        runs = list({run.id: run for run in self.done.values()}.values())
        if not runs:
            return None
        return _stat([_ap(run) for run in runs], _mean_draws([draws_of(run) for run in runs]))


class Cells:
    """The runs of a collection by line, number of shots and task, and the means over them."""

    def __init__(self, collection: Collection) -> None:
        self.collection = collection
        self.tasks = collection.tasks
        self.shots = collection.shots
        self.lines = collection.lines
        self._cells: dict[tuple[Line, Shots, str], SeedRuns] = {}
        for point, run in collection.points:
            cell = self._cells.setdefault((point.line, point.shots, point.task), SeedRuns())
            if run.ap is not None:
                cell.done[point.seed] = run
            elif run not in cell.open:
                cell.open.append(run)

    def cell(self, line: Line, shots: Shots, task: str) -> SeedRuns:
        """Return the runs of a cell, which may have none."""
        return self._cells.get((line, shots, task), SeedRuns())

    def planned(self, line: Line, shots: Shots) -> bool:
        """Return whether any run of this row exists or should exist."""
        return any((line, shots, task) in self._cells for task in self.tasks)

    def mean(self, line: Line, shots: Shots, group: Group) -> Mean | None:
        """Return the mean over the tasks of each seed that has them all, then over these seeds.

        Where no seed is complete, it is the mean of the tasks that there are, without a spread.
        None where no run is done.
        """
        if len(group.tasks) == 1:
            stat = self.cell(line, shots, group.tasks[0]).stat()
            return Mean(stat, group.tasks, True) if stat else None
        cells = {task: self.cell(line, shots, task) for task in group.tasks}
        sets = _complete(cells.values())
        if sets:
            values = []
            draws = []
            for runs in sets:
                values.append(float(np.mean([_ap(run) for run in runs])))
                draws += [draws_of(run) for run in runs]
            return Mean(_stat(values, _mean_draws(draws)), group.tasks, True)
        known = {}
        for task, cell in cells.items():
            stat = cell.stat()
            if stat:
                known[task] = stat.mean
        if not known:
            return None
        mean = float(np.mean(list(known.values())))
        return Mean(Stat(mean, None, 0, ()), tuple(known), False)

    def contrast(self, terms: Sequence[tuple[float, SeedRuns]]) -> Stat | None:
        """Return a weighted sum of the AP of cells, seed by seed and draw by draw.

        None unless a seed has all of them.
        """
        sets = _complete([cell for _, cell in terms])
        if not sets:
            return None
        weights = [weight for weight, _ in terms]
        shares = [weight / len(sets) for weight in weights]
        values = []
        draws = []
        for runs in sets:
            values.append(sum(w * _ap(run) for w, run in zip(weights, runs, strict=True)))
            draws += [draws_of(run) for run in runs]
        return _stat(values, _sum_draws(draws, shares * len(sets)))

    def difference(
        self, line: Line, other: Line, shots: Shots, tasks: Sequence[str]
    ) -> Stat | None:
        """Return ``line`` minus ``other`` in the mean over ``tasks``, seed by seed, draw by draw.

        None unless a seed has all runs of both.
        """
        share = 1 / len(tasks)
        terms = []
        for task in tasks:
            terms.append((share, self.cell(line, shots, task)))
            terms.append((-share, self.cell(other, shots, task)))
        return self.contrast(terms)

    def paper(self, line: Line, shots: Shots, tasks: Sequence[str]) -> float | None:
        """Return the paper's number in the mean over ``tasks``.

        None if it has no number for this line or for one of the tasks.
        """
        if line.get("weights") == "random":
            return None
        cells = paper_cells(line.get("detector"), self.collection.kind(line), shots)
        if not all(task in cells for task in tasks):
            return None
        return float(np.mean([cells[task] for task in tasks]))


def groups_of(tasks: Sequence[str]) -> list[Group]:
    """Return the means that the tasks allow.

    These are ODinW-13 and its large tasks side by side; else the mean of all tasks.
    """
    groups = []
    if set(ORDER) <= set(tasks):
        groups.append(Group("ODinW-13 mean", "ODinW-13", ORDER))
    elif len(tasks) > 1:
        groups.append(Group(f"mean of {len(tasks)} tasks", f"{len(tasks)} tasks", tuple(tasks)))
    if set(LARGE) < set(tasks):
        groups.append(
            Group("mean of the 7 tasks with at least 58 test images", "7 large tasks", LARGE)
        )
    if set(ORDER) < set(tasks):
        groups.append(
            Group(f"mean of all {len(tasks)} tasks", f"all {len(tasks)} tasks", tuple(tasks))
        )
    return groups


def headline(tasks: Sequence[str]) -> Group:
    """Return what the report speaks of first: the first mean, or the only task."""
    found = groups_of(tasks)
    return found[0] if found else Group(tasks[0], tasks[0], tuple(tasks))


def draws_of(run: Run) -> np.ndarray | None:
    """Return AP in percent of every resample of the test images; nan where no box was drawn.

    None where the run has no resamples.
    """
    drawn = run.metrics.get("bootstrap")
    values = drawn.get("AP") if isinstance(drawn, Mapping) else None
    if not isinstance(values, list) or not values:
        return None
    return np.array([percent(value) for value in values], dtype=float)  # None becomes nan


def _ap(run: Run) -> float:
    assert run.ap is not None
    return 100 * run.ap


def _stat(values: Sequence[float], draws: np.ndarray | None) -> Stat:
    """Return mean, sample standard deviation, and the interval of the mean's resamples."""
    std = float(np.std(values, ddof=1)) if len(values) > 1 else None
    return Stat(float(np.mean(values)), std, len(values), tuple(values), _interval(draws))


def _interval(draws: np.ndarray | None) -> Interval | None:
    if draws is None:
        return None
    known = draws[~np.isnan(draws)]
    if not known.size:
        return None
    low, high = np.percentile(known, [2.5, 97.5])
    return float(low), float(high)


def _mean_draws(draws: Sequence[np.ndarray | None]) -> np.ndarray | None:
    return _sum_draws(draws, [1 / len(draws)] * len(draws))


def _sum_draws(draws: Sequence[np.ndarray | None], weights: Sequence[float]) -> np.ndarray | None:
    """Return a weighted sum, resample by resample; None unless all are known and equally many."""
    known = [each for each in draws if each is not None]
    lengths = {len(each) for each in known}
    if len(known) < len(draws) or len(lengths) != 1:
        return None
    return np.asarray(weights) @ np.stack(known)


def _complete(cells: Iterable[SeedRuns]) -> list[tuple[Run, ...]]:
    """Return the different sets of runs, one run of each cell, of every seed that all cells have.

    A run that was measured without a seed stands for every seed.
    """
    cells = list(cells)
    seeds: dict[Any, None] = {}
    for cell in cells:
        seeds |= dict.fromkeys(cell.done)
    if len(seeds) > 1:
        seeds.pop(None, None)
    sets = {}
    for seed in seeds:
        runs = [cell.done.get(seed) or cell.done.get(None) for cell in cells]
        known = tuple(run for run in runs if run is not None)
        if known and len(known) == len(cells):
            sets[tuple(run.id for run in known)] = known
    return list(sets.values())
