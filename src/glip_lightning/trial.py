"""One trial of a sweep, as its folder knows it: which sweep, which point of the grid, which recipe.

``trial.json`` is written into the run's folder before the run starts; whatever the run writes (``result.json``,
loggers) takes the trial's name and axes from there.
"""

import json
from pathlib import Path
from typing import Any, NamedTuple

from .files import write_text

TRIAL_NAME = "trial.json"

Axes = dict[str, Any]
"""Value of each axis by its name: ``{"task": "Raccoon", "shots": 10, "seed": 3, "tuning": "PromptTuning"}``."""


class Trial(NamedTuple):
    """A run of a sweep. Points of the grid that are the same run (0 shots of any seed and tuning) share one."""

    sweep: str  # name of the sweep
    id: str  # hash of the resolved recipe: 12 hexadecimal digits, also the name of the folder
    axes: Axes  # of the first point that it stands for
    points: tuple[Axes, ...]  # all points that it stands for

    def write(self, folder: Path) -> None:
        write_text(folder / TRIAL_NAME, json.dumps(self._asdict(), indent=2, ensure_ascii=False))


def read_trial(folder: Path) -> Trial | None:
    """The trial that ``folder`` was made for; None if a run of its own."""
    path = folder / TRIAL_NAME
    if not path.is_file():
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return Trial(content["sweep"], content["id"], content["axes"], tuple(content["points"]))
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path}: not the file of a sweep's trial ({error!r}); remove it") from error
