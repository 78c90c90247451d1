"""Trials as tasks of Ray, or as jobs of SLURM."""

import logging
import math
import os
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

import yaml

from glip_lightning.common import signals
from glip_lightning.common.errors import GLIPError
from glip_lightning.common.files import write_text
from glip_lightning.common.imports import import_optional
from glip_lightning.config.wrong_usage import WrongUsage
from glip_lightning.experiments.sweep.executors import PAUSE, Stop
from glip_lightning.experiments.sweep.jobs import Event, Function, Job

GENERAL = (
    "name",
    "timeout_min",
    "mem_gb",
    "nodes",
    "cpus_per_task",
    "gpus_per_node",
    "tasks_per_node",
)
"""Parameters that submitit has for every cluster."""


class Ray:
    """Tasks of Ray: on the cluster that ``RAY_ADDRESS`` names, else on a Ray of this machine for the time of the sweep.

    All nodes need this package and one file system for data and trials; claims need its locks to work across nodes
    (see :mod:`run_trial`). Whether tokens guard a Ray is left to Ray and ``RAY_AUTH_MODE``; for one of its own it makes
    ``~/.ray/auth_token``.
    """

    def __init__(self, trials_per_gpu: int = 1) -> None:
        self.trials_per_gpu = trials_per_gpu

    def run(self, function: Function, jobs: Sequence[Job], stop: Stop) -> Iterator[Event]:
        ray = _ray()
        gpus = 1 / self.trials_per_gpu if ray.cluster_resources().get("GPU") else 0
        # our errors are answers; a task whose process died is not repeated before somebody has looked; a process is
        # not used again
        kind = ray.remote(max_retries=0, max_calls=1, num_cpus=jobs[0].threads or 1, num_gpus=gpus)
        task = kind(function)
        running = {task.remote(job): job for job in jobs}
        asked = 0
        try:
            yield from (Event(job.id, "submitted") for job in jobs)
            while running:
                if stop.count > asked:
                    asked = stop.count
                    for reference in running:
                        ray.cancel(reference, force=asked > 1)
                for reference in ray.wait(list(running), timeout=PAUSE)[0]:
                    yield _answer(ray, reference, running.pop(reference))
        finally:
            ray.shutdown()


def _ray() -> Any:
    ray = import_optional("ray", "--executor ray", "ray")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is reported to anybody
    quiet = {"log_to_driver": False, "logging_level": logging.ERROR}
    if address := os.environ.get("RAY_ADDRESS"):
        ray.init(address=address, **quiet)
    else:  # nothing is passed through its store
        ray.init(address="local", include_dashboard=False, object_store_memory=100 * 2**20, **quiet)
    return ray


def _answer(ray: Any, reference: Any, job: Job) -> Event:
    try:
        return ray.get(reference)
    except ray.exceptions.TaskCancelledError:
        return Event(job.id, "interrupted")
    except ray.exceptions.RayError as error:
        return Event(
            job.id, "died", f"{type(error).__name__}: {next(iter(str(error).splitlines()), '')}"
        )


class Slurm:
    """One array of SLURM jobs through submitit; it does not wait for them.

    The folder has to lie on the file system of the nodes. A job that runs out of time goes back into the queue and on
    from its last checkpoint. ``folder/<trial>.job`` has the number of the last job of a trial: calling the sweep again
    submits what is neither finished nor in the queue.
    """

    def __init__(self, folder: Path, parameters: Mapping[str, Any]) -> None:
        """``folder`` for submitit's files; ``parameters`` as submitit calls them (timeout_min, partition, ...)."""
        self.folder, self.parameters = folder, parameters

    def run(self, function: Function, jobs: Sequence[Job], stop: Stop) -> Iterator[Event]:
        executor = self._executor()
        queue, numbers = _queue(), {job.id: self._number(job) for job in jobs}
        new = [job for job in jobs if numbers[job.id] not in queue]
        submitted = executor.map_array(Requeued(function), new) if new else []
        for job, there in zip(new, submitted, strict=True):
            write_text(self._number_file(job), there.job_id)
        for job in jobs:
            note = (
                f"job {self._number(job)}"
                if job in new
                else f"job {numbers[job.id]} of an earlier call"
            )
            yield Event(job.id, "queued", note)

    def _executor(self) -> Any:
        """Return submitit's executor, which knows the parameters."""
        submitit = import_optional("submitit", "--executor submitit", "slurm")
        try:
            executor = submitit.AutoExecutor(self.folder, cluster="slurm")
        except RuntimeError:
            said = "--executor submitit: there is no srun on this machine; log in to one of SLURM"
            raise WrongUsage(said, code="no-cluster") from None
        try:
            executor.update_parameters(**self._named())
        except (ValueError, NameError, AssertionError) as error:
            said = " ".join(str(error).split()).split(" Valid arguments")[
                0
            ]  # which it lists with their types
            raise WrongUsage(
                f"--slurm: {said} submitit's and sbatch's own names are known", code="bad-value"
            ) from None
        return executor

    def _number_file(self, job: Job) -> Path:
        return self.folder / f"{job.id}.job"

    def _number(self, job: Job) -> str | None:
        """Return the number of the last job that was submitted for a trial."""
        file = self._number_file(job)
        return file.read_text(encoding="utf-8").strip() if file.is_file() else None

    def _named(self) -> dict[str, Any]:
        """As submitit tells its own parameters from those of SLURM alone."""
        return {
            name if name in GENERAL else f"slurm_{name}": value
            for name, value in self.parameters.items()
        }


def _queue() -> set[str]:
    """Return the numbers of the user's jobs that wait or run, those of arrays as ``12_3``."""
    command = ["squeue", "--me", "--noheader", "--array", "--format=%i"]
    asked = subprocess.run(command, capture_output=True, text=True, check=False)
    if asked.returncode:
        said = " ".join(asked.stderr.split())
        raise GLIPError(
            f"--executor submitit: squeue does not answer, nothing is submitted: {said}",
            code="no-cluster",
        )
    return set(asked.stdout.split())


class Requeued:
    """A function that submitit sends back into the queue when its time is over, after it has saved its state."""

    def __init__(self, function: Function) -> None:
        self.function = function

    def __call__(self, job: Job) -> Event:
        """Call the function; SIGUSR2, which comes when the time is nearly over, ends it as SIGTERM does.

        submitit's own handler would end it in the middle of a step.
        """
        requeue = signal.getsignal(signal.SIGUSR2)
        over: list[int] = []

        def end(number: int, _: FrameType | None) -> None:
            over.append(number)
            os.kill(os.getpid(), signal.SIGTERM)

        with signals.interrupting(echo=math.inf):
            signal.signal(signal.SIGUSR2, end)
            event = self.function(job)
        if over and event.state == "interrupted" and callable(requeue):
            requeue(over[0], None)  # does not return
        return event

    def checkpoint(self, job: Job) -> Any:
        """Called by submitit before the job is ended."""
        import submitit

        return submitit.helpers.DelayedSubmission(self, job)


def slurm_parameters(given: str) -> dict[str, Any]:
    """``partition=gpu,timeout_min=60`` as a mapping; values are read as YAML."""
    found: dict[str, Any] = {}
    for part in filter(None, given.split(",")):
        name, sep, value = part.partition("=")
        if not sep or not name.strip():
            raise WrongUsage(
                f"--slurm {part}: expected NAME=VALUE, as in partition=gpu,timeout_min=240",
                code="bad-value",
            )
        found[name.strip()] = yaml.safe_load(value)
    return found
