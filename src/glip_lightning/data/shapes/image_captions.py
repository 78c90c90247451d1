"""Image-caption data of the generated world: pictures with a sentence each and no boxes, as a teacher labels them.

They show what the other data do not: the shapes ``CAPTION_SHAPES``, and pictures of other styles, as photos of the web
do beside curated data. What a caption says is true, but it does not say everything.
"""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from rich.progress import track

from .captions import Caption, describe, join, sentence, with_article
from .folders import written_once
from .paint import paint
from .pretraining import SIZE, save_picture
from .scene import Thing, Vocabulary, scene
from .words import CAPTION_SHAPES, SHAPES

VERSION = 1  # raise it when pictures or captions change
COUNT = 8_000
FILE = "captions.json"
STREAM = 101  # apart from those of the pre-training data
SEEN = Vocabulary(shapes=(*SHAPES, *CAPTION_SHAPES))
MENTIONED = 3  # things at most


def write_image_captions(folder: str | Path, seed: int = 0, count: int = COUNT, size: int = SIZE) -> Path:
    """Write pictures and ``captions.json`` (``images`` with a ``caption``) and return their folder."""

    def write(fresh: Path) -> None:
        images = []
        for index in track(range(count), description="generated pictures with captions, drawn once"):
            rng = np.random.default_rng([seed, STREAM, index])
            things = scene(rng, SEEN)
            image, boxes = paint(things, rng, size)
            seen = [thing for thing, box in zip(things, boxes, strict=True) if box is not None]
            images.append({**save_picture(fresh, index, image), "caption": tell(seen, rng).text})
        (fresh / FILE).write_text(json.dumps({"images": images, "annotations": []}), encoding="utf-8")

    settings = {"version": VERSION, "seed": seed, "count": count, "size": size}
    return written_once(Path(folder), settings, write)


def tell(things: Sequence[Thing], rng: np.random.Generator) -> Caption:
    """A sentence about some of the things, with a relation where one is clear."""
    found = sentence(things, rng) if rng.random() < 0.5 else None
    if found is not None:
        return found
    order = rng.permutation(len(things))[:MENTIONED]
    phrases = list({(phrase := describe(things[k], rng)).text(): phrase for k in order}.values())
    return join([with_article(phrase, things, rng) for phrase in phrases], [", ", " and "][-len(phrases) + 1 :])
