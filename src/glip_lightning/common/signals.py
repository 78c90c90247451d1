"""Signals that tell a program to end: Ctrl-C (SIGINT), a manager of services (SIGTERM), a closed terminal (SIGHUP).

A signal that was ignored when the program started (SIGHUP under ``nohup``) stays ignored.
"""

import math
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

NAMES = ("SIGINT", "SIGTERM", "SIGHUP")
SIGNALS = tuple(
    getattr(signal, name) for name in NAMES if hasattr(signal, name)
)  # Windows has no SIGHUP
ECHO = 1.0
"""Seconds in which a SIGTERM or SIGHUP after a first signal is the same one: ``timeout`` sends it to the program, then
to its group; a shell passes on the SIGHUP that the group has had. Ctrl-C comes once, a second one is meant."""

Previous = dict[signal.Signals, Any]
"""Handlers by signal, as they were before."""


class Interrupted(KeyboardInterrupt):
    """An end that ``number`` asked for."""

    def __init__(self, message: str = "", number: signal.Signals = signal.SIGINT) -> None:
        super().__init__(message)
        self.number = number

    @property
    def exit_code(self) -> int:
        """What shells show of a program that a signal has ended."""
        return 128 + self.number


class _Heard:
    """The first signal that told this process to end; ``echo`` are the seconds in which others are the same one."""

    def __init__(self) -> None:
        self.first: signal.Signals | None = None
        self.time = -math.inf
        self.echo = ECHO

    def note(self, number: signal.Signals) -> bool:
        """Keep the first signal; return whether ``number`` is only its echo."""
        if self.first is None:
            self.first, self.time = number, time.monotonic()
            return False
        return number != signal.SIGINT and time.monotonic() - self.time < self.echo


_heard = _Heard()


def received() -> signal.Signals | None:
    """Return the first signal that told this process to end, None if there was none."""
    return _heard.first


def listen(handler: Callable[[signal.Signals], None]) -> Previous:
    """Call ``handler`` with every signal that tells this process to end; return what :func:`restore` takes.

    Signals that are ignored so far stay ignored. Only the main thread can listen, for others nothing changes.
    """
    if threading.current_thread() is not threading.main_thread():
        return {}
    owner, terminals = os.getpid(), [number for number in (1, 2) if _is_terminal(number)]

    def handle(number: int, _: FrameType | None) -> None:
        if os.getpid() != owner:
            _in_forked_child(number)
            return
        _leave_closed(terminals)
        if not _heard.note(signal.Signals(number)):
            handler(signal.Signals(number))

    heeded = [number for number in SIGNALS if signal.getsignal(number) != signal.SIG_IGN]
    return {number: signal.signal(number, handle) for number in heeded}


def restore(previous: Previous) -> None:
    """Put the handlers back that :func:`listen` has replaced."""
    for number, handler in previous.items():
        signal.signal(
            number, signal.SIG_DFL if handler is None else handler
        )  # None: not set by Python


@contextmanager
def interrupting(echo: float = ECHO) -> Iterator[None]:
    """Raise :class:`Interrupted` at the first signal; a second one ends the process without a word.

    SIGTERM and SIGHUP within ``echo`` seconds of the first signal are no second one. It is ``inf`` for a process that
    its group and its parent tell to end, and that the parent kills if it shall not wait.
    """

    def raise_first(number: signal.Signals) -> None:
        for each in previous:
            signal.signal(each, end_at_once)
        raise Interrupted(number=number)

    def end_at_once(number: int, _: FrameType | None) -> None:
        if not _heard.note(signal.Signals(number)):
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)

    def send_again(lost: Any) -> None:
        if not isinstance(lost.exc_value, Interrupted):
            hook(lost)
            return
        _heard.first = None
        listen(raise_first)
        later = threading.Timer(
            0.05, os.kill, (os.getpid(), lost.exc_value.number)
        )  # not within this hook
        later.daemon = True
        later.start()

    _heard.first, _heard.echo = None, echo
    hook, sys.unraisablehook = (
        sys.unraisablehook,
        send_again,
    )  # where Python drops it: in __del__, around a fork
    previous = listen(raise_first)
    try:
        yield
    finally:
        restore(previous)
        sys.unraisablehook = hook


@contextmanager
def blocked() -> Iterator[None]:
    """Hold signals back for the time of the block; processes that are started in it hold them back until
    :func:`unblock`, so that none ends in the middle of its imports."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def unblock(*numbers: signal.Signals) -> None:
    """Let signals through that :func:`blocked` holds back in this process."""
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, numbers)


def heed_parent_only() -> None:
    """Leave the end of this process, a worker that was forked, to its parent, which finishes a step with its help.

    A signal to the whole group reaches workers as well; of SIGTERM only that of the parent counts, or its death, which
    workers of a DataLoader look for themselves.
    """
    for number in SIGNALS:
        if number != signal.SIGTERM:
            signal.signal(number, signal.SIG_IGN)
    if hasattr(signal, "sigwaitinfo"):  # neither Windows nor macOS: there SIGTERM ends a worker
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
        threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    import multiprocessing  # here, since it is a tenth of the time of glip --help

    parent = multiprocessing.parent_process()  # not always the process that has forked this one
    boss = os.getppid() if parent is None else parent.pid
    while signal.sigwaitinfo([signal.SIGTERM]).si_pid != boss:
        pass
    os._exit(0)


def _in_forked_child(number: int) -> None:
    """Do in a child that has no handlers of its own yet what it would do without ours: its parent hears Ctrl-C and
    SIGHUP itself, SIGTERM ends it."""
    if number == signal.SIGTERM:
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)


def _is_terminal(descriptor: int) -> bool:
    try:
        return os.isatty(descriptor)
    except OSError:
        return False


def _leave_closed(terminals: list[int]) -> None:
    """Send what would be written to a closed terminal nowhere, where writing would be an error."""
    for descriptor in terminals:
        if not _is_terminal(descriptor):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, descriptor)
            os.close(nowhere)
