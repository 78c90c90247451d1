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
from glip_lightning.evaluation.points import in_points
from glip_lightning.experiments.sweep.grid import label_text
from glip_lightning.experiments.sweep.jobs import Event
from glip_lightning.experiments.sweep.plan import Planned
from glip_lightning.experiments.sweep.trial_state import TrialState, state_of
from glip_lightning.training.trial import Axes

console = Console(highlight=False, soft_wrap=True)


def point_name(axes: Axes) -> str:
    return " ".join(f"{axis}={printable(label_text(label))}" for axis, label in axes.items())


class TrialTimes:
    """Seconds that trials take, from those that are finished.

    A trial that ended before its last step counts by the steps that were planned: others of its kind do so, too.
    """

    def __init__(self, planned: Iterable[Planned], found: Mapping[str, TrialState]) -> None:
        self._step: dict[str, list[float]] = {}
        self._untrained: dict[str, list[float]] = {}
        for trial in planned:
            self.add(trial, found[trial.trial.id])

    def add(self, planned: Planned, found: TrialState) -> None:
        """Learn from a trial, if it is finished."""
        if not found.result:
            return
        steps = planned.steps or found.result["steps"]
        known = self._step if steps else self._untrained
        known.setdefault(_kind(planned), []).append(found.result["seconds"] / (steps or 1))

    def seconds(self, planned: Planned) -> float | None:
        """Expected length of the trial; None before one of the same detector and tuning is finished."""
        known = self._known(planned).get(_kind(planned))
        return (
            None
            if planned.steps is None or known is None
            else statistics.mean(known) * (planned.steps or 1)
        )

    def guess(self, planned: Planned) -> float | None:
        """As :meth:`seconds`, by the mean of other detectors and tunings as long as nothing better is known."""
        others = list(map(statistics.mean, self._known(planned).values()))
        if planned.steps is None or not others:
            return None
        return self.seconds(planned) or statistics.mean(others) * (planned.steps or 1)

    def _known(self, planned: Planned) -> dict[str, list[float]]:
        """Return seconds per step, or per trial without steps, of each kind."""
        return self._untrained if planned.steps == 0 else self._step


def _kind(planned: Planned) -> str:
    model = planned.recipe["model"]
    return f"{model['detector']} with {(model['tuning'] or {}).get('class_path', 'no tuning').split('.')[-1]}"


def _print(table: Table) -> None:
    """Never narrower than its content where the lines go into a file."""
    Console(highlight=False, width=None if console.is_terminal else 200).print(table)


def show_plan(planned: Sequence[Planned], folder: Path) -> None:
    """The table of ``--dry-run``."""
    found = {each.trial.id: state_of(folder / each.trial.id) for each in planned}
    rates = TrialTimes(planned, found)
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
    _say_total(
        [each for each in planned if found[each.trial.id].state != "finished"],
        planned,
        rates,
        folder,
    )


def _say_total(
    left: Sequence[Planned], planned: Sequence[Planned], rates: TrialTimes, folder: Path
) -> None:
    points = sum(len(each.trial.points) for each in planned)
    print(
        f"{len(planned)} trials for {points} points of the grid; {len(left)} to run; steps are at most so many"
    )
    times = [rates.seconds(each) for each in left]
    if known := [seconds for seconds in times if seconds is not None]:
        print(f"{len(known)} of them take about {clock(sum(known))} on one worker")
    if unknown := {
        _kind(each) for each, seconds in zip(left, times, strict=True) if seconds is None
    }:
        print(f"time ?: {folder} has no finished trial yet of {', '.join(sorted(unknown))}")


def clock(seconds: float | None) -> str:
    if seconds is None:
        return "?"
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


class Board:
    """A live table on a terminal, a line per event elsewhere."""

    def __init__(
        self, planned: Sequence[Planned], folder: Path, workers: int, rates: TrialTimes
    ) -> None:
        """``planned`` are the trials to run; ``rates`` learns from those that are finished."""
        self._planned = {each.trial.id: each for each in planned}
        self._folder, self._workers, self._rates = folder, workers, rates
        self._running: dict[str, float] = {}  # id -> when it began
        self._submitted: set[str] = set()  # nobody knows when they begin
        self.ended: dict[str, Event] = {}
        self._live = Live(
            console=console, get_renderable=self._render, refresh_per_second=2, transient=True
        )

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
                self._submitted.add(event.id)
                return
        else:
            self._running.pop(event.id, None)
            self.ended[event.id] = event
            if event.state == "finished":
                self._rates.add(self._planned[event.id], state_of(self._folder / event.id))
        if not console.is_terminal or event.state in ("failed", "died", "queued"):
            console.print(escape(self._line(event)))
            sys.stdout.flush()

    def _line(self, event: Event) -> str:
        state = (
            "failed"
            if event.state == "died"
            else "running elsewhere"
            if event.state == "elsewhere"
            else event.state
        )
        line = f"{self._progress()} | {state}: {point_name(self._planned[event.id].trial.axes)} ({event.id})"
        if event.state == "finished":
            ap = state_of(self._folder / event.id).ap
            line += f", AP {in_points(ap)}, {clock(event.seconds)}"
        return f"{line}, {event.note}" if event.note else line

    def _progress(self) -> str:
        """Return how many trials are over, and the time that the others take, as soon as there is a measure."""
        over = sum(event.state in ("finished", "failed", "died") for event in self.ended.values())
        to_go = self._to_go()
        return f"{over} of {len(self._planned)} trials done" + (
            f", about {clock(to_go)} to go" if to_go else ""
        )

    def _to_go(self) -> float | None:
        """Return the seconds until the last trial ends; None where they are unknown or nothing more is begun."""
        if any(event.state == "interrupted" for event in self.ended.values()):
            return None
        now, times = time.monotonic(), []
        for trial, planned in self._planned.items():
            if trial in self.ended:
                continue
            seconds = self._rates.guess(planned)
            if seconds is None:
                return None
            worked = 0.0 if trial in self._submitted else now - self._running.get(trial, now)
            times.append(max(0.0, seconds - worked))
        return max(sum(times) / self._workers, max(times, default=0.0))

    def _render(self) -> Group:
        failed = sum(event.state in ("failed", "died") for event in self.ended.values())
        head = self._progress() + (f"; {failed} failed" if failed else "")
        now = time.monotonic()
        names = {
            trial: point_name(self._planned[trial].trial.axes) for trial in list(self._running)[:20]
        }
        rows = [
            f"  {clock(now - self._running[trial]):>7}  {name}" for trial, name in names.items()
        ]
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
    text = in_points(statistics.mean(values)) if values else "-"
    return f"{text} ({failed} failed)" if failed else text
