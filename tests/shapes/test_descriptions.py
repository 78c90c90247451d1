"""Captions: each span is that of a phrase, and names every thing that the phrase is true of."""

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from glip_lightning.shapes.descriptions import (
    MARGIN,
    RELATIONS,
    Description,
    phrase_list,
    random_description,
    sentence,
    with_article,
    word_list,
)
from glip_lightning.shapes.scene import Thing, Vocabulary, scene
from glip_lightning.shapes.words import COLOURS, PARTS, SHAPES, SIZES, TEXTURES

seeds = st.integers(0, 2**63)
KINDS = {"size": SIZES, "texture": TEXTURES, "colour": COLOURS, "shape": SHAPES, "part": PARTS}
KIND_OF = {word: kind for kind, words in KINDS.items() for word in words}
NUMBER = {"a": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6}
SINGULAR = {"crosses": "cross", "cross": "cross"}
BETWEEN = r"\. | and | left of | right of | above | below "


class Read(NamedTuple):
    """A phrase as a reader of the caption understands it."""

    start: int
    end: int
    number: int | None  # that stands before it; 1 for an article
    plural: bool
    words: dict[str, str]

    def fits(self, thing: Thing) -> bool:
        return all(thing.words.get(kind) == word for kind, word in self.words.items())


def understand(text: str) -> list[Read]:
    """All phrases of a caption; a word that does not belong there is an error."""
    found, start = [], 0
    for piece in re.split(BETWEEN, text):
        start = text.index(piece, start)
        first, _, rest = piece.partition(" ")
        number = NUMBER.get(first)
        phrase = piece if number is None else rest
        begin = start + len(piece) - len(phrase)
        looks, _, part = phrase.partition(" with a ")
        *attributes, noun = looks.split()
        singular = SINGULAR.get(noun, noun.removesuffix("s"))
        words = [
            *attributes,
            *([] if singular == "thing" else [singular]),
            *([part] if part else []),
        ]
        found.append(
            Read(
                begin,
                start + len(piece),
                number,
                singular != noun,
                {KIND_OF[word]: word for word in words},
            )
        )
        start += len(piece)
    return found


def drawn(seed: int) -> tuple[list[Thing], np.random.Generator]:
    rng = np.random.default_rng(seed)
    return scene(rng, Vocabulary()), rng


def expected(phrases: Sequence[Read], things: Sequence[Thing]) -> list[tuple[tuple[int, int], ...]]:
    """The spans of each thing where a phrase names all that it is true of."""
    return [
        tuple((phrase.start, phrase.end) for phrase in phrases if phrase.fits(thing))
        for thing in things
    ]


def test_the_reader_of_these_tests() -> None:
    assert understand("two red crosses left of a thing with a core. star") == [
        Read(4, 15, 2, True, {"colour": "red", "shape": "cross"}),
        Read(26, 43, 1, False, {"part": "core"}),
        Read(45, 49, None, False, {"shape": "star"}),
    ]


@settings(max_examples=150)
@given(seeds)
def test_phrase_lists(seed: int) -> None:
    things, rng = drawn(seed)
    caption = phrase_list(things, rng, Vocabulary())
    phrases = understand(caption.text)
    assert caption.spans == expected(phrases, things)
    assert all(caption.spans)  # each thing is described
    texts = [tuple(phrase.words.items()) for phrase in phrases]
    assert len(set(texts)) == len(texts)
    for phrase in phrases:
        true_of = sum(map(phrase.fits, things))
        assert phrase.number is None or phrase.number == max(1, true_of)
        assert phrase.plural == (phrase.number is not None and true_of > 1)
    assert len(phrases) - sum(any(map(phrase.fits, things)) for phrase in phrases) <= 3


def test_phrase_lists_are_varied() -> None:
    phrases, absent = [], 0
    for seed in range(100):
        things, rng = drawn(seed)
        found = understand(phrase_list(things, rng, Vocabulary()).text)
        absent += sum(not any(map(phrase.fits, things)) for phrase in found)
        phrases += found
    assert 0.1 < absent / len(phrases) < 0.4
    assert {phrase.number for phrase in phrases} >= {None, 1, 2}
    assert {kind for phrase in phrases for kind in phrase.words} == KINDS.keys()


