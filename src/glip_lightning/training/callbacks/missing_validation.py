"""A warning, before the first step, where training ends before its first validation."""

import logging
import math

from lightning import Callback, LightningModule, Trainer
from typing_extensions import override

from glip_lightning.common.plurals import count_with_noun

log = logging.getLogger(__name__)


class MissingValidation(Callback):
    """Warns before the first step where training ends before its first validation.

    Such a run has a valid split, but no best weights: it keeps the last ones.
    """

    @override
    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not trainer.is_global_zero or not sum(trainer.num_val_batches):
            return
        first = batches_to_first_validation(trainer)
        if first is None or first <= batches_of_training(trainer):
            return
        accumulate = trainer.accumulate_grad_batches
        log.warning(
            "training ends before its first validation, so it keeps the last weights: %s per "
            "epoch, first validation after step %d, last step %d; lower trainer.val_check_interval "
            "or trainer.check_val_every_n_epoch, or train for longer",
            count_with_noun(steps_per_epoch(trainer), "step"),
            math.ceil(first / accumulate),
            trainer.estimated_stepping_batches,
        )


def steps_per_epoch(trainer: Trainer) -> int:
    """Return the optimizer steps of an epoch."""
    return math.ceil(trainer.num_training_batches / trainer.accumulate_grad_batches)


def batches_to_first_validation(trainer: Trainer) -> int | None:
    """Return after how many batches of the training a validation comes; None if a clock decides."""
    interval = trainer.val_check_batch
    if interval is None or math.isinf(interval):
        return None
    if trainer.check_val_every_n_epoch is None:
        return int(interval)
    epochs_before = trainer.check_val_every_n_epoch - 1
    return int(epochs_before * trainer.num_training_batches + interval)


def batches_of_training(trainer: Trainer) -> float:
    """Return the batches of all steps of the training, infinite if nothing but a clock ends it."""
    steps = trainer.estimated_stepping_batches
    if math.isinf(steps):
        return math.inf
    epochs, rest = divmod(int(steps), steps_per_epoch(trainer))
    batches = rest * trainer.accumulate_grad_batches
    return epochs * trainer.num_training_batches + batches
