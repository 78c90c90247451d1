"""The batch of the recipe, spread over devices and time before the optimizer is made."""

import logging

from lightning import Callback, LightningModule, Trainer

from glip_lightning.training.batching import BatchPlan, check_applied
from glip_lightning.training.module import GLIPModule

log = logging.getLogger(__name__)


class GlobalBatch(Callback):
    """Sets accumulation and ``module.lr_factor`` before the optimizer is made, and says the arithmetic."""

    def __init__(self) -> None:
        self._plan: BatchPlan | None = None

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if stage != "fit":
            return
        known = 1 if self._plan is None else self._plan.accumulate
        assert isinstance(pl_module, GLIPModule)
        self._plan = pl_module.data.batch_plan()
        if trainer.accumulate_grad_batches != known:
            check_applied(self._plan, trainer)
        trainer.accumulate_grad_batches = self._plan.accumulate
        pl_module.lr_factor = self._plan.lr_factor

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        assert self._plan is not None
        assert isinstance(pl_module, GLIPModule)
        if trainer.is_global_zero:
            data = pl_module.data
            epochs = (
                trainer.max_epochs if trainer.max_steps == -1 and trainer.max_epochs != -1 else None
            )
            log.info(
                "%s",
                self._plan.describe(data.images_per_epoch(), data.datasets["train"].copies, epochs),
            )
