"""Colours of surfaces with the statistics of photos: noise, patterns and dead leaves.

The amplitudes of photos fall with the frequency f as 1 / f (Field 1987). Pictures of such noise
and of dead leaves (things of all sizes that hide each other, Lee et al. 2001) are known to train
vision networks (Baradad et al., arXiv 2106.05963).
"""

import math
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from glip_lightning.shapes.paint import LEAST_PERIOD, texture, to_image
from glip_lightning.shapes.words import RGB, TEXTURES

PATTERNED = 0.4
"""Share of materials that have one of the ``TEXTURES``."""


@dataclass(frozen=True, slots=True)
class Material:
    """How a surface looks, apart from its colour."""

    pattern: str | None  # one of TEXTURES
    period: float  # of the pattern, in radii of the thing
    strength: float  # of the pattern, from 0; at 1 its second tone is nearly black or white
    warp: float  # how much the pattern is bent, in periods
    exponent: float  # the amplitudes of its noise fall as 1 / f ** exponent
    stretch: float  # how many times longer than wide the grains of the noise are
    contrast: float  # standard deviation of the noise, in grey levels
    tint: float  # standard deviation of the noise of each colour channel

    def colours(
        self, base: np.ndarray, rng: np.random.Generator, side: int, radius: float, angle: float
    ) -> np.ndarray:
        """Return the colours [side, side, 3] of a patch; 0 to 255, a few lie outside.

        Args:
            base: the main colour [3].
            rng: draws the noise.
            side: of the patch, in pixels.
            radius: of the thing, in pixels; it scales the pattern.
            angle: by which the surface is turned, in radians.
        """
        field = noise(rng, side, self.exponent, self.stretch, angle)
        colours = base + self.contrast * field[..., None]
        for channel in range(3):
            colours[..., channel] += self.tint * noise(rng, side, 1.5)
        if self.pattern is not None:
            share = self._pattern(field, rng, side, radius, angle)
            far = 245.0 if base.mean() < 128 else 15.0  # so that it is seen on every colour
            colours += self.strength * share[..., None] * (far - base)
        return colours

    def _pattern(
        self, field: np.ndarray, rng: np.random.Generator, side: int, radius: float, angle: float
    ) -> np.ndarray:
        """Return the share [side, side] of the second tone."""
        period = max(LEAST_PERIOD, self.period * radius)
        y, x = np.mgrid[0:side, 0:side] - side / 2
        bend = self.warp * period
        x = x + bend * noise(rng, side, 2.0)
        y = y + bend * noise(rng, side, 2.0)
        share = texture(self.pattern or "", x, y, period, angle)
        return share * (0.8 + 0.1 * field).clip(0, 1)


def random_material(rng: np.random.Generator) -> Material:
    """Return a random material."""
    pattern = TEXTURES[rng.integers(len(TEXTURES))] if rng.random() < PATTERNED else None
    return Material(
        pattern=pattern,
        period=rng.uniform(0.2, 0.6),
        strength=rng.uniform(0.45, 0.9),
        warp=rng.uniform(0, 0.35),
        exponent=rng.uniform(0.3, 2.0),
        stretch=math.exp(rng.uniform(0, math.log(8))) if rng.random() < 0.5 else 1.0,
        contrast=rng.uniform(4, 32),
        tint=rng.uniform(1, 12),
    )


def noise(
    rng: np.random.Generator,
    side: int,
    exponent: float = 1.0,
    stretch: float = 1.0,
    angle: float = 0.0,
) -> np.ndarray:
    """Return noise [side, side] of mean 0 and variance 1 whose amplitudes are 1 / f ** exponent.

    Args:
        rng: draws it.
        side: in pixels.
        exponent: 0 for white noise, 1 for that of photos, 2 for clouds.
        stretch: how many times longer than wide its grains are.
        angle: of the long side of the grains, in radians.
    """
    y = np.fft.fftfreq(side)[:, None]
    x = np.fft.rfftfreq(side)[None]
    along = (math.cos(angle) * x + math.sin(angle) * y) * stretch
    across = math.cos(angle) * y - math.sin(angle) * x
    amplitudes = np.hypot(along, across).clip(1 / side) ** -exponent
    white = np.fft.rfft2(rng.normal(size=(side, side)))
    field = np.fft.irfft2(white * amplitudes, s=(side, side))
    return (field - field.mean()) / (field.std() + 1e-9)


