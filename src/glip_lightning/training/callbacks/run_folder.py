"""The folder of a run: making it, locking it, and its files from the start."""

import itertools
import json
from contextlib import suppress
from pathlib import Path

import yaml
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from typing_extensions import override

from glip_lightning.common.errors import GLIPError
from glip_lightning.common.files import ABANDONED, remove_parts, write_text
from glip_lightning.common.locks import LOCK_NAME, FolderLock
from glip_lightning.training.callbacks.resume import Resumable
from glip_lightning.training.module import GLIPModule
from glip_lightning.training.record import RunRecord
from glip_lightning.training.trial import read_trial
from glip_lightning.weights.run_files import (
    CHECKPOINTS,
    LAST,
    RECIPE_NAME,
    RESULT_NAME,
    RUNS,
    UNFINISHED_NAME,
    check_unfinished,
)


class RunFolder(Callback):
    """Keeps a run in a folder of its own: ``recipe.yaml`` from the start, ``checkpoints/``.

    The first process makes the folder once the data are read; the other processes get its path.
    """

    def __init__(self, record: RunRecord) -> None:
        """Take the record of the run; its lock is held from ``setup`` on.

        Whoever made the record releases the lock.
        """
        self.record = record
        self._made = False

    @override
    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if self._made:
            return
        assert isinstance(pl_module, GLIPModule)
        # callbacks are set up first: errors in class names come before a folder is made
        pl_module.setup(stage)
        record = self.record
        if trainer.is_global_zero and record.folder is None:
            record.folder = new_run_folder(RUNS, pl_module.data.label)
        folder = trainer.strategy.broadcast(record.folder)
        assert folder is not None
        record.folder = folder
        self._made = True
        record.trial = read_trial(folder)
        if trainer.is_global_zero:
            record.lock.hold(folder)
            # a finished run may be trained for longer
            (folder / RESULT_NAME).unlink(missing_ok=True)
            recipe = yaml.safe_dump(dict(record.recipe), sort_keys=False, allow_unicode=True)
            write_text(folder / RECIPE_NAME, recipe)
            self._write_unfinished(pl_module.data.label)
        for callback in trainer.checkpoint_callbacks:
            if isinstance(callback, ModelCheckpoint) and callback.dirpath is None:
                callback.dirpath = str(folder / CHECKPOINTS)
            elif isinstance(callback, Resumable):
                callback.path = folder / CHECKPOINTS / LAST

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        """Add to the error where the files of the run are, and how to go on."""
        folder = self.record.folder
        if not self._made or folder is None or not trainer.is_global_zero:
            return
        assert isinstance(pl_module, GLIPModule)
        message = " ".join(str(exception).split())
        if not message:
            message = type(exception).__name__
        self._write_unfinished(pl_module.data.label, f"step {trainer.global_step}: {message}")
        exception.add_note(f"the files of the run are in {folder}")
        last = folder / CHECKPOINTS / LAST
        if last.is_file():
            way = f'fit(..., ckpt_path="{last}")'
            if self.record.command:
                way = f"glip fit --resume {folder}"
            exception.add_note(f"go on with: {way}")

    def _write_unfinished(self, data: str, why: str = "") -> None:
        """Write the name of the data, and why the run ended, for the report.

        A run that has a result is finished: then nothing is written.
        """
        assert self.record.folder is not None
        if (self.record.folder / RESULT_NAME).exists():
            return
        content = {"data": data, "why": why}
        with suppress(OSError):  # a full disk may be what has ended the run
            write_text(self.record.folder / UNFINISHED_NAME, json.dumps(content))


def new_run_folder(parent: Path, label: str) -> Path:
    """Make and return ``parent/label-001``, or the first number after it that is free."""
    for number in itertools.count(1):
        folder = parent / f"{label}-{number:03}"
        with suppress(FileExistsError):
            folder.mkdir(parents=True)
            return folder
    raise AssertionError("counting ends")


def take_folder(folder: Path, resuming: bool, lock: FolderLock) -> None:
    """Lock the folder of a run, check it, and remove partial files of killed processes.

    Args:
        folder: of the run.
        resuming: whether the run in it goes on.
        lock: holds the folder afterwards.

    Raises:
        GLIPError: another process works in it (code ``folder-in-use``), or it is not free
            (:func:`check_run_folder_is_free`); then nothing was changed.
    """
    if not resuming:
        check_unfinished(folder)  # such a run is not even locked
    if (folder / LOCK_NAME).exists():  # another process may be working on the unfinished run
        lock.hold(folder)
    check_run_folder_is_free(folder, resuming)
    lock.hold(folder)
    check_run_folder_is_free(folder, resuming)  # another process may have begun a run meanwhile
    subfolders = [path for path in folder.iterdir() if path.is_dir() and not path.is_symlink()]
    oldest = 0 if lock.exclusive else ABANDONED
    for each in (folder, *subfolders):
        remove_parts(each, older=oldest)


def check_run_folder_is_free(folder: Path, resuming: bool) -> None:
    """Raise GLIPError if ``folder`` holds a run already, unless that run goes on.

    The code is ``finished-run`` (:func:`check_unfinished`) or ``unfinished-run``.
    """
    if resuming:
        return
    check_unfinished(folder)
    if not (folder / RECIPE_NAME).exists():
        return
    way = "nothing was saved yet; "
    if (folder / CHECKPOINTS / LAST).is_file():
        way = f"go on with it (glip fit --resume {folder}), "
    raise GLIPError(
        f"--run {folder}: holds an unfinished run; {way}choose another folder or remove it",
        code="unfinished-run",
    )
