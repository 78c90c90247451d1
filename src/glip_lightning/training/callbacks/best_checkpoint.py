"""Which weights of a run are kept, and when it stops: both by val/AP.

As in the official code (engine/trainer.py:335-347) an equal AP is as good as a better one.
"""

import logging
import math
from pathlib import Path
from typing import Any

import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint
from torch import Tensor
from typing_extensions import override

from glip_lightning.common.plurals import count_with_noun
from glip_lightning.evaluation.points import in_points
from glip_lightning.training.record import record_of
from glip_lightning.weights.run_files import BEST

log = logging.getLogger(__name__)

MONITOR = "val/AP"


class BestCheckpoint(ModelCheckpoint):
    """Keeps one file, ``best.ckpt``, written at every validation whose AP is not below the best.

    Where AP is undefined in all validations (no ground truth), the file is from the last one.
    Without validation there is no file, and ``best_model_path`` is empty. The file has weights,
    their epoch and step, but no state of an optimizer: a run goes on from ``last.ckpt`` only.
    """

    def __init__(self, dirpath: str | Path | None = None) -> None:
        super().__init__(
            dirpath,
            filename="best",
            monitor=MONITOR,
            mode="max",
            save_weights_only=True,
            save_on_train_epoch_end=False,
            enable_version_counter=False,
        )
        self.lost: str | None = None
        """What became of a best checkpoint that was damaged."""

    def lose(self, why: str, instead: str) -> None:
        """Log and record that ``best.ckpt`` cannot be used.

        Args:
            why: what is wrong with the file, in words that follow its name.
            instead: which weights are used in its place.
        """
        self.lost = f"{BEST} {why}: {instead}"
        assert self.dirpath is not None
        log.warning("%s", Path(self.dirpath) / self.lost)

    @override
    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        record_of(pl_module).lost = self.lost

    @override
    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "lost": self.lost}

    def check_monitor_top_k(self, trainer: Trainer, current: Tensor | None = None) -> bool:
        """Return whether ``current`` is at least the best; an undefined AP is below all others."""
        if current is None:
            return False
        best = -math.inf if self.best_model_score is None else float(self.best_model_score)
        value = -math.inf if torch.isnan(current) else float(current)
        # all ranks decide the same
        return trainer.strategy.reduce_boolean_decision(value >= best)

    @override
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        # the folder of the run may have been moved: the score belongs to the file in it
        assert self.dirpath is not None
        if state_dict.get("lost"):  # checkpoints of earlier versions do not have the key
            self.lost = state_dict["lost"]
        best = Path(self.dirpath) / BEST
        if not state_dict["best_model_path"]:
            return
        if not best.is_file():
            log.warning("%s is not there any more: the next validation writes a new one", best)
            return
        score = state_dict["best_model_score"]
        self.current_score = self.best_model_score = self.kth_value = score
        self.best_model_path = self.kth_best_model_path = str(best)
        self.best_k_models = {str(best): score}


class EarlyStop(EarlyStopping):
    """Ends the run after ``patience`` validations in a row whose AP was below the best one.

    An undefined AP (no ground truth) is not counted.
    """

    mode_dict = {"min": torch.le, "max": torch.ge}  # noqa: RUF012, as the parent has it

    def __init__(self, patience: int = 8) -> None:
        """Wait for ``patience`` validations in a row; epochs without a validation do not count."""
        super().__init__(
            MONITOR,
            patience=patience,
            mode="max",
            strict=False,
            check_finite=False,
            check_on_train_epoch_end=False,
        )
        self.ended: str | None = None
        """Why training ended."""

    @override
    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.ended = None

    @override
    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        record = record_of(pl_module)
        if record.ended is None:
            record.ended = self.ended

    @override
    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        current = trainer.callback_metrics.get(MONITOR)
        if current is None or torch.isnan(current):
            return
        super().on_validation_end(trainer, pl_module)
        if self.wait_count >= max(self.patience, 1):
            best = in_points(float(self.best_score))
            times = count_with_noun(self.wait_count, "time")
            self.ended = f"{MONITOR} was below its best, {best} points, {times} in a row"
            log.info("training ends: %s", self.ended)
