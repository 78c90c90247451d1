"""A picture of what phrases name, to try a detector on.

    python -m glip_lightning.shapes.phrase_picture "striped diamond. blue heart" PICTURE.jpg

For each thing that is named there is another one that differs in a single word, so that who looks for it has to read.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from glip_lightning.common.errors import GLIPError
from glip_lightning.common.files import replacing
from glip_lightning.shapes.descriptions import Description
from glip_lightning.shapes.paint import Shown, paint_seen
from glip_lightning.shapes.scene import Thing, Vocabulary, arrange
from glip_lightning.shapes.words import (
    CAPTION_SHAPES,
    COLOURS,
    NEW_COLOURS,
    NEW_SHAPES,
    NEW_TEXTURES,
    SHAPES,
    TEXTURES,
)
from glip_lightning.text.phrases import read_phrases

SIZE = 384  # pixels: three times that of pre-training, which is small to look at
DIAMETERS = (0.15, 0.26)  # of the picture's side
KINDS = {
    "shape": (*SHAPES, *CAPTION_SHAPES, *NEW_SHAPES),
    "colour": (*COLOURS, *NEW_COLOURS),
    "texture": (*TEXTURES, *NEW_TEXTURES),
}
VOCABULARY = Vocabulary(parts=(), held_out=True)


def picture_of(phrases: Sequence[str], seed: int = 0, size: int = SIZE) -> Shown:
    """A thing for each phrase, such as "dotted red ring", then those that no phrase means, ``size`` pixels wide.

    Words are those of ``KINDS``; a colour or shape that is left open is drawn by chance. Any other word, two of one
    kind, or more things than there is room for, is a ValueError.
    """
    rng = np.random.default_rng(seed)
    looks = [Description(_words(phrase)) for phrase in phrases]
    named = [_thing(look, rng) for look in looks]
    others = [other for thing in named for other in _other(thing, looks, rng)]
    things = arrange([*named, *others], rng, DIAMETERS)
    shown = paint_seen(things, rng, size)
    for phrase, look in zip(phrases, looks, strict=True):
        if not any(map(look.fits, shown.things)):
            raise GLIPError(
                f"{phrase!r} found no room among {len(phrases)} things; name fewer, or take another seed",
                code="no-room",
            )
    return shown


def _words(phrase: str) -> dict[str, str]:
    """The words of a phrase by their kind."""
    kind_of = {word: kind for kind, words in KINDS.items() for word in words}
    if unknown := [word for word in phrase.split() if word not in kind_of]:
        raise GLIPError(
            f"{phrase!r}: {unknown[0]!r} cannot be drawn; there are {', '.join(kind_of)}",
            code="unknown-word",
        )
    kinds = [kind_of[word] for word in phrase.split()]
    if twice := [kind for kind in KINDS if kinds.count(kind) > 1]:
        raise GLIPError(
            f"{phrase!r}: has two words for the {twice[0]}; put a full stop between two things",
            code="bad-phrases",
        )
    return dict(zip(kinds, phrase.split(), strict=True))


def _thing(look: Description, rng: np.random.Generator) -> Thing:
    """Plain where no texture is named."""
    return VOCABULARY.draw(rng)._replace(texture=None)._replace(**look.words)  # pyrefly: ignore[bad-argument-type]


def _other(thing: Thing, looks: Sequence[Description], rng: np.random.Generator) -> list[Thing]:
    """A near miss of ``thing`` that no phrase means; none where the phrases leave none."""
    tried = (VOCABULARY.near_miss(thing, rng) for _ in range(50))
    return [other for other in tried if not any(look.fits(other) for look in looks)][:1]


def main(caption: str, target: Path) -> None:
    try:
        picture = picture_of([phrase.name for phrase in read_phrases(caption)]).image
    except ValueError as error:
        raise SystemExit(f"phrases: {error}") from error
    with replacing(target) as fresh:
        picture.save(fresh, format="JPEG", quality=92)
    print(target)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("phrases", help="what to draw, with full stops between")
    parser.add_argument("picture", type=Path, help="the JPEG to write")
    given = parser.parse_args()
    main(given.phrases, given.picture)
