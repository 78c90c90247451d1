"""Shapes-13: downstream tasks of the generated world, as unlike each other as those of ODinW-13.

From 1 to 20 classes, from 19 to 1600 training pictures, other styles, shapes and textures than pre-training shows. Some
classes are called what they are; the names of others are words that pre-training never reads, or in captions without
boxes alone, and a manual prompt says in known words what is meant. In two tasks it is not the pictures that are unusual
but the meaning: "target" is whatever has a core, and "star" is whatever is striped.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from glip_lightning.data.benchmarks.tasks import TaskSet
from glip_lightning.shapes.scene import CENTRED, Vocabulary
from glip_lightning.shapes.words import (
    CAPTION_SHAPES,
    COLOURS,
    NEW_COLOURS,
    NEW_SHAPES,
    NEW_TEXTURES,
    SHAPES,
    TEXTURES,
)
from glip_lightning.text.phrases import Phrase

Looks = Mapping[
    str, tuple[str, ...]
]  # words by kind (size, texture, colour, shape, part); any of them


class Named(NamedTuple):
    """A class: the name of all things that look so and, if ``near`` is given, have such a thing beside them."""

    name: str
    looks: Looks
    prompt: Phrase
    near: Looks | None = None


class ShapesTask(NamedTuple):
    name: str
    mirrors: (
        str | None
    )  # short name of the task of ODinW-13 whose variety it stands for; None: not of the thirteen
    classes: tuple[Named, ...]  # the first that fits a thing is its class
    counts: Mapping[str, int]  # pictures by split
    style: str
    vocabulary: Vocabulary  # of what the classes leave open, and of the distractors
    diameters: tuple[float, float]  # of the picture's side
    most: int  # things that are meant to be of a class, in a picture
    distractors: int  # at most; at least half as many

    @property
    def short(self) -> str:
        """Its only name, by which sweeps and reports call tasks of every benchmark."""
        return self.name


def _named(
    name: str, prompt: str | Phrase | None = None, near: Looks | None = None, **looks: str
) -> Named:
    phrase = prompt if isinstance(prompt, Phrase) else Phrase(prompt or name)
    return Named(name, _looks(**looks), phrase, near)


def _looks(**kinds: str) -> Looks:
    """``_looks(colour="red blue")``: red or blue."""
    return {kind: tuple(words.split()) for kind, words in kinds.items()}


def _pairs(names: str) -> tuple[Named, ...]:
    """Classes whose names say what they are: ``"red circle, striped ring"``."""
    pairs = [name.split() for name in names.split(", ")]
    kinds = {word: "texture" if word in TEXTURES else "colour" for word, _ in pairs}
    return tuple(
        Named(
            f"{word} {shape}", _looks(shape=shape, **{kinds[word]: word}), Phrase(f"{word} {shape}")
        )
        for word, shape in pairs
    )


def _counts(train: int, valid: int, test: int = 100) -> Mapping[str, int]:
    return MappingProxyType({"train": train, "valid": valid, "test": test})


def _vocabulary(
    shapes: str | tuple[str, ...] = SHAPES,
    colours: str | tuple[str, ...] = COLOURS,
    textures: tuple[str, ...] = TEXTURES,
    parts: tuple[str, ...] = ("border", "core"),
) -> Vocabulary:
    """With the pairs that pre-training never shows."""
    words = [
        tuple(given.split()) if isinstance(given, str) else given for given in (shapes, colours)
    ]
    return Vocabulary(words[0], words[1], textures, parts, held_out=True)


_DOCK = _looks(shape="cross", colour="brown")
_TASKS = (
    ShapesTask(
        "Catalogue", "PascalVOC",
        _pairs(
            "red circle, blue circle, green square, black square, yellow triangle, purple triangle, orange star, "
            "white star, pink heart, brown heart, blue diamond, cyan diamond, striped ring, checkered ring, "
            "dotted cross, striped moon, checkered drop, pink flower, white arrow, black gear"
        ),
        _counts(1600, 60), "photo",
        _vocabulary((*SHAPES, *CAPTION_SHAPES, "gear"), (*COLOURS, *NEW_COLOURS)), (0.15, 0.46), 3, 3,
    ),
    ShapesTask(
        "Harbour", "AerialMaritimeDrone",
        (
            _named(
                "white drop near a brown cross", Phrase("white drop", "", " near a brown cross"), _DOCK,
                shape="drop", colour="white",
            ),
            *_pairs("white drop, brown cross, orange triangle, red circle"),
        ),
        _counts(52, 15), "aerial",
        _vocabulary("circle triangle cross drop star square", "white brown orange red", (), ()), (0.07, 0.14), 7, 8,
    ),
    ShapesTask(
        "Reef", "Aquarium",
        (
            *_pairs("striped diamond, dotted circle"),
            _named("star with a core", Phrase("star", "", " with a core"), shape="star", part="core"),
            _named("drop", shape="drop"),
            _named("large triangle", shape="triangle", size="large"),
            _named("arrow", shape="arrow"),
            _named("gear", shape="gear"),
        ),
        _counts(400, 60), "underwater",
        _vocabulary((*SHAPES, "arrow", "gear")), (0.12, 0.46), 4, 3,
    ),
    ShapesTask(
        "Beetles", "CottontailRabbits",
        (_named("ladybug", "dotted red circle", shape="circle", colour="red", texture="dotted"),),
        _counts(600, 40), "forest",
        _vocabulary("circle square heart gear", "red orange"), (0.08, 0.28), 2, 9,
    ),
    ShapesTask(
        "Targets", "EgoHands",
        (_named("target", Phrase("thing", "", " with a core"), part="core"),),
        _counts(1200, 60), "photo",
        _vocabulary(tuple(sorted(CENTRED - {"gear"})), textures=("striped", "dotted")), (0.1, 0.34), 3, 5,
    ),
    ShapesTask(
        "Fungi", "NorthAmericaMushrooms",
        (
            _named("toadstool", "dotted red drop", shape="drop", colour="red", texture="dotted"),
            _named("morel", "checkered brown drop", shape="drop", colour="brown", texture="checkered"),
        ),
        _counts(41, 10), "forest",
        _vocabulary("drop heart triangle diamond", "red brown"), (0.16, 0.46), 2, 6,
    ),
    ShapesTask(
        "Parcels", "Packages",
        (
            _named(
                "parcel", Phrase("brown square", "", " with a border"),
                shape="square", colour="brown", part="border",
            ),
        ),
        _counts(19, 8), "night",
        _vocabulary("square diamond house circle heart", "brown black", ()), (0.1, 0.34), 2, 8,
    ),
    ShapesTask(
        "Kites", "Raccoon",
        (_named("kite", "yellow diamond", shape="diamond", colour="yellow"),),
        _counts(150, 40), "drawing",
        _vocabulary("diamond square star drop heart arrow", "yellow orange cyan", (), ("core",)), (0.08, 0.3), 2, 9,
    ),
    ShapesTask(
        "Badges", "ShellfishOpenImages",
        (
            _named("star", "striped thing", texture="striped"),
            _named("moon", "dotted thing", texture="dotted"),
            _named("heart", "checkered thing", texture="checkered"),
        ),
        _counts(400, 50), "photo",
        _vocabulary("star moon heart circle square flower", textures=(*TEXTURES, *NEW_TEXTURES)), (0.18, 0.46), 3, 3,
    ),
    ShapesTask(
        "Traffic", "VehiclesOpenImages",
        (
            _named("bus", "yellow square", shape="square", colour="yellow"),
            _named("car", "circle", shape="circle", colour="red blue"),
            _named("ambulance", "white cross", shape="cross", colour="white"),
            _named("truck", "house", shape="house"),
            _named("motorcycle", "black arrow", shape="arrow", colour="black"),
        ),
        _counts(800, 60), "road",
        _vocabulary("square circle cross house arrow ring triangle", "yellow red blue white black green", ()),
        (0.085, 0.22), 8, 8,
    ),
    ShapesTask(
        "Bolts", "pistols",
        (_named("bolt", shape="bolt"),),
        _counts(1000, 60), "photo",
        _vocabulary((*SHAPES, *CAPTION_SHAPES, *NEW_SHAPES)), (0.09, 0.34), 2, 8,
    ),
    ShapesTask(
        "Craters", "pothole",
        (_named("crater", Phrase("black circle", "", " on the road"), shape="circle", colour="black"),),
        _counts(400, 50), "road",
        _vocabulary("circle heart drop gear flower square", "black brown blue", (), ("core",)), (0.07, 0.28), 2, 9,
    ),
    ShapesTask(
        "Infrared", "thermalDogsAndPeople",
        (_named("drop", shape="drop"), _named("heart", shape="heart")),
        _counts(142, 40), "thermal",
        _vocabulary("drop heart diamond circle moon triangle", "white yellow orange pink", (), ()), (0.065, 0.29), 3, 6,
    ),
    ShapesTask(
        "Blocks", None,
        _pairs("red circle, blue square, yellow triangle, green star"),
        _counts(240, 30, 60), "photo",
        _vocabulary("circle square triangle star", "red blue yellow green purple white brown", (), ()),
        (0.24, 0.6), 3, 1,
    ),
)  # fmt: skip
TASKS: Mapping[str, ShapesTask] = MappingProxyType({task.name: task for task in _TASKS})
"""The thirteen, and Blocks, which a detector learns in minutes from random weights."""


def shapes13_names() -> list[str]:
    """The thirteen, in the order of the table."""
    return [task.name for task in TASKS.values() if task.mirrors is not None]


TASK_SET = TaskSet("Shapes-13", "Shapes", TASKS, shapes13_names())
