"""The progress that is shown while a run works: a bar on a terminal, else lines."""

import logging
import time
from collections.abc import Mapping
from typing import Any

from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import RichProgressBar
from typing_extensions import override

from glip_lightning.common.long_work import MINUTE
from glip_lightning.evaluation.points import in_points

log = logging.getLogger(__name__)

EVALUATED = ("val", "test")


class Progress(RichProgressBar):
    """Lightning's bar without the logger's version number, with AP in points."""

    @override
    def get_metrics(self, trainer: Trainer, pl_module: LightningModule) -> dict[str, Any]:
        metrics = super().get_metrics(trainer, pl_module)
        metrics.pop("v_num", None)
        return as_texts(metrics)


class Lines(Callback):
    """Logs the progress where no terminal shows a bar.

    One line per validation, or per epoch where nothing is validated; between them one line after
    the first step and one per minute, without the metrics of the last validation.
    """

    def __init__(self) -> None:
        self._logged_at: float | None = None  # seconds, when the last line was written

    @override
    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._logged_at = None

    @override
    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if self._logged_at is not None and time.monotonic() - self._logged_at < MINUTE:
            return
        if trainer.global_step:
            self._log(trainer, of_training(trainer.progress_bar_metrics))

    @override
    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.state.fn == "fit" and not trainer.sanity_checking:
            self._log(trainer, trainer.progress_bar_metrics)

    @override
    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not trainer.val_dataloaders:
            self._log(trainer, trainer.progress_bar_metrics)

    def _log(self, trainer: Trainer, metrics: Mapping[str, Any]) -> None:
        if trainer.is_global_zero:
            log.info("%s: %s", position_text(trainer), metrics_text(metrics))
        self._logged_at = time.monotonic()


def position_text(trainer: Trainer) -> str:
    """Return the position of a training: its step where steps may end it, else its epoch."""
    if trainer.max_steps != -1:
        last_step = trainer.estimated_stepping_batches  # epochs may end it before max_steps
        return f"step {trainer.global_step} of {last_step:.0f}"
    last = "?" if trainer.max_epochs in (None, -1) else trainer.max_epochs
    return f"epoch {trainer.current_epoch + 1} of {last}, step {trainer.global_step}"


def of_training(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """Return the metrics of training steps, without those of evaluations."""
    return {name: value for name, value in metrics.items() if name.split("/")[0] not in EVALUATED}


def metrics_text(metrics: Mapping[str, Any]) -> str:
    """Return metrics as one line of text."""
    return ", ".join(f"{name} {text}" for name, text in as_texts(metrics).items())


def as_texts(metrics: Mapping[str, Any]) -> dict[str, str]:
    """Return metrics as they are shown: those of evaluations, from 0 to 1, in points."""
    texts: dict[str, str] = {}
    for name, value in metrics.items():
        stage = name.split("/")[0]
        texts[name] = in_points(float(value)) if stage in EVALUATED else f"{float(value):.3f}"
    return texts
