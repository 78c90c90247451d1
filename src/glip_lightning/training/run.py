"""Train, validate and test, with all that a run leaves in its folder: from Python as on the command line."""

import inspect
import json
import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import torch
from lightning import Callback, Trainer
from lightning.pytorch.callbacks import Checkpoint, LearningRateMonitor, ModelCheckpoint

from glip_lightning import PUBLIC
from glip_lightning.common.errors import GLIPError
from glip_lightning.common.files import write_text
from glip_lightning.data.types import Split
from glip_lightning.training.callbacks.best_checkpoint import BestCheckpoint
from glip_lightning.training.callbacks.estimate import Estimate
from glip_lightning.training.callbacks.global_batch import GlobalBatch
from glip_lightning.training.callbacks.prediction_pictures import PREDICTIONS, PredictionPictures
from glip_lightning.training.callbacks.resume import Resumable
from glip_lightning.training.callbacks.run_folder import RunFolder, take_folder
from glip_lightning.training.callbacks.run_loggers import RunLoggers
from glip_lightning.training.callbacks.run_measures import RunTime, TrainedParameters
from glip_lightning.training.callbacks.threads import ProcessorThreads
from glip_lightning.training.checkpoint_files import damage
from glip_lightning.training.data_module import DetectionData
from glip_lightning.training.lightning_internals import leave_signals_to_us
from glip_lightning.training.logging.loggers import close
from glip_lightning.training.logging.wandb_run import CarefulWandb, conclude, sync_command
from glip_lightning.training.longer import check_longer
from glip_lightning.training.model_card import CARD_NAME, model_card
from glip_lightning.training.module import GLIPModule
from glip_lightning.training.record import Metrics, RunRecord, Verb
from glip_lightning.training.result import print_summary, result_of, write_result
from glip_lightning.training.summary_picture import save_summary
from glip_lightning.tuning.base import Tuning
from glip_lightning.tuning.prompt import SavedPrompt
from glip_lightning.tuning.weight_tunings import FullTuning
from glip_lightning.weights.run_files import CHECKPOINTS, LAST, RESULT_NAME, RUN_DETECTOR, goes_on
from glip_lightning.weights.threshold_file import write_thresholds

log = logging.getLogger(__name__)

DETECTIONS_NAME = "detections.json"
PLAIN = (bool, int, float, str, type(None))

Run = str | Path | RunRecord | None
Evaluations = dict[str, Metrics | None]
"""Metrics by "val" and "test", as ``result.json`` has them; None of a split that was not evaluated."""


def fit(
    module: GLIPModule,
    data: DetectionData,
    trainer: Trainer,
    run: Run = None,
    ckpt_path: str | Path | None = None,
    weights_only: bool | None = None,
) -> Evaluations:
    """Train, load the weights of the best ``val/AP``, validate and test them, and return both metrics.

    With ``data.shots`` 0 nothing is trained, the weights are evaluated as they are.

    Args:
        module: the detector and its tuning.
        data: where the images come from.
        trainer: any of Lightning's; its callbacks and loggers are the same afterwards.
        run: the folder for what the run leaves: recipe, checkpoints, metrics, pictures, ``result.json`` and what was
            learned, with which ``glip predict`` and :class:`Predictor` work. Without one nothing is written but by
            the trainer's own callbacks, and the weights are those of its first checkpoint callback, or the last ones.
        ckpt_path: the checkpoint to go on from, ``RUN/checkpoints/last.ckpt`` of an interrupted run.
        weights_only: False to load a checkpoint that holds any object, as ``torch.load`` has it.

    Raises:
        GLIPError: the tuning trains nothing (a saved prompt); ``run`` holds another run, or another process works in
            it; the data cannot be used; ``run`` is finished and cannot be trained for longer
            (:func:`~.longer.check_longer`).
    """
    refuse_untrained(module.tuning)
    with _running("fit", module, data, trainer, run, ckpt_path) as record:
        if record.folder is not None and (record.folder / RESULT_NAME).exists():
            check_longer(record.folder, module, trainer)
        best = BestCheckpoint()
        callbacks: list[Callback] = [GlobalBatch()]
        if run is not None:
            callbacks += [TrainedParameters(record), Estimate(), LearningRateMonitor()]
            callbacks += [best, Resumable(CHECKPOINTS)]  # in the folder that RunFolder finds
        _attach(trainer, callbacks)
        if data.shots == 0:
            log.info("data.shots 0: nothing is trained, the starting weights are evaluated")
            module.tuning = FullTuning()  # learned words would be random ones
        else:
            trainer.fit(module, datamodule=data, ckpt_path=ckpt_path, weights_only=weights_only)
        record.best_epoch = None
        try:
            kept = (
                None
                if data.shots == 0
                else _learned(record, trainer, best, resumed=ckpt_path is not None)
            )
            trainer.validate(module, datamodule=data, ckpt_path=kept, verbose=False)
            if kept and Path(kept).name == LAST:
                record.best_epoch = None
            trainer.test(module, datamodule=data, verbose=False)  # what validate has loaded
        except (
            Exception
        ):  # a photo that cannot be read must not cost the training; after Ctrl-C it can go on
            _finish(record, trainer, module)
            raise
        _finish(record, trainer, module)
    return record.metrics


