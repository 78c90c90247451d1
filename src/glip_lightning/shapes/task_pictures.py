"""The pictures of a task of the generated world, and its folder in the layout of ODinW."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from zlib import crc32

import numpy as np
from PIL import Image

from glip_lightning.shapes.generated_folder import progress, write_coco, written_once
from glip_lightning.shapes.paint import Box, paint
from glip_lightning.shapes.scene import LARGE, SMALL, Thing, is_apart, place_thing
from glip_lightning.shapes.shapes13 import TASKS, Looks, ShapesTask, TaskClass
from glip_lightning.shapes.styles import STYLES

VERSION = 3  # raise it when pictures change, so that folders of the old ones are written anew
SIZE = 128  # pixels
SPLITS = ("train", "valid", "test")
NEAR = 0.6
"""Up to this distance a thing is near another: of the centres, over the sum of the diameters."""

AWAY = 0.85
"""From this distance on a thing is not near another."""

GAP = 0.02
"""Share of the picture's side between a size that has a word and one that has none."""


@dataclass(frozen=True, slots=True)
class Example:
    """A picture, the things that can be seen in it, and their classes."""

    image: Image.Image
    things: list[Thing]
    boxes: list[Box]
    labels: list[int | None]  # None: a distractor


def example(task: ShapesTask, split: str, index: int, seed: int = 0, size: int = SIZE) -> Example:
    """Return picture ``index`` of a split; it depends on these arguments alone.

    ``size`` is each side of the picture in pixels.
    """
    rng = np.random.default_rng([seed, crc32(task.name.encode()), SPLITS.index(split), index])
    things = _scene(task, rng)
    picture = paint(things, rng, size, STYLES[task.style])
    labels = labels_of(task, things)
    shown = Example(picture.image, [], [], [])
    for thing, box, label in zip(things, picture.boxes, labels, strict=True):
        if box is not None:
            shown.things.append(thing)
            shown.boxes.append(box)
            shown.labels.append(label)
    return shown


def labels_of(task: ShapesTask, things: list[Thing]) -> list[int | None]:
    """Return the class index of each thing, by its look and by the things near it.

    The first class that fits counts; None where none does.
    """
    labels: list[int | None] = []
    for thing in things:
        fitting = [k for k, each in enumerate(task.classes) if _fits(thing, each, things)]
        labels.append(fitting[0] if fitting else None)
    return labels


def _fits(thing: Thing, wanted: TaskClass, things: list[Thing]) -> bool:
    if not thing.fits(wanted.looks):
        return False
    return wanted.near is None or _distance(thing, things, wanted.near) <= NEAR


def _distance(thing: Thing, things: list[Thing], looks: Looks) -> float:
    """Return the distance to the nearest other thing of these looks; infinite without one.

    It is that of the centres over the sum of the diameters.
    """
    nearest = math.inf
    for other in things:
        if other is not thing and other.fits(looks):
            between = math.hypot(thing.x - other.x, thing.y - other.y)
            nearest = min(nearest, between / (thing.diameter + other.diameter))
    return nearest


