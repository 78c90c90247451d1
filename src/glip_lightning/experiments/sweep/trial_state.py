"""The state of a trial: its folder says whether it still has to run, and which AP it reached."""

import csv
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from glip_lightning.experiments.failures import FAILED_NAME
from glip_lightning.weights.run_files import (
    METRICS_NAME,
    RECIPE_NAME,
    RESULT_NAME,
    read_result,
)

TAIL = 16_384  # bytes: the last rows of metrics.csv, also with hundreds of classes


@dataclass(frozen=True, slots=True)
class TrialState:
    """What a trial's folder holds; ``result`` is ``result.json`` of a finished trial."""

    state: Literal["finished", "failed", "unfinished", "new"]
    result: Mapping[str, Any] | None = None

    @property
    def ap(self) -> float | None:
        """AP from 0 to 1 on the test split, on valid where there is no test split.

        None where the trial is not finished or no box defines an AP.
        """
        if self.result is None:
            return None
        metrics = self.result["metrics"]
        measured = metrics.get("test") or metrics.get("val") or {}
        return measured.get("AP")


def state_of(folder: Path) -> TrialState:
    """Return the state of the trial in ``folder``.

    Raises:
        GLIPError: ``result.json`` is none of a run.
    """
    # a run that failed in its last evaluation may have left a result, too
    if (folder / FAILED_NAME).is_file():
        return TrialState("failed")
    where = f"{folder / RESULT_NAME}: not the result of a run (remove it, and the trial runs again)"
    result = read_result(folder, ("metrics", "seconds", "steps"), where)
    if result:
        return TrialState("finished", result)
    if (folder / RECIPE_NAME).is_file():
        return TrialState("unfinished")
    return TrialState("new")


def steps_done(folder: Path) -> int:
    """Return the optimizer steps that a running trial has logged; 0 where it has logged none.

    Only the ends of ``metrics.csv`` are read.
    """
    with suppress(OSError, ValueError, IndexError, csv.Error):
        with (folder / METRICS_NAME).open("rb") as file:
            header = file.readline()
            file.seek(max(len(header), file.seek(0, 2) - TAIL))
            lines = file.read().split(b"\n")
        whole = lines[-2]  # the line after it is not written yet
        names, values = csv.reader([header.decode(), whole.decode()])
        return int(values[names.index("step")]) + 1  # rows are numbered from 0
    return 0
