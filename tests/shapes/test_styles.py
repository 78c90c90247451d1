"""Styles: other pictures of the same things, at the same places."""

import numpy as np
import pytest

from glip_lightning.shapes.paint import paint
from glip_lightning.shapes.scene import Thing
from glip_lightning.shapes.styles import STYLES

RED = Thing("circle", "red", x=0.3, y=0.3, diameter=0.3)
BLUE = Thing("square", "blue", x=0.7, y=0.7, diameter=0.3)


def picture(style: str, *things: Thing, seed: int = 0, size: int = 96) -> np.ndarray:
    return np.asarray(paint(things, np.random.default_rng(seed), size, STYLES[style]).image).astype(
        float
    )


@pytest.mark.parametrize("style", STYLES)
def test_pictures_are_functions_of_the_stream(style: str) -> None:
    assert np.array_equal(picture(style, RED, BLUE), picture(style, RED, BLUE))
    assert not np.array_equal(picture(style, RED, BLUE), picture(style, RED, BLUE, seed=1))
    assert picture(style, RED, size=64).shape == (64, 64, 3)


@pytest.mark.parametrize("style", STYLES)
def test_things_stand_out_and_their_boxes_are_those_of_every_style(style: str) -> None:
    boxes = paint([RED, BLUE], np.random.default_rng(0), 96, STYLES[style]).boxes
    assert boxes == paint([RED, BLUE], np.random.default_rng(0), 96).boxes
    for seed in range(5):
        with_things, empty = picture(style, RED, BLUE, seed=seed), picture(style, seed=seed)
        for x, y, w, h in (box for box in boxes if box is not None):
            inside = np.s_[y + h // 3 : y + 2 * h // 3, x + w // 3 : x + 2 * w // 3]
            assert np.abs(with_things[inside].mean((0, 1)) - empty[inside].mean((0, 1))).max() > 12


def test_warmth_alone_is_left_of_colours() -> None:
    """White paint is warm, whatever lies behind it is not."""
    for seed in range(3):
        pixels = picture("thermal", Thing("circle", "white", diameter=0.5), seed=seed)
        assert pixels[44:52, 44:52].mean() > 150
        assert pixels[:8].mean() < 110
    red, _, blue = picture("thermal", RED, BLUE)[25:32, 25:32].mean((0, 1))
    assert red < 200  # red paint is not warm
    assert blue > 40


def test_the_night_is_dark_and_water_blue() -> None:
    assert np.mean([picture("night", seed=seed).mean() for seed in range(8)]) < 80
    red, _, blue = np.mean([picture("underwater", seed=seed).mean((0, 1)) for seed in range(8)], 0)
    assert blue > red + 30


def test_drawings_have_light_paper_and_dark_outlines() -> None:
    pixels = picture("drawing", Thing("square", "yellow", "striped", diameter=0.5))
    assert np.median(pixels) > 200
    assert pixels.min() < 90
