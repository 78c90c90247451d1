"""Executors: they run one function for many jobs, each call in a process of its own.

Here are what every executor can do, and the executor of this machine. Those of clusters are in
:mod:`clusters`.
"""

import logging
import math
import multiprocessing
import os
import signal
import tempfile
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, Protocol

from glip_lightning.common import signals
from glip_lightning.experiments.sweep.jobs import Event, Function, Job

log = logging.getLogger(__name__)

PAUSE = 0.5  # seconds between looks at the signals
PRELOADED = "glip_lightning.experiments.sweep.preloaded"  # by name: it imports torch
LONGEST_TEMPORARY = 70
"""Bytes of the path of temporary files.

The server of forks has a socket below it, whose path has 32 more. macOS allows 103, Linux 107.
"""


class Stop:
    """How often the user asked for the end.

    After the first time running trials save their state, after the second they are killed.
    """

    def __init__(self) -> None:
        self.count = 0
        self.number: signal.Signals | None = None  # of the first signal

    @contextmanager
    def listening(self) -> Iterator["Stop"]:
        """Count Ctrl-C, SIGTERM and SIGHUP of this process in place of ending it."""

        def count(number: signal.Signals) -> None:
            self.count += 1
            if self.number is None:
                self.number = number

        previous = signals.listen(count)
        try:
            yield self
        finally:
            signals.restore(previous)


class Executor(Protocol):
    """Something that runs jobs."""

    def run(self, function: Function, jobs: Sequence[Job], stop: Stop) -> Iterator[Event]:
        """Call ``function`` with every job and yield what becomes of each.

        The last event of a job says how it ended. Jobs that did not begin have no event.
        """
        ...


class Local:
    """Processes of this machine, one per trial, each of which sees one GPU at most.

    Where the system can fork, a server imports the libraries once and every trial is a fork of it:
    a clean process that need not import them again. The server runs no operator of torch and does
    not touch a GPU, which no fork could use then.
    """

    def __init__(
        self, workers: int, gpus: Sequence[str] = (), preload: Sequence[str] = (PRELOADED,)
    ) -> None:
        """Take GPUs as CUDA_VISIBLE_DEVICES names them, and modules that all trials need."""
        self.places = [gpus[number % len(gpus)] if gpus else None for number in range(workers)]
        forks = _has_fork_server()
        self._context = multiprocessing.get_context("forkserver" if forks else "spawn")
        if forks:
            self._context.set_forkserver_preload(list(preload))

    def run(self, function: Function, jobs: Sequence[Job], stop: Stop) -> Iterator[Event]:
        """Run as many jobs at once as there are workers; see :class:`Executor`."""
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


def _has_fork_server() -> bool:
    """Return whether trials can be forks; a warning names what a user can change."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return False
    temporary = tempfile.gettempdir()
    if len(os.fsencode(temporary)) <= LONGEST_TEMPORARY:
        return True
    log.warning(
        "TMPDIR %s has more than %d characters: each trial imports the libraries anew, "
        "which takes some seconds; a shorter path avoids this",
        temporary,
        LONGEST_TEMPORARY,
    )
    return False


class _Process:
    """A process that runs one job."""

    def __init__(self, context: Any, function: Function, job: Job, gpu: str | None) -> None:
        self.job = job
        self.gpu = gpu
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
        """Return the event that the process sent; where it sent none, say how the process ended."""
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
        cause = _cause(self._process.exitcode or 0)
        return Event(self.job.id, "died", f"the worker process {cause}")

    def stop(self, kill: bool) -> None:
        """End the process: with SIGTERM, which lets the run save its state, or at once."""
        if kill:
            self._process.kill()
        else:
            self._process.terminate()


def _serve(connection: Connection, function: Function, job: Job, gpu: str | None) -> None:
    """Run one job and send its last event, also if the parent has ended meanwhile.

    Of the signals only SIGTERM comes through, from the parent or with it. SIGINT and SIGHUP of a
    terminal reach all processes: they are left to the parent, which passes them on. Therefore a
    SIGTERM that reaches all processes comes twice.
    """
    if gpu is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = gpu  # read when CUDA is used for the first time
    # signals are blocked here, too: the server that forks may be older than this sweep
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
    if name == "SIGKILL":
        return f"was killed by {name} (by the system, if memory ran out)"
    return f"was killed by {name}"


def visible_gpus() -> list[str]:
    """Return the CUDA devices of this process by their names in CUDA_VISIBLE_DEVICES.

    None of them is touched.
    """
    import torch

    count = torch.cuda.device_count()
    names = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
    named = [name.strip() for name in names if name.strip()]
    return named[:count] or [str(number) for number in range(count)]
