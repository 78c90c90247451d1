"""Train, validate and test: the same from Python and on the command line, with a folder per run."""

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
from glip_lightning.common.private_names import leave_signals_to_us
from glip_lightning.data.types import Split
from glip_lightning.training.callbacks.best_checkpoint import BestCheckpoint
from glip_lightning.training.callbacks.estimate import Estimate
from glip_lightning.training.callbacks.global_batch import GlobalBatch
from glip_lightning.training.callbacks.missing_validation import MissingValidation
from glip_lightning.training.callbacks.prediction_pictures import PredictionPictures
from glip_lightning.training.callbacks.resume import Resumable
from glip_lightning.training.callbacks.run_folder import RunFolder, take_folder
from glip_lightning.training.callbacks.run_loggers import RunLoggers
from glip_lightning.training.callbacks.run_measures import RunTime, TrainedParameters
from glip_lightning.training.callbacks.threads import ProcessorThreads
from glip_lightning.training.checkpoint_files import damage
from glip_lightning.training.data_module import DetectionData
from glip_lightning.training.lightning_messages import quiet_lightning
from glip_lightning.training.logging.loggers import close
from glip_lightning.training.logging.wandb_run import CarefulWandb, log_results, sync_command
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
"""Types of arguments that a recipe made from objects keeps."""

Run = str | Path | RunRecord | None
Evaluations = dict[str, Metrics | None]
"""Metrics by "val" and "test", as in ``result.json``; None for a split that was not evaluated."""


def fit(
    module: GLIPModule,
    data: DetectionData,
    trainer: Trainer,
    run: Run = None,
    ckpt_path: str | Path | None = None,
    weights_only: bool | None = None,
) -> Evaluations:
    """Train, load the weights of the best ``val/AP``, validate and test them, and return metrics.

    With ``data.shots`` 0 nothing is trained: the weights are evaluated as they are.

    Args:
        module: the detector and its tuning.
        data: where the images come from.
        trainer: any of Lightning's; its callbacks and loggers are the same afterwards.
        run: the folder for what the run writes: recipe, checkpoints, metrics, pictures,
            ``result.json`` and the trained detector, which ``glip predict`` and :class:`Predictor`
            load. Without a folder only the trainer's own callbacks write files; then the weights
            of its first checkpoint callback are evaluated, or the last ones if it has none.
        ckpt_path: the checkpoint to go on from, ``RUN/checkpoints/last.ckpt`` of an interrupted
            run.
        weights_only: as in ``torch.load``; False also loads a checkpoint that holds any object.

    Returns:
        The metrics of the splits by "val" and "test", AP between 0 and 1.

    Raises:
        GLIPError: the tuning trains nothing (code ``trains-nothing``); the trainer is not one of
            ``lightning.pytorch`` (``other-trainer``); ``run`` holds another run
            (``unfinished-run``), or another process works in it (``folder-in-use``); ``run`` is
            finished and cannot be trained for longer (:func:`~.longer.check_longer`); or the data
            cannot be used (the code of the finding).
    """
    refuse_untrained(module.tuning)
    with _running("fit", module, data, trainer, run, ckpt_path) as record:
        if record.folder is not None and (record.folder / RESULT_NAME).exists():
            check_longer(record.folder, module, trainer)
        best = _attach_fit_callbacks(trainer, None if run is None else record)
        if data.shots == 0:
            log.info("data.shots 0: nothing is trained, the starting weights are evaluated")
            module.tuning = FullTuning()  # learned words would be random ones
        else:
            trainer.fit(module, datamodule=data, ckpt_path=ckpt_path, weights_only=weights_only)
        record.best_epoch = record.best_step = None
        try:
            kept = None
            if data.shots != 0:
                kept = _kept_checkpoint(record, trainer, best, resumed=ckpt_path is not None)
            trainer.validate(module, datamodule=data, ckpt_path=kept, verbose=False)
            if kept is not None and Path(kept).name == LAST:
                record.best_epoch = record.best_step = None
            trainer.test(module, datamodule=data, verbose=False)  # the weights of validate
        except Exception:
            # the trained weights are kept also where a photo cannot be read
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
    """Evaluate the valid split and return its metrics under "val".

    Arguments and errors are those of :func:`fit`; ``ckpt_path`` names the weights.
    """
    return _evaluate("validate", module, data, trainer, run, ckpt_path, weights_only)


