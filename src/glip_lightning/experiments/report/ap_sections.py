"""The sections about AP: summary, curves, tables, differences."""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import pandas as pd

from glip_lightning.common.durations import time_text
from glip_lightning.experiments.report.charts import curves, dots, key
from glip_lightning.experiments.report.image_counts import (
    measured_images,
    measured_split,
    training_head,
    training_images,
)
from glip_lightning.experiments.report.number_formats import (
    MISSING,
    bounds,
    of_shots,
    seeds_of,
    signed,
    signed_spread,
    spread,
    task_name,
)
from glip_lightning.experiments.report.parts import (
    Cell,
    Figure,
    Figures,
    Heading,
    Legend,
    PageNote,
    Part,
    ReportTable,
    ReportText,
    Section,
    Tiles,
)
from glip_lightning.experiments.report.runs import Line, number
from glip_lightning.experiments.report.statistics import Group, Stat
from glip_lightning.experiments.report.view import ReportView

LARGE_SIZES = ((640, 400), (360, 320))
"""Pixels of a large chart on wide and on narrow screens."""
SMALL_SIZE = (330, 230)
"""Pixels of the chart of one task."""


def explained(stats: Iterable[Stat], of: str = "AP values") -> str:
    """Return what ± and brackets mean, as far as any number has them."""
    texts = []
    known = list(stats)
    if any(stat.std is not None for stat in known):
        texts.append("± is the sample standard deviation (n - 1) over seeds.")
    if any(stat.interval for stat in known):
        texts.append(f"Brackets hold 95 % of the {of} of redrawn images (bootstrap).")
    return " ".join(texts)


def line_cell(view: ReportView, index: int) -> Cell:
    """Return the cell with the name and the colour of a line."""
    return Cell(view.names[view.lines[index]], kind="left", line=index)


def legend(view: ReportView, where: str, lines: Sequence[Line]) -> Legend:
    """Return the legend of the section ``where``."""
    return Legend([(key(view.lines.index(line), where), view.names[line]) for line in lines])


def summary(view: ReportView) -> Section:
    """Return the counts of trials, the settings that all rows share, and the best tunings."""
    runs = view.collection.runs
    states = Counter(run.state for run in runs)
    spent = sum(number(run.result.get("seconds")) or 0.0 for run in runs)
    counts = {"trials": len(runs), "finished": states["finished"], "failed": states["failed"]}
    further = {
        "missing": states["missing"],
        "repeated": states["repeated"],
        "left out by --only": view.collection.left_out,
    }
    counts |= {name: count for name, count in further.items() if count}
    numbers = {name: str(count) for name, count in counts.items()}
    numbers["of training and measuring"] = time_text(spent)
    parts: list[Part] = [Tiles(numbers, bad="failed" if states["failed"] else "")]
    parts += [ReportText(text, note=True) for text in _shared_settings(view)]
    images = measured_images(view)
    parts.append(Heading("Best for each number of shots"))
    if images:
        parts.append(ReportText(images, note=True))
    parts.append(_best(view))
    return Section("summary", "Summary", "", parts)


def _shared_settings(view: ReportView) -> list[str]:
    """Return sentences about the settings that rows share; the names of rows leave these out."""
    texts = []
    for start, settings in view.line_names.shared.items():
        if settings:
            rows = f"All rows called {start}" if start else "All rows"
            texts.append(f"{rows}: {', '.join(settings)}.")
    return texts


def _best(view: ReportView) -> ReportTable:
    """Return the line with the highest mean AP for each number of shots."""
    whole = view.frame[view.frame["whole"] & (view.frame["place"] == view.headline.name)]
    counted = training_head(view)
    rows: list[list[Cell | str]] = []
    for x, shots in enumerate(view.cells.shots):
        known = whole[whole["x"] == x]
        if known.empty:
            nothing = Cell("no complete mean yet", kind="left soft")
            rows.append([str(shots), nothing, MISSING, MISSING, *[MISSING] * len(counted)])
            continue
        best: Any = known.loc[known["AP"].idxmax()]
        name = line_cell(view, best["line"])
        if shots == 0:
            name = Cell("no training: equal for every tuning", kind="left")
        value = Cell(spread(best["stat"]), (_fewer_seeds(view, best),))
        images = [training_images(view, view.lines[best["line"]], shots)] if counted else []
        rows.append([str(shots), name, value, bounds(best["stat"]) or MISSING, *images])
    shown = view.headline.name if view.groups else task_name(view.headline.name)
    head = ["shots", "best", f"{shown} AP (points)", "95 % over images", *counted]
    return ReportTable.of("Best for each number of shots", head, rows)


