"""The batch of the recipe, spread over devices and time before the optimizer is made."""

import logging

from lightning import Callback, LightningModule, Trainer
from typing_extensions import override

from glip_lightning.training.batching import BatchPlan, check_applied
from glip_lightning.training.module import GLIPModule

log = logging.getLogger(__name__)


class GlobalBatch(Callback):
    """Sets accumulation and ``module.lr_factor`` before the optimizer is made, and logs them."""

    def __init__(self) -> None:
        self._plan: BatchPlan | None = None

    @override
    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if stage != "fit":
            return
        assert isinstance(pl_module, GLIPModule)
        earlier = 1 if self._plan is None else self._plan.accumulate
        self._plan = pl_module.data.batch_plan()
        if trainer.accumulate_grad_batches != earlier:
            check_applied(self._plan, trainer)
        trainer.accumulate_grad_batches = self._plan.accumulate
        pl_module.lr_factor = self._plan.lr_factor

    @override
    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        assert self._plan is not None
        assert isinstance(pl_module, GLIPModule)
        if not trainer.is_global_zero:
            return
        data = pl_module.data
        ends_by_epochs = trainer.max_steps == -1 and trainer.max_epochs != -1
        epochs = trainer.max_epochs if ends_by_epochs else None
        copies = data.datasets["train"].copies
        log.info("%s", self._plan.describe(data.images_per_epoch(), copies, epochs))
