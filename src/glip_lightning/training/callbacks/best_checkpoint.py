"""Which weights of a run are kept, and when it stops, both by val/AP.

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

from glip_lightning.training.record import record_of
from glip_lightning.weights.run_files import BEST

log = logging.getLogger(__name__)

MONITOR = "val/AP"


class BestCheckpoint(ModelCheckpoint):
    """Keeps one file, ``best.ckpt``, written anew at every validation whose AP is not below the best so far.

    Where AP is undefined throughout (no ground truth) that is the last validation; without validation there is
    no file and ``best_model_path`` is empty. The file holds weights, their epoch and step, no state of an optimizer:
    a run goes on from ``last.ckpt`` alone.
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
        """Note that ``best.ckpt`` is damaged, as ``why`` says, and what stands ``instead`` of its weights."""
        self.lost = f"{BEST} {why}: {instead}"
        log.warning("%s", Path(self.dirpath or "") / self.lost)

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        record_of(pl_module).lost = self.lost

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "lost": self.lost}

    def check_monitor_top_k(self, trainer: Trainer, current: Tensor | None = None) -> bool:
        """Whether ``current`` is at least the best; an undefined AP equals only an undefined one."""
        if current is None:
            return False
        best = -math.inf if self.best_model_score is None else float(self.best_model_score)
        value = -math.inf if torch.isnan(current) else float(current)
        return trainer.strategy.reduce_boolean_decision(
            value >= best
        )  # the ranks' files must not part

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """The score of ``best.ckpt`` counts wherever the run's folder is now, as long as the file lies in it."""
        assert self.dirpath is not None
        self.lost = (
            state_dict.get("lost") or self.lost
        )  # checkpoints of earlier versions do not have it
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

    An undefined AP (no ground truth) says nothing and is not counted.
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

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.ended = None

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        record = record_of(pl_module)
        record.ended = record.ended or self.ended

    def _evaluate_stopping_criteria(self, current: Tensor) -> tuple[bool, str | None]:
        if torch.isnan(current):
            return False, None
        should_stop, reason = super()._evaluate_stopping_criteria(current)
        if should_stop:
            self.ended = f"{MONITOR} was below its best, {float(self.best_score):.3f}, {self.wait_count} times in a row"
            log.info("training ends: %s", self.ended)
        return should_stop, reason