def _scene(task: ShapesTask, rng: np.random.Generator) -> list[Thing]:
    """Return things of random classes, and distractors.

    Seven in ten distractors miss a class by one word.
    """
    placed: list[Thing] = []
    for _ in range(rng.integers(1, task.most + 1)):
        chosen = task.classes[rng.integers(len(task.classes))]
        thing = _random_thing(task, chosen.looks, rng)
        _place(task, thing, chosen.looks.get("size", ()), placed, rng)
        if chosen.near and placed:
            anchor = placed[-1]
            thing = _random_thing(task, chosen.near, rng)
            _place_beside(anchor, thing, placed, rng)
    for _ in range(rng.integers(task.distractors // 2, task.distractors + 1)):
        chosen = task.classes[rng.integers(len(task.classes))]
        thing = task.vocabulary.draw(rng)
        sizes: tuple[str, ...] = ()
        if rng.random() < 0.7:
            thing, sizes = _near_miss(task, chosen, rng)
        _place(task, thing, sizes, placed, rng)
    shuffled = [placed[k] for k in rng.permutation(len(placed))]
    return _without_unclear(task, shuffled)


def _random_thing(task: ShapesTask, looks: Looks, rng: np.random.Generator) -> Thing:
    """Return a thing of these looks but for its size, which comes with its place."""
    thing = task.vocabulary.draw(rng)
    words = {kind: str(rng.choice(words)) for kind, words in looks.items() if kind != "size"}
    return replace(thing, **words).possible()  # pyrefly: ignore[bad-argument-type]


def _near_miss(
    task: ShapesTask, missed: TaskClass, rng: np.random.Generator
) -> tuple[Thing, tuple[str, ...]]:
    """Return a thing that one word of a class is not true of, and the sizes that it may have."""
    thing = _random_thing(task, missed.looks, rng)
    sizes = missed.looks.get("size", ())
    kinds = []
    for kind in missed.looks:
        # colour is half as frequent, since a thermal picture does not show it
        kinds += [kind] if kind == "colour" else [kind, kind]
    kind = str(rng.choice(kinds))
    if kind == "size":
        return thing, ("large",) if "small" in sizes else ("small",)
    words: tuple[str, ...] = getattr(task.vocabulary, f"{kind}s")
    others: list[str | None] = [word for word in words if word not in missed.looks[kind]]
    if kind in ("texture", "part"):
        others.append(None)
    other = others[rng.integers(len(others))]
    changed = replace(thing, **{kind: other})  # pyrefly: ignore[bad-argument-type]
    return changed.possible(), sizes


def _place(
    task: ShapesTask,
    thing: Thing,
    sizes: tuple[str, ...],
    placed: list[Thing],
    rng: np.random.Generator,
) -> None:
    """Add ``thing`` with a place to those ``placed``, where it finds room.

    Where the size matters for a class of the task, every thing is clearly small or clearly large.
    """
    diameters = task.diameters
    if any("size" in each.looks for each in task.classes):
        low, high = diameters
        ranges = {"small": (low, SMALL - GAP), "large": (LARGE + GAP, high)}
        diameters = ranges[str(rng.choice(sizes or tuple(ranges)))]
    found = place_thing(thing, placed, rng, diameters)
    if found is not None:
        placed.append(found)


def _place_beside(
    anchor: Thing, thing: Thing, placed: list[Thing], rng: np.random.Generator
) -> None:
    """Add ``thing`` to those ``placed``, as large as ``anchor`` and near it, if it finds room."""
    border = 0.48 * anchor.diameter
    for _ in range(30):
        angle = rng.uniform(0, 2 * math.pi)
        distance = 2 * anchor.diameter * rng.uniform(0.44, NEAR - 0.04)
        x = anchor.x + distance * math.cos(angle)
        y = anchor.y + distance * math.sin(angle)
        tried = replace(thing, x=x, y=y, diameter=anchor.diameter, angle=anchor.angle)
        is_inside = border < min(x, y) and max(x, y) < 1 - border
        if is_inside and all(is_apart(tried, other) for other in placed):
            placed.append(tried)
            return


def _without_unclear(task: ShapesTask, things: list[Thing]) -> list[Thing]:
    """Return the things without those that are neither near nor clearly away from another."""
    for each in task.classes:
        if each.near is None:
            continue
        distances = [_distance(thing, things, each.near) for thing in things]
        unclear = [
            thing
            for thing, distance in zip(things, distances, strict=True)
            if thing.fits(each.looks) and NEAR < distance < AWAY
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
    """Write a task in the layout of ODinW and return its folder.

    A folder with equal settings is used as it is.

    Args:
        folder: a new or empty one.
        task: one of Shapes-13, or Blocks.
        seed: of the world.
        counts: pictures by split; None: those of the task.
        size: of each side, in pixels.

    Raises:
        GLIPError: the folder has other content (code ``folder-taken``).
    """
    known = TASKS[task]
    if counts is None:
        counts = known.counts
    names = [each.name for each in known.classes]
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
                shown = (example(known, split, k, seed, size) for k in range(count))
                write_coco(fresh / split, names, counted(_labelled(each) for each in shown))

    return written_once(Path(folder), settings, write)


def _labelled(shown: Example) -> tuple[Image.Image, list[tuple[Box, int]]]:
    """Return a picture with its boxes and their labels, without the distractors."""
    boxes = []
    for box, label in zip(shown.boxes, shown.labels, strict=True):
        if label is not None:
            boxes.append((box, label))
    return shown.image, boxes
