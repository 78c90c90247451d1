"""Boxes around masks and turned boxes, for annotations that have no upright box."""

import math
from collections.abc import Sequence
from typing import Any, TypeGuard

import numpy as np

Box = list[float]
"""x, y, width, height in pixels."""

Corners = tuple[float, float, float, float]
"""x1, y1, x2, y2: left, top, right, bottom."""


def is_number(value: object) -> TypeGuard[float]:
    """Return whether a value is a number that stays finite in float32 arithmetic."""
    return isinstance(value, int | float) and not isinstance(value, bool) and -1e9 < value < 1e9


def box_around(segmentation: Any) -> Box | None:
    """Return the box around polygons or RLE as COCO writes them, None around anything else.

    RLE may be compressed or not. Its box holds all pixels of the mask.
    """
    if isinstance(segmentation, dict):
        return _around_runs(segmentation.get("counts"), segmentation.get("size"))
    parts = segmentation
    if _are_numbers(segmentation):  # one polygon without the list around it
        parts = [segmentation]
    if not isinstance(parts, list):
        return None
    xs: list[float] = []
    ys: list[float] = []
    for part in parts:
        if not _are_numbers(part) or len(part) < 4 or len(part) % 2:
            return None
        xs += part[::2]
        ys += part[1::2]
    if not xs:
        return None
    return [float(min(xs)), float(min(ys)), float(max(xs) - min(xs)), float(max(ys) - min(ys))]


def _are_numbers(values: object) -> TypeGuard[list[float]]:
    """Return whether a value is a list of numbers, at least one."""
    return isinstance(values, list) and bool(values) and all(is_number(each) for each in values)


def around_turned(box: Sequence[float], degrees: float) -> Box:
    """Return the upright box around a box that is turned about its centre.

    Args:
        box: x, y, width, height before the turn.
        degrees: of the turn, in either direction.
    """
    x, y, width, height = box
    angle = math.radians(degrees)
    cos = abs(math.cos(angle))
    sin = abs(math.sin(angle))
    wide = width * cos + height * sin
    tall = width * sin + height * cos
    return [x + (width - wide) / 2, y + (height - tall) / 2, wide, tall]


def _around_runs(counts: Any, size: Any) -> Box | None:
    """Return the box around the pixels of RLE, None for what is no RLE or has no pixel.

    The mask is stored column by column from the top. Runs of zeros and of ones follow each other,
    zeros first.

    Args:
        counts: lengths of the runs, or COCO's compressed text of them.
        size: [height, width] of the mask.
    """
    if not isinstance(size, list) or len(size) != 2:
        return None
    if not all(type(side) is int and side > 0 for side in size):
        return None
    lengths = _decoded(counts) if isinstance(counts, str) else counts
    if not isinstance(lengths, list) or not all(type(n) is int and n >= 0 for n in lengths):
        return None
    height, width = size
    if sum(lengths) != height * width or height * width >= 2**40:
        return None
    ends = np.cumsum(np.array(lengths, dtype=np.int64))
    first, last = ends[:-1:2], ends[1::2] - 1  # pixels of the runs of ones
    there = last >= first
    first, last = first[there], last[there]
    if not len(first):
        return None
    left = (first // height).min()
    right = (last // height).max()
    top = (first % height).min()
    bottom = (last % height).max()
    if (last // height > first // height).any():
        # a run over the end of a column touches bottom and top
        top, bottom = 0, height - 1
    return [float(left), float(top), float(right - left + 1), float(bottom - top + 1)]


def _decoded(text: str) -> list[int] | None:
    """Return the run lengths of COCO's compressed text, None for another text.

    A character holds 5 bits. From the fourth run on, what is stored is the difference to the run
    two before.
    """
    lengths: list[int] = []
    value, shift = 0, 0
    for character in text:
        bits = ord(character) - 48
        if not 0 <= bits < 64 or shift > 40:
            return None
        value |= (bits & 31) << shift
        shift += 5
        if bits & 32:
            continue
        if bits & 16:
            value -= 1 << shift
        if len(lengths) > 2:
            value += lengths[-2]
        lengths.append(value)
        value, shift = 0, 0
    return None if shift else lengths
