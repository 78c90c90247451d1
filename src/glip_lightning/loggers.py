"""Where the numbers and pictures of a run are written: a CSV file always, W&B unless another logger is named."""

import csv
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger, WandbLogger
from lightning.pytorch.utilities import rank_zero_only

from .data.types import Batch
from .files import replacing
from .module import GLIPModule
from .pictures import Shown, show

log = logging.getLogger(__name__)

PROJECT = "glip-lightning"
LONGEST = 800  # pixels of a logged picture


class ContinuedCSV(CSVLogger):
    """``folder/logs/metrics.csv``; a run that goes on continues it, where Lightning would delete it."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "logs" / "metrics.csv"
        self._before = self._file.read_text(encoding="utf-8") if self._file.is_file() else ""
        super().__init__(folder, name="", version="logs")

    @rank_zero_only
    def restore(self) -> None:
        """Put back what was there, before the first row is written."""
        if self._before:
            self._file.unlink(missing_ok=True)
            writer = self.experiment
            self._file.write_text(self._before, encoding="utf-8")
            writer.metrics_keys = next(csv.reader(self._before.splitlines()))

    def forget_from(self, step: int) -> None:
        """Drop the rows of optimizer step ``step`` and later ones, which come again after the last checkpoint."""
        if self._before:
            rows = list(csv.DictReader(self._before.splitlines()))
            with replacing(self._file) as fresh, fresh.open("w", newline="", encoding="utf-8") as file:
                writer = csv.DictWriter(file, fieldnames=list(rows[0]) if rows else [])
                writer.writeheader()
                writer.writerows(row for row in rows if int(row["step"]) < step)
            self._before = ""


class CarefulWandb(WandbLogger):
    """W&B whose failures (a full disk, a lost connection) end the logging, not the training."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(log_model=False, **kwargs)
        self._wandb_init.pop("anonymous", None)  # Lightning passes it always, W&B 0.31 warns of it always
        self.failed = False

    @contextmanager
    def care(self) -> Iterator[None]:
        """Errors of W&B in here become one warning."""
        try:
            yield
        except Exception as error:
            if not self.failed:
                log.warning("W&B is given up, the training goes on: %s: %s", type(error).__name__, error)
            self.failed = True

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        if not self.failed:
            with self.care():
                super().log_metrics(metrics, step)

    def finalize(self, status: str) -> None:
        if not self.failed:
            with self.care():
                super().finalize(status)


def make_loggers(folder: Path, group: str, named: Sequence[Logger], wandb: bool) -> list[Logger]:
    """The CSV file, then the loggers ``named`` in the recipe, or W&B if ``wandb`` and it can be started."""
    table = ContinuedCSV(folder)
    table.restore()
    loggers: list[Logger] = [table, *named]
    if wandb and not named and (started := start_wandb(folder, group)):
        loggers.append(started)
    return loggers


def start_wandb(folder: Path, group: str) -> CarefulWandb | None:
    """W&B in ``folder/wandb``, offline unless ``WANDB_MODE`` says otherwise; None if disabled or impossible."""
    mode = os.environ.get("WANDB_MODE", "offline")
    if mode == "disabled":
        return None
    try:
        import wandb

        settings = wandb.Settings(silent=True, console="off")
        logger = CarefulWandb(
            name=folder.name,
            save_dir=folder,
            offline=mode == "offline",
            id=_earlier_id(folder),
            project=os.environ.get("WANDB_PROJECT", PROJECT),
            group=group,
            settings=settings,
        )
        _ = logger.experiment  # now, so that what cannot start is known
    except Exception as error:  # whatever it is, it is not worth a training
        log.warning("no W&B in this run, it cannot be started: %s: %s", type(error).__name__, error)
        return None
    return logger


def _earlier_id(folder: Path) -> str | None:
    """The id of the W&B run that this run had before it was interrupted: both parts belong together."""
    earlier = sorted((folder / "wandb").glob("*run-*-*"))
    return earlier[-1].name.split("-")[-1] if earlier else None


