"""One trial in a process of its own, so that no setting of a trial reaches another trial.

A lock on ``<folder>.lock`` claims a trial. The system frees it when the process ends, however it
ends. Across the nodes of a cluster this holds where their file system shares such locks (NFS from
version 4, Lustre with ``flock``, GPFS); elsewhere do not run two sweeps over one directory at
once.
"""

import logging
import multiprocessing.util
import os
import shutil
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout

from glip_lightning.common.errors import GLIPError
from glip_lightning.common.locks import LOCK_NAME, FolderLock
from glip_lightning.common.logs import show_log
from glip_lightning.common.resources import resource_advice
from glip_lightning.common.signals import received
from glip_lightning.config.recipe import fit_recipe
from glip_lightning.experiments.failures import FAILED_NAME, LOG_NAME, record_failure
from glip_lightning.experiments.sweep.jobs import Event, Job
from glip_lightning.training.trial import TRIAL_NAME
from glip_lightning.weights.run_files import CHECKPOINTS, LAST, RECIPE_NAME, RESULT_NAME

log = logging.getLogger(__name__)

STAYS = (TRIAL_NAME, LOG_NAME, FAILED_NAME, LOCK_NAME)
"""Files that stay in the folder when a trial starts anew."""


def run_trial(job: Job) -> Event:
    """Run or continue the trial in ``job.folder``, unless it is finished or runs elsewhere."""
    began = time.monotonic()
    folder = Path(job.folder)
    try:
        with FileLock(folder.with_suffix(".lock"), blocking=False):
            if (folder / RESULT_NAME).is_file() and not (folder / FAILED_NAME).is_file():
                return Event(job.id, "finished")
            _send_output_to(folder / LOG_NAME)
            with _own_temporary_folder():
                return _attempt(job, folder, began)
    except Timeout:
        return Event(job.id, "elsewhere")


def _attempt(job: Job, folder: Path, began: float) -> Event:
    """Run the trial and turn its end, whatever it is, into an event."""
    try:
        os.chdir(job.home)
        if job.threads is not None:
            # the variable says that the sweep has decided: the run does not measure
            os.environ["OMP_NUM_THREADS"] = str(job.threads)
            torch.set_num_threads(job.threads)
        _fit(job.recipe, folder)
    except KeyboardInterrupt as stop:
        log.warning("interrupted: %s", stop)
        return Event(job.id, "interrupted", seconds=time.monotonic() - began)
    except Exception as error:
        if _in_use(error):
            return Event(job.id, "elsewhere")
        message = _one_line(error)
        number = received()
        if number:  # an error may follow where a signal ends several processes at once
            log.warning("interrupted by %s: %s", number.name, message)
            return Event(job.id, "interrupted", seconds=time.monotonic() - began)
        _close_wandb()
        text = "".join(traceback.format_exception(error))
        print(text, file=sys.stderr)
        seconds = time.monotonic() - began
        record_failure(folder, message, text, seconds)
        return Event(job.id, "failed", message, seconds)
    if not job.keep_checkpoints:
        shutil.rmtree(folder / CHECKPOINTS, ignore_errors=True)
    (folder / FAILED_NAME).unlink(missing_ok=True)
    return Event(job.id, "finished", seconds=time.monotonic() - began)


def _fit(recipe: Mapping[str, Any], folder: Path) -> None:
    """Continue from the last checkpoint; start anew where that is missing or of no use."""
    last = folder / CHECKPOINTS / LAST
    is_begun = last.is_file() and (folder / RECIPE_NAME).is_file()
    if is_begun and not (folder / RESULT_NAME).is_file():
        saved = last.stat().st_mtime_ns
        try:
            fit_recipe(recipe, folder, last)
            return
        except Exception as error:
            if last.is_file() and last.stat().st_mtime_ns != saved:
                raise  # the run continued and failed later
            if _in_use(error):
                raise
            log.warning(
                "cannot continue from %s, the trial starts anew: %s", last, _one_line(error)
            )
    _clear(folder)
    fit_recipe(recipe, folder)


def _in_use(error: BaseException) -> bool:
    """Return whether the error says that a ``glip fit`` outside of sweeps has the folder."""
    return isinstance(error, GLIPError) and error.code == "folder-in-use"


def _clear(folder: Path) -> None:
    """Remove what an earlier attempt has left."""
    lock = FolderLock()
    lock.hold(folder)
    try:
        for path in folder.iterdir():
            if path.name in STAYS:
                continue
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()
    finally:
        lock.release()


def _one_line(error: BaseException) -> str:
    """Return the first line of an error, with its type unless the message is one of ours."""
    translated = resource_advice(error)
    text = resource_advice(error, "sweep") or str(error)
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    is_ours = isinstance(error, OSError | ValueError) or translated
    if lines and is_ours:
        return lines[0]
    return f"{type(error).__name__}: {lines[0] if lines else ''}"


def _send_output_to(path: Path) -> None:
    """Append all that this process and its children print to ``path``, also from below Python."""
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    file = path.open("a", buffering=1, encoding="utf-8")
    for number in (1, 2):
        os.dup2(file.fileno(), number)
    sys.stdout = sys.stderr = file
    show_log()


@contextmanager
def _own_temporary_folder() -> Iterator[None]:
    """Remove temporary files with the trial.

    This process ends without the exit handlers of W&B and others, which would remove them.
    """
    # multiprocessing removes its folder after ours is gone: make it now, outside of ours
    multiprocessing.util.get_temp_dir()
    with tempfile.TemporaryDirectory(prefix="glip-", ignore_cleanup_errors=True) as folder:
        os.environ["TMPDIR"] = tempfile.tempdir = folder
        yield


def _close_wandb() -> None:
    """Close the run of W&B that an error left open: its exit handler is not called here."""
    wandb: Any = sys.modules.get("wandb")
    if wandb is not None and wandb.run is not None:
        with suppress(Exception):
            wandb.finish(exit_code=1)
