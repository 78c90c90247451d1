"""The shapes of the generated world: polygons about as large as the unit circle, and holes."""

import math
from collections.abc import Sequence

Point = tuple[float, float]  # x to the right, y down; (0, 0) is the centre
TURN = 2 * math.pi


def _regular(corners: int) -> list[Point]:
    points = []
    for i in range(corners):
        angle = TURN * i / corners - TURN / 4  # the first corner is on top
        points.append((math.cos(angle), math.sin(angle)))
    return points


def _spiked(spikes: int, inner: float) -> list[Point]:
    points = _regular(2 * spikes)
    for i in range(1, 2 * spikes, 2):
        x, y = points[i]
        points[i] = (x * inner, y * inner)
    return points


def _heart() -> list[Point]:
    points = []
    for i in range(48):
        t = TURN * i / 48
        x = 16 * math.sin(t) ** 3
        y = 13 * math.cos(t) - 5 * math.cos(2 * t) - 2 * math.cos(3 * t) - math.cos(4 * t)
        points.append((x / 16.5, -(y + 2.5) / 16.5))
    return points


def _drop() -> list[Point]:
    points = []
    for i in range(48):
        t = TURN * i / 48
        points.append((0.75 * math.sin(t) * math.sin(t / 2), -math.cos(t) * 0.98))
    return points


def _flower() -> list[Point]:
    points = []
    for i in range(60):
        angle = TURN * i / 60 - TURN / 4
        radius = 0.7 + 0.3 * math.cos(5 * (angle + TURN / 4))
        points.append((radius * math.cos(angle), radius * math.sin(angle)))
    return points


def _gear() -> list[Point]:
    points = []
    for i in range(32):
        angle = TURN * i / 32
        radius = 1.0 if i % 4 < 2 else 0.72
        points.append((radius * math.cos(angle), radius * math.sin(angle)))
    return points


_ARM = 0.34
OUTLINES: dict[str, Sequence[Point]] = {
    "circle": _regular(48),
    "square": [(-0.78, -0.78), (0.78, -0.78), (0.78, 0.78), (-0.78, 0.78)],
    "triangle": _regular(3),
    "star": _spiked(5, 0.45),
    "ring": _regular(48),
    "cross": [
        (-_ARM, -1), (_ARM, -1), (_ARM, -_ARM), (1, -_ARM), (1, _ARM), (_ARM, _ARM),
        (_ARM, 1), (-_ARM, 1), (-_ARM, _ARM), (-1, _ARM), (-1, -_ARM), (-_ARM, -_ARM),
    ],
    "diamond": [(0, -1), (0.62, 0), (0, 1), (-0.62, 0)],
    "heart": _heart(),
    "moon": _regular(48),
    "drop": _drop(),
    "flower": _flower(),
    "arrow": [(-1, -0.3), (0.1, -0.3), (0.1, -0.75), (1, 0), (0.1, 0.75), (0.1, 0.3), (-1, 0.3)],
    "gear": _gear(),
    "bolt": [(0.25, -1), (-0.6, 0.15), (-0.05, 0.15), (-0.3, 1), (0.6, -0.25), (0.05, -0.25)],
    "house": [
        (0, -0.95), (0.85, -0.1), (0.62, -0.1), (0.62, 0.8),
        (-0.62, 0.8), (-0.62, -0.1), (-0.85, -0.1),
    ],
}  # fmt: skip
HOLES: dict[str, tuple[float, float, float]] = {"ring": (0, 0, 0.56), "moon": (0.5, -0.15, 0.82)}
"""Circles (x, y, radius) that are cut out of a shape."""