def describe(loggers: Sequence[Logger], content: Mapping[str, Any]) -> None:
    """Keep the recipe and what was chosen with the run."""
    for logger in loggers:
        if isinstance(logger, CarefulWandb):
            with logger.care():
                logger.experiment.config.update(dict(content), allow_val_change=True)
        elif not isinstance(logger, CSVLogger):
            logger.log_hyperparams(dict(content))


def close(loggers: Sequence[Logger], status: int = 0) -> None:
    """Finish the W&B run, so that all of it is on the disk and the next run of this process has one of its own."""
    for logger in loggers:
        if isinstance(logger, CarefulWandb):
            with logger.care():
                logger.experiment.finish(exit_code=status)


class SamplePictures(Callback):
    """Shows the first images of the valid split to the loggers that take pictures: at validations 1, 2, 4, 8, ..."""

    def __init__(self, pictures: int = 4, threshold: float = 0.3) -> None:
        """Detections below ``threshold`` are not shown."""
        self.pictures, self.threshold = pictures, threshold
        self._validations = 0
        self._shown: list[Shown] = []

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._shown = []
        if not trainer.sanity_checking:
            self._validations += 1

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Batch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        if trainer.sanity_checking or not trainer.is_global_zero or not isinstance(pl_module, GLIPModule):
            return
        if self._validations & (self._validations - 1):
            return  # no power of two
        for i, found in enumerate(outputs["detections"][: self.pictures - len(self._shown)]):
            self._shown.append(show(batch, i, found, pl_module.data.datasets["valid"], self.threshold))

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        for logger in trainer.loggers if self._shown else ():
            if isinstance(logger, CarefulWandb) and not logger.failed:
                with logger.care():
                    # a key for each: W&B wants the pictures of one key to have one size
                    images = {f"val/picture_{i}": _wandb_image(shown) for i, shown in enumerate(self._shown)}
                    logger.experiment.log({**images, "trainer/global_step": trainer.global_step})
            elif isinstance(logger, TensorBoardLogger):
                for shown in self._shown:
                    pixels = np.asarray(_smaller(shown).drawn())
                    tag = f"val/pictures/{shown.name}"
                    logger.experiment.add_image(tag, pixels, trainer.global_step, dataformats="HWC")


def _smaller(shown: Shown) -> Shown:
    """At most ``LONGEST`` pixels long: what is looked at, not what is measured."""
    scale = LONGEST / max(shown.picture.size)
    if scale >= 1:
        return shown
    picture = shown.picture.copy()
    picture.thumbnail((LONGEST, LONGEST))
    boxes, truth = ([[x * scale for x in box] for box in group] for group in (shown.boxes, shown.truth))
    return shown._replace(picture=picture, boxes=boxes, truth=truth)


def _wandb_image(shown: Shown) -> Any:
    """``wandb.Image`` whose boxes can be switched on and off by class and score."""
    import wandb

    small = _smaller(shown)
    names = dict(enumerate(shown.classes))
    found = [
        {**_wandb_box(box, label, small), "scores": {"score": score}, "box_caption": f"{names[label]} {score:.2f}"}
        for box, label, score in zip(small.boxes, small.labels, small.scores, strict=True)
    ]
    truth = [
        {**_wandb_box(box, label, small), "box_caption": names[label]}
        for box, label in zip(small.truth, small.truth_labels, strict=True)
    ]
    groups = {"predictions": found, "ground_truth": truth}
    boxes = {group: {"box_data": rows, "class_labels": names} for group, rows in groups.items()}
    return wandb.Image(small.picture.convert("RGB"), boxes=boxes, caption=shown.name)


def _wandb_box(box: Sequence[float], label: int, shown: Shown) -> dict[str, Any]:
    """Corners as fractions of width and height."""
    width, height = shown.picture.size
    x1, y1, x2, y2 = box
    position = {"minX": x1 / width, "minY": y1 / height, "maxX": x2 / width, "maxY": y2 / height}
    return {"position": position, "class_id": label}
