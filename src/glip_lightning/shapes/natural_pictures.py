"""Pictures with the statistics of photos, to pre-train detectors that then learn real photos.

    python -m glip_lightning.shapes.natural_pictures FOLDER
    python -m glip_lightning.shapes.natural_pictures --sheet docs/natural.jpg

Things of invented species (:mod:`.species`) lie on natural backgrounds (:mod:`.materials`). They
have all sizes, hide each other and leave the picture. Light, focus, noise and white balance vary.
A folder has ``{train,valid}`` in COCO format, whose classes are the species, and for ``train``
captions with boxes (``words.json`` and ``phrases.json``) as the other pre-training data.
"""

import argparse
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from glip_lightning.common.files import replacing
from glip_lightning.inference.drawing import draw_boxes
from glip_lightning.shapes.descriptions import CAPTIONS, Caption, random_captions
from glip_lightning.shapes.generated_folder import (
    Captioned,
    write_captions,
    write_coco,
    written_parts,
)
from glip_lightning.shapes.materials import branches, muted, noise, surroundings
from glip_lightning.shapes.paint import Box, Patch, Shown, blurred, to_image, visible_boxes
from glip_lightning.shapes.scene import Thing, Vocabulary, is_apart
from glip_lightning.shapes.species import Polygon, Species, all_species
from glip_lightning.shapes.words import COLOURS

VERSION = 1
"""Raise it when pictures or captions change, so that folders of the old ones are written anew."""

SIZE = 224  # pixels
COUNTS: Mapping[str, int] = MappingProxyType({"train": 16_000, "valid": 200})
STREAM = 102  # part of each seed, so that other generated pictures draw other numbers
SUPERSAMPLING = 3
LEAST_BOX = 1 / 56  # of the picture's side: smaller parts of things are not labelled
REACH = 1.45  # radii: how far a thing may reach when it is bent and stretched
CLOSEST = 0.22  # of the diameters of two things together: how near their centres may be
OCCLUDED = 0.25
"""Share of pictures with branches before everything."""

CROWD = 0.25
"""Share of pictures with many things of mostly one species."""

GREY = 0.1
"""Share of pictures without colours."""

LARGE = 0.35
"""Share of pictures with one or two large things."""


@dataclass(frozen=True, slots=True)
class Light:
    """The light of a picture."""

    x: float  # where it comes from: the unit vector (x, y) points to it
    y: float
    strength: float  # of shades, from 0


def natural_picture(split: str, seed: int, index: int, size: int = SIZE) -> Shown:
    """Return picture ``index`` of a split.

    It depends on the arguments alone. ``size`` is each side in pixels.
    """
    rng = _stream(split, seed, index)
    things = natural_things(rng)
    pixels = surroundings(rng, size)
    angle = rng.uniform(0, 2 * math.pi)
    light = Light(math.cos(angle), math.sin(angle), rng.uniform(0, 0.6))
    covers = [_paint(pixels, thing, light, rng) for thing in things]
    opacities = [all_species()[thing.shape].opacity for thing in things]
    if rng.random() < OCCLUDED:
        cover, colours = branches(rng, size)
        pixels += cover[..., None] * (colours - pixels)
        covers.append(cover)
        opacities.append(1.0)
    seen, boxes = [], []
    visible = visible_boxes(covers, opacities)
    for thing, box in zip(things, visible, strict=False):  # branches have no box
        if box is not None and min(box[2:]) >= LEAST_BOX * size:
            seen.append(thing)
            boxes.append(box)
    if rng.random() < GREY:
        pixels = np.broadcast_to(pixels.mean(-1, keepdims=True), pixels.shape)
        seen = [replace(thing, colour="") for thing in seen]
    return Shown(_photographed(pixels, rng), seen, boxes)


def _stream(split: str, seed: int, index: int, number: int = 0) -> np.random.Generator:
    return np.random.default_rng([seed, STREAM, list(COUNTS).index(split), index, number])


def natural_things(rng: np.random.Generator) -> list[Thing]:
    """Return the things of a picture; their ``shape`` is the name of a species."""
    chance = rng.random()
    if chance < CROWD:
        things = _crowd(rng)
    elif chance < CROWD + LARGE:
        things = [_thing(rng, name, 0.25, 1.0) for name in _names(rng, int(rng.integers(1, 3)))]
    else:
        names = _names(rng, int(rng.integers(1, 5)))
        count = int(rng.integers(2, 9))
        chosen = [names[rng.integers(len(names))] for _ in range(count)]
        things = [_thing(rng, name, 0.07, 0.55) for name in chosen]
    return _apart(things)


def _names(rng: np.random.Generator, count: int) -> list[str]:
    return rng.choice(list(all_species()), size=count, replace=False).tolist()


