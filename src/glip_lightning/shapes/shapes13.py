"""Shapes-13: downstream tasks of the generated world, as unlike each other as those of ODinW-13.

They have from 1 to 20 classes and from 19 to 1600 training pictures, and other styles, shapes and
textures than pre-training shows. The names of some classes describe their look. Others are words
that pre-training never reads, or reads in captions without boxes alone; a manual prompt describes
them in known words. In two tasks the pictures are usual and the meaning is not: "target" is
everything with a core, and "star" is everything that is striped.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

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


@dataclass(frozen=True)
class TaskClass:
    """A class: all things that look so and, if ``near`` is given, have such a thing beside them."""

    name: str
    looks: Looks
    prompt: Phrase
    near: Looks | None = None


@dataclass(frozen=True)
class ShapesTask:
    """A downstream task of generated pictures."""

    name: str
    mirrors: (
        str | None
    )  # short name of the task of ODinW-13 whose variety it stands for; None: not of the thirteen
    classes: tuple[TaskClass, ...]  # the first that fits a thing is its class
    counts: Mapping[str, int]  # pictures by split
    style: str
    vocabulary: Vocabulary  # of what the classes leave open, and of the distractors
    diameters: tuple[float, float]  # of the picture's side
    most: int  # things that are meant to be of a class, in a picture
    distractors: int  # at most; at least half as many

    @property
    def short(self) -> str:
        """Its name, as sweeps and reports show tasks of every benchmark."""
        return self.name


def _class(
    name: str, prompt: str | Phrase | None = None, near: Looks | None = None, **looks: str
) -> TaskClass:
    if not isinstance(prompt, Phrase):
        prompt = Phrase(prompt or name)
    return TaskClass(name, _looks(**looks), prompt, near)


def _looks(**kinds: str) -> Looks:
    """Return looks: ``_looks(colour="red blue")`` is red or blue."""
    return {kind: tuple(words.split()) for kind, words in kinds.items()}


def _pairs(names: str) -> tuple[TaskClass, ...]:
    """Return classes whose names describe them: ``"red circle, striped ring"``."""
    classes = []
    for name in names.split(", "):
        word, shape = name.split()
        if word in TEXTURES:
            classes.append(_class(name, shape=shape, texture=word))
        else:
            classes.append(_class(name, shape=shape, colour=word))
    return tuple(classes)


def _counts(train: int, valid: int, test: int = 100) -> Mapping[str, int]:
    return MappingProxyType({"train": train, "valid": valid, "test": test})


def _vocabulary(
    shapes: str | tuple[str, ...] = SHAPES,
    colours: str | tuple[str, ...] = COLOURS,
    textures: tuple[str, ...] = TEXTURES,
    parts: tuple[str, ...] = ("border", "core"),
) -> Vocabulary:
    """Return a vocabulary that also has the pairs that pre-training never shows."""
    if isinstance(shapes, str):
        shapes = tuple(shapes.split())
    if isinstance(colours, str):
        colours = tuple(colours.split())
    return Vocabulary(shapes, colours, textures, parts, held_out=True)


_DOCK = _looks(shape="cross", colour="brown")
_TASKS = (
    ShapesTask(
        name="Catalogue",
        mirrors="PascalVOC",
        classes=_pairs(
            "red circle, blue circle, green square, black square, yellow triangle, "
            "purple triangle, orange star, white star, pink heart, brown heart, blue diamond, "
            "cyan diamond, striped ring, checkered ring, dotted cross, striped moon, "
            "checkered drop, pink flower, white arrow, black gear"
        ),
        counts=_counts(1600, 60),
        style="photo",
        vocabulary=_vocabulary((*SHAPES, *CAPTION_SHAPES, "gear"), (*COLOURS, *NEW_COLOURS)),
        diameters=(0.15, 0.46),
        most=3,
        distractors=3,
    ),
    ShapesTask(
        name="Harbour",
        mirrors="AerialMaritimeDrone",
        classes=(
            _class(
                "white drop near a brown cross",
                Phrase("white drop", "", " near a brown cross"),
                _DOCK,
                shape="drop",
                colour="white",
            ),
            *_pairs("white drop, brown cross, orange triangle, red circle"),
        ),
        counts=_counts(52, 15),
        style="aerial",
        vocabulary=_vocabulary(
            "circle triangle cross drop star square", "white brown orange red", (), ()
        ),
        diameters=(0.07, 0.14),
        most=7,
        distractors=8,
    ),
    ShapesTask(
        name="Reef",
        mirrors="Aquarium",
        classes=(
            *_pairs("striped diamond, dotted circle"),
            _class(
                "star with a core", Phrase("star", "", " with a core"), shape="star", part="core"
            ),
            _class("drop", shape="drop"),
            _class("large triangle", shape="triangle", size="large"),
            _class("arrow", shape="arrow"),
            _class("gear", shape="gear"),
        ),
        counts=_counts(400, 60),
        style="underwater",
        vocabulary=_vocabulary((*SHAPES, "arrow", "gear")),
        diameters=(0.12, 0.46),
        most=4,
        distractors=3,
    ),
    ShapesTask(
        name="Beetles",
        mirrors="CottontailRabbits",
        classes=(
            _class("ladybug", "dotted red circle", shape="circle", colour="red", texture="dotted"),
        ),
        counts=_counts(600, 40),
        style="forest",
        vocabulary=_vocabulary("circle square heart gear", "red orange"),
        diameters=(0.08, 0.28),
        most=2,
        distractors=9,
    ),
    ShapesTask(
        name="Targets",
        mirrors="EgoHands",
        classes=(_class("target", Phrase("thing", "", " with a core"), part="core"),),
        counts=_counts(1200, 60),
        style="photo",
        vocabulary=_vocabulary(tuple(sorted(CENTRED - {"gear"})), textures=("striped", "dotted")),
        diameters=(0.1, 0.34),
        most=3,
        distractors=5,
    ),
    ShapesTask(
        name="Fungi",
        mirrors="NorthAmericaMushrooms",
        classes=(
            _class("toadstool", "dotted red drop", shape="drop", colour="red", texture="dotted"),
            _class(
                "morel", "checkered brown drop", shape="drop", colour="brown", texture="checkered"
            ),
        ),
        counts=_counts(41, 10),
        style="forest",
        vocabulary=_vocabulary("drop heart triangle diamond", "red brown"),
        diameters=(0.16, 0.46),
        most=2,
        distractors=6,
    ),
    ShapesTask(
        name="Parcels",
        mirrors="Packages",
        classes=(
            _class(
                "parcel",
                Phrase("brown square", "", " with a border"),
                shape="square",
                colour="brown",
                part="border",
            ),
        ),
        counts=_counts(19, 8),
        style="night",
        vocabulary=_vocabulary("square diamond house circle heart", "brown black", ()),
        diameters=(0.1, 0.34),
        most=2,
        distractors=8,
    ),
    ShapesTask(
        name="Kites",
        mirrors="Raccoon",
        classes=(_class("kite", "yellow diamond", shape="diamond", colour="yellow"),),
        counts=_counts(150, 40),
        style="drawing",
        vocabulary=_vocabulary(
            "diamond square star drop heart arrow", "yellow orange cyan", (), ("core",)
        ),
        diameters=(0.08, 0.3),
        most=2,
        distractors=9,
    ),
    ShapesTask(
        name="Badges",
        mirrors="ShellfishOpenImages",
        classes=(
            _class("star", "striped thing", texture="striped"),
            _class("moon", "dotted thing", texture="dotted"),
            _class("heart", "checkered thing", texture="checkered"),
        ),
        counts=_counts(400, 50),
        style="photo",
        vocabulary=_vocabulary(
            "star moon heart circle square flower", textures=(*TEXTURES, *NEW_TEXTURES)
        ),
        diameters=(0.18, 0.46),
        most=3,
        distractors=3,
    ),
    ShapesTask(
        name="Traffic",
        mirrors="VehiclesOpenImages",
        classes=(
            _class("bus", "yellow square", shape="square", colour="yellow"),
            _class("car", "circle", shape="circle", colour="red blue"),
            _class("ambulance", "white cross", shape="cross", colour="white"),
            _class("truck", "house", shape="house"),
            _class("motorcycle", "black arrow", shape="arrow", colour="black"),
        ),
        counts=_counts(800, 60),
        style="road",
        vocabulary=_vocabulary(
            "square circle cross house arrow ring triangle", "yellow red blue white black green", ()
        ),
        diameters=(0.085, 0.22),
        most=8,
        distractors=8,
    ),
    ShapesTask(
        name="Bolts",
        mirrors="pistols",
        classes=(_class("bolt", shape="bolt"),),
        counts=_counts(1000, 60),
        style="photo",
        vocabulary=_vocabulary((*SHAPES, *CAPTION_SHAPES, *NEW_SHAPES)),
        diameters=(0.09, 0.34),
        most=2,
        distractors=8,
    ),
    ShapesTask(
        name="Craters",
        mirrors="pothole",
        classes=(
            _class(
                "crater", Phrase("black circle", "", " on the road"), shape="circle", colour="black"
            ),
        ),
        counts=_counts(400, 50),
        style="road",
        vocabulary=_vocabulary(
            "circle heart drop gear flower square", "black brown blue", (), ("core",)
        ),
        diameters=(0.07, 0.28),
        most=2,
        distractors=9,
    ),
    ShapesTask(
        name="Infrared",
        mirrors="thermalDogsAndPeople",
        classes=(_class("drop", shape="drop"), _class("heart", shape="heart")),
        counts=_counts(142, 40),
        style="thermal",
        vocabulary=_vocabulary(
            "drop heart diamond circle moon triangle", "white yellow orange pink", (), ()
        ),
        diameters=(0.065, 0.29),
        most=3,
        distractors=6,
    ),
    ShapesTask(
        name="Blocks",
        mirrors=None,
        classes=_pairs("red circle, blue square, yellow triangle, green star"),
        counts=_counts(240, 30, 60),
        style="photo",
        vocabulary=_vocabulary(
            "circle square triangle star", "red blue yellow green purple white brown", (), ()
        ),
        diameters=(0.24, 0.6),
        most=3,
        distractors=1,
    ),
)
TASKS: Mapping[str, ShapesTask] = MappingProxyType({task.name: task for task in _TASKS})
"""The thirteen tasks, and Blocks, which a detector learns in minutes from random weights."""


def shapes13_names() -> list[str]:
    """Return the names of the thirteen tasks, in the order of the table."""
    return [task.name for task in TASKS.values() if task.mirrors is not None]


TASK_SET = TaskSet("Shapes-13", "Shapes", TASKS, shapes13_names())
