"""Generated pictures of coloured shapes: a data set that needs no download and is learned in minutes.

Every picture is a function of (seed, index): up to four shapes of the four classes on a textured background,
of several sizes, shaded, turned, partly hidden, among shapes of other colours and small clutter.
"""

import json
import math
import shutil
from collections.abc import Mapping
from pathlib import Path
from tempfile import mkdtemp
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from ..odinw import ANNOTATIONS

CLASS_NAMES = ("red circle", "blue square", "yellow triangle", "green star")
COLOURS = {
    "red": (214, 39, 40),
    "blue": (35, 92, 205),
    "yellow": (242, 201, 29),
    "green": (36, 150, 62),
}
OTHER_COLOURS = ((142, 68, 173), (120, 120, 120), (121, 72, 38), (232, 232, 228))  # those of no class
DIAMETERS = (40 / 256, 130 / 256)  # of the picture's side
SUPERSAMPLING = 3
COUNTS = MappingProxyType({"train": 48, "valid": 12, "test": 12})
MANIFEST = "shapes.json"
VERSION = 1  # raise it when pictures change, so that folders of the old ones are written anew


class Picture(NamedTuple):
    image: Image.Image  # RGB, size x size
    boxes: list[tuple[int, int, int, int]]  # x, y, width, height of what can be seen of each shape
    labels: list[int]  # index into CLASS_NAMES


class _Shape(NamedTuple):
    kind: str
    colour: tuple[int, ...]
    label: int | None  # None: a distractor
    x: float
    y: float
    radius: float  # of the circle around it, in pixels
    angle: float


def render(seed: int, index: int, size: int = 256) -> Picture:
    """Picture ``index`` of the world ``seed``, ``size`` pixels wide and high."""
    rng = np.random.default_rng([seed, index])
    pixels = _background(rng, size)
    shapes = _arrange(rng, size)
    visible = []
    for shape in shapes:
        alpha = _paint(pixels, shape, rng)
        visible = [mask * (1 - alpha) for mask in visible] + [alpha]
    pixels += rng.normal(0, rng.uniform(2, 9), pixels.shape)  # sensor noise
    found = [(_box(mask), s.label) for mask, s in zip(visible, shapes, strict=True) if s.label is not None]
    image = Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
    return Picture(image, [box for box, _ in found], [label for _, label in found])


def _background(rng: np.random.Generator, size: int) -> np.ndarray:
    """Float [size, size, 3]: a slope between two pale or dark colours, soft clouds, perhaps stripes, specks."""
    first, second = rng.uniform(30, 225) + rng.uniform(-30, 30, (2, 3))
    y, x = np.mgrid[0:size, 0:size] / size
    angle = rng.uniform(0, 2 * math.pi)
    along = math.cos(angle) * (x - 0.5) + math.sin(angle) * (y - 0.5)
    pixels = first + (second - first) * (along[..., None] + 0.7)
    pixels += _clouds(rng, size)[..., None] * rng.uniform(8, 28)
    if rng.random() < 0.4:
        pixels += rng.uniform(4, 14) * np.sin(2 * math.pi * rng.uniform(4, 16) * along)[..., None]
    return _clutter(pixels.clip(0, 255), rng)


def _clouds(rng: np.random.Generator, size: int) -> np.ndarray:
    """Smooth noise [size, size] of about unit variance."""
    coarse = Image.fromarray(rng.normal(size=(9, 9)).astype(np.float32))
    return np.asarray(coarse.resize((size, size), Image.Resampling.BICUBIC))


