"""The two figures of the report: curves over the number of shots, and dots in rows."""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

from glip_lightning.experiments.report.svg import (
    Point,
    dash_of,
    group,
    line,
    log_ticks,
    marker,
    path,
    percent_ticks,
    rotated,
    short,
    spread_labels,
    svg,
    text,
    ticks,
)

Place = Callable[[float, float], Point]  # of a point in data, in pixels

CHARACTER = 6.4  # about the width of a letter of 12 pixels


class CurvePoint(NamedTuple):
    """AP in percent at one number of shots."""

    x: int  # place on the axis
    mean: float
    std: float | None
    values: tuple[float, ...]  # of the seeds
    interval: tuple[float, float] | None
    whole: bool  # False: tasks are missing, so it stands alone
    title: str


class Curve(NamedTuple):
    index: int
    name: str
    points: list[CurvePoint]
    paper: Sequence[tuple[int, float, str]] = ()  # place, AP, what it is


class Mark(NamedTuple):
    index: int
    x: float
    low: float | None
    high: float | None
    title: str
    kind: str = "mark"


class Row(NamedTuple):
    label: str
    marks: list[Mark]
    strong: bool = False


class Way(NamedTuple):
    """Points x, y with what they are, in the order in which they are joined."""

    index: int
    points: list[tuple[float, float, str]]


def curves(lines: Sequence[Curve], shots: Sequence[str], width: int, height: int, label: str, large: bool) -> str:
    """AP over shots. Bands are one standard deviation over seeds, small dots seeds, diamonds the paper.

    ``large`` figures name their lines at the right end and show the interval over images as thin bars.
    """
    names = max((len(c.name) for c in lines), default=0) if large and width > 500 else 0
    left, right, top, bottom = (
        44.0,
        width - 14.0 - (min(190.0, 14 + names * 7.4) if names else 0.0),
        12.0,
        height - 42.0,
    )
    marks = percent_ticks([y for c in lines for y in _heights(c, large)], 6 if large else 4)

    def place(x: float, y: float) -> Point:
        inner = (right - left - 28) / max(1, len(shots) - 1)
        share = min(1.0, max(0.0, (y - marks[0]) / (marks[-1] - marks[0])))  # a spread may leave 0 to 100
        return (left + 14 + x * inner if len(shots) > 1 else (left + right) / 2), bottom - share * (bottom - top)

    body = [line((left, place(0, t)[1]), (right, place(0, t)[1]), "grid") for t in marks]
    body += [text(left - 7, place(0, t)[1] + 4, f"{t:g}", "tick", "end") for t in marks]
    body += [text(place(i, 0)[0], bottom + 17, name, "tick", "middle") for i, name in enumerate(shots)]
    body += [line((left, bottom), (right, bottom), "base"), rotated(12, (top + bottom) / 2, "AP (%)")]
    body += [text((left + right) / 2, height - 8, "shots (images per class)", "axis", "middle")]
    step = min(7.0, 26.0 / max(1, len(lines)))
    moves = [(i - (len(lines) - 1) / 2) * step for i in range(len(lines))]
    for curve, move in zip(lines, moves, strict=True):
        at = _mover(place, move)
        body.append(group(curve.index, _band(curve, at) + _paper(curve, at)))
    for curve, move in zip(lines, moves, strict=True):
        body.append(group(curve.index, _curve(curve, _mover(place, move), large)))
    if names:
        body += _end_labels(lines, place, right, top, bottom)
    return svg(width, height, body, label)


def _mover(place: Place, move: float) -> Place:
    """``place`` with all curves side by side, so that none hides another."""

    def moved(x: float, y: float) -> Point:
        left, height = place(x, y)
        return left + move, height

    return moved


def _heights(curve: Curve, large: bool) -> list[float]:
    found = [y for _, y, _ in curve.paper]
    for point in curve.points:
        spread = point.std or 0.0
        found += [point.mean - spread, point.mean + spread, *point.values]
        found += point.interval or () if large else ()
    return found


def _band(curve: Curve, place: Place) -> list[str]:
    """The seed spread between neighbouring points that have one."""
    body = []
    for one, two in zip(curve.points, curve.points[1:], strict=False):
        if one.whole and two.whole and two.x == one.x + 1 and (one.std, two.std) != (None, None):
            a, b = one.std or 0.0, two.std or 0.0
            corners = [(one.x, one.mean - a), (one.x, one.mean + a), (two.x, two.mean + b), (two.x, two.mean - b)]
            body.append(path([place(*corner) for corner in corners], "band", close=True))
    return body


def _paper(curve: Curve, place: Place) -> list[str]:
    points = [place(x, y) for x, y, _ in curve.paper]
    body = [path(points, "paper-line")] if len(points) > 1 else []
    return body + [marker(3, at, 4, "hollow", t) for at, (_, _, t) in zip(points, curve.paper, strict=True)]


def _curve(curve: Curve, place: Place, large: bool) -> list[str]:
    body: list[str] = []
    joined = [place(point.x, point.mean) for point in curve.points if point.whole]
    if len(joined) > 1:
        body.append(path(joined, "curve", dash_of(curve.index)))
    for point in curve.points:
        if large and point.interval:
            body.append(line(place(point.x, point.interval[0]), place(point.x, point.interval[1]), "interval"))
        if point.std is not None:
            ends = [place(point.x, point.mean + sign * point.std) for sign in (-1, 1)]
            body.append(line(ends[0], ends[1], "whisker"))
            body += [line((x - 3, y), (x + 3, y), "whisker") for x, y in ends]
        if len(point.values) > 1:
            body += [marker(0, place(point.x, y), 1.8, "seed") for y in point.values]
    for point in curve.points:
        kind, size = ("mark" if point.whole else "hollow"), (5.0 if large else 4.2)
        body.append(marker(curve.index, place(point.x, point.mean), size, kind, point.title))
    return body


