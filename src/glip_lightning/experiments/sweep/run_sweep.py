"""``glip sweep``: run each trial of a sweep once; go on where an earlier call stopped."""

import json
import os
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rich.progress import Progress

from glip_lightning.common.commands import option_words
from glip_lightning.common.escaping import json_text, printable, printable_lines
from glip_lightning.common.files import remove_parts, write_text
from glip_lightning.common.signals import Interrupted
from glip_lightning.config.overrides import Overrides
from glip_lightning.config.wrong_usage import WrongUsage
from glip_lightning.experiments.failures import LOG_NAME, read_failure, record_failure
from glip_lightning.experiments.sweep.board import (
    Board,
    console,
    show_plan,
    show_results,
    trial_name,
)
from glip_lightning.experiments.sweep.clusters import Ray, Slurm, slurm_parameters
from glip_lightning.experiments.sweep.executors import Executor, Local, Stop, visible_gpus
from glip_lightning.experiments.sweep.grid import (
    Grid,
    default_folder,
    read_grid,
    select,
    sweep_file,
)
from glip_lightning.experiments.sweep.jobs import Event, Job
from glip_lightning.experiments.sweep.plan import Planned, resolve
from glip_lightning.experiments.sweep.run_trial import run_trial
from glip_lightning.experiments.sweep.trial_state import state_of
from glip_lightning.experiments.sweep.trial_times import TrialTimes, finished_runs
from glip_lightning.training.callbacks.threads import best_number, cores
from glip_lightning.training.trial import Axes
from glip_lightning.weights.run_files import RUNS

SWEEPS, TRIALS = "sweeps", "trials"


@dataclass(frozen=True, slots=True)
class SweepOptions:
    """What the command line says besides the file."""

    dir: str | None = None
    """Folder of the sweep; None: ``runs/<name of the sweep>``."""
    executor: str = "local"
    workers: int | None = None
    trials_per_gpu: int = 1
    only: str | None = None
    slurm: str = ""
    dry_run: bool = False
    keep_checkpoints: bool = False


def run_sweep(file: str, options: SweepOptions, overrides: Overrides = ()) -> int:
    """Run what is left of a sweep and return the exit code of the command.

    It is 0 if no trial failed, 1 if one did, and 128 + the number of the signal after a signal.
    """
    for name, value in (
        ("--workers", options.workers),
        ("--trials-per-gpu", options.trials_per_gpu),
    ):
        if value is not None and value < 1:
            raise WrongUsage(f"{name} {value}: expected 1 or more", code="bad-value")
    grid = read_grid(sweep_file(file))
    planned = _resolve(grid, overrides)
    folder = Path(options.dir) if options.dir else default_folder(grid)
    chosen = _chosen(planned, options.only)
    place = folder / TRIALS
    states = {each.trial.id: state_of(place / each.trial.id) for each in chosen}
    times = TrialTimes(chosen, states, finished_runs(RUNS))
    if options.dry_run:
        show_plan(chosen, states, times)
        return 0
    for each in (folder, folder / SWEEPS, place):
        remove_parts(each)
    _write_sweep(folder, grid, planned, chosen, _command(file, options, overrides))
    left = [each for each in chosen if states[each.trial.id].state != "finished"]
    finished = len(chosen) - len(left)
    print(f"{grid.name}: trials: {len(chosen)}, finished already: {finished}, folder: {folder}")
    stop = Stop()
    ended = _run(left, times, folder, options, stop) if left else {}
    queued = sum(event.state == "queued" for event in ended.values())
    if queued:
        print(
            f"trials in the queue: {queued} (squeue --me); the same command with --dry-run shows "
            "their states.\nWithout it, the command submits what is neither finished nor in "
            "the queue, and shows the results at the end."
        )
        return 0
    show_end(chosen, ended, folder, left_out=len(planned) - len(chosen))
    if stop.number:
        return Interrupted(number=stop.number).exit_code
    return int(any(state_of(place / each.trial.id).state == "failed" for each in chosen))


def _resolve(grid: Grid, overrides: Overrides) -> list[Planned]:
    """Return the trials of a grid, with a progress bar on a terminal."""
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("checking all trials", total=None)

        def advance(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total)

        return resolve(grid, overrides, advance)


def _chosen(planned: Sequence[Planned], only: str | None) -> list[Planned]:
    """Return the trials of the points that ``only`` names, each with these points alone."""
    if only is None:
        return list(planned)
    points = select(_points(planned), only)
    found = []
    for each in planned:
        own = tuple(point for point in each.trial.points if point in points)
        if own:
            found.append(replace(each, trial=replace(each.trial, axes=own[0], points=own)))
    return found


def _points(planned: Sequence[Planned]) -> list[Axes]:
    """Return the points of all trials."""
    points: list[Axes] = []
    for each in planned:
        points += each.trial.points
    return points


def _command(file: str, options: SweepOptions, overrides: Overrides) -> str:
    """Return the command line of a call, without options that have their default."""
    of_recipes = [f"--{key}={value}" for key, value in overrides]
    return shlex.join(["glip", "sweep", file, *option_words(options), *of_recipes])


