"""Signals that tell a program to end.

They are SIGINT (Ctrl-C), SIGTERM (a service manager or a scheduler) and SIGHUP (a closed terminal).

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

from glip_lightning.common.private_names import end_process

NAMES = ("SIGINT", "SIGTERM", "SIGHUP")
# Windows has no SIGHUP
SIGNALS = tuple(getattr(signal, name) for name in NAMES if hasattr(signal, name))
ECHO = 1.0
"""Seconds in which a SIGTERM or SIGHUP that follows a first signal is taken for the same one.

``timeout`` sends a signal to the program, then to its group. A shell passes on a SIGHUP that the
whole group has received already. Ctrl-C comes once: a second one is meant.
"""

Previous = dict[signal.Signals, Any]
"""The earlier handlers, by signal."""


class Interrupted(KeyboardInterrupt):
    """An end of the program that the signal ``number`` asked for."""

    def __init__(self, message: str = "", number: signal.Signals = signal.SIGINT) -> None:
        super().__init__(message)
        self.number = number

    @property
    def exit_code(self) -> int:
        """The exit code that shells show for a program that a signal has ended."""
        return 128 + self.number


class _FirstSignal:
    """The first signal that told this process to end.

    Others within ``echo`` seconds are taken for the same one.
    """

    def __init__(self) -> None:
        self.first: signal.Signals | None = None
        self.time = -math.inf
        self.echo = ECHO

    def note(self, number: signal.Signals) -> bool:
        """Remember the first signal; return whether ``number`` is only its echo."""
        if self.first is None:
            self.first = number
            self.time = time.monotonic()
            return False
        return number != signal.SIGINT and time.monotonic() - self.time < self.echo


_heard = _FirstSignal()


def received() -> signal.Signals | None:
    """Return the first signal that told this process to end; None if there was none."""
    return _heard.first


def listen(handler: Callable[[signal.Signals], None]) -> Previous:
    """Call ``handler`` with each signal that tells this process to end.

    Signals that are ignored so far stay ignored. Only the main thread can listen; a call from
    another thread changes nothing.

    Returns:
        The earlier handlers, for :func:`restore`.
    """
    if threading.current_thread() is not threading.main_thread():
        return {}
    owner = os.getpid()
    terminals = [number for number in (1, 2) if _is_terminal(number)]

    def handle(number: int, _: FrameType | None) -> None:
        if os.getpid() != owner:
            _handle_in_forked_child(number)
            return
        _silence_closed(terminals)
        if not _heard.note(signal.Signals(number)):
            handler(signal.Signals(number))

    heeded = [number for number in SIGNALS if signal.getsignal(number) != signal.SIG_IGN]
    return {number: signal.signal(number, handle) for number in heeded}


def restore(previous: Previous) -> None:
    """Put back the handlers that :func:`listen` has replaced."""
    for number, handler in previous.items():
        if handler is None:  # it was not set from Python
            handler = signal.SIG_DFL
        signal.signal(number, handler)


@contextmanager
def interrupting(echo: float = ECHO) -> Iterator[None]:
    """Raise :class:`Interrupted` at the first signal; a second one ends the process at once.

    Args:
        echo: SIGTERM and SIGHUP within this number of seconds after the first signal do not count
            as a second one. ``inf`` is for a process that hears them from its group and from its
            parent; the parent kills it where it must not wait.
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
        # later, since an exception within this hook would be lost, too
        later = threading.Timer(0.05, os.kill, (os.getpid(), lost.exc_value.number))
        later.daemon = True
        later.start()

    _heard.first = None
    _heard.echo = echo
    # Python drops an exception that is raised in __del__ or around a fork.
    hook = sys.unraisablehook
    sys.unraisablehook = send_again
    previous = listen(raise_first)
    try:
        yield
    finally:
        restore(previous)
        sys.unraisablehook = hook


@contextmanager
def blocked() -> Iterator[None]:
    """Hold signals back in this block.

    Processes that start in the block hold them back until they call :func:`unblock`, so that none
    ends in the middle of its imports.
    """
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def unblock(*numbers: signal.Signals) -> None:
    """Let through the signals ``numbers`` that :func:`blocked` holds back in this process."""
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, numbers)


def heed_parent_only() -> None:
    """Make this process, a forked worker, end only when its parent tells it to.

    A signal to the whole group reaches workers as well, but the parent needs them to finish its
    step. So only a SIGTERM from the parent counts. Workers of a DataLoader notice the death of the
    parent themselves.
    """
    for number in SIGNALS:
        if number != signal.SIGTERM:
            signal.signal(number, signal.SIG_IGN)
    if hasattr(signal, "sigwaitinfo"):  # neither Windows nor macOS: there SIGTERM ends a worker
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
        threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    import multiprocessing  # here, since it takes a tenth of the time of glip --help

    parent = multiprocessing.parent_process()  # not always the process that forked this one
    parent_pid = os.getppid() if parent is None else parent.pid
    while signal.sigwaitinfo([signal.SIGTERM]).si_pid != parent_pid:
        pass
    end_process()


def _handle_in_forked_child(number: int) -> None:
    """Treat a signal in a child that still has our handlers as if it had none.

    SIGTERM ends the child. Its parent hears Ctrl-C and SIGHUP itself.
    """
    if number == signal.SIGTERM:
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)


def _is_terminal(descriptor: int) -> bool:
    try:
        return os.isatty(descriptor)
    except OSError:
        return False


def _silence_closed(terminals: list[int]) -> None:
    """Discard what is written to a closed terminal; writing to it would be an error."""
    for descriptor in terminals:
        if not _is_terminal(descriptor):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, descriptor)
            os.close(nowhere)
