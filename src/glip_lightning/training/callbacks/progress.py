"""What is shown while a run works."""

import logging
from typing import Any

from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import RichProgressBar

log = logging.getLogger(__name__)


class Progress(RichProgressBar):
    """Lightning's bar without the logger's version number."""

    def get_metrics(self, trainer: Trainer, pl_module: LightningModule) -> dict[str, Any]:
        metrics = super().get_metrics(trainer, pl_module)
        metrics.pop("v_num", None)
        return metrics


class Lines(Callback):
    """One line per validation where no terminal shows a bar; per epoch where nothing is validated."""

    def __init__(self) -> None:
        self._validated = False

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._validated = not trainer.sanity_checking

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.is_global_zero and (self._validated or not trainer.val_dataloaders):
            metrics = {name: float(x) for name, x in trainer.progress_bar_metrics.items()}
            shown = ", ".join(f"{name} {x:.3f}" for name, x in metrics.items())
            last = "?" if trainer.max_epochs in (None, -1) else trainer.max_epochs  # steps end the run
            log.info("epoch %d of %s: %s", trainer.current_epoch + 1, last, shown)
        self._validated = False
