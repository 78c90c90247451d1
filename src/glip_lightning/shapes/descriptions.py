"""Captions of a scene, and for each thing the characters that name it.

A phrase means every thing that it is true of, so that what a caption names is never background. Articles, numbers,
separators and relations belong to no thing.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from glip_lightning.shapes.scene import Thing, Vocabulary
from glip_lightning.shapes.words import CAPTION_NAMES, COLOURS, PARTS, SHAPES, SIZES, TEXTURES
from glip_lightning.text.token_spans import Span
from glip_lightning.text.tokenizer import SEPARATOR

ATTRIBUTES = (*SHAPES, *COLOURS, *TEXTURES, *SIZES, *PARTS)
NUMBERS = {2: "two", 3: "three", 4: "four", 5: "five", 6: "six"}
MARGIN = 0.12  # of the picture's side, between centres, from which a thing is left of another
RELATIONS: Mapping[str, Callable[[Thing, Thing], float]] = {
    "left of": lambda a, b: b.x - a.x,
    "right of": lambda a, b: a.x - b.x,
    "above": lambda a, b: b.y - a.y,
    "below": lambda a, b: a.y - b.y,
}
"""How far ``a`` is in this relation to ``b``."""


class Caption(NamedTuple):
    text: str
    spans: list[
        tuple[Span, ...]
    ]  # of each thing, in the order of the scene; () where nothing names it


class Description(NamedTuple):
    """Words by kind (size, texture, colour, shape, part), and a name of ``CAPTION_NAMES`` in place of the shape."""

    words: Mapping[str, str]
    name: str | None = None

    def fits(self, thing: Thing) -> bool:
        """Whether all of it is true of ``thing``: a red kite is none, since kites are yellow."""
        looks = CAPTION_NAMES[self.name] if self.name else {}
        return {*self.words.items(), *looks.items()} <= thing.words.items()

    def text(self, plural: bool = False) -> str:
        noun = self.name or self.words.get("shape", "thing")
        words = [self.words[kind] for kind in ("size", "texture", "colour") if kind in self.words]
        words.append(noun + ("es" if noun.endswith("s") else "s") * plural)
        return " ".join([*words, f"with a {self.words['part']}"] if "part" in self.words else words)


def describe(thing: Thing, rng: np.random.Generator) -> Description:
    """Some of what is true of ``thing``: its shape nearly always, of the rest what chance picks, but something."""
    odds = {"size": 0.2, "texture": 0.7, "colour": 0.65, "shape": 0.92, "part": 0.6}
    words = {kind: word for kind, word in thing.words.items() if rng.random() < odds[kind]}
    return Description(
        words or {kind: word for kind, word in thing.words.items() if kind in ("colour", "shape")}
    )


def word_list(things: Sequence[Thing], rng: np.random.Generator, count: int = 12) -> Caption:
    """``count`` single words in random order, at most all but three true of something: dense supervision."""
    present = sorted(
        {word for thing in things for word in thing.words.values() if word in ATTRIBUTES}
    )
    absent = [word for word in ATTRIBUTES if word not in present]
    rng.shuffle(present)
    kept = present[: count - 3]
    words = [*kept, *rng.choice(absent, size=count - len(kept), replace=False).tolist()]
    rng.shuffle(words)
    return join(
        [(word, word, [word in thing.words.values() for thing in things]) for word in words]
    )


def phrase_list(
    things: Sequence[Thing], rng: np.random.Generator, vocabulary: Vocabulary, absent: int = 3
) -> Caption:
    """Descriptions of the things and of up to ``absent`` near misses, most of which are not there, in random order.

    Some have an article or a number. There is a phrase even where there are no ``things``.
    """
    phrases = [describe(thing, rng) for thing in things]
    for _ in range(rng.integers(0 if things else 1, absent + 1)):
        model = things[int(rng.integers(len(things)))] if things else vocabulary.draw(rng)
        phrases.append(describe(vocabulary.near_miss(model, rng), rng))
    unique = list({phrase.text(): phrase for phrase in phrases}.values())
    rng.shuffle(unique)  # type: ignore[arg-type]
    return join([counted(phrase, things, rng) for phrase in unique])


def sentence(
    things: Sequence[Thing],
    rng: np.random.Generator,
    told: Callable[[Thing, np.random.Generator], Description] = describe,
) -> Caption | None:
    """Such as "a striped red ring left of a star and a blue heart", each as ``told``; None where no relation is clear.

    The first phrase means only those things that it describes and that stand in the relation to what the second
    describes; a thing that is described so but nearly stands there makes a sentence unclear.
    """
    for _ in range(8 if things else 0):
        first, second = (things[k] for k in rng.integers(len(things), size=2))
        subject, other = told(first, rng), told(second, rng)
        relation = list(RELATIONS)[rng.integers(len(RELATIONS))]
        found = _related(subject, relation, other, things)
        if found is not None:
            rest = [
                told(thing, rng)
                for thing in things
                if not subject.fits(thing) and not other.fits(thing)
            ][:1]
            parts = [counted(subject, things, rng, found)]
            parts += [counted(phrase, things, rng) for phrase in (other, *rest)]
            return join(parts, [f" {relation} ", " and "])
    return None


def _related(
    subject: Description, relation: str, other: Description, things: Sequence[Thing]
) -> list[bool] | None:
    """Of each thing, whether it is meant by ``subject relation other``; None where it means nothing or is unclear."""
    anchors = [thing for thing in things if other.fits(thing)]
    if len(anchors) != 1 or subject.fits(anchors[0]):
        return None
    distances = [RELATIONS[relation](thing, anchors[0]) for thing in things]
    named = [
        distance for distance, thing in zip(distances, things, strict=True) if subject.fits(thing)
    ]
    if not any(d >= MARGIN for d in named) or any(0 < d < MARGIN for d in named):
        return None
    return [subject.fits(thing) and d >= MARGIN for d, thing in zip(distances, things, strict=True)]


_Part = tuple[
    str, str, list[bool]
]  # text, the piece of it that is the phrase, which things it names


def counted(
    phrase: Description,
    things: Sequence[Thing],
    rng: np.random.Generator,
    named: list[bool] | None = None,
) -> _Part:
    """With an article or, where there are several, their number; or without."""
    named = [phrase.fits(thing) for thing in things] if named is None else named
    if rng.random() < 0.5:
        return phrase.text(), phrase.text(), named
    number = NUMBERS.get(sum(named))
    piece = phrase.text(plural=number is not None)
    return f"{number or 'a'} {piece}", piece, named


def join(parts: Iterable[_Part], separators: Sequence[str] = ()) -> Caption:
    """The parts with ``separators`` between them, the usual one where these end."""
    text, spans = "", []
    for number, (part, piece, named) in enumerate(parts):
        if number:
            text += separators[number - 1] if number <= len(separators) else SEPARATOR
        start = len(text) + part.rindex(piece)
        spans = spans or [() for _ in named]
        spans = [
            (*s, (start, start + len(piece))) if n else s for s, n in zip(spans, named, strict=True)
        ]
        text += part
    return Caption(text, spans)