def _seeds(view: ReportView) -> int:
    """Return how many seeds the trained runs have."""
    seeds = {point.seed for point, _ in view.collection.points if point.shots != 0}
    return max(1, len(seeds))


def _fewer_seeds(view: ReportView, row: pd.Series) -> str:
    """Return the number of seeds behind a mean if others have more; else an empty text."""
    n = row["stat"].n
    return f"n = {n}" if row["shots"] != 0 and n < _seeds(view) else ""


def efficiency(view: ReportView) -> Section:
    """Return charts of AP over shots: large ones of the means, small ones of every task."""
    frames = dict(list(view.frame.groupby("place", sort=False)))
    groups = view.groups or [view.headline]
    large = [curve_figure(view, "AP over shots", frames[group.name]) for group in groups]
    note = _what_curves_show(view)
    parts: list[Part] = [PageNote(note)] if note else []
    parts += [legend(view, "curves", view.lines), Figures("pair", large)]
    if view.groups:
        small = []
        for task in view.cells.tasks:
            name = task_name(task)
            label = f"AP over shots, {name}"
            chart = _curves(view, label, frames[task], SMALL_SIZE, large=False)
            small.append(Figure(name, chart))
        parts += [Heading("Every task"), Figures("grid", small)]
    return Section("curves", "Data efficiency", "Data efficiency", parts)


def _what_curves_show(view: ReportView) -> str:
    """Return what the signs in the charts of AP over shots mean, of those that are there."""
    known = view.frame[view.frame["stat"].notna()]
    texts = []
    if any(stat.std is not None for stat in known["stat"]):
        texts.append(
            "Line: mean over seeds. Band and whiskers: one sample standard deviation over seeds. "
            "Small dots: the seeds."
        )
    if any(stat.interval for stat in known["stat"]):
        texts.append("Thick pale bars: 95 % of the AP values of redrawn images.")
    if not known["whole"].all():
        texts.append("Hollow points: tasks are missing, so no line connects them.")
    if view.has_paper:
        texts.append("Hollow diamonds on dotted lines: the GLIP paper.")
    return " ".join(texts)


def curve_figure(view: ReportView, what: str, frame: pd.DataFrame) -> Figure:
    """Return curves for wide and for narrow screens.

    ``frame`` has the rows of :func:`.view.ap_frame` for one task or one mean.
    """
    place = str(frame["place"].iloc[0])
    label = f"{what}, {place}"
    wide, narrow = [_curves(view, label, frame, size, large=True) for size in LARGE_SIZES]
    return Figure(place, wide, narrow)


def _curves(
    view: ReportView, label: str, frame: pd.DataFrame, size: tuple[int, int], large: bool
) -> str:
    titles = []
    papers = []
    rows: list[Any] = list(frame.itertuples())
    for row in rows:
        titles.append(_curve_title(row))
        papers.append(f"GLIP paper, {row.name}, {of_shots(row.shots)}: {row.paper:.1f}")
    named = frame.assign(title=titles, paper_title=papers)
    return curves(named, [str(shots) for shots in view.cells.shots], *size, label, large)


def _curve_title(row: Any) -> str:
    if row.stat is None:
        return ""
    start = f"{row.name}, {of_shots(row.shots)}: {spread(row.stat)}"
    texts = [start, row.lacks or seeds_of(row.stat), bounds(row.stat)]
    return ", ".join(text for text in texts if text)


def _layout(view: ReportView) -> list[tuple[list[Cell | str], pd.DataFrame]]:
    """Return the rows of a table in the layout of the paper's Tables 14 to 16.

    Each is a pair: its first cells, with tuning and shots, and the frame of its numbers.
    """
    frames = view.frame[view.frame["planned"]].groupby(["line", "x"], sort=False)
    rows = []
    for (line, x), numbers in frames:
        start: list[Cell | str] = [line_cell(view, int(line)), str(view.cells.shots[x])]
        rows.append((start, numbers))
    return rows