def test(
    module: GLIPModule,
    data: DetectionData,
    trainer: Trainer,
    run: Run = None,
    ckpt_path: str | Path | None = None,
    weights_only: bool | None = None,
) -> Evaluations:
    """Evaluate the test split and return its metrics under "test".

    Arguments and errors are those of :func:`fit`; ``ckpt_path`` names the weights.
    """
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
    with _running(verb, module, data, trainer, run, ckpt_path) as record:
        evaluate = {"validate": trainer.validate, "test": trainer.test}[verb]
        evaluate(
            module, datamodule=data, ckpt_path=ckpt_path, weights_only=weights_only, verbose=False
        )
        _finish(record, trainer, module)
    return record.metrics


def _attach_fit_callbacks(trainer: Trainer, record: RunRecord | None) -> BestCheckpoint:
    """Add the callbacks of a fit, and those of its folder if there is a record of a run with one.

    Returns:
        The callback that keeps the best weights, also where it is not attached.
    """
    best = BestCheckpoint()
    callbacks: list[Callback] = [GlobalBatch(), MissingValidation()]
    if record is not None:
        callbacks += [TrainedParameters(record), Estimate(record), LearningRateMonitor()]
        # RunFolder sets their folder
        callbacks += [best, Resumable(CHECKPOINTS)]
    _attach(trainer, callbacks)
    return best


def refuse_untrained(tuning: Tuning | None) -> None:
    """Raise GLIPError for a saved prompt, which ``fit`` cannot train (code ``trains-nothing``)."""
    if isinstance(tuning, SavedPrompt):
        message = (
            "model.tuning SavedPrompt trains nothing; "
            f"glip test and validate evaluate {tuning.file}"
        )
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
    """Make the record of a run, and give the trainer the callbacks of a run that has a folder.

    Callbacks, loggers and settings of the trainer are as before when the context ends.
    """
    if not isinstance(trainer, Trainer):
        given = f"{type(trainer).__module__}.{type(trainer).__qualname__}"
        raise GLIPError(
            f"trainer: {given}, expected one of lightning.pytorch "
            "(from lightning.pytorch import Trainer); "
            "the package pytorch_lightning has classes of its own, which know no others",
            code="other-trainer",
        )
    callbacks, loggers = trainer.callbacks, trainer.loggers  # type: ignore[attr-defined]
    accumulate = trainer.accumulate_grad_batches
    record = run if isinstance(run, RunRecord) else RunRecord(verb)
    threads = torch.get_num_threads()
    module.record = record
    leave_signals_to_us(trainer)
    try:
        if isinstance(run, str | Path):
            record.folder = Path(run)
            record.recipe = _recipe_from_objects(module, data)
            if trainer.is_global_zero:
                take_folder(record.folder, goes_on(verb, run, ckpt_path), record.lock)
        if run is not None:
            own = [callback for callback in callbacks if not _is_default(callback)]
            trainer.callbacks = own  # type: ignore[attr-defined]
            of_run = [
                RunFolder(record),
                RunLoggers(record, loggers),
                RunTime(record),
                PredictionPictures(record),
                ProcessorThreads(),
            ]
            _attach(trainer, of_run)
        with quiet_lightning():
            yield record
    finally:
        trainer.callbacks, trainer.loggers = callbacks, loggers  # type: ignore[attr-defined]
        trainer.accumulate_grad_batches = accumulate
        torch.set_num_threads(threads)
        record.lock.release()


