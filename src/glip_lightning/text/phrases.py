"""Phrases: how a class is called in a caption, as typed by a user or written in a file."""

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
        return f"{self.prefix}{self.name}{self.suffix}"


def clean_name(name: str) -> str:
    """A category name as it enters a caption, exactly as official: ``"wine_glass(red)" -> "wine glass"``.

    Everything from the first ``(`` to the last ``)`` goes, and a blank at the end stays
    (od_to_grounding.py:9-13).
    """
    name = re.sub(r"\(.*\)", "", name)
    return name.replace("_", " ").replace("  ", " ")


def words_of(texts: Iterable[str]) -> set[str]:
    """Return the words of texts in small letters without accents, as a detector's ``words.txt`` lists them."""
    found: set[str] = set()
    for text in set(texts):
        letters = (
            x for x in unicodedata.normalize("NFD", text.lower()) if not unicodedata.combining(x)
        )
        found.update(re.findall(r"[^\W\d_]+", "".join(letters)))
    return found


def check_phrases(phrases: Sequence[Phrase], source: str = "phrases") -> None:
    """Refuse what a user cannot have meant: no phrase, a blank name, the same phrase twice.

    Official data sets do hold blank names (ODinW ChessPieces), so :func:`build_prompts` takes them.
    """
    if not phrases:
        message = f"{source}: there is no phrase in it; name at least one class, e.g. 'raccoon'"
        raise GLIPError(message, code="no-phrases")
    seen: dict[str, int] = {}
    if len(phrases) > MOST_CLASSES:
        raise GLIPError(
            f"{source}: {len(phrases)} phrases, expected at most {MOST_CLASSES}", code="bad-value"
        )
    for place, phrase in enumerate(phrases, start=1):
        PHRASE.check(phrase._asdict(), source, f"phrase {place}")
        if not phrase.name.strip():
            message = f"{source}: phrase {place} of {len(phrases)} is blank ({phrase.name!r}); "
            message += "remove the extra separator or write a name there"
            raise GLIPError(message, code="bad-phrases")
        first = seen.setdefault(" ".join(phrase.text.lower().split()), place)
        if first != place:
            message = f"{source}: phrase {place} ({phrase.text!r}) repeats phrase {first}; "
            message += "keep one of them, capitals and blanks make no difference"
            raise GLIPError(message, code="repeated-phrase")


def read_phrases(text: str) -> list[Phrase]:
    """Phrases a user typed: ``"raccoon. dog"``, ``"raccoon; dog"``, or one per line.

    A period separates where a blank or the end follows (``"2.5 mm"`` is one phrase); names that need one,
    such as ``"St. Bernard"``, go into a file (:func:`read_phrases_file`).
    """
    names = re.split(r"\s*(?:\.(?=\s|$)|;|\n)\s*", text.strip())
    if len(names) > 1 and not names[-1]:
        names.pop()  # a separator at the end is fine
    phrases = [Phrase(name) for name in names]
    check_phrases(phrases, source=repr(text))
    return phrases


def read_phrases_file(path: str | Path) -> list[Phrase]:
    """Phrases from ``.txt`` (one per line, ``#`` starts a comment line) or from ``.json``, ``.yaml``.

    The latter two hold a list of names or of mappings with ``name``, ``prefix`` and ``suffix``.
    """
    path = regular_file(path)
    readers = {".txt": _read_lines, ".json": parse_json, ".yaml": parse_yaml, ".yml": parse_yaml}
    if path.suffix.lower() not in readers:
        message = f"{path}: phrases are read from {', '.join(readers)}, not from {path.suffix!r}"
        raise GLIPError(message, code="unknown-ending")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        message = f"{path}: not a readable {path.suffix} file in UTF-8 ({error})"
        raise GLIPError(message, code="unreadable-phrases") from error
    entries = readers[path.suffix.lower()](text, f"{path}: not a readable {path.suffix} file")
    if not isinstance(entries, list):
        message = f"{path}: expected a list of phrases, found {short_repr(entries)}; write '- raccoon' lines"
        raise GLIPError(message, code="bad-value")
    phrases = [
        _phrase(entry, f"{path}, entry {place}") for place, entry in enumerate(entries, start=1)
    ]
    check_phrases(phrases, source=str(path))
    return phrases


def _read_lines(text: str, where: str) -> list[str]:
    lines = (line.strip() for line in text.splitlines())
    return [line for line in lines if line and not line.startswith("#")]


def _phrase(entry: object, place: str) -> Phrase:
    """Return one entry of a file; ``place`` says where it stands."""
    fields = {"name": entry} if isinstance(entry, str) else entry
    if not isinstance(fields, dict):
        quoted = short_repr(str(entry)) if isinstance(entry, int | float) else "'raccoon'"
        message = f"{place}: {short_repr(entry)} is no text; put it in quotes, e.g. {quoted}"
        raise GLIPError(message, code="bad-value")
    PHRASE.check(fields, place)
    return Phrase(**fields)
