"""What a sweep shows: trials before it, progress during it, AP after it."""

import statistics
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from rich.console import Console, Group
from rich.live import Live
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from glip_lightning.common.escaping import printable
from glip_lightning.experiments.sweep.grid import label_text
from glip_lightning.experiments.sweep.jobs import Event
from glip_lightning.experiments.sweep.plan import Planned
from glip_lightning.experiments.sweep.trial_state import TrialState, state_of
from glip_lightning.training.trial import Axes

console = Console(highlight=False, soft_wrap=True)


def point_name(axes: Axes) -> str:
    return " ".join(f"{axis}={printable(label_text(label))}" for axis, label in axes.items())


class Rates:
    """Seconds that trials take, from those that are finished."""

    def __init__(self, planned: Iterable[Planned], found: Mapping[str, TrialState]) -> None:
        self._step: dict[str, list[float]] = {}
        self._untrained: dict[str, list[float]] = {}
        for trial in planned:
            result = found[trial.trial.id].result
            if result and result["steps"]:
                self._step.setdefault(_kind(trial), []).append(result["seconds"] / result["steps"])
            elif result:
                self._untrained.setdefault(_kind(trial), []).append(result["seconds"])

    def seconds(self, planned: Planned) -> float | None:
        """Expected length of the trial; None before one of the same detector and tuning is finished."""
        steps = planned.steps
        known = self._untrained if steps == 0 else self._step
        if steps is None or _kind(planned) not in known:
            return None
        return statistics.mean(known[_kind(planned)]) * (steps or 1)


def _kind(planned: Planned) -> str:
    model = planned.recipe["model"]
    return f"{model['detector']} with {(model['tuning'] or {}).get('class_path', 'no tuning').split('.')[-1]}"


def _print(table: Table) -> None:
    """Never narrower than its content where the lines go into a file."""
    Console(highlight=False, width=None if console.is_terminal else 200).print(table)


def show_plan(planned: Sequence[Planned], folder: Path) -> None:
    """The table of ``--dry-run``."""
    found = {each.trial.id: state_of(folder / each.trial.id) for each in planned}
    rates = Rates(planned, found)
    axes = list(planned[0].trial.axes)
    table = Table(box=None, pad_edge=False)
    for name in (*axes, "trial", "state"):
        table.add_column(name)
    for name in ("points", "images", "steps", "time"):
        table.add_column(name, justify="right")
    for each in planned:
        labels = [escape(printable(label_text(each.trial.axes[axis]))) for axis in axes]
        state, result = found[each.trial.id]
        steps = "?" if each.steps is None else str(each.steps)
        seconds = result["seconds"] if result else rates.seconds(each)
        numbers = (str(len(each.trial.points)), str(each.images), steps, clock(seconds))
        table.add_row(*labels, each.trial.id, state, *numbers)
    _print(table)
    _say_total([each for each in planned if found[each.trial.id].state != "finished"], planned, rates, folder)


def _say_total(left: Sequence[Planned], planned: Sequence[Planned], rates: Rates, folder: Path) -> None:
    points = sum(len(each.trial.points) for each in planned)
    print(f"{len(planned)} trials for {points} points of the grid; {len(left)} to run; steps are at most so many")
    times = [rates.seconds(each) for each in left]
    if known := [seconds for seconds in times if seconds is not None]:
        print(f"{len(known)} of them take about {clock(sum(known))} on one worker")
    if unknown := {_kind(each) for each, seconds in zip(left, times, strict=True) if seconds is None}:
        print(f"time ?: {folder} has no finished trial yet of {', '.join(sorted(unknown))}")


def clock(seconds: float | None) -> str:
    if seconds is None:
        return "?"
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


class Board:
    """A live table on a terminal, a line per event elsewhere."""

    def __init__(self, planned: Sequence[Planned], folder: Path, workers: int) -> None:
        """``planned`` are the trials to run."""
        self._axes = {each.trial.id: point_name(each.trial.axes) for each in planned}
        self._folder, self._workers = folder, workers
        self._running: dict[str, float] = {}  # id -> when it began
        self._took: list[float] = []
        self.ended: dict[str, Event] = {}
        self._live = Live(console=console, get_renderable=self._render, refresh_per_second=2, transient=True)

    def __enter__(self) -> "Board":
        if console.is_terminal:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if console.is_terminal:
            self._live.stop()

    def tell(self, event: Event) -> None:
        if event.state in ("running", "submitted"):
            self._running[event.id] = time.monotonic()
            if event.state == "submitted":
                return
        else:
            self._running.pop(event.id, None)
            self.ended[event.id] = event
            self._took += [event.seconds] if event.state == "finished" else []
        if not console.is_terminal or event.state in ("failed", "died", "queued"):
            console.print(escape(self._line(event)))
            sys.stdout.flush()

    def _line(self, event: Event) -> str:
        state = (
            "failed" if event.state == "died" else "running elsewhere" if event.state == "elsewhere" else event.state
        )
        line = f"[{len(self.ended)}/{len(self._axes)}] {state}: {self._axes[event.id]} ({event.id})"
        if event.state == "finished":
            ap = state_of(self._folder / event.id).ap
            line += f", AP {'undefined' if ap is None else f'{ap:.3f}'}, {clock(event.seconds)}"
        return f"{line}, {event.note}" if event.note else line

    def _render(self) -> Group:
        states = [event.state for event in self.ended.values()]
        failed = sum(state in ("failed", "died") for state in states)
        left = len(self._axes) - len(states)
        eta = statistics.mean(self._took) * left / self._workers if self._took else None
        head = f"{states.count('finished')} finished, {failed} failed, {left} left; about {clock(eta)} more"
        now = time.monotonic()
        rows = [f"  {clock(now - began):>7}  {self._axes[id]}" for id, began in list(self._running.items())[:20]]
        return Group(Text(head, style="bold"), *(Text(row) for row in rows))


def show_results(planned: Sequence[Planned], folder: Path) -> None:
    """Mean AP over the seeds: a column for each number of shots, a row for the other axes."""
    cells: dict[tuple[str, ...], dict[str, list[TrialState]]] = {}
    axes = [axis for axis in planned[0].trial.axes if axis not in ("shots", "seed")]
    for each in planned:
        found = state_of(folder / each.trial.id)
        for point in each.trial.points:
            row = tuple(printable(label_text(point[axis])) for axis in axes)
            cells.setdefault(row, {}).setdefault(label_text(point["shots"]), []).append(found)
    every = {label for row in cells.values() for label in row}
    shots = sorted(every, key=lambda label: float("inf") if label == "all" else int(label))
    table = Table(box=None, pad_edge=False)
    for name in axes:
        table.add_column(name)
    for label in shots:
        table.add_column("all" if label == "all" else f"{label} shots", justify="right")
    for row, by_shots in cells.items():
        table.add_row(*map(escape, row), *(_cell(by_shots.get(label, [])) for label in shots))
    _print(table)
    print("AP on test (valid where there is no test split), mean over the seeds that are finished")


def _cell(found: Sequence[TrialState]) -> str:
    values = [ap for each in found if (ap := each.ap) is not None]
    failed = sum(each.state == "failed" for each in found)
    text = f"{statistics.mean(values):.3f}" if values else "-"
    return f"{text} ({failed} failed)" if failed else text
