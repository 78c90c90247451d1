"""Invented kinds of things with random outlines, parts and materials, and invented names."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType

import numpy as np

from glip_lightning.shapes.materials import Material, random_material
from glip_lightning.shapes.words import COLOURS
from glip_lightning.text.tokenizer import NANO_VOCAB

COUNT = 96
SEED = 2112_03857  # of all species: they stay the same in all worlds
ONSETS = ("b", "d", "f", "g", "k", "l", "m", "n", "p", "r", "s", "t", "v", "z")
VOWELS = ("a", "e", "i", "o", "u")
SYLLABLES = 3  # of a name; many words of two such syllables exist

Polygon = np.ndarray  # [corners, 2]: x to the right, y down; (0, 0) is the centre of the thing


@dataclass(frozen=True, slots=True)
class Species:
    """An invented kind of things."""

    name: str
    body: Sequence[Polygon]  # within the unit circle
    marks: Sequence[Polygon]  # such as eyes and windows, in another tone
    material: Material
    colours: Sequence[str]  # a thing has one of them
    mark_tone: float  # of the marks, from 0 (black) to 1 (white)
    relief: float  # how round it looks, from 0 (flat) to 1
    rim: float  # how much darker its border is than its inside, from -0.5 (lighter) to 0.5
    opacity: float  # 1 where nothing shines through
    turns: bool  # whether it lies in all directions, or always upright


def _blob(rng: np.random.Generator) -> list[Polygon]:
    """Return an outline of random waves around a circle."""
    angles = np.linspace(0, 2 * math.pi, 64, endpoint=False)
    radius = np.ones(64)
    strength = rng.uniform(0.0, 0.5)
    for wave in range(2, int(rng.integers(3, 8))):
        size = strength * rng.normal() / wave
        radius += size * np.cos(wave * angles + rng.uniform(0, 2 * math.pi))
    radius = radius.clip(0.25)
    flatness = rng.uniform(0.45, 1)
    return [np.stack([radius * np.cos(angles), flatness * radius * np.sin(angles)], 1)]


def _turned(rng: np.random.Generator) -> list[Polygon]:
    """Return an outline with equal sides, as of bottles, vases and pieces of chess."""
    heights = np.linspace(-1, 1, 48)
    stops = int(rng.integers(4, 10))
    widths = rng.uniform(0.08, 0.65, stops)
    width = np.interp(heights, np.linspace(-1, 1, stops), widths)
    if rng.random() < 0.6:  # soft or with edges
        width = np.convolve(np.pad(width, 4, "edge"), np.full(9, 1 / 9), "valid")
    right = np.stack([width, heights], 1)
    left = np.stack([-width, heights], 1)[::-1]
    return [np.concatenate([right, left])]


def _animal(rng: np.random.Generator) -> list[Polygon]:
    """Return a trunk with a head, ears, legs and a tail."""
    long, high = rng.uniform(0.4, 0.65), rng.uniform(0.2, 0.4)
    head = rng.uniform(0.14, 0.32)
    x, y = long * rng.uniform(0.7, 1.1), -high * rng.uniform(0.2, 1.4)
    parts = [_ellipse(0, 0, long, high), _ellipse(x, y, head * rng.uniform(0.9, 1.5), head)]
    ear = head * rng.uniform(0.3, 1.0)
    for side in (-0.6, 0.5):
        base = x + side * head
        corners = [(base - 0.4 * ear, y - 0.6 * head), (base + 0.4 * ear, y - 0.6 * head)]
        parts.append(np.array([*corners, (base, y - 0.7 * head - ear)]))
    leg, thick = rng.uniform(0.15, 0.6), rng.uniform(0.05, 0.12)
    for place in np.linspace(-0.75, 0.75, 2 * int(rng.integers(1, 4))) * long:
        foot = place + rng.uniform(-0.1, 0.1)
        ground = 0.7 * high + leg
        top = 0.3 * high
        corners = [(place - thick, top), (place + thick, top)]
        parts.append(np.array([*corners, (foot + thick, ground), (foot - thick, ground)]))
    tail = rng.uniform(0.1, 0.6)
    tip = (-long - tail, rng.uniform(-0.5, 0.4))
    parts.append(np.array([(-0.8 * long, -0.1), tip, (-0.8 * long, 0.12)]))
    return parts


def _rayed(rng: np.random.Generator) -> list[Polygon]:
    """Return arms around a centre, as of flowers, stars and gears."""
    arms = int(rng.integers(3, 10))
    angles = np.linspace(0, 2 * math.pi, 12 * arms, endpoint=False)
    wave = np.cos(arms * angles)
    sharpness = rng.uniform(0.3, 3)
    depth = rng.uniform(0.15, 0.7)
    radius = 1 - depth * (0.5 - 0.5 * np.sign(wave) * np.abs(wave) ** sharpness)
    return [np.stack([radius * np.cos(angles), radius * np.sin(angles)], 1)]


def _box(rng: np.random.Generator) -> list[Polygon]:
    """Return a rectangle with round corners, sometimes with a smaller one on top."""
    parts = [_rounded(0, 0, 1, rng.uniform(0.3, 1), rng.uniform(2.5, 12))]
    if rng.random() < 0.5:
        high = parts[0][:, 1].max()
        lid = _rounded(0, 0, rng.uniform(0.2, 0.8), rng.uniform(0.15, 0.4), rng.uniform(2.5, 12))
        parts.append(np.add(lid, (rng.uniform(-0.2, 0.2), -high)))
    return parts


def _bent(rng: np.random.Generator) -> list[Polygon]:
    """Return a bent band, as of snakes, bananas and tools."""
    joints = int(rng.integers(3, 6))
    turns = np.cumsum(rng.uniform(-0.8, 0.8, joints))
    spine = np.cumsum(np.stack([np.cos(turns), np.sin(turns)], 1), 0)
    dense = np.linspace(0, joints - 1, 24)
    x, y = (np.interp(dense, np.arange(joints), spine[:, k]) for k in range(2))
    soft = np.full(5, 0.2)
    x, y = (np.convolve(np.pad(line, 2, "edge"), soft, "valid") for line in (x, y))
    along = np.stack([np.gradient(x), np.gradient(y)], 1)
    normal = along[:, ::-1] * (-1, 1) / (np.linalg.norm(along, axis=1, keepdims=True) + 1e-9)
    thick = rng.uniform(0.15, 0.5) * (1 + rng.uniform(-0.7, 0.7) * np.linspace(-1, 1, 24))
    line = np.stack([x, y], 1)
    one, other = line + thick[:, None] * normal, line - thick[:, None] * normal
    # a quadrangle per step: one polygon would have holes where the band crosses itself
    return [np.stack([one[k], one[k + 1], other[k + 1], other[k]]) for k in range(len(line) - 1)]


FAMILIES: Sequence[Callable[[np.random.Generator], list[Polygon]]] = (
    _blob,
    _turned,
    _animal,
    _rayed,
    _box,
    _bent,
)


def _ellipse(x: float, y: float, width: float, height: float) -> Polygon:
    return _rounded(x, y, width, height, 2.0)


def _rounded(x: float, y: float, width: float, height: float, power: float) -> Polygon:
    """Return a superellipse: an ellipse for a power of 2, nearly a rectangle for a large one."""
    angles = np.linspace(0, 2 * math.pi, 40, endpoint=False)
    cos, sin = np.cos(angles), np.sin(angles)
    across = np.sign(cos) * np.abs(cos) ** (2 / power)
    down = np.sign(sin) * np.abs(sin) ** (2 / power)
    return np.stack([x + width * across, y + height * down], 1)


def _within_unit_circle(parts: Sequence[Polygon]) -> tuple[Polygon, ...]:
    points = np.concatenate(parts)
    middle = (points.min(0) + points.max(0)) / 2
    reach = np.linalg.norm(points - middle, axis=1).max()
    return tuple((part - middle) / reach for part in parts)


def _marks(rng: np.random.Generator, body: Sequence[Polygon]) -> tuple[Polygon, ...]:
    """Return up to four spots near the centres of parts."""
    marks = []
    for _ in range(int(rng.integers(0, 5))):
        part = body[int(rng.integers(min(2, len(body))))]
        spread = np.ptp(part, axis=0) * 0.22
        x, y = (part.min(0) + part.max(0)) / 2 + rng.uniform(-1, 1, 2) * spread
        width, height = spread * rng.uniform(0.2, 1.2, 2)
        marks.append(_rounded(x, y, width, height, rng.choice([2.0, 8.0])))
    return tuple(marks)


def random_species(rng: np.random.Generator, name: str) -> Species:
    """Return a species with a random body, material and colours."""
    family = FAMILIES[int(rng.integers(len(FAMILIES)))]
    body = _within_unit_circle(family(rng))
    return Species(
        name=name,
        body=body,
        marks=_marks(rng, body),
        material=random_material(rng),
        colours=tuple(rng.choice(COLOURS, size=2, replace=False).tolist()),
        mark_tone=float(rng.choice([0.05, 0.2, 0.8, 0.95])),
        relief=rng.uniform(0, 1),
        rim=rng.uniform(-0.3, 0.5) if rng.random() < 0.5 else 0.0,
        opacity=rng.uniform(0.6, 1) if rng.random() < 0.2 else 1.0,
        turns=bool(rng.random() < 0.4),
    )


def _name(rng: np.random.Generator) -> str:
    """Return an invented word."""
    syllables = []
    for _ in range(SYLLABLES):
        onset = ONSETS[rng.integers(len(ONSETS))]
        syllables.append(onset + VOWELS[rng.integers(len(VOWELS))])
    return "".join(syllables)


@cache
def all_species() -> Mapping[str, Species]:
    """Return all species by name."""
    rng = np.random.default_rng(SEED)
    known = set(NANO_VOCAB.read_text(encoding="utf-8").splitlines())  # "tomato"
    species: dict[str, Species] = {}
    while len(species) < COUNT:
        name = _name(rng)
        if name not in species and name not in known:
            species[name] = random_species(rng, name)
    return MappingProxyType(species)
