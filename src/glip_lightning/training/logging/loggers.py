"""The loggers of a run: always the table of metrics, and W&B unless another logger is named."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import CSVLogger, Logger

from glip_lightning.training.logging.metrics_table import MetricsTable
from glip_lightning.training.logging.run_names import RunLabels
from glip_lightning.training.logging.wandb_run import CarefulWandb, start_wandb


def make_loggers(
    folder: Path, labels: RunLabels, named: Sequence[Logger], wandb: bool
) -> list[Logger]:
    """Return the table and those ``named`` in the recipe, or W&B where none is named.

    Args:
        folder: of the run.
        labels: of the run, for W&B.
        named: loggers of the recipe.
        wandb: whether W&B may be started.
    """
    loggers: list[Logger] = [MetricsTable(folder), *named]
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
        elif not isinstance(logger, CSVLogger):  # its hparams.yaml would be recipe.yaml once more
            logger.log_hyperparams(dict(content))


def close(loggers: Sequence[Logger], status: int = 0) -> None:
    """Finish the W&B run: all of it is on the disk, and the next run gets one of its own."""
    for logger in loggers:
        if isinstance(logger, CarefulWandb):
            with logger.care():
                logger.experiment.finish(exit_code=status)