def _head(view: ReportView) -> list[str]:
    """Return the names of the columns of :func:`_layout`."""
    means = [group.short for group in view.groups]
    tasks = [task_name(task) for task in view.cells.tasks]
    return ["tuning", "shots", *means, *tasks]


def all_numbers(view: ReportView) -> Section:
    """Return the AP of every tuning, number of shots and task, in the layout of the paper."""
    counted = training_head(view)
    rows = []
    for start, numbers in _layout(view):
        line, shots = view.lines[numbers["line"].iloc[0]], numbers["shots"].iloc[0]
        images = [training_images(view, line, shots)] if counted else []
        cells = [_ap_cell(view, number) for _, number in numbers.iterrows()]
        rows.append([*start, *images, *cells])
    names = _head(view)
    head = [*names[:2], *counted, *names[2:]]
    table = ReportTable.of("All numbers", head, rows, names=2)
    parts = [ReportText(_what_numbers_show(view), note=True), table]
    return Section("table", "All numbers", "All numbers", parts)


def _what_numbers_show(view: ReportView) -> str:
    """Return what the numbers of the table of all numbers are, and what its signs mean."""
    split = measured_split(view.lines)
    seeds = _seeds(view)
    known = view.frame[view.frame["stat"].notna()]
    mean = f"mean of n = {seeds} seeds unless said otherwise" if seeds > 1 else "one seed"
    texts = [f"{split.capitalize()} AP in points, {mean}.", explained(known["stat"])]
    if known["best"].any():
        texts.append("Bold: the highest for this number of shots.")
    if not known["whole"].all():
        texts.append("In parentheses: tasks are missing, do not compare.")
    if split == "validation":
        texts.append("There is no test split.")
    return " ".join(text for text in texts if text)


def _ap_cell(view: ReportView, row: pd.Series) -> Cell:
    """Return the cell with an AP, or with the states of the runs that gave none."""
    stat = row["stat"]
    kind = "mean " if row["is_mean"] else ""
    if stat is None:
        state = "bad" if "failed" in row["undone"] else "soft"
        return Cell(row["undone"] or MISSING, kind=kind + state, title=row["reason"])
    if not row["whole"]:
        text = f"({stat.mean:.1f})"
        return Cell(text, (row["lacks"],), f"{kind}soft", f"mean of {row['known']}")
    if row["best"]:
        kind += "best"
    note = _fewer_seeds(view, row) if row["is_mean"] else row["undone"]
    return Cell(spread(stat), (bounds(stat), note), kind.strip(), seeds_of(stat))


def against_paper(view: ReportView) -> Section | None:
    """Return our AP minus the paper's for every cell that the paper has; None without any."""
    title = "Difference to the paper"
    rows = []
    for start, numbers in _layout(view):
        cells = [_paper_cell(number) for _, number in numbers.iterrows()]
        if any(cell.text != MISSING for cell in cells):
            rows.append([*start, *cells])
    if not rows:
        return None
    text = (
        "Our AP minus the paper's for the same model, tuning and shots, in points; below it the "
        "paper's AP. The paper's means are computed here from its cells, because the printed means "
        "hold small errors. The paper may have used other weights, splits and few-shot images than "
        "the released ones."
    )
    table = ReportTable.of(title, _head(view), rows, names=2)
    return Section("paper", title, "Paper", [ReportText(text, note=True), table])


def _paper_cell(row: pd.Series) -> Cell:
    kind = "mean" if row["is_mean"] else ""
    if not row["whole"] or pd.isna(row["paper"]):
        return Cell(MISSING, kind=f"{kind} soft".strip())
    return Cell(signed(row["AP"] - row["paper"]), (f"paper {row['paper']:.1f}",), kind)


def _partners(view: ReportView) -> list[tuple[Line, Line]]:
    """Return the pairs (line, baseline) that are compared.

    The baseline has the same settings with full tuning. Without such a line it is the first line
    of these settings.
    """
    by_settings: dict[Any, list[Line]] = {}
    for line in view.lines:
        by_settings.setdefault(line.settings, []).append(line)
    pairs = []
    for same in by_settings.values():
        full = [line for line in same if view.collection.kind(line) == "FullTuning"]
        baseline = full[0] if full else same[0]
        pairs += [(line, baseline) for line in same if line != baseline]
    return pairs


