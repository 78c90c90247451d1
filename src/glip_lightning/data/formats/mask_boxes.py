"""Boxes around masks and turned boxes, for annotations that have no upright box."""

import math
from collections.abc import Sequence
from typing import Any, TypeGuard

import numpy as np

Box = list[float]  # x, y, width, height in pixels


def is_number(value: object) -> TypeGuard[float]:
    """A finite number that still is one in float32 arithmetic."""
    return isinstance(value, int | float) and not isinstance(value, bool) and -1e9 < value < 1e9


def box_around(segmentation: Any) -> Box | None:
    """The box around polygons, or around the pixels of RLE, compressed or not; None for anything else."""
    if isinstance(segmentation, dict):
        return _around_runs(segmentation.get("counts"), segmentation.get("size"))
    parts = segmentation if isinstance(segmentation, list) else []
    if parts and all(map(is_number, parts)):  # one polygon without the list around it
        parts = [parts]
    if not parts or not all(isinstance(part, list) and _is_polygon(part) for part in parts):
        return None
    xs = [x for part in parts for x in part[::2]]
    ys = [y for part in parts for y in part[1::2]]
    return [float(min(xs)), float(min(ys)), float(max(xs) - min(xs)), float(max(ys) - min(ys))]


def around_turned(box: Sequence[float], degrees: float) -> Box:
    """The upright box around x, y, width, height that is turned about its centre, to whichever side."""
    x, y, width, height = box
    cos, sin = abs(math.cos(math.radians(degrees))), abs(math.sin(math.radians(degrees)))
    wide, tall = width * cos + height * sin, width * sin + height * cos
    return [x + (width - wide) / 2, y + (height - tall) / 2, wide, tall]


def _is_polygon(part: list[Any]) -> bool:
    return len(part) >= 4 and len(part) % 2 == 0 and all(map(is_number, part))


def _around_runs(counts: Any, size: Any) -> Box | None:
    """The box around a mask: runs of zeros and ones in turn, zeros first, column by column from the top."""
    if (
        not isinstance(size, list)
        or len(size) != 2
        or not all(type(side) is int and side > 0 for side in size)
    ):
        return None
    lengths = _decoded(counts) if isinstance(counts, str) else counts
    if not isinstance(lengths, list) or not all(type(n) is int and n >= 0 for n in lengths):
        return None
    height, width = size
    if sum(lengths) != height * width or height * width >= 2**40:
        return None
    ends = np.cumsum(np.array(lengths, dtype=np.int64))
    first, last = ends[:-1:2], ends[1::2] - 1  # of the runs of ones
    there = last >= first
    first, last = first[there], last[there]
    if not len(first):
        return None
    left, right = first // height, last // height
    tall = (right > left).any()  # a run over the end of a column touches top and bottom
    top = 0 if tall else (first % height).min()
    bottom = height - 1 if tall else (last % height).max()
    x, y = left.min(), top
    return [float(x), float(y), float(right.max() - x + 1), float(bottom - y + 1)]


def _decoded(text: str) -> list[int] | None:
    """Run lengths out of COCO's compressed text: 5 bits a character, from the third run on as a difference."""
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
        lengths.append(value + lengths[-2] if len(lengths) > 2 else value)
        value, shift = 0, 0
    return None if shift else lengths
