"""The words of a caption that name things: a small rule-based chunker for English.

The official code looks for ``NP: {<DT>?<JJ.*>*<NN.*>+}`` in the part-of-speech tags of NLTK, whose
models have to be downloaded. This module needs no language data. It cuts a caption at punctuation
and at words that are no part of a noun phrase: prepositions, forms of *be*, conjunctions, pronouns,
the verbs of captions, adverbs in *-ly*. The words between two cuts are a phrase. Articles, numbers
and possessives at its beginning and place words (*left*, *top*) at its end name nothing and are
removed. After *no* or *without* there is no phrase, since the picture does not show the thing.

Words are not tagged, which has limits:

* A verb that is in no list stays in its phrase: ``"a man juggles balls"`` is one.
* A noun that is also a listed verb (*look*, *run*) cuts.
* A word in *-ing* is taken for a verb before an article, a preposition or the end, otherwise for a
  part of the name (*dining table*).
* Nobody asks who is meant by *it*.
* Other languages are cut at punctuation only.

Where that matters, give the spans with the captions.

Source of the idea: microsoft/GLIP engine/predictor_glip.py, find_noun_phrases.
"""

import re
from collections.abc import Sequence

from glip_lightning.text.token_spans import Span

WORD = re.compile(r"[^\W_]+(?:['\u2019\-][^\W_]+)*")


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


PREPOSITIONS = _words(
    "of in on at by for with from to into onto over under above below beneath beside besides "
    "between among amid behind near next through across along around against before after during "
    "without within inside outside toward towards up down off out about upon via per than like as "
    "beyond past underneath alongside atop"
)
CONJUNCTIONS = _words(
    "and or but nor so yet while because if when where which who whom whose that though although"
)
PRONOUNS = _words(
    "i me you he him she it we us they them himself herself itself themselves someone something "
    "anyone anything everyone everything nobody nothing there here what it's there's he's she's "
    "that's they're"
)
VERBS = _words(
    "is are was were be been being am has have had having does do did will would can could may "
    "might shall should must not no sit sits sat sitting stand stands stood standing lie lies "
    "lying lay lays laying hold holds held holding wear wears wore wearing ride rides rode riding "
    "eat eats eating look looks looked looking play plays playing walk walks walking run runs "
    "running use uses using carry carries carrying fly flies flew flying jump jumps jumping take "
    "takes taking taken make makes making made show shows showing shown hang hangs hanging hung "
    "get gets getting go goes going come comes coming put puts putting seen see sees seeing watch "
    "watches watching lean leans leaning rest rests resting drive drives driving pull pulls "
    "pulling push pushes pushing throw throws throwing catch catches catching hit hits hitting "
    "swing swings swinging talk talks talking smile smiles smiling pose poses posing sleep sleeps "
    "sleeping graze grazes grazing fill filled covered topped surrounded dressed parked placed "
    "located attached tied mounted stacked painted decorated contain contains containing feature "
    "features featuring have having prepare prepares preparing appear appears crossing try tries "
    "trying wait waits waiting work works working enjoy enjoys enjoying reach reaches reaching "
    "feed feeds feeding"
)
ADVERBS = _words(
    "very also just still together away too again almost only even close outdoors indoors outside"
)
DENIALS = _words("no without")
BREAKS = PREPOSITIONS | CONJUNCTIONS | PRONOUNS | VERBS | ADVERBS

FRONT = _words(
    "a an the this these those some any each every all both many much several few more most other "
    "another various one two three four five six seven eight nine ten eleven twelve dozen dozens "
    "hundred hundreds my your his her its our their"
)
"""Removed from the front of a phrase: articles, numbers, possessives."""

PLACES = _words(
    "left right top bottom front back middle center centre side sides edge end corner background "
    "foreground"
)
"""Removed from the end of a phrase: relations, as in *left of*, *in front of*, *on the side*."""

QUALITIES = _words(
    "red blue green yellow black white brown gray grey pink purple dark light bright big small "
    "large little tall short long old new young empty full open closed wet dry clean dirty high "
    "low different same ready visible"
)
"""Words that name nothing alone: *the dog is brown*."""

GERUND_NOUNS = _words(
    "building ceiling clothing string ring king wing thing painting railing awning evening "
    "morning sling spring earring pudding icing topping swing drawing wedding meeting bedding "
    "siding crossing landing sibling duckling"
)
NAMELESS = _words("thing things object objects item items one ones something")
"""Nouns that say nothing about the thing: *a striped thing*."""
LY_NOUNS = _words(
    "family fly butterfly dragonfly jelly belly lily bully ally assembly ply monopoly"
)


def noun_phrases(caption: str) -> list[Span]:
    """Return the span of each phrase that names something, in order; spans do not overlap.

    >>> caption = "A red ring left of the two dogs, and a man riding a wave."
    >>> [caption[start:end] for start, end in noun_phrases(caption)]
    ['red ring', 'dogs', 'man', 'wave']
    """
    words = list(WORD.finditer(caption))
    chunks: list[list[re.Match[str]]] = [[]]
    denied: set[int] = set()  # chunks of things that the caption says are absent
    end = 0
    for place, word in enumerate(words):
        has_punctuation = bool(caption[end : word.start()].strip())
        if end and has_punctuation:
            chunks.append([])
        end = word.end()
        text = word[0].lower()
        following = words[place + 1] if place + 1 < len(words) else None
        if _breaks(text, following):
            chunks.append([])
            if text in DENIALS:
                denied.add(len(chunks) - 1)
        else:
            if text in FRONT and chunks[-1]:  # an article begins a new phrase
                chunks.append([])
            chunks[-1].append(word)
    spans = []
    for number, chunk in enumerate(chunks):
        phrase = _trimmed(chunk)
        if phrase and number not in denied:
            spans.append((phrase[0].start(), phrase[-1].end()))
    return spans


def noun(phrase: str) -> str | None:
    """Return the noun of a phrase, without its attributes; None where no word names a thing.

    >>> noun("striped orange arrows with a border"), noun("red thing")
    ('arrows', None)
    """
    spans = noun_phrases(phrase)
    if not spans:
        return None
    start, end = spans[0]
    word = WORD.findall(phrase[start:end])[-1]
    if word.lower() in NAMELESS:
        return None
    return word


def _breaks(word: str, following: re.Match[str] | None) -> bool:
    """Return whether ``word`` is no part of a noun phrase."""
    if word in BREAKS or (word.endswith("ly") and word not in LY_NOUNS):
        return True
    if not word.endswith("ing") or word in GERUND_NOUNS:
        return False
    return following is None or following[0].lower() in FRONT | BREAKS


def _trimmed(chunk: Sequence[re.Match[str]]) -> Sequence[re.Match[str]]:
    """Return a chunk without the words at both ends that name nothing; empty if none is left."""
    words = [word[0].lower() for word in chunk]
    start = 0
    end = len(words)
    while start < end and (words[start] in FRONT or words[start].isdigit()):
        start += 1
    while start < end and words[end - 1] in PLACES:
        end -= 1
    if all(word in QUALITIES for word in words[start:end]):
        return []
    return chunk[start:end]
