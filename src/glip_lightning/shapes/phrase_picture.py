"""A picture of the things that phrases name, to try a detector on.

    python -m glip_lightning.shapes.phrase_picture "striped diamond. blue heart" PICTURE.jpg

For each named thing there is another one that differs in a single word, so that a detector has to
read the whole phrase.
"""

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from glip_lightning.common.errors import GLIPError
from glip_lightning.common.files import replacing
from glip_lightning.common.plurals import count_with_noun
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
KIND_OF = {
    **dict.fromkeys((*SHAPES, *CAPTION_SHAPES, *NEW_SHAPES), "shape"),
    **dict.fromkeys((*COLOURS, *NEW_COLOURS), "colour"),
    **dict.fromkeys((*TEXTURES, *NEW_TEXTURES), "texture"),
}
"""The kind of each word that can be drawn."""

VOCABULARY = Vocabulary(parts=(), held_out=True)


def picture_of(phrases: Sequence[str], seed: int = 0, size: int = SIZE) -> Shown:
    """Return a picture with a thing for each phrase, and with near misses that no phrase means.

    Args:
        phrases: such as "dotted red ring", of the words of ``KIND_OF``. Chance picks the colour or
            the shape where a phrase has none.
        seed: of all that chance picks.
        size: of each side, in pixels.

    Raises:
        GLIPError: a word is unknown (code ``unknown-word``), a phrase has two words of one kind
            (``bad-phrases``), or a thing found no room (``no-room``).
    """
    rng = np.random.default_rng(seed)
    looks = [Description(_words_by_kind(phrase)) for phrase in phrases]
    things = []
    for look in looks:
        plain = replace(VOCABULARY.draw(rng), texture=None)
        things.append(replace(plain, **look.words))  # pyrefly: ignore[bad-argument-type]
    others = []
    for thing in things:
        tried = [VOCABULARY.near_miss(thing, rng) for _ in range(50)]
        meant_by_none = [other for other in tried if not _is_named(other, looks)]
        others += meant_by_none[:1]
    shown = paint_seen(arrange([*things, *others], rng, DIAMETERS), rng, size)
    for phrase, look in zip(phrases, looks, strict=True):
        if not any(look.fits(thing) for thing in shown.things):
            message = f"{phrase!r} found no room among {count_with_noun(len(phrases), 'thing')}; "
            raise GLIPError(f"{message}name fewer, or take another seed", code="no-room")
    return shown


def _is_named(thing: Thing, looks: Sequence[Description]) -> bool:
    return any(look.fits(thing) for look in looks)


def _words_by_kind(phrase: str) -> dict[str, str]:
    words = phrase.split()
    unknown = [word for word in words if word not in KIND_OF]
    if unknown:
        message = f"{phrase!r}: {unknown[0]!r} cannot be drawn; there are {', '.join(KIND_OF)}"
        raise GLIPError(message, code="unknown-word")
    found: dict[str, str] = {}
    for word in words:
        kind = KIND_OF[word]
        if kind in found:
            message = f"{phrase!r}: has two words for the {kind}; "
            message += "put a full stop between two things"
            raise GLIPError(message, code="bad-phrases")
        found[kind] = word
    return found


def main(caption: str, target: Path) -> None:
    """Write the picture of the phrases of ``caption`` to ``target``, a JPEG, and print its path.

    Raises:
        SystemExit: a phrase cannot be drawn.
    """
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
