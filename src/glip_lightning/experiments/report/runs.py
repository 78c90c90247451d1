"""The runs of a report, the points that they stand for, and the lines that are compared."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from glip_lightning.experiments.report.paper_numbers import ORDER

State = Literal["finished", "failed", "missing", "repeated"]
Shots = int | str
"""Number of shots, or ``all``."""
LARGEST = 1e18
"""No number of a result is larger."""

SETTINGS = {"model.detector": "detector", "model.weights": "weights", "data.prompts": "prompts"}
"""Keys of a recipe that are settings of every line, and their names."""
MEASURED = (*SETTINGS.values(), "split")
"""Settings of every line, in their order."""
PRETTY = {
    "FullTuning": "full",
    "LinearProbe": "linear",
    "PromptTuning": "prompt",
    "LanguageTuning": "language",
    "PartialTuning": "partial",
    "LoRATuning": "LoRA",
}
"""Short names of tunings."""


@dataclass(frozen=True, slots=True)
class Line:
    """What is compared: a tuning with all settings that must agree within a mean."""

    tuning: str
    """Label of the sweep, or name of the class."""
    settings: tuple[tuple[str, str], ...]
    """Detector, weights, prompts, the split that was measured, and further axes."""

    def get(self, name: str) -> str | None:
        """Return a setting; None where the line has none of this name."""
        return dict(self.settings).get(name)


@dataclass(frozen=True, slots=True)
class Point:
    """A task, line, number of shots and seed that a run was made for."""

    task: str
    line: Line
    shots: Shots
    seed: Any


@dataclass(frozen=True)
class Run:
    """A trial of a sweep or a run of its own."""

    id: str
    folder: Path
    state: State
    points: tuple[Point, ...]
    recipe: Mapping[str, Any]
    result: Mapping[str, Any] = field(default_factory=dict)
    """Content of ``result.json``; empty where the run is not finished."""
    error: str = ""
    """Why there is no result."""

    @property
    def metrics(self) -> Mapping[str, Any]:
        """Metrics of the test split, of the validation split where there is no test split."""
        for split in ("test", "val"):
            found = mapping_at(mapping_at(self.result, "metrics"), split)
            if found:
                return found
        return {}

    @property
    def ap(self) -> float | None:
        """AP from 0 to 1; None where the run is not finished or no box was there to be found."""
        return number(self.metrics.get("AP")) if self.state == "finished" else None

    @property
    def kind(self) -> str | None:
        """Class name of the tuning; None where nothing is tuned."""
        tuning = value_at(self.recipe, "model.tuning")
        return str(tuning["class_path"]).split(".")[-1] if isinstance(tuning, Mapping) else None

    @property
    def seeds(self) -> str:
        """Seeds of all its points, empty where it has none."""
        known = [str(point.seed) for point in self.points if point.seed is not None]
        return "/".join(dict.fromkeys(known))

    @property
    def log(self) -> Path | None:
        """The log of a trial; None where there is none."""
        path = self.folder / "trial.log"
        return path if path.is_file() else None


@dataclass(frozen=True)
class Collection:
    """The runs of a sweep or of a folder."""

    name: str
    folder: Path
    axes: dict[str, list[Any]]
    """Labels of each axis of a sweep; empty for a folder of runs."""
    runs: list[Run]
    left_out: int = 0
    """Number of trials that ``--only`` left out of the sweep; they are not among the runs."""
    commands: tuple[str, ...] = ()
    """The last command of each sweep; none of version 0.1, nor of a folder of runs."""

    @property
    def points(self) -> list[tuple[Point, Run]]:
        """Each point with its run; repeated runs count for none."""
        found = []
        for run in self.runs:
            if run.state != "repeated":
                found += [(point, run) for point in run.points]
        return found

    @property
    def tasks(self) -> list[str]:
        """Tasks of ODinW-13 in the order of the paper, then the others in the order of the runs."""
        found = dict.fromkeys(point.task for point, _ in self.points)
        official = [task for task in ORDER if task in found]
        return [*official, *(task for task in found if task not in ORDER)]

    @property
    def shots(self) -> list[Shots]:
        """Numbers of shots in order, ``all`` last."""
        return sorted({point.shots for point, _ in self.points}, key=_shots_order)

    @property
    def lines(self) -> list[Line]:
        """What is compared, in the order of the runs."""
        return list(dict.fromkeys(point.line for point, _ in self.points))

    def kind(self, line: Line) -> str:
        """Return the class of a line's tuning; its label where only zero-shot runs are known."""
        for point, run in self.points:
            if point.line == line and run.kind:
                return run.kind
        return line.tuning


def _shots_order(shots: Shots) -> tuple[bool, Shots]:
    return isinstance(shots, str), shots


def value_at(recipe: Any, key: str) -> Any:
    """Return the value at a dotted key of a recipe; None where there is none."""
    for part in key.split("."):
        recipe = recipe.get(part) if isinstance(recipe, Mapping) else None
    return recipe


def number(value: Any) -> float | None:
    """Return a number that can be one of a result; None for all else."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if -LARGEST < value < LARGEST else None


def percent(value: Any) -> float | None:
    """Return an AP from 0 to 1 in percent; None for all else."""
    found = number(value)
    return 100 * found if found is not None and 0 <= found <= 1 else None


def mapping_at(content: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """Return the mapping under ``key``; an empty one where there is none."""
    found = content.get(key)
    return found if isinstance(found, Mapping) else {}


def trainable(run: Run) -> float | None:
    """Return the number of parameters that were trained; 0 where nothing was."""
    groups = run.result.get("groups")
    if not isinstance(groups, Iterable):
        return None
    counts = [number(group.get("parameters")) for group in groups if isinstance(group, Mapping)]
    return sum(count for count in counts if count is not None)


NO_VALUE = "-"
"""Setting of a line whose recipe does not have the key."""


def setting_names(lines: Sequence[Line]) -> list[str]:
    """Return the names of all settings of lines, each once."""
    found: dict[str, str] = {}
    for line in lines:
        found |= dict(line.settings)
    return list(found)
