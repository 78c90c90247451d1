"""Executors of clusters: trials as tasks of Ray, or as jobs of SLURM."""

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
    """Tasks of Ray, on the cluster that ``RAY_ADDRESS`` names, else on a Ray of the sweep's own.

    All nodes need this package and one file system for data and trials, and its locks have to work
    across nodes (see :mod:`run_trial`). Ray and ``RAY_AUTH_MODE`` decide whether tokens guard a
    Ray; for one of its own it makes ``~/.ray/auth_token``.
    """

    def __init__(self, trials_per_gpu: int = 1) -> None:
        self.trials_per_gpu = trials_per_gpu

    def run(self, function: Function, jobs: Sequence[Job], stop: Stop) -> Iterator[Event]:
        """Submit all jobs and wait for them; see :class:`.executors.Executor`."""
        ray = _start_ray()
        gpus = 1 / self.trials_per_gpu if ray.cluster_resources().get("GPU") else 0
        # no process is used twice; a task whose process died is left for somebody to look at
        kind = ray.remote(max_retries=0, max_calls=1, num_cpus=jobs[0].threads or 1, num_gpus=gpus)
        task = kind(function)
        running = {task.remote(job): job for job in jobs}
        asked = 0
        try:
            for job in jobs:
                yield Event(job.id, "submitted")
            while running:
                if stop.count > asked:
                    asked = stop.count
                    for reference in running:
                        ray.cancel(reference, force=asked > 1)
                done, _ = ray.wait(list(running), timeout=PAUSE)
                for reference in done:
                    yield _answer(ray, reference, running.pop(reference))
        finally:
            ray.shutdown()


def _start_ray() -> Any:
    """Return the module ``ray``, connected to a cluster or to a Ray of this machine."""
    ray = import_optional("ray", "--executor ray", "ray")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is reported to anybody
    quiet = {"log_to_driver": False, "logging_level": logging.ERROR}
    address = os.environ.get("RAY_ADDRESS")
    if address:
        ray.init(address=address, **quiet)
    else:  # nothing is passed through its store, which may be small
        ray.init(address="local", include_dashboard=False, object_store_memory=100 * 2**20, **quiet)
    return ray


def _answer(ray: Any, reference: Any, job: Job) -> Event:
    """Return the last event of a task; errors of the trial itself are events already."""
    try:
        return ray.get(reference)
    except ray.exceptions.TaskCancelledError:
        return Event(job.id, "interrupted")
    except ray.exceptions.RayError as error:
        lines = str(error).splitlines() or [""]
        return Event(job.id, "died", f"{type(error).__name__}: {lines[0]}")


class Slurm:
    """One array of SLURM jobs through submitit; it does not wait for them.

    The folder has to lie on the file system of the nodes. A job that runs out of time goes back
    into the queue and goes on from its last checkpoint. ``folder/<trial>.job`` has the number of
    the last job of a trial: another call of the sweep submits what is neither finished nor in the
    queue.
    """

    def __init__(self, folder: Path, parameters: Mapping[str, Any]) -> None:
        """Take the folder for submitit's files, and parameters by submitit's names for them."""
        self.folder = folder
        self.parameters = parameters

    def run(self, function: Function, jobs: Sequence[Job], stop: Stop) -> Iterator[Event]:
        """Submit the jobs that are not in the queue yet; see :class:`.executors.Executor`."""
        executor = self._executor()
        queue = _queue()
        earlier = {job.id: self._number(job) for job in jobs}
        new = [job for job in jobs if earlier[job.id] not in queue]
        submitted = executor.map_array(Requeued(function), new) if new else []
        for job, there in zip(new, submitted, strict=True):
            write_text(self._number_file(job), there.job_id)
        for job in jobs:
            note = f"job {self._number(job)}"
            if job not in new:
                note += " of an earlier call"
            yield Event(job.id, "queued", note)

    def _executor(self) -> Any:
        """Return submitit's executor, which knows the parameters."""
        submitit = import_optional("submitit", "--executor submitit", "slurm")
        try:
            executor = submitit.AutoExecutor(self.folder, cluster="slurm")
        except RuntimeError:
            message = (
                "--executor submitit: there is no srun on this machine; log in to one of SLURM"
            )
            raise WrongUsage(message, code="no-cluster") from None
        try:
            executor.update_parameters(**self._parameter_names())
        except (ValueError, NameError, AssertionError) as error:
            # a list of all arguments with their types may follow
            reason = " ".join(str(error).split()).split(" Valid arguments")[0]
            raise WrongUsage(
                f"--slurm: {reason} submitit's and sbatch's own names are known", code="bad-value"
            ) from None
        return executor

    def _number_file(self, job: Job) -> Path:
        return self.folder / f"{job.id}.job"

    def _number(self, job: Job) -> str | None:
        """Return the number of the last job that was submitted for a trial."""
        file = self._number_file(job)
        return file.read_text(encoding="utf-8").strip() if file.is_file() else None

    def _parameter_names(self) -> dict[str, Any]:
        """Return the parameters; submitit wants a prefix for those that only SLURM has."""
        return {
            name if name in GENERAL else f"slurm_{name}": value
            for name, value in self.parameters.items()
        }


def _queue() -> set[str]:
    """Return the numbers of the user's jobs that wait or run, those of arrays as ``12_3``."""
    command = ["squeue", "--me", "--noheader", "--array", "--format=%i"]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    if answer.returncode:
        reason = " ".join(answer.stderr.split())
        raise GLIPError(
            f"--executor submitit: squeue does not answer, nothing is submitted: {reason}",
            code="no-cluster",
        )
    return set(answer.stdout.split())


class Requeued:
    """A function that goes back into the queue of SLURM when its time is over."""

    def __init__(self, function: Function) -> None:
        self.function = function

    def __call__(self, job: Job) -> Event:
        """Call the function; end it with its state saved when SIGUSR2 says that the time is over.

        submitit's own handler would end it in the middle of a step. Here SIGUSR2 ends it as SIGTERM
        does.
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
        """Return what is submitted again; submitit calls this before it ends the job."""
        import submitit

        return submitit.helpers.DelayedSubmission(self, job)


def slurm_parameters(given: str) -> dict[str, Any]:
    """Return ``partition=gpu,timeout_min=60`` as a mapping; values are read as YAML.

    Raises:
        WrongUsage: a part is no NAME=VALUE (``bad-value``).
    """
    found: dict[str, Any] = {}
    for part in given.split(","):
        if not part:
            continue
        name, sep, value = part.partition("=")
        if not sep or not name.strip():
            raise WrongUsage(
                f"--slurm {part}: expected NAME=VALUE, as in partition=gpu,timeout_min=240",
                code="bad-value",
            )
        found[name.strip()] = yaml.safe_load(value)
    return found
