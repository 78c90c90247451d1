"""What the words of a class list mean to a detector: some it does not know or tell apart."""

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from glip_lightning.data.checks.findings import Findings, listing
from glip_lightning.text.captions import build_prompt
from glip_lightning.text.phrases import Phrase, words_of
from glip_lightning.text.tokenizer import Tokenizer

UNKNOWN = "[UNK]"
SHORTEST = 4  # letters of a word in which a slip is looked for: "cat" and "car" are both meant
LONGEST = 300  # letters of a name in which a slip is looked for: the memory grows with the square
SEVERAL = re.compile(r"(?<=[^\W\d_])(?:\.|\s*[,;|\u3001\u3002\uff0c\uff1b]\s*)(?=[^\W\d_])")
"""Signs that people write between phrases, also in East Asian scripts, but that separate none.

Only a period with a blank after it separates two phrases.
"""


@dataclass(frozen=True, slots=True)
class Reader:
    """What reads the words: a detector, or a vocabulary alone."""

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
        phrases: how each class is written in a caption, in the same order.
        reader: reads the words. A detector with a table of classes reads none: nothing is added.
        where: the place that the findings name.
        findings: get what is found.
    """
    if not reader.tokenizer.reads_words:
        return
    pieces = [word_pieces(phrase, reader.tokenizer) for phrase in phrases]
    without_tokens, unknown, joined = [], [], []
    for name, phrase, found in zip(names, phrases, pieces, strict=True):
        if not found:
            without_tokens.append(repr(name))
        if UNKNOWN in found:
            unknown.append(f"{name!r} ({' '.join(found)})")
        if SEVERAL.search(phrase.name):
            joined.append(f"{phrase.name!r} ({SEVERAL.sub('. ', phrase.name)!r})")
    unknown_key = "unknown-words"
    # a vocabulary that stands in for that of any detector is no reason to refuse data
    if reader.detector and all(set(found) == {UNKNOWN} for found in pieces):
        unknown_key = "unknown-words/all"
    problems = {
        "no-tokens": without_tokens,
        unknown_key: unknown,
        "names-alike": _same_words(names, phrases, reader.tokenizer),
        "names-similar": [f"{one!r} and {other!r}" for one, other in _one_letter_apart(names)],
        "joined-phrases": joined,
    }
    for key, items in problems.items():
        if items:
            findings.add(key, where, len(items), items=listing(items))
    _check_training(phrases, reader, where, findings)


def word_pieces(phrase: Phrase, tokenizer: Tokenizer) -> list[str]:
    """Return the word pieces by which a class is scored."""
    (tokens,) = build_prompt([phrase], tokenizer).tokens
    pieces = tokenizer.tokens(phrase.text)
    return [pieces[token] for token in tokens]


def _same_words(names: Sequence[str], phrases: Sequence[Phrase], tokenizer: Tokenizer) -> list[str]:
    """Describe each group of classes that are the same word pieces in a caption."""
    groups: dict[tuple[str, ...], list[int]] = defaultdict(list)
    for place, phrase in enumerate(phrases):
        words = tokenizer.tokens(phrase.text)[1:-1]
        if UNKNOWN in words:
            words = phrase.text.lower().split()
        if words:  # a name without any is another fault
            groups[tuple(words)].append(place)
    found = []
    for group in groups.values():
        if len(group) > 1:
            members = " and ".join(repr(names[place]) for place in group)
            text = phrases[group[0]].text.strip().lower()
            found.append(f"{members} are {text!r}")
    return found


def _one_letter_apart(names: Sequence[str]) -> list[tuple[str, str]]:
    """Return the pairs of names that differ in one letter of one word, changed or left out."""
    known: dict[str, list[str]] = defaultdict(list)  # by the text itself, and by it less a letter
    pairs: dict[tuple[str, str], None] = {}  # each once, in order
    for name in names:
        text = name.lower()
        if len(text) > LONGEST:
            continue
        shorter_texts = {text}
        for place in range(len(text)):
            shorter_texts.add(text[:place] + text[place + 1 :])
        for shorter in shorter_texts:
            for other in known[shorter]:
                if _is_slip(other.lower(), text):
                    pairs[other, name] = None
            known[shorter].append(name)
    return list(pairs)


def _is_slip(one: str, other: str) -> bool:
    """Return whether two texts with as many words differ in one letter of one long word."""
    words, others = re.split(r"[\s_]+", one), re.split(r"[\s_]+", other)
    differing = [pair for pair in zip(words, others, strict=False) if pair[0] != pair[1]]
    if len(words) != len(others) or len(differing) != 1:
        return False
    shorter, longer = sorted(differing[0], key=len)
    if len(shorter) < SHORTEST:
        return False
    start = 0  # of the difference
    while start < len(shorter) and shorter[start] == longer[start]:
        start += 1
    changed, rest = longer[start], shorter[start:]
    if len(shorter) == len(longer):
        changed, rest = longer[start] + shorter[start], shorter[start + 1 :]
    return changed.isalpha() and longer[start + 1 :] == rest


def _check_training(
    phrases: Sequence[Phrase], reader: Reader, where: object, findings: Findings
) -> None:
    """Add words that the detector's training did not show, and classes that had another order."""
    if reader.words is not None:
        new = sorted(words_of(phrase.text for phrase in phrases) - reader.words)
        if new:
            items = listing(map(repr, new))
            findings.add("unread-words", where, len(new), detector=reader.detector, items=items)
    trained = [phrase.text.lower().strip() for phrase in reader.classes]
    given = [phrase.text.lower().strip() for phrase in phrases]
    if trained != given and sorted(trained) == sorted(given):
        order = listing(phrase.name for phrase in reader.classes)
        findings.add("other-order", where, len(given), detector=reader.detector, items=order)
