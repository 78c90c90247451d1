"""The charts of a report: SVG of matplotlib, in the colours of the page, light or dark.

Colour, marker and dashes tell series apart. Text stays text, in the font of the page. No two
charts of a page share an id, and equal numbers give equal bytes.
"""

import io
import re
import warnings
from collections.abc import Sequence
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pandas as pd
from markupsafe import Markup
from matplotlib import rc_context
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator

from glip_lightning.common.escaping import printable

VARIABLES = ("ink", "soft", "grid", "bg", *(f"c{i}" for i in range(7)))
"""Colours of the style sheet; matplotlib draws in colours that stand for them, from #000001 on."""
INK, SOFT, GRID, GROUND, *SERIES = (f"#0000{k:02x}" for k, _ in enumerate(VARIABLES, 1))
MARKERS = ("o", "s", "^", "D", "v", (5, 1, 0), (4, 1, 0))
DASHES = ("-", (0, (4, 2)), (0, (5, 2, 1, 2)), (0, (2, 1.5)))
STYLE = {
    "svg.fonttype": "none",
    "text.parse_math": False,
    "font.size": 12,
    "text.color": INK,
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.edgecolor": SOFT,
    "axes.labelcolor": SOFT,
    "axes.spines.top": False,
    "axes.spines.left": False,
    "axes.spines.right": False,
    "grid.color": GRID,
    "grid.linewidth": 1,
    "xtick.color": SOFT,
    "ytick.color": SOFT,
    "xtick.labelsize": 11.5,
    "ytick.labelsize": 11.5,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "xtick.minor.size": 0,
    "xtick.major.pad": 6,
}
Numbers = Sequence[float] | np.ndarray | pd.Series
CHARACTER = 6.4  # about the width of a letter of 12 pixels


