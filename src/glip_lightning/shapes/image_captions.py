"""Image-caption data of the generated world: a sentence for each picture and no boxes.

    python -m glip_lightning.shapes.image_captions FOLDER

A teacher detector adds the boxes. These data have what the other data lack: the shapes
``CAPTION_SHAPES``, the names ``CAPTION_NAMES``, and in four of five pictures another style, like
photos of the web beside curated data. All that a caption says can be seen in the picture, but it
does not say everything.
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
STREAM = 101  # of random numbers, apart from those of the pre-training data
VOCABULARY = Vocabulary(shapes=(*SHAPES, *CAPTION_SHAPES * 3))
"""Shapes that captions alone show are three times as frequent as others."""

STYLED = 0.8
"""Share of pictures of a random style; the others look like the pre-training data."""

MENTIONED = 3
"""The most things in a caption."""

WITH_NAME = 0.7
"""Share of scenes with a thing of ``CAPTION_NAMES``; in thermal pictures it has no such name."""

CALLED = 0.75
"""Chance that a caption calls such a thing by its name."""

LOOK_ADDED = 0.85
"""Chance of each word for its look, beside the usual chance: 19 of 20 kites are "yellow" ones."""


def captioned_picture(seed: int, index: int, size: int = SIZE) -> tuple[Image.Image, str]:
    """Return picture ``index`` and its caption, "" if there is nothing to see.

    It depends on the arguments alone.
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
    """Return a scene, mostly with a thing that has one of ``CAPTION_NAMES``."""
    things = scene(rng, VOCABULARY)
    if rng.random() < WITH_NAME:
        looks = list(CAPTION_NAMES.values())[rng.integers(len(CAPTION_NAMES))]
        chosen = int(rng.integers(len(things)))
        plain = replace(things[chosen], texture=None)
        things[chosen] = replace(plain, **looks).possible()  # pyrefly: ignore[bad-argument-type]
    return things


def random_caption(things: Sequence[Thing], rng: np.random.Generator) -> Caption:
    """Return a sentence about some of the things.

    Half of the captions tell a relation, where one is clear.
    """
    if rng.random() < 0.5:
        found = sentence(things, rng, describe_by_name)
        if found is not None:
            return found
    order = rng.permutation(len(things)).tolist()
    with_name = [k for k in order if name_of(things[k])]
    without_name = [k for k in order if not name_of(things[k])]
    mentioned = [*with_name, *without_name][:MENTIONED]
    chosen = [describe_by_name(things[k], rng) for k in mentioned]
    rng.shuffle(chosen)  # type: ignore[arg-type]
    phrases = without_repetition(chosen)
    separators = [", "] * (len(phrases) - 2) + [" and "]
    return join([with_article(phrase, things, rng) for phrase in phrases], separators)


def name_of(thing: Thing) -> str | None:
    """Return the name of ``CAPTION_NAMES`` that is true of it; no two names look alike."""
    for name, looks in CAPTION_NAMES.items():
        if looks.items() <= thing.words.items():
            return name
    return None


def describe_by_name(thing: Thing, rng: np.random.Generator) -> Description:
    """Return a random description, mostly with the name of the thing where it has one."""
    usual = random_description(thing, rng)
    name = name_of(thing)
    if name is None or rng.random() >= CALLED:
        return usual
    looks = CAPTION_NAMES[name]
    words = {kind: word for kind, word in looks.items() if rng.random() < LOOK_ADDED}
    words = {**usual.words, **words}
    words.pop("shape", None)
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
    """Write such pictures for a test and return their folder.

    In place of captions they have boxes for ``CAPTION_SHAPES`` and ``CAPTION_NAMES`` (COCO).
    ``seed`` must not be that of the pictures that the detector was trained on.
    """
    words = (*CAPTION_SHAPES, *CAPTION_NAMES)

    def labels(thing: Thing) -> list[str]:
        return [word for word in words if word in (thing.shape, name_of(thing))]

    def write(fresh: Path) -> None:
        with progress("generated pictures with boxes, drawn once", count) as bar:
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
