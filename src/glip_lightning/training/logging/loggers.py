"""Where the numbers and pictures of a run are written: a CSV file always, W&B unless another logger is named."""

import csv
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from lightning.fabric.loggers.logger import rank_zero_experiment
from lightning.pytorch.loggers import CSVLogger, Logger
from lightning.pytorch.loggers.csv_logs import ExperimentWriter

from glip_lightning.common.files import replacing, write_bytes
from glip_lightning.training.logging.run_names import Labels
from glip_lightning.training.logging.wandb_run import CarefulWandb, start_wandb


class Rows(ExperimentWriter):
    """Lightning's writer of ``metrics.csv``, which adds rows to its end, but continues a file that is there, and
    never leaves a part of it where a new column makes it write all rows anew."""

    def _check_log_dir_exists(self) -> None:
        """Keep the rows of an interrupted run, but for half a row at the end, where the run was killed."""
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
        with Path(self.metrics_file_path).open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        write_rows(Path(self.metrics_file_path), fieldnames, rows)


def write_rows(path: Path, fieldnames: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """Write a CSV file with a header, whole or not at all."""
    with replacing(path) as fresh, fresh.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=fieldnames)
        writer.writeheader()
        writer.writerows(rows)


class ContinuedCSV(CSVLogger):
    """``folder/logs/metrics.csv``; a run that goes on continues it, where Lightning would delete it."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "logs" / "metrics.csv"
        self._continued = self._file.is_file()
        super().__init__(
            folder, name="", version="logs", flush_logs_every_n_steps=1
        )  # a kill loses no row

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        """Return the writer, made at its first use."""
        if self._experiment is None:
            self._experiment = Rows(log_dir=self.log_dir)
        return self._experiment

    def forget_from(self, step: int) -> None:
        """Drop the rows of optimizer step ``step`` and later ones, which come again after the last checkpoint."""
        if not self._continued or not self._file.is_file():
            return
        _ = self.experiment  # drops half a row
        with self._file.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            rows, names = list(reader), reader.fieldnames or []
        kept = [row for row in rows if int(row["step"]) < step]
        write_rows(self._file, names, kept)
        self._continued = False


def make_loggers(
    folder: Path, labels: Labels, named: Sequence[Logger], wandb: bool
) -> list[Logger]:
    """The CSV file, then the loggers ``named`` in the recipe, or W&B if ``wandb`` and it can be started."""
    loggers: list[Logger] = [ContinuedCSV(folder), *named]
    if wandb and not named and (started := start_wandb(folder, labels)):
        loggers.append(started)
    return loggers


def log_settings(loggers: Sequence[Logger], content: Mapping[str, Any]) -> None:
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