def _thing(rng: np.random.Generator, name: str, least: float, most: float) -> Thing:
    """Return a thing somewhere, with a diameter from ``least`` to ``most`` of the side."""
    species = all_species()[name]
    diameter = math.exp(rng.uniform(math.log(least), math.log(most)))
    margin = 0.2 * diameter  # a third of it may lie outside
    x, y = rng.uniform(margin, 1 - margin, 2)
    angle = rng.uniform(0, 2 * math.pi) if species.turns else rng.normal(0, 0.15)
    colour = species.colours[int(rng.integers(len(species.colours)))]
    return Thing(name, colour, species.material.pattern, None, x, y, diameter, angle)


def _crowd(rng: np.random.Generator) -> list[Thing]:
    """Return many things of one species and colour and a few others, all of similar size."""
    most_are, *others = _names(rng, int(rng.integers(1, 4)))
    typical = math.exp(rng.uniform(math.log(0.07), math.log(0.25)))
    colour = all_species()[most_are].colours[0]
    things = []
    for _ in range(int(rng.integers(6, 21))):
        is_other = others and rng.random() < 0.2
        name = others[rng.integers(len(others))] if is_other else most_are
        thing = _thing(rng, name, 0.8 * typical, 1.25 * typical)
        things.append(thing if is_other else replace(thing, colour=colour))
    return things


def _apart(things: Sequence[Thing]) -> list[Thing]:
    """Return the things whose centres are not next to that of an earlier one."""
    kept: list[Thing] = []
    for thing in things:
        if all(is_apart(thing, other, CLOSEST) for other in kept):
            kept.append(thing)
    return kept


def _paint(pixels: np.ndarray, thing: Thing, light: Light, rng: np.random.Generator) -> np.ndarray:
    """Paint ``thing`` with its shadow into ``pixels``; return its coverage [size, size]."""
    size = len(pixels)
    species = all_species()[thing.shape]
    radius = thing.diameter * size / 2
    patch = Patch.around(thing, size, REACH)
    outer, inner = patch.window(size)
    pose = _Pose.random(thing, radius, rng)
    alpha = _mask([pose.placed(part) for part in species.body], patch.side)
    marks = _mask([pose.placed(part) for part in species.marks], patch.side) * alpha
    colours = _colours(species, thing, light, rng, alpha, marks, radius)
    _cast_shadow(pixels[outer], alpha, inner, light, max(1, round(0.12 * radius)))
    share = (species.opacity * blurred(alpha, rng.uniform(0, 0.8)))[inner][..., None]
    pixels[outer] += share * (colours[inner] - pixels[outer])
    return patch.on_canvas(alpha, size)


@dataclass(frozen=True, slots=True)
class _Pose:
    """How a thing lies: bent a little, mirrored, stretched, turned."""

    stretch: tuple[float, float]
    bends: np.ndarray  # [2, 3]: strength, frequency and phase along x and y
    angle: float
    radius: float

    @classmethod
    def random(cls, thing: Thing, radius: float, rng: np.random.Generator) -> "_Pose":
        wide, high = np.exp(rng.uniform(-0.22, 0.22, 2))
        mirrored = -1 if rng.random() < 0.5 else 1
        lows, highs = (-0.1, 1, 0), (0.1, 3, 2 * math.pi)
        bends = rng.uniform(lows, highs, (2, 3))
        return cls((mirrored * wide, high), bends, thing.angle, radius)

    def placed(self, polygon: Polygon) -> Polygon:
        """Return a polygon of the unit circle in pixels from the middle of the patch."""
        x, y = polygon.T
        (strength_x, wave_x, phase_x), (strength_y, wave_y, phase_y) = self.bends
        bent_x = x + strength_x * np.sin(wave_x * y + phase_x)
        bent_y = y + strength_y * np.sin(wave_y * x + phase_y)
        u, v = self.stretch[0] * bent_x, self.stretch[1] * bent_y
        cos, sin = math.cos(self.angle), math.sin(self.angle)
        return self.radius * np.stack([cos * u - sin * v, sin * u + cos * v], 1)


def _mask(polygons: Sequence[Polygon], side: int) -> np.ndarray:
    """Return the share [side, side] of each pixel that the polygons cover together."""
    large = side * SUPERSAMPLING
    image = Image.new("L", (large, large))
    draw = ImageDraw.Draw(image)
    for polygon in polygons:
        points = (polygon * SUPERSAMPLING + large / 2).tolist()
        draw.polygon([tuple(point) for point in points], 255)
    return np.asarray(image.reduce(SUPERSAMPLING)) / 255


def _cast_shadow(
    region: np.ndarray,
    alpha: np.ndarray,
    inner: tuple[slice, slice],
    light: Light,
    length: int,
) -> None:
    """Darken ``region`` where the shadow of a thing falls, ``length`` pixels from the light."""
    side = len(alpha)
    moved = Patch(round(-light.x * length), round(-light.y * length), side)
    shadow = blurred(moved.on_canvas(alpha, side), 0.7 * length)
    region *= 1 - light.strength * shadow[inner][..., None]


