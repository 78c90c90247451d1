"""The folder of a run: made, locked, its recipe and its checkpoints in it."""

import itertools
from contextlib import suppress
from pathlib import Path

import yaml
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint

from glip_lightning.common.files import ABANDONED, remove_parts, write_text
from glip_lightning.common.locks import LOCK_NAME, FolderLock
from glip_lightning.training.callbacks.resume import LAST, Resumable
from glip_lightning.training.module import GLIPModule
from glip_lightning.training.record import RunRecord
from glip_lightning.training.trial import read_trial
from glip_lightning.weights.run_files import CHECKPOINTS, RECIPE_NAME, RESULT_NAME

RUNS = Path("runs")


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
        pl_module.setup(stage)  # callbacks come first; what is wrong with names is known before a folder is made
        record = self.record
        if trainer.is_global_zero:
            record.folder = record.folder or new_run_folder(RUNS, pl_module.data.label)
        record.folder = folder = trainer.strategy.broadcast(record.folder)
        assert folder is not None
        self._made = True
        record.trial = read_trial(folder)
        if trainer.is_global_zero:
            record.lock.hold(folder)
            write_text(folder / RECIPE_NAME, yaml.safe_dump(dict(record.recipe), sort_keys=False, allow_unicode=True))
        for callback in trainer.callbacks:  # type: ignore[attr-defined]
            if isinstance(callback, ModelCheckpoint) and callback.dirpath is None:
                callback.dirpath = str(folder / CHECKPOINTS)
            elif isinstance(callback, Resumable):
                callback.path = folder / CHECKPOINTS / LAST

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Say with the error where things lie and how to go on."""
        folder = self.record.folder
        if not self._made or folder is None or not trainer.is_global_zero:
            return
        exception.add_note(f"what there is so far lies in {folder}")
        last = folder / CHECKPOINTS / LAST
        if last.is_file():
            again = f"glip fit --resume {folder}" if self.record.command else f'fit(..., ckpt_path="{last}")'
            exception.add_note(f"go on with: {again}")


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
        GLIPError: another process is working in it; nothing in it was changed.
        FileExistsError: see :func:`check_free`.
    """
    check_free(folder, resuming=True)  # a finished run is not even locked
    if (folder / LOCK_NAME).exists():  # another process may be working on the unfinished run
        lock.hold(folder)
    check_free(folder, resuming)
    lock.hold(folder)
    check_free(folder, resuming)  # what another process did until then
    for part in (folder, *(path for path in folder.iterdir() if path.is_dir() and not path.is_symlink())):
        remove_parts(part, older=0 if lock.exclusive else ABANDONED)


def check_free(folder: Path, resuming: bool) -> None:
    """An error if ``folder`` holds a run already, unless that is unfinished and gone on with."""
    if (folder / RESULT_NAME).exists():
        raise FileExistsError(f"--run {folder}: holds a finished run; choose another folder or remove it")
    if (folder / RECIPE_NAME).exists() and not resuming:
        saved = (folder / CHECKPOINTS / LAST).is_file()
        way = f"go on with it (glip fit --resume {folder}), " if saved else "nothing was saved yet; "
        raise FileExistsError(f"--run {folder}: holds an unfinished run; {way}choose another folder or remove it")
