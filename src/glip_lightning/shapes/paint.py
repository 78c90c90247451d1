"""Pictures of things: background, texture, shade, shadow, occlusion, noise, and visible boxes."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from glip_lightning.common.errors import GLIPError
from glip_lightning.shapes.outlines import HOLES, OUTLINES
from glip_lightning.shapes.scene import Thing
from glip_lightning.shapes.words import NEW_TEXTURES, RGB, TEXTURES

SUPERSAMPLING = 4
LEAST_PERIOD = 5.0  # of a texture, in pixels: finer ones would be grey at this resolution

Box = tuple[int, int, int, int]  # x, y, width, height


@dataclass(frozen=True, slots=True)
class Picture:
    """A painted picture, with the visible box of each thing."""

    image: Image.Image  # RGB
    boxes: list[Box | None]  # None where next to nothing of the thing can be seen


@dataclass(frozen=True, slots=True)
class Shown:
    """A painted picture with the things that can be seen in it and their visible boxes."""

    image: Image.Image  # RGB
    things: list[Thing]
    boxes: list[Box]


def to_image(pixels: np.ndarray) -> Image.Image:
    """Return pixels [H, W, 3] from 0 to 255 as an image; others are clipped."""
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def background(rng: np.random.Generator, size: int) -> np.ndarray:
    """Return a background [size, size, 3]: a slope between two tones, with soft clouds.

    Some have stripes, lines and specks.
    """
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
    """Return smooth noise [size, size] of about unit variance."""
    coarse = Image.fromarray(rng.normal(size=(8, 8)).astype(np.float32))
    return np.asarray(coarse.resize((size, size), Image.Resampling.BICUBIC))


def _clutter(pixels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return pixels with thin lines and specks, which are too small to be taken for a thing."""
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
    """Return pixels with the noise of a sensor."""
    return pixels + rng.normal(0, rng.uniform(1, 7), pixels.shape)


@dataclass(frozen=True, slots=True)
class Style:
    """The look of pictures; :mod:`.styles` has more of them."""

    background: Callable[[np.random.Generator, int], np.ndarray] = background
    finish: Callable[[np.ndarray, np.random.Generator], np.ndarray] = grain
    """The last step, on the pixels of the whole painted picture."""

    coloured: bool = True
    """Whether the colours of things can be seen."""


PHOTO = Style()


def paint(
    things: Sequence[Thing], rng: np.random.Generator, size: int, style: Style = PHOTO
) -> Picture:
    """Return a square picture of ``things``, ``size`` pixels wide; later ones hide earlier ones."""
    pixels = style.background(rng, size)
    covers = [_paint(pixels, thing, rng) for thing in things]
    return Picture(to_image(style.finish(pixels, rng)), visible_boxes(covers))


def paint_seen(
    things: Sequence[Thing], rng: np.random.Generator, size: int, style: Style = PHOTO
) -> Shown:
    """Return :func:`paint` without the things of which next to nothing can be seen."""
    picture = paint(things, rng, size, style)
    seen, boxes = [], []
    for thing, box in zip(things, picture.boxes, strict=True):
        if box is not None:
            seen.append(thing)
            boxes.append(box)
    return Shown(picture.image, seen, boxes)


