"""Things to pixels: cluttered backgrounds, texture, shading, shadow, occlusion, noise; boxes of what stays visible."""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from glip_lightning.common.errors import GLIPError
from glip_lightning.shapes.outlines import HOLES, OUTLINES
from glip_lightning.shapes.scene import Thing
from glip_lightning.shapes.words import NEW_TEXTURES, RGB, TEXTURES

SUPERSAMPLING = 4
LEAST_PERIOD = 5.0  # of a texture, in pixels: finer ones would be grey at this resolution

Box = tuple[int, int, int, int]  # x, y, width, height


class Picture(NamedTuple):
    image: Image.Image  # RGB
    boxes: list[Box | None]  # what can be seen of each thing; None where next to nothing can


class Shown(NamedTuple):
    """A picture and what can be seen in it."""

    image: Image.Image
    things: list[Thing]
    boxes: list[Box]


def to_image(pixels: np.ndarray) -> Image.Image:
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def background(rng: np.random.Generator, size: int) -> np.ndarray:
    """Float [size, size, 3]: a slope between two pale or dark tones, soft clouds, perhaps stripes, lines and specks."""
    first, second = rng.uniform(40, 215) + rng.uniform(-28, 28, (2, 3))
    y, x = np.mgrid[0:size, 0:size] / size
    angle = rng.uniform(0, 2 * math.pi)
    along = math.cos(angle) * (x - 0.5) + math.sin(angle) * (y - 0.5)
    pixels = first + (second - first) * (along[..., None] + 0.7)
    pixels += clouds(rng, size)[..., None] * rng.uniform(5, 22)
    if rng.random() < 0.35:
        pixels += rng.uniform(4, 12) * np.sin(2 * math.pi * rng.uniform(4, 14) * along)[..., None]
    return _clutter(pixels.clip(0, 255), rng)


def clouds(rng: np.random.Generator, size: int) -> np.ndarray:
    """Smooth noise [size, size] of about unit variance."""
    coarse = Image.fromarray(rng.normal(size=(8, 8)).astype(np.float32))
    return np.asarray(coarse.resize((size, size), Image.Resampling.BICUBIC))


