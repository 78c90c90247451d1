"""The numbers of the GLIP paper (Tables 14 to 16, ODinW-13) and the names of its tasks.

``glip_paper_odinw13.csv`` holds every cell. The averages that the paper prints hold small errors:
averages here are computed from the cells.
"""

import csv
import functools
from pathlib import Path

TABLE = Path(__file__).parent / "glip_paper_odinw13.csv"

COLUMNS = {
    "PascalVOC": "PascalVOC",
    "AerialDrone": "AerialMaritimeDrone",
    "Aquarium": "Aquarium",
    "Rabbits": "CottontailRabbits",
    "EgoHands": "EgoHands",
    "Mushrooms": "NorthAmericaMushrooms",
    "Packages": "Packages",
    "Raccoon": "Raccoon",
    "Shellfish": "ShellfishOpenImages",
    "Vehicles": "VehiclesOpenImages",
    "Pistols": "pistols",
    "Pothole": "pothole",
    "Thermal": "thermalDogsAndPeople",
}
"""Columns of the paper -> short names of the tasks."""

ORDER = tuple(COLUMNS.values())
SHORT = {task: column for column, task in COLUMNS.items()}
"""Names that fit above a column of a table."""

LARGE = (
    "PascalVOC",
    "EgoHands",
    "pistols",
    "VehiclesOpenImages",
    "pothole",
    "Aquarium",
    "ShellfishOpenImages",
)
"""The tasks with at least 58 test images (3,422 to 58).

The six others have 3 to 20, so that one image moves their AP.
"""

MODELS = {
    "glip-tiny-a": "GLIP-T(A)",
    "glip-tiny-b": "GLIP-T(B)",
    "glip-tiny-c": "GLIP-T(C)",
    "glip-tiny": "GLIP-T",
    "glip-large": "GLIP-L",
}
BASELINE = "DyHead-T O365"
"""The supervised detector of the paper's comparison that was pre-trained on Objects365."""

TUNINGS = {"FullTuning": "full", "LinearProbe": "linear", "PromptTuning": "prompt"}
_BY_NAME = {name.lower(): task for column, task in COLUMNS.items() for name in (column, task)}


def official_task(label: str) -> str | None:
    """Return the short name of the ODinW-13 task of a short or official name in any case.

    None for other tasks.
    """
    from glip_lightning.data.benchmarks.odinw import odinw_task

    if label.lower() in _BY_NAME:
        return _BY_NAME[label.lower()]
    try:
        task = odinw_task(label)
    except ValueError:
        return None
    return task.short if task.in_odinw13 else None


@functools.cache
def _cells() -> dict[tuple[str, str, str], dict[str, float]]:
    """Return AP in percent by task, by (model, shots, tuning)."""
    cells = {}
    with TABLE.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            aps = {task: float(row[column]) for column, task in COLUMNS.items()}
            cells[row["model"], row["shot"], row["tune"]] = aps
    return cells


def _cells_of(model: str, kind: str, shots: int | str) -> dict[str, float]:
    """Return AP in percent by task of a model of the paper; empty where the paper has none."""
    tuning = "zero" if shots == 0 else TUNINGS.get(kind, "")
    return _cells().get((model, str(shots), tuning), {})


def paper_mean(model: str, kind: str, shots: int | str) -> float | None:
    """Return the mean AP in percent over the thirteen tasks of a model as the paper calls it.

    ``kind`` is the class of a tuning. None if the paper did not measure it.
    """
    cells = _cells_of(model, kind, shots)
    return sum(cells.values()) / len(cells) if cells else None


def paper_cells(detector: str | None, kind: str, shots: int | str) -> dict[str, float]:
    """Return the paper's AP in percent by task for a detector, the class of a tuning and shots.

    Empty where the paper has no numbers.
    """
    return _cells_of(MODELS.get(detector or "", ""), kind, shots)
