"""Captions of a scene, with the characters that name each thing.

A phrase means every thing that it is true of, so that nothing that a caption names is background.
Articles, numbers, separators and relations name nothing.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from glip_lightning.shapes.scene import Thing, Vocabulary, is_apart
from glip_lightning.shapes.words import CAPTION_NAMES
from glip_lightning.text.token_spans import Span
from glip_lightning.text.tokenizer import SEPARATOR

CAPTIONS = 3  # of each kind per picture
NUMBERS = {2: "two", 3: "three", 4: "four", 5: "five", 6: "six"}
ODDS = {"size": 0.2, "texture": 0.7, "colour": 0.65, "shape": 0.92, "part": 0.6}
"""The chance that a description has a word of this kind."""

MARGIN = 0.12  # of the picture's side, between centres, from which a thing is left of another
RELATIONS: Mapping[str, Callable[[Thing, Thing], float]] = {
    "left of": lambda a, b: b.x - a.x,
    "right of": lambda a, b: a.x - b.x,
    "above": lambda a, b: b.y - a.y,
    "below": lambda a, b: a.y - b.y,
}
"""How far ``a`` is in this relation to ``b``."""


@dataclass(frozen=True, slots=True)
class Caption:
    """A caption and the spans of each thing, in the order of the scene; () if nothing names it."""

    text: str
    spans: list[tuple[Span, ...]]


@dataclass(frozen=True, slots=True)
class Description:
    """Words for a thing by kind (size, texture, colour, shape, part).

    ``name`` is one of ``CAPTION_NAMES``, in place of the shape.
    """

    words: Mapping[str, str]
    name: str | None = None

    def fits(self, thing: Thing) -> bool:
        """Return whether all of it is true of ``thing``: a red kite never is, kites are yellow."""
        words = set(self.words.items())
        if self.name is not None:
            words |= CAPTION_NAMES[self.name].items()
        return words <= thing.words.items()

    def text(self, plural: bool = False) -> str:
        """Return the phrase, without an article."""
        noun = self.name or self.words.get("shape", "thing")
        if plural:
            noun += "es" if noun.endswith("s") else "s"
        words = [self.words[kind] for kind in ("size", "texture", "colour") if kind in self.words]
        words.append(noun)
        if "part" in self.words:
            words.append(f"with a {self.words['part']}")
        return " ".join(words)


@dataclass(frozen=True, slots=True)
class CaptionPart:
    """A part of a caption: its text, the phrase in it, and whether that names each thing."""

    text: str
    phrase: str
    named: list[bool]


def random_description(thing: Thing, rng: np.random.Generator) -> Description:
    """Return random words that are true of ``thing``.

    Where chance takes none, they are its colour and shape.
    """
    words = {kind: word for kind, word in thing.words.items() if rng.random() < ODDS[kind]}
    if not words:
        words = {kind: word for kind, word in thing.words.items() if kind in ("colour", "shape")}
    return Description(words)


def random_captions(
    things: Sequence[Thing], streams: Sequence[np.random.Generator], vocabulary: Vocabulary
) -> dict[str, list[Caption]]:
    """Return the captions of a picture: lists of ``words``, and of ``phrases``.

    The last of the phrases is a sentence where a relation is clear.

    Args:
        things: that can be seen.
        streams: :data:`CAPTIONS` generators; each draws one caption of each kind.
        vocabulary: of the words that may be said.
    """
    words = [word_list(things, rng, vocabulary) for rng in streams]
    phrases = [phrase_list(things, rng, vocabulary) for rng in streams[:-1]]
    last = sentence(things, streams[-1]) or phrase_list(things, streams[-1], vocabulary)
    return {"words": words, "phrases": [*phrases, last]}


def word_list(
    things: Sequence[Thing],
    rng: np.random.Generator,
    vocabulary: Vocabulary,
    count: int = 12,
) -> Caption:
    """Return ``count`` single words of a vocabulary in random order: dense supervision.

    At least three of them are true of nothing.
    """
    attributes = vocabulary.words
    true_words = set()
    for thing in things:
        true_words.update(thing.words.values())
    present = sorted(true_words.intersection(attributes))
    absent = [word for word in attributes if word not in present]
    rng.shuffle(present)
    kept = present[: count - 3]
    drawn = rng.choice(absent, size=count - len(kept), replace=False).tolist()
    words = [*kept, *drawn]
    rng.shuffle(words)
    parts = []
    for word in words:
        named = [word in thing.words.values() for thing in things]
        parts.append(CaptionPart(word, word, named))
    return join(parts)


def phrase_list(
    things: Sequence[Thing], rng: np.random.Generator, vocabulary: Vocabulary, absent: int = 3
) -> Caption:
    """Return descriptions of the things and of up to ``absent`` near misses, in random order.

    Most of the near misses are not in the picture. Some phrases have an article or a number. There
    is a phrase even without ``things``.
    """
    phrases = [random_description(thing, rng) for thing in things]
    fewest = 0 if things else 1
    for _ in range(rng.integers(fewest, absent + 1)):
        model = things[int(rng.integers(len(things)))] if things else vocabulary.draw(rng)
        near_miss = vocabulary.near_miss(model, rng)
        phrases.append(random_description(near_miss, rng))
    unique = without_repetition(phrases)
    rng.shuffle(unique)  # type: ignore[arg-type]
    return join([with_article(phrase, things, rng) for phrase in unique])


def without_repetition(phrases: Iterable[Description]) -> list[Description]:
    """Return the descriptions without the repetitions of a text."""
    return list({phrase.text(): phrase for phrase in phrases}.values())


def sentence(
    things: Sequence[Thing],
    rng: np.random.Generator,
    describe: Callable[[Thing, np.random.Generator], Description] = random_description,
) -> Caption | None:
    """Return a sentence such as "a striped red ring left of a star and a blue heart".

    The first phrase means the things that it describes and that stand in the relation to the thing
    of the second phrase. None where no relation is clear: a thing that the first phrase describes
    must not nearly stand in it or lie on the other one. ``describe`` makes the description of a
    thing.
    """
    if not things:
        return None
    for _ in range(8):
        first, second = (things[k] for k in rng.integers(len(things), size=2))
        subject = describe(first, rng)
        other = describe(second, rng)
        relation = list(RELATIONS)[rng.integers(len(RELATIONS))]
        found = _named_by_relation(subject, relation, other, things)
        if found is not None:
            remaining = [t for t in things if not subject.fits(t) and not other.fits(t)]
            rest = [describe(thing, rng) for thing in remaining]
            parts = [with_article(subject, things, rng, found)]
            parts += [with_article(phrase, things, rng) for phrase in (other, *rest[:1])]
            return join(parts, [f" {relation} ", " and "])
    return None


def _named_by_relation(
    subject: Description, relation: str, other: Description, things: Sequence[Thing]
) -> list[bool] | None:
    """Return whether ``subject relation other`` means each thing.

    None where that means nothing or is unclear.
    """
    anchors = [thing for thing in things if other.fits(thing)]
    if len(anchors) != 1 or subject.fits(anchors[0]):
        return None
    distance = RELATIONS[relation]
    named = []
    for thing in things:
        how_far = distance(thing, anchors[0])
        is_subject = subject.fits(thing)
        if is_subject and (0 < how_far < MARGIN or not is_apart(thing, anchors[0])):
            return None
        named.append(is_subject and how_far >= MARGIN)
    return named if any(named) else None


def with_article(
    phrase: Description,
    things: Sequence[Thing],
    rng: np.random.Generator,
    named: list[bool] | None = None,
) -> CaptionPart:
    """Return a part of a caption: half of them have an article or the number of things.

    ``named`` is whether the phrase names each thing; None: those that it fits.
    """
    if named is None:
        named = [phrase.fits(thing) for thing in things]
    if rng.random() < 0.5:
        return CaptionPart(phrase.text(), phrase.text(), named)
    count = sum(named)
    text = phrase.text(plural=count > 1)
    if count in NUMBERS:
        return CaptionPart(f"{NUMBERS[count]} {text}", text, named)
    if count > 1:  # too many for a number in words
        return CaptionPart(text, text, named)
    return CaptionPart(f"a {text}", text, named)


def join(parts: Iterable[CaptionPart], separators: Sequence[str] = ()) -> Caption:
    """Return a caption of the parts with ``separators`` between them.

    The usual separator follows where these end.
    """
    text = ""
    spans: list[tuple[Span, ...]] = []
    for number, part in enumerate(parts):
        if number:
            text += separators[number - 1] if number <= len(separators) else SEPARATOR
        else:
            spans = [()] * len(part.named)
        start = len(text) + part.text.rindex(part.phrase)
        span = (start, start + len(part.phrase))
        for place, is_named in enumerate(part.named):
            if is_named:
                spans[place] = (*spans[place], span)
        text += part.text
    return Caption(text, spans)
