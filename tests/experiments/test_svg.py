"""The figures' arithmetic: round ticks, labels apart, marks in their place."""

import itertools
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glip_lightning.experiments.report.charts import Curve, CurvePoint, Mark, Row, curves, dots
from glip_lightning.experiments.report.svg import key, log_ticks, percent_ticks, short, spread_labels, ticks


@given(st.floats(-1e4, 1e4), st.floats(0.001, 1e4))
def test_ticks_are_few_and_round_and_hold_the_values(low: float, span: float) -> None:
    found = ticks(low, low + span)
    assert 2 <= len(found) <= 8
    assert found[0] <= low + 1e-6 * span
    assert found[-1] >= low + span - 1e-6 * span
    steps = {round((b - a) / span, 4) for a, b in itertools.pairwise(found)}
    assert len(steps) == 1 or max(steps) - min(steps) < 1e-3


def test_ticks_of_ap_stay_between_0_and_100() -> None:
    assert percent_ticks([0.5, 18.0]) == [0, 5, 10, 15, 20]
    assert percent_ticks([62.0, 68.0])[0] >= 60
    assert percent_ticks([99.9])[-1] == 100
    assert percent_ticks([]) == [0, 25, 50, 75, 100]


@given(st.floats(1e-3, 1e9), st.floats(1, 1e6))
def test_log_ticks_hold_the_values(low: float, times: float) -> None:
    found = log_ticks(low, low * times)
    assert len(found) >= 2
    assert found[0] <= low * (1 + 1e-9)
    assert found[-1] >= low * times * (1 - 1e-9)


@given(st.lists(st.floats(0, 300), min_size=1, max_size=8))
def test_labels_keep_their_distance_and_their_order(wanted: list[float]) -> None:
    found = spread_labels(wanted, 16, 0, 300)
    in_order = sorted(found)
    assert all(b - a >= 16 - 1e-6 for a, b in itertools.pairwise(in_order))
    pairs = sorted(zip(wanted, found, strict=True))
    assert [y for _, y in pairs] == sorted(found) or len(set(wanted)) < len(wanted)
    assert in_order[-1] <= 300 + 1e-6


def point(x: int, mean: float, whole: bool = True) -> CurvePoint:
    return CurvePoint(x, mean, 2.0, (mean - 2, mean + 2), (mean - 5, mean + 5), whole, f"at {x}")


def test_a_curve_joins_whole_means_only() -> None:
    curve = Curve(0, "full", [point(0, 20), point(1, 30, whole=False), point(2, 40)], [(2, 42.0, "paper")])
    picture = curves([curve], ["0", "1", "all"], 640, 400, "a < b", True)
    (line,) = re.findall(r'<path d="([^"]*)" class="curve"', picture)
    assert line.count("L") == 1  # from the first point to the last one
    assert picture.count('class="hollow"') == 2  # the mean of fewer tasks and the paper
    assert 'aria-label="a &lt; b"' in picture
    assert "<title>at 1</title>" in picture


def test_series_differ_in_colour_marker_and_dashes() -> None:
    signs = [re.sub("s[0-6]", "", key(i, "")) for i in range(7)]
    assert len(set(signs)) == 7
    assert len({key(i, "") for i in range(14)}) == 14


def test_dots_lie_where_the_axis_says() -> None:
    rows = [
        Row("a", [Mark(0, -10, None, None, ""), Mark(0, 10, 5, 15, "")]),
        Row("mean", [Mark(0, 0, None, None, "")], True),
    ]
    picture = dots(rows, 320, "x", "points")
    xs = [float(x) for x in re.findall(r'<circle cx="([\d.]+)"', picture)]
    zero = float(re.findall(r'<line x1="([\d.]+)"[^>]*class="zero"', picture)[0])
    assert xs[2] == pytest.approx(zero, abs=0.11)
    assert zero - xs[0] == pytest.approx(xs[1] - zero, abs=0.21)


@pytest.mark.parametrize("value, said", [(2.5, "2.5"), (1000, "1k"), (2e6, "2M"), (5e9, "5G"), (0.1, "0.1")])
def test_short_numbers(value: float, said: str) -> None:
    assert short(value) == said
