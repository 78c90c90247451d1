"""Boxes around polygons and RLE."""

import cmath
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from faster_coco_eval.core import mask as masks
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from formats import write_parts
from glip_lightning.data.checks.findings import Findings
from glip_lightning.data.formats.layouts import read_folder
from glip_lightning.data.formats.mask_boxes import around_turned, box_around

shapes = st.tuples(st.integers(1, 12), st.integers(1, 12))


def truth(mask: np.ndarray) -> list[float] | None:
    ys, xs = np.nonzero(mask)
    if not len(xs):
        return None
    return [
        float(v) for v in (xs.min(), ys.min(), xs.max() - xs.min() + 1, ys.max() - ys.min() + 1)
    ]


def runs(mask: np.ndarray) -> list[int]:
    flat = np.concatenate([[0], mask.flatten(order="F"), [2]])
    ends = np.flatnonzero(np.diff(flat))
    lengths = np.diff(np.concatenate([[0], ends])).tolist()
    return lengths


@given(arrays(np.uint8, shapes, elements=st.integers(0, 1)))
def test_rle_gives_the_box_of_its_pixels(mask: np.ndarray) -> None:
    size = list(mask.shape)
    assert box_around({"counts": runs(mask), "size": size}) == truth(mask)
    encoded = masks.encode(np.asfortranarray(mask))
    assert box_around({"counts": encoded["counts"].decode(), "size": size}) == truth(mask)


@given(
    st.lists(
        st.lists(st.tuples(*[st.floats(-100, 1000)] * 2), min_size=3, max_size=6),
        min_size=1,
        max_size=4,
    )
)
def test_polygons_give_the_box_around_all_parts(parts: list[list[tuple[float, float]]]) -> None:
    xs, ys = zip(*[point for part in parts for point in part], strict=True)
    expected = [min(xs), min(ys), max(xs) - min(xs), max(ys) - min(ys)]
    assert box_around([[value for point in part for value in point] for part in parts]) == expected


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["counts", "size", "x"]), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(json_values | st.fixed_dictionaries({"counts": json_values, "size": st.just([3, 4])}))
def test_anything_else_gives_none_or_four_numbers(value: Any) -> None:
    box = box_around(value)
    assert box is None or (len(box) == 4 and all(type(x) is float for x in box))


@pytest.mark.parametrize("bbox", [None, [], "absent"])
def test_annotations_without_bbox(tmp_path: Path, bbox: Any) -> None:
    file = write_parts(tmp_path) / "train" / "_annotations.coco.json"
    content = json.loads(file.read_text())
    expected = [annotation["bbox"] for annotation in content["annotations"]]
    for annotation in content["annotations"]:
        x, y, w, h = annotation["bbox"]
        annotation["segmentation"] = [[x, y, x + w, y, x + w, y + h, x, y + h]]
        annotation["bbox"] = bbox
        if bbox == "absent":
            del annotation["bbox"]
    file.write_text(json.dumps(content))
    findings = Findings()
    assert read_folder(tmp_path, findings).splits["train"].boxes.xywh.tolist() == expected
    assert [(f.level, f.count) for f in findings if f.code == "box-of-mask"] == [
        ("warning", len(expected))
    ]
    del content["annotations"][0]["segmentation"]
    file.write_text(json.dumps(content))
    findings = Findings()
    read_folder(tmp_path, findings)
    assert [(f.code, f.count) for f in findings.errors] == [("bad-box", 1)]


def corners_of(x: float, y: float, w: float, h: float, degrees: float) -> list[tuple[float, float]]:
    """The corners of a turned box, each by complex numbers."""
    middle, turn = complex(x + w / 2, y + h / 2), cmath.rect(1, math.radians(degrees))
    points = [middle + turn * complex(a * w / 2, b * h / 2) for a in (-1, 1) for b in (-1, 1)]
    return [(point.real, point.imag) for point in points]


@given(
    st.floats(-20, 60), st.floats(-20, 60), st.floats(1, 90), st.floats(1, 90), st.floats(-720, 720)
)
def test_the_box_around_a_turned_box(
    x: float, y: float, w: float, h: float, degrees: float
) -> None:
    left, top, width, height = around_turned((x, y, w, h), degrees)
    xs, ys = zip(*corners_of(x, y, w, h, degrees), strict=True)
    assert (left, top) == pytest.approx((min(xs), min(ys)), abs=1e-9)
    assert (left + width, top + height) == pytest.approx((max(xs), max(ys)), abs=1e-9)
