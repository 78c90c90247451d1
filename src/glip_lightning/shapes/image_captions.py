"""Image-caption data of the generated world: pictures with a sentence each and no boxes, as a teacher labels them.

    python -m glip_lightning.shapes.image_captions FOLDER

They have what the other data do not: the shapes ``CAPTION_SHAPES``, the names ``CAPTION_NAMES``, and in four of five
pictures another style, as photos of the web do beside curated data. What a caption says can be seen, but it does not
say everything.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from glip_lightning.shapes.descriptions import (
    Caption,
    Description,
    counted,
    describe,
    join,
    sentence,
)
from glip_lightning.shapes.generated_folder import progress, save_picture, written_once
from glip_lightning.shapes.paint import Shown, paint_seen
from glip_lightning.shapes.pretraining_pictures import SIZE, write_named
from glip_lightning.shapes.scene import Thing, Vocabulary, scene
from glip_lightning.shapes.styles import STYLES
from glip_lightning.shapes.words import CAPTION_NAMES, CAPTION_SHAPES, SHAPES

VERSION = (
    5  # raise it when pictures or captions change, so that folders of the old ones are written anew
)
COUNT = 24_000
FILE = "captions.json"
STREAM = 101  # apart from those of the pre-training data
VOCABULARY = Vocabulary(
    shapes=(*SHAPES, *CAPTION_SHAPES * 3)
)  # what only captions show is not rare in them
STYLED = (
    0.8  # share of pictures of a random style; the others are as those of the pre-training data
)
MENTIONED = 3  # things at most
NAMED = 0.7  # share of scenes that get a thing of one of CAPTION_NAMES; in thermal pictures it has no such name
CALLED = 0.75  # chance that it is called so where it is told of
SAID = 0.85  # of the look of what is called so: beside the usual chance, so that 19 of 20 kites are "yellow" ones


def captioned_picture(seed: int, index: int, size: int = SIZE) -> tuple[Image.Image, str]:
    """Picture ``index`` and its caption, blank if there is nothing to see: a function of seed and index."""
    shown, rng = _painted(seed, index, size)
    return shown.image, tell(shown.things, rng).text


def _painted(seed: int, index: int, size: int) -> tuple[Shown, np.random.Generator]:
    """A picture with what is to be seen, and the generator that goes on to tell of it."""
    rng = np.random.default_rng([seed, STREAM, index])
    things = things_of(rng)
    styles = sorted(STYLES) if rng.random() < STYLED else ["photo"]
    style = STYLES[styles[rng.integers(len(styles))]]
    shown = paint_seen(things, rng, size, style)
    seen = shown.things if style.coloured else [thing._replace(colour="") for thing in shown.things]
    return shown._replace(things=seen), rng


def things_of(rng: np.random.Generator) -> list[Thing]:
    """A scene, mostly with a thing that has one of ``CAPTION_NAMES``."""
    things = scene(rng, VOCABULARY)
    if rng.random() < NAMED:
        looks = list(CAPTION_NAMES.values())[rng.integers(len(CAPTION_NAMES))]
        chosen = int(rng.integers(len(things)))
        plain = things[chosen]._replace(texture=None)
        things[chosen] = plain._replace(**looks).possible()  # pyrefly: ignore[bad-argument-type]
    return things


def tell(things: Sequence[Thing], rng: np.random.Generator) -> Caption:
    """A sentence about some of the things, with a relation where one is clear."""
    found = sentence(things, rng, called) if rng.random() < 0.5 else None
    if found is not None:
        return found
    order = sorted(
        rng.permutation(len(things)), key=lambda k: not name_of(things[k])
    )  # what has a name is told first
    chosen = [called(things[k], rng) for k in order[:MENTIONED]]
    rng.shuffle(chosen)  # type: ignore[arg-type]
    phrases = list({phrase.text(): phrase for phrase in chosen}.values())
    separators = [", "] * (len(phrases) - 2) + [" and "]
    return join([counted(phrase, things, rng) for phrase in phrases], separators)


def name_of(thing: Thing) -> str | None:
    """The name of ``CAPTION_NAMES`` that is true of it: no two look alike."""
    words = thing.words.items()
    return next((name for name, looks in CAPTION_NAMES.items() if looks.items() <= words), None)


def called(thing: Thing, rng: np.random.Generator) -> Description:
    """A description, by its name if it has one and chance wants it."""
    usual = describe(thing, rng)
    name = name_of(thing)
    if name is None or rng.random() >= CALLED:
        return usual
    said = {kind: word for kind, word in CAPTION_NAMES[name].items() if rng.random() < SAID}
    words = {kind: word for kind, word in (dict(usual.words) | said).items() if kind != "shape"}
    return Description(words, name)


def write_image_captions(
    folder: str | Path, seed: int = 0, count: int = COUNT, size: int = SIZE
) -> Path:
    """Write pictures and ``captions.json`` (``images`` with a ``caption``, no annotations) and return their folder."""

    def write(fresh: Path) -> None:
        images = []
        with progress("generated pictures with captions, drawn once", count) as bar:
            for index in bar(range(count)):
                picture, caption = captioned_picture(seed, index, size)
                if caption:
                    images.append({**save_picture(fresh, index, picture), "caption": caption})
        (fresh / FILE).write_text(
            json.dumps({"images": images, "annotations": []}), encoding="utf-8"
        )

    return written_once(Path(folder), _settings("captions", seed, count, size), write)


def write_caption_words(folder: str | Path, seed: int, count: int, size: int = SIZE) -> Path:
    """Such pictures with boxes for ``CAPTION_SHAPES`` and ``CAPTION_NAMES`` in place of captions, to test with (COCO).

    ``seed`` is another one than that of the pictures which were learned from.
    """

    def write(fresh: Path) -> None:
        with progress("generated pictures with boxes, drawn once", count) as bar:
            shown = (_painted(seed, index, size)[0] for index in bar(range(count)))
            words = (*CAPTION_SHAPES, *CAPTION_NAMES)
            write_named(
                fresh,
                words,
                shown,
                lambda thing: [x for x in words if x in (thing.shape, name_of(thing))],
            )

    return written_once(Path(folder), _settings("words of captions", seed, count, size), write)


def _settings(kind: str, seed: int, count: int, size: int) -> dict[str, object]:
    return {"kind": kind, "version": VERSION, "seed": seed, "count": count, "size": size}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="a new or empty one")
    print(write_image_captions(parser.parse_args().folder))
