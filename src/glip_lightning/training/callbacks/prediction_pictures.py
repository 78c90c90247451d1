"""Pictures with detections in the folder of a run."""

from pathlib import Path
from typing import Any

from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.trainer.states import TrainerFn

from glip_lightning.common.files import picture_names, replacing
from glip_lightning.data.types import Batch, Split
from glip_lightning.training.logging.pictures import show
from glip_lightning.training.module import GLIPModule
from glip_lightning.training.record import RunRecord

PREDICTIONS = "predictions"


class PredictionPictures(Callback):
    """Draws the first images of the split that is the run's result, test or else valid, into ``predictions/``."""

    def __init__(self, record: RunRecord, pictures: int = 8, threshold: float = 0.5) -> None:
        """Draw so many ``pictures``, with the detections from score ``threshold`` on."""
        self.record, self.pictures, self.threshold = record, pictures, threshold
        self._drawn: list[Path] = []

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

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Batch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        if trainer.state.fn == TrainerFn.VALIDATING:
            self._draw(trainer, pl_module, outputs, batch, "valid")

    def _draw(self, trainer: Trainer, module: LightningModule, outputs: Any, batch: Batch, split: Split) -> None:
        if not trainer.is_global_zero:
            return
        assert isinstance(module, GLIPModule)
        assert self.record.folder is not None
        if split == "valid" and self.record.verb == "fit" and len(module.data.datasets.get("test", ())):
            return
        for i, found in enumerate(outputs["detections"][: self.pictures - len(self._drawn)]):
            shown = show(batch, i, found, module.data.datasets[split], self.threshold)
            self._drawn.append(Path(shown.name))
            *_, name = picture_names(self._drawn)
            with replacing(self.record.folder / PREDICTIONS / name) as fresh:
                shown.drawn().save(fresh, format="JPEG", quality=92)
