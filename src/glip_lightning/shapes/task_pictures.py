"""Pictures of a task of the generated world, and its folder in the layout of ODinW."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple
from zlib import crc32

import numpy as np
from PIL import Image

from glip_lightning.shapes.generated_folder import progress, write_coco, written_once
from glip_lightning.shapes.paint import Box, paint
from glip_lightning.shapes.scene import LARGE, SMALL, Thing, apart, settled
from glip_lightning.shapes.shapes13 import TASKS, Looks, Named, ShapesTask
from glip_lightning.shapes.styles import STYLES

VERSION = 3  # raise it when pictures change, so that folders of the old ones are written anew
SIZE = 128  # pixels
SPLITS = ("train", "valid", "test")
NEAR, AWAY = 0.6, 0.85  # distance of two centres over the sum of the diameters: up to and from it
GAP = 0.02  # of the picture's side, between a size that has a word and one that has not


class Example(NamedTuple):
    """A picture, what can be seen in it, and of which class that is."""

    image: Image.Image
    things: list[Thing]
    boxes: list[Box]
    labels: list[int | None]  # None: a distractor


def example(task: ShapesTask, split: str, index: int, seed: int = 0, size: int = SIZE) -> Example:
    """Picture ``index`` of a split: a function of these arguments alone."""
    rng = np.random.default_rng([seed, crc32(task.name.encode()), SPLITS.index(split), index])
    things = _scene(task, rng)
    image, boxes = paint(things, rng, size, STYLES[task.style])
    labels = labels_of(task, things)
    seen = [row for row in zip(things, boxes, labels, strict=True) if row[1] is not None]
    return Example(
        image,
        [row[0] for row in seen],
        [row[1] for row in seen if row[1]],
        [row[2] for row in seen],
    )


def labels_of(task: ShapesTask, things: list[Thing]) -> list[int | None]:
    """The class of each thing by its looks and by what is near it, whatever it was drawn as."""

    def fits(thing: Thing, named: Named) -> bool:
        return thing.fits(named.looks) and (
            named.near is None or _distance(thing, things, named.near) <= NEAR
        )

    return [
        next((k for k, named in enumerate(task.classes) if fits(thing, named)), None)
        for thing in things
    ]


def _distance(thing: Thing, things: list[Thing], looks: Looks) -> float:
    """To the nearest that looks so, in the sum of both diameters."""
    found = [other for other in things if other is not thing and other.fits(looks)]
    return min((_apart_by(thing, other) for other in found), default=math.inf)


def _apart_by(a: Thing, b: Thing) -> float:
    return math.hypot(a.x - b.x, a.y - b.y) / (a.diameter + b.diameter)


def _scene(task: ShapesTask, rng: np.random.Generator) -> list[Thing]:
    """Things of random classes and distractors, seven in ten of which miss a class by one word."""
    placed: list[Thing] = []
    for _ in range(rng.integers(1, task.most + 1)):
        named = task.classes[rng.integers(len(task.classes))]
        placed += _settled(
            task, _with(task, named.looks, rng), named.looks.get("size", ()), placed, rng
        )
        if named.near and placed:
            placed += _beside(placed[-1], _with(task, named.near, rng), placed, rng)
    for _ in range(rng.integers(task.distractors // 2, task.distractors + 1)):
        named = task.classes[rng.integers(len(task.classes))]
        thing, sizes = task.vocabulary.draw(rng), ()
        if rng.random() < 0.7:
            thing, sizes = _near_miss(task, named, rng)
        placed += _settled(task, thing, sizes, placed, rng)
    return _clear(task, [placed[k] for k in rng.permutation(len(placed))])


def _with(task: ShapesTask, looks: Looks, rng: np.random.Generator) -> Thing:
    """A thing of these looks but for its size, which comes with its place."""
    thing = task.vocabulary.draw(rng)
    words = {kind: str(rng.choice(words)) for kind, words in looks.items() if kind != "size"}
    return thing._replace(**words).possible()  # pyrefly: ignore[bad-argument-type]


def _near_miss(
    task: ShapesTask, named: Named, rng: np.random.Generator
) -> tuple[Thing, tuple[str, ...]]:
    """A thing that one word of a class is not true of, and the size that it must have."""
    thing, sizes = _with(task, named.looks, rng), named.looks.get("size", ())
    kinds = [
        kind for kind in named.looks for _ in range(1 if kind == "colour" else 2)
    ]  # what colour cannot tell
    kind = str(rng.choice(kinds))
    if kind == "size":
        return thing, ("large",) if "small" in sizes else ("small",)
    others: list[str | None] = [
        word for word in getattr(task.vocabulary, f"{kind}s") if word not in named.looks[kind]
    ]
    if kind in ("texture", "part"):
        others.append(None)
    other = others[rng.integers(len(others))]
    return thing._replace(**{kind: other}).possible(), sizes  # pyrefly: ignore[bad-argument-type]


def _settled(
    task: ShapesTask,
    thing: Thing,
    sizes: tuple[str, ...],
    placed: list[Thing],
    rng: np.random.Generator,
) -> list[Thing]:
    """Where the size of some class matters, every thing is clearly small or clearly large."""
    low, high = task.diameters
    ranges = {"small": (low, SMALL - GAP), "large": (LARGE + GAP, high)}
    if any("size" in named.looks for named in task.classes):
        sizes = sizes or tuple(ranges)
        low, high = ranges[str(rng.choice(sizes))]
    return settled(thing, placed, rng, (low, high))


def _beside(
    anchor: Thing, thing: Thing, placed: list[Thing], rng: np.random.Generator
) -> list[Thing]:
    """``thing``, as large as ``anchor``, touching it; empty where it finds no room."""
    for _ in range(30):
        angle, distance = (
            rng.uniform(0, 2 * math.pi),
            2 * anchor.diameter * rng.uniform(0.44, NEAR - 0.04),
        )
        x, y = anchor.x + distance * math.cos(angle), anchor.y + distance * math.sin(angle)
        tried = thing._replace(x=x, y=y, diameter=anchor.diameter, angle=anchor.angle)
        inside = 0.48 * anchor.diameter < min(x, y) <= max(x, y) < 1 - 0.48 * anchor.diameter
        if inside and all(apart(tried, other) for other in placed):
            return [tried]
    return []


def _clear(task: ShapesTask, things: list[Thing]) -> list[Thing]:
    """Without those of which nobody could say whether something is near them."""
    for named in task.classes:
        if named.near:
            near = named.near
            unclear = [
                t
                for t in things
                if t.fits(named.looks) and NEAR < _distance(t, things, near) < AWAY
            ]
            things = [thing for thing in things if thing not in unclear]
    return things


def write_task(
    folder: str | Path,
    task: str = "Blocks",
    seed: int = 0,
    counts: Mapping[str, int] | None = None,
    size: int = SIZE,
) -> Path:
    """Write a task in the layout of ODinW (``counts`` pictures per split; the task's own) and return its folder.

    What was written with the same settings is used as it is.
    """
    known = TASKS[task]
    counts = known.counts if counts is None else counts
    names = [named.name for named in known.classes]
    settings = {
        "kind": task,
        "version": VERSION,
        "seed": seed,
        "counts": dict(counts),
        "size": size,
    }

    def write(fresh: Path) -> None:
        with progress(f"{task}: pictures, drawn once", sum(counts.values())) as counted:
            for split, count in counts.items():
                shown = counted(example(known, split, k, seed, size) for k in range(count))
                write_coco(fresh / split, names, map(_labelled, shown))

    return written_once(Path(folder), settings, write)


def _labelled(shown: Example) -> tuple[Image.Image, list[tuple[Box, int]]]:
    """Without the distractors."""
    return shown.image, [
        (b, k) for b, k in zip(shown.boxes, shown.labels, strict=True) if k is not None
    ]