def validate(
    module: GLIPModule,
    data: DetectionData,
    trainer: Trainer,
    run: Run = None,
    ckpt_path: str | Path | None = None,
    weights_only: bool | None = None,
) -> Evaluations:
    """Evaluate the valid split and return its metrics under "val"; the arguments are those of :func:`fit`."""
    return _evaluate("validate", module, data, trainer, run, ckpt_path, weights_only)


def test(
    module: GLIPModule,
    data: DetectionData,
    trainer: Trainer,
    run: Run = None,
    ckpt_path: str | Path | None = None,
    weights_only: bool | None = None,
) -> Evaluations:
    """Evaluate the test split and return its metrics under "test"; the arguments are those of :func:`fit`."""
    return _evaluate("test", module, data, trainer, run, ckpt_path, weights_only)


def _evaluate(
    verb: Literal["validate", "test"],
    module: GLIPModule,
    data: DetectionData,
    trainer: Trainer,
    run: Run,
    ckpt_path: str | Path | None,
    weights_only: bool | None,
) -> Evaluations:
    evaluate = {"validate": trainer.validate, "test": trainer.test}[verb]
    with _running(verb, module, data, trainer, run, ckpt_path) as record:
        evaluate(
            module, datamodule=data, ckpt_path=ckpt_path, weights_only=weights_only, verbose=False
        )
        _finish(record, trainer, module)
    return record.metrics


def refuse_untrained(tuning: Tuning | None) -> None:
    """Raise an error for what ``fit`` cannot train."""
    if isinstance(tuning, SavedPrompt):
        message = f"model.tuning SavedPrompt trains nothing; glip test and validate evaluate {tuning.file}"
        raise GLIPError(message, code="trains-nothing")


@contextmanager
def _running(
    verb: Verb,
    module: GLIPModule,
    data: DetectionData,
    trainer: Trainer,
    run: Run,
    ckpt_path: str | Path | None,
) -> Iterator[RunRecord]:
    """Make the record of a run; give the trainer the run's callbacks and loggers meanwhile, if it has a folder."""
    if not isinstance(trainer, Trainer):
        given = f"{type(trainer).__module__}.{type(trainer).__qualname__}"
        message = f"trainer: {given}, expected one of lightning.pytorch (from lightning.pytorch import Trainer); the "
        message += "package pytorch_lightning has classes of its own, which know no others"
        raise GLIPError(message, code="other-trainer")
    callbacks, loggers = trainer.callbacks, trainer.loggers  # type: ignore[attr-defined]
    accumulate = trainer.accumulate_grad_batches
    record = run if isinstance(run, RunRecord) else RunRecord(verb)
    threads = torch.get_num_threads()
    module.record = record
    leave_signals_to_us(trainer)
    try:
        if isinstance(run, str | Path):
            record.folder, record.recipe = Path(run), _recipe(module, data)
            if trainer.is_global_zero:
                take_folder(record.folder, goes_on(verb, run, ckpt_path), record.lock)
        if run is not None:
            trainer.callbacks = [callback for callback in callbacks if not _is_default(callback)]  # type: ignore[attr-defined]
            folder, logs = RunFolder(record), RunLoggers(record, loggers)
            _attach(
                trainer,
                [folder, logs, RunTime(record), PredictionPictures(record), ProcessorThreads()],
            )
        yield record
    finally:
        trainer.callbacks, trainer.loggers = callbacks, loggers  # type: ignore[attr-defined]
        trainer.accumulate_grad_batches = accumulate
        torch.set_num_threads(threads)
        record.lock.release()


