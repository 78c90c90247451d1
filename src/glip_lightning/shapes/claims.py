"""The claims of the GLIP paper, and whether they appear in the runs that were collected.

The order of the results is compared with the paper, never their values. A claim appears if all
comparisons that decide hold (:mod:`.comparisons`). It does not appear if one does not hold. While
runs are missing it is open.
"""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from glip_lightning.common.plurals import count_with_noun
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


@dataclass(frozen=True)
class Claim:
    """A claim of the paper with its comparisons."""

    name: str  # of its section
    title: str
    paper: str  # what the paper shows
    comparisons: list[Comparison]
    lines: list[Line]  # worth a curve

    @property
    def deciding(self) -> list[Comparison]:
        """The comparisons that decide about it."""
        return [each for each in self.comparisons if each.decides]

    @property
    def verdict(self) -> Verdict:
        """Whether it appears: all deciding comparisons must hold, and one can refute it."""
        held = [each.holds for each in self.deciding]
        if False in held:
            return "does not appear"
        if not held or None in held:
            return "not enough runs"
        return "appears"

    @property
    def group(self) -> Group:
        """The tasks that all its comparisons are about."""
        common = self.comparisons[0].planned
        for each in self.comparisons:
            common = tuple(task for task in common if task in each.planned)
        tasks = count_with_noun(len(common), "task")
        return Group(f"mean of {tasks}", tasks, common)


def _paper_means(part: Part, shots: Sequence[Shots]) -> str:
    """Return the paper's means of full tuning, with one decimal: 33.8, 43.6."""
    return ", ".join(_one_decimal(paper_mean(paper_model(part), FULL, k)) for k in shots)


def _one_decimal(value: float | None) -> str:
    return MISSING if value is None else f"{value:.1f}"


def transfer(cast: Cast) -> Claim | None:
    """Return the claim that zero-shot transfer reaches the supervised baseline with few images.

    Comparisons with manual prompts are shown and do not decide.
    """
    part: Part = "T" if cast.plans("T", 0) else "C"
    shots = [k for k in cast.cells.shots if k != 0 and cast.plans("D", k)]
    if not cast.plans(part, 0) or not shots:
        return None
    zero_shot, baseline = cast.name(part), cast.name("D")
    found = []
    for k in shots:
        terms = [Term(1, part, 0), Term(-1, "D", k)]
        text = f"{zero_shot} with 0 shots minus {baseline} with {of_shots(k)}"
        difference = in_paper(terms)
        decides = difference is not None and difference > 0
        found.append(cast.compare(of_shots(k), text, terms, decides))
    if cast.plans(part, 0, manual=True):
        for k in shots:
            terms = [Term(1, part, 0, manual=True), Term(-1, "D", k)]
            text = (
                f"{zero_shot} with 0 shots and manual prompts minus {baseline} with {of_shots(k)}"
            )
            found.append(cast.compare(f"{of_shots(k)}, manual", text, terms, decides=False))
    paper = (
        f"{paper_model(part)} reaches {_paper_means(part, [0])} AP on ODinW-13 without a training "
        "image. The supervised DyHead-T (Objects365), with full tuning, reaches "
        f"{_paper_means('D', FEW)} with 1, 3, 5, 10 images per class. The shots decide at which "
        "zero-shot with plain names lies above the baseline in the paper."
    )
    title = "Zero-shot transfer against few-shot supervision"
    return Claim("transfer", title, paper, found, _lines(cast, part, "D"))


def data_efficiency(cast: Cast) -> Claim | None:
    """Return the claim about the order of the curves: each is compared with the next one."""
    parts = [part for part in PARTS if cast.few((part, FULL))]
    found = []
    for one, other in itertools.pairwise(parts):
        shots = cast.few((one, FULL), (other, FULL))
        if not shots:
            continue
        terms = mean_terms(1, one, shots) + mean_terms(-1, other, shots)
        names = f"{cast.name(one)} minus {cast.name(other)}"
        text = f"{names}, full tuning, mean over {_list_of_shots(shots)}"
        found.append(cast.compare(f"{_role(one)} over {_role(other)}", text, terms))
    if len(found) < 2:
        return None
    means = "; ".join(f"{paper_model(part)} {_paper_means(part, (*FEW, 'all'))}" for part in PARTS)
    paper = (
        f"With 1, 3, 5, 10 and all images: {means}. More and richer pre-training data raise the "
        "curve where images are few, in the order T, C, B, A, baseline. With all images the curves "
        "come close. Means over few shots decide."
    )
    return Claim("efficiency", "Data efficiency", paper, found, _lines(cast, *parts))


