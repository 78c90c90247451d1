"""Runs that may be killed: exact checkpoints, and signals that end a run between two steps.

A step's data and dropout are functions of (seed, epoch, batch, rank), so weights, optimizer,
schedules and the position are the whole state, and a resumed run has the same numbers bit for bit.
``DetectionData.state_dict`` (data_module.py) keeps the position in the data, epoch and batches,
and Lightning the rest. A checkpoint is written only where Lightning itself restarts correctly: at
the end of an epoch, and after a step that no validation follows, since a restart would leave that
validation out.
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
from typing_extensions import override

from glip_lightning.common.errors import GLIPError
from glip_lightning.common.files import remove_parts
from glip_lightning.common.signals import Interrupted, Previous, listen, restore
from glip_lightning.training.callbacks.best_checkpoint import BestCheckpoint
from glip_lightning.training.checkpoint_files import checkpoint_content, damage, write_whole
from glip_lightning.weights.run_files import LAST

log = logging.getLogger(__name__)

LATER = "is newer than the step that the run goes on from"


class Resumable(Checkpoint):
    """Writes ``folder/last.ckpt``, whole or not at all, and ends the run at a signal.

    A checkpoint is written at the end of every epoch, and at the first optimizer step after
    ``minutes`` that no validation follows; before a step that a validation follows, one minute is
    enough. Of several checkpoint callbacks this has to be the last.

    The first SIGINT, SIGTERM or SIGHUP lets the optimizer step finish, saves and raises
    :class:`Interrupted` on all ranks. Before and during a validation, the run ends with the
    checkpoint that is there. The second signal ends the run at once.
    """

    def __init__(self, folder: str | Path, minutes: float = 10) -> None:
        self.path = Path(folder) / LAST
        self.minutes = minutes
        self._saved = time.monotonic()
        self._received: signal.Signals | None = None
        self._previous: Previous = {}
        self._resumed = False
        self._done = False  # early stopping has ended the run
        self._stopping = False  # all ranks know that the run ends, and it is saved

    def state_dict(self) -> dict[str, Any]:
        """Return whether the run was over; the key marks a checkpoint as one of ours."""
        return {"done": self._done}

    @override
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._resumed = True
        self._done = state_dict["done"]

    def on_load_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Refuse a checkpoint that version 0.1 wrote before the validation at the end of an epoch.

        A run that goes on from there would leave that validation out.

        Raises:
            GLIPError: it is such a checkpoint (code ``old-checkpoint``).
        """
        if trainer.state.fn != "fit":
            return
        place = checkpoint["callbacks"].get(self.state_key, {}).get("place")
        if place != "step":
            return
        progress = checkpoint["loops"]["fit_loop"]["epoch_loop.batch_progress"]
        if progress["is_last_batch"]:
            raise GLIPError(
                f"{self.path}: an earlier version wrote it before a validation, and only that "
                "version can go on from there; start the run anew, or finish it with that version",
                code="old-checkpoint",
            )

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Let the trainer write all checkpoints whole, also those of other callbacks."""
        write_whole(trainer)

    @override
    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not trainer.ckpt_path:
            # an evaluation before this fit may have read a checkpoint
            self._resumed = self._done = False
        if self._done:
            trainer.should_stop = True
        if trainer.is_global_zero:
            remove_parts(self.path.parent, older=0)  # a process was killed while it wrote them

    @override
    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._resumed:
            begin_next_epoch(trainer)
            if trainer.is_global_zero:
                log.info(
                    "goes on at step %d, in epoch %d",
                    trainer.global_step,
                    trainer.current_epoch + 1,
                )
            remove_stale_checkpoints(trainer)
        self._resumed = self._stopping = False
        self._saved = time.monotonic()
        self._listen()

    @override
    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        if self._stopping:  # the last step is logged now
            self._stop(trainer)

    @override
    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        left = batches_to_validation(trainer, batch_idx)
        step = trainer.accumulate_grad_batches
        if (batch_idx + 1) % step or left == 0:
            return
        # before the last step in front of a validation: nothing can be saved in the validation
        minutes = 1 if left <= step else self.minutes
        self._stopping, due = self._agree(trainer, minutes)
        if self._stopping or due:
            self._save(trainer)

    @override
    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        if trainer.state.fn != "fit" or trainer.sanity_checking:
            return
        stop, _ = self._agree(trainer)
        if stop:
            # without saving: the module may have averaged weights during validation
            self._stop(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save the epoch after its validation.

        At the end of the run, averaged weights replace the trained ones only after this.
        """
        self._done = trainer.should_stop
        self._save(trainer)
        self._stopping, _ = self._agree(trainer)

    @override
    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._stopping:
            self._stop(trainer)

    @override
    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        stop, _ = self._agree(trainer)  # a signal may have come after the last epoch was saved
        self._unlisten()
        if stop:
            self._stop(trainer)

    @override
    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        self._unlisten()

    def _save(self, trainer: Trainer) -> None:
        trainer.save_checkpoint(self.path)
        self._saved = time.monotonic()

    def _agree(self, trainer: Trainer, minutes: float = 0) -> tuple[bool, bool]:
        """Return (stop, save), the same on all ranks: yes if any of them wants it."""
        stop = self._received is not None
        wait = 60 * min(minutes, self.minutes)
        due = time.monotonic() - self._saved >= wait
        if trainer.world_size == 1:
            return stop, due
        wanted = torch.tensor(2 * stop + due, device=trainer.strategy.root_device)
        torch.distributed.all_reduce(wanted, op=torch.distributed.ReduceOp.MAX)
        return bool(wanted >= 2), bool(wanted >= 1)

    def _stop(self, trainer: Trainer) -> None:
        way = f"go on from {self.path}" if self.path.exists() else "nothing was saved yet"
        by, number = "another rank", signal.SIGTERM
        if self._received is not None:
            by, number = self._received.name, self._received
        raise Interrupted(f"stopped by {by} at step {trainer.global_step}; {way}", number)

    def _listen(self) -> None:
        self._received = None
        self._previous = listen(self._on_signal)

    def _unlisten(self) -> None:
        restore(self._previous)
        self._previous = {}

    def _on_signal(self, number: signal.Signals) -> None:
        if self._received is not None:
            for each in self._previous:
                # a third signal ends the process also where Python is waiting
                signal.signal(each, signal.SIG_DFL)
            raise Interrupted(f"stopped by {number.name} before the step was finished", number)
        self._received = number
        log.warning("%s: finishing this step; once more ends the run at once", number.name)


