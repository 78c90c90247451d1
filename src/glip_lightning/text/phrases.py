"""Phrases: the words for a class in a caption, as a user types them or writes them in a file."""

import re
import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from glip_lightning.common.errors import GLIPError
from glip_lightning.common.files import regular_file
from glip_lightning.common.schema import MOST_CLASSES, PHRASE, parse_json, parse_yaml, short_repr


class Phrase(NamedTuple):
    """One class as it stands in the caption; only the tokens of ``name`` are scored."""

    name: str
    prefix: str = ""
    suffix: str = ""

    @property
    def text(self) -> str:
        """The whole phrase as it stands in the caption."""
        return f"{self.prefix}{self.name}{self.suffix}"


def clean_name(name: str) -> str:
    """Return a category name as it enters a caption: ``"wine glass"`` for ``"wine_glass(red)"``.

    As in the official code, everything from the first ``(`` to the last ``)`` is removed, and a
    blank at the end stays (od_to_grounding.py:9-13).
    """
    name = re.sub(r"\(.*\)", "", name)
    return name.replace("_", " ").replace("  ", " ")


def words_of(texts: Iterable[str]) -> set[str]:
    """Return the words of texts in lower case without accents, as in a detector's ``words.txt``."""
    found: set[str] = set()
    for text in set(texts):
        decomposed = unicodedata.normalize("NFD", text.lower())
        letters = [letter for letter in decomposed if not unicodedata.combining(letter)]
        found.update(re.findall(r"[^\W\d_]+", "".join(letters)))
    return found


def check_phrases(phrases: Sequence[Phrase], source: str = "phrases") -> None:
    """Refuse phrases that a user cannot have meant.

    Official data sets do have blank names (ODinW ChessPieces), so :func:`build_prompts` takes them.

    Raises:
        GLIPError: there is no phrase (code ``no-phrases``), there are too many or one is no text
            (``bad-value``), a name is blank (``bad-phrases``), or a phrase comes twice
            (``repeated-phrase``).
    """
    if not phrases:
        message = f"{source}: there is no phrase in it; name at least one class, e.g. 'raccoon'"
        raise GLIPError(message, code="no-phrases")
    if len(phrases) > MOST_CLASSES:
        message = f"{source}: {len(phrases)} phrases, expected at most {MOST_CLASSES}"
        raise GLIPError(message, code="bad-value")
    seen: dict[str, int] = {}
    for place, phrase in enumerate(phrases, start=1):
        PHRASE.check(phrase._asdict(), source, f"phrase {place}")
        if not phrase.name.strip():
            message = f"{source}: phrase {place} of {len(phrases)} is blank ({phrase.name!r}); "
            message += "remove the extra separator or write a name there"
            raise GLIPError(message, code="bad-phrases")
        first = seen.setdefault(" ".join(phrase.text.lower().split()), place)
        if first != place:
            message = f"{source}: phrase {place} ({phrase.text!r}) repeats phrase {first}; "
            message += "keep one of them; capitals and blanks make no difference"
            raise GLIPError(message, code="repeated-phrase")


def read_phrases(text: str) -> list[Phrase]:
    """Return the phrases of a text: ``"raccoon. dog"``, ``"raccoon; dog"``, or one per line.

    A period separates phrases where a blank or the end follows it: ``"2.5 mm"`` is one phrase.
    Names with such a period, as in ``"St. Bernard"``, need a file (:func:`read_phrases_file`).

    Raises:
        GLIPError: as :func:`check_phrases`.
    """
    names = re.split(r"\s*(?:\.(?=\s|$)|;|\n)\s*", text.strip())
    if len(names) > 1 and not names[-1]:
        names.pop()  # a separator at the end is fine
    phrases = [Phrase(name) for name in names]
    check_phrases(phrases, source=repr(text))
    return phrases


def read_phrases_file(path: str | Path) -> list[Phrase]:
    """Return the phrases of a file.

    A ``.txt`` file has one phrase per line; ``#`` starts a comment line. ``.json`` and ``.yaml``
    have a list of names, or of mappings with ``name``, ``prefix`` and ``suffix``.

    Raises:
        GLIPError: the file cannot be read (codes ``unknown-ending``, ``unreadable-phrases`` and
            those of :mod:`glip_lightning.common.schema`), or as :func:`check_phrases`.
    """
    path = regular_file(path)
    readers = {".txt": _read_lines, ".json": parse_json, ".yaml": parse_yaml, ".yml": parse_yaml}
    ending = path.suffix.lower()
    if ending not in readers:
        message = f"{path}: phrases are read from {', '.join(readers)}, not from {path.suffix!r}"
        raise GLIPError(message, code="unknown-ending")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        message = f"{path}: not a readable {path.suffix} file in UTF-8 ({error})"
        raise GLIPError(message, code="unreadable-phrases") from error
    entries = readers[ending](text, f"{path}: not a readable {path.suffix} file")
    if not isinstance(entries, list):
        message = f"{path}: expected a list of phrases, found {short_repr(entries)}; "
        message += "write '- raccoon' lines"
        raise GLIPError(message, code="bad-value")
    phrases = []
    for place, entry in enumerate(entries, start=1):
        phrases.append(_phrase(entry, f"{path}, entry {place}"))
    check_phrases(phrases, source=str(path))
    return phrases


def _read_lines(text: str, where: str) -> list[str]:
    lines = [line.strip() for line in text.splitlines()]
    return [line for line in lines if line and not line.startswith("#")]


def _phrase(entry: object, place: str) -> Phrase:
    """Return the phrase of one entry of a file; ``place`` is where an error says that it stands."""
    if isinstance(entry, str):
        entry = {"name": entry}
    if not isinstance(entry, dict):
        quoted = "'raccoon'"
        if isinstance(entry, int | float):
            quoted = short_repr(str(entry))
        message = f"{place}: {short_repr(entry)} is no text; put it in quotes, e.g. {quoted}"
        raise GLIPError(message, code="bad-value")
    PHRASE.check(entry, place)
    return Phrase(**entry)