def _clutter(pixels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Thin lines and specks of any colour, too small to be taken for a thing."""
    size = len(pixels)
    image = to_image(pixels)
    draw = ImageDraw.Draw(image)
    for _ in range(rng.integers(0, 7)):
        colour = tuple(rng.integers(0, 256, 3).tolist())
        x, y = rng.uniform(0, size, 2)
        if rng.random() < 0.5:
            dx, dy = rng.uniform(-0.35, 0.35, 2) * size
            draw.line((x, y, x + dx, y + dy), colour, width=1)
        else:
            radius = rng.uniform(0.008, 0.02) * size
            draw.ellipse((x - radius, y - radius, x + radius, y + radius), colour)
    return np.asarray(image).astype(np.float64)


def grain(pixels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """With the noise of a sensor."""
    return pixels + rng.normal(0, rng.uniform(1, 7), pixels.shape)


class Style(NamedTuple):
    """How pictures look; :mod:`.styles` has more of them."""

    background: Callable[[np.random.Generator, int], np.ndarray] = background
    finish: Callable[[np.ndarray, np.random.Generator], np.ndarray] = (
        grain  # of the whole painted picture
    )
    coloured: bool = True  # whether the colours of things can be seen


PHOTO = Style()


def paint(
    things: Sequence[Thing], rng: np.random.Generator, size: int, style: Style = PHOTO
) -> Picture:
    """Later things hide earlier ones. The picture is ``size`` pixels wide and high."""
    pixels = style.background(rng, size)
    covers = [_paint(pixels, thing, rng) for thing in things]
    return Picture(to_image(style.finish(pixels, rng)), visible_boxes(covers))


def paint_seen(
    things: Sequence[Thing], rng: np.random.Generator, size: int, style: Style = PHOTO
) -> Shown:
    """:func:`paint`, without the things of which next to nothing can be seen."""
    image, boxes = paint(things, rng, size, style)
    seen = [(thing, box) for thing, box in zip(things, boxes, strict=True) if box is not None]
    return Shown(image, [thing for thing, _ in seen], [box for _, box in seen])


class Patch(NamedTuple):
    """A square part of the picture around a thing, in pixels."""

    left: int
    top: int
    side: int

    def window(self, size: int) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
        """Where the patch meets a picture of ``size``: rows and columns of the picture, and of the patch."""
        rows = slice(max(self.top, 0), min(self.top + self.side, size))
        columns = slice(max(self.left, 0), min(self.left + self.side, size))
        inner = (
            slice(rows.start - self.top, rows.stop - self.top),
            slice(columns.start - self.left, columns.stop - self.left),
        )
        return (rows, columns), inner


def _paint(pixels: np.ndarray, thing: Thing, rng: np.random.Generator) -> np.ndarray:
    """Paint ``thing`` with its shadow into ``pixels``; return its coverage [size, size]."""
    size = len(pixels)
    radius = thing.diameter * size / 2
    side = 2 * math.ceil(radius * 1.25) + 4
    patch = Patch(round(thing.x * size) - side // 2, round(thing.y * size) - side // 2, side)
    outer, inner = patch.window(size)
    centre = thing.x * size - patch.left, thing.y * size - patch.top
    alpha = coverage(thing, side, centre, radius)
    _shade(pixels[outer], alpha, inner, drop=max(1, round(0.08 * radius)))
    colours = _colours(thing, rng, side, centre, radius)
    pixels[outer] += alpha[inner][..., None] * (colours[inner] - pixels[outer])
    cover = np.zeros((size, size))
    cover[outer] = alpha[inner]
    return cover


def _shade(region: np.ndarray, alpha: np.ndarray, inner: tuple[slice, slice], drop: int) -> None:
    shadow = np.roll(alpha, (drop, drop), (0, 1))
    image = Image.fromarray((255 * shadow).astype(np.uint8)).filter(ImageFilter.GaussianBlur(drop))
    region *= 1 - 0.35 * (np.asarray(image)[inner] / 255)[..., None]


def coverage(thing: Thing, side: int, centre: tuple[float, float], radius: float) -> np.ndarray:
    """Share of each pixel of a patch that the thing covers [side, side]."""
    mask = Image.new("L", (side * SUPERSAMPLING, side * SUPERSAMPLING))
    draw = ImageDraw.Draw(mask)
    cos, sin = math.cos(thing.angle), math.sin(thing.angle)

    def place(x: float, y: float) -> tuple[float, float]:
        turned = cos * x - sin * y, sin * x + cos * y
        return tuple(SUPERSAMPLING * (c + radius * t) for c, t in zip(centre, turned, strict=True))  # type: ignore[return-value]

    draw.polygon([place(x, y) for x, y in OUTLINES[thing.shape]], fill=255)
    if thing.shape in HOLES:
        x, y, hole = HOLES[thing.shape]
        (x, y), hole = place(x, y), hole * radius * SUPERSAMPLING
        draw.ellipse((x - hole, y - hole, x + hole, y + hole), fill=0)
    return np.asarray(mask.reduce(SUPERSAMPLING)) / 255


def _colours(
    thing: Thing, rng: np.random.Generator, side: int, centre: tuple[float, float], radius: float
) -> np.ndarray:
    """Colour of every pixel of a patch [side, side, 3]: texture, part, light from the upper left."""
    base = np.add(RGB[thing.colour], rng.uniform(-14, 14, 3)).clip(0, 255)
    contrast = np.full(3, 245.0 if base.mean() < 128 else 15.0)
    y, x = np.mgrid[0:side, 0:side].astype(float)
    x, y = x + 0.5 - centre[0], y + 0.5 - centre[1]
    colours = np.broadcast_to(base, (side, side, 3)).copy()
    if thing.texture:
        share = texture(
            thing.texture, x, y, max(LEAST_PERIOD, 0.5 * radius), rng.uniform(0, math.pi)
        )
        colours += share[..., None] * (0.62 * (contrast - base))
    distance = np.hypot(x, y) / radius
    if thing.part == "core":
        colours += _soft(0.3 - distance, radius) * (contrast - colours)
    elif thing.part == "border":
        inner = coverage(thing, side, centre, 0.76 * radius)
        colours += (1 - inner[..., None]) * (contrast - colours)
    light = rng.uniform(0.9, 1.08) * (1 - 0.22 * (x + y) / (2 * radius))
    return colours * light[..., None]


def _soft(depth: np.ndarray, radius: float) -> np.ndarray:
    """1 where ``depth`` (in radii) is positive, 0 where negative, a pixel of transition [.., 1]."""
    return (depth * radius + 0.5).clip(0, 1)[..., None]


def texture(name: str, x: np.ndarray, y: np.ndarray, period: float, angle: float) -> np.ndarray:
    """Share of the second tone at x, y (pixels from the thing's centre), in 0..1."""
    along = (math.cos(angle) * x + math.sin(angle) * y) / period
    across = (math.cos(angle) * y - math.sin(angle) * x) / period
    if name == "striped":
        return _step(np.cos(2 * math.pi * along), period)
    if name == "checkered":
        return _step(np.cos(math.pi * along) * np.cos(math.pi * across), period)
    if name == "dotted":
        u, v = along - np.round(along), across - np.round(across)
        return ((0.3 - np.hypot(u, v)) * period + 0.5).clip(0, 1)
    if name == "wavy":
        return _step(
            np.cos(2 * math.pi * (along + 0.35 * np.sin(2 * math.pi * across / 1.6))), period
        )
    raise GLIPError(
        f"texture {name!r}: there are {', '.join((*TEXTURES, *NEW_TEXTURES))}", code="unknown-value"
    )


def _step(wave: np.ndarray, period: float) -> np.ndarray:
    """A wave of -1..1 as a square one with edges of about a pixel."""
    return (0.5 + wave * period / 6).clip(0, 1)


def visible_boxes(covers: Sequence[np.ndarray]) -> list[Box | None]:
    """Of each thing the box of the pixels at least half of which is seen; later things hide earlier ones.

    ``covers``: coverage [H, W] of each. None for a thing of which less than a quarter or no such pixel is left.
    """
    boxes: list[Box | None] = []
    free = np.ones_like(covers[0]) if covers else np.ones((0, 0))
    for cover in reversed(covers):
        seen = cover * free
        boxes.append(_box(seen) if seen.sum() >= 0.25 * cover.sum() else None)
        free = free * (1 - cover)
    return boxes[::-1]


def _box(mask: np.ndarray) -> Box | None:
    columns, rows = (np.flatnonzero((mask >= 0.5).any(axis)) for axis in (0, 1))
    if not len(columns):
        return None
    x, y = int(columns[0]), int(rows[0])
    return x, y, int(columns[-1]) + 1 - x, int(rows[-1]) + 1 - y
