"""What a run leaves behind, and what it shows while it works."""

import itertools
import json
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import Logger
from lightning.pytorch.trainer.states import TrainerFn

from glip_lightning.common.files import ABANDONED, picture_names, remove_parts, replacing, write_text
from glip_lightning.common.locks import LOCK_NAME, FolderLock
from glip_lightning.data.types import Batch, Split
from glip_lightning.training.callbacks.resume import LAST, Resumable, leave_signals_to_us, validates_first
from glip_lightning.training.callbacks.retention import Retention
from glip_lightning.training.logging.loggers import ContinuedCSV, close, describe, make_loggers
from glip_lightning.training.logging.pictures import show
from glip_lightning.training.logging.run_names import UNTUNED, Labels, label_run, label_trial
from glip_lightning.training.logging.wandb_run import CarefulWandb, conclude, sync_command
from glip_lightning.training.module import GLIPModule
from glip_lightning.training.result import RESULT_NAME, groups_of, print_summary, result_of, write_result
from glip_lightning.training.trial import Trial, read_trial
from glip_lightning.weights.threshold_file import write_thresholds

RUNS = Path("runs")
DETECTIONS_NAME = "detections.json"
RECIPE_NAME = "recipe.yaml"
CHECKPOINTS = "checkpoints"


class RunFolder(Callback):
    """Keeps a run in a folder of its own: ``recipe.yaml`` and loggers from the start, checkpoints, ``predictions/``,
    and at the end ``result.json``, ``detections.json`` (COCO results of the last split that was evaluated) and, if
    something was trained, ``detector/`` or ``prompt.safetensors``, which ``glip predict`` uses.

    The first process makes the folder once the data have been read, and tells it to the others.
    """

    def __init__(
        self,
        folder: Path | None,
        verb: str,
        recipe: Mapping[str, Any],
        command: str = "",
        lock: FolderLock | None = None,
        loggers: Sequence[Logger] = (),
        wandb: bool = True,
        pictures: int = 8,
        threshold: float = 0.5,
    ) -> None:
        """
        Args:
            folder: None for ``runs/<data>-<number>``.
            verb: ``fit``, ``validate`` or ``test``.
            recipe: the checked configuration, complete; ``command`` the command line. Both are for the result.
            lock: keeps other processes out of the folder; whoever gives it has checked the folder and releases it.
            loggers: those named in the recipe; ``wandb`` is for runs without any.
            pictures: so many evaluated images are drawn, with detections from score ``threshold`` on.
        """
        self._lock = lock or FolderLock()
        self._given, self.verb, self.recipe, self.command = folder, verb, recipe, command
        self._named, self._wandb = loggers, wandb
        self.pictures, self.threshold = pictures, threshold
        self._folder: Path | None = None
        self._trial: Trial | None = None
        self._fitted = False
        self._groups: list[dict[str, Any]] = []
        self._parts: dict[str, dict[str, int]] = {}
        self._drawn: list[Path] = []
        self._started = time.monotonic()
        self._earlier = 0.0  # seconds of the lives before this one
        self._fitting = False

    @property
    def _seconds(self) -> float:
        return self._earlier + time.monotonic() - self._started

    @property
    def folder(self) -> Path:
        assert self._folder is not None, "the folder is there once the trainer is set up"
        return self._folder

    def state_dict(self) -> dict[str, float]:
        return {"seconds": self._seconds}

    def load_state_dict(self, state_dict: dict[str, float]) -> None:
        if self._fitting:  # not when the best checkpoint is evaluated
            self._earlier = state_dict["seconds"]

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        self._fitting = stage == "fit"
        leave_signals_to_us(trainer)
        if self._folder is not None or not isinstance(pl_module, GLIPModule):
            return
        label = pl_module.data.label
        folder = (self._given or new_run_folder(RUNS, label)) if trainer.is_global_zero else None
        self._folder = folder = trainer.strategy.broadcast(folder)
        assert folder is not None
        self._trial = read_trial(folder)
        if trainer.is_global_zero:
            self._lock.hold(folder)
            write_text(folder / RECIPE_NAME, yaml.safe_dump(dict(self.recipe), sort_keys=False, allow_unicode=True))
        for callback in trainer.callbacks:  # type: ignore[attr-defined]
            if isinstance(callback, ModelCheckpoint) and callback.dirpath is None:
                callback.dirpath = str(folder / CHECKPOINTS)
            elif isinstance(callback, Resumable):
                callback.path = folder / CHECKPOINTS / LAST
        trainer.loggers = make_loggers(
            folder, self._labels(pl_module), self._named, self._wandb and trainer.is_global_zero
        )
        if not trainer.is_global_zero:
            return
        data = pl_module.data
        describe(trainer.loggers, {"recipe": self.recipe, **data.chosen(), "classes": data.class_names})

    def _labels(self, module: GLIPModule) -> Labels:
        """The trial's, or the same of a run of its own: fits by their tuning, others by their verb."""
        if self._trial is not None:
            return label_trial(self._trial, module.detector)
        data, tuning = module.data, type(module.tuning).__name__
        if self.verb == "fit" and data.shots == 0:
            tuning = UNTUNED
        axes = {"task": data.task_name, "shots": data.shots, "seed": data.seed, "tuning": tuning}
        job_type = tuning if self.verb == "fit" else self.verb
        return label_run(self.folder, data.label, job_type, axes, module.detector)

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Not when the training starts: a run that was killed after its last step trains no more."""
        self._groups = groups_of(trainer)
        if isinstance(pl_module, GLIPModule):
            self._parts = {name: part._asdict() for name, part in pl_module.parts().items()}

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._fitted = trainer.global_step > 0
        self._continue_table(trainer)  # one that was killed after its last step

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._continue_table(trainer, validates_first(trainer))

    def _continue_table(self, trainer: Trainer, validated: bool = False) -> None:
        for logger in trainer.loggers:
            if isinstance(logger, ContinuedCSV) and trainer.is_global_zero:
                logger.forget_from(trainer.global_step, validated)

    def on_test_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Batch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        self._draw(trainer, pl_module, outputs, batch, "test")

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Batch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """What is drawn where there is no test split."""
        if trainer.state.fn == TrainerFn.VALIDATING:
            self._draw(trainer, pl_module, outputs, batch, "valid")

    def _draw(self, trainer: Trainer, module: LightningModule, outputs: Any, batch: Batch, split: Split) -> None:
        if not trainer.is_global_zero or not isinstance(module, GLIPModule):
            return
        if split == "valid" and self.verb == "fit" and len(module.data.datasets.get("test", ())):
            return
        for i, found in enumerate(outputs["detections"][: self.pictures - len(self._drawn)]):
            shown = show(batch, i, found, module.data.datasets[split], self.threshold)
            self._drawn.append(Path(shown.name))
            *_, name = picture_names(self._drawn)
            with replacing(self.folder / "predictions" / name) as fresh:
                shown.drawn().save(fresh, format="JPEG", quality=92)

    def finish(self, trainer: Trainer, module: GLIPModule) -> None:
        """After the last evaluation: the detector if it was trained, the result and its summary."""
        if not trainer.is_global_zero:
            return
        result: dict[str, Any] = {
            "command": self.command,
            "verb": self.verb,
            "fitted": self._fitted,
            "trial": None if self._trial is None else self._trial._asdict(),
            "recipe": self.recipe,
            "seed": {"data": module.data.seed, "training": self.recipe.get("seed_everything")},
            "groups": self._groups,
            "parts": self._parts,
            "seconds": round(self._seconds, 1),
            **result_of(trainer, module),
            "retention": next((c.result for c in trainer.callbacks if isinstance(c, Retention)), None),  # type: ignore[attr-defined]
        }
        pictures = sorted((self.folder / "predictions").glob("*.jpg"))
        logs = [str(self.folder / "logs" / "metrics.csv")]
        if any(isinstance(logger, CarefulWandb) for logger in trainer.loggers):
            logs.append(f"{self.folder / 'wandb'} (W&B)")
            logs += [command] if (command := sync_command(self.folder)) else []
        if self._fitted:
            module.keep(self.folder)
            if module.thresholds is not None:
                write_thresholds(self.folder, module.thresholds)
        split: Split = "test" if result["metrics"]["test"] else "valid"
        conclude(trainer.loggers, result, module.data.datasets.get(split))
        close(trainer.loggers)
        write_text(self.folder / DETECTIONS_NAME, json.dumps(module.detections))
        write_result(self.folder, result)
        print_summary(result, self.folder, pictures, logs)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Say with the error where things lie and how to go on."""
        close(trainer.loggers, status=1)
        if self._folder is None or not trainer.is_global_zero:
            return
        exception.add_note(f"what there is so far lies in {self.folder}")
        if (self.folder / CHECKPOINTS / LAST).is_file():
            exception.add_note(f"go on with: glip fit --resume {self.folder}")


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
