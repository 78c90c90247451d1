"""Runs that may be killed: a checkpoint that goes on bit for bit, and signals that end a run between two steps.

A step's data and dropout are functions of (seed, epoch, batch, rank), so weights, optimizer, schedules and the
position are the whole state. The position in the data, epoch and batches, is kept by ``DetectionData.state_dict``
(data_module.py); here Lightning's loops are put back to it.
"""

import logging
import signal
import time
from pathlib import Path
from typing import Any, Literal

import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint, ModelCheckpoint
from lightning.pytorch.loops import evaluation_loop, fit_loop, training_epoch_loop

from glip_lightning.common.files import remove_parts
from glip_lightning.common.signals import Interrupted, Previous, listen, restore
from glip_lightning.training.callbacks.best_checkpoint import BestCheckpoint
from glip_lightning.training.checkpoint_files import about, damage, write_whole

log = logging.getLogger(__name__)

LAST = "last.ckpt"
Place = Literal["epoch", "step"]
LATER = "is from after the step that the run goes on from"


class Resumable(Checkpoint):
    """Writes ``folder/last.ckpt``, whole or not at all: after every epoch, its validation and its schedules, and at
    the first optimizer step after ``minutes``. Of several checkpoint callbacks it has to be the last.

    The first SIGINT, SIGTERM or SIGHUP lets the optimizer step finish, saves and raises :class:`Interrupted` on all
    ranks; in a validation the run ends at once with the checkpoint that is there. The second signal ends it at once.
    """

    def __init__(self, folder: str | Path, minutes: float = 10) -> None:
        self.path, self.minutes = Path(folder) / LAST, minutes
        self._saved = time.monotonic()
        self._received: signal.Signals | None = None
        self._previous: Previous = {}
        self._writing: Place | None = None
        self._resumed: dict[str, Any] = {}
        self._entered: int | None = None  # the epoch that this process was resumed in front of
        self._done = False

    def state_dict(self) -> dict[str, Any]:
        """Says of the checkpoint whether it is ours and where it was taken."""
        return {"place": self._writing, "done": self._done}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._resumed = state_dict

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Have all checkpoints of the trainer written whole, also those of other callbacks."""
        write_whole(trainer)

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not trainer.ckpt_path:
            self._resumed = {}  # of a checkpoint that an evaluation before this fit had read
        if self._resumed.get("done"):  # early stopping had ended the run
            trainer.should_stop = True
        if trainer.is_global_zero:
            remove_parts(self.path.parent, older=0)  # of a process that was killed while writing

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        place = self._resumed.get("place")
        if place == "epoch":
            between_epochs(trainer)
            self._entered = trainer.current_epoch
        elif place == "step":
            within_epoch(trainer)
        if self._resumed:
            forget_the_future(trainer)
        self._resumed = {}
        self._saved = time.monotonic()
        self._listen()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        stepped = (batch_idx + 1) % trainer.accumulate_grad_batches == 0 or trainer.is_last_batch
        if not stepped or (trainer.is_last_batch and not validation_due(trainer)):
            return  # within an accumulation, or the end of the epoch follows immediately
        # a signal during the validation that follows finds the work up to here
        stop, due = self._agree(trainer, minutes=1 if trainer.is_last_batch else self.minutes)
        if stop:
            log_step(trainer)
        if stop or due:
            self._save(trainer, "step")
        if stop:
            self._stop(trainer)

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
            self._stop(trainer)  # not saved: during validation an average may stand in the place of the weights

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """The last epoch is saved here, because averaged weights replace the trained ones when training ends."""
        if self._is_last(trainer):
            self._done = trainer.should_stop
            self._save(trainer, "epoch")
            if self._agree(trainer)[0]:
                self._stop(trainer)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """The other epochs are saved before the next one, when schedules that follow a metric have moved too."""
        self._done = False
        if trainer.current_epoch in (0, self._entered):
            return
        self._save(trainer, "epoch")
        if self._agree(trainer)[0]:
            self._stop(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        stop = self._agree(trainer)[0]  # a signal since the last epoch was saved
        self._unlisten()
        if stop:
            self._stop(trainer)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self._unlisten()

    def _save(self, trainer: Trainer, place: Place) -> None:
        self._writing = place
        try:
            trainer.save_checkpoint(self.path)
        finally:
            self._writing = None
        self._saved = time.monotonic()

    def _is_last(self, trainer: Trainer) -> bool:
        """Whether the epoch that ends now is the last; ``FitLoop.done`` would change the counters."""
        epochs: Any = trainer.fit_loop.epoch_progress.current
        limits = ((epochs.processed, trainer.max_epochs), (trainer.global_step, trainer.max_steps))
        return trainer.should_stop or any(limit not in (None, -1) and now >= limit for now, limit in limits)

    def _agree(self, trainer: Trainer, minutes: float | None = None) -> tuple[bool, bool]:
        """(stop, save), the same on all ranks: what any of them wants."""
        wait = self.minutes if minutes is None else min(minutes, self.minutes)
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
                signal.signal(each, signal.SIG_DFL)  # a third one needs no help of Python, which may be waiting
            raise Interrupted(f"stopped by {number.name} before the step was finished", number)
        self._received = number
        log.warning("%s: finishing this step; once more ends the run at once", number.name)


def leave_signals_to_us(trainer: Trainer) -> None:
    """Take out Lightning's own answer to SIGTERM where a program listens itself.

    It talks to the other ranks from within the handler, between whatever they are saying to each other.
    """
    if signal.getsignal(signal.SIGTERM) not in (signal.SIG_DFL, None):
        trainer._signal_connector._sigterm_notifier_fn = lambda *_: None  # type: ignore[method-assign]


def log_step(trainer: Trainer) -> None:
    """Log the step that was just trained, as Lightning does after the hook that a stop does not come back from."""
    trainer._logger_connector.on_batch_end()
    trainer._logger_connector.update_train_step_metrics()


def validates_first(trainer: Trainer) -> bool:
    """Return whether a run that is about to go on begins with a validation; one that was killed may have logged it."""
    callbacks: list[Any] = trainer.callbacks  # type: ignore[attr-defined]
    resumed = [callback._resumed for callback in callbacks if isinstance(callback, Resumable)]
    return any(state.get("place") == "step" for state in resumed) and validation_due(trainer)


def validation_due(trainer: Trainer) -> bool:
    """Whether Lightning validates after the batch that was just trained."""
    loop = trainer.fit_loop
    assert loop._data_fetcher is not None
    return loop.epoch_loop._should_check_val_fx(loop._data_fetcher)


def between_epochs(trainer: Trainer) -> None:
    """Put Lightning's loops in front of the next epoch, as if this process had trained the ones before.

    Left alone, a trainer with ``max_steps`` takes the epoch for unfinished and counts it twice.
    """
    loop = trainer.fit_loop
    for progress in _counters(loop.epoch_progress):
        progress.ready = progress.started = progress.completed = progress.processed
    loop._restarting = loop.epoch_loop._restarting = loop.epoch_loop.val_loop._restarting = False
    loop._restart_stage = fit_loop.RestartStage.NONE
    loop.epoch_loop._restart_stage = training_epoch_loop.RestartStage.NONE


def within_epoch(trainer: Trainer) -> None:
    """Put Lightning's loops behind the last batch that was trained, in front of its validation if one is due.

    Left alone, they would skip that validation and, at the end of the epoch, the schedules that follow a metric.
    """
    loop, steps = trainer.fit_loop, trainer.fit_loop.epoch_loop
    for progress in _counters(loop.epoch_progress):
        progress.processed = progress.completed = progress.started - 1
    for progress in _counters(steps.batch_progress):
        progress.completed = progress.processed
    if not validation_due(trainer):
        steps._batches_that_stepped += 1  # counts after the hook that saved, and after a validation that comes again
    loop._restarting = steps.val_loop._restarting = False
    loop._restart_stage = fit_loop.RestartStage.RESTARTED_MID_EPOCH
    steps._restart_stage = training_epoch_loop.RestartStage.RESTARTED_ON_LAST
    steps.val_loop._restart_stage = evaluation_loop.RestartStage.RESTARTED_MID_EVALUATION


def _counters(progress: Any) -> tuple[Any, Any]:
    """Lightning annotates them with a base class that lacks two of their four numbers."""
    return progress.total, progress.current


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
            callback.lose(stale[best], "its weights are lost, the best are those of later validations")
        callback.best_model_path, callback.best_model_score, callback.best_k_models = "", None, {}


def _stale(callback: ModelCheckpoint, step: int) -> dict[str, str]:
    """Return the callback's own files that do not belong to a run at ``step``, each with why."""
    found = [path for path in Path(callback.dirpath or "").glob("*.ckpt") if path.is_file()]
    stem = (callback.filename or "").split("{")[0]
    own = [path for path in found if stem and path.name.startswith(stem) and path.name != LAST]
    known = {Path(path).name for path in (*callback.best_k_models, callback.best_model_path)}  # the folder may move
    stale: dict[str, str] = {}
    for path in own:
        if wrong := damage(path):
            stale[str(path)] = wrong
        elif path.name not in known or about(path)["global_step"] > step:
            stale[str(path)] = LATER
    return stale
