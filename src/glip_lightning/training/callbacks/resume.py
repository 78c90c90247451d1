"""Runs that may be killed: a checkpoint that goes on bit for bit, and signals that end a run between two steps.

A step's data and dropout are functions of (seed, epoch, batch, rank), so weights, optimizer, schedules and the
position are the whole state. The position in the data, epoch and batches, is kept by ``DetectionData.state_dict``
(data_module.py), the rest by Lightning. A checkpoint is written only where Lightning's own restart is right: at the end
of an epoch, and after a step that no validation follows, since a restart would leave that validation out.
"""

import logging
import math
import signal
import time
from pathlib import Path
from typing import Any

import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint, ModelCheckpoint

from glip_lightning.common.errors import GLIPError
from glip_lightning.common.files import remove_parts
from glip_lightning.common.signals import Interrupted, Previous, listen, restore
from glip_lightning.training.callbacks.best_checkpoint import BestCheckpoint
from glip_lightning.training.checkpoint_files import about, damage, write_whole
from glip_lightning.weights.run_files import LAST

log = logging.getLogger(__name__)

LATER = "is from after the step that the run goes on from"


class Resumable(Checkpoint):
    """Writes ``folder/last.ckpt``, whole or not at all: at the end of every epoch, and at the first optimizer step
    after ``minutes`` that no validation follows; one minute is enough in front of a step that one does follow. Of
    several checkpoint callbacks it has to be the last.

    The first SIGINT, SIGTERM or SIGHUP lets the optimizer step finish, saves and raises :class:`Interrupted` on all
    ranks; where a validation follows, and in it, the run ends with the checkpoint that is there. The second signal
    ends it at once.
    """

    def __init__(self, folder: str | Path, minutes: float = 10) -> None:
        self.path, self.minutes = Path(folder) / LAST, minutes
        self._saved = time.monotonic()
        self._received: signal.Signals | None = None
        self._previous: Previous = {}
        self._resumed = False
        self._done = False  # early stopping has ended the run
        self._stopping = False  # all ranks know that the run ends, and it is saved

    def state_dict(self) -> dict[str, Any]:
        """Says of the checkpoint that it is ours, and whether the run was over."""
        return {"done": self._done}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._resumed, self._done = True, state_dict["done"]

    def on_load_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Refuse what version 0.1 wrote between the last step of an epoch and its validation, which would be left out.

        Raises:
            GLIPError: it is such a checkpoint (code ``old-checkpoint``).
        """
        if trainer.state.fn != "fit":
            return
        place = checkpoint["callbacks"].get(self.state_key, {}).get("place")
        if (
            place == "step"
            and checkpoint["loops"]["fit_loop"]["epoch_loop.batch_progress"]["is_last_batch"]
        ):
            raise GLIPError(
                f"{self.path}: was written in front of a validation by an earlier version, which alone can go on from "
                "there; start the run anew, or finish it with that version",
                code="old-checkpoint",
            )

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Have all checkpoints of the trainer written whole, also those of other callbacks."""
        write_whole(trainer)

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not trainer.ckpt_path:
            self._resumed = self._done = (
                False  # of a checkpoint that an evaluation before this fit had read
            )
        if self._done:
            trainer.should_stop = True
        if trainer.is_global_zero:
            remove_parts(self.path.parent, older=0)  # of a process that was killed while writing

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._resumed:
            begin_next_epoch(trainer)
            if trainer.is_global_zero:
                log.info(
                    "goes on at step %d, in epoch %d",
                    trainer.global_step,
                    trainer.current_epoch + 1,
                )
            forget_the_future(trainer)
        self._resumed = self._stopping = False
        self._saved = time.monotonic()
        self._listen()

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        if self._stopping:  # by now the last step is logged
            self._stop(trainer)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        left, step = batches_to_validation(trainer, batch_idx), trainer.accumulate_grad_batches
        if (batch_idx + 1) % step or left == 0:
            return
        # a signal in the validation that follows the next step finds the work up to here
        self._stopping, due = self._agree(trainer, minutes=1 if left <= step else self.minutes)
        if self._stopping or due:
            self._save(trainer)

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        if trainer.state.fn == "fit" and not trainer.sanity_checking and self._agree(trainer)[0]:
            self._stop(
                trainer
            )  # not saved: during validation an average may stand in the place of the weights

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save the epoch: after its validation, and before averaged weights replace the trained ones at the end."""
        self._done = trainer.should_stop
        self._save(trainer)
        self._stopping = self._agree(trainer)[0]

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._stopping:
            self._stop(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        stop = self._agree(trainer)[0]  # a signal since the last epoch was saved, too
        self._unlisten()
        if stop:
            self._stop(trainer)

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        self._unlisten()

    def _save(self, trainer: Trainer) -> None:
        trainer.save_checkpoint(self.path)
        self._saved = time.monotonic()

    def _agree(self, trainer: Trainer, minutes: float = 0) -> tuple[bool, bool]:
        """(stop, save), the same on all ranks: what any of them wants."""
        wait = min(minutes, self.minutes)
        stop, due = self._received is not None, time.monotonic() - self._saved >= 60 * wait
        if trainer.world_size == 1:
            return stop, due
        wanted = torch.tensor(2 * stop + due, device=trainer.strategy.root_device)
        torch.distributed.all_reduce(wanted, op=torch.distributed.ReduceOp.MAX)
        return bool(wanted >= 2), bool(wanted >= 1)

    def _stop(self, trainer: Trainer) -> None:
        left = f"go on from {self.path}" if self.path.exists() else "nothing was saved yet"
        by = self._received.name if self._received else "another rank"
        message = f"stopped by {by} at step {trainer.global_step}; {left}"
        raise Interrupted(message, self._received or signal.SIGTERM)

    def _listen(self) -> None:
        self._received = None
        self._previous = listen(self._on_signal)

    def _unlisten(self) -> None:
        restore(self._previous)
        self._previous = {}

    def _on_signal(self, number: signal.Signals) -> None:
        if self._received is not None:
            for each in self._previous:
                signal.signal(
                    each, signal.SIG_DFL
                )  # a third one needs no help of Python, which may be waiting
            raise Interrupted(f"stopped by {number.name} before the step was finished", number)
        self._received = number
        log.warning("%s: finishing this step; once more ends the run at once", number.name)


def batches_to_validation(trainer: Trainer, batch_idx: int) -> float:
    """Return how many batches are left before a validation, or the end of the epoch, may follow; 0: now."""
    if trainer.is_last_batch or trainer.should_stop:
        return 0
    every = trainer.val_check_batch
    if every is None:  # by the clock
        return math.inf
    batch = (
        trainer.fit_loop.total_batch_idx if trainer.check_val_every_n_epoch is None else batch_idx
    )
    return -(batch + 1) % every


def begin_next_epoch(trainer: Trainer) -> None:
    """Put Lightning's loops in front of the next epoch, if they stand at the end of one.

    Left alone, a trainer with ``max_steps`` takes that epoch for unfinished and counts it twice.
    """
    loop = trainer.fit_loop
    progress: Any = (
        loop.epoch_progress
    )  # Lightning annotates a base class that lacks two of the four numbers
    if progress.current.processed != progress.current.started:
        return
    for numbers in (progress.total, progress.current):
        numbers.ready = numbers.started = numbers.completed = numbers.processed
    loop.reset_restart_stage()
    loop.epoch_loop.reset_restart_stage()
    loop.epoch_loop.restarting = False


def forget_the_future(trainer: Trainer) -> None:
    """Remove best checkpoints that a killed process wrote after the one that the run goes on from, and damaged ones.

    The former come again, since the run does the same again; kept, their weights would not fit the score on record.
    """
    for callback in trainer.checkpoint_callbacks:
        if not isinstance(callback, ModelCheckpoint) or callback.dirpath is None:
            continue
        stale = _stale(callback, trainer.global_step) if trainer.is_global_zero else {}
        stale = trainer.strategy.broadcast(stale)
        for path, why in stale.items():
            if trainer.is_global_zero:
                Path(path).unlink()
                log.info("%s %s (step %d): removed", path, why, trainer.global_step)
        best = callback.best_model_path
        if best not in stale and Path(best or "?").exists():
            continue
        if isinstance(callback, BestCheckpoint) and stale.get(best, LATER) != LATER:
            callback.lose(
                stale[best], "its weights are lost, the best are those of later validations"
            )
        callback.best_model_path, callback.best_model_score, callback.best_k_models = "", None, {}


def _stale(callback: ModelCheckpoint, step: int) -> dict[str, str]:
    """Return the callback's own files that do not belong to a run at ``step``, each with why."""
    found = [path for path in Path(callback.dirpath or "").glob("*.ckpt") if path.is_file()]
    stem = (callback.filename or "").split("{")[0]
    own = [path for path in found if stem and path.name.startswith(stem) and path.name != LAST]
    known = {
        Path(path).name for path in (*callback.best_k_models, callback.best_model_path)
    }  # the folder may move
    stale: dict[str, str] = {}
    for path in own:
        if wrong := damage(path):
            stale[str(path)] = wrong
        elif path.name not in known or about(path)["global_step"] > step:
            stale[str(path)] = LATER
    return stale
