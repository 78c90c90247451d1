"""The parts of the page that speak of AP: summary, curves, tables, differences."""

from collections import Counter
from collections.abc import Sequence

from glip_lightning.experiments.report.charts import Curve, CurvePoint, Mark, Row, curves, dots
from glip_lightning.experiments.report.html import Td, figure, paragraph, section, table
from glip_lightning.experiments.report.runs import Line, Run, Shots, number
from glip_lightning.experiments.report.statistics import Group, Stat
from glip_lightning.experiments.report.svg import key
from glip_lightning.experiments.report.view import (
    MISSING,
    View,
    bounds,
    lacking,
    of_shots,
    seconds,
    seeds_of,
    shots_name,
    signed,
    signed_spread,
    spread,
    task_name,
)

SPREAD = "± is the sample standard deviation (n - 1) over seeds; brackets hold 95 % of the AP of redrawn test images."


def summary(view: View) -> str:
    runs = view.collection.runs
    states = Counter(run.state for run in runs)
    spent = sum(number((run.result or {}).get("seconds")) or 0.0 for run in runs)
    tiles = [(len(runs), "trials"), (states["finished"], "finished")]
    tiles += [(states[s], s) for s in ("failed", "missing", "repeated") if states[s] or s == "failed"]
    body = "".join(
        f'<div class="tile"><b class="{"bad" if name == "failed" and n else ""}">{n}</b><span>{name}</span></div>'
        for n, name in tiles
    )
    time = f'<div class="tile"><b>{seconds(spent)}</b><span>of training and measuring</span></div>'
    return section("summary", "Summary", f'<div class="tiles">{body}{time}</div>', _best(view))


def _best(view: View) -> str:
    """The highest mean for each number of shots."""
    rows: list[list[Td | str]] = []
    for shots in view.cells.shots:
        known = [(m, line) for line in view.lines if (m := view.cells.mean(line, shots, view.headline)) and m.whole]
        if not known:
            rows.append([shots_name(shots), Td("no complete mean yet", kind="left soft"), MISSING, MISSING])
            continue
        mean, line = max(known, key=lambda pair: pair[0].stat.mean)
        name = Td("every tuning begins here", kind="left") if shots == 0 else _line_cell(view, line)
        value = Td(spread(mean.stat), _fewer(view, shots, mean.stat))
        rows.append([shots_name(shots), name, value, bounds(mean.stat) or MISSING])
    head = ["shots", "best", f"{_headline(view)} AP (%)", "95 % over images"]
    return "<h3>Best for each number of shots</h3>" + table(head, rows, "Best for each number of shots")


def _headline(view: View) -> str:
    return view.headline.name if view.groups else task_name(view.headline.name)


def _line_cell(view: View, line: Line) -> Td:
    return Td(view.names[line], kind="left", swatch=view.lines.index(line))


def legend(view: View, lines: Sequence[Line] | None = None) -> str:
    shown = view.lines if lines is None else lines
    keys = "".join(key(view.lines.index(line), view.names[line]) for line in shown)
    return f'<div class="keys">{keys}</div>'


def efficiency(view: View) -> str:
    """AP over shots: the means, and every task."""
    shots = [shots_name(k) for k in view.cells.shots]
    groups = view.groups or [view.headline]
    large = []
    for group in groups:
        lines = [curve(view, i, line, group) for i, line in enumerate(view.lines)]
        label = f"AP over shots, {group.name}"
        large.append(
            figure(
                group.name,
                f'<div class="wide">{curves(lines, shots, 640, 400, label, True)}</div>',
                f'<div class="narrow">{curves(lines, shots, 360, 320, label, True)}</div>',
            )
        )
    small = []
    for task in view.cells.tasks if view.groups else ():
        alone = Group(task, task, (task,))
        lines = [curve(view, i, line, alone) for i, line in enumerate(view.lines)]
        small.append(figure(task_name(task), curves(lines, shots, 330, 230, f"AP over shots, {task}", False)))
    text = (
        "Line: mean over seeds. Band and whiskers: one sample standard deviation over seeds, small dots: the seeds. "
        "Thick pale bars: 95 % of the AP of redrawn test images. Hollow: tasks are missing, so it joins no line."
    )
    if view.has_paper:
        text += " Hollow diamonds on dotted lines: the GLIP paper."
    every = f'<h3>Every task</h3><div class="grid">{"".join(small)}</div>' if small else ""
    return section(
        "curves",
        "Data efficiency",
        paragraph(text, "note"),
        legend(view),
        f'<div class="pair">{"".join(large)}</div>',
        every,
    )


