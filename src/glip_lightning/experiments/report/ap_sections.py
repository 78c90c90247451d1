"""The sections about AP: summary, curves, tables, differences."""

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pandas as pd

from glip_lightning.experiments.report.charts import curves, dots, key
from glip_lightning.experiments.report.number_formats import (
    MISSING,
    bounds,
    of_shots,
    seeds_of,
    signed,
    signed_spread,
    spread,
    task_name,
    time_text,
)
from glip_lightning.experiments.report.parts import (
    Cell,
    Figure,
    Figures,
    Heading,
    Legend,
    Part,
    ReportTable,
    ReportText,
    Section,
    Tiles,
)
from glip_lightning.experiments.report.runs import Line, number
from glip_lightning.experiments.report.statistics import Group, Stat
from glip_lightning.experiments.report.view import ReportView

SPREAD = "± is the sample standard deviation (n - 1) over seeds; brackets hold 95 % of the AP of redrawn test images."


def line_cell(view: ReportView, index: int) -> Cell:
    """Return the name of a line beside its colour."""
    return Cell(view.names[view.lines[index]], kind="left", line=index)


def legend(view: ReportView, where: str, lines: Sequence[Line]) -> Legend:
    """Return the legend of the section ``where``."""
    return Legend([(key(view.lines.index(line), where), view.names[line]) for line in lines])


def summary(view: ReportView) -> Section:
    """Return the counts of trials and the best tunings."""
    runs = view.collection.runs
    states = Counter(run.state for run in runs)
    spent = sum(number((run.result or {}).get("seconds")) or 0.0 for run in runs)
    tiles = {"trials": len(runs), "finished": states["finished"], "failed": states["failed"]}
    tiles |= {state: states[state] for state in ("missing", "repeated") if states[state]}
    numbers = {name: str(n) for name, n in tiles.items()} | {
        "of training and measuring": time_text(spent)
    }
    bad = "failed" if states["failed"] else ""
    return Section(
        "summary",
        "Summary",
        "",
        [Tiles(numbers, bad), Heading("Best for each number of shots"), _best(view)],
    )


def _best(view: ReportView) -> ReportTable:
    """Return the highest mean for each number of shots."""
    whole = view.frame[view.frame["whole"] & (view.frame["place"] == view.headline.name)]
    rows: list[list[Cell | str]] = []
    for place, shots in enumerate(view.cells.shots):
        known = whole[whole["x"] == place]
        if known.empty:
            rows.append(
                [str(shots), Cell("no complete mean yet", kind="left soft"), MISSING, MISSING]
            )
            continue
        best: Any = known.loc[known["AP"].idxmax()]
        name = (
            Cell("every tuning begins here", kind="left")
            if shots == 0
            else line_cell(view, best["line"])
        )
        value = Cell(spread(best["stat"]), (_fewer(view, best),))
        rows.append([str(shots), name, value, bounds(best["stat"]) or MISSING])
    shown = view.headline.name if view.groups else task_name(view.headline.name)
    head = ["shots", "best", f"{shown} AP (%)", "95 % over images"]
    return ReportTable.of("Best for each number of shots", head, rows)


def _seeds(view: ReportView) -> int:
    return len({point.seed for point, _ in view.collection.points if point.shots != 0}) or 1


def _fewer(view: ReportView, row: pd.Series) -> str:
    """Return the number of seeds where it is not that of the others."""
    return f"n = {row['stat'].n}" if row["shots"] != 0 and row["stat"].n < _seeds(view) else ""


def efficiency(view: ReportView) -> Section:
    """Return AP over shots: the means, and every task."""
    places = dict(list(view.frame.groupby("place", sort=False)))
    large = [
        curve_figure(view, "AP over shots", places[group.name])
        for group in view.groups or [view.headline]
    ]
    tasks = {task_name(task): places[task] for task in view.cells.tasks if view.groups}
    label = "AP over shots, {}"
    small = [
        Figure(name, _curves(view, label.format(name), own, (330, 230), False))
        for name, own in tasks.items()
    ]
    text = (
        "Line: mean over seeds. Band and whiskers: one sample standard deviation over seeds, small dots: the seeds. "
        "Thick pale bars: 95 % of the AP of redrawn test images. Hollow: tasks are missing, so it joins no line."
    )
    if view.has_paper:
        text += " Hollow diamonds on dotted lines: the GLIP paper."
    parts = [ReportText(text, True), legend(view, "curves", view.lines), Figures("pair", large)]
    every = [Heading("Every task"), Figures("grid", small)] if small else []
    return Section("curves", "Data efficiency", "Data efficiency", [*parts, *every])


