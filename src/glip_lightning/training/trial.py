"""One trial of a sweep in its folder: which sweep, which points of the grid, which recipe.

``trial.json`` is written into the run's folder before the run starts. All that the run writes
(``result.json``, loggers) takes the trial's name and axes from there.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from glip_lightning.common.errors import GLIPError
from glip_lightning.common.escaping import json_text
from glip_lightning.common.files import write_text
from glip_lightning.common.schema import AxisValue, Items, Keys, Mapped, Text, read_json

TRIAL_NAME = "trial.json"

Axes = dict[str, Any]
"""Value of each axis by its name.

For example ``{"task": "Raccoon", "shots": 10, "seed": 3, "tuning": "PromptTuning"}``.
"""

_AXES = Mapped(AxisValue(), 100)  # the longest sweep file that we have has 5
_TRIAL = Keys(
    {
        "sweep": Text(),
        "id": Text(200, shortest=1),
        "axes": _AXES,
        # of a grid: a run without training stands for each seed and tuning
        "points": Items(_AXES, 0, 1_000_000),
    }
)

EVERY = ("task", "shots", "seed", "tuning")
"""Axes that every trial has."""


@dataclass(frozen=True)
class Trial:
    """A run of a sweep.

    Points of the grid that are the same run (0 shots, whatever the seed and tuning) share one.
    """

    sweep: str
    """Name of the sweep."""
    id: str
    """Hash of the complete recipe: 12 hexadecimal digits, also the name of the folder."""
    axes: Axes
    """Of the first point that it stands for."""
    points: tuple[Axes, ...]
    """All points that it stands for."""

    def write(self, folder: Path) -> None:
        """Write ``trial.json`` into the folder of the run."""
        content = json.dumps(asdict(self), indent=2, ensure_ascii=False)
        write_text(folder / TRIAL_NAME, json_text(content))


def read_trial(folder: Path) -> Trial | None:
    """Return the trial that the folder of a run was made for, None for a run outside of sweeps.

    Raises:
        GLIPError: ``trial.json`` is not one of ours (codes of :mod:`glip_lightning.common.schema`,
            ``missing-key``).
    """
    path = folder / TRIAL_NAME
    if not path.is_file():
        return None
    where = f"{path}: not the file of a sweep's trial"
    content = read_json(path, where)
    _TRIAL.check(content, where)
    for axis in EVERY:
        if axis not in content["axes"]:
            raise GLIPError(f"{where}: no 'axes.{axis}'", code="missing-key")
    return Trial(content["sweep"], content["id"], content["axes"], tuple(content["points"]))
