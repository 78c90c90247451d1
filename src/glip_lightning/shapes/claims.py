"""The claims of the GLIP paper, and by a rule whether they appear in the runs that were collected.

The paper's shape is compared, never its values. A claim appears if all comparisons that decide hold
(:mod:`.comparisons`), and does not if one does not hold; while runs are missing it is open.
"""

import itertools
from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

from glip_lightning.experiments.report.number_formats import MISSING, of_shots
from glip_lightning.experiments.report.paper_numbers import paper_mean
from glip_lightning.experiments.report.runs import Line, Shots
from glip_lightning.experiments.report.statistics import Group
from glip_lightning.experiments.report.view import ReportView
from glip_lightning.shapes.comparisons import (
    FULL,
    LINEAR,
    PARTS,
    PROMPT,
    Cast,
    Comparison,
    Part,
    Term,
    in_paper,
    mean_terms,
    paper_model,
)

FEW = (1, 3, 5, 10)
"""The few shots of the paper."""

FUSED: tuple[Part, ...] = ("T", "C", "B")
CAPTIONED: tuple[Part, ...] = ("T", "C")

Verdict = Literal["appears", "does not appear", "not enough runs"]


class Claim(NamedTuple):
    name: str  # of its section
    title: str
    paper: str  # what the paper shows
    comparisons: list[Comparison]
    lines: list[Line]  # worth a curve

    @property
    def deciding(self) -> list[Comparison]:
        return [each for each in self.comparisons if each.decides]

    @property
    def verdict(self) -> Verdict:
        """All deciding comparisons must hold; one that does not hold is enough against it."""
        held = [each.holds for each in self.deciding]
        if False in held:
            return "does not appear"
        return "appears" if held and None not in held else "not enough runs"

    @property
    def group(self) -> Group:
        """The tasks that all its comparisons are about."""
        tasks = self.comparisons[0].planned
        common = tuple(
            task for task in tasks if all(task in each.planned for each in self.comparisons)
        )
        return Group(f"mean of {len(common)} tasks", f"{len(common)} tasks", common)


def _printed(part: Part, shots: Sequence[Shots], tuning: str = FULL) -> str:
    """The paper's means with one decimal: 33.8, 43.6."""
    return ", ".join(_one(paper_mean(paper_model(part), tuning, k)) for k in shots)


def _one(value: float | None) -> str:
    return MISSING if value is None else f"{value:.1f}"


def transfer(cast: Cast) -> Claim | None:
    """Zero-shot against the supervised baseline with few images; with manual prompts, too, which do not decide."""
    part: Part = "T" if cast.plans("T", 0) else "C"
    shots = [k for k in cast.cells.shots if k != 0 and cast.plans("D", k)]
    if not cast.plans(part, 0) or not shots:
        return None
    found = []
    for manual in (False, True) if cast.plans(part, 0, manual=True) else (False,):
        for k in shots:
            terms = [Term(1, part, 0, manual=manual), Term(-1, "D", k)]
            said = " and manual prompts" if manual else ""
            text = f"{cast.name(part)} with 0 shots{said} minus {cast.name('D')} with {of_shots(k)}"
            label = of_shots(k) + (", manual" if manual else "")
            found.append(
                cast.compare(label, text, terms, decides=not manual and (in_paper(terms) or 0) > 0)
            )
    paper = (
        f"{paper_model(part)} without one training image reaches {_printed(part, [0])} AP on ODinW-13, the supervised "
        f"DyHead-T (Objects365), all of it trained, {_printed('D', FEW)} with 1, 3, 5, 10 images per class. The "
        "shots at which zero-shot lies above the baseline in the paper, with plain names, decide."
    )
    return Claim(
        "transfer",
        "Zero-shot transfer against few-shot supervision",
        paper,
        found,
        _lines(cast, part, "D"),
    )


def data_efficiency(cast: Cast) -> Claim | None:
    """The order of the curves, each against the next one."""
    parts = [part for part in PARTS if cast.few((part, FULL))]
    found = []
    for one, other in itertools.pairwise(parts):
        if shots := cast.few((one, FULL), (other, FULL)):
            terms = mean_terms(1, one, shots) + mean_terms(-1, other, shots)
            text = (
                f"{cast.name(one)} minus {cast.name(other)}, full tuning, mean over {_said(shots)}"
            )
            found.append(cast.compare(f"{_role(one)} over {_role(other)}", text, terms))
    if len(found) < 2:
        return None
    means = "; ".join(f"{paper_model(part)} {_printed(part, (*FEW, 'all'))}" for part in PARTS)
    paper = (
        f"With 1, 3, 5, 10 and all images: {means}. More and richer pre-training data lift the curve where images are "
        "few, in the order T, C, B, A, baseline; with all images the curves come close. Means over few shots decide."
    )
    return Claim("efficiency", "Data efficiency", paper, found, _lines(cast, *parts))


