"""The tables of a sweep: trials before it, progress during it, AP after it."""

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
OVER = ("finished", "failed", "died")
"""States of trials that do not run again in this call."""


def point_name(axes: Axes) -> str:
    """Return a point in one line, like ``shots=10 seed=3``."""
    return " ".join(f"{axis}={_shown(label)}" for axis, label in axes.items())


def _shown(label: object) -> str:
    return printable(label_text(label))


class TrialTimes:
    """Seconds that trials take, learned from those that are finished.

    A trial that ended before its last step counts by the steps that were planned: other trials of
    its kind will end early, too.
    """

    def __init__(self, planned: Iterable[Planned], states: Mapping[str, TrialState]) -> None:
        self._step: dict[str, list[float]] = {}
        self._untrained: dict[str, list[float]] = {}
        for trial in planned:
            self.add(trial, states[trial.trial.id])

    def add(self, planned: Planned, state: TrialState) -> None:
        """Learn from a trial, if it is finished."""
        if not state.result:
            return
        steps = planned.steps or state.result["steps"]
        known = self._step if steps else self._untrained
        known.setdefault(_kind(planned), []).append(state.result["seconds"] / max(1, steps))

    def seconds(self, planned: Planned) -> float | None:
        """Return the expected length of a trial.

        None until a trial of the same detector and tuning is finished, and for a trial without end.
        """
        known = self._known(planned).get(_kind(planned))
        if planned.steps is None or known is None:
            return None
        return statistics.mean(known) * max(1, planned.steps)

    def guess(self, planned: Planned) -> float | None:
        """Return :meth:`seconds`; where it is unknown, the mean of other detectors and tunings."""
        seconds = self.seconds(planned)
        if seconds is not None:
            return seconds
        others = [statistics.mean(known) for known in self._known(planned).values()]
        if planned.steps is None or not others:
            return None
        return statistics.mean(others) * max(1, planned.steps)

    def _known(self, planned: Planned) -> dict[str, list[float]]:
        """Return seconds per step, or per trial without steps, of each kind."""
        return self._untrained if planned.steps == 0 else self._step


def _kind(planned: Planned) -> str:
    """Return detector and tuning of a trial, which decide how long a step takes."""
    model = planned.recipe["model"]
    tuning = model["tuning"] or {"class_path": "no tuning"}
    return f"{model['detector']} with {tuning['class_path'].split('.')[-1]}"


def _print_table(table: Table) -> None:
    """Print a table; where the lines go into a file, never narrower than its content."""
    Console(highlight=False, width=None if console.is_terminal else 200).print(table)


def show_plan(planned: Sequence[Planned], folder: Path) -> None:
    """Print the table of ``--dry-run``: a row per trial; the time only where any is known."""
    states = {each.trial.id: state_of(folder / each.trial.id) for each in planned}
    times = TrialTimes(planned, states)
    seconds: dict[str, float | None] = {}
    for each in planned:
        result = states[each.trial.id].result
        seconds[each.trial.id] = result["seconds"] if result else times.seconds(each)
    has_times = any(value is not None for value in seconds.values())
    axes = list(planned[0].trial.axes)
    table = Table(box=None, pad_edge=False)
    for name in (*axes, "trial", "state"):
        table.add_column(name)
    for name in ("points", "images", "steps", *(["time"] if has_times else [])):
        table.add_column(name, justify="right")
    for each in planned:
        id = each.trial.id
        labels = [escape(_shown(each.trial.axes[axis])) for axis in axes]
        steps = "?" if each.steps is None else str(each.steps)
        numbers = [str(len(each.trial.points)), str(each.images), steps]
        if has_times:
            numbers.append(clock(seconds[id]))
        table.add_row(*labels, id, states[id].state, *numbers)
    _print_table(table)
    left = [each for each in planned if states[each.trial.id].state != "finished"]
    points = sum(len(each.trial.points) for each in planned)
    print(
        f"trials: {len(planned)}, points of the grid: {points}, trials to run: {len(left)}; "
        "steps are upper bounds"
    )
    _print_total_time(left, seconds, folder)


def _print_total_time(
    left: Sequence[Planned], seconds: Mapping[str, float | None], folder: Path
) -> None:
    """Print how long the trials take that are left, and of which kinds nothing is known."""
    known: list[float] = []
    unknown: set[str] = set()
    for each in left:
        expected = seconds[each.trial.id]
        if expected is None:
            unknown.add(_kind(each))
        else:
            known.append(expected)
    if known:
        print(f"time on one worker, of {len(known)} trials to run: about {clock(sum(known))}")
    if unknown:
        kinds = ", ".join(sorted(unknown))
        print(f"no time is known of {kinds}: {folder} has no finished trial of them yet")


