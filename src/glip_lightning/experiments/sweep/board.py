"""The tables of a sweep: trials before it, progress during it, AP after it."""

import statistics
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console, Group
from rich.live import Live
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from glip_lightning.common import signals
from glip_lightning.common.escaping import printable
from glip_lightning.common.long_work import MINUTE
from glip_lightning.common.plurals import count_with_noun
from glip_lightning.evaluation.points import in_points
from glip_lightning.experiments.sweep.grid import label_text
from glip_lightning.experiments.sweep.jobs import Event
from glip_lightning.experiments.sweep.plan import Planned
from glip_lightning.experiments.sweep.trial_state import TrialState, state_of, steps_done
from glip_lightning.experiments.sweep.trial_times import TrialTimes, kind
from glip_lightning.training.trial import Axes, Trial

console = Console(highlight=False, soft_wrap=True)
OVER = ("finished", "failed", "died")
"""States of trials that do not run again in this call."""
SHOWN = 20  # running trials that are named
PAUSE = 5.0  # seconds between looks at the clock where no terminal shows the board


def trial_name(trial: Trial) -> str:
    """Return a trial in one line, like ``shots=10 seed=3``."""
    return _axes_text(_own_axes(trial))


def _own_axes(trial: Trial) -> Axes:
    """Return the axes on which all points of a trial agree: zero shots have no tuning."""
    return {
        axis: label
        for axis, label in trial.axes.items()
        if all(point[axis] == label for point in trial.points)
    }


def _axes_text(axes: Axes) -> str:
    return " ".join(f"{axis}={_shown(label)}" for axis, label in axes.items())


def _shown(label: object) -> str:
    return printable(label_text(label))


def _print_table(table: Table) -> None:
    """Print a table; where the lines go into a file, never narrower than its content."""
    Console(highlight=False, width=None if console.is_terminal else 200).print(table)


def show_plan(
    planned: Sequence[Planned], states: Mapping[str, TrialState], times: TrialTimes
) -> None:
    """Print the table of ``--dry-run``: a row per trial; the time only where any is known."""
    seconds: dict[str, float | None] = {}
    for each in planned:
        result = states[each.trial.id].result
        seconds[each.trial.id] = result["seconds"] if result else times.seconds(each)
    has_times = any(value is not None for value in seconds.values())
    axes = list(planned[0].trial.axes)
    table = Table(box=None, pad_edge=False)
    for name in (*axes, "trial", "state"):
        table.add_column(name)
    for name in ("images", "steps", *(["time"] if has_times else [])):
        table.add_column(name, justify="right")
    for each in planned:
        id = each.trial.id
        own = _own_axes(each.trial)
        labels = [escape(_shown(own[axis])) if axis in own else "-" for axis in axes]
        steps = "?" if each.steps is None else str(each.steps)
        numbers = [str(each.images), steps]
        if has_times:
            numbers.append(clock(seconds[id]))
        table.add_row(*labels, id, states[id].state, *numbers)
    _print_table(table)
    left = [each for each in planned if states[each.trial.id].state != "finished"]
    print(f"{_count(planned)}, {len(left)} to run; steps are upper bounds")
    _print_total_time(left, seconds)


def _count(planned: Sequence[Planned]) -> str:
    """Return the number of trials; where combinations share a trial, say how many and why."""
    text = count_with_noun(len(planned), "trial")
    shared = [each for each in planned if len(each.trial.points) > 1]
    if not shared:
        return text
    combinations = sum(len(each.trial.points) for each in planned)
    free: set[str] = set()  # axes on which nothing of a shared trial depends
    for each in shared:
        free |= each.trial.axes.keys() - _own_axes(each.trial).keys()
    names = [axis for axis in planned[0].trial.axes if axis in free]
    why = "0 shots train nothing: " if all(each.steps == 0 for each in shared) else ""
    return f"{text} ({combinations} combinations; {why}any {' and '.join(names)} is the same trial)"


