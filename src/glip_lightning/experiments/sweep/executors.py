"""Where trials run: what every executor is, and the one of this machine. Those of clusters are in :mod:`clusters`.

An executor is handed one function and what to call it with, and tells what becomes of each call. Nothing heavy is
imported here: a worker has to be told its GPU before torch is imported.
"""

import math
import multiprocessing
import os
import signal
import sys
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Literal, NamedTuple, Protocol

from glip_lightning.common import signals

PAUSE = 0.5  # seconds between looks at the signals


class Job(NamedTuple):
    """A trial to run. Its folder has a file beside it with the recipe, ``<folder>.yaml``."""

    id: str
    folder: str  # absolute: on a cluster, on the file system that all nodes share
    home: str  # working directory, which data.root and the like are relative to
    threads: int | None = None  # of torch; None leaves its choice
    keep_checkpoints: bool = False


State = Literal["running", "submitted", "finished", "failed", "died", "interrupted", "elsewhere"]


class Event(NamedTuple):
    """What became of a job. ``died`` took the process with it, so nobody has written down the error."""

    id: str
    state: State
    note: str = ""  # the error in one line, or the number of the submitted job
    seconds: float = 0.0


Function = Callable[[Job], Event]


class Stop:
    """How often the user has asked for the end: once, running trials save their state; twice, they are killed."""

    def __init__(self) -> None:
        self.count = 0
        self.number: signal.Signals | None = None  # of the first

    @contextmanager
    def listening(self) -> Iterator["Stop"]:
        """Take Ctrl-C, SIGTERM and SIGHUP of this process."""

        def count(number: signal.Signals) -> None:
            self.count += 1
            self.number = self.number or number

        previous = signals.listen(count)
        try:
            yield self
        finally:
            signals.restore(previous)


class Executor(Protocol):
    def run(self, function: Function, jobs: Sequence[Job], stop: Stop) -> Iterator[Event]:
        """Call ``function`` with every job. The last event of a job says how it ended; none for those not begun."""
        ...


class Local:
    """Processes of this machine, each of which runs one trial after another and sees one GPU at most."""

    def __init__(self, workers: int, gpus: Sequence[str] = ()) -> None:
        """``gpus`` as CUDA_VISIBLE_DEVICES names them; workers are dealt out to them in turn."""
        self.workers, self.gpus = workers, gpus

    def run(self, function: Function, jobs: Sequence[Job], stop: Stop) -> Iterator[Event]:
        waiting = deque(jobs)
        count = min(self.workers, len(jobs))
        places = [self.gpus[i % len(self.gpus)] if self.gpus else None for i in range(count)]
        workers = [_Worker(function, gpu) for gpu in places]
        asked = 0
        try:
            while waiting or any(worker.job for worker in workers):
                if stop.count > asked:
                    asked = stop.count
                    waiting.clear()
                    for worker in workers:
                        worker.stop(kill=asked > 1)
                for worker in workers:
                    if waiting and worker.job is None:
                        job = waiting.popleft()
                        worker.begin(job)
                        yield Event(job.id, "running")
                busy = {worker.connection: worker for worker in workers if worker.job}
                for connection in wait(list(busy), timeout=PAUSE):
                    yield busy[connection].end(stopped=stop.count > 0)  # pyrefly: ignore[bad-index]
        finally:
            for worker in workers:
                worker.close()


class _Worker:
    """A process and the job it has."""

    def __init__(self, function: Function, gpu: str | None) -> None:
        self._function, self._gpu = function, gpu
        self.job: Job | None = None
        self._start()

    def _start(self) -> None:
        spawn = multiprocessing.get_context("spawn")
        self.connection, theirs = spawn.Pipe()
        self._process: BaseProcess = spawn.Process(target=_serve, args=(theirs, self._gpu))
        if os.name == "posix":
            with signals.blocked():
                resource_tracker.ensure_running()  # its start lets signals through again
        with signals.blocked():
            self._process.start()
        theirs.close()
        self.connection.send(self._function)

    def begin(self, job: Job) -> None:
        if not self._process.is_alive():  # somebody ended it between two jobs
            self._start()
        self.job = job
        with suppress(BrokenPipeError):  # the end is seen by who waits for the answer
            self.connection.send(job)

    def end(self, stopped: bool) -> Event:
        """The answer, or the end of the process in its place; then a new one takes its place."""
        assert self.job is not None
        job, self.job = self.job, None
        try:
            return self.connection.recv()
        except (EOFError, OSError):
            self._process.join()
            if stopped:
                return Event(job.id, "interrupted")
            cause = _cause(self._process.exitcode or 0)
            self._start()
            return Event(job.id, "died", f"the worker process {cause}")

    def stop(self, kill: bool) -> None:
        if self.job:
            self._process.kill() if kill else self._process.terminate()

    def close(self) -> None:
        if self.job:
            self._process.kill()
        with suppress(OSError):
            self.connection.send(None)
        self.connection.close()
        self._process.join()


def _serve(connection: Connection, gpu: str | None) -> None:
    """Do what a worker process does. It ends when its parent does, after the job that it has.

    Of the signals only SIGTERM comes through, from the parent or with it; SIGINT and SIGHUP of a terminal, which reach
    all processes, are left to the parent, which passes them on. A SIGTERM that reaches all comes twice, therefore.
    """
    if gpu is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = gpu  # before torch is imported with the function
    with suppress(EOFError, OSError, KeyboardInterrupt):
        with signals.interrupting():
            signals.unblock(signal.SIGTERM)
            function = connection.recv()
        while True:
            with signals.interrupting(echo=math.inf):
                job = connection.recv()
                if job is None:
                    break
                connection.send(function(job))


def _cause(code: int) -> str:
    if code >= 0:
        return f"ended with exit code {code}"
    name = signal.Signals(-code).name
    return f"was killed by {name}" + (" (by the system, if memory ran out)" if name == "SIGKILL" else "")


def visible_gpus() -> list[str]:
    """The CUDA devices of this process as CUDA_VISIBLE_DEVICES names them; none of them is touched."""
    import torch

    count = torch.cuda.device_count()
    named = [name.strip() for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name.strip()]
    return named[:count] or [str(number) for number in range(count)]


def cores() -> int:
    """CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
