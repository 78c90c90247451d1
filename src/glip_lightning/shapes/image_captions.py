"""Image-caption data of the generated world: a sentence for each picture and no boxes.

    python -m glip_lightning.shapes.image_captions FOLDER

A teacher detector adds the boxes. Only these data show the shapes ``CAPTION_SHAPES`` and say the
names ``CAPTION_NAMES``. Four of five pictures have a random style, so they differ from the
pre-training data as photos of the web differ from curated ones. A caption says only what can be
seen in its picture, but not everything.
"""

import argparse
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from glip_lightning.shapes.descriptions import (
    Caption,
    Description,
    join,
    random_description,
    sentence,
    with_article,
    without_repetition,
)
from glip_lightning.shapes.generated_folder import progress, save_picture, written_once
from glip_lightning.shapes.paint import Shown, paint_seen
from glip_lightning.shapes.pretraining_pictures import SIZE, write_named
from glip_lightning.shapes.scene import Thing, Vocabulary, scene
from glip_lightning.shapes.styles import STYLES
from glip_lightning.shapes.words import CAPTION_NAMES, CAPTION_SHAPES, SHAPES

VERSION = 5
"""Raise it when pictures or captions change, so that folders of the old ones are written anew."""

COUNT = 24_000
FILE = "captions.json"
STREAM = 101  # part of each seed, so that the pre-training data draw other numbers
VOCABULARY = Vocabulary(shapes=(*SHAPES, *CAPTION_SHAPES * 3))
"""Each of ``CAPTION_SHAPES`` is drawn three times as often as each other shape."""

STYLED = 0.8
"""Share of pictures of a random style; the others look like the pre-training data."""

MENTIONED = 3
"""The most things in a caption."""

WITH_NAME = 0.7
"""Share of scenes in which a thing gets the look of one of ``CAPTION_NAMES``.

Thermal pictures show no colour, so there the thing cannot be called by this name."""

CALLED = 0.75
"""Chance that a caption calls a thing that has a name by this name."""

LOOK_ADDED = 0.85
"""Chance that a caption adds a word for the look of a thing that it calls by its name.

The usual chance of the word comes on top, so that 19 of 20 kites are called "yellow"."""


def captioned_picture(seed: int, index: int, size: int = SIZE) -> tuple[Image.Image, str]:
    """Return picture ``index`` and its caption, "" if there is nothing to see.

    Equal arguments give an equal picture and caption.
    """
    shown, rng = _painted(seed, index, size)
    return shown.image, random_caption(shown.things, rng).text


def _painted(seed: int, index: int, size: int) -> tuple[Shown, np.random.Generator]:
    """Return a picture with its visible things, and the generator that then draws its caption."""
    rng = np.random.default_rng([seed, STREAM, index])
    things = random_things(rng)
    styles = sorted(STYLES) if rng.random() < STYLED else ["photo"]
    style = STYLES[styles[rng.integers(len(styles))]]
    shown = paint_seen(things, rng, size, style)
    if not style.coloured:
        without_colour = [replace(thing, colour="") for thing in shown.things]
        shown = replace(shown, things=without_colour)
    return shown, rng


def random_things(rng: np.random.Generator) -> list[Thing]:
    """Return a scene in which one thing mostly has the look of one of ``CAPTION_NAMES``."""
    things = scene(rng, VOCABULARY)
    if rng.random() < WITH_NAME:
        all_looks = list(CAPTION_NAMES.values())
        looks = all_looks[rng.integers(len(all_looks))]
        chosen = int(rng.integers(len(things)))
        plain = replace(things[chosen], texture=None)
        changed = replace(plain, **looks)  # pyrefly: ignore[bad-argument-type]
        things[chosen] = changed.possible()  # the new shape may have no room for a core
    return things


def random_caption(things: Sequence[Thing], rng: np.random.Generator) -> Caption:
    """Return a sentence about some of the things.

    Half of the captions say how two things lie to each other, if the picture shows that clearly.
    The others are lists such as "a kite, a red star and a ring"; things with a name are
    chosen first.
    """
    if rng.random() < 0.5:
        relation = sentence(things, rng, describe_by_name)
        if relation is not None:
            return relation
    order = rng.permutation(len(things)).tolist()
    with_name = [k for k in order if name_of(things[k])]
    without_name = [k for k in order if not name_of(things[k])]
    mentioned = [*with_name, *without_name][:MENTIONED]
    chosen = [describe_by_name(things[k], rng) for k in mentioned]
    rng.shuffle(chosen)  # type: ignore[arg-type]
    phrases = without_repetition(chosen)
    commas = [", "] * (len(phrases) - 2)
    parts = [with_article(phrase, things, rng) for phrase in phrases]
    return join(parts, [*commas, " and "])


def name_of(thing: Thing) -> str | None:
    """Return the one of ``CAPTION_NAMES`` whose look the thing has; None if it has none."""
    for name, looks in CAPTION_NAMES.items():
        if looks.items() <= thing.words.items():
            return name
    return None


def describe_by_name(thing: Thing, rng: np.random.Generator) -> Description:
    """Return a random description; mostly by the name of the thing, if it has one."""
    usual = random_description(thing, rng)
    name = name_of(thing)
    if name is None or rng.random() >= CALLED:
        return usual
    looks = CAPTION_NAMES[name]
    added = {kind: word for kind, word in looks.items() if rng.random() < LOOK_ADDED}
    words = {**usual.words, **added}
    words.pop("shape", None)  # the name takes its place
    return Description(words, name)


def write_image_captions(
    folder: str | Path, seed: int = 0, count: int = COUNT, size: int = SIZE
) -> Path:
    """Write pictures and ``captions.json`` and return their folder.

    The file has ``images`` with a ``caption`` and no annotations. A folder with equal settings is
    used as it is.

    Args:
        folder: a new or empty one.
        seed: of the world.
        count: number of pictures.
        size: of each side, in pixels.

    Raises:
        GLIPError: the folder has other content (code ``folder-taken``).
    """

    def write(fresh: Path) -> None:
        images = []
        with progress("generated pictures with captions, drawn once", count) as bar:
            for index in bar(range(count)):
                picture, caption = captioned_picture(seed, index, size)
                if caption:
                    images.append({**save_picture(fresh, index, picture), "caption": caption})
        content = {"images": images, "annotations": []}
        (fresh / FILE).write_text(json.dumps(content), encoding="utf-8")

    return written_once(Path(folder), _settings("captions", seed, count, size), write)


def write_caption_words(folder: str | Path, seed: int, count: int, size: int = SIZE) -> Path:
    """Write captioned pictures as a test set in COCO format and return its folder.

    It has boxes for ``CAPTION_SHAPES`` and ``CAPTION_NAMES`` in place of the captions.
    ``seed`` must not be that of the pictures that the detector was trained on.
    """
    words = (*CAPTION_SHAPES, *CAPTION_NAMES)

    def labels(thing: Thing) -> list[str]:
        return [word for word in words if word in (thing.shape, name_of(thing))]

    def write(fresh: Path) -> None:
        with progress("generated pictures with boxes, drawn once", count) as bar:
            # drawn one after the other, while they are written
            shown = (_painted(seed, index, size)[0] for index in bar(range(count)))
            write_named(fresh, words, shown, labels)

    return written_once(Path(folder), _settings("words of captions", seed, count, size), write)


def _settings(kind: str, seed: int, count: int, size: int) -> dict[str, object]:
    return {"kind": kind, "version": VERSION, "seed": seed, "count": count, "size": size}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="a new or empty one")
    print(write_image_captions(parser.parse_args().folder))
