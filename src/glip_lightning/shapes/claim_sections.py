"""The claims of the paper as sections of the page: what the paper shows, what is measured here, a verdict."""

from glip_lightning.experiments.report.charts import Mark, Row, curves, dots
from glip_lightning.experiments.report.html import Td, figure, paragraph, section, table
from glip_lightning.experiments.report.sections import curve, legend
from glip_lightning.experiments.report.view import (
    MISSING,
    View,
    bounds,
    seeds_of,
    shots_name,
    signed,
    signed_spread,
    task_name,
)
from glip_lightning.shapes.claims import Claim, claims_of
from glip_lightning.shapes.comparisons import Comparison

RULE = (
    "The paper's shape is looked for here, not its values, which are of larger detectors and other tasks. Each "
    "comparison that decides is a difference that the paper says is positive, in points of AP, in the mean over the "
    "tasks, of the same seeds and draws of test images. It holds if it is positive with every seed and its 95 % "
    "interval over redrawn test images lies above zero. A claim appears if all comparisons that decide hold, and does "
    "not appear if one does not; while runs are missing there are not enough runs. Seeds are those of the fine-tuning: "
    "each detector was pre-trained once."
)
COMPARED = ("in the paper", "here", "95 % over images", "seeds, tasks", "holds")


def claims(view: View) -> str:
    """The verdicts, then a section per claim; nothing where no run is about any."""
    found = claims_of(view)
    if not found:
        return ""
    rows = [[claim.title, verdict_cell(claim)] for claim in found]
    overview = section(
        "claims", "The paper's claims", paragraph(RULE, "note"), table(["claim", "here"], rows, "Claims")
    )
    return overview + "".join(_section(view, claim) for claim in found)


def verdict_cell(claim: Claim) -> Td:
    kind = {"appears": "good", "does not appear": "bad"}.get(claim.verdict, "soft")
    return Td(verdict_text(claim), kind=f"left {kind}")


def verdict_text(claim: Claim) -> str:
    """With the comparisons behind it."""
    held = [each.holds for each in claim.deciding]
    return f"{claim.verdict} ({held.count(True)} of {len(held)} comparisons hold, {held.count(None)} open)"


def _section(view: View, claim: Claim) -> str:
    rows: list[list[Td | str]] = [[each.text, *_cells(each)] for each in claim.comparisons]
    tasks = ", ".join(map(task_name, claim.group.tasks)) or "none that all comparisons share"
    return section(
        f"claim-{claim.name}",
        claim.title,
        paragraph(f"The paper: {claim.paper}"),
        paragraph(f"Here: {verdict_text(claim)}. Tasks: {tasks}."),
        table(["comparison", *COMPARED], rows, claim.title),
        _charts(view, claim),
    )


def comparison_texts(each: Comparison) -> list[str]:
    """What stands below :data:`COMPARED`."""
    stat = each.stat
    tasks = f"{len(each.tasks)} of {len(each.planned)} tasks"
    if each.missing:
        tasks += f", {each.missing} run{'s' if each.missing > 1 else ''} missing"
    said = {True: "yes", False: "no", None: "open"}[each.holds] if each.decides else "shown only"
    here = (
        [signed_spread(stat), bounds(stat) or MISSING, f"{seeds_of(stat)}, {tasks}"]
        if stat
        else [MISSING, MISSING, tasks]
    )
    return [MISSING if each.paper is None else signed(each.paper), *here, said]


def _cells(each: Comparison) -> list[Td | str]:
    *texts, said = comparison_texts(each)
    kind = {"yes": "good", "no": "bad"}.get(said, "soft")
    return [*texts, Td(said, kind=kind)]


def _charts(view: View, claim: Claim) -> str:
    """The curves that are compared, and all comparisons beside each other."""
    body = ""
    if claim.lines and claim.group.tasks:
        body += legend(view, claim.lines)
        body += figure(f"AP over shots, {claim.group.name}", *_curves(view, claim))
    return f'<div class="pair"><div>{body}</div>{_differences(claim)}</div>' if body else _differences(claim)


def _curves(view: View, claim: Claim) -> list[str]:
    drawn = [curve(view, view.lines.index(line), line, claim.group) for line in claim.lines]
    shots, label = [shots_name(k) for k in view.cells.shots], f"AP over shots, {claim.title}"
    sizes = (("wide", 640, 400), ("narrow", 360, 320))
    return [f'<div class="{kind}">{curves(drawn, shots, w, h, label, True)}</div>' for kind, w, h in sizes]


def _differences(claim: Claim) -> str:
    rows = [_row(each) for each in claim.comparisons if each.stat]
    if not rows:
        return ""
    picture = dots(rows, 360, f"Differences, {claim.title}", "difference in AP (points), 95 % over images", [-1.0, 1.0])
    return figure("The comparisons", picture)


def _row(each: Comparison) -> Row:
    assert each.stat is not None
    low, high = each.stat.interval or (None, None)
    title = f"{each.text}: {signed_spread(each.stat)} {bounds(each.stat)}"
    return Row(each.label, [Mark(0, each.stat.mean, low, high, title, "mark" if each.decides else "hollow")])
