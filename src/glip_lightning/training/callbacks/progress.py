"""What is shown while a run works."""

import logging
import time
from collections.abc import Mapping
from typing import Any

from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import RichProgressBar

from glip_lightning.evaluation.points import in_points

log = logging.getLogger(__name__)

MINUTE = 60
EVALUATED = ("val", "test")


class Progress(RichProgressBar):
    """Lightning's bar without the logger's version number, with AP in points."""

    def get_metrics(self, trainer: Trainer, pl_module: LightningModule) -> dict[str, Any]:
        metrics = super().get_metrics(trainer, pl_module)
        metrics.pop("v_num", None)
        return as_texts(metrics)


class Lines(Callback):
    """One line per validation where no terminal shows a bar; per epoch where nothing is validated.

    Between them one after the first step, and one a minute.
    """

    def __init__(self) -> None:
        self._validated = False
        self._told: float | None = None  # when the last line was written

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._told = None

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if self._told is not None and time.monotonic() - self._told < MINUTE:
            return
        if trainer.is_global_zero and trainer.global_step:
            log.info("%s: %s", place(trainer), shown(trainer))
            self._told = time.monotonic()

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._validated = not trainer.sanity_checking

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.is_global_zero and (self._validated or not trainer.val_dataloaders):
            log.info("%s: %s", place(trainer), shown(trainer))
            self._told = time.monotonic()
        self._validated = False


def place(trainer: Trainer) -> str:
    """Return where a training is: at a step where steps may be its end, else in an epoch."""
    if trainer.max_steps != -1:
        return f"step {trainer.global_step} of {trainer.estimated_stepping_batches:.0f}"  # epochs may end it earlier
    last = "?" if trainer.max_epochs in (None, -1) else trainer.max_epochs
    return f"epoch {trainer.current_epoch + 1} of {last}, step {trainer.global_step}"


def shown(trainer: Trainer) -> str:
    """Return the metrics of the progress bar."""
    return ", ".join(
        f"{name} {text}" for name, text in as_texts(trainer.progress_bar_metrics).items()
    )


def as_texts(metrics: Mapping[str, Any]) -> dict[str, str]:
    """Return metrics as they are shown: those of evaluations, from 0 to 1, in points."""
    return {
        name: in_points(float(x)) if name.split("/")[0] in EVALUATED else f"{float(x):.3f}"
        for name, x in metrics.items()
    }
