"""``glip sweep``: run all trials of a sweep file, each once, and go on where an earlier call stopped."""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from rich.progress import Progress

from glip_lightning.common.escaping import json_text, printable, printable_lines
from glip_lightning.common.files import remove_parts, write_text
from glip_lightning.common.signals import Interrupted
from glip_lightning.config.wrong_usage import WrongUsage
from glip_lightning.experiments.sweep.board import (
    Board,
    TrialTimes,
    console,
    point_name,
    show_plan,
    show_results,
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
from glip_lightning.experiments.sweep.run_trial import (
    LOG_NAME,
    read_failure,
    record_failure,
    run_trial,
)
from glip_lightning.experiments.sweep.trial_state import state_of
from glip_lightning.training.callbacks.threads import best_number, cores
from glip_lightning.training.trial import Axes

SWEEPS, TRIALS = "sweeps", "trials"


class SweepOptions(NamedTuple):
    """What the command line says besides the file."""

    dir: str | None = None  # default: runs/<name of the sweep>
    executor: str = "local"
    workers: int | None = None
    trials_per_gpu: int = 1
    only: str | None = None
    slurm: str = ""
    dry_run: bool = False
    keep_checkpoints: bool = False


def run_sweep(file: str, options: SweepOptions, overrides: Sequence[str] = ()) -> int:
    """Run what is left of a sweep; return 0 if no trial failed, 1 if one did, 128 + its number after a signal."""
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
    if options.dry_run:
        show_plan(chosen, folder / TRIALS)
        return 0
    for place in (folder, folder / SWEEPS, folder / TRIALS):
        remove_parts(place)
    _write_sweep(folder, grid, planned)
    found = {each.trial.id: state_of(folder / TRIALS / each.trial.id) for each in chosen}
    left = [each for each in chosen if found[each.trial.id].state != "finished"]
    print(
        f"{grid.name}: {len(chosen)} trials in {folder}, {len(chosen) - len(left)} of them finished already"
    )
    stop = Stop()
    ended = _run(left, TrialTimes(chosen, found), folder, options, stop) if left else {}
    if queued := sum(event.state == "queued" for event in ended.values()):
        return _tell_queued(queued)
    _tell(chosen, ended, folder)
    if stop.number:
        return Interrupted(number=stop.number).exit_code
    return int(any(state_of(folder / TRIALS / each.trial.id).state == "failed" for each in chosen))


def _resolve(grid: Grid, overrides: Sequence[str]) -> list[Planned]:
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("checking all trials", total=None)
        return resolve(
            grid, overrides, lambda done, total: progress.update(task, completed=done, total=total)
        )


def _chosen(planned: Sequence[Planned], only: str | None) -> list[Planned]:
    """The trials that stand for one of the points of ``only``."""
    if only is None:
        return list(planned)
    points = select([point for each in planned for point in each.trial.points], only)
    return [each for each in planned if any(point in points for point in each.trial.points)]


def _write_sweep(folder: Path, grid: Grid, planned: Sequence[Planned]) -> None:
    """Write ``sweeps/NAME.json``, which has all recipes, and ``trial.json`` of every trial: all that a report needs.

    Sweeps of other names in the same folder have files of their own there and share the trials that are equal.
    """
    points = [point for each in planned for point in each.trial.points]
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
    content = {"name": grid.name, "axes": _labels(points), "trials": trials}
    for each in planned:
        each.trial.write(folder / TRIALS / each.trial.id)
    write_text(
        folder / SWEEPS / f"{grid.name}.json",
        json_text(json.dumps(content, indent=2, ensure_ascii=False)),
    )


def _labels(points: Sequence[Axes]) -> dict[str, list[Any]]:
    """The labels of each axis in the order in which they first come."""
    labels: dict[str, list[Any]] = {axis: [] for axis in points[0]}
    for point in points:
        for axis, label in point.items():
            if label not in labels[axis]:
                labels[axis].append(label)
    return labels


def _run(
    left: Sequence[Planned], rates: TrialTimes, folder: Path, options: SweepOptions, stop: Stop
) -> dict[str, Event]:
    """How each trial ended, by its id; those that were not begun are missing."""
    executor, workers, threads = _executor(folder, options)
    place = (folder / TRIALS).resolve()
    jobs = [
        Job(
            each.trial.id,
            str(place / each.trial.id),
            str(Path.cwd()),
            each.recipe,
            threads,
            options.keep_checkpoints,
        )
        for each in left
    ]
    with stop.listening(), Board(left, place, workers, rates) as board:
        for event in executor.run(run_trial, jobs, stop):
            if event.state == "died":
                record_failure(place / event.id, event.note, "", event.seconds)
            board.tell(event)
    return board.ended


def _executor(folder: Path, options: SweepOptions) -> tuple[Executor, int, int | None]:
    """The executor, how many trials it runs at once, and the threads of each."""
    named = os.environ.get("OMP_NUM_THREADS", "")
    if options.slurm and options.executor != "submitit":
        raise WrongUsage("--slurm: only with --executor submitit", code="option-without-use")
    if options.executor == "submitit":
        parameters = {
            "timeout_min": 600,
            "name": folder.resolve().name,
            **slurm_parameters(options.slurm),
        }
        if options.workers:
            parameters["array_parallelism"] = options.workers
        return Slurm((folder / "submitit").resolve(), parameters), options.workers or 1, None
    gpus = visible_gpus() if options.executor == "local" else []
    workers = options.workers or len(gpus) * options.trials_per_gpu or max(1, cores() // 2)
    threads = int(named) if named.isdigit() else max(1, cores() // workers)
    if options.executor == "ray":
        return Ray(options.trials_per_gpu), workers, threads
    if not named and not gpus:
        threads = best_number(threads)
    return Local(workers, gpus), workers, threads


def _tell_queued(count: int) -> int:
    print(
        f"{count} trials are in the queue (squeue --me). The same command with --dry-run shows their states; called"
    )
    print(
        "again without it, it submits what is neither finished nor in the queue, and shows the results at the end."
    )
    return 0


def _tell(chosen: Sequence[Planned], ended: dict[str, Event], folder: Path) -> None:
    """AP by axes, failures with their logs, and what to do next."""
    place = folder / TRIALS
    show_results(chosen, place)
    for each in chosen:
        path = place / each.trial.id
        if state_of(path).state == "failed":
            print(
                f"failed   {point_name(each.trial.axes)}: {printable_lines(read_failure(path).error)}"
            )
            print(f"         log: {printable(str(path / LOG_NAME))}")
    waiting = {
        each.trial.id
        for each in chosen
        if state_of(place / each.trial.id).state in ("new", "unfinished")
    }
    if elsewhere := {event.id for event in ended.values() if event.state == "elsewhere"} & waiting:
        print(
            f"running elsewhere: {len(elsewhere)} trials; the same command shows them when they are finished"
        )
    if unfinished := waiting - elsewhere:
        print(f"unfinished: {len(unfinished)} trials; the same command goes on with them")
    print(f"next     glip report {folder}")
    if any(place.glob("*/wandb/offline-run-*")):
        print(f"         wandb sync {place}/*/wandb/offline-run-*")
