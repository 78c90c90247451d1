"""Comparisons of runs by the parts that their detectors play in the GLIP paper.

A comparison is a weighted sum of mean APs that is positive in the paper (arXiv 2112.03857). The
paper compares GLIP-T and DyHead-T on ODinW-13; here a family of small detectors may play their
parts. A comparison holds if it is positive with every seed and its 95 % interval over redrawn test
images lies above zero.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from glip_lightning.experiments.report.paper_numbers import BASELINE, MODELS, paper_mean
from glip_lightning.experiments.report.runs import Line, Shots
from glip_lightning.experiments.report.statistics import Stat
from glip_lightning.experiments.report.view import ReportView

Part = Literal["A", "B", "C", "T", "D"]

PARTS: dict[Part, str] = {
    "T": "glip-{}",
    "C": "glip-{}-c",
    "B": "glip-{}-b",
    "A": "glip-{}-a",
    "D": "dyhead-{}",
}
"""The detector of each part, the best one of the paper first.

T is the student and C its teacher. B has fusion, A has none. D is the supervised baseline.
"""

FAMILIES = ("nano", "tiny")
MANUAL = ("described", "odinw_35")
"""Sets of prompts that describe the classes by hand; all others are plain names."""

FULL, PROMPT, LINEAR = "FullTuning", "PromptTuning", "LinearProbe"


@dataclass(frozen=True)
class Term:
    """One AP of a comparison, with its weight."""

    weight: float
    part: Part
    shots: Shots
    tuning: str = FULL
    manual: bool = False


@dataclass(frozen=True)
class Comparison:
    """A comparison and its result in the runs that were collected."""

    label: str  # short, for a chart
    text: str
    stat: Stat | None  # points of AP; None until a seed has all runs of a task
    tasks: tuple[str, ...]  # with all their runs
    planned: tuple[str, ...]  # with all their runs, finished or planned
    missing: int  # planned runs that are not finished
    paper: float | None  # the difference of the paper's means, where it measured all of them
    decides: bool  # False: shown only

    @property
    def holds(self) -> bool | None:
        """Whether it holds; None while runs are missing, or without an interval."""
        if self.stat is None or self.stat.interval is None or self.missing:
            return None
        return self.stat.interval[0] > 0 and min(self.stat.values) > 0


class Cast:
    """The lines of a collection that play the parts."""

    def __init__(self, view: ReportView) -> None:
        self.view = view
        self.cells = view.cells
        known = {line.get("detector") for line in view.lines}

        def count_known(family: str) -> int:
            return sum(name.format(family) in known for name in PARTS.values())

        self._family = max(FAMILIES, key=count_known)

    def name(self, part: Part) -> str:
        """Return the name of the detector of a part."""
        return PARTS[part].format(self._family)

    def line(self, part: Part, tuning: str = FULL, manual: bool = False) -> Line | None:
        """Return the first line of a part with this tuning and kind of prompts; None without one.

        Its weights are not random, and it has no axis beside the usual ones.
        """
        for line in self.view.lines:
            settings = dict(line.settings)
            is_part = (
                settings.keys() <= {"detector", "weights", "prompts", "split"}
                and settings.get("detector") == self.name(part)
                and settings.get("weights") != "random"
            )
            is_manual = settings.get("prompts") in MANUAL
            if is_part and is_manual == manual and self.view.collection.kind(line) == tuning:
                return line
        return None

    def plans(self, part: Part, shots: Shots, tuning: str = FULL, manual: bool = False) -> bool:
        """Return whether runs of a part with these shots are planned, finished or not."""
        line = self.line(part, tuning, manual)
        return line is not None and self.cells.planned(line, shots)

    def few(self, *wanted: tuple[Part, str]) -> list[Shots]:
        """Return the numbers of shots, neither 0 nor all, that the plan has for all of ``wanted``.

        Each of ``wanted`` is a part and a tuning.
        """
        shots: list[Shots] = [k for k in self.cells.shots if isinstance(k, int) and k > 0]
        for part, tuning in wanted:
            shots = [k for k in shots if self.plans(part, k, tuning)]
        return shots

    def compare(
        self, label: str, text: str, terms: Sequence[Term], decides: bool = True
    ) -> Comparison:
        """Return the comparison of ``terms``.

        It is their mean over the tasks that all terms have, over the seeds that all of these have.
        Only planned terms can be compared.
        """
        lines = []
        for term in terms:
            line = self.line(term.part, term.tuning, term.manual)
            assert line is not None, "only planned terms are compared"
            lines.append(line)
        planned, tasks, weighted = [], [], []
        missing = set()
        for task in self.cells.tasks:
            row = []
            for term, line in zip(terms, lines, strict=True):
                row.append(self.cells.cell(line, term.shots, task))
            if not all(cell.done or cell.open for cell in row):
                continue
            planned.append(task)
            for cell in row:
                missing.update(run.id for run in cell.open)
            if all(cell.done for cell in row):
                tasks.append(task)
                weighted += zip([term.weight for term in terms], row, strict=True)
        stat = None
        if tasks:
            stat = self.cells.contrast([(weight / len(tasks), cell) for weight, cell in weighted])
        return Comparison(
            label,
            text,
            stat,
            tuple(tasks),
            tuple(planned),
            len(missing),
            in_paper(terms),
            decides,
        )


def in_paper(terms: Sequence[Term]) -> float | None:
    """Return the weighted sum of the paper's means; None if it did not measure all of them."""
    total = 0.0
    for term in terms:
        if term.manual:
            return None
        mean = paper_mean(paper_model(term.part), term.tuning, term.shots)
        if mean is None:
            return None
        total += term.weight * mean
    return total


def paper_model(part: Part) -> str:
    """Return the name of the detector that plays a part in the paper."""
    return BASELINE if part == "D" else MODELS[PARTS[part].format("tiny")]


def mean_terms(weight: float, part: Part, shots: Sequence[Shots], tuning: str = FULL) -> list[Term]:
    """Return the terms of the mean over ``shots``."""
    return [Term(weight / len(shots), part, k, tuning) for k in shots]
