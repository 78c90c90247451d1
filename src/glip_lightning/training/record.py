"""The record of a run: made at its start, filled while it works, written at its end as ``result.json``."""

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
    """What a run is asked to do, and what becomes of it.

    Callbacks write into it what they see; a module has one from its beginning, which a run replaces by its own.
    """

    verb: Verb = "fit"
    recipe: Mapping[str, Any] = field(default_factory=dict)
    """The checked configuration, complete."""
    command: str = ""
    """The command line."""
    folder: Path | None = None
    """Of all that the run leaves; None until the data are read where it is to be ``runs/<data>-<number>``."""
    lock: FolderLock = field(default_factory=FolderLock)
    """Keeps other processes out of the folder."""
    wandb: bool = False
    """Whether W&B logs a run that names no other logger."""
    trial: Trial | None = None
    """Of the sweep that the run belongs to."""

    fitted: bool = False
    """Whether a weight was trained."""
    groups: list[dict[str, Any]] = field(default_factory=list)
    """Learning rate and weight decay of each parameter group as the run began."""
    parts: dict[str, dict[str, int]] = field(default_factory=dict)
    """How many parameters of each part are trained."""
    best_epoch: int | None = None
    """Epoch of the weights that were loaded from a checkpoint."""
    ended: str | None = None
    """Why training ended before its last epoch."""
    restored: list[dict[str, Any]] = field(default_factory=list)
    """Step, loss and reason of every fall back to earlier weights."""
    lost: str | None = None
    """What became of a best checkpoint that was damaged."""
    metrics: dict[str, Metrics | None] = field(default_factory=lambda: {"val": None, "test": None})
    """Of the last evaluation of each split, by "val" and "test"; None of a split that there is not."""
    detections: list[dict[str, Any]] = field(default_factory=list)
    """What the last evaluation outside of training found, as COCO results with the data set's ids."""
    thresholds: dict[str, BestThreshold] | None = None
    """Of the classes as captions name them, chosen in the last validation outside of training, if there was one."""
    retention: dict[str, Any] | None = None
    """AP on a probe before and after."""

    began: float = field(default_factory=time.monotonic)
    earlier: float = 0.0
    """Seconds of the processes before this one, where an interrupted run goes on."""

    def __deepcopy__(self, memo: dict[int, Any]) -> "RunRecord":
        """Return the record itself: a copy of the module is in the same run."""
        return self

    @property
    def seconds(self) -> float:
        """Of the whole run until now."""
        return self.earlier + time.monotonic() - self.began


def record_of(module: LightningModule) -> RunRecord:
    """Return the record of the run that ``module`` is in; one that nobody reads for a module that has none."""
    record = getattr(module, "record", None)
    return record if isinstance(record, RunRecord) else RunRecord()
