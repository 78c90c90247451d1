"""The words of the generated world, and which of them pre-training never shows.

Pre-training (:mod:`.pretraining_pictures`) uses ``SHAPES``, ``COLOURS`` and ``TEXTURES`` in all combinations but the
held-out ones. Image-caption data alone show ``CAPTION_SHAPES`` and say ``CAPTION_NAMES``. What else is new comes in
downstream tasks only, so that a test can say what a detector does with names that it has never read.
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
"""What captions of images without boxes call things that look so, as captions of the web have names that no list of
classes has."""

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

TEXTURES = ("striped", "dotted", "checkered")  # a thing without one is plain, which nobody says
NEW_TEXTURES = ("wavy",)
SIZES = ("small", "large")  # what lies between has no word
PARTS = ("border", "core")

HELD_OUT = frozenset(
    [
        (colour, shape)
        for i, colour in enumerate(COLOURS)
        for j, shape in enumerate(SHAPES)
        if (3 * i + j) % 7 == 0
    ]
    + [
        (texture, shape)
        for i, texture in enumerate(TEXTURES)
        for j, shape in enumerate(SHAPES)
        if (j - 2 * i) % 5 == 0
    ]
)
"""Pairs of colour or texture with a shape that stand in no picture and no caption of pre-training."""

DETECTION_NAMES = (*SHAPES, "red star", "blue circle", "striped square", "checkered moon")
"""The closed list of the detection data: mostly plain shapes. A thing that one of the last four describes has that
name, others the name of their shape."""


def single_names() -> dict[str, tuple[str, ...]]:
    """The single words that pre-training teaches about every thing, by kind."""
    return {"shape": SHAPES, "colour": COLOURS, "texture": TEXTURES}