class Chart:
    """A picture of ``width`` x ``height`` pixels with margins around its axes."""

    def __init__(
        self,
        width: float,
        height: float,
        left: float = 44,
        right: float = 14,
        top: float = 12,
        bottom: float = 42,
    ) -> None:
        self.width = width
        self.height = height
        self.inner = (width - left - right, height - top - bottom)
        self.figure = Figure(figsize=(width / 72, height / 72), dpi=72)
        share = (left / width, bottom / height, self.inner[0] / width, self.inner[1] / height)
        self.axes = self.figure.add_axes(share)
        self._titles: dict[str, list[str]] = {}  # of marks, by the id of their group

    def curve(self, index: int, xs: Numbers, ys: Numbers) -> None:
        """Draw the line of a series."""
        dashes = DASHES[(index // 7 + index) % 4]
        self.axes.plot(
            xs, ys, color=SERIES[index % 7], linestyle=dashes, linewidth=2.2, gid="curve"
        )

    def mark(
        self,
        index: int,
        xs: Numbers,
        ys: Numbers,
        titles: Sequence[str] | pd.Series = (),
        kind: str = "full",
        size: float = 8.5,
        marker: str = "",
    ) -> None:
        """Put the sign of a series at points; a title appears when the pointer rests on its point.

        ``kind`` is full, hollow, or pale for one of many.
        """
        colour = SERIES[index % 7]
        group = f"marks-{len(self._titles)}"
        self._titles[group] = list(titles)
        face = GROUND if kind == "hollow" else colour
        edge = {"full": GROUND, "hollow": colour, "pale": "none"}[kind]
        self.axes.plot(
            list(xs),
            list(ys),
            linestyle="",
            marker=marker or MARKERS[(index + index // 7) % 7],
            markersize=size,
            markerfacecolor=face,
            markeredgecolor=edge,
            alpha=0.5 if kind == "pale" else None,
            clip_on=False,
            zorder=3,
            gid=group,
        )

    def svg(self, label: str, salt: str = "") -> Markup:
        """Return the picture for the page, which shrinks and grows with its place.

        ``label`` says what it shows; it is empty where a text beside it does. The ids in the
        picture depend on label, size and ``salt``.
        """
        label = printable(label)
        file = io.StringIO()
        salt = f"{label} {printable(salt)} {self.width} {self.height}"
        with warnings.catch_warnings(), rc_context({"svg.hashsalt": salt}):
            # a script that the measuring font lacks: the fonts of the browser have it
            warnings.filterwarnings("ignore", "Glyph .* missing from font", UserWarning)
            self.figure.savefig(file, format="svg", transparent=True, metadata={"Date": None})
        root = ElementTree.fromstring(file.getvalue())
        for element in list(root.iter()):
            self._settle(element)
        root.attrib = {
            "viewBox": f"0 0 {self.width:g} {self.height:g}",
            "style": f"max-width:{1.35 * self.width:.0f}px",
        }
        if label:
            root.attrib |= {"role": "img", "aria-label": label}
        else:
            root.attrib["aria-hidden"] = "true"
        return Markup(ElementTree.tostring(root, encoding="unicode"))

    def _settle(self, element: ElementTree.Element) -> None:
        """Fit an element into a page: colours become variables, and titles are put in.

        What only a file of its own needs is taken out.
        """
        element.tag = element.tag.rpartition("}")[2]
        for child in list(element):
            if child.tag.endswith(("}metadata", "}style")):
                element.remove(child)
        found = {key.rpartition("}")[2]: value for key, value in element.attrib.items()}
        if element.tag == "g":  # matplotlib counts them in each picture from 1 on
            name = found.pop("id", "")
            if name == "curve":
                found["class"] = name
            titles = self._titles.get(name, [])
            uses = [child for child in element.iter() if child.tag.endswith("use")]
            for use, title in zip(uses, titles, strict=False):
                ElementTree.SubElement(use, "title").text = printable(title)
        if "style" in found:
            style = re.sub(r"font-family: [^;]*(; )?", "", found["style"])
            found["style"] = re.sub("#0000([0-9a-f]{2})", _variable, style)
        if "d" in found:
            found["d"] = " ".join(found["d"].split())
        if found.get("transform", "").startswith("rotate(-0 "):
            del found["transform"]
        element.attrib = found
        element.text = element.text if element.tag in ("text", "title") else None
        element.tail = None


def _variable(colour: re.Match[str]) -> str:
    return f"var(--{VARIABLES[int(colour[1], 16) - 1]})"


def _round_axis(axis: Axis, low: float, high: float, count: int) -> None:
    """Let an axis begin and end at about ``count`` round numbers around low to high."""
    ticks = np.asarray(MaxNLocator(count, steps=[1, 2, 2.5, 5, 10]).tick_values(low, high))
    axis.set_ticks(ticks, [f"{tick:g}".replace("-", "\N{MINUS SIGN}") for tick in ticks.round(10)])
    if axis is axis.axes.xaxis:
        axis.axes.set_xlim(ticks[0], ticks[-1])
    else:
        axis.axes.set_ylim(ticks[0], ticks[-1])


def _percent_axis(axis: Axis, values: Sequence[float], count: int) -> None:
    """Let an axis of AP begin at 0 unless all values lie far above, and never go beyond 100."""
    lowest = min(values, default=0.0)
    highest = max(values, default=100.0)
    pad = max(1.0, 0.06 * (highest - lowest))
    low = max(0.0, lowest - pad)
    high = min(100.0, highest + pad)
    if low < 0.3 * high:
        low = 0.0
    _round_axis(axis, low, high, count)


@rc_context(STYLE)
def curves(
    points: pd.DataFrame, shots: Sequence[str], width: int, height: int, label: str, large: bool
) -> Markup:
    """Return AP over shots, of a frame with ``line, x, stat, whole, title, paper, paper_title``.

    Bands and whiskers are one standard deviation over seeds, small dots are seeds, diamonds the
    paper. Points that are not whole are hollow and join no line. ``large`` charts show the
    interval over images as thick pale bars. ``width`` and ``height`` are pixels.
    """
    chart = Chart(width, height)
    axes = chart.axes
    pixels = (chart.inner[0] - 28) / max(1, len(shots) - 1)  # from one number of shots to the next
    axes.set_xticks(range(len(shots)), [printable(name) for name in shots])
    axes.set_xlim(-14 / pixels, len(shots) - 1 + 14 / pixels)
    axes.grid(visible=False, axis="x")
    axes.set(xlabel="shots (images per class)", ylabel="AP (points)")
    lines: list[Any] = list(points.groupby("line", sort=False))
    heights: list[float] = []
    apart = min(7.0, 26 / max(1, len(lines))) / pixels
    for number, (index, own) in enumerate(lines):  # side by side, so that none hides another
        move = (number - (len(lines) - 1) / 2) * apart
        moved = own.assign(at=own["x"] + move)
        heights += _draw_paper(chart, index, moved)
        heights += _draw_line(chart, index, moved)
        heights += _draw_points(chart, index, moved, large)
    _percent_axis(axes.yaxis, heights, 6 if large else 4)
    return chart.svg(label)


def _draw_paper(chart: Chart, index: int, own: pd.DataFrame) -> list[float]:
    """Draw the paper's numbers of a line; return the heights that they reach."""
    printed = own[own["paper"].notna()]
    xs = list(printed["at"])
    ys = list(printed["paper"])
    chart.axes.plot(xs, ys, color=SERIES[index % 7], linestyle=":", linewidth=1.3)
    chart.mark(index, xs, ys, printed["paper_title"], "hollow", 7, "D")
    return ys


def _draw_line(chart: Chart, index: int, own: pd.DataFrame) -> list[float]:
    """Draw the means of a line and the band of their spread; return the ends of the whiskers."""
    colour = SERIES[index % 7]
    known = own[own["stat"].notna()]
    known = known.assign(std=[stat.std for stat in known["stat"]]).astype({"std": float})
    whole = known[known["whole"]]
    band = whole.set_index("x").reindex(range(own["x"].max() + 1))
    half = band["std"].fillna(0)
    chart.axes.fill_between(
        band["at"],
        band["AP"] - half,
        band["AP"] + half,
        color=colour,
        alpha=0.14,
        linewidth=0,
    )
    chart.curve(index, whole["at"], whole["AP"])
    spread = known[known["std"].notna()]
    chart.axes.errorbar(
        spread["at"],
        spread["AP"],
        spread["std"],
        fmt="none",
        color=colour,  # also of the caps, which else have one of matplotlib's own
        elinewidth=1.4,
        capsize=3,
    )
    return [*(spread["AP"] - spread["std"]), *(spread["AP"] + spread["std"])]


def _draw_points(chart: Chart, index: int, own: pd.DataFrame, large: bool) -> list[float]:
    """Draw means, seeds and intervals of a line; return the heights that they reach."""
    colour = SERIES[index % 7]
    known = own[own["stat"].notna()]
    heights: list[float] = []
    for at, stat in zip(known["at"], known["stat"], strict=True):
        if large and stat.interval:
            chart.axes.vlines(at, *stat.interval, color=colour, linewidth=5, alpha=0.22)
            heights += stat.interval
        if len(stat.values) > 1:
            chart.axes.plot(
                [at] * len(stat.values),
                stat.values,
                "o",
                color=colour,
                markersize=3.6,
                alpha=0.65,
                mew=0,
            )
        heights += [stat.mean, *stat.values]
    for is_whole, some in known.groupby("whole"):
        kind = "full" if is_whole else "hollow"
        chart.mark(index, some["at"], some["AP"], some["title"], kind, 9 if large else 7.5)
    return heights


@rc_context(STYLE)
def dots(
    rows: Sequence[str],
    marks: pd.DataFrame,
    width: int,
    label: str,
    axis: str,
    scale: Sequence[float] = (),
    log: bool = False,
    means: int = 0,
) -> Markup:
    """Return a row per name with its marks.

    ``marks`` is a frame with ``row, line, x, low, high, title, kind``. Lines of a row stand below
    each other; the last ``means`` rows are set apart. ``scale`` are values that the axis must
    reach. ``width`` is in pixels.
    """
    names = _names_that_fit(rows, 0.42 * width)
    longest = max((len(name) for name in names), default=0)
    each = 14 + 7 * min(4, max(1, marks["line"].nunique()))
    chart = Chart(width, 50 + each * len(rows), 22 + longest * CHARACTER, 18, 8)
    axes = chart.axes
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_yticks(range(len(rows)), names, color=INK, fontsize=12)
    for text in axes.get_yticklabels()[len(rows) - means :]:
        text.set_fontweight("bold")
    if 0 < means < len(rows):
        axes.axhline(len(rows) - means - 0.5, color=SOFT, linewidth=1)
    axes.spines["bottom"].set_visible(False)
    axes.grid(visible=False, axis="y")
    axes.set_xlabel(axis)
    values = [*marks["x"], *marks["low"].dropna(), *marks["high"].dropna(), *scale] or [0.0, 1.0]
    if log:
        _log_axis(chart, min(values), max(values))
    else:
        _round_axis(axes.xaxis, min(values), max(values), 5)
        if axes.get_xlim()[0] < 0 <= axes.get_xlim()[1]:
            axes.axvline(0, color=INK, linewidth=1.2)
    groups: list[Any] = list(marks.groupby("row", sort=False))
    for row, own in groups:
        _draw_row(chart, row, own, each)
    return chart.svg(label)


def _names_that_fit(names: Sequence[str], pixels: float) -> list[str]:
    """Return names, those cut that are longer than a number of pixels."""
    longest = max((len(name) for name in names), default=0)
    room = int(min(pixels, longest * CHARACTER) / CHARACTER) + 1
    found = []
    for name in names:
        shown = printable(name)
        found.append(shown if len(shown) <= room else f"{shown[: room - 1]}…")
    return found


def _log_axis(chart: Chart, low: float, high: float) -> None:
    """Let an axis show 1, 2, 5, 10 ... where these are few, else powers of ten."""
    axes = chart.axes
    axes.set_xscale("log")
    axes.set_xlim(low / 1.3, high * 1.3)
    subs = (1, 2, 5) if high < 100 * low else (1,)
    axes.xaxis.set_major_locator(LogLocator(subs=subs, numticks=12))
    axes.xaxis.set_major_formatter(FuncFormatter(tick_text))
    axes.xaxis.minorticks_off()


def tick_text(value: float, _: int | None = None) -> str:
    """Return a tick's number: 2.5, 40, 1k, 3M. Matplotlib also gives the place of the tick."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:g}{letter}"
    return f"{value:g}"


def _draw_row(chart: Chart, row: int, own: pd.DataFrame, each: float) -> None:
    lines = own["line"].drop_duplicates().tolist()
    gap = min(8.0, (each - 8) / len(lines)) / each
    size = 5.6 if len(own) > 24 else 8
    for (index, kind), some in own.groupby(["line", "kind"], sort=False):
        ys = np.full(len(some), row + (lines.index(index) - (len(lines) - 1) / 2) * gap)
        if kind == "pale":  # many: scattered over the row
            ys += ((0.618 * np.arange(len(some))) % 1 - 0.5) * (each - 14) / each
        chart.axes.hlines(ys, some["low"], some["high"], color=SERIES[index % 7], linewidth=1.4)
        chart.mark(index, some["x"], ys, some["title"], kind, size)


@rc_context(STYLE)
def plane(ways: pd.DataFrame, width: int, label: str, across: str, up: str) -> Markup:
    """Return AP over AP, of a frame with ``way, line, x, y, title``.

    Each way is hollow where it begins. ``width`` is in pixels.
    """
    chart = Chart(width, 0.85 * width)
    chart.axes.set(xlabel=printable(across), ylabel=printable(up))
    for _, own in ways.groupby("way", sort=False):
        index = int(own["line"].iloc[0])
        xs = list(own["x"])
        ys = list(own["y"])
        titles = list(own["title"])
        chart.curve(index, xs, ys)
        chart.mark(index, xs[:1], ys[:1], titles[:1], "hollow", 8)
        chart.mark(index, xs[1:], ys[1:], titles[1:], "full", 8)
    _percent_axis(chart.axes.xaxis, list(ways["x"]), 4)
    _percent_axis(chart.axes.yaxis, list(ways["y"]), 5)
    return chart.svg(label)


@rc_context(STYLE)
def key(index: int, where: str) -> Markup:
    """Return the line and the marker of a series for the legend of the section ``where``."""
    chart = Chart(30, 16, 0, 0, 0, 0)
    chart.axes.set_axis_off()
    chart.axes.set(xlim=(0, 30), ylim=(0, 16))
    chart.curve(index, [1, 29], [8, 8])
    chart.mark(index, [15], [8], size=8)
    return chart.svg("", f"{index} {where}")
