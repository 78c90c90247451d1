"""Pictures: functions of their generator, with boxes of what can be seen."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from glip_lightning.common.errors import GLIPError
from glip_lightning.shapes.outlines import HOLES, OUTLINES
from glip_lightning.shapes.paint import Box, Picture, coverage, paint, texture, visible_boxes
from glip_lightning.shapes.scene import Thing
from glip_lightning.shapes.words import NEW_TEXTURES, TEXTURES

SIZE = 96


def painted(*things: Thing, seed: int = 0) -> Picture:
    return paint(things, np.random.default_rng(seed), SIZE)


def covers_of(*things: Thing) -> list[np.ndarray]:
    """Coverage of each thing in the whole picture."""
    return [coverage(t, SIZE, (t.x * SIZE, t.y * SIZE), t.diameter * SIZE / 2) for t in things]


def extent(mask: np.ndarray) -> Box:
    rows, columns = np.nonzero(mask)
    x, y = int(columns.min()), int(rows.min())
    return x, y, int(columns.max()) + 1 - x, int(rows.max()) + 1 - y


def test_a_picture_is_a_function_of_things_and_generator() -> None:
    things = (
        Thing("star", "red", "dotted", "core"),
        Thing("moon", "blue", "wavy", "border", 0.7, 0.7),
    )
    one, same, other = (painted(*things, seed=seed) for seed in (3, 3, 4))
    assert np.array_equal(np.asarray(one.image), np.asarray(same.image))
    assert one.boxes == same.boxes == other.boxes
    assert not np.array_equal(np.asarray(one.image), np.asarray(other.image))
    assert (one.image.size, one.image.mode) == ((SIZE, SIZE), "RGB")
    assert painted().boxes == []


@pytest.mark.parametrize("shape", OUTLINES)
def test_outlines_fill_the_circle_and_fit_into_the_patch(shape: str) -> None:
    """A patch has a quarter of the radius around the unit circle, and shadows fall 0.08 further."""
    radii = [math.hypot(x, y) for x, y in OUTLINES[shape]]
    assert 0.9 < max(radii) < 1.25 - 0.08
    (cover,) = covers_of(Thing(shape, "red", diameter=0.5))
    assert 0.15 < cover.mean() / (math.pi * 0.25**2) < 1.01
    assert (cover[SIZE // 2, SIZE // 2] == 0) == (shape in HOLES)


@pytest.mark.parametrize("shape", OUTLINES)
@pytest.mark.parametrize("angle", [-0.4, 0.0, 0.4])
def test_the_box_of_a_thing_alone_is_that_of_its_mask_and_of_its_colour(
    shape: str, angle: float
) -> None:
    thing = Thing(shape, "red", x=0.55, y=0.45, diameter=0.4, angle=angle)
    picture = painted(thing)
    assert picture.boxes == [extent(covers_of(thing)[0] >= 0.5)]
    assert picture.boxes[0] is not None
    pixels = np.asarray(picture.image).astype(float)
    x, y, width, height = extent(pixels @ [1, -0.5, -0.5] > 90)
    assert np.abs(np.subtract((x, y, width, height), picture.boxes[0])).max() <= 2


def test_things_at_the_border_are_cut_there() -> None:
    (box,) = painted(Thing("square", "red", x=0.02, y=0.98, diameter=0.3)).boxes
    assert box is not None
    x, y, width, height = box
    assert (x, y + height) == (0, SIZE)
    assert max(width, height) < 0.2 * SIZE


def test_later_things_hide_earlier_ones() -> None:
    """The box holds what is left to see, and there is none where that is next to nothing."""
    below = Thing("square", "red", x=0.5, y=0.5, diameter=0.3)
    left_half = Thing("square", "blue", x=0.38, y=0.5, diameter=0.3)
    above = Thing("circle", "blue", x=0.5, y=0.5, diameter=0.5)
    whole, left, partly = (
        painted(below).boxes[0],
        painted(left_half).boxes[0],
        painted(below, left_half).boxes[0],
    )
    assert whole is not None
    assert left is not None
    assert partly == (
        left[0] + left[2],
        whole[1],
        whole[0] + whole[2] - left[0] - left[2],
        whole[3],
    )
    assert painted(below, above).boxes == [None, painted(above).boxes[0]]
    assert painted(above, below).boxes == [painted(above).boxes[0], whole]
    ring = Thing("ring", "blue", x=0.5, y=0.5, diameter=0.7)
    inside = replace(below, diameter=0.2)
    assert painted(inside, ring).boxes[0] == painted(inside).boxes[0]  # seen through the hole


masks = arrays(np.float64, (5, 6), elements=st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0]))


@settings(max_examples=60)
@given(st.lists(masks, max_size=4))
def test_boxes_hold_exactly_what_can_be_seen(covers: list[np.ndarray]) -> None:
    boxes = visible_boxes(covers)
    assert len(boxes) == len(covers)
    for number, (cover, box) in enumerate(zip(covers, boxes, strict=True)):
        seen = cover.copy()
        for later in covers[number + 1 :]:
            seen *= 1 - later
        hidden = seen.sum() < 0.25 * cover.sum() - 1e-9 or not (seen >= 0.5).any()
        assert box == (None if hidden else extent(seen >= 0.5))


@pytest.mark.parametrize("name", [*TEXTURES, *NEW_TEXTURES])
def test_textures_have_two_tones_and_differ(name: str) -> None:
    y, x = np.mgrid[0:60, 0:60] - 30.0
    share = texture(name, x, y, 12.0, 0.3)
    assert (share.min(), share.max()) == (0, 1)
    assert 0.2 < share.mean() < 0.6
    others = [
        texture(other, x, y, 12.0, 0.3) for other in (*TEXTURES, *NEW_TEXTURES) if other != name
    ]
    assert all(np.abs(share - other).mean() > 0.2 for other in others)


def test_an_unknown_texture_is_an_error_that_lists_those_there_are() -> None:
    with pytest.raises(GLIPError) as caught:
        texture("woven", np.zeros(1), np.zeros(1), 5.0, 0.0)
    assert caught.value.code == "unknown-value"
    assert all(part in str(caught.value) for part in ("'woven'", *TEXTURES, *NEW_TEXTURES))


@pytest.mark.parametrize("part", ["core", "border"])
@pytest.mark.parametrize("colour", ["black", "white"])
def test_parts_stand_out(part: str, colour: str) -> None:
    thing = Thing("circle", colour, part=part, diameter=0.6)
    plain, pixels = (
        np.asarray(painted(t, seed=1).image).astype(float).mean(2)
        for t in (replace(thing, part=None), thing)
    )
    centre, rim = (48, 48), (48, 48 - 25)
    there, elsewhere = (centre, rim) if part == "core" else (rim, centre)
    assert abs(plain[there] - pixels[there]) > 120
    assert abs(plain[elsewhere] - pixels[elsewhere]) < 40