def _attach(trainer: Trainer, callbacks: Sequence[Callback]) -> None:
    """Add callbacks to those of the trainer; checkpoints come last, as Lightning wants them."""
    together = [*trainer.callbacks, *callbacks]  # type: ignore[attr-defined]
    others = [callback for callback in together if not isinstance(callback, Checkpoint)]
    checkpoints = [callback for callback in together if isinstance(callback, Checkpoint)]
    trainer.callbacks = [*others, *checkpoints]  # type: ignore[attr-defined]


def _is_default(callback: Callback) -> bool:
    """Return whether a callback is the checkpoint of the last epoch that a trainer adds by itself.

    ``last.ckpt`` of a run takes its place.
    """
    if type(callback) is not ModelCheckpoint:
        return False
    names = ("dirpath", "filename", "save_last", "save_top_k", "state_key")
    default = ModelCheckpoint()
    return all(getattr(callback, name) == getattr(default, name) for name in names)


def _kept_checkpoint(
    record: RunRecord, trainer: Trainer, best: BestCheckpoint, resumed: bool
) -> str | Path | None:
    """Return the checkpoint whose weights the run keeps; None for the weights of the module."""
    if record.folder is None:
        first = trainer.checkpoint_callback
        if isinstance(first, ModelCheckpoint) and first.best_model_path:
            return first.best_model_path
        return None
    last = record.folder / CHECKPOINTS / LAST
    if best.best_model_path:
        fault = damage(Path(best.best_model_path))
        if fault is None:
            return best.best_model_path
        best.lose(fault, f"the weights of {LAST} are evaluated and kept")
        record.lost = best.lost
        return last
    if resumed and last.is_file():
        # a run that was over when it was resumed has not loaded its averaged weights
        return last
    return None


def _finish(record: RunRecord, trainer: Trainer, module: GLIPModule) -> None:
    """Write detector, results and pictures into the folder of a run, after its last evaluation.

    ``result.json``, ``detections.json`` (COCO results of the split that was evaluated last) and, if
    something was trained, the files of :meth:`GLIPModule.keep`, which ``glip predict`` loads. Only
    the first process writes.
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
            card = model_card(folder.resolve().name, result)
            write_text(folder / RUN_DETECTOR / CARD_NAME, card)
    split: Split = "test" if record.metrics["test"] else "valid"
    log_results(trainer.loggers, result, module.data.datasets.get(split))
    close(trainer.loggers)
    write_text(folder / DETECTIONS_NAME, json.dumps(record.detections))
    if record.verb == "fit":
        save_summary(record, module, trainer.global_step)
    write_result(folder, result)
    has_wandb = any(isinstance(logger, CarefulWandb) for logger in trainer.loggers)
    upload = sync_command(folder) if has_wandb else None
    saved_prompt = module.tuning.file if isinstance(module.tuning, SavedPrompt) else None
    print_summary(result, folder, upload, saved_prompt)


def _recipe_from_objects(module: GLIPModule, data: DetectionData) -> dict[str, Any]:
    """Return a recipe of objects that were made in Python: their classes and plain arguments.

    It does not contain the trainer, so no command can start from it: its key ``made_by`` makes
    commands refuse it.
    """
    seed = os.environ.get("PL_GLOBAL_SEED")
    return {
        "made_by": "glip_lightning from Python",
        "seed_everything": None if seed is None else int(seed),
        "model": {
            "detector": module.detector,
            "weights": "random" if module.origin == "random" else "pretrained",
            "tuning": _class_and_arguments(module.tuning),
            "schedule": _class_and_arguments(module.schedule),
        },
        "data": _class_and_arguments(data),
    }


def _class_and_arguments(part: object) -> dict[str, Any]:
    """Return the class and the plain arguments of an object, as a recipe names them."""
    kind = type(part)
    path = f"{kind.__module__}.{kind.__qualname__}"
    if kind.__name__ in PUBLIC:
        path = f"glip_lightning.{kind.__name__}"
    names: set[str] = set()
    for each in kind.__mro__:
        names.update(inspect.signature(each.__init__).parameters)
    values = vars(part)
    arguments = {
        name: values[name]
        for name in sorted(names & values.keys())
        if isinstance(values[name], PLAIN)
    }
    return {"class_path": path, "init_args": arguments}
