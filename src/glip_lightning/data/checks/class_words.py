"""What the words of a class list mean to a detector: classes that no words tell apart, words that it does not know."""

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from glip_lightning.data.checks.findings import Findings, listing
from glip_lightning.text.captions import build_prompt
from glip_lightning.text.phrases import Phrase, words_of
from glip_lightning.text.tokenizer import ClassTokenizer, Tokenizer

UNKNOWN = "[UNK]"
SHORTEST = 4  # letters of words that one letter makes another one by mistake: "cat" and "car" are both meant
SEVERAL = re.compile(r"(?<=[^\W\d_])(?:\.|\s*[,;|\u3001\u3002\uff0c\uff1b]\s*)(?=[^\W\d_])")
"""What people write between phrases, those of East Asian scripts, too, and what is no end of one: only a period with a
blank behind it is."""


@dataclass(frozen=True)
class Reader:
    """Who reads the words: a detector, or a vocabulary alone."""

    tokenizer: Tokenizer
    detector: str = ""  # its name, blank for a vocabulary that stands in for any
    words: frozenset[str] | None = None  # that its training has shown; None: not on record
    classes: tuple[Phrase, ...] = ()  # that it was trained for last


def check_words(
    names: Sequence[str],
    phrases: Sequence[Phrase],
    reader: Reader,
    where: object,
    findings: Findings,
) -> None:
    """Add what is wrong with the words of classes.

    Args:
        names: of the classes, as the data or the user call them.
        phrases: how each stands in a caption.
        reader: whose words they are. A detector with a table of classes reads none, so that none can be wrong.
        where: the place that the findings name.
        findings: get the rest.
    """
    if isinstance(reader.tokenizer, ClassTokenizer):
        return
    pieces = [word_pieces(phrase, reader.tokenizer) for phrase in phrases]
    unknown = [
        f"{name!r} ({' '.join(found)})"
        for name, found in zip(names, pieces, strict=True)
        if UNKNOWN in found
    ]
    none_known = bool(reader.detector) and all(
        found and set(found) == {UNKNOWN} for found in pieces
    )
    problems = {
        "no-tokens": [repr(name) for name, found in zip(names, pieces, strict=True) if not found],
        "unknown-words/all" if none_known else "unknown-words": unknown,
        "names-alike": list(_alike(names, phrases, reader.tokenizer)),
        "names-similar": [f"{one!r} and {other!r}" for one, other in _one_letter_apart(names)],
        "joined-phrases": [
            f"{p.name!r} ({SEVERAL.sub('. ', p.name)!r})" for p in phrases if SEVERAL.search(p.name)
        ],
    }
    for key, items in problems.items():
        if items:
            findings.add(key, where, len(items), items=listing(items))
    _check_known(phrases, reader, where, findings)


def word_pieces(phrase: Phrase, tokenizer: Tokenizer) -> list[str]:
    """Return the word pieces by which a class is scored."""
    (tokens,) = build_prompt([phrase], tokenizer).tokens
    pieces = tokenizer.tokens(phrase.text)
    return [pieces[token] for token in tokens]


def _alike(names: Sequence[str], phrases: Sequence[Phrase], tokenizer: Tokenizer) -> Iterator[str]:
    """Yield the names of classes that stand in a caption as the same word pieces."""
    groups: dict[tuple[str, ...], list[int]] = defaultdict(list)
    for place, phrase in enumerate(phrases):
        pieces = tokenizer.tokens(phrase.text)[1:-1]
        words = phrase.text.lower().split() if UNKNOWN in pieces else pieces
        if words:  # a name without any is another fault
            groups[tuple(words)].append(place)
    for group in groups.values():
        if len(group) > 1:
            text = phrases[group[0]].text.strip().lower()
            yield f"{' and '.join(repr(names[place]) for place in group)} are {text!r}"


def _one_letter_apart(names: Sequence[str]) -> list[tuple[str, str]]:
    """Return the pairs of names that one letter less, more or other in one word makes equal."""
    known: dict[str, list[str]] = defaultdict(list)  # by the text with a character less
    pairs: dict[tuple[str, str], None] = {}
    for name in names:
        text = name.lower()
        for shorter in {text, *(text[:k] + text[k + 1 :] for k in range(len(text)))}:
            pairs |= {
                (other, name): None for other in known[shorter] if _is_slip(other.lower(), text)
            }
            known[shorter].append(name)
    return list(pairs)


def _is_slip(one: str, other: str) -> bool:
    """Whether two texts of as many words differ in one letter of a long word."""
    words, others = re.split(r"[\s_]+", one), re.split(r"[\s_]+", other)
    differing = [pair for pair in zip(words, others, strict=False) if pair[0] != pair[1]]
    if len(words) != len(others) or len(differing) != 1:
        return False
    shorter, longer = sorted(differing[0], key=len)
    start = next((k for k, letter in enumerate(shorter) if letter != longer[k]), len(shorter))
    changed = (
        {longer[start], *shorter[start : start + 1]}
        if len(shorter) == len(longer)
        else {longer[start]}
    )
    rest = shorter[start + 1 :] if len(shorter) == len(longer) else shorter[start:]
    return (
        len(shorter) >= SHORTEST
        and longer[start + 1 :] == rest
        and all(x.isalpha() for x in changed)
    )


def _check_known(
    phrases: Sequence[Phrase], reader: Reader, where: object, findings: Findings
) -> None:
    """Add what the detector's training says: words that it has not shown, classes that stood in another order."""
    new = (
        []
        if reader.words is None
        else sorted(words_of(phrase.text for phrase in phrases) - reader.words)
    )
    if new:
        findings.add(
            "unread-words", where, len(new), detector=reader.detector, items=listing(map(repr, new))
        )
    own, given = (
        [phrase.text.lower().strip() for phrase in each] for each in (reader.classes, phrases)
    )
    if own != given and sorted(own) == sorted(given):
        order = listing(phrase.name for phrase in reader.classes)
        findings.add("other-order", where, len(own), detector=reader.detector, items=order)