@dataclass(frozen=True, slots=True)
class Patch:
    """A square part of the picture around a thing, in pixels."""

    left: int
    top: int
    side: int

    @classmethod
    def around(cls, thing: Thing, size: int, reach: float) -> "Patch":
        """Return the patch of a picture of ``size`` that holds ``reach`` radii of a thing."""
        side = 2 * math.ceil(thing.diameter * size / 2 * reach) + 4
        return cls(round(thing.x * size) - side // 2, round(thing.y * size) - side // 2, side)

    def on_canvas(self, values: np.ndarray, size: int) -> np.ndarray:
        """Return values [side, side] of the patch in a picture [size, size] of zeros."""
        outer, inner = self.window(size)
        canvas = np.zeros((size, size))
        canvas[outer] = values[inner]
        return canvas

    def window(self, size: int) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
        """Return the overlap with a picture of ``size``, as (rows, columns).

        The first pair is in the picture, the second in the patch.
        """
        rows = slice(max(self.top, 0), min(self.top + self.side, size))
        columns = slice(max(self.left, 0), min(self.left + self.side, size))
        inner_rows = slice(rows.start - self.top, rows.stop - self.top)
        inner_columns = slice(columns.start - self.left, columns.stop - self.left)
        return (rows, columns), (inner_rows, inner_columns)


def _paint(pixels: np.ndarray, thing: Thing, rng: np.random.Generator) -> np.ndarray:
    """Paint ``thing`` with its shadow into ``pixels``; return its coverage [size, size]."""
    size = len(pixels)
    radius = thing.diameter * size / 2
    patch = Patch.around(thing, size, reach=1.25)
    outer, inner = patch.window(size)
    centre = thing.x * size - patch.left, thing.y * size - patch.top
    alpha = coverage(thing, patch.side, centre, radius)
    _shade(pixels[outer], alpha, inner, drop=max(1, round(0.08 * radius)))
    colours = _colours(thing, rng, patch.side, centre, radius)
    pixels[outer] += alpha[inner][..., None] * (colours[inner] - pixels[outer])
    return patch.on_canvas(alpha, size)


def _shade(region: np.ndarray, alpha: np.ndarray, inner: tuple[slice, slice], drop: int) -> None:
    """Darken ``region`` where the shadow of a thing falls, ``drop`` pixels down and right."""
    shadow = blurred(np.roll(alpha, (drop, drop), (0, 1)), drop)
    region *= 1 - 0.35 * shadow[inner][..., None]


def blurred(mask: np.ndarray, radius: float) -> np.ndarray:
    """Return a mask [H, W] of shares with soft edges; ``radius`` is in pixels."""
    image = Image.fromarray((255 * mask).astype(np.uint8))
    return np.asarray(image.filter(ImageFilter.GaussianBlur(radius))) / 255


def coverage(thing: Thing, side: int, centre: tuple[float, float], radius: float) -> np.ndarray:
    """Return the share [side, side] of each pixel of a patch that the thing covers.

    ``centre`` (x, y) and ``radius`` of the thing are in pixels of the patch.
    """
    mask = Image.new("L", (side * SUPERSAMPLING, side * SUPERSAMPLING))
    draw = ImageDraw.Draw(mask)
    cos, sin = math.cos(thing.angle), math.sin(thing.angle)

    def place(x: float, y: float) -> tuple[float, float]:
        turned_x = cos * x - sin * y
        turned_y = sin * x + cos * y
        mask_x = SUPERSAMPLING * (centre[0] + radius * turned_x)
        mask_y = SUPERSAMPLING * (centre[1] + radius * turned_y)
        return mask_x, mask_y

    draw.polygon([place(x, y) for x, y in OUTLINES[thing.shape]], fill=255)
    if thing.shape in HOLES:
        x, y, hole = HOLES[thing.shape]
        x, y = place(x, y)
        hole = hole * radius * SUPERSAMPLING
        draw.ellipse((x - hole, y - hole, x + hole, y + hole), fill=0)
    return np.asarray(mask.reduce(SUPERSAMPLING)) / 255


def _colours(
    thing: Thing, rng: np.random.Generator, side: int, centre: tuple[float, float], radius: float
) -> np.ndarray:
    """Return the colours [side, side, 3] of a patch: texture, part, light from the upper left."""
    base = np.add(RGB[thing.colour], rng.uniform(-14, 14, 3)).clip(0, 255)
    is_dark = base.mean() < 128
    contrast = np.full(3, 245.0 if is_dark else 15.0)
    y, x = np.mgrid[0:side, 0:side].astype(float)
    x = x + 0.5 - centre[0]
    y = y + 0.5 - centre[1]
    colours = np.broadcast_to(base, (side, side, 3)).copy()
    if thing.texture:
        period = max(LEAST_PERIOD, 0.5 * radius)
        share = texture(thing.texture, x, y, period, rng.uniform(0, math.pi))
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
    """Return 1 where ``depth`` (in radii) is positive, 0 where it is negative [.., 1].

    The transition takes a pixel.
    """
    return (depth * radius + 0.5).clip(0, 1)[..., None]


def texture(name: str, x: np.ndarray, y: np.ndarray, period: float, angle: float) -> np.ndarray:
    """Return the share of the second tone, from 0 to 1, at x, y (pixels from the thing's centre).

    Raises:
        GLIPError: there is no such texture (code ``unknown-value``).
    """
    along = (math.cos(angle) * x + math.sin(angle) * y) / period
    across = (math.cos(angle) * y - math.sin(angle) * x) / period
    if name == "striped":
        return _step(np.cos(2 * math.pi * along), period)
    if name == "checkered":
        return _step(np.cos(math.pi * along) * np.cos(math.pi * across), period)
    if name == "dotted":
        u = along - np.round(along)
        v = across - np.round(across)
        return ((0.3 - np.hypot(u, v)) * period + 0.5).clip(0, 1)
    if name == "wavy":
        shift = 0.35 * np.sin(2 * math.pi * across / 1.6)
        return _step(np.cos(2 * math.pi * (along + shift)), period)
    known = ", ".join((*TEXTURES, *NEW_TEXTURES))
    raise GLIPError(f"texture {name!r}: there are {known}", code="unknown-value")


def _step(wave: np.ndarray, period: float) -> np.ndarray:
    """Return a wave from -1 to 1 as a square wave with edges of about a pixel."""
    return (0.5 + wave * period / 6).clip(0, 1)


def visible_boxes(
    covers: Sequence[np.ndarray], opacities: Sequence[float] | None = None
) -> list[Box | None]:
    """Return the visible box of each thing: around the pixels of which at least half is seen.

    None stands for a thing of which less than a quarter can be seen, or no such pixel.

    Args:
        covers: the coverages [H, W] of the things; later things hide earlier ones.
        opacities: how much of what is behind a thing it hides, from 0 to 1; all of it if not given.
    """
    if not covers:
        return []
    boxes: list[Box | None] = []
    free = np.ones_like(covers[0])
    hiding = opacities or [1.0] * len(covers)
    for cover, opacity in zip(reversed(covers), reversed(hiding), strict=True):
        seen = cover * free
        enough = seen.sum() >= 0.25 * cover.sum()
        boxes.append(_box(seen) if enough else None)
        free = free * (1 - opacity * cover)
    return boxes[::-1]


def _box(mask: np.ndarray) -> Box | None:
    columns = np.flatnonzero((mask >= 0.5).any(0))
    rows = np.flatnonzero((mask >= 0.5).any(1))
    if not len(columns):
        return None
    x = int(columns[0])
    y = int(rows[0])
    return x, y, int(columns[-1]) + 1 - x, int(rows[-1]) + 1 - y
