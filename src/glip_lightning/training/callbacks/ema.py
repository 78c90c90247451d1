"""Exponential moving average of the weights, evaluated and kept in place of the weights themselves."""

from typing import Any

from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import WeightAveraging
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from glip_lightning.common.errors import GLIPError


class EMA(WeightAveraging):
    """After every optimizer step: average = ``decay`` * average + (1 - ``decay``) * weights (utils/ema.py).

    Validation sees the average, ``state_dict`` of a checkpoint holds it (``current_model_state`` the weights), and
    it replaces the weights at the end. What Lightning's EMAWeightAveraging does otherwise, and what that changes:

    * ``decay * x + (1 - decay) * x`` is not always x: frozen weights drift (by 1e-5 in 1,000 steps), and at some
      decays (0.9999) integers like 11 of the index of relative positions become 10. Here the average is a lerp,
      of parameters alone.
    * After the fit, loading the best checkpoint brings back the weights instead of their average, and
      validation swaps in the average of the last step. Here the average ends with the fit.
    * A checkpoint that an exception writes in the middle of a validation has the two confused.
    """

    def __init__(self, decay: float = 0.999) -> None:
        """Keep the share ``decay`` of the average at every optimizer step.

        Raises:
            GLIPError: a decay below 0, or of 1 and above.
        """
        if not 0 <= decay < 1:
            raise GLIPError(
                f"decay={decay}: expected at least 0 and below 1, for example 0.999",
                code="bad-value",
            )
        super().__init__(use_buffers=False, multi_avg_fn=get_ema_multi_avg_fn(decay))
        self._swapped = False

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        self._average_model, self._swapped = None, False
        if stage == "fit":
            pl_module.configure_model()  # a tuning may add parameters
            self._average_model = AveragedModel(
                pl_module, pl_module.device, use_buffers=False, **self._kwargs
            )

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        if self._swapped:
            self._swap_models(pl_module)

    def on_load_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        if self._average_model is not None:  # else an evaluation: the module has taken the average
            super().on_load_checkpoint(trainer, pl_module, checkpoint)

    def _swap_models(self, pl_module: LightningModule) -> None:
        super()._swap_models(pl_module)
        self._swapped = not self._swapped
