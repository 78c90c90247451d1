"""Image-caption data of the generated world: pictures with a sentence each and no boxes, as a teacher labels them.

    python -m glip_lightning.data.shapes.image_captions FOLDER

They show what the other data do not: the shapes ``CAPTION_SHAPES``, and in four of five pictures another style, as
photos of the web do beside curated data. What a caption says can be seen, but it does not say everything.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from .captions import Caption, counted, describe, join, sentence
from .folders import progress, save_picture, written_once
from .paint import Shown, paint_seen
from .pretraining import SIZE, write_named
from .scene import Thing, Vocabulary, scene
from .styles import STYLES
from .words import CAPTION_SHAPES, SHAPES

VERSION = 4  # raise it when pictures or captions change, so that folders of the old ones are written anew
COUNT = 24_000
FILE = "captions.json"
STREAM = 101  # apart from those of the pre-training data
VOCABULARY = Vocabulary(shapes=(*SHAPES, *CAPTION_SHAPES * 3))  # what only captions show is not rare in them
STYLED = 0.8  # share of pictures of a random style; the others are as those of the pre-training data
MENTIONED = 3  # things at most


def show(seed: int, index: int, size: int = SIZE) -> tuple[Image.Image, str]:
    """Picture ``index`` and its caption, blank if there is nothing to see: a function of seed and index."""
    shown, coloured, rng = _painted(seed, index, size)
    told = shown.things if coloured else [thing._replace(colour="") for thing in shown.things]
    return shown.image, tell(told, rng).text


def _painted(seed: int, index: int, size: int) -> tuple[Shown, bool, np.random.Generator]:
    """A picture, whether its colours are to be seen, and the generator that goes on to tell of it."""
    rng = np.random.default_rng([seed, STREAM, index])
    things = scene(rng, VOCABULARY)
    styles = sorted(STYLES) if rng.random() < STYLED else ["photo"]
    style = STYLES[styles[rng.integers(len(styles))]]
    return paint_seen(things, rng, size, style), style.coloured, rng


def tell(things: Sequence[Thing], rng: np.random.Generator) -> Caption:
    """A sentence about some of the things, with a relation where one is clear."""
    found = sentence(things, rng) if rng.random() < 0.5 else None
    if found is not None:
        return found
    chosen = [describe(things[k], rng) for k in rng.permutation(len(things))[:MENTIONED]]
    phrases = list({phrase.text(): phrase for phrase in chosen}.values())
    separators = [", "] * (len(phrases) - 2) + [" and "]
    return join([counted(phrase, things, rng) for phrase in phrases], separators)


def write_image_captions(folder: str | Path, seed: int = 0, count: int = COUNT, size: int = SIZE) -> Path:
    """Write pictures and ``captions.json`` (``images`` with a ``caption``, no annotations) and return their folder."""

    def write(fresh: Path) -> None:
        images = []
        with progress("generated pictures with captions, drawn once", count) as bar:
            for index in bar(range(count)):
                picture, caption = show(seed, index, size)
                if caption:
                    images.append({**save_picture(fresh, index, picture), "caption": caption})
        (fresh / FILE).write_text(json.dumps({"images": images, "annotations": []}), encoding="utf-8")

    return written_once(Path(folder), _settings("captions", seed, count, size), write)


def write_caption_shapes(folder: str | Path, seed: int, count: int, size: int = SIZE) -> Path:
    """Such pictures with boxes for ``CAPTION_SHAPES`` in place of captions, to test with (a COCO file).

    ``seed`` is another one than that of the pictures which were learned from.
    """

    def write(fresh: Path) -> None:
        with progress("generated pictures with boxes, drawn once", count) as bar:
            shown = (_painted(seed, index, size)[0] for index in bar(range(count)))
            write_named(fresh, CAPTION_SHAPES, shown, lambda thing: {thing.shape} & {*CAPTION_SHAPES})

    return written_once(Path(folder), _settings("shapes of captions", seed, count, size), write)


def _settings(kind: str, seed: int, count: int, size: int) -> dict[str, object]:
    return {"kind": kind, "version": VERSION, "seed": seed, "count": count, "size": size}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="a new or empty one")
    print(write_image_captions(parser.parse_args().folder))
