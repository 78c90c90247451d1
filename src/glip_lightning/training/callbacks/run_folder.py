"""The folder of a run: made, locked, its recipe and its checkpoints in it."""

import itertools
import json
from contextlib import suppress
from pathlib import Path

import yaml
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint

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

    The first process makes the folder once the data have been read, and tells it to the others.
    """

    def __init__(self, record: RunRecord) -> None:
        """Take the lock of the record where nobody holds it yet; whoever has made the record releases it."""
        self.record = record
        self._made = False

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if self._made:
            return
        assert isinstance(pl_module, GLIPModule)
        pl_module.setup(
            stage
        )  # callbacks come first; what is wrong with names is known before a folder is made
        record = self.record
        if trainer.is_global_zero:
            record.folder = record.folder or new_run_folder(RUNS, pl_module.data.label)
        record.folder = folder = trainer.strategy.broadcast(record.folder)
        assert folder is not None
        self._made = True
        record.trial = read_trial(folder)
        if trainer.is_global_zero:
            record.lock.hold(folder)
            (folder / RESULT_NAME).unlink(
                missing_ok=True
            )  # of a finished run that is trained for longer
            write_text(
                folder / RECIPE_NAME,
                yaml.safe_dump(dict(record.recipe), sort_keys=False, allow_unicode=True),
            )
            self._tell_unfinished(pl_module.data.label)
        for callback in trainer.callbacks:  # type: ignore[attr-defined]
            if isinstance(callback, ModelCheckpoint) and callback.dirpath is None:
                callback.dirpath = str(folder / CHECKPOINTS)
            elif isinstance(callback, Resumable):
                callback.path = folder / CHECKPOINTS / LAST

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        """Say with the error where things lie and how to go on."""
        folder = self.record.folder
        if not self._made or folder is None or not trainer.is_global_zero:
            return
        assert isinstance(pl_module, GLIPModule)
        told = " ".join(str(exception).split()) or type(exception).__name__
        self._tell_unfinished(pl_module.data.label, f"step {trainer.global_step}: {told}")
        exception.add_note(f"what there is so far lies in {folder}")
        last = folder / CHECKPOINTS / LAST
        if last.is_file():
            again = (
                f"glip fit --resume {folder}"
                if self.record.command
                else f'fit(..., ckpt_path="{last}")'
            )
            exception.add_note(f"go on with: {again}")

    def _tell_unfinished(self, data: str, why: str = "") -> None:
        """Write for the report what the data are called, and why the run has ended, as long as it has no result."""
        assert self.record.folder is not None
        if not (self.record.folder / RESULT_NAME).exists():
            content = {"data": data, "why": why}
            with suppress(OSError):  # a full disk is what ends the run, not that it cannot be told
                write_text(self.record.folder / UNFINISHED_NAME, json.dumps(content))


def new_run_folder(parent: Path, label: str) -> Path:
    """Make ``parent/label-001`` or the first number after it that nobody has."""
    for number in itertools.count(1):
        folder = parent / f"{label}-{number:03}"
        with suppress(FileExistsError):
            folder.mkdir(parents=True)
            return folder
    raise AssertionError("counting ends")


def take_folder(folder: Path, resuming: bool, lock: FolderLock) -> None:
    """Lock the folder of a run, check it, and remove what killed processes have left in it.

    Raises:
        GLIPError: another process is working in it, or it is not free (:func:`check_free`); nothing was changed.
    """
    if not resuming:
        check_unfinished(folder)  # such a run is not even locked
    if (folder / LOCK_NAME).exists():  # another process may be working on the unfinished run
        lock.hold(folder)
    check_free(folder, resuming)
    lock.hold(folder)
    check_free(folder, resuming)  # what another process did until then
    for part in (
        folder,
        *(path for path in folder.iterdir() if path.is_dir() and not path.is_symlink()),
    ):
        remove_parts(part, older=0 if lock.exclusive else ABANDONED)


def check_free(folder: Path, resuming: bool) -> None:
    """Raise GLIPError if ``folder`` holds a run already, unless that is gone on with."""
    if resuming:
        return
    check_unfinished(folder)
    if (folder / RECIPE_NAME).exists():
        saved = (folder / CHECKPOINTS / LAST).is_file()
        way = (
            f"go on with it (glip fit --resume {folder}), " if saved else "nothing was saved yet; "
        )
        raise GLIPError(
            f"--run {folder}: holds an unfinished run; {way}choose another folder or remove it",
            code="unfinished-run",
        )
