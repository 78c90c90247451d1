"""What the words of a class list mean to a detector."""

import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glip_lightning.data.checks.class_words import Reader, check_words
from glip_lightning.data.checks.findings import Findings
from glip_lightning.text.phrases import Phrase, clean_name, words_of
from glip_lightning.text.tokenizer import ClassTokenizer, Tokenizer

TOKENIZER = Tokenizer.nano()


def found(
    names: list[str], reader: Reader | None = None, phrases: list[Phrase] | None = None
) -> dict[str, str]:
    """The message of each code."""
    findings = Findings()
    phrases = phrases or [Phrase(clean_name(name)) for name in names]
    check_words(names, phrases, reader or Reader(TOKENIZER, "seer"), "here", findings)
    return {finding.code: finding.message for finding in findings}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("box (red)", "box (blue)"),
        ("Disc", "disc"),
        ("big_cone", "big cone"),
        ("café", "cafe"),
        ("крыша", "Крыша"),
    ],
)
def test_names_of_the_same_words(one: str, other: str) -> None:
    message = found([one, "star", other])["names-alike"]
    assert repr(one) in message
    assert repr(other) in message
    assert "star" not in message


def test_words_around_a_name_tell_classes_apart() -> None:
    phrases = [Phrase("star", "red "), Phrase("star", "blue "), Phrase("star", "red ")]
    message = found(["a", "b", "c"], phrases=phrases)["names-alike"]
    assert [name for name in ("a", "b", "c") if repr(name) in message] == ["a", "c"]


@given(st.lists(st.text("ab _()CĆć", min_size=1, max_size=5), min_size=2, max_size=5, unique=True))
def test_alike_is_what_gives_the_same_tokens(names: list[str]) -> None:
    pieces = [tuple(TOKENIZER.tokens(clean_name(name))[1:-1]) for name in names]
    named = [each for each in pieces if each]
    assert ("names-alike" in found(names)) == (len(set(named)) < len(named))


@pytest.mark.parametrize(
    ("one", "other"), [("raccoon", "racoon"), ("Person", "persons"), ("big plane", "big plate")]
)
def test_names_of_one_letter_more_or_other(one: str, other: str) -> None:
    assert found([one, "star", other])["names-similar"].count(repr(one)) == 1


def test_a_very_long_name_takes_little_memory() -> None:
    """Of 80,000 letters, once 6 GB of texts that are a letter shorter."""
    tracemalloc.start()
    found(["cat " * 20_000, "cat " * 20_000 + "s"])
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 200e6


@pytest.mark.parametrize(
    "names",
    [
        ["car", "cat"],
        ["type 1", "type 2"],
        ["box1", "box2"],
        ["letter a", "letter b"],
        ["raccoon", "reindeer"],
    ],
)
def test_names_that_differ_by_intent(names: list[str]) -> None:
    assert not found(names)


def test_words_without_tokens() -> None:
    assert found(["star", "крыша"]).keys() == {"unknown-words"}
    findings = Findings()
    check_words(
        ["крыша", "🚗"],
        [Phrase("крыша"), Phrase("🚗")],
        Reader(TOKENIZER, "seer"),
        "here",
        findings,
    )
    (error,) = findings
    assert (error.level, error.code) == ("error", "unknown-words")
    assert "крыша" in error.message
    assert "🚗" in error.message


def test_a_vocabulary_that_stands_in_for_any_refuses_nothing() -> None:
    findings = Findings()
    check_words(["汽车"], [Phrase("汽车")], Reader(TOKENIZER), "here", findings)
    assert [(finding.level, finding.code) for finding in findings] == [("warning", "unknown-words")]


def test_words_that_training_has_not_shown() -> None:
    reader = Reader(TOKENIZER, "seer", frozenset({"red", "star", "stars"}))
    assert not found(["red star", "Stars"], reader)
    message = found(["red raccoon", "star"], reader)["unread-words"]
    assert "seer" in message
    assert "'raccoon'" in message
    assert "'star'" not in message


def test_one_phrase_where_several_were_meant() -> None:
    message = found(["circle.square", "star"])["joined-phrases"]
    assert "'circle. square'" in message
    for name in (
        "circle, square",
        "circle; square",
        "circle | square",
        "circle\uff0csquare",
        "circle\u3002square",
    ):
        assert "'circle. square'" in found([name])["joined-phrases"]
    assert not found(["2.5 mm", "st. bernard", "wall-e"])


def test_classes_in_another_order() -> None:
    reader = Reader(TOKENIZER, "seer", classes=(Phrase("circle"), Phrase("square"), Phrase("star")))
    assert "circle, square, star" in found(["Square", "circle", "star"], reader)["other-order"]
    assert not found(["circle", "square", "star"], reader)
    assert not found(["square", "circle"], reader)  # another list


def test_a_table_of_classes_reads_no_words() -> None:
    assert not found(
        ["box (red)", "box (blue)", "крыша"], Reader(ClassTokenizer(8), "seer", frozenset())
    )


def test_words_are_small_and_without_accents() -> None:
    assert words_of(["A Café-bar. 2 stars", "STAR_fish's"]) == {
        "a",
        "cafe",
        "bar",
        "stars",
        "star",
        "fish",
        "s",
    }
