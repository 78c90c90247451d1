"""The claims of the paper as sections of the report: the paper, the runs, a verdict.

``claims.csv`` has one row per comparison.
"""

import math
from collections.abc import Mapping
from typing import Any

import pandas as pd

from glip_lightning.common.plurals import count_with_noun
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
    "The order of the results is compared with the paper, not their values: the paper has larger "
    "detectors and other tasks. Each comparison that decides is a difference that is positive in "
    "the paper. It is in points of AP, the mean over the tasks, with the same seeds and draws of "
    "test images. It holds if it is positive with every seed and its 95 % interval over redrawn "
    "test images lies above zero. A claim appears if all comparisons that decide hold. It does not "
    "appear if one does not hold. While runs are missing there are not enough runs. Seeds are "
    "those of the fine-tuning: each detector was pre-trained once."
)
HOLDS = {True: ("yes", "good"), False: ("no", "bad"), None: ("open", "soft")}
"""Word and kind of cell for :attr:`.Comparison.holds`."""

HEAD = ("comparison", "in the paper", "here", "95 % over images", "seeds, tasks", "holds")


def claims(view: ReportView) -> list[Section]:
    """Return the section of verdicts, then one section per claim; empty without runs about any."""
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
    """Return the verdict with the numbers of comparisons that hold and that are open."""
    held = [each.holds for each in claim.deciding]
    total = count_with_noun(len(held), "comparison")
    return f"{claim.verdict} ({held.count(True)} of {total} hold, {held.count(None)} open)"


def _section(view: ReportView, claim: Claim) -> Section:
    tasks = ", ".join(task_name(task) for task in claim.group.tasks)
    if not tasks:
        tasks = "none that all comparisons share"
    table = ReportTable.of(claim.title, HEAD, [_row(each) for each in claim.comparisons])
    texts = [
        ReportText(f"The paper: {claim.paper}"),
        ReportText(f"Here: {verdict_text(claim)}. Tasks: {tasks}."),
    ]
    return Section(f"claim-{claim.name}", claim.title, "", [*texts, table, *_charts(view, claim)])


def _row(each: Comparison) -> list[Cell | str]:
    stat = each.stat
    tasks = f"{len(each.tasks)} of {count_with_noun(len(each.planned), 'task')}"
    if each.missing:
        tasks += f", {count_with_noun(each.missing, 'run')} missing"
    here = [MISSING, MISSING, tasks]
    if stat:
        here = [signed_spread(stat), bounds(stat) or MISSING, f"{seeds_of(stat)}, {tasks}"]
    holds, kind = "shown only", "soft"
    if each.decides:
        holds, kind = HOLDS[each.holds]
    paper = MISSING if each.paper is None else signed(each.paper)
    return [each.text, paper, *here, Cell(holds, kind=kind)]


def _charts(view: ReportView, claim: Claim) -> list[Legend | Figures]:
    """Return the curves that are compared, and the chart of all comparisons."""
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
        stat = each.stat
        if stat is None:
            continue
        low, high = stat.interval or (math.nan, math.nan)
        row: dict[str, Any] = {
            "row": len(rows),
            "line": 0,
            "x": stat.mean,
            "low": low,
            "high": high,
        }
        row["title"] = f"{each.text}: {signed_spread(stat)} {bounds(stat)}"
        row["kind"] = "full" if each.decides else "hollow"
        rows.append(row)
    return pd.DataFrame(rows)


def claims_files(view: ReportView) -> Mapping[str, pd.DataFrame]:
    """Return the content of ``claims.csv``; nothing if no run is about a claim of the paper.

    It has differences in points of AP; ``paper`` is the same difference of the paper's means over
    ODinW-13.
    """
    rows = []
    for claim in claims_of(view):
        rows += [_comparison(claim, each) for each in claim.comparisons]
    if not rows:
        return {}
    return {"claims.csv": frame_of(rows)}


def _comparison(claim: Claim, each: Comparison) -> dict[str, Any]:
    empty = Stat(math.nan, None, 0, ())
    numbers = stat_columns(each.stat or empty, each.paper)
    return {
        "claim": claim.name,
        "verdict": claim.verdict,
        "comparison": each.text,
        "decides": each.decides,
        "difference": numbers["AP"] if each.stat else None,
        **{key: numbers[key] for key in ("std", "n", "low", "high", "paper")},
        "tasks": f"{len(each.tasks)}/{len(each.planned)}",
        "holds": each.holds if each.decides else None,
    }


SECTIONS = AddedSections(claims, claims_files)
