"""The words of a report: runs, the points that they stand for, and the lines that are compared."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

from glip_lightning.experiments.report.paper_numbers import ORDER

State = Literal["finished", "failed", "missing", "repeated"]
Shots = int | str
LARGEST = 1e18

SETTINGS = {"model.detector": "detector", "model.weights": "weights", "data.prompts": "prompts"}
PRETTY = {
    "FullTuning": "full",
    "LinearProbe": "linear",
    "PromptTuning": "prompt",
    "LanguageTuning": "language",
    "PartialTuning": "partial",
    "LoRATuning": "LoRA",
}


class Line(NamedTuple):
    """What is compared: a tuning and what else must agree. ``split`` is the one that was measured."""

    tuning: str  # as the sweep names it, or its class
    settings: tuple[tuple[str, str], ...]  # detector, weights, prompts, split, further axes

    def get(self, name: str) -> str | None:
        return dict(self.settings).get(name)


class Point(NamedTuple):
    task: str
    line: Line
    shots: Shots
    seed: Any


@dataclass(frozen=True)
class Run:
    """A trial of a sweep or a run of its own; ``result`` is its ``result.json`` if it finished."""

    id: str
    folder: Path
    state: State
    points: tuple[Point, ...]
    recipe: Mapping[str, Any]
    result: Mapping[str, Any] | None = None
    error: str = ""  # why there is no result

    @property
    def metrics(self) -> Mapping[str, Any]:
        """Those of the test split, of the validation split where there is no other."""
        metrics = (self.result or {}).get("metrics") or {}
        return metrics.get("test") or metrics.get("val") or {}

    @property
    def ap(self) -> float | None:
        """From 0 to 1; None if nothing is finished or no box was there to be found."""
        return number(self.metrics.get("AP")) if self.state == "finished" else None

    @property
    def kind(self) -> str | None:
        """Class name of the tuning; None where nothing is tuned."""
        tuning = get(self.recipe, "model.tuning")
        return str(tuning["class_path"]).split(".")[-1] if isinstance(tuning, Mapping) else None

    @property
    def seeds(self) -> str:
        """Those of all its points, empty if it has none."""
        return "/".join(
            dict.fromkeys(str(point.seed) for point in self.points if point.seed is not None)
        )

    @property
    def log(self) -> Path | None:
        return next((path for path in (self.folder / "trial.log",) if path.is_file()), None)


class Collection(NamedTuple):
    name: str
    folder: Path
    axes: dict[str, list[Any]]  # of a sweep; empty otherwise
    runs: list[Run]

    @property
    def points(self) -> list[tuple[Point, Run]]:
        return [
            (point, run) for run in self.runs if run.state != "repeated" for point in run.points
        ]

    @property
    def tasks(self) -> list[str]:
        """Those of ODinW-13 in the order of the paper, then the others as they come."""
        found = list(dict.fromkeys(point.task for point, _ in self.points))
        return [
            *(task for task in ORDER if task in found),
            *(task for task in found if task not in ORDER),
        ]

    @property
    def shots(self) -> list[Shots]:
        """Numbers in order, ``all`` last."""
        return sorted({p.shots for p, _ in self.points}, key=lambda k: (isinstance(k, str), k))

    @property
    def lines(self) -> list[Line]:
        return list(dict.fromkeys(point.line for point, _ in self.points))

    def kind(self, line: Line) -> str:
        """Class name of the line's tuning; its label where only zero-shot runs are known."""
        kinds = (run.kind for point, run in self.points if point.line == line and run.kind)
        return next(kinds, line.tuning)

    def names(self) -> dict[Line, str]:
        """Each line's tuning, and those of its settings in which lines differ."""
        lines = self.lines
        keys = dict.fromkeys(key for line in lines for key, _ in line.settings)
        varied = [key for key in keys if len({line.get(key) for line in lines}) > 1]
        return {line: _name(line, varied) for line in lines}


def _name(line: Line, varied: Sequence[str]) -> str:
    parts = [PRETTY.get(line.tuning, line.tuning)]
    for key in varied:
        value = line.get(key)
        if value is not None:
            short = key.removeprefix("init_args.").split(".")[-1]
            parts.append(value if key in (*SETTINGS.values(), "split") else f"{short} {value}")
    return ", ".join(parts)


def get(recipe: Any, key: str) -> Any:
    for part in key.split("."):
        recipe = recipe.get(part) if isinstance(recipe, Mapping) else None
    return recipe


def number(value: Any) -> float | None:
    """A number that can be one of a result, None for all else."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if -LARGEST < value < LARGEST else None


def percent(value: Any) -> float | None:
    """An AP from 0 to 1 in percent, None for all else."""
    found = number(value)
    return 100 * found if found is not None and 0 <= found <= 1 else None


def part(content: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """The mapping under ``key``, an empty one if there is none."""
    found = content.get(key)
    return found if isinstance(found, Mapping) else {}


def trainable(run: Run) -> float | None:
    """Parameters that were trained; 0 where nothing was."""
    groups = (run.result or {}).get("groups")
    if not isinstance(groups, Iterable):
        return None
    counts = [number(group.get("parameters")) for group in groups if isinstance(group, Mapping)]
    return sum(count for count in counts if count is not None)
