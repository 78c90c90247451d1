"""What figures are made of: SVG that takes its colours from the page, so that it is right in light and dark.

Series are told apart by colour (Okabe and Ito's, darker on white and lighter on black), by marker and by dashes.
"""

import math
from collections.abc import Sequence

from glip_lightning.experiments.report.html import escape

COLOURS = 7
DASHES = ("", "8 4", "9 3 2 3", "4 3")
Point = tuple[float, float]


def svg(width: float, height: float, body: Sequence[str], label: str) -> str:
    """A picture of ``width`` x ``height`` that shrinks and grows with its place; ``label`` is what it shows."""
    return (
        f'<svg viewBox="0 0 {width:g} {height:g}" style="max-width:{width * 1.35:.0f}px" role="img" '
        f'aria-label="{escape(label)}">' + "".join(body) + "</svg>"
    )


def group(index: int, body: Sequence[str]) -> str:
    """``body`` in the colour of series ``index``."""
    return f'<g class="s{index % COLOURS}">' + "".join(body) + "</g>"


def text(x: float, y: float, content: str, kind: str = "", anchor: str = "start") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" class="{kind}" text-anchor="{anchor}">{escape(content)}</text>'


def rotated(x: float, y: float, content: str) -> str:
    """Text that reads from bottom to top, its middle at x, y: the title of a vertical axis."""
    turn = f"rotate(-90 {x:.1f} {y:.1f})"
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" class="axis" text-anchor="middle" transform="{turn}">{escape(content)}</text>'
    )


def line(start: Point, end: Point, kind: str) -> str:
    return f'<line x1="{start[0]:.1f}" y1="{start[1]:.1f}" x2="{end[0]:.1f}" y2="{end[1]:.1f}" class="{kind}"/>'


def path(points: Sequence[Point], kind: str, dash: str = "", close: bool = False) -> str:
    steps = " ".join(f"{'L' if i else 'M'}{x:.1f} {y:.1f}" for i, (x, y) in enumerate(points))
    dashes = f' stroke-dasharray="{dash}"' if dash else ""
    return f'<path d="{steps}{"Z" if close else ""}" class="{kind}"{dashes}/>'


def dash_of(index: int) -> str:
    return DASHES[(index // COLOURS + index) % len(DASHES)]


def marker(index: int, at: Point, size: float = 4.5, kind: str = "mark", title: str = "") -> str:
    """The sign of series ``index``; ``title`` appears when the pointer rests on it."""
    x, y = at
    inside = f"<title>{escape(title)}</title>" if title else ""
    shape = (index + index // COLOURS) % 7
    if shape == 0:
        return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{size:g}" class="{kind}">{inside}</circle>'
    corners = [(x + size * a, y + size * b) for a, b in _SHAPES[shape]]
    steps = " ".join(f"{a:.1f},{b:.1f}" for a, b in corners)
    return f'<polygon points="{steps}" class="{kind}">{inside}</polygon>'


def _star(points: int, inner: float) -> list[Point]:
    turns = [(math.pi * (i / points - 0.5), inner if i % 2 else 1.35) for i in range(2 * points)]
    return [(r * math.cos(a), r * math.sin(a)) for a, r in turns]


_SHAPES: dict[int, list[Point]] = {
    1: [(-0.9, -0.9), (0.9, -0.9), (0.9, 0.9), (-0.9, 0.9)],
    2: [(0, -1.2), (1.15, 0.85), (-1.15, 0.85)],
    3: [(0, -1.3), (1.3, 0), (0, 1.3), (-1.3, 0)],
    4: [(0, 1.2), (1.15, -0.85), (-1.15, -0.85)],
    5: _star(5, 0.6),
    6: _star(4, 0.5),
}


def key(index: int, name: str) -> str:
    """A line of a legend as HTML: the series' line and marker beside its name."""
    dash = dash_of(index)
    sign = group(index, [path([(1, 8), (29, 8)], "curve", dash), marker(index, (15, 8))])
    return f'<span class="key"><svg viewBox="0 0 30 16" aria-hidden="true">{sign}</svg>{escape(name)}</span>'


def ticks(low: float, high: float, count: int = 5) -> list[float]:
    """About ``count`` round numbers from at most ``low`` to at least ``high``."""
    span = max(high - low, 1e-9)
    rough = span / max(1, count - 1)
    size = 10 ** math.floor(math.log10(rough))
    step = next(size * m for m in (1, 2, 2.5, 5, 10) if size * m >= rough * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(i * step, 10) for i in range(first, last + 1)]


def percent_ticks(values: Sequence[float], count: int = 5) -> list[float]:
    """Ticks of an AP axis: from 0 unless all values lie far above, never beyond 100."""
    low, high = min(values, default=0.0), max(values, default=100.0)
    pad = max(1.0, 0.06 * (high - low))
    low, high = max(0.0, low - pad), min(100.0, high + pad)
    return ticks(0.0 if low < 0.3 * high else low, high, count)


def log_ticks(low: float, high: float) -> list[float]:
    """1, 2, 5, 10, ... around low to high; where that is too many, powers of ten only."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    found = [m * 10.0**e for e in range(first, last + 1) for m in (1, 2, 5)]
    inside = [t for t in found if low / 2.6 <= t <= high * 2.6]
    if len(inside) > 6:
        return [10.0**e for e in range(first, last + 1)]
    return inside


def spread_labels(wanted: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Heights near the ``wanted`` ones, at least ``gap`` apart and inside low to high where they fit."""
    order = sorted(range(len(wanted)), key=lambda i: wanted[i])
    places = [min(max(wanted[i], low), high) for i in order]
    for i in range(1, len(places)):
        places[i] = max(places[i], places[i - 1] + gap)
    over = places[-1] - high if places else 0.0
    if over > 0:
        places[-1] -= over
        for i in range(len(places) - 2, -1, -1):
            places[i] = min(places[i], places[i + 1] - gap)
    found = [0.0] * len(wanted)
    for i, place in zip(order, places, strict=True):
        found[i] = place
    return found


def short(value: float) -> str:
    """A tick's number: 2.5, 40, 1k, 3M."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:g}{letter}"
    return f"{value:g}"