def _colours(
    species: Species,
    thing: Thing,
    light: Light,
    rng: np.random.Generator,
    alpha: np.ndarray,
    marks: np.ndarray,
    radius: float,
) -> np.ndarray:
    """Return the colours [side, side, 3] of a patch: material, marks, rim and shades."""
    side = len(alpha)
    base = muted(thing.colour, rng)
    colours = species.material.colours(base, rng, side, radius, thing.angle)
    tone = base + (255 * species.mark_tone - base) * 0.8
    colours += marks[..., None] * (tone - colours)
    height = blurred(alpha, 0.3 * radius)
    down, right = np.gradient(height)
    towards = -(right * light.x + down * light.y) * 1.2 * radius
    shade = 1 + species.relief * (0.3 + light.strength) * towards
    inside = ((height - 0.5) / 0.4).clip(0, 1)
    shade *= 1 - species.rim * (1 - inside)
    return colours * shade.clip(0.25, 1.8)[..., None]


def _photographed(pixels: np.ndarray, rng: np.random.Generator) -> Image.Image:
    """Return pixels as a camera takes them: light, white balance, contrast, focus, noise."""
    size = len(pixels)
    field = noise(rng, size, 2.5)
    pixels = pixels * (1 + rng.uniform(0, 0.2) * field[..., None])  # uneven light
    pixels *= np.exp(rng.normal(0, 0.08, 3))
    grey = pixels.mean()
    pixels = grey + (pixels - grey) * rng.uniform(0.6, 1.3) + rng.normal(0, 15)
    image = to_image(pixels)
    if rng.random() < 0.5:
        image = image.filter(ImageFilter.GaussianBlur(rng.uniform(0, 1.2)))
    return to_image(np.asarray(image) + rng.normal(0, rng.uniform(0, 8), pixels.shape))


def vocabulary(coloured: bool = True) -> Vocabulary:
    """Return the words of pictures with or without colours; names of species stand for shapes."""
    colours = COLOURS if coloured else ()
    return Vocabulary(tuple(all_species()), colours, parts=(), held_out=True)


def natural_captions(
    split: str, seed: int, index: int, things: Sequence[Thing]
) -> dict[str, list[Caption]]:
    """Return the captions of a picture: lists of ``words``, and of ``phrases``."""
    streams = [_stream(split, seed, index, number) for number in range(1, CAPTIONS + 1)]
    coloured = not things or any(thing.colour for thing in things)
    return random_captions(things, streams, vocabulary(coloured))


def write_natural(
    folder: str | Path, seed: int = 0, counts: Mapping[str, int] = COUNTS, size: int = SIZE
) -> Path:
    """Write the pictures and return their folder; one with equal settings is used as it is.

    Args:
        folder: a new or empty one.
        seed: of the world. The species are the same in all worlds.
        counts: pictures of each split.
        size: of each side, in pixels.

    Raises:
        GLIPError: there is no such split (code ``unknown-key``), a split without pictures
            (``bad-value``), or the folder has other content (``folder-taken``).
    """

    def write_split(fresh: Path, split: str, indices: Iterable[int]) -> None:
        _write_split(fresh, split, seed, size, indices)

    return written_parts(
        Path(folder),
        COUNTS,
        write_split,
        kind="natural",
        version=VERSION,
        seed=seed,
        counts=counts,
        size=size,
    )


def _write_split(folder: Path, split: str, seed: int, size: int, indices: Iterable[int]) -> None:
    """Write pictures with the boxes of all species; those to train on have captions too."""
    labels = {name: label for label, name in enumerate(all_species())}
    seen: list[tuple[list[Thing], list[Box]]] = []

    def pictures() -> Iterator[tuple[Image.Image, list[tuple[Box, int]]]]:
        for index in indices:
            shown = natural_picture(split, seed, index, size)
            seen.append((shown.things, shown.boxes))
            named = [labels[thing.shape] for thing in shown.things]
            yield shown.image, list(zip(shown.boxes, named, strict=True))

    def captioned() -> Iterator[Captioned]:
        for index, (entry, (things, boxes)) in enumerate(zip(entries, seen, strict=True)):
            yield entry, boxes, natural_captions(split, seed, index, things)

    entries = write_coco(folder, list(labels), pictures())
    if split == "train":
        write_captions(folder, captioned())


def sheet(columns: int = 6, rows: int = 2) -> Image.Image:
    """Return the first pictures with the boxes and names of their things."""
    whole = Image.new("RGB", (columns * SIZE, rows * SIZE))
    for index in range(columns * rows):
        shown = natural_picture("train", 0, index)
        boxes = [(x, y, x + width, y + height) for x, y, width, height in shown.boxes]
        drawn = draw_boxes(shown.image, boxes, [thing.shape for thing in shown.things])
        whole.paste(drawn, (index % columns * SIZE, index // columns * SIZE))
    return whole


def main() -> None:
    """Write the pictures, or a sheet of the first ones."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("folder", type=Path, nargs="?", help="a new or empty one")
    what.add_argument("--sheet", type=Path, metavar="FILE", help="a picture in place of a folder")
    given = parser.parse_args()
    if given.folder:
        print(write_natural(given.folder))
        return
    with replacing(given.sheet) as fresh:
        sheet().save(fresh, format="JPEG", quality=85)
    print(given.sheet)


if __name__ == "__main__":
    main()
