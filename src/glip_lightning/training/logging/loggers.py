"""The loggers of a run: always a CSV file, and W&B unless another logger is named."""

import csv
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from lightning.fabric.loggers.logger import rank_zero_experiment
from lightning.pytorch.loggers import CSVLogger, Logger
from lightning.pytorch.loggers.csv_logs import ExperimentWriter

from glip_lightning.common.files import replacing, write_bytes
from glip_lightning.training.logging.run_names import RunLabels
from glip_lightning.training.logging.wandb_run import CarefulWandb, start_wandb
from glip_lightning.weights.run_files import METRICS_NAME


class Rows(ExperimentWriter):
    """Lightning's writer of ``metrics.csv``, for a file that is continued.

    It keeps the rows of a file that is there. Where a new column makes it write all rows anew, the
    file is replaced whole.
    """

    def _check_log_dir_exists(self) -> None:
        # a killed run may have left half a row at the end
        path = Path(self.metrics_file_path)
        content = path.read_bytes() if path.is_file() else b""
        whole = content[: content.rfind(b"\n") + 1]
        if whole != content:
            write_bytes(path, whole)
        if whole:
            with path.open(newline="", encoding="utf-8") as file:
                self.metrics_keys = next(csv.reader(file))
        else:
            path.unlink(missing_ok=True)

    def _rewrite_with_new_header(self, fieldnames: list[str]) -> None:
        path = Path(self.metrics_file_path)
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        write_rows(path, fieldnames, rows)


def write_rows(path: Path, fieldnames: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """Write a CSV file with a header, whole or not at all."""
    with replacing(path) as fresh, fresh.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=fieldnames)
        writer.writeheader()
        writer.writerows(rows)


class ContinuedCSV(CSVLogger):
    """Writes ``folder/logs/metrics.csv``; a resumed run continues it, Lightning deletes it."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / METRICS_NAME
        self._continued = self._file.is_file()
        # flushed at every step, so that a killed run loses no row
        super().__init__(folder, name="", version="logs", flush_logs_every_n_steps=1)

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        """Return the writer, made at its first use."""
        if self._experiment is None:
            self._experiment = Rows(log_dir=self.log_dir)
        return self._experiment

    def forget_from(self, step: int) -> None:
        """Drop the rows from optimizer step ``step`` on, which a resumed run repeats."""
        if not self._continued or not self._file.is_file():
            return
        _ = self.experiment  # drops half a row at the end
        with self._file.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            kept = [row for row in reader if int(row["step"]) < step]
            columns = list(reader.fieldnames or ())
        write_rows(self._file, columns, kept)
        self._continued = False


def make_loggers(
    folder: Path, labels: RunLabels, named: Sequence[Logger], wandb: bool
) -> list[Logger]:
    """Return the CSV logger and those ``named`` in the recipe, or W&B where none is named.

    Args:
        folder: of the run.
        labels: of the run, for W&B.
        named: loggers of the recipe.
        wandb: whether W&B may be started.
    """
    loggers: list[Logger] = [ContinuedCSV(folder), *named]
    if wandb and not named:
        started = start_wandb(folder, labels)
        if started is not None:
            loggers.append(started)
    return loggers


def log_settings(loggers: Sequence[Logger], content: Mapping[str, Any]) -> None:
    """Log the recipe of a run and the images and classes that it trains on."""
    for logger in loggers:
        if isinstance(logger, CarefulWandb):
            with logger.care():
                logger.experiment.config.update(dict(content), allow_val_change=True)
        elif not isinstance(logger, CSVLogger):
            logger.log_hyperparams(dict(content))


def close(loggers: Sequence[Logger], status: int = 0) -> None:
    """Finish the W&B run: all of it is on the disk, and the next run gets one of its own."""
    for logger in loggers:
        if isinstance(logger, CarefulWandb):
            with logger.care():
                logger.experiment.finish(exit_code=status)