def curve(view: View, index: int, line: Line, group: Group) -> Curve:
    points, paper = [], []
    for x, shots in enumerate(view.cells.shots):
        name = f"{view.names[line]}, {of_shots(shots)}"
        if mean := view.cells.mean(line, shots, group):
            stat = mean.stat
            said = [f"{name}: {spread(stat)}", seeds_of(stat) if mean.whole else lacking(mean, group), bounds(stat)]
            title = ", ".join(part for part in said if part)
            points.append(CurvePoint(x, stat.mean, stat.std, stat.values, stat.interval, mean.whole, title))
        if (printed := view.cells.paper(line, shots, group.tasks)) is not None:
            paper.append((x, printed, f"GLIP paper, {name}: {printed:.1f}"))
    return Curve(index, view.names[line], points, paper)


def paper_layout(view: View) -> str:
    """Tunings and shots down, tasks across: the paper's Tables 14 to 16."""
    head = ["tuning", "shots", *(g.short for g in view.groups), *map(task_name, view.cells.tasks)]
    best = _bests(view)
    rows: list[list[Td | str]] = []
    blocks = []
    for line in view.lines:
        blocks.append(len(rows))
        for shots in view.cells.shots:
            if view.cells.planned(line, shots):
                means = [_mean_cell(view, line, shots, group, best) for group in view.groups]
                cells = [_cell(view, line, shots, task, best) for task in view.cells.tasks]
                rows.append([_line_cell(view, line), shots_name(shots), *means, *cells])
    text = f"Test AP in percent; mean of n = {_seeds(view)} seeds unless said otherwise. {SPREAD} "
    text += "Bold: the highest of its shots. In parentheses: tasks are missing, do not compare."
    if split := _odd_splits(view):
        text += f" {split}"
    return section("table", "All numbers", paragraph(text, "note"), table(head, rows, "All numbers", 2, blocks))


def _odd_splits(view: View) -> str:
    splits = {line.get("split") for line in view.lines}
    return "Measured on validation images: there is no test split." if splits == {"val"} else ""


def _seeds(view: View) -> int:
    return len({point.seed for point, _ in view.collection.points if point.shots != 0}) or 1


def _fewer(view: View, shots: Shots, stat: Stat) -> str:
    """The number of seeds where it is not that of the others."""
    return f"n = {stat.n}" if shots != 0 and stat.n < _seeds(view) else ""


Best = dict[tuple[Shots, str], float]


def _bests(view: View) -> Best:
    """The highest mean of each column and number of shots, where several lines have one."""
    found: dict[tuple[Shots, str], list[float]] = {}
    for shots in view.cells.shots:
        for line in view.lines:
            for task in view.cells.tasks:
                if stat := view.cells.cell(line, shots, task).stat():
                    found.setdefault((shots, task), []).append(stat.mean)
            for group in view.groups:
                if (mean := view.cells.mean(line, shots, group)) and mean.whole:
                    found.setdefault((shots, group.name), []).append(mean.stat.mean)
    return {place: max(values) for place, values in found.items() if len(values) > 1 and place[0] != 0}


def _mean_cell(view: View, line: Line, shots: Shots, group: Group, best: Best) -> Td:
    mean = view.cells.mean(line, shots, group)
    if mean is None:
        return Td(MISSING, kind="mean soft")
    if not mean.whole:
        names = ", ".join(map(task_name, mean.tasks))
        return Td(f"({mean.stat.mean:.1f})", lacking(mean, group), "mean soft", f"mean of {names}")
    kind = "mean best" if best.get((shots, group.name)) == mean.stat.mean else "mean"
    below = f"{bounds(mean.stat)}\n{_fewer(view, shots, mean.stat)}"
    return Td(spread(mean.stat), below, kind, seeds_of(mean.stat))


def _cell(view: View, line: Line, shots: Shots, task: str, best: Best) -> Td:
    cell = view.cells.cell(line, shots, task)
    stat = cell.stat()
    undone = ", ".join(f"{n} {state}" for state, n in Counter(run.state for run in cell.open).items())
    undone = undone.replace("finished", "undefined")  # finished without an AP: no box was there to be found
    if stat is None:
        return Td(undone or MISSING, kind="bad" if "failed" in undone else "soft", title=_why(cell.open))
    kind = "best" if best.get((shots, task)) == stat.mean else ""
    return Td(spread(stat), f"{bounds(stat)}\n{undone}", kind, seeds_of(stat))


def _why(runs: Sequence[Run]) -> str:
    return "; ".join(run.error for run in runs if run.error)[:300]


def against_paper(view: View) -> str:
    if not view.has_paper:
        detectors = sorted({line.get("detector") or "unknown" for line in view.lines})
        text = (
            f"The GLIP paper has no numbers for these tasks with {', '.join(detectors)}: it measured GLIP-T(A) to "
            "GLIP-L on ODinW-13, which are glip-tiny-a to glip-large here."
        )
        return section("paper", "Difference to the paper", paragraph(text))
    head = ["tuning", "shots", *(g.short for g in view.groups), *map(task_name, view.cells.tasks)]
    rows: list[list[Td | str]] = []
    blocks = []
    for line in view.lines:
        blocks.append(len(rows))
        for shots in view.cells.shots:
            means = [_paper_mean(view, line, shots, group) for group in view.groups]
            cells = [_paper_cell(view, line, shots, task) for task in view.cells.tasks]
            if any(cell.text != MISSING for cell in [*means, *cells]):
                rows.append([_line_cell(view, line), shots_name(shots), *means, *cells])
    text = (
        "Ours minus the paper's cell of the same model, tuning and shots, in points of AP; below it the paper's "
        "number. Its means are computed from its cells, because the printed ones hold small errors. Its weights, "
        "splits and images of few shots need not be the released ones."
    )
    numbers = table(head, rows, "Difference to the paper", 2, blocks)
    return section("paper", "Difference to the paper", paragraph(text, "note"), numbers)