def _write_sweep(
    folder: Path,
    grid: Grid,
    planned: Sequence[Planned],
    chosen: Sequence[Planned],
    command: str,
) -> None:
    """Write ``sweeps/NAME.json`` and ``trial.json`` of every trial: all that a report needs.

    ``sweeps/NAME.json`` has the command, all recipes, and in ``left_out`` the trials that
    ``--only`` left out.
    Sweeps of other names in the same folder have files of their own there and share the trials
    that are equal.
    """
    trials = [
        {
            "id": each.trial.id,
            "axes": each.trial.axes,
            "points": each.trial.points,
            "steps": each.steps,
            "recipe": each.recipe,
        }
        for each in planned
    ]
    content: dict[str, Any] = {
        "name": grid.name,
        "command": command,
        "axes": _labels(_points(planned)),
        "trials": trials,
    }
    wanted = {each.trial.id for each in chosen}
    left_out = [each.trial.id for each in planned if each.trial.id not in wanted]
    if left_out:
        content["left_out"] = left_out
    for each in planned:
        each.trial.write(folder / TRIALS / each.trial.id)
    text = json.dumps(content, indent=2, ensure_ascii=False)
    write_text(folder / SWEEPS / f"{grid.name}.json", json_text(text))


def _labels(points: Sequence[Axes]) -> dict[str, list[Any]]:
    """Return the labels of each axis in the order in which they first come."""
    labels: dict[str, list[Any]] = {axis: [] for axis in points[0]}
    for point in points:
        for axis, label in point.items():
            if label not in labels[axis]:
                labels[axis].append(label)
    return labels


def _run(
    left: Sequence[Planned], times: TrialTimes, folder: Path, options: SweepOptions, stop: Stop
) -> dict[str, Event]:
    """Run trials; return the last event of each by its id, none of those that did not begin."""
    executor, workers, threads = _executor(folder, options)
    place = (folder / TRIALS).resolve()
    home = str(Path.cwd())
    jobs = []
    for each in left:
        id = each.trial.id
        jobs.append(Job(id, str(place / id), home, each.recipe, threads, options.keep_checkpoints))
    with stop.listening(), Board(left, place, workers, times) as board:
        for event in executor.run(run_trial, jobs, stop):
            if event.state == "died":
                record_failure(place / event.id, event.note, "", event.seconds)
            board.show(event)
    return board.ended


def _executor(folder: Path, options: SweepOptions) -> tuple[Executor, int, int | None]:
    """Return the executor, how many trials it runs at once, and the threads of each."""
    if options.slurm and options.executor != "submitit":
        raise WrongUsage("--slurm: only with --executor submitit", code="option-without-use")
    if options.executor == "submitit":
        parameters = {"timeout_min": 600, "name": folder.resolve().name}
        parameters |= slurm_parameters(options.slurm)
        if options.workers:
            parameters["array_parallelism"] = options.workers
        return Slurm((folder / "submitit").resolve(), parameters), options.workers or 1, None
    gpus = visible_gpus() if options.executor == "local" else []
    if options.workers:
        workers = options.workers
    elif gpus:
        workers = len(gpus) * options.trials_per_gpu
    else:
        workers = max(1, cores() // 2)
    named = os.environ.get("OMP_NUM_THREADS", "")
    threads = int(named) if named.isdigit() else max(1, cores() // workers)
    if options.executor == "ray":
        return Ray(options.trials_per_gpu), workers, threads
    if not named and not gpus:
        threads = best_number(threads)
    return Local(workers, gpus), workers, threads


def show_end(
    chosen: Sequence[Planned], ended: dict[str, Event], folder: Path, left_out: int = 0
) -> None:
    """Print AP by axes, failures with their logs, and what to do next.

    ``left_out`` is the number of trials that ``--only`` left out.
    """
    place = folder / TRIALS
    show_results(chosen, place)
    waiting: set[str] = set()
    for each in chosen:
        path = place / each.trial.id
        state = state_of(path).state
        if state in ("new", "unfinished"):
            waiting.add(each.trial.id)
        if state == "failed":
            error = printable_lines(read_failure(path).error)
            print(f"failed   {trial_name(each.trial)}: {error}")
            print(f"         log: {printable(str(path / LOG_NAME))}")
    elsewhere = {id for id in waiting if id in ended and ended[id].state == "elsewhere"}
    if elsewhere:
        print(
            f"trials that run elsewhere: {len(elsewhere)}; the same command shows them when they "
            "are finished"
        )
    if waiting - elsewhere:
        print(f"unfinished trials: {len(waiting - elsewhere)}; the same command goes on with them")
    if left_out:
        print(f"trials that --only leaves out: {left_out}; the command without it runs them")
    print(f"next     glip report {folder}")
    if any(place.glob("*/wandb/offline-run-*")):
        print(f"W&B      to upload the runs: wandb sync {place}/*/wandb/offline-run-*")