def _attach(trainer: Trainer, callbacks: Sequence[Callback]) -> None:
    """Add callbacks to those of the trainer; checkpoints come last, as Lightning wants them."""
    together = [*trainer.callbacks, *callbacks]  # type: ignore[attr-defined]
    trainer.callbacks = sorted(together, key=lambda callback: isinstance(callback, Checkpoint))  # type: ignore[attr-defined]


def _is_default(callback: Callback) -> bool:
    """Whether it is as the one that a trainer makes by itself, of the last epoch; ``last.ckpt`` takes its place."""
    if type(callback) is not ModelCheckpoint:
        return False
    names = ("dirpath", "filename", "save_last", "save_top_k", "state_key")
    default = ModelCheckpoint()
    return all(getattr(callback, name) == getattr(default, name) for name in names)


def _learned(
    record: RunRecord, trainer: Trainer, best: BestCheckpoint, resumed: bool
) -> str | Path | None:
    """Return the checkpoint with the weights that the run keeps; None for those that the module has."""
    if record.folder is None:
        first = trainer.checkpoint_callback
        return first.best_model_path or None if isinstance(first, ModelCheckpoint) else None
    path, last = best.best_model_path, record.folder / CHECKPOINTS / LAST
    if path and (wrong := damage(Path(path))):
        best.lose(wrong, f"the weights of {LAST} are evaluated and kept")
        record.lost = best.lost
        return last
    if not path and resumed and last.is_file():
        return last  # a run that was over when it was resumed has not got its average back
    return path or None


def _finish(record: RunRecord, trainer: Trainer, module: GLIPModule) -> None:
    """Write what was learned and what was reached into the folder of the run, after its last evaluation.

    That is ``result.json``, ``detections.json`` (COCO results of the last split that was evaluated) and, if something
    was trained, what :meth:`GLIPModule.keep` writes, which ``glip predict`` uses. The first process does it.
    """
    folder = record.folder
    if folder is None or not trainer.is_global_zero:
        return
    result = result_of(record, trainer, module)
    if record.fitted:
        module.keep(folder)
        if record.thresholds is not None:
            write_thresholds(folder, record.thresholds)
        if (folder / RUN_DETECTOR).is_dir():
            write_text(folder / RUN_DETECTOR / CARD_NAME, model_card(folder.resolve().name, result))
    split: Split = "test" if record.metrics["test"] else "valid"
    conclude(trainer.loggers, result, module.data.datasets.get(split))
    close(trainer.loggers)
    write_text(folder / DETECTIONS_NAME, json.dumps(record.detections))
    if record.verb == "fit":
        save_summary(record, module, trainer.global_step)
    write_result(folder, result)
    logs = [str(folder / "logs" / "metrics.csv")]
    if any(isinstance(logger, CarefulWandb) for logger in trainer.loggers):
        logs.append(f"{folder / 'wandb'} (W&B)")
        logs += [command] if (command := sync_command(folder)) else []
    print_summary(result, folder, sorted((folder / PREDICTIONS).glob("*.jpg")), logs)


def _recipe(module: GLIPModule, data: DetectionData) -> dict[str, Any]:
    """Return what is known of objects that no recipe has made: their classes, and arguments that they keep as such.

    Nothing is known of the trainer, so no command can start from it; the key ``made_by`` has it refused.
    """
    seed = os.environ.get("PL_GLOBAL_SEED")
    weights = "random" if module.origin == "random" else "pretrained"
    parts = {
        name: _described(part)
        for name, part in (("tuning", module.tuning), ("schedule", module.schedule))
    }
    return {
        "made_by": "glip_lightning from Python",
        "seed_everything": None if seed is None else int(seed),
        "model": {"detector": module.detector, "weights": weights, **parts},
        "data": _described(data),
    }


def _described(part: object) -> dict[str, Any]:
    """Return the class and the plain arguments of an object, as a recipe names them."""
    kind = type(part)
    own = f"{kind.__module__}.{kind.__qualname__}"
    path = f"glip_lightning.{kind.__name__}" if kind.__name__ in PUBLIC else own
    arguments = {
        name for each in kind.__mro__ for name in inspect.signature(each.__init__).parameters
    }
    values = {name: vars(part)[name] for name in sorted(arguments & vars(part).keys())}
    plain = {name: value for name, value in values.items() if isinstance(value, PLAIN)}
    return {"class_path": path, "init_args": plain}