def _print_total_time(left: Sequence[Planned], seconds: Mapping[str, float | None]) -> None:
    """Print how long the trials take that are left, and of which kinds nothing is known."""
    known: list[float] = []
    unknown: set[str] = set()
    for each in left:
        expected = seconds[each.trial.id]
        if expected is None:
            unknown.add(kind(each.recipe))
        else:
            known.append(expected)
    if known:
        trials = count_with_noun(len(known), "trial")
        print(f"time of {trials} to run, one after the other: about {clock(sum(known))}")
    if unknown:
        print(
            f"time not known yet: {', '.join(sorted(unknown))}; "
            "the first finished trial of each tells it"
        )


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
        self._names = _short_names([each.trial for each in planned])
        self._live = Live(
            console=console, get_renderable=self._render, refresh_per_second=1, transient=True
        )
        self._told = time.monotonic()  # when the last line was printed
        self._over = threading.Event()
        self._teller = threading.Thread(target=self._tell, daemon=True)

    def __enter__(self) -> "Board":
        if console.is_terminal:
            self._live.start()
        else:
            with signals.blocked():  # they are for the main thread
                self._teller.start()
        return self

    def __exit__(self, *_: object) -> None:
        if console.is_terminal:
            self._live.stop()
        else:
            self._over.set()
            self._teller.join()

    def _tell(self) -> None:
        """Say once a minute where the running trials are, unless an event was told meanwhile."""
        while not self._over.wait(PAUSE):
            if time.monotonic() - self._told >= MINUTE:
                self._print(self._running_line())

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
            self._print(self._line(event))

    def _print(self, line: str) -> None:
        console.print(escape(line))
        sys.stdout.flush()
        self._told = time.monotonic()

    def _line(self, event: Event) -> str:
        names = {"died": "failed", "elsewhere": "running elsewhere"}
        state = names.get(event.state, event.state)
        name = trial_name(self._planned[event.id].trial)
        line = f"{self._progress()} | {state}: {name} ({event.id})"
        if event.state == "finished":
            ap = state_of(self._folder / event.id).ap
            line += f", AP {in_points(ap)}, {clock(event.seconds)}"
        if event.note:
            line += f", {event.note}"
        return line

    def _progress(self) -> str:
        """Return how many trials are over and, if known, the time that the others take."""
        over = sum(event.state in OVER for event in list(self.ended.values()))
        text = f"{over} of {len(self._planned)} trials done"
        left = self._seconds_left()
        if left:
            text += f", about {clock(left)} to go"
        return text

    def _seconds_left(self) -> float | None:
        """Return the seconds until the last trial ends; None where they are unknown.

        They are unknown, too, after an interruption: no further trial begins.
        """
        if any(event.state == "interrupted" for event in list(self.ended.values())):
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
        failed = sum(event.state in ("failed", "died") for event in list(self.ended.values()))
        head = self._progress()
        if failed:
            head += f"; {failed} failed"
        running = (Text(f"  {text}") for text in self._positions())
        return Group(Text(head, style="bold"), *running)

    def _running_line(self) -> str:
        return f"{self._progress()} | running: {'; '.join(self._positions())}"

    def _positions(self) -> list[str]:
        """Return the running trials, each with its step and since when it runs.

        A submitted trial runs as soon as it has logged a step.
        """
        texts: list[str] = []
        for trial, began in list(self._running.items()):
            text = self._names[trial]
            done, steps = steps_done(self._folder / trial), self._planned[trial].steps
            if done:
                # an evaluation after the last step has a row of its own
                text += f", step {min(done, steps)} of {steps}" if steps else f", step {done}"
            if trial not in self._submitted:
                text += f" ({clock(time.monotonic() - began)})"
            elif not done:
                continue
            texts.append(text)
            if len(texts) == SHOWN:
                break
        return texts


def _short_names(trials: Sequence[Trial]) -> dict[str, str]:
    """Return the name of each trial by its id, without axes that are the same in all of them."""
    labels: dict[str, set[str]] = {}
    for trial in trials:
        for axis, label in trial.axes.items():
            labels.setdefault(axis, set()).add(_shown(label))
    names = {}
    for trial in trials:
        own = _own_axes(trial)
        varied = {axis: label for axis, label in own.items() if len(labels[axis]) > 1}
        names[trial.id] = _axes_text(varied or own)
    return names


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
