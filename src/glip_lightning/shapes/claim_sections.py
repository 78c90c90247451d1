"""The claims of the paper as sections of the report: what the paper shows, what is measured here, a verdict.

``claims.csv`` has a row per comparison.
"""

import math
from collections.abc import Mapping
from typing import Any

import pandas as pd

from glip_lightning.experiments.report.ap_sections import curve_figure, legend
from glip_lightning.experiments.report.charts import dots
from glip_lightning.experiments.report.frames import frame_of, stat_columns
from glip_lightning.experiments.report.number_formats import (
    MISSING,
    bounds,
    seeds_of,
    signed,
    signed_spread,
    task_name,
)
from glip_lightning.experiments.report.parts import (
    AddedSections,
    Cell,
    Figure,
    Figures,
    Legend,
    ReportTable,
    ReportText,
    Section,
)
from glip_lightning.experiments.report.statistics import Stat
from glip_lightning.experiments.report.view import ReportView, ap_frame
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
HEAD = ("comparison", "in the paper", "here", "95 % over images", "seeds, tasks", "holds")


def claims(view: ReportView) -> list[Section]:
    """Return the verdicts, then a section per claim; nothing where no run is about any."""
    found = claims_of(view)
    if not found:
        return []
    rows = []
    for claim in found:
        kind = {"appears": "good", "does not appear": "bad"}.get(claim.verdict, "soft")
        rows.append([claim.title, Cell(verdict_text(claim), kind=f"left {kind}")])
    parts = [ReportText(RULE, True), ReportTable.of("Claims", ["claim", "here"], rows)]
    return [
        Section("claims", "The paper's claims", "Claims", parts),
        *(_section(view, claim) for claim in found),
    ]


def verdict_text(claim: Claim) -> str:
    """Return the verdict with the comparisons behind it."""
    held = [each.holds for each in claim.deciding]
    return f"{claim.verdict} ({held.count(True)} of {len(held)} comparisons hold, {held.count(None)} open)"


def _section(view: ReportView, claim: Claim) -> Section:
    tasks = ", ".join(map(task_name, claim.group.tasks)) or "none that all comparisons share"
    table = ReportTable.of(claim.title, HEAD, [_row(each) for each in claim.comparisons])
    texts = [
        ReportText(f"The paper: {claim.paper}"),
        ReportText(f"Here: {verdict_text(claim)}. Tasks: {tasks}."),
    ]
    return Section(f"claim-{claim.name}", claim.title, "", [*texts, table, *_charts(view, claim)])


def _row(each: Comparison) -> list[Cell | str]:
    stat = each.stat
    tasks = f"{len(each.tasks)} of {len(each.planned)} tasks"
    if each.missing:
        tasks += f", {each.missing} run{'s' if each.missing > 1 else ''} missing"
    here = [MISSING, MISSING, tasks]
    if stat:
        here = [signed_spread(stat), bounds(stat) or MISSING, f"{seeds_of(stat)}, {tasks}"]
    said = {True: "yes", False: "no", None: "open"}[each.holds] if each.decides else "shown only"
    kind = {"yes": "good", "no": "bad"}.get(said, "soft")
    return [
        each.text,
        MISSING if each.paper is None else signed(each.paper),
        *here,
        Cell(said, kind=kind),
    ]


def _charts(view: ReportView, claim: Claim) -> list[Legend | Figures]:
    """Return the curves that are compared, and all comparisons beside each other."""
    shown = claim.lines if claim.group.tasks else []
    figures = []
    if shown:
        frame = ap_frame(view, [claim.group], shown)
        figures.append(curve_figure(view, f"AP over shots, {claim.title}", frame))
    marks = _marks(claim)
    if len(marks):
        labels = [each.label for each in claim.comparisons if each.stat]
        axis = "difference in AP (points), 95 % over images"
        picture = dots(labels, marks, 360, f"Differences, {claim.title}", axis, [-1.0, 1.0])
        figures.append(Figure("The comparisons", picture))
    keys = [legend(view, claim.name, shown)] if shown else []
    return [*keys, Figures("pair", figures)] if figures else []


def _marks(claim: Claim) -> pd.DataFrame:
    rows = []
    for each in claim.comparisons:
        if stat := each.stat:
            low, high = stat.interval or (math.nan, math.nan)
            title = f"{each.text}: {signed_spread(stat)} {bounds(stat)}"
            kind = "full" if each.decides else "hollow"
            place = {"row": len(rows), "line": 0, "x": stat.mean, "low": low, "high": high}
            rows.append({**place, "title": title, "kind": kind})
    return pd.DataFrame(rows)


def claims_files(view: ReportView) -> Mapping[str, pd.DataFrame]:
    """Return ``claims.csv`` where the runs are about claims of the paper.

    It has differences in points of AP; ``paper`` is the same difference of its means over ODinW-13.
    """
    rows = [_comparison(claim, each) for claim in claims_of(view) for each in claim.comparisons]
    return {"claims.csv": frame_of(rows)} if rows else {}


def _comparison(claim: Claim, each: Comparison) -> dict[str, Any]:
    empty = Stat(math.nan, None, 0, ())
    numbers = stat_columns(each.stat or empty, each.paper)
    return {
        **{
            "claim": claim.name,
            "verdict": claim.verdict,
            "comparison": each.text,
            "decides": each.decides,
        },
        "difference": numbers["AP"] if each.stat else None,
        **{key: numbers[key] for key in ("std", "n", "low", "high", "paper")},
        "tasks": f"{len(each.tasks)}/{len(each.planned)}",
        "holds": each.holds if each.decides else None,
    }


SECTIONS = AddedSections(claims, claims_files)
