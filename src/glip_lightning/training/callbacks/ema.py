"""Exponential moving average of the weights, which is evaluated and kept in their place."""

from typing import Any

from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import WeightAveraging
from torch.optim.swa_utils import get_ema_multi_avg_fn
from typing_extensions import override

from glip_lightning.common.errors import GLIPError
from glip_lightning.training.lightning_messages import quiet_lightning


def averages(trainer: Trainer) -> list[WeightAveraging]:
    """Return the callbacks of a trainer that average the weights, ours and Lightning's."""
    callbacks = trainer.callbacks  # type: ignore[attr-defined]
    return [callback for callback in callbacks if isinstance(callback, WeightAveraging)]


class EMA(WeightAveraging):
    """Averages the weights; evaluations and checkpoints have the average.

    After every optimizer step: average = ``decay`` * average + (1 - ``decay``) * weights
    (utils/ema.py). Validation uses the average, ``state_dict`` of a checkpoint contains it
    (``current_model_state`` the weights), and it replaces the weights at the end. Differences to
    Lightning's EMAWeightAveraging, and their reasons:

    * ``decay * x + (1 - decay) * x`` is not always x: frozen weights drift (by 1e-5 in 1,000
      steps), and at some decays (0.9999) integers like 11 of the index of relative positions become
      10. Here the average is a lerp, and only of parameters.
    * After the fit, loading the best checkpoint there gives the weights instead of their average,
      and validation takes the average of the last step. Here the average ends with the fit.
    * A checkpoint that an exception writes during a validation there has the two exchanged.
    """

    def __init__(self, decay: float = 0.999) -> None:
        """Keep the share ``decay`` of the average at every optimizer step.

        Raises:
            GLIPError: ``decay`` is below 0, or 1 or above (code ``bad-value``).
        """
        if not 0 <= decay < 1:
            raise GLIPError(
                f"decay={decay}: expected at least 0 and below 1, for example 0.999",
                code="bad-value",
            )
        super().__init__(use_buffers=False, multi_avg_fn=get_ema_multi_avg_fn(decay))
        self._averaging = self._swapped = False

    @override
    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        self._averaging, self._swapped = stage == "fit", False
        with quiet_lightning():  # a warning of configure_model, in which a tuning adds parameters
            super().setup(trainer, pl_module, stage)

    @override
    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._averaging:
            super().on_validation_epoch_start(trainer, pl_module)
            self._swapped = True

    @override
    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._swapped:
            super().on_validation_epoch_end(trainer, pl_module)
            self._swapped = False

    @override
    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        self.on_validation_epoch_end(trainer, pl_module)  # the two are not left exchanged

    @override
    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        if self._averaging:
            super().on_save_checkpoint(trainer, pl_module, checkpoint)

    @override
    def on_load_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        if self._averaging:  # in an evaluation the module has loaded the average
            super().on_load_checkpoint(trainer, pl_module, checkpoint)