def _paper_mean(view: View, line: Line, shots: Shots, group: Group) -> Td:
    mean, printed = view.cells.mean(line, shots, group), view.cells.paper(line, shots, group.tasks)
    if mean is None or not mean.whole or printed is None:
        return Td(MISSING, kind="mean soft")
    return Td(signed(mean.stat.mean - printed), f"{printed:.1f}", "mean")


def _paper_cell(view: View, line: Line, shots: Shots, task: str) -> Td:
    stat, printed = view.cells.cell(line, shots, task).stat(), view.cells.paper(line, shots, [task])
    if stat is None or printed is None:
        return Td(MISSING, kind="soft")
    return Td(signed(stat.mean - printed), f"{printed:.1f}")


def partners(view: View) -> list[tuple[Line, Line]]:
    """Every line with the full tuning of the same settings, or with their first tuning where that is missing."""
    found = []
    for settings in dict.fromkeys(line.settings for line in view.lines):
        same = [line for line in view.lines if line.settings == settings]
        base = next((line for line in same if view.collection.kind(line) == "FullTuning"), same[0])
        found += [(line, base) for line in same if line != base]
    return found


def tunings(view: View) -> str:
    """Each tuning minus full tuning."""
    pairs = partners(view)
    known = [k for k in view.cells.shots if k != 0]
    rows: list[list[Td | str]] = []
    for line, base in pairs:
        name = Td(f"{view.names[line]} minus {view.names[base]}", kind="left", swatch=view.lines.index(line))
        for group in view.groups or [view.headline]:
            stats = [view.cells.difference(line, base, shots, group.tasks) for shots in known]
            if any(stats):
                rows.append([name, Td(group.short, kind="left"), *map(_difference_cell, stats)])
    panels = _difference_panels(view, pairs, known)
    if not panels:
        return ""
    text = (
        "Differences of the same seeds, which have the same training images, and of the same draws of test images. "
        f"Right of zero: better than {view.names[pairs[0][1]]}. {SPREAD} Coloured: zero is not between the brackets."
    )
    numbers = table(["tunings", "mean", *map(shots_name, known)], rows, "Differences", 2) if rows else ""
    grid = f'{legend(view, [line for line, _ in pairs])}<div class="tall">{"".join(panels)}</div>'
    return section("tunings", "Tuning against tuning", paragraph(text, "note"), numbers, grid)


def _difference_panels(view: View, pairs: Sequence[tuple[Line, Line]], known: Sequence[Shots]) -> list[str]:
    """One for each number of shots, all with the same axis."""
    found: dict[Shots, list[Row]] = {}
    for shots in known:
        rows = [_difference_row(view, pairs, shots, task_name(task), [task]) for task in view.cells.tasks]
        rows += [_difference_row(view, pairs, shots, g.short, g.tasks)._replace(strong=True) for g in view.groups]
        if any(row.marks for row in rows):
            found[shots] = rows
    marks = [mark for rows in found.values() for row in rows for mark in row.marks]
    scale = [-1.0, 1.0, *(x for mark in marks for x in (mark.x, mark.low, mark.high) if x is not None)]
    panels = []
    for shots, rows in found.items():
        title = of_shots(shots)
        picture = dots(rows, 320, f"Differences at {title}", "difference in AP (points)", scale)
        panels.append(figure(title, picture))
    return panels


def _difference_row(
    view: View, pairs: Sequence[tuple[Line, Line]], shots: Shots, name: str, tasks: Sequence[str]
) -> Row:
    marks = []
    for line, base in pairs:
        if stat := view.cells.difference(line, base, shots, tasks):
            low, high = (stat.mean - stat.std, stat.mean + stat.std) if stat.std is not None else (None, None)
            title = f"{name}: {view.names[line]} minus {view.names[base]}: {signed_spread(stat)} {bounds(stat)}"
            marks.append(Mark(view.lines.index(line), stat.mean, low, high, title))
    return Row(name, marks)


def _difference_cell(stat: Stat | None) -> Td:
    if stat is None:
        return Td(MISSING, kind="soft")
    sure = stat.interval is not None and (stat.interval[0] > 0 or stat.interval[1] < 0)
    kind = ("good" if stat.mean > 0 else "bad") if sure else ""
    return Td(signed_spread(stat), bounds(stat), kind, seeds_of(stat))