def curve_figure(view: ReportView, what: str, frame: pd.DataFrame) -> Figure:
    """Return the curves of a frame of :func:`.view.ap_frame` with one place, for wide and for narrow screens."""
    place = str(frame["place"].iloc[0])
    wide, narrow = (
        _curves(view, f"{what}, {place}", frame, size, True) for size in ((640, 400), (360, 320))
    )
    return Figure(place, wide, narrow)


def _curves(
    view: ReportView, label: str, frame: pd.DataFrame, size: tuple[int, int], large: bool
) -> str:
    rows: list[Any] = list(frame.itertuples())
    papers = [f"GLIP paper, {row.name}, {of_shots(row.shots)}: {row.paper:.1f}" for row in rows]
    named = frame.assign(title=[_curve_title(row) for row in rows], paper_title=papers)
    return curves(named, [str(k) for k in view.cells.shots], *size, label, large)


def _curve_title(row: Any) -> str:
    if row.stat is None:
        return ""
    said = [f"{row.name}, {of_shots(row.shots)}: {spread(row.stat)}"]
    said += [row.lacks or seeds_of(row.stat), bounds(row.stat)]
    return ", ".join(part for part in said if part)


def _layout(view: ReportView) -> list[tuple[list[Cell | str], pd.DataFrame]]:
    """Return the rows of the paper's Tables 14 to 16: how each begins, and the numbers in it."""
    planned = view.frame[view.frame["planned"]]
    rows = planned.groupby(["line", "x"], sort=False)
    return [
        ([line_cell(view, int(line)), str(view.cells.shots[x])], row) for (line, x), row in rows
    ]


def _head(view: ReportView) -> list[str]:
    return [
        "tuning",
        "shots",
        *(group.short for group in view.groups),
        *map(task_name, view.cells.tasks),
    ]


def all_numbers(view: ReportView) -> Section:
    """Return the AP of every tuning, number of shots and task, in the layout of the paper."""
    rows = [
        [*start, *(_ap_cell(view, cell) for _, cell in row.iterrows())]
        for start, row in _layout(view)
    ]
    text = f"Test AP in percent; mean of n = {_seeds(view)} seeds unless said otherwise. {SPREAD} "
    text += "Bold: the highest of its shots. In parentheses: tasks are missing, do not compare."
    if {line.get("split") for line in view.lines} == {"val"}:
        text += " Measured on validation images: there is no test split."
    numbers = ReportTable.of("All numbers", _head(view), rows, names=2)
    return Section("table", "All numbers", "All numbers", [ReportText(text, True), numbers])


def _ap_cell(view: ReportView, row: pd.Series) -> Cell:
    stat, kind = row["stat"], "mean" if row["is_mean"] else ""
    if stat is None:
        bad = "bad" if "failed" in row["undone"] else "soft"
        return Cell(row["undone"] or MISSING, kind=f"{kind} {bad}".strip(), title=row["reason"])
    if not row["whole"]:
        return Cell(
            f"({stat.mean:.1f})", (row["lacks"],), f"{kind} soft", f"mean of {row['known']}"
        )
    kind = f"{kind} best".strip() if row["best"] else kind
    note = _fewer(view, row) if row["is_mean"] else row["undone"]
    return Cell(spread(stat), (bounds(stat), note), kind, seeds_of(stat))


def against_paper(view: ReportView) -> Section:
    """Return the difference of every number to the paper's."""
    title = "Difference to the paper"
    if not view.has_paper:
        detectors = sorted({line.get("detector") or "unknown" for line in view.lines})
        text = (
            f"The GLIP paper has no numbers for these tasks with {', '.join(detectors)}: it measured GLIP-T(A) to "
            "GLIP-L on ODinW-13, which are glip-tiny-a to glip-large here."
        )
        return Section("paper", title, "Paper", [ReportText(text)])
    compared = [
        (start, [_paper_cell(cell) for _, cell in row.iterrows()]) for start, row in _layout(view)
    ]
    rows = [
        [*start, *cells] for start, cells in compared if any(cell.text != MISSING for cell in cells)
    ]
    text = (
        "Ours minus the paper's cell of the same model, tuning and shots, in points of AP; below it the paper's "
        "number. Its means are computed from its cells, because the printed ones hold small errors. Its weights, "
        "splits and images of few shots need not be the released ones."
    )
    return Section(
        "paper",
        title,
        "Paper",
        [ReportText(text, True), ReportTable.of(title, _head(view), rows, names=2)],
    )