def batches_to_validation(trainer: Trainer, batch_idx: int) -> float:
    """Return the number of batches before a validation or the end of the epoch may come; 0: now."""
    if trainer.is_last_batch or trainer.should_stop:
        return 0
    every = trainer.val_check_batch
    if every is None:  # a clock decides
        return math.inf
    batch = batch_idx
    if trainer.check_val_every_n_epoch is None:
        batch = trainer.fit_loop.total_batch_idx
    return -(batch + 1) % every


def begin_next_epoch(trainer: Trainer) -> None:
    """Set Lightning's loops to the begin of the next epoch, if they are at the end of one.

    Otherwise a trainer with ``max_steps`` takes that epoch for unfinished and counts it twice.
    """
    loop = trainer.fit_loop
    # Lightning annotates a base class that lacks two of the four numbers
    progress: Any = loop.epoch_progress
    if progress.current.processed != progress.current.started:
        return
    for numbers in (progress.total, progress.current):
        numbers.ready = numbers.started = numbers.completed = numbers.processed
    loop.reset_restart_stage()
    loop.epoch_loop.reset_restart_stage()
    loop.epoch_loop.restarting = False


def remove_stale_checkpoints(trainer: Trainer) -> None:
    """Remove damaged best checkpoints, and those that are newer than the step a run goes on from.

    A killed process wrote the newer ones. They come again, since the run repeats those steps; until
    then their weights would not belong to the score on record.
    """
    for callback in trainer.checkpoint_callbacks:
        if not isinstance(callback, ModelCheckpoint) or callback.dirpath is None:
            continue
        stale: dict[str, str] = {}
        if trainer.is_global_zero:
            stale = _stale_files(callback, trainer.global_step)
        stale = trainer.strategy.broadcast(stale)
        for path, why in stale.items():
            if trainer.is_global_zero:
                Path(path).unlink()
                log.info("%s %s (step %d): removed", path, why, trainer.global_step)
        best = callback.best_model_path
        if best and best not in stale and Path(best).exists():
            continue
        if isinstance(callback, BestCheckpoint) and stale.get(best, LATER) != LATER:
            instead = "its weights are lost, the best are those of later validations"
            callback.lose(stale[best], instead)
        callback.best_model_path, callback.best_model_score, callback.best_k_models = "", None, {}


def _stale_files(callback: ModelCheckpoint, step: int) -> dict[str, str]:
    """Return the callback's own files that do not belong to a run at ``step``, each with why."""
    stem = (callback.filename or "").split("{")[0]
    if not stem or callback.dirpath is None:
        return {}
    # by name, since the folder of the run may have been moved
    known = {Path(path).name for path in (*callback.best_k_models, callback.best_model_path)}
    stale: dict[str, str] = {}
    for path in Path(callback.dirpath).glob("*.ckpt"):
        if not path.is_file() or not path.name.startswith(stem) or path.name == LAST:
            continue
        fault = damage(path)
        if fault is not None:
            stale[str(path)] = fault
        elif path.name not in known or checkpoint_content(path)["global_step"] > step:
            stale[str(path)] = LATER
    return stale
