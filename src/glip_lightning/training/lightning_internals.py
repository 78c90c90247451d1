"""Private attributes of Lightning's objects that we change, each with its reason.

No other file uses one, and no subclass a private name that it inherits
(tests/training/test_lightning_internals.py).
"""

import signal

from lightning import Trainer
from lightning.pytorch.loggers import WandbLogger


def leave_signals_to_us(trainer: Trainer) -> None:
    """Take out Lightning's handler of SIGTERM where a program has one of its own.

    Lightning's sends messages to the other ranks from within the handler, between other messages.
    Lightning has no setting for it, and calls it before all other handlers.
    """
    if signal.getsignal(signal.SIGTERM) not in (signal.SIG_DFL, None):
        trainer._signal_connector._sigterm_notifier_fn = lambda *_: None  # type: ignore[method-assign]


def pass_no_anonymous(logger: WandbLogger) -> None:
    """Take out the argument ``anonymous`` of W&B's start.

    Lightning always passes it, and W&B 0.31 always warns of it.
    """
    logger._wandb_init.pop("anonymous", None)
