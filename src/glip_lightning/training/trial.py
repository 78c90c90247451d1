"""One trial of a sweep, as its folder knows it: which sweep, which point of the grid, which recipe.

``trial.json`` is written into the run's folder before the run starts; whatever the run writes (``result.json``,
loggers) takes the trial's name and axes from there.
"""

import json
from pathlib import Path
from typing import Any, NamedTuple

from glip_lightning.common.errors import GLIPError
from glip_lightning.common.escaping import json_text
from glip_lightning.common.files import write_text
from glip_lightning.common.schema import AxisValue, Items, Keys, Mapped, Text, read_json

TRIAL_NAME = "trial.json"

Axes = dict[str, Any]
"""Value of each axis by its name: ``{"task": "Raccoon", "shots": 10, "seed": 3, "tuning": "PromptTuning"}``."""


_AXES = Mapped(AxisValue(), 100)  # the longest sweep file that we have has 5
_TRIAL = Keys(
    {
        "sweep": Text(),
        "id": Text(200, shortest=1),
        "axes": _AXES,
        "points": Items(
            _AXES, 0, 1_000_000
        ),  # of a grid; a run of no training stands for each seed and tuning
    }
)


EVERY = ("task", "shots", "seed", "tuning")
"""Axes that every trial has."""


class Trial(NamedTuple):
    """A run of a sweep. Points of the grid that are the same run (0 shots of any seed and tuning) share one."""

    sweep: str  # name of the sweep
    id: str  # hash of the resolved recipe: 12 hexadecimal digits, also the name of the folder
    axes: Axes  # of the first point that it stands for
    points: tuple[Axes, ...]  # all points that it stands for

    def write(self, folder: Path) -> None:
        write_text(
            folder / TRIAL_NAME, json_text(json.dumps(self._asdict(), indent=2, ensure_ascii=False))
        )


def read_trial(folder: Path) -> Trial | None:
    """The trial that ``folder`` was made for; None if a run of its own."""
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
