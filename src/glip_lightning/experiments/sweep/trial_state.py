"""What has become of a trial: its folder says whether it still has to run, and what it reached."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from glip_lightning.common.errors import GLIPError
from glip_lightning.common.schema import Anything, Keys, Mapped, Real, Whole, read_json, short_repr
from glip_lightning.experiments.sweep.run_trial import FAILED_NAME
from glip_lightning.weights.run_files import RECIPE_NAME, RESULT_NAME

_SHOWN = {"metrics": Mapped(Anything(), 10), "seconds": Real(0, 1e9), "steps": Whole(0, 10**12)}
"""Keys of a result that are read here; 1e9 seconds are 30 years."""


class TrialState(NamedTuple):
    """What a trial's folder holds."""

    state: str  # finished, failed, unfinished or new
    result: Mapping[str, Any] | None = None

    @property
    def ap(self) -> float | None:
        """Of the test split, else of valid; None where no box defines it."""
        metrics = (self.result or {}).get("metrics") or {}
        return (metrics.get("test") or metrics.get("val") or {}).get("AP")


def state_of(folder: Path) -> TrialState:
    """Return what has become of the trial whose folder this is: what is neither finished nor failed runs next."""
    if (
        folder / FAILED_NAME
    ).is_file():  # there may be a result, too, of a run that failed in its last evaluation
        return TrialState("failed")
    if (folder / RESULT_NAME).is_file():
        return TrialState("finished", _read_result(folder / RESULT_NAME))
    return TrialState("unfinished" if (folder / RECIPE_NAME).is_file() else "new")


def _read_result(path: Path) -> Mapping[str, Any]:
    """Return what a run has written, as far as the board shows it; an edited file is an error of one line."""
    where = f"{path}: not the result of a run (remove it, and the trial runs again)"
    content = read_json(path, where)
    if not isinstance(content, dict):
        raise GLIPError(f"{where}: {short_repr(content)}, expected a mapping", code="bad-value")
    Keys(_SHOWN).check({key: content[key] for key in _SHOWN if key in content}, where)
    for split, metrics in content["metrics"].items():
        ap = metrics.get("AP") if isinstance(metrics, dict) else metrics
        if ap is not None:
            Real(0, 1).check(ap, where, f"metrics.{split:.60}")
    return content