def _end_labels(lines: Sequence[Curve], place: Place, right: float, top: float, bottom: float) -> list[str]:
    """Each name beside the last point of its line."""
    last = [(c, [p for p in c.points if p.whole]) for c in lines]
    known = [(c, place(points[-1].x, points[-1].mean)[1]) for c, points in last if points]
    heights = spread_labels([y for _, y in known], 16, top + 4, bottom - 4)
    return [
        group(
            curve.index,
            [line((right + 1, y), (right + 8, height), "leader"), text(right + 11, height + 4, curve.name, "name")],
        )
        for (curve, y), height in zip(known, heights, strict=True)
    ]


def dots(rows: Sequence[Row], width: int, label: str, axis: str, scale: Sequence[float] = (), log: bool = False) -> str:
    """A row per label with its marks and their spread. ``scale`` are values that the axis must reach."""
    values = [v for row in rows for m in row.marks for v in (m.x, m.low, m.high) if v is not None] + list(scale)
    if log:
        values = [v for v in values if v > 0] or [1.0]
        marks = log_ticks(min(values), max(values))
    else:
        marks = ticks(min(values, default=0.0), max(values, default=1.0), 5)
    left = 14 + min(0.42 * width, max((len(row.label) for row in rows), default=0) * CHARACTER)
    right, top, each = width - 18.0, 8.0, _row_height(rows)
    bottom = top + each * len(rows)

    def place(x: float) -> float:
        first, last = (math.log10(marks[0]), math.log10(marks[-1])) if log else (marks[0], marks[-1])
        x = math.log10(max(x, marks[0])) if log else x
        return left + 8 + (x - first) / ((last - first) or 1) * (right - left - 8)

    body = [line((place(t), top), (place(t), bottom), "grid") for t in marks]
    body += [text(place(t), bottom + 16, short(t) if log else f"{t:g}", "tick", "middle") for t in marks]
    if not log and marks[0] < 0 <= marks[-1]:
        body.append(line((place(0), top - 4), (place(0), bottom + 3), "zero"))
    body.append(text((left + right) / 2, bottom + 35, axis, "axis", "middle"))
    for i, row in enumerate(rows):
        middle = top + each * (i + 0.5)
        if row.strong and i and not rows[i - 1].strong:
            body.append(line((4, middle - each / 2), (right, middle - each / 2), "base"))
        room = int((left - 14) / CHARACTER) + 1
        name = row.label if len(row.label) <= room else f"{row.label[: room - 1]}…"
        body.append(text(left - 4, middle + 4, name, "strong" if row.strong else "row", "end"))
        body += _marks(row, middle, each, place)
    return svg(width, bottom + 42, body, label)


def _row_height(rows: Sequence[Row]) -> float:
    series = len({mark.index for row in rows for mark in row.marks})
    return 14.0 + 7.0 * min(4, max(1, series))


def _marks(row: Row, middle: float, each: float, place: Callable[[float], float]) -> list[str]:
    """Series of a row below each other, where there are few; many marks of one series share their height."""
    series = list(dict.fromkeys(mark.index for mark in row.marks))
    gap = min(8.0, (each - 8.0) / max(1, len(series)))
    body = []
    for mark in row.marks:
        y = middle + (series.index(mark.index) - (len(series) - 1) / 2) * gap
        if mark.kind == "trial":  # many of a kind: scattered over the row
            y += ((0.618 * len(body)) % 1 - 0.5) * (each - 14)
        own = []
        if mark.low is not None and mark.high is not None:
            own.append(line((place(mark.low), y), (place(mark.high), y), "whisker"))
        size = 2.8 if mark.kind == "trial" and len(row.marks) > 24 else 4.2
        own.append(marker(mark.index, (place(mark.x), y), size, mark.kind, mark.title))
        body.append(group(mark.index, own))
    return body


def plane(ways: Sequence[Way], width: int, label: str, across: str, up: str) -> str:
    """AP over AP: each way begins with a hollow sign and ends with a full one."""
    xs = percent_ticks([x for way in ways for x, _, _ in way.points], 4)
    ys = percent_ticks([y for way in ways for _, y, _ in way.points], 5)
    height = 0.85 * width
    left, right, top, bottom = 44.0, width - 14.0, 12.0, height - 42.0

    def place(x: float, y: float) -> Point:
        share = (x - xs[0]) / (xs[-1] - xs[0]), (y - ys[0]) / (ys[-1] - ys[0])
        return left + share[0] * (right - left), bottom - share[1] * (bottom - top)

    body = [line((left, place(xs[0], t)[1]), (right, place(xs[0], t)[1]), "grid") for t in ys]
    body += [line((place(t, ys[0])[0], top), (place(t, ys[0])[0], bottom), "grid") for t in xs]
    body += [text(left - 7, place(xs[0], t)[1] + 4, f"{t:g}", "tick", "end") for t in ys]
    body += [text(place(t, ys[0])[0], bottom + 17, f"{t:g}", "tick", "middle") for t in xs]
    body += [rotated(12, (top + bottom) / 2, up), text((left + right) / 2, height - 8, across, "axis", "middle")]
    for way in ways:
        own = [path([place(x, y) for x, y, _ in way.points], "curve", dash_of(way.index))]
        for i, (x, y, title) in enumerate(way.points):
            own.append(marker(way.index, place(x, y), 4.2, "mark" if i else "hollow", title))
        body.append(group(way.index, own))
    return svg(width, height, body, label)
