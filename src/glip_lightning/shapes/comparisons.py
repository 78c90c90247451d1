"""Comparisons of runs by the parts that their detectors have in the GLIP papers.

A comparison is a weighted sum of mean APs that is positive in the paper (arXiv 2112.03857), which says it of GLIP-T and
DyHead-T on ODinW-13; here a family of small detectors may take their parts. It holds if it is positive with every seed
and its 95 % interval over redrawn test images lies above zero.
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple

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
"""Parts and who takes them, the best one of the paper first: T is the student, C its teacher, A has no fusion, D is
the supervised baseline."""
FAMILIES = ("nano", "tiny")
MANUAL = ("described", "odinw_35")
"""Sets of prompts that say by hand what is meant; all others are plain names."""
FULL, PROMPT, LINEAR = "FullTuning", "PromptTuning", "LinearProbe"


class Term(NamedTuple):
    """One AP of a comparison."""

    weight: float
    part: Part
    shots: Shots
    tuning: str = FULL
    manual: bool = False


class Comparison(NamedTuple):
    label: str  # short, for a chart
    text: str
    stat: Stat | None  # points of AP; None until a seed has all runs of a task
    tasks: tuple[str, ...]  # whose runs are there
    planned: tuple[str, ...]  # whose runs should be
    missing: int  # runs of these that are planned and not there
    paper: float | None  # the same of the paper's means, where it measured all of them
    decides: bool  # False: shown only

    @property
    def holds(self) -> bool | None:
        """None while runs are missing, or without an interval."""
        if self.stat is None or self.stat.interval is None or self.missing:
            return None
        return self.stat.interval[0] > 0 and min(self.stat.values) > 0


class Cast:
    """Which line of a collection takes which part."""

    def __init__(self, view: ReportView) -> None:
        self.view, self.cells = view, view.cells
        known = {line.get("detector") for line in view.lines}
        self._family = max(
            FAMILIES,
            key=lambda family: sum(name.format(family) in known for name in PARTS.values()),
        )

    def name(self, part: Part) -> str:
        return PARTS[part].format(self._family)

    def line(self, part: Part, tuning: str = FULL, manual: bool = False) -> Line | None:
        """The first that is trained so, with weights that are not random and no axis beside the usual ones."""
        for line in self.view.lines:
            settings = dict(line.settings)
            usual = settings.keys() <= {"detector", "weights", "prompts", "split"}
            prompted = (settings.get("prompts") in MANUAL) == manual
            named = (
                settings.get("detector") == self.name(part) and settings.get("weights") != "random"
            )
            if usual and prompted and named and self.view.collection.kind(line) == tuning:
                return line
        return None

    def plans(self, part: Part, shots: Shots, tuning: str = FULL, manual: bool = False) -> bool:
        line = self.line(part, tuning, manual)
        return line is not None and self.cells.planned(line, shots)

    def few(self, *wanted: tuple[Part, str]) -> list[Shots]:
        """The numbers of shots, not all, that the plan has for each of ``wanted``."""
        shots = [k for k in self.cells.shots if isinstance(k, int) and k > 0]
        return [k for k in shots if all(self.plans(part, k, tuning) for part, tuning in wanted)]

    def compare(
        self, label: str, text: str, terms: Sequence[Term], decides: bool = True
    ) -> Comparison:
        """Its terms' mean over the tasks that all of them have, of the seeds that all of these have."""
        lines = [
            (term, line)
            for term in terms
            if (line := self.line(term.part, term.tuning, term.manual))
        ]
        assert len(lines) == len(terms), "only what is planned is compared"
        cells = {
            task: [self.cells.cell(line, t.shots, task) for t, line in lines]
            for task in self.cells.tasks
        }
        planned = tuple(
            task for task, row in cells.items() if all(cell.done or cell.open for cell in row)
        )
        tasks = tuple(task for task in planned if all(cell.done for cell in cells[task]))
        weighted = [
            (t.weight / len(tasks), cell)
            for task in tasks
            for t, cell in zip(terms, cells[task], strict=True)
        ]
        stat = self.cells.contrast(weighted) if tasks else None
        missing = {run.id for task in planned for cell in cells[task] for run in cell.open}
        return Comparison(label, text, stat, tasks, planned, len(missing), in_paper(terms), decides)


def in_paper(terms: Sequence[Term]) -> float | None:
    values = [
        None if t.manual else paper_mean(paper_model(t.part), t.tuning, t.shots) for t in terms
    ]
    known = [value for value in values if value is not None]
    return (
        sum(t.weight * x for t, x in zip(terms, known, strict=True))
        if len(known) == len(terms)
        else None
    )


def paper_model(part: Part) -> str:
    return BASELINE if part == "D" else MODELS[PARTS[part].format("tiny")]


def mean_terms(weight: float, part: Part, shots: Sequence[Shots], tuning: str = FULL) -> list[Term]:
    return [Term(weight / len(shots), part, k, tuning) for k in shots]