@settings(max_examples=150)
@given(seeds)
def test_word_lists(seed: int) -> None:
    things, rng = drawn(seed)
    caption = word_list(things, rng, Vocabulary())
    words = caption.text.split(". ")
    assert len(set(words)) == len(words) == 12
    assert set(words) <= set(Vocabulary().words) == KIND_OF.keys()
    true_of = {word: [word in thing.words.values() for thing in things] for word in words}
    places = {word: re.search(rf"\b{word}\b", caption.text).span() for word in words}  # type: ignore[union-attr]
    assert caption.spans == [
        tuple(places[word] for word in words if true_of[word][number])
        for number in range(len(things))
    ]
    present = {word for thing in things for word in thing.words.values()}
    assert sum(any(fits) for fits in true_of.values()) == min(len(present), 9)


@settings(max_examples=150)
@given(seeds)
def test_sentences(seed: int) -> None:
    """The first phrase names the things in the relation; none is nearly in it."""
    things, rng = drawn(seed)
    caption = sentence(things, rng)
    if caption is None:
        return
    subject, other, *rest = understand(caption.text)
    (relation,) = re.findall("|".join(RELATIONS), caption.text)
    (anchor,) = [thing for thing in things if other.fits(thing)]
    where = {"left of": (-1, 0), "right of": (1, 0), "above": (0, -1), "below": (0, 1)}[relation]
    away = [(thing.x - anchor.x) * where[0] + (thing.y - anchor.y) * where[1] for thing in things]
    named = [
        subject.fits(thing) and distance >= MARGIN
        for thing, distance in zip(things, away, strict=True)
    ]
    assert any(named)
    assert all(
        n or distance <= 0
        for n, d, distance in zip(named, things, away, strict=True)
        if subject.fits(d)
    )
    spans = [
        (((subject.start, subject.end),) if n else ()) + more
        for n, more in zip(named, expected([other, *rest], things), strict=True)
    ]
    assert caption.spans == spans
    assert subject.number in (None, sum(named))
    assert len(rest) <= 1


def test_sentences_are_frequent_and_use_every_relation() -> None:
    texts = [found.text for seed in range(300) if (found := sentence(*drawn(seed)))]
    assert len(texts) > 120
    assert {
        relation for text in texts for relation in RELATIONS if relation in text
    } == RELATIONS.keys()
    assert any(" and " in text for text in texts)


def test_nothing_clear_to_say() -> None:
    """No relation: a single thing, two equal things, a small distance."""
    rng = np.random.default_rng(0)
    star = Thing("star", "red", x=0.4)
    assert sentence([star], rng) is None
    assert sentence([star, replace(star, x=0.8)], rng) is None
    ring = Thing("ring", "blue", x=0.4 + 0.9 * MARGIN, y=0.5 + 0.9 * MARGIN)
    assert all(sentence([star, ring], np.random.default_rng(seed)) is None for seed in range(50))


def test_pictures_without_things() -> None:
    rng = np.random.default_rng(0)
    assert sentence([], rng) is None
    for _ in range(20):
        words, phrases = word_list([], rng, Vocabulary()), phrase_list([], rng, Vocabulary())
        assert (words.spans, phrases.spans) == ([], [])
        assert len(words.text.split(". ")) == 12
        assert understand(phrases.text)


def test_a_phrase_as_text() -> None:
    words = {
        "size": "small",
        "texture": "dotted",
        "colour": "red",
        "shape": "cross",
        "part": "border",
    }
    assert Description(words).text() == "small dotted red cross with a border"
    assert Description(words).text(plural=True) == "small dotted red crosses with a border"
    assert Description({"part": "core"}).text(plural=True) == "things with a core"


@given(seeds)
def test_descriptions_are_true(seed: int) -> None:
    things, rng = drawn(seed)
    for thing in things:
        phrase = random_description(thing, rng)
        assert phrase.words
        assert phrase.fits(thing)


def test_more_than_six_things_are_named_by_a_plural_alone() -> None:
    stars = [Thing("star", "red", x=0.1 * k, diameter=0.05) for k in range(9)]
    rng = np.random.default_rng(0)
    texts = [with_article(Description({"shape": "star"}), stars, rng).text for _ in range(40)]
    assert set(texts) == {"star", "stars"}  # half of the phrases have no article and no number
    few = {with_article(Description({"shape": "star"}), stars[:6], rng).text for _ in range(40)}
    assert few == {"star", "six stars"}


def test_no_relation_is_said_of_things_that_lie_on_each_other() -> None:
    star = Thing("star", "red", x=0.2, diameter=0.2)
    apart = [star, Thing("moon", "blue", x=0.8, diameter=0.2)]
    on_it = [star, replace(apart[1], x=0.5, diameter=1.0)]
    found = [sentence(apart, np.random.default_rng(seed)) for seed in range(20)]
    assert sum(each is not None for each in found) > 4
    assert [sentence(on_it, np.random.default_rng(seed)) for seed in range(10)] == [None] * 10
