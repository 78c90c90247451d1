"""The shapes of the generated world as polygons about as large as the unit circle, and what is cut out of them."""

import math
from collections.abc import Callable, Sequence

Point = tuple[float, float]  # x to the right, y down; (0, 0) is the centre
TURN = 2 * math.pi


def _polar(radius: Callable[[float], float], corners: int) -> list[Point]:
    angles = (TURN * i / corners - TURN / 4 for i in range(corners))  # the first corner is on top
    return [(radius(a) * math.cos(a), radius(a) * math.sin(a)) for a in angles]


def _regular(corners: int, radius: float = 1.0) -> list[Point]:
    return _polar(lambda _: radius, corners)


def _spiked(spikes: int, inner: float) -> list[Point]:
    return [
        (x * r, y * r)
        for i, (x, y) in enumerate(_regular(2 * spikes))
        for r in [inner if i % 2 else 1.0]
    ]


def _heart() -> list[Point]:
    times = (TURN * i / 48 for i in range(48))
    curve = [
        (
            16 * math.sin(t) ** 3,
            13 * math.cos(t) - 5 * math.cos(2 * t) - 2 * math.cos(3 * t) - math.cos(4 * t),
        )
        for t in times
    ]
    return [(x / 16.5, -(y + 2.5) / 16.5) for x, y in curve]


def _drop() -> list[Point]:
    times = (TURN * i / 48 for i in range(48))
    return [(0.75 * math.sin(t) * math.sin(t / 2), -math.cos(t) * 0.98) for t in times]


def _gear() -> list[Point]:
    angles = [TURN * i / 32 for i in range(32)]
    radii = [1.0 if i % 4 < 2 else 0.72 for i in range(32)]
    return [(r * math.cos(a), r * math.sin(a)) for r, a in zip(radii, angles, strict=True)]


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
    "flower": _polar(lambda a: 0.7 + 0.3 * math.cos(5 * (a + TURN / 4)), 60),
    "arrow": [(-1, -0.3), (0.1, -0.3), (0.1, -0.75), (1, 0), (0.1, 0.75), (0.1, 0.3), (-1, 0.3)],
    "gear": _gear(),
    "bolt": [(0.25, -1), (-0.6, 0.15), (-0.05, 0.15), (-0.3, 1), (0.6, -0.25), (0.05, -0.25)],
    "house": [(0, -0.95), (0.85, -0.1), (0.62, -0.1), (0.62, 0.8), (-0.62, 0.8), (-0.62, -0.1), (-0.85, -0.1)],
}  # fmt: skip
HOLES: dict[str, tuple[float, float, float]] = {"ring": (0, 0, 0.56), "moon": (0.5, -0.15, 0.82)}
"""Circles (x, y, radius) that are cut out."""
