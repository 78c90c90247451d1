"""Other looks of the world than that of pre-training: backgrounds and last steps of painting."""

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from glip_lightning.shapes.paint import PHOTO, Style, background, clouds, grain, to_image

LUMINANCE = (0.299, 0.587, 0.114)
HEAT = ((0, 0, 20), (60, 0, 110), (180, 20, 110), (240, 100, 20), (255, 200, 40), (255, 255, 225))
"""Colours of a thermal camera, from cold to warm."""


def _blurred(pixels: np.ndarray, radius: float) -> np.ndarray:
    image = to_image(pixels).filter(ImageFilter.GaussianBlur(radius))
    return np.asarray(image).astype(np.float64)


def _paper(rng: np.random.Generator, size: int) -> np.ndarray:
    """Return light paper; half of it has faint ruled lines."""
    pixels = np.full((size, size, 3), rng.uniform(222, 248)) + rng.uniform(-8, 8, 3)
    pixels += 3 * clouds(rng, size)[..., None]
    if rng.random() < 0.5:
        pixels[:: int(rng.integers(9, 17))] -= (34, 22, 8)
    return pixels


def _crayon(pixels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return pixels as a drawing: pale hatched colour within ink outlines."""
    size = len(pixels)
    grey = pixels @ LUMINANCE
    slopes = np.hypot(*np.gradient(_blurred(pixels, 0.7) @ LUMINANCE))
    y, x = np.mgrid[0:size, 0:size]
    colour = (grey < 205) | (np.ptp(pixels, axis=-1) > 60)
    gaps = 0.5 + 0.5 * np.sin(2 * np.pi * (x + rng.uniform(0.4, 1.6) * y) / rng.uniform(3.2, 5.0))
    pale = np.where(colour, 0.25 + 0.3 * gaps, 0)[..., None]
    drawn = pixels + pale * (246 - pixels)
    ink = ((slopes - 14) / 26).clip(0, 1)[..., None]
    return drawn + ink * (np.array((38, 36, 52)) - drawn) + rng.normal(0, 3, pixels.shape)


def _map(rng: np.random.Generator, size: int) -> np.ndarray:
    """Return fields, water and bare ground seen from above, with one or two roads."""
    tones = np.array(
        ((96, 124, 74), (134, 140, 92), (164, 148, 112), (88, 118, 138), (120, 132, 120))
    )
    seeds = rng.uniform(0, size, (7, 2))
    y, x = np.mgrid[0:size, 0:size]
    nearest = np.hypot(y[..., None] - seeds[:, 0], x[..., None] - seeds[:, 1]).argmin(-1)
    fields = tones[rng.integers(len(tones), size=len(seeds))] + rng.uniform(
        -12, 12, (len(seeds), 3)
    )
    image = to_image(fields[nearest])
    draw = ImageDraw.Draw(image)
    for _ in range(rng.integers(1, 3)):
        start, stop = rng.uniform(0, size, 2)
        is_across = rng.random() < 0.5
        line = (0, start, size, stop) if is_across else (start, 0, stop, size)
        draw.line(line, (176, 172, 164), width=max(2, size // 26))
    return np.asarray(image).astype(np.float64) + 7 * rng.normal(size=(size, size, 1))


def _water(pixels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return pixels as under water: blurred, tinted blue and green, with bands of light."""
    size = len(pixels)
    tint = np.array((rng.uniform(8, 40), rng.uniform(80, 125), rng.uniform(125, 165)))
    mixed = _blurred(pixels, size / 128 * rng.uniform(0.6, 1.1)) * (0.62, 0.85, 0.95)
    mixed += rng.uniform(0.2, 0.4) * (tint - mixed)
    return mixed + 7 * clouds(rng, size)[..., None] + rng.normal(0, 2, pixels.shape)


def _thermal(pixels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return pixels as a thermal camera shows them (:data:`HEAT`); colours are lost."""
    grey = _blurred(pixels, len(pixels) / 128 * 0.7) @ LUMINANCE
    grey = grey + rng.normal(0, 3, pixels.shape[:2])
    scale = np.linspace(0, 255, len(HEAT))
    channels = [np.interp(grey, scale, channel) for channel in zip(*HEAT, strict=True)]
    return np.stack(channels, -1)


def _cold(rng: np.random.Generator, size: int) -> np.ndarray:
    """Return a background that is never as warm as the things."""
    return 0.35 * background(rng, size)


def _night(pixels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return pixels as at night: dark and noisy, with a lamp somewhere."""
    size = len(pixels)
    y, x = np.mgrid[0:size, 0:size] / size
    away = np.hypot(x - rng.uniform(0.2, 0.8), y - rng.uniform(0.2, 0.8))
    light = rng.uniform(0.3, 0.4) + 0.3 * np.exp(-4 * away**2)
    return pixels * light[..., None] + rng.normal(0, rng.uniform(6, 12), pixels.shape)


def _asphalt(rng: np.random.Generator, size: int) -> np.ndarray:
    """Return rough grey asphalt with cracks and the broken line of a lane."""
    pixels = np.full((size, size, 3), rng.uniform(88, 132)) + 6 * clouds(rng, size)[..., None]
    image = to_image(pixels + 9 * rng.normal(size=(size, size, 1)))
    draw = ImageDraw.Draw(image)
    x = rng.uniform(0.1, 0.9) * size
    slant = rng.uniform(-0.3, 0.3)
    for y in range(0, size, size // 5):
        end = y + size / 9
        dash = (x + slant * y, y, x + slant * end, end)
        draw.line(dash, (206, 204, 196), width=size // 40)
    for _ in range(rng.integers(0, 5)):
        start = rng.uniform(0, size, 2)
        steps = rng.uniform(-0.08, 0.08, (6, 2)) * size
        points = start + np.cumsum(steps, 0)
        draw.line([tuple(point) for point in points.tolist()], (60, 58, 58), width=1)
    return np.asarray(image).astype(np.float64)


def _leaves(rng: np.random.Generator, size: int) -> np.ndarray:
    """Return the floor of a wood: small brown and green leaves over each other."""
    tones = np.array(((92, 74, 46), (70, 84, 44), (116, 98, 60), (54, 60, 36), (104, 112, 64)))
    image = Image.new("RGB", (size, size), tuple(tones[rng.integers(len(tones))].tolist()))
    draw = ImageDraw.Draw(image)
    for _ in range(150):
        x, y = rng.uniform(0, size, 2)
        angle = rng.uniform(0, np.pi)
        dx = size / 28 * np.cos(angle)
        dy = size / 28 * np.sin(angle)
        tone = tones[rng.integers(len(tones))] + rng.integers(-14, 15, 3)
        leaf = (
            (x - dx, y - dy),
            (x - dy / 3, y + dx / 3),
            (x + dx, y + dy),
            (x + dy / 3, y - dx / 3),
        )
        draw.polygon(leaf, tuple(tone.tolist()))
    return np.asarray(image).astype(np.float64)


STYLES: Mapping[str, Style] = MappingProxyType(
    {
        "photo": PHOTO,  # as in pre-training
        "aerial": Style(_map, grain),
        "drawing": Style(_paper, _crayon),
        "forest": Style(_leaves, grain),
        "night": Style(background, _night),
        "road": Style(_asphalt, grain),
        "thermal": Style(_cold, _thermal, coloured=False),
        "underwater": Style(background, _water),
    }
)
