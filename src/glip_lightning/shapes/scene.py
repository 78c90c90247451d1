"""The things in a picture of the generated world: their attributes and places."""

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from glip_lightning.shapes.words import COLOURS, HELD_OUT, PARTS, SHAPES, SIZES, TEXTURES

DIAMETERS = (0.14, 0.44)  # of the picture's side
SMALL, LARGE = 0.21, 0.32  # up to and from this diameter
ALIKE = 0.5  # share of things that differ from an earlier one in a single attribute
EQUAL = 0.12  # share of things that are equal to an earlier one
CENTRED = frozenset(
    {"circle", "square", "triangle", "star", "diamond", "heart", "drop", "flower", "gear"}
)
"""Shapes with room for a core."""


@dataclass(frozen=True, slots=True)
class Thing:
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
        """The word for its size; None for a size that has no word."""
        if self.diameter <= SMALL:
            return SIZES[0]
        if self.diameter >= LARGE:
            return SIZES[1]
        return None

    @property
    def words(self) -> dict[str, str]:
        """All words that are true of it, by kind."""
        words = {
            "size": self.size,
            "texture": self.texture,
            "colour": self.colour,
            "shape": self.shape,
            "part": self.part,
        }
        return {kind: word for kind, word in words.items() if word}

    def fits(self, looks: Mapping[str, Collection[str]]) -> bool:
        """Return whether, for each kind of word, one of ``looks`` is true of it."""
        return all(self.words.get(kind) in words for kind, words in looks.items())

    def possible(self) -> "Thing":
        """Return it without a core if its shape has no room for one."""
        if self.part == "core" and self.shape not in CENTRED:
            return replace(self, part=None)
        return self

    def is_held_out(self) -> bool:
        """Return whether pre-training must not show it."""
        return (self.colour, self.shape) in HELD_OUT or (self.texture, self.shape) in HELD_OUT


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """The attributes that things are drawn from."""

    shapes: Sequence[str] = SHAPES
    colours: Sequence[str] = COLOURS
    textures: Sequence[str] = TEXTURES
    parts: Sequence[str] = PARTS
    held_out: bool = False  # whether held-out pairs may occur

    @property
    def words(self) -> tuple[str, ...]:
        """All words, those of sizes too."""
        return (*self.shapes, *self.colours, *self.textures, *SIZES, *self.parts)

    def draw(self, rng: np.random.Generator) -> Thing:
        """Return a thing with random attributes; it has no place and no size yet.

        40 % have a texture, 20 % a part.
        """
        while True:
            shape = _choice(rng, self.shapes)
            texture = part = None
            if self.textures and rng.random() < 0.4:
                texture = _choice(rng, self.textures)
            if self.parts and rng.random() < 0.2:
                part = _choice(rng, self.parts)
            colour = _choice(rng, self.colours)
            thing = Thing(shape, colour, texture, part).possible()
            if self.held_out or not thing.is_held_out():
                return thing

    def near_miss(self, thing: Thing, rng: np.random.Generator) -> Thing:
        """Return a thing that differs from ``thing`` in one attribute.

        Where 20 draws find none, any other thing is drawn.
        """
        words_by_kind = {"shape": self.shapes, "colour": self.colours, "texture": self.textures}
        kinds = [kind for kind, words in words_by_kind.items() if len(words) > 1]
        if not kinds:
            return self.draw(rng)
        for _ in range(20):
            kind = _choice(rng, kinds)
            word = _choice(rng, words_by_kind[kind])
            other = replace(thing, **{kind: word})  # pyrefly: ignore[bad-argument-type]
            is_allowed = self.held_out or not other.is_held_out()
            if other != thing and other == other.possible() and is_allowed:
                return other
        return self.draw(rng)


def arrange(
    things: Iterable[Thing], rng: np.random.Generator, diameters: tuple[float, float] = DIAMETERS
) -> list[Thing]:
    """Return ``things`` with sizes and places, so that they hide each other a little at most.

    Things that find no room are left out.
    """
    placed: list[Thing] = []
    for thing in things:
        found = place_thing(thing, placed, rng, diameters)
        if found is not None:
            placed.append(found)
    return placed


def place_thing(
    thing: Thing, placed: Sequence[Thing], rng: np.random.Generator, diameters: tuple[float, float]
) -> Thing | None:
    """Return ``thing`` with a random size and place beside the things that are ``placed``.

    None where it finds no room.
    """
    for _ in range(30):
        diameter = math.exp(rng.uniform(*np.log(diameters)))  # small ones as often as large ones
        x, y = rng.uniform(0.48 * diameter, 1 - 0.48 * diameter, 2)
        angle = rng.uniform(-0.4, 0.4)
        tried = replace(thing, x=x, y=y, diameter=diameter, angle=angle)
        if all(is_apart(tried, other) for other in placed):
            return tried
    return None


def scene(rng: np.random.Generator, vocabulary: Vocabulary, most: int = 6) -> list[Thing]:
    """Return one to ``most`` random things with places.

    Half of the things after the first are near misses of an earlier one, some are equal to one.
    """
    things = [vocabulary.draw(rng)]
    for _ in range(rng.integers(0, most)):
        chance = rng.random()
        earlier = things[rng.integers(len(things))]
        if chance < ALIKE:
            things.append(vocabulary.near_miss(earlier, rng))
        elif chance < ALIKE + EQUAL:
            things.append(earlier)
        else:
            things.append(vocabulary.draw(rng))
    return arrange(things, rng)


def is_apart(a: Thing, b: Thing, share: float = 0.38) -> bool:
    """Return whether two things hide each other a little at most.

    ``share`` of both diameters together lies between their centres at least.
    """
    return math.hypot(a.x - b.x, a.y - b.y) > share * (a.diameter + b.diameter)


def _choice(rng: np.random.Generator, items: Sequence[str]) -> str:
    return items[int(rng.integers(len(items)))]
