"""The private attributes of Lightning that are used, each with its reason; no other file of the package names one."""

import signal

from lightning import Trainer


def leave_signals_to_us(trainer: Trainer) -> None:
    """Take out Lightning's own answer to SIGTERM where a program listens itself.

    It talks to the other ranks from within the handler, between whatever they are saying to each other. Lightning has
    no setting for it and calls it before all other handlers.
    """
    if signal.getsignal(signal.SIGTERM) not in (signal.SIG_DFL, None):
        trainer._signal_connector._sigterm_notifier_fn = lambda *_: None  # type: ignore[method-assign]