def prompt_tuning(cast: Cast) -> Claim | None:
    """What a tuned prompt loses against full tuning, with fusion and without."""

    def has(part: Part, tuning: str = FULL) -> list[Shots]:
        plans = (k for k in cast.cells.shots if k != 0 and cast.plans(part, k, PROMPT))
        return [k for k in plans if cast.plans(part, k, tuning)]

    fused: list[Part] = [part for part in FUSED if set(has(part)) & set(has("A"))]
    if not fused:
        return None
    found = []
    compared: list[Part] = [*fused, "A"]
    for part in compared:
        text = f"prompt minus full tuning, {cast.name(part)}, mean over {_said(has(part))}"
        found.append(
            cast.compare(f"{part}: prompt, full", text, _gap(1, part, has(part)), decides=False)
        )
    for part in fused:
        shots = [k for k in has(part) if k in has("A")]
        text = f"prompt minus full tuning of {cast.name(part)} minus that of {cast.name('A')}, mean over {_said(shots)}"
        found.append(
            cast.compare(f"{part}: gap, A's gap", text, _gap(1, part, shots) + _gap(-1, "A", shots))
        )
        if linear := has(part, LINEAR):
            text = f"prompt tuning minus linear probe, {cast.name(part)}, mean over {_said(linear)}"
            terms = mean_terms(1, part, linear, PROMPT) + mean_terms(-1, part, linear, LINEAR)
            found.append(cast.compare(f"{part}: prompt, linear", text, terms))
    return Claim("prompt", "Prompt tuning with and without fusion", _prompt_paper(), found, [])


def _gap(weight: float, part: Part, shots: Sequence[Shots]) -> list[Term]:
    return mean_terms(weight, part, shots, PROMPT) + mean_terms(-weight, part, shots)


def _prompt_paper() -> str:
    gaps = [(part, in_paper(_gap(-1, part, (*FEW, "all")))) for part in PARTS if part != "D"]
    said = ", ".join(f"{paper_model(part)} {_one(gap)}" for part, gap in gaps)
    return (
        f"Full tuning minus prompt tuning, mean over 1, 3, 5, 10 and all images: {said} points. With fusion a tuned "
        "prompt stays near full tuning and above the linear probe; without fusion, GLIP-T(A), it falls far behind."
    )


def manual_prompts(cast: Cast) -> Claim | None:
    """Zero-shot with plain names and with descriptions by hand."""
    found = []
    for part in PARTS:
        if cast.plans(part, 0) and cast.plans(part, 0, manual=True):
            terms = [Term(1, part, 0, manual=True), Term(-1, part, 0)]
            text = f"manual prompts minus plain names, {cast.name(part)} with 0 shots"
            found.append(cast.compare(_role(part), text, terms, decides=part in CAPTIONED))
    paper = (
        "Describing an unknown thing in known words, without any training, raises zero-shot AP: the stingray of "
        "Aquarium as flat and round, the penguin as black and white. The paper gives examples, no mean over tasks. "
        "Detectors that have read captions decide; A and B have read names of boxes only."
    )
    return Claim("manual", "Manual prompts", paper, found, []) if found else None


def teacher_student(cast: Cast) -> Claim | None:
    """C labels captions, T learns from them, too."""
    if not (cast.plans("T", 0) and cast.plans("C", 0)):
        return None
    name = f"{cast.name('T')} minus {cast.name('C')}"
    found = [cast.compare("0 shots", f"{name} with 0 shots", [Term(1, "T", 0), Term(-1, "C", 0)])]
    if shots := cast.few(("T", FULL), ("C", FULL)):
        text = f"{name}, full tuning, mean over {_said(shots)}"
        found.append(
            cast.compare("few shots", text, mean_terms(1, "T", shots) + mean_terms(-1, "C", shots))
        )
    paper = (
        f"The student (GLIP-T, which also learned from captions that its teacher labelled) exceeds the teacher "
        f"(GLIP-T(C)): {_printed('T', [0])} against {_printed('C', [0])} with 0 shots, {_printed('T', FEW)} "
        f"against {_printed('C', FEW)} with 1, 3, 5, 10."
    )
    return Claim("student", "Teacher and student", paper, found, _lines(cast, "T", "C"))


CLAIMS: Sequence[Callable[[Cast], Claim | None]] = (
    *(transfer, data_efficiency, prompt_tuning),
    *(manual_prompts, teacher_student),
)


def claims_of(view: ReportView) -> list[Claim]:
    """Those whose runs are planned, finished or not, for one task at least."""
    cast = Cast(view)
    made = [claim for make in CLAIMS if (claim := make(cast))]
    known = [
        claim._replace(comparisons=[each for each in claim.comparisons if each.planned])
        for claim in made
    ]
    return [claim for claim in known if claim.comparisons]


def _lines(cast: Cast, *parts: Part) -> list[Line]:
    return [line for part in parts if (line := cast.line(part))]


def _role(part: Part) -> str:
    return "baseline" if part == "D" else part


def _said(shots: Sequence[Shots]) -> str:
    return f"{', '.join(map(str, shots))} shots" if list(shots) != [1] else "1 shot"