def _clutter(pixels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Thin lines and specks of any colour, too small to be taken for a shape."""
    size = len(pixels)
    image = Image.fromarray(pixels.astype(np.uint8))
    image = image.resize((2 * size, 2 * size), Image.Resampling.BILINEAR)
    draw = ImageDraw.Draw(image)
    for _ in range(rng.integers(0, 9)):
        colour = tuple(rng.integers(0, 256, 3).tolist())
        x, y = rng.uniform(0, 2 * size, 2)
        if rng.random() < 0.5:
            dx, dy = rng.uniform(-0.4, 0.4, 2) * size
            draw.line((x, y, x + dx, y + dy), colour, width=max(1, size // 64))
        else:
            radius = rng.uniform(0.01, 0.03) * size
            draw.ellipse((x - radius, y - radius, x + radius, y + radius), colour)
    return np.asarray(image.reduce(2)).astype(np.float64)


def _arrange(rng: np.random.Generator, size: int) -> list[_Shape]:
    """One to four shapes and up to two distractors (painted first), which hide each other a little at most."""
    placed: list[_Shape] = []
    labels: list[int | None] = [int(label) for label in rng.integers(len(CLASS_NAMES), size=rng.integers(1, 5))]
    for label in labels + [None] * int(rng.integers(0, 3)):
        for _ in range(30):
            shape = _random_shape(rng, label, size)
            if all(_apart(shape, other) for other in placed):
                placed.append(shape)
                break
    return sorted(placed, key=lambda shape: shape.label is not None)


def _random_shape(rng: np.random.Generator, label: int | None, size: int) -> _Shape:
    name = CLASS_NAMES[rng.integers(len(CLASS_NAMES)) if label is None else label]
    colour, kind = name.split()
    base = OTHER_COLOURS[rng.integers(len(OTHER_COLOURS))] if label is None else COLOURS[colour]
    low, high = DIAMETERS if label is not None else (DIAMETERS[0], sum(DIAMETERS) / 2)
    radius = size * math.exp(rng.uniform(math.log(low), math.log(high))) / 2  # small ones as often as large
    x, y = rng.uniform(0.9 * radius, size - 0.9 * radius, 2)
    jittered = np.add(base, rng.uniform(-16, 16, 3)).clip(0, 255)
    return _Shape(kind, tuple(jittered.astype(int).tolist()), label, x, y, radius, rng.uniform(0, 2 * math.pi))


def _apart(a: _Shape, b: _Shape) -> bool:
    return math.hypot(a.x - b.x, a.y - b.y) > 0.72 * (a.radius + b.radius)


def _paint(pixels: np.ndarray, shape: _Shape, rng: np.random.Generator) -> np.ndarray:
    """Paint ``shape`` with its shadow, rim and shading into ``pixels``; return its coverage [size, size]."""
    size = len(pixels)
    alpha = _coverage(shape, size)
    drop = max(1, round(0.06 * shape.radius))
    blurred = _coverage(shape._replace(x=shape.x + drop, y=shape.y + drop), size, blur=drop)
    pixels *= 1 - 0.4 * blurred[..., None]
    y, x = np.mgrid[0:size, 0:size]
    light = 1 - 0.3 * ((x - shape.x) + (y - shape.y)) / (2 * shape.radius)  # from the upper left
    fill = np.multiply(light[..., None] * rng.uniform(0.85, 1.1), shape.colour)
    rim = np.multiply(shape.colour, 0.55)
    for layer, colour in ((alpha, rim), (_coverage(shape._replace(radius=0.9 * shape.radius), size), fill)):
        pixels += layer[..., None] * (colour - pixels)
    return alpha


def _coverage(shape: _Shape, size: int, blur: float = 0) -> np.ndarray:
    """Share of each pixel that the shape covers [size, size]."""
    mask = Image.new("L", (size * SUPERSAMPLING, size * SUPERSAMPLING))
    points = [(x * SUPERSAMPLING, y * SUPERSAMPLING) for x, y in _outline(shape)]
    ImageDraw.Draw(mask).polygon(points, fill=255)
    mask = mask.reduce(SUPERSAMPLING)
    if blur:
        mask = mask.filter(ImageFilter.GaussianBlur(blur))
    return np.asarray(mask) / 255


def _outline(shape: _Shape) -> list[tuple[float, float]]:
    """Corners on the circle around the shape; every other one of a star lies further in."""
    corners = {"circle": 90, "square": 4, "triangle": 3, "star": 10}[shape.kind]
    radii = [shape.radius * (0.45 if shape.kind == "star" and i % 2 else 1) for i in range(corners)]
    angles = [shape.angle + 2 * math.pi * i / corners for i in range(corners)]
    return [(shape.x + r * math.cos(a), shape.y + r * math.sin(a)) for r, a in zip(radii, angles, strict=True)]


def _box(mask: np.ndarray) -> tuple[int, int, int, int]:
    """x, y, width, height of the pixels of which at least half is seen."""
    columns, rows = (np.flatnonzero((mask >= 0.5).any(axis)) for axis in (0, 1))
    x, y = int(columns[0]), int(rows[0])
    return x, y, int(columns[-1]) + 1 - x, int(rows[-1]) + 1 - y


def write_shapes(folder: str | Path, seed: int = 0, counts: Mapping[str, int] = COUNTS, size: int = 256) -> Path:
    """Write a data set in the layout of ODinW (``counts`` pictures per split) and return its folder.

    A folder written with the same settings is used as it is, one of other settings is written anew. It
    appears at once when complete, so that processes may call this side by side.
    """
    folder = Path(folder)
    settings = {"version": VERSION, "seed": seed, "counts": dict(counts), "size": size}
    if _settings(folder) == settings:
        return folder
    if folder.exists() and _settings(folder) is None and any(folder.iterdir()):
        raise FileExistsError(f"{folder}: holds other files than generated pictures; choose a new or empty folder")
    folder.parent.mkdir(parents=True, exist_ok=True)
    unfinished = Path(mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    for number, (split, count) in enumerate(counts.items()):
        _write_split(unfinished / split, seed, number * 1_000_000, count, size)
    (unfinished / MANIFEST).write_text(json.dumps(settings), encoding="utf-8")
    _replace(folder, unfinished, settings)
    return folder


def _settings(folder: Path) -> dict | None:
    """With which settings the folder was written; None if it is none of ours."""
    manifest = folder / MANIFEST
    return json.loads(manifest.read_text(encoding="utf-8")) if manifest.is_file() else None


def _replace(folder: Path, new: Path, settings: Mapping[str, object]) -> None:
    if _settings(folder) is not None and _settings(folder) != settings:
        shutil.rmtree(folder)
    try:
        new.chmod(0o755)  # mkdtemp's is private
        new.replace(folder)
    except OSError:  # another process was faster
        shutil.rmtree(new)
        if _settings(folder) != settings:
            raise


def _write_split(folder: Path, seed: int, start: int, count: int, size: int) -> None:
    folder.mkdir()
    images, annotations = [], []
    for number in range(count):
        picture = render(seed, start + number, size)
        name = f"{number:05}.jpg"
        picture.image.save(folder / name, quality=92)
        images.append({"id": number, "file_name": name, "width": size, "height": size})
        for box, label in zip(picture.boxes, picture.labels, strict=True):
            ids = {"id": len(annotations) + 1, "image_id": number, "category_id": label + 1}
            annotations.append({**ids, "bbox": box, "area": box[2] * box[3], "iscrowd": 0})
    categories = [{"id": k, "name": name} for k, name in enumerate(CLASS_NAMES, start=1)]
    content = {"images": images, "annotations": annotations, "categories": categories}
    (folder / ANNOTATIONS).write_text(json.dumps(content), encoding="utf-8")