def prompt_tuning(cast: Cast) -> Claim | None:
    """Return the claim about prompt tuning, which loses little against full tuning with fusion."""

    def has(part: Part, tuning: str = FULL) -> list[Shots]:
        prompted = [k for k in cast.cells.shots if k != 0 and cast.plans(part, k, PROMPT)]
        return [k for k in prompted if cast.plans(part, k, tuning)]

    fused: list[Part] = [part for part in FUSED if set(has(part)) & set(has("A"))]
    if not fused:
        return None
    found = []
    compared: list[Part] = [*fused, "A"]
    for part in compared:
        shots = has(part)
        text = f"prompt minus full tuning, {cast.name(part)}, mean over {_list_of_shots(shots)}"
        terms = _gap(1, part, shots)
        found.append(cast.compare(f"{part}: prompt, full", text, terms, decides=False))
    for part in fused:
        shots = [k for k in has(part) if k in has("A")]
        text = f"prompt minus full tuning of {cast.name(part)} minus that of {cast.name('A')}, "
        text += f"mean over {_list_of_shots(shots)}"
        terms = _gap(1, part, shots) + _gap(-1, "A", shots)
        found.append(cast.compare(f"{part}: gap, A's gap", text, terms))
        linear = has(part, LINEAR)
        if linear:
            text = f"prompt tuning minus linear probe, {cast.name(part)}, "
            text += f"mean over {_list_of_shots(linear)}"
            terms = mean_terms(1, part, linear, PROMPT) + mean_terms(-1, part, linear, LINEAR)
            found.append(cast.compare(f"{part}: prompt, linear", text, terms))
    gaps = []
    for part in PARTS:
        if part != "D":
            gap = in_paper(_gap(-1, part, (*FEW, "all")))
            gaps.append(f"{paper_model(part)} {_one_decimal(gap)}")
    paper = (
        "Full tuning minus prompt tuning, mean over 1, 3, 5, 10 and all images: "
        f"{', '.join(gaps)} points. With fusion a tuned prompt stays near full tuning and above "
        "the linear probe. Without fusion, GLIP-T(A), it falls far behind."
    )
    return Claim("prompt", "Prompt tuning with and without fusion", paper, found, [])


def _gap(weight: float, part: Part, shots: Sequence[Shots]) -> list[Term]:
    """Return the terms of prompt tuning minus full tuning."""
    return mean_terms(weight, part, shots, PROMPT) + mean_terms(-weight, part, shots)


def manual_prompts(cast: Cast) -> Claim | None:
    """Return the claim that descriptions by hand raise zero-shot AP over plain names."""
    found = []
    for part in PARTS:
        if cast.plans(part, 0) and cast.plans(part, 0, manual=True):
            terms = [Term(1, part, 0, manual=True), Term(-1, part, 0)]
            text = f"manual prompts minus plain names, {cast.name(part)} with 0 shots"
            found.append(cast.compare(_role(part), text, terms, decides=part in CAPTIONED))
    if not found:
        return None
    paper = (
        "A description of an unknown thing in known words, without any training, raises zero-shot "
        "AP: the stingray of Aquarium as flat and round, the penguin as black and white. The paper "
        "gives examples, no mean over tasks. Detectors that have read captions decide; A and B "
        "have read names of boxes only."
    )
    return Claim("manual", "Manual prompts", paper, found, [])


def teacher_student(cast: Cast) -> Claim | None:
    """Return the claim that the student T exceeds its teacher C, which labelled captions for it."""
    if not (cast.plans("T", 0) and cast.plans("C", 0)):
        return None
    name = f"{cast.name('T')} minus {cast.name('C')}"
    found = [cast.compare("0 shots", f"{name} with 0 shots", [Term(1, "T", 0), Term(-1, "C", 0)])]
    shots = cast.few(("T", FULL), ("C", FULL))
    if shots:
        text = f"{name}, full tuning, mean over {_list_of_shots(shots)}"
        terms = mean_terms(1, "T", shots) + mean_terms(-1, "C", shots)
        found.append(cast.compare("few shots", text, terms))
    paper = (
        "The student (GLIP-T, which also learned from captions that its teacher labelled) exceeds "
        f"the teacher (GLIP-T(C)): {_paper_means('T', [0])} against {_paper_means('C', [0])} with "
        f"0 shots, {_paper_means('T', FEW)} against {_paper_means('C', FEW)} with 1, 3, 5, 10."
    )
    return Claim("student", "Teacher and student", paper, found, _lines(cast, "T", "C"))


CLAIMS: Sequence[Callable[[Cast], Claim | None]] = (
    transfer,
    data_efficiency,
    prompt_tuning,
    manual_prompts,
    teacher_student,
)


def claims_of(view: ReportView) -> list[Claim]:
    """Return the claims whose runs are planned, finished or not, for at least one task."""
    cast = Cast(view)
    found = []
    for make_claim in CLAIMS:
        claim = make_claim(cast)
        if claim is None:
            continue
        planned = [each for each in claim.comparisons if each.planned]
        if planned:
            found.append(replace(claim, comparisons=planned))
    return found


def _lines(cast: Cast, *parts: Part) -> list[Line]:
    lines = [cast.line(part) for part in parts]
    return [line for line in lines if line is not None]


def _role(part: Part) -> str:
    return "baseline" if part == "D" else part


def _list_of_shots(shots: Sequence[Shots]) -> str:
    """Return "1, 3 shots"."""
    if len(shots) == 1:
        return of_shots(shots[0])
    return f"{', '.join(str(k) for k in shots)} shots"
