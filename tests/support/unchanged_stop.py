"""Ctrl-C in a step of a run: `--trainer.callbacks unchanged_stop.StopIn
--trainer.callbacks.step=6`.
"""

import os
import signal
from typing import Any

from lightning import Callback, LightningModule, Trainer


class StopIn(Callback):
    """The process gets SIGINT when it begins optimizer step ``step`` (from 0), which it still
    takes.
    """

    def __init__(self, step: int) -> None:
        self.step = step

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        if trainer.global_step == self.step:
            os.kill(os.getpid(), signal.SIGINT)