def muted(colour: str, rng: np.random.Generator) -> np.ndarray:
    """Return a colour [3] of a thing that is called ``colour``, mostly paler or darker than RGB."""
    rgb = np.array(RGB[colour], float)
    grey = rgb.mean()
    paler = rgb + rng.uniform(0, 0.45) * (grey - rgb)
    return (paler * rng.uniform(0.75, 1.1) + rng.normal(0, 8, 3)).clip(5, 250)


def any_colour(rng: np.random.Generator) -> np.ndarray:
    """Return a colour [3] of a background: mostly greys, browns and greens."""
    return (rng.uniform(20, 235) + rng.normal(0, 1, 3) * rng.uniform(3, 40)).clip(0, 255)


def surroundings(rng: np.random.Generator, size: int) -> np.ndarray:
    """Return a background [size, size, 3]: a sheet, a horizon, areas or dead leaves."""
    chance = rng.random()
    if chance < 0.2:
        return _surface(rng, size, rng.uniform(0, 0.4))
    if chance < 0.4:
        return _horizon(rng, size)
    if chance < 0.7:
        return _areas(rng, size)
    return dead_leaves(rng, size)


def _surface(rng: np.random.Generator, size: int, strength: float = 1.0) -> np.ndarray:
    """Return one material that fills the picture; ``strength`` scales its noise."""
    base = any_colour(rng)
    colours = random_material(rng).colours(base, rng, size, size / 4, rng.uniform(0, math.pi))
    return base + strength * (colours - base)


def _horizon(rng: np.random.Generator, size: int) -> np.ndarray:
    """Return two materials, one above the other, with an uneven border."""
    line = rng.uniform(0.2, 0.8) * size + rng.uniform(0, 0.06) * size * noise(rng, size, 2.0)[0]
    below = (np.arange(size)[:, None] - line[None]).clip(-1, 1)[..., None] / 2 + 0.5
    sky, ground = _surface(rng, size, rng.uniform(0, 0.5)), _surface(rng, size)
    return sky + below * (ground - sky)


def _areas(rng: np.random.Generator, size: int) -> np.ndarray:
    """Return two to five materials in areas with fractal borders."""
    count = int(rng.integers(2, 6))
    heights = np.stack([noise(rng, size, rng.uniform(1.3, 2.2)) for _ in range(count)])
    owner = heights.argmax(0)
    pixels = np.zeros((size, size, 3))
    for number in range(count):
        here = owner == number
        pixels[here] = _surface(rng, size)[here]
    return pixels


def dead_leaves(rng: np.random.Generator, size: int) -> np.ndarray:
    """Return leaves of all sizes that hide each other; their radii r have a density of r ** -3."""
    image = to_image(_surface(rng, size))
    draw = ImageDraw.Draw(image)
    tones = [any_colour(rng) for _ in range(int(rng.integers(2, 7)))]
    least, most = 0.015 * size, 0.3 * size
    corners = int(rng.integers(3, 12))
    length = rng.uniform(1, 3)
    for _ in range(int(rng.integers(60, 400))):
        share = rng.random()
        radius = (least**-2 + share * (most**-2 - least**-2)) ** -0.5
        x, y = rng.uniform(0, size, 2)
        turn = rng.uniform(0, 2 * math.pi)
        tone = tones[rng.integers(len(tones))] + rng.normal(0, 12, 3)
        angles = np.linspace(0, 2 * math.pi, corners, endpoint=False)
        u, v = length * radius * np.cos(angles), radius * np.sin(angles)
        points = zip(
            x + math.cos(turn) * u - math.sin(turn) * v,
            y + math.sin(turn) * u + math.cos(turn) * v,
            strict=True,
        )
        draw.polygon(list(points), tuple(int(value) for value in tone.clip(0, 255)))
    fine = noise(rng, size, rng.uniform(0.5, 1.5))[..., None]
    return np.asarray(image).astype(float) + rng.uniform(2, 18) * fine


def branches(rng: np.random.Generator, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Return what stands before everything: its coverage [size, size] and its colours [.., 3]."""
    mask = Image.new("L", (size, size))
    draw = ImageDraw.Draw(mask)
    for _ in range(int(rng.integers(1, 6))):
        start = rng.uniform(0, size, 2)
        steps = rng.normal(0, 0.15 * size, (5, 2)) + rng.normal(0, 0.2 * size, 2)
        points = start + np.cumsum(steps, axis=0)
        width = max(1, round(size * rng.uniform(0.008, 0.05)))
        draw.line([tuple(point) for point in points.tolist()], 255, width=width, joint="curve")
    return np.asarray(mask) / 255, _surface(rng, size)
