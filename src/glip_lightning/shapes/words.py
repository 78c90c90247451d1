"""The words of the generated world, and the ones that pre-training never shows.

Pre-training (:mod:`.pretraining_pictures`) uses ``SHAPES``, ``COLOURS`` and ``TEXTURES`` in all
combinations but the held-out ones. Image-caption data alone have ``CAPTION_SHAPES`` and
``CAPTION_NAMES``. The ``NEW_...`` words come in downstream tasks only, so that a test can tell what
a detector does with names that it has never read.
"""

from collections.abc import Mapping
from types import MappingProxyType

SHAPES = (
    "circle",
    "square",
    "triangle",
    "star",
    "ring",
    "cross",
    "diamond",
    "heart",
    "moon",
    "drop",
)
CAPTION_SHAPES = ("flower", "arrow")
NEW_SHAPES = ("gear", "bolt", "house")
CAPTION_NAMES: Mapping[str, Mapping[str, str]] = MappingProxyType(
    {
        "kite": {"colour": "yellow", "shape": "diamond"},
        "bus": {"colour": "yellow", "shape": "square"},
        "crater": {"colour": "black", "shape": "circle"},
        "toadstool": {"texture": "dotted", "colour": "red", "shape": "drop"},
    }
)
"""Names in captions of images without boxes, and the look of the things that they name.

They stand for the names in captions of the web that no list of classes has.
"""

COLOURS = ("red", "green", "blue", "yellow", "orange", "purple", "pink", "brown", "black", "white")
NEW_COLOURS = ("cyan",)
RGB: Mapping[str, tuple[int, int, int]] = MappingProxyType(
    {
        "red": (208, 32, 36),
        "green": (38, 148, 58),
        "blue": (36, 82, 204),
        "yellow": (244, 212, 32),
        "orange": (244, 130, 20),
        "purple": (126, 44, 160),
        "pink": (246, 144, 190),
        "brown": (118, 70, 32),
        "black": (24, 24, 26),
        "white": (240, 240, 238),
        "cyan": (40, 200, 214),
    }
)

TEXTURES = ("striped", "dotted", "checkered")  # no word for a plain thing
NEW_TEXTURES = ("wavy",)
SIZES = ("small", "large")  # no word for sizes between them
PARTS = ("border", "core")


def _held_out_pairs() -> frozenset[tuple[str, str]]:
    pairs = set()
    for j, shape in enumerate(SHAPES):
        for i, colour in enumerate(COLOURS):
            if (3 * i + j) % 7 == 0:
                pairs.add((colour, shape))
        for i, texture in enumerate(TEXTURES):
            if (j - 2 * i) % 5 == 0:
                pairs.add((texture, shape))
    return frozenset(pairs)


HELD_OUT = _held_out_pairs()
"""Pairs of a colour or texture with a shape that are in no picture or caption of pre-training."""

DETECTION_NAMES = (*SHAPES, "red star", "blue circle", "striped square", "checkered moon")
"""The closed list of the detection data.

A thing has one of the last four names where it is true of it, otherwise the name of its shape.
"""


def single_names() -> dict[str, tuple[str, ...]]:
    """Return the single words that pre-training teaches about every thing, by kind."""
    return {"shape": SHAPES, "colour": COLOURS, "texture": TEXTURES}
