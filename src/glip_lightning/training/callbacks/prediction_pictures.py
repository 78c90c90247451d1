"""Pictures with detections, for the folder of a run and for its loggers."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.trainer.states import TrainerFn
from PIL import Image
from typing_extensions import override

from glip_lightning.common.files import picture_names, replacing
from glip_lightning.data.types import Batch, Split
from glip_lightning.training.logging.pictures import LONGEST, EvaluatedImage, evaluated_image
from glip_lightning.training.logging.run_names import PICTURES, picture_key
from glip_lightning.training.logging.wandb_run import CarefulWandb, wandb_image
from glip_lightning.training.module import GLIPModule
from glip_lightning.training.record import RunRecord

PREDICTIONS = "predictions"


@dataclass(frozen=True, slots=True)
class LoggedPicture:
    """A picture for the loggers, at most :data:`LONGEST` pixels long."""

    plain: EvaluatedImage
    """Without boxes in its pixels, for loggers that draw boxes."""
    drawn: Image.Image
    """With boxes in its pixels, for the others."""


class PredictionPictures(Callback):
    """Draws the first images of a split, into ``predictions/`` and for loggers that take pictures.

    The folder gets images of the split of the run's result: test, or valid where there is no test
    split. The loggers get images of the valid split at validations 1, 2, 4, 8, ..., and always of
    the test split. An image is drawn once for both.
    """

    def __init__(self, record: RunRecord, pictures: int = 8, threshold: float = 0.5) -> None:
        """Draw detections from score ``threshold`` on.

        ``pictures`` are written into the folder at most; loggers get :data:`PICTURES`.
        """
        self.record = record
        self.pictures = pictures
        self.threshold = threshold
        self._validations = 0
        self._written: list[Path] = []
        self._logged: list[LoggedPicture] = []

    @override
    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._logged = []
        if not trainer.sanity_checking:
            self._validations += 1

    @override
    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._logged = []

    @override
    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Batch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        if not trainer.sanity_checking:
            self._draw(trainer, pl_module, outputs, batch, "valid")

    @override
    def on_test_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Batch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        self._draw(trainer, pl_module, outputs, batch, "test")

    @override
    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._log(trainer, "val")

    @override
    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._log(trainer, "test")

    def _draw(
        self, trainer: Trainer, module: LightningModule, outputs: Any, batch: Batch, split: Split
    ) -> None:
        if not trainer.is_global_zero:
            return
        assert isinstance(module, GLIPModule)
        is_result = self._is_result(trainer, module, split)
        is_logged = self._is_logged(trainer, split)
        for i, found in enumerate(outputs["detections"]):
            to_folder = is_result and len(self._written) < self.pictures
            to_loggers = is_logged and len(self._logged) < PICTURES
            if not to_folder and not to_loggers:
                return
            shown = evaluated_image(batch, i, found, module.data.datasets[split], self.threshold)
            drawn = shown.drawn()
            if to_folder:
                self._write(shown.name, drawn)
            if to_loggers:
                drawn.thumbnail((LONGEST, LONGEST))
                self._logged.append(LoggedPicture(shown.smaller(), drawn))

    def _is_result(self, trainer: Trainer, module: GLIPModule, split: Split) -> bool:
        if split == "test":
            return True
        has_test = self.record.verb == "fit" and len(module.data.datasets.get("test", ())) > 0
        return trainer.state.fn == TrainerFn.VALIDATING and not has_test

    def _is_logged(self, trainer: Trainer, split: Split) -> bool:
        takers = CarefulWandb | TensorBoardLogger
        if not any(isinstance(logger, takers) for logger in trainer.loggers):
            return False
        is_power_of_two = self._validations & (self._validations - 1) == 0
        return split == "test" or is_power_of_two

    def _write(self, name: str, drawn: Image.Image) -> None:
        assert self.record.folder is not None
        self._written.append(Path(name))
        *_, file_name = picture_names(self._written)
        with replacing(self.record.folder / PREDICTIONS / file_name) as fresh:
            drawn.save(fresh, format="JPEG", quality=92)

    def _log(self, trainer: Trainer, stage: str) -> None:
        if not self._logged:
            return
        for logger in trainer.loggers:
            if isinstance(logger, CarefulWandb) and not logger.failed:
                with logger.care():
                    row: dict[str, Any] = {"trainer/global_step": trainer.global_step}
                    for number, picture in enumerate(self._logged):
                        row[picture_key(stage, number)] = wandb_image(picture.plain)
                    logger.experiment.log(row)
            elif isinstance(logger, TensorBoardLogger):
                for picture in self._logged:
                    tag = f"{stage}/pictures/{picture.plain.name}"
                    pixels = np.asarray(picture.drawn)
                    logger.experiment.add_image(tag, pixels, trainer.global_step, dataformats="HWC")
        self._logged = []
