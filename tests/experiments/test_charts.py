"""The charts: marks in their place, themes, ids, odd names."""

import math
import re
from xml.etree import ElementTree

import pandas as pd
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from glip_lightning.experiments.report.charts import curves, dots, key, plane, tick_text
from glip_lightning.experiments.report.statistics import Stat

NUMBERS = r"-?[\d.]+"


def frame(**columns: list[object]) -> pd.DataFrame:
    return pd.DataFrame(columns)


def curve_points(whole: list[bool]) -> pd.DataFrame:
    means = [20.0 + 10 * x for x in range(len(whole))]
    stats = [Stat(mean, 2.0, 2, (mean - 2, mean + 2), (mean - 5, mean + 5)) for mean in means]
    titles = [f"at {x}" for x in range(len(whole))]
    points = frame(
        line=[0] * len(whole),
        x=list(range(len(whole))),
        AP=means,
        stat=stats,
        whole=whole,
        title=titles,
    )
    return points.assign(paper=[math.nan] * (len(whole) - 1) + [42.0], paper_title="paper")


def marks_of(rows: list[int], xs: list[float]) -> pd.DataFrame:
    marks = frame(
        row=rows,
        x=xs,
        low=[x - 1 for x in xs],
        high=[x + 1 for x in xs],
        title=[f"{x:g}" for x in xs],
    )
    return marks.assign(line=0, kind="full")


def places(picture: str) -> dict[str, float]:
    """The horizontal place of each mark by its title."""
    root = ElementTree.fromstring(picture)
    return {
        str(use.findtext("title")): float(use.attrib["x"])
        for use in root.iter("use")
        if use.find("title") is not None
    }


def test_a_curve_joins_whole_means_only() -> None:
    picture = curves(curve_points([True, False, True]), ["0", "1", "all"], 640, 400, "a < b", True)
    (line,) = re.findall(r'<g class="curve">\s*<path d="([^"]*)"', picture)
    assert line.count("L") == 1  # from the first point to the last one
    assert picture.count("<title>") == 4
    assert 'aria-label="a &lt; b"' in picture
    assert set(places(picture)) == {"at 0", "at 1", "at 2", "paper"}


def test_colours_are_those_of_the_page_and_ids_are_of_one_chart() -> None:
    pictures = [
        curves(curve_points([True, True]), ["0", "1"], 640, 400, "curves", True),
        curves(curve_points([True, True]), ["0", "1"], 360, 320, "curves", True),
        dots(["a"], marks_of([0], [1.0]), 320, "dots", "points"),
        plane(
            frame(way=[0, 0], line=[0, 0], x=[1.0, 2], y=[3.0, 4], title=["", ""]),
            320,
            "plane",
            "x",
            "y",
        ),
        *(key(i, where) for i in range(8) for where in ("one", "two")),
    ]
    found = [name for picture in pictures for name in re.findall(r'\bid="([^"]+)"', picture)]
    assert len(found) == len(set(found))
    for picture in pictures:
        assert set(re.findall(r"url\(#([^)]+)\)|href=\"#([^\"]+)\"", picture)) <= {
            pair for name in found for pair in ((name, ""), ("", name))
        }
        assert "#0" not in picture.replace('"#', "").replace("(#", "")
        assert "var(--c" in picture
        assert "<style" not in picture
        assert "metadata" not in picture


def test_equal_numbers_give_equal_bytes() -> None:
    made = [curves(curve_points([True, True]), ["0", "1"], 640, 400, "a", True) for _ in range(2)]
    assert made[0] == made[1]


def test_series_differ_in_colour_marker_and_dashes() -> None:
    def sign(index: int) -> tuple[str, ...]:
        found = key(index, "")
        paths = re.findall(r' d="([^"]*)"', found)
        return (*paths, *re.findall(r"dasharray: [^;\"]*", found))

    assert len({sign(i) for i in range(7)}) == 7
    assert len({re.sub(r'\bid="[^"]*"|#[^"]*', "", key(i, "")) for i in range(14)}) == 14


def test_dots_lie_where_the_axis_says() -> None:
    picture = dots(
        ["a", "mean"], marks_of([0, 0, 1], [-10.0, 10.0, 0.0]), 320, "x", "points", means=1
    )
    found = places(picture)
    assert found["0"] - found["-10"] == pytest.approx(found["10"] - found["0"], abs=0.01)
    assert "font-weight: 700" in picture  # the mean


def test_an_axis_of_ap_stays_between_0_and_100() -> None:
    points = curve_points([True, True]).assign(AP=[97.0, 99.0])
    points["stat"] = [Stat(x, 9.0, 2, (x - 1, x + 1)) for x in points["AP"]]
    texts = re.findall(r">([\d.]+)</text>", curves(points, ["0", "1"], 640, 400, "a", True))
    assert max(map(float, texts)) == 100


@pytest.mark.parametrize(
    "value, said", [(2.5, "2.5"), (1000, "1k"), (2e6, "2M"), (5e9, "5G"), (0.1, "0.1")]
)
def test_short_numbers(value: float, said: str) -> None:
    assert tick_text(value) == said


@settings(max_examples=15, deadline=None)
@example("\ufffe\x00")
@given(st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=12))
def test_any_name_is_shown_and_is_no_markup(name: str) -> None:
    name = f"<b>$x$ {name}"
    picture = dots([name], marks_of([0], [1.0]).assign(title=name), 320, name, "points")
    root = ElementTree.fromstring(picture)
    assert root.find(".//b") is None
    assert root.attrib["aria-label"].startswith("<b>$x$ ")
