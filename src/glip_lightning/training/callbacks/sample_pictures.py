"""Pictures with detections for the loggers, during a run."""

from typing import Any

import numpy as np
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger

from glip_lightning.data.types import Batch, Split
from glip_lightning.training.logging.pictures import Shown, show
from glip_lightning.training.logging.run_names import PICTURES, picture_key
from glip_lightning.training.logging.wandb_run import CarefulWandb, wandb_image
from glip_lightning.training.module import GLIPModule


class SamplePictures(Callback):
    """Shows the first images of a split to the loggers that take pictures: of the valid split at validations
    1, 2, 4, 8, ..., of the test split always."""

    def __init__(self, pictures: int = PICTURES, threshold: float = 0.3) -> None:
        """Detections below ``threshold`` are not shown."""
        self.pictures, self.threshold = pictures, threshold
        self._validations = 0
        self._shown: list[Shown] = []

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._shown = []
        if not trainer.sanity_checking:
            self._validations += 1

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Batch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        if not trainer.sanity_checking and not self._validations & (self._validations - 1):  # a power of two
            self._collect(trainer, pl_module, outputs, batch, "valid")

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._log(trainer, "val")

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._shown = []

    def on_test_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Batch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        self._collect(trainer, pl_module, outputs, batch, "test")

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._log(trainer, "test")

    def _collect(self, trainer: Trainer, module: LightningModule, outputs: Any, batch: Batch, split: Split) -> None:
        if not trainer.is_global_zero or not isinstance(module, GLIPModule):
            return
        for i, found in enumerate(outputs["detections"][: self.pictures - len(self._shown)]):
            self._shown.append(show(batch, i, found, module.data.datasets[split], self.threshold))

    def _log(self, trainer: Trainer, stage: str) -> None:
        for logger in trainer.loggers if self._shown else ():
            if isinstance(logger, CarefulWandb) and not logger.failed:
                with logger.care():
                    images = {
                        picture_key(stage, i): wandb_image(shown.smaller()) for i, shown in enumerate(self._shown)
                    }
                    logger.experiment.log({**images, "trainer/global_step": trainer.global_step})
            elif isinstance(logger, TensorBoardLogger):
                for shown in self._shown:
                    pixels = np.asarray(shown.smaller().drawn())
                    tag = f"{stage}/pictures/{shown.name}"
                    logger.experiment.add_image(tag, pixels, trainer.global_step, dataformats="HWC")
        self._shown = []
