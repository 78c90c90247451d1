"""Where trials run: what every executor is, and the one of this machine. Those of clusters are in :mod:`clusters`.

An executor is handed one function and what to call it with, and tells what becomes of each call. Each call has a
process of its own.
"""

import math
import multiprocessing
import os
import signal
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, Protocol

from glip_lightning.common import signals
from glip_lightning.experiments.sweep.jobs import Event, Function, Job

PAUSE = 0.5  # seconds between looks at the signals
PRELOADED = "glip_lightning.experiments.sweep.preloaded"  # by name: it imports torch


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
    """Processes of this machine, one per trial, each of which sees one GPU at most.

    Where the system can fork, a server imports the libraries once and every trial is a fork of it: a clean process
    that need not import them again. The server runs no operator of torch and does not touch a GPU, which no fork could
    use then.
    """

    def __init__(
        self, workers: int, gpus: Sequence[str] = (), preload: Sequence[str] = (PRELOADED,)
    ) -> None:
        """``gpus`` as CUDA_VISIBLE_DEVICES names them, dealt out in turn; ``preload``: modules that trials need."""
        self.places = [gpus[number % len(gpus)] if gpus else None for number in range(workers)]
        forks = "forkserver" in multiprocessing.get_all_start_methods()
        self._context = multiprocessing.get_context("forkserver" if forks else "spawn")
        if forks:
            self._context.set_forkserver_preload(list(preload))

    def run(self, function: Function, jobs: Sequence[Job], stop: Stop) -> Iterator[Event]:
        waiting = deque(jobs)
        free = deque(self.places)
        running: dict[Connection, _Process] = {}
        asked = 0
        try:
            while waiting or running:
                if stop.count > asked:
                    asked = stop.count
                    waiting.clear()
                    for process in running.values():
                        process.stop(kill=asked > 1)
                while waiting and free:
                    process = _Process(self._context, function, waiting.popleft(), free.popleft())
                    running[process.connection] = process
                    yield Event(process.job.id, "running")
                for connection in wait(list(running), timeout=PAUSE):
                    process = running.pop(connection)  # pyrefly: ignore[bad-argument-type]
                    yield process.end(stopped=stop.count > 0)
                    free.append(process.gpu)
        finally:
            for process in running.values():
                process.stop(kill=True)


class _Process:
    """A process that runs one job."""

    def __init__(self, context: Any, function: Function, job: Job, gpu: str | None) -> None:
        self.job, self.gpu = job, gpu
        self.connection, theirs = context.Pipe(duplex=False)
        self._process: BaseProcess = context.Process(
            target=_serve, args=(theirs, function, job, gpu)
        )
        if os.name == "posix":
            with signals.blocked():
                resource_tracker.ensure_running()  # its start lets signals through again
        with signals.blocked():
            self._process.start()
        theirs.close()

    def end(self, stopped: bool) -> Event:
        """Return the answer, or how the process ended in its place."""
        try:
            event = self.connection.recv()
        except (EOFError, OSError):
            event = None
        self.connection.close()
        self._process.join()
        if event is not None:
            return event
        if stopped:
            return Event(self.job.id, "interrupted")
        return Event(
            self.job.id, "died", f"the worker process {_cause(self._process.exitcode or 0)}"
        )

    def stop(self, kill: bool) -> None:
        self._process.kill() if kill else self._process.terminate()


def _serve(connection: Connection, function: Function, job: Job, gpu: str | None) -> None:
    """Run one job and send what became of it. The job ends where it would even if the parent has ended.

    Of the signals only SIGTERM comes through, from the parent or with it; SIGINT and SIGHUP of a terminal, which reach
    all processes, are left to the parent, which passes them on. A SIGTERM that reaches all comes twice, therefore.
    """
    if gpu is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = gpu  # read when CUDA is used for the first time
    # the server that forks may have been started by somebody who held nothing back
    with (
        suppress(BrokenPipeError, KeyboardInterrupt),
        signals.blocked(),
        signals.interrupting(echo=math.inf),
    ):
        signals.unblock(signal.SIGTERM)
        connection.send(function(job))


def _cause(code: int) -> str:
    if code >= 0:
        return f"ended with exit code {code}"
    name = signal.Signals(-code).name
    return f"was killed by {name}" + (
        " (by the system, if memory ran out)" if name == "SIGKILL" else ""
    )


def visible_gpus() -> list[str]:
    """The CUDA devices of this process as CUDA_VISIBLE_DEVICES names them; none of them is touched."""
    import torch

    count = torch.cuda.device_count()
    named = [
        name.strip()
        for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
        if name.strip()
    ]
    return named[:count] or [str(number) for number in range(count)]
