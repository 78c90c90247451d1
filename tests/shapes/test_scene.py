"""Scenes: functions of their generator, of the vocabulary alone, with room for everything."""

import math
from dataclasses import asdict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from glip_lightning.shapes.scene import (
    CENTRED,
    DIAMETERS,
    LARGE,
    SMALL,
    Thing,
    Vocabulary,
    arrange,
    scene,
)
from glip_lightning.shapes.words import (
    CAPTION_SHAPES,
    COLOURS,
    HELD_OUT,
    NEW_COLOURS,
    NEW_SHAPES,
    NEW_TEXTURES,
    SHAPES,
    TEXTURES,
)

seeds = st.integers(0, 2**63)
EVERY = Vocabulary(
    (*SHAPES, *CAPTION_SHAPES, *NEW_SHAPES),
    (*COLOURS, *NEW_COLOURS),
    (*TEXTURES, *NEW_TEXTURES),
    held_out=True,
)


def possible(thing: Thing, vocabulary: Vocabulary) -> bool:
    known = thing.shape in vocabulary.shapes and thing.colour in vocabulary.colours
    pairs = {(thing.colour, thing.shape), (thing.texture, thing.shape)}
    return (
        known
        and thing.texture in (None, *vocabulary.textures)
        and (thing.part != "core" or thing.shape in CENTRED)
        and (vocabulary.held_out or not pairs & HELD_OUT)
    )


@given(seeds, st.sampled_from([Vocabulary(), EVERY]))
def test_scenes(seed: int, vocabulary: Vocabulary) -> None:
    things = scene(np.random.default_rng(seed), vocabulary)
    assert things == scene(np.random.default_rng(seed), vocabulary)
    assert 1 <= len(things) <= 6
    for number, thing in enumerate(things):
        assert possible(thing, vocabulary)
        assert DIAMETERS[0] <= thing.diameter <= DIAMETERS[1]
        assert all(
            0.48 * thing.diameter <= c <= 1 - 0.48 * thing.diameter for c in (thing.x, thing.y)
        )
        for other in things[:number]:
            assert math.dist((thing.x, thing.y), (other.x, other.y)) > 0.38 * (
                thing.diameter + other.diameter
            )


@given(seeds, st.sampled_from([Vocabulary(), EVERY]))
def test_a_near_miss_differs_in_one_attribute(seed: int, vocabulary: Vocabulary) -> None:
    rng = np.random.default_rng(seed)
    thing = vocabulary.draw(rng)
    other = vocabulary.near_miss(thing, rng)
    assert possible(thing, vocabulary)
    assert possible(other, vocabulary)
    before, after = asdict(thing), asdict(other)
    assert sum(before[name] != after[name] for name in before) == 1
    assert other.part == thing.part


def test_a_near_miss_of_the_only_thing_is_another_draw() -> None:
    """Where nothing can be changed the search ends."""
    only = Vocabulary(("circle",), ("green",), ("striped",), ())
    rng = np.random.default_rng(0)
    assert {only.near_miss(Thing("circle", "green"), rng).colour for _ in range(10)} == {"green"}
    pair = next(pair for pair in sorted(HELD_OUT) if pair[0] in COLOURS)
    stuck = Vocabulary(
        (pair[1],), ("red", pair[0]) if pair[0] != "red" else ("green", pair[0]), (), ()
    )
    colours = {stuck.near_miss(stuck.draw(rng), rng).colour for _ in range(10)}
    assert pair[0] not in colours


@pytest.mark.parametrize(
    "diameter, word",
    [(SMALL, "small"), (SMALL + 0.01, None), (LARGE - 0.01, None), (LARGE, "large")],
)
def test_words_are_what_is_true(diameter: float, word: str | None) -> None:
    thing = Thing("star", "red", "dotted", "core", diameter=diameter)
    size = {} if word is None else {"size": word}
    assert thing.words == {
        **size,
        "texture": "dotted",
        "colour": "red",
        "shape": "star",
        "part": "core",
    }
    assert Thing("star", "red").words == {"colour": "red", "shape": "star"}


def test_what_finds_no_room_is_left_out() -> None:
    huge = (0.9, 0.9)
    things = arrange([Thing("star", "red"), Thing("ring", "blue")], np.random.default_rng(0), huge)
    assert [thing.shape for thing in things] == ["star"]


def test_scenes_hold_what_is_easily_confused() -> None:
    """Things that differ in one attribute, and equal ones, are in most scenes of several things."""
    scenes = [scene(np.random.default_rng(seed), Vocabulary()) for seed in range(300)]
    assert {len(things) for things in scenes} == {1, 2, 3, 4, 5, 6}
    looks = [[(t.shape, t.colour, t.texture, t.part) for t in things] for things in scenes]
    apart = [
        [sum(x != y for x, y in zip(a, b, strict=True)) for i, a in enumerate(row) for b in row[:i]]
        for row in looks
    ]
    several = [row for row in apart if row]
    assert sum(1 in row for row in several) > 0.5 * len(several)
    assert sum(0 in row for row in several) > 0.1 * len(several)
