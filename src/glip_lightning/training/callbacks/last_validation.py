"""A validation after the last step, wherever the interval between validations ends."""

from typing import Any

from lightning import Callback, LightningModule, Trainer
from typing_extensions import override

from glip_lightning.training.callbacks.missing_validation import (
    batches_of_training,
    batches_to_first_validation,
)


class LastValidation(Callback):
    """Validates after the last step too, where ``val_check_interval`` counts batches.

    With an interval of 200 and 588 steps, validations come after steps 200, 400 and 588. Without
    this callback the weights of the last 188 steps would never be compared with the best ones. It
    needs ``check_val_every_n_epoch=None``; with any other value it does nothing.
    """

    def __init__(self) -> None:
        self._interval: int | float | None = None  # of the trainer, while it is another one

    @override
    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        interval = _batch_interval(trainer)
        if interval is None:
            return
        total = batches_of_training(trainer)
        if total < interval:  # one validation, at the end
            self._change(trainer, int(total))

    @override
    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        if _is_last_step(trainer, batch_idx) and _batch_interval(trainer) is not None:
            self._change(trainer, 1)

    @override
    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._interval is not None:
            trainer.val_check_batch, self._interval = self._interval, None

    def _change(self, trainer: Trainer, interval: int) -> None:
        if self._interval is None:
            self._interval = trainer.val_check_batch
        trainer.val_check_batch = interval


def _batch_interval(trainer: Trainer) -> int | None:
    """Return the batches from a validation to the next; None where epochs or a clock decide."""
    if trainer.check_val_every_n_epoch is not None or not sum(trainer.num_val_batches):
        return None
    return batches_to_first_validation(trainer)


def _is_last_step(trainer: Trainer, batch_idx: int) -> bool:
    """Return whether this batch ends the last optimizer step of the training."""
    ends_step = (batch_idx + 1) % trainer.accumulate_grad_batches == 0 or trainer.is_last_batch
    return ends_step and trainer.global_step + 1 >= trainer.estimated_stepping_batches