def _paper_cell(row: pd.Series) -> Cell:
    kind = "mean" if row["is_mean"] else ""
    if not row["whole"] or pd.isna(row["paper"]):
        return Cell(MISSING, kind=f"{kind} soft".strip())
    return Cell(signed(row["AP"] - row["paper"]), (f"paper {row['paper']:.1f}",), kind)


def _partners(view: ReportView) -> list[tuple[Line, Line]]:
    """Return every line with the full tuning of the same settings, or their first tuning where that is missing."""
    found = []
    for settings in dict.fromkeys(line.settings for line in view.lines):
        same = [line for line in view.lines if line.settings == settings]
        base = next((line for line in same if view.collection.kind(line) == "FullTuning"), same[0])
        found += [(line, base) for line in same if line != base]
    return found


def tunings(view: ReportView) -> Section | None:
    """Return each tuning minus full tuning; None where no seed has both."""
    tasks = [Group(task, task_name(task), (task,)) for task in view.cells.tasks]
    places = [*tasks, *view.groups]
    frame = _differences(view, places)
    if frame.empty:
        return None
    trained = [shots for shots in view.cells.shots if shots != 0]
    means = frame[frame["row"] >= len(tasks)] if view.groups else frame
    rows: list[list[Cell | str]] = []
    for (_, row), own in means.groupby(["pair", "row"]):
        name = Cell(own["name"].iloc[0], kind="left", line=own["line"].iloc[0])
        cells = {
            shots: _difference_cell(stat)
            for shots, stat in zip(own["shots"], own["stat"], strict=True)
        }
        missing = Cell(MISSING, kind="soft")
        rows.append(
            [name, Cell(places[row].short, kind="left"), *(cells.get(k, missing) for k in trained)]
        )
    table = ReportTable.of("Differences", ["tunings", "mean", *map(str, trained)], rows, names=2)
    scale = [
        -1.0,
        1.0,
        *frame["x"],
        *frame["low"].dropna(),
        *frame["high"].dropna(),
    ]  # one axis for all
    panels = []
    for shots in trained:
        own, title = frame[frame["shots"] == shots], of_shots(shots)
        label = f"Differences at {title}"
        names = [group.short for group in places]
        axis = "difference in AP (points)"
        if len(own):
            panels.append(
                Figure(title, dots(names, own, 320, label, axis, scale, means=len(view.groups)))
            )
    pairs = _partners(view)
    text = (
        "Differences of the same seeds, which have the same training images, and of the same draws of test images. "
        f"Right of zero: better than {view.names[pairs[0][1]]}. {SPREAD} Coloured: zero is not between the brackets."
    )
    shown = legend(view, "tunings", [line for line, _ in pairs])
    parts: list[Part] = [
        ReportText(text, True),
        *([table] if rows else []),
        shown,
        Figures("tall", panels),
    ]
    return Section("tunings", "Tuning against tuning", "Tunings", parts)


def _differences(view: ReportView, places: Sequence[Group]) -> pd.DataFrame:
    """Return a row per pair of lines, number of shots and place of ``places`` that a seed has of both."""
    rows = []
    for pair, (line, base) in enumerate(_partners(view)):
        name = f"{view.names[line]} minus {view.names[base]}"
        for shots in view.cells.shots:
            for row, group in enumerate(places):
                stat = view.cells.difference(line, base, shots, group.tasks) if shots != 0 else None
                if stat is not None:
                    title = f"{group.short}: {name}: {signed_spread(stat)} {bounds(stat)}"
                    start = {
                        "pair": pair,
                        "line": view.lines.index(line),
                        "name": name,
                        "shots": shots,
                        "row": row,
                    }
                    rows.append({**start, "stat": stat, **mark_columns(stat.mean, stat.std, title)})
    return pd.DataFrame(rows)


def mark_columns(mean: float, std: float | None, title: str) -> dict[str, Any]:
    """Return the columns of a mark of :func:`.charts.dots` for a mean with its spread."""
    low, high = (math.nan, math.nan) if std is None else (mean - std, mean + std)
    return {"x": mean, "low": low, "high": high, "title": title, "kind": "full"}


def _difference_cell(stat: Stat) -> Cell:
    sure = stat.interval is not None and (stat.interval[0] > 0 or stat.interval[1] < 0)
    kind = ("good" if stat.mean > 0 else "bad") if sure else ""
    return Cell(signed_spread(stat), (bounds(stat),), kind, seeds_of(stat))
