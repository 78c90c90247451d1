"""The record of a run: made at its start, written at its end as ``result.json``."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from lightning import LightningModule

from glip_lightning.common.locks import FolderLock
from glip_lightning.evaluation.best_threshold import BestThreshold
from glip_lightning.training.trial import Trial

Verb = Literal["fit", "validate", "test"]
Metrics = dict[str, Any]


@dataclass
class RunRecord:
    """The settings of a run, and what happens in it.

    Callbacks write into it. A module has a record of its own from the beginning; a run replaces it.
    """

    verb: Verb = "fit"
    recipe: Mapping[str, Any] = field(default_factory=dict)
    """The checked configuration, complete."""
    command: str = ""
    """The command line; empty from Python."""
    folder: Path | None = None
    """The run's folder; None without one, and for ``runs/<data>-<number>`` until data are read."""
    lock: FolderLock = field(default_factory=FolderLock)
    """Keeps other processes out of the folder."""
    wandb: bool = False
    """Whether W&B logs a run that names no other logger."""
    trial: Trial | None = None
    """The trial of a sweep that the run is."""

    fitted: bool = False
    """Whether an optimizer step was taken."""
    groups: list[dict[str, Any]] = field(default_factory=list)
    """Name, first learning rate, weight decay and size of each parameter group."""
    parts: dict[str, dict[str, int]] = field(default_factory=dict)
    """How many parameters of each part there are and are trained."""
    best_epoch: int | None = None
    """Epoch (from 0) of the weights that were loaded from a checkpoint."""
    best_step: int | None = None
    """Optimizer steps that these weights have taken."""
    ended: str | None = None
    """Why training ended before its last epoch."""
    restored: list[dict[str, Any]] = field(default_factory=list)
    """Step, loss and reason of each time that earlier weights were restored."""
    lost: str | None = None
    """Why the best checkpoint could not be used, and which weights are used in its place."""
    metrics: dict[str, Metrics | None] = field(default_factory=lambda: {"val": None, "test": None})
    """Of the last evaluation of each split, by "val" and "test"; None for a missing split."""
    detections: list[dict[str, Any]] = field(default_factory=list)
    """COCO results, with the ids of the data set, of the last evaluation outside of training."""
    thresholds: dict[str, BestThreshold] | None = None
    """Best threshold by class name, from the last validation outside of training."""
    retention: dict[str, Any] | None = None
    """AP on a probe before and after training (:class:`~.callbacks.retention.Retention`)."""

    began: float = field(default_factory=time.monotonic)
    """When this process began, on the monotonic clock in seconds."""
    earlier: float = 0.0
    """Seconds that an interrupted run took in earlier processes."""

    def __deepcopy__(self, memo: dict[int, Any]) -> "RunRecord":
        """Return the record itself: a copy of the module is in the same run."""
        return self

    @property
    def seconds(self) -> float:
        """Seconds that the whole run has taken until now."""
        return self.earlier + time.monotonic() - self.began


def record_of(module: LightningModule) -> RunRecord:
    """Return the record of a module; for a module of another kind a new one that nobody reads."""
    record = getattr(module, "record", None)
    if isinstance(record, RunRecord):
        return record
    return RunRecord()
