"""What is in a picture of the generated world: things with attributes, where they are, and what describes them."""

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from glip_lightning.shapes.words import COLOURS, HELD_OUT, PARTS, SHAPES, SIZES, TEXTURES

DIAMETERS = (0.14, 0.44)  # of the picture's side
SMALL, LARGE = 0.21, 0.32  # up to and from this diameter
ALIKE = 0.5  # share of things that differ from an earlier one in a single attribute
CENTRED = frozenset(
    {"circle", "square", "triangle", "star", "diamond", "heart", "drop", "flower", "gear"}
)
"""Shapes with room for a core."""


class Thing(NamedTuple):
    """One object; lengths are shares of the picture's side."""

    shape: str
    colour: str  # "" where the picture does not show it
    texture: str | None = None
    part: str | None = None
    x: float = 0.5  # of its centre
    y: float = 0.5
    diameter: float = 0.25
    angle: float = 0.0  # radians

    @property
    def size(self) -> str | None:
        """The word for its size, if there is one."""
        return SIZES[0] if self.diameter <= SMALL else SIZES[1] if self.diameter >= LARGE else None

    @property
    def words(self) -> dict[str, str]:
        """All words that are true of it, by kind."""
        kinds = {
            "size": self.size,
            "texture": self.texture,
            "colour": self.colour,
            "shape": self.shape,
        }
        return {kind: word for kind, word in (kinds | {"part": self.part}).items() if word}

    def fits(self, looks: Mapping[str, Collection[str]]) -> bool:
        """Whether for each kind of word one of ``looks`` is true of it."""
        return all(self.words.get(kind) in words for kind, words in looks.items())

    def possible(self) -> "Thing":
        """Without a core where its shape has no room for one."""
        return (
            self._replace(part=None) if self.part == "core" and self.shape not in CENTRED else self
        )

    def is_held_out(self) -> bool:
        """Whether pre-training must not show it."""
        return (self.colour, self.shape) in HELD_OUT or (self.texture, self.shape) in HELD_OUT


class Vocabulary(NamedTuple):
    """From what things are made."""

    shapes: Sequence[str] = SHAPES
    colours: Sequence[str] = COLOURS
    textures: Sequence[str] = TEXTURES
    parts: Sequence[str] = PARTS
    held_out: bool = False  # whether held-out pairs may occur

    def draw(self, rng: np.random.Generator) -> Thing:
        """A thing with random attributes, 40 % with a texture, 20 % with a part; neither place nor size yet."""
        while True:
            shape = _one(rng, self.shapes)
            texture = _one(rng, self.textures) if self.textures and rng.random() < 0.4 else None
            part = _one(rng, self.parts) if self.parts and rng.random() < 0.2 else None
            thing = Thing(shape, _one(rng, self.colours), texture, part).possible()
            if self.held_out or not thing.is_held_out():
                return thing

    def near_miss(self, thing: Thing, rng: np.random.Generator) -> Thing:
        """``thing`` but for one attribute; another thing where there is no such one."""
        kinds = [
            kind for kind in ("shape", "colour", "texture") if len(getattr(self, f"{kind}s")) > 1
        ]
        for _ in range(20 if kinds else 0):
            kind = _one(rng, kinds)
            word = _one(rng, getattr(self, f"{kind}s"))
            other = thing._replace(**{kind: word})  # pyrefly: ignore[bad-argument-type]
            if (
                other != thing
                and other == other.possible()
                and (self.held_out or not other.is_held_out())
            ):
                return other
        return self.draw(rng)


def arrange(
    things: Iterable[Thing], rng: np.random.Generator, diameters: tuple[float, float] = DIAMETERS
) -> list[Thing]:
    """``things`` with sizes and places; they hide each other a little at most. What finds no room is left out."""
    placed: list[Thing] = []
    for thing in things:
        placed += settled(thing, placed, rng, diameters)
    return placed


def settled(
    thing: Thing, placed: Sequence[Thing], rng: np.random.Generator, diameters: tuple[float, float]
) -> list[Thing]:
    """``thing`` with a size and a place beside those that are ``placed``; empty where it finds no room."""
    for _ in range(30):
        diameter = math.exp(rng.uniform(*np.log(diameters)))  # small ones as often as large ones
        x, y = rng.uniform(0.48 * diameter, 1 - 0.48 * diameter, 2)
        tried = thing._replace(x=x, y=y, diameter=diameter, angle=rng.uniform(-0.4, 0.4))
        if all(apart(tried, other) for other in placed):
            return [tried]
    return []


def scene(rng: np.random.Generator, vocabulary: Vocabulary, most: int = 6) -> list[Thing]:
    """One to ``most`` things; half of those after the first are near misses of an earlier one, some are its equals."""
    things = [vocabulary.draw(rng)]
    for _ in range(rng.integers(0, most)):
        chance, earlier = rng.random(), things[rng.integers(len(things))]
        if chance < ALIKE:
            things.append(vocabulary.near_miss(earlier, rng))
        elif chance < ALIKE + 0.12:
            things.append(earlier)
        else:
            things.append(vocabulary.draw(rng))
    return arrange(things, rng)


def apart(a: Thing, b: Thing) -> bool:
    """Whether they hide each other a little at most."""
    return math.hypot(a.x - b.x, a.y - b.y) > 0.38 * (a.diameter + b.diameter)


def _one(rng: np.random.Generator, items: Sequence[str]) -> str:
    return items[int(rng.integers(len(items)))]
