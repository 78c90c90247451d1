"""The state of a trial: its folder says whether it still has to run, and which AP it reached."""

import csv
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from glip_lightning.common.errors import GLIPError
from glip_lightning.common.schema import Keys, Real, Whole
from glip_lightning.experiments.failures import FAILED_NAME
from glip_lightning.weights.run_files import (
    METRICS_NAME,
    RECIPE_NAME,
    RESULT_NAME,
    check_metrics,
    read_result,
)

_SHOWN = {"seconds": Real(0, 1e9), "steps": Whole(0, 10**12)}
"""Keys of a result that are read here; 1e9 seconds are 30 years."""
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
    if (folder / RESULT_NAME).is_file():
        return TrialState("finished", _checked_result(folder))
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


def _checked_result(folder: Path) -> Mapping[str, Any]:
    """Return the result of a finished trial if the keys for the board are right."""
    where = f"{folder / RESULT_NAME}: not the result of a run (remove it, and the trial runs again)"
    try:
        result = read_result(folder)
    except GLIPError as error:
        raise GLIPError(f"{error} (remove it, and the trial runs again)", code=error.code) from None
    check_metrics(result, where)
    Keys(_SHOWN).check({key: result[key] for key in _SHOWN if key in result}, where)
    return result