def clock(seconds: float | None) -> str:
    """Return a length of time in seconds, minutes or hours; ``?`` where it is unknown."""
    if seconds is None:
        return "?"
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


class Board:
    """The progress of a sweep: a live table on a terminal, elsewhere a line per event."""

    def __init__(
        self, planned: Sequence[Planned], folder: Path, workers: int, times: TrialTimes
    ) -> None:
        """Take the trials to run, and the times that it adds finished trials to."""
        self.ended: dict[str, Event] = {}
        self._planned = {each.trial.id: each for each in planned}
        self._folder = folder
        self._workers = workers
        self._times = times
        self._running: dict[str, float] = {}  # id -> when it began
        self._submitted: set[str] = set()  # nobody knows when they begin
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

    def show(self, event: Event) -> None:
        """Take an event into account; print a line about it unless the live table shows it."""
        if event.state in ("running", "submitted"):
            self._running[event.id] = time.monotonic()
            if event.state == "submitted":
                self._submitted.add(event.id)
                return
        else:
            self._running.pop(event.id, None)
            self.ended[event.id] = event
            if event.state == "finished":
                self._times.add(self._planned[event.id], state_of(self._folder / event.id))
        if not console.is_terminal or event.state in ("failed", "died", "queued"):
            console.print(escape(self._line(event)))
            sys.stdout.flush()

    def _line(self, event: Event) -> str:
        names = {"died": "failed", "elsewhere": "running elsewhere"}
        state = names.get(event.state, event.state)
        point = point_name(self._planned[event.id].trial.axes)
        line = f"{self._progress()} | {state}: {point} ({event.id})"
        if event.state == "finished":
            ap = state_of(self._folder / event.id).ap
            line += f", AP {in_points(ap)}, {clock(event.seconds)}"
        if event.note:
            line += f", {event.note}"
        return line

    def _progress(self) -> str:
        """Return how many trials are over and, if known, the time that the others take."""
        over = sum(event.state in OVER for event in self.ended.values())
        text = f"{over} of {len(self._planned)} trials done"
        left = self._seconds_left()
        if left:
            text += f", about {clock(left)} to go"
        return text

    def _seconds_left(self) -> float | None:
        """Return the seconds until the last trial ends; None where they are unknown.

        They are unknown, too, after an interruption: no further trial begins.
        """
        if any(event.state == "interrupted" for event in self.ended.values()):
            return None
        now = time.monotonic()
        times: list[float] = []
        for trial, planned in self._planned.items():
            if trial in self.ended:
                continue
            seconds = self._times.guess(planned)
            if seconds is None:
                return None
            began = now if trial in self._submitted else self._running.get(trial, now)
            times.append(max(0.0, seconds - (now - began)))
        return max(sum(times) / self._workers, max(times, default=0.0))

    def _render(self) -> Group:
        failed = sum(event.state in ("failed", "died") for event in self.ended.values())
        head = self._progress()
        if failed:
            head += f"; {failed} failed"
        now = time.monotonic()
        lines = [Text(head, style="bold")]
        for trial in list(self._running)[:20]:
            name = point_name(self._planned[trial].trial.axes)
            lines.append(Text(f"  {clock(now - self._running[trial]):>7}  {name}"))
        return Group(*lines)


def show_results(planned: Sequence[Planned], folder: Path) -> None:
    """Print the mean AP over the seeds: a column per number of shots, a row per other axes."""
    axes = [axis for axis in planned[0].trial.axes if axis not in ("shots", "seed")]
    rows: dict[tuple[str, ...], dict[str, list[TrialState]]] = {}
    shots: set[str] = set()
    for each in planned:
        state = state_of(folder / each.trial.id)
        for point in each.trial.points:
            row = tuple(_shown(point[axis]) for axis in axes)
            label = label_text(point["shots"])
            rows.setdefault(row, {}).setdefault(label, []).append(state)
            shots.add(label)
    numbers = sorted((label for label in shots if label != "all"), key=int)
    columns = [*numbers, *(["all"] if "all" in shots else [])]
    table = Table(box=None, pad_edge=False)
    for name in axes:
        table.add_column(name)
    for label in columns:
        table.add_column("all" if label == "all" else f"{label} shots", justify="right")
    for row, cells in rows.items():
        names = [escape(name) for name in row]
        table.add_row(*names, *(_cell(cells.get(label, [])) for label in columns))
    _print_table(table)
    print("AP on test (valid where there is no test split), mean over the seeds that are finished")


def _cell(states: Sequence[TrialState]) -> str:
    """Return the mean AP of the seeds in points, and how many failed."""
    values = [state.ap for state in states if state.ap is not None]
    failed = sum(state.state == "failed" for state in states)
    text = in_points(statistics.mean(values)) if values else "-"
    return f"{text} ({failed} failed)" if failed else text