def tunings(view: ReportView) -> Section | None:
    """Return the AP of each tuning minus that of full tuning; None where no seed has both."""
    tasks = [Group(task, task_name(task), (task,)) for task in view.cells.tasks]
    groups = [*tasks, *view.groups]
    frame = _differences(view, groups)
    if frame.empty:
        return None
    trained = [shots for shots in view.cells.shots if shots != 0]
    # the rows after the tasks are those of the means
    means = frame[frame["row"] >= len(tasks)] if view.groups else frame
    rows: list[list[Cell | str]] = []
    kinds: set[str] = set()
    for (_, row), own in means.groupby(["pair", "row"]):
        name = Cell(own["name"].iloc[0], kind="left", line=own["line"].iloc[0])
        stats = dict(zip(own["shots"], own["stat"], strict=True))
        cells = [_difference_cell(stats.get(shots)) for shots in trained]
        kinds |= {cell.kind for cell in cells}
        rows.append([name, Cell(groups[row].short, kind="left"), *cells])
    head = ["tunings", "mean" if view.groups else "task", *map(of_shots, trained)]
    # all panels get the same axis, which reaches every mark
    scale = [-1.0, 1.0, *frame["x"], *frame["low"].dropna(), *frame["high"].dropna()]
    names = [group.short for group in groups]
    axis = "difference in AP (points)"
    panels = []
    for shots in trained:
        own = frame[frame["shots"] == shots]
        if len(own):
            title = of_shots(shots)
            label = f"Differences at {title}"
            chart = dots(names, own, 320, label, axis, scale, means=len(view.groups))
            panels.append(Figure(title, chart))
    pairs = _partners(view)
    _, baseline = pairs[0]
    texts = [
        "Differences in AP (points) between runs of the same seed, which have the same training "
        "images, on the same redrawn images.",
        explained(frame["stat"], "differences"),
    ]
    parts: list[Part] = [ReportText(" ".join(text for text in texts if text), note=True)]
    if rows:
        parts.append(ReportTable.of("Differences", head, rows, names=2))
    note = f"In the charts, right of zero: better than {view.names[baseline]}."
    if kinds & {"good", "bad"}:
        note += " Coloured in the table: zero is not between the brackets."
    compared = [line for line, _ in pairs]
    parts += [PageNote(note), legend(view, "tunings", compared), Figures("tall", panels)]
    return Section("tunings", "Tuning against tuning", "Tunings", parts)


def _differences(view: ReportView, groups: Sequence[Group]) -> pd.DataFrame:
    """Return a row for each pair of lines, number of shots and group, if a seed has both lines."""
    rows = []
    for pair, (line, baseline) in enumerate(_partners(view)):
        name = f"{view.names[line]} minus {view.names[baseline]}"
        for shots in view.cells.shots:
            if shots == 0:
                continue
            for row, group in enumerate(groups):
                stat = view.cells.difference(line, baseline, shots, group.tasks)
                if stat is None:
                    continue
                title = f"{group.short}: {name}: {signed_spread(stat)} {bounds(stat)}"
                place = {
                    "pair": pair,
                    "line": view.lines.index(line),
                    "name": name,
                    "shots": shots,
                    "row": row,
                    "stat": stat,
                }
                rows.append(place | mark_columns(stat.mean, stat.std, title))
    return pd.DataFrame(rows)


def mark_columns(mean: float, std: float | None, title: str) -> dict[str, Any]:
    """Return the columns with which :func:`.charts.dots` draws a mean and its spread."""
    low, high = (math.nan, math.nan) if std is None else (mean - std, mean + std)
    return {"x": mean, "low": low, "high": high, "title": title, "kind": "full"}


def _difference_cell(stat: Stat | None) -> Cell:
    if stat is None:
        return Cell(MISSING, kind="soft")
    kind = ""
    if stat.interval is not None:
        low, high = stat.interval
        if low > 0 or high < 0:
            kind = "good" if stat.mean > 0 else "bad"
    return Cell(signed_spread(stat), (bounds(stat),), kind, seeds_of(stat))
