"""The phrases that a caption names, without any language data."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glip_lightning.text.noun_phrases import noun, noun_phrases


def phrases(caption: str) -> list[str]:
    return [caption[start:end] for start, end in noun_phrases(caption)]


@pytest.mark.parametrize(
    "caption, expected",
    [
        (
            "A red ring left of the two dogs, and a man riding a wave.",
            ["red ring", "dogs", "man", "wave"],
        ),
        (
            "a red circle above the blue square next to 3 green stars",
            ["red circle", "blue square", "green stars"],
        ),
        ("Two dogs are playing with a tennis ball in the park", ["dogs", "tennis ball", "park"]),
        ("The dog is brown.", ["dog"]),
        ("an orange on top of a wooden dining table", ["orange", "wooden dining table"]),
        ("A man in a suit; his wife's hat", ["man", "suit", "wife's hat"]),
        ("A woman standing in front of a tall building", ["woman", "tall building"]),
        ("people surfing", ["people"]),
        ("the cat on the left and the left shoe", ["cat", "left shoe"]),
        ("It's a very tightly packed family", ["packed family"]),
        ("a dog and a dog", ["dog", "dog"]),
        ("red circle. blue square", ["red circle", "blue square"]),
        ("a man without a red hat on a bench", ["man", "bench"]),
        ("no dogs and a cat with no collar", ["cat"]),
        ("two of them", []),
        ("42", []),
        ("...", []),
        ("", []),
    ],
)
def test_captions(caption: str, expected: list[str]) -> None:
    assert phrases(caption) == expected


def test_a_verb_of_no_list_stays_in_its_phrase() -> None:
    """The limit that the module states."""
    assert phrases("a man juggles balls") == ["man juggles balls"]


@pytest.mark.parametrize(
    "phrase, expected",
    [
        ("striped orange arrows with a border", "arrows"),
        ("the dog on the left", "dog"),
        ("dining table", "table"),
        ("small red things", None),
        ("thing with a core", None),
        ("red", None),
        ("", None),
    ],
)
def test_nouns(phrase: str, expected: str | None) -> None:
    assert noun(phrase) == expected


WORDS = st.sampled_from(
    [
        *(
            "a",
            "the",
            "red",
            "dog",
            "left",
            "of",
            "riding",
            "is",
            "very",
            "3",
            "man's",
            "ring.",
            ",",
            "--",
            "_",
        ),
        *("\n\t", "Hund", "\u72d7", "e\u0301", "\u0130", "\u2019"),
    ]
)


@given(st.one_of(st.text(), st.lists(WORDS).map(" ".join)))
def test_spans_lie_in_the_caption_one_after_the_other(caption: str) -> None:
    end = 0
    for start, stop in noun_phrases(caption):
        assert end <= start < stop <= len(caption)
        assert caption[start:stop] == caption[start:stop].strip()
        assert "." not in caption[start:stop]
        end = stop
