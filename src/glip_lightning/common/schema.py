"""What a file from another person may hold: types and bounds, checked before anything is computed.

A schema is a value: ``Keys({"name": Text(), "sizes": Items(Whole(1, 9), 1, 4)})``. Its method
``check(content, "task.json")`` raises an error of one line, which names the file, the key, the
value and what is expected.
"""

import json
import re
import reprlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn, Protocol

from glip_lightning.common.errors import GLIPError
from glip_lightning.common.escaping import is_text
from glip_lightning.common.plurals import count_with_noun

LONGEST_TEXT = 100_000
"""Characters of a name or a caption: four times what a detector can read.

A caption is cut after 256 tokens, and tokenizers of BERT's kind know no word of over 100 letters.
"""

MOST_CLASSES = 50_000
"""Twice the classes of the largest list in use (ImageNet-21k has 21,841)."""

LARGEST_FILE = 64_000_000
"""Bytes of a JSON file: 50,000 classes with long names take 10 MB."""

_short_repr = reprlib.Repr()
_short_repr.maxstring = _short_repr.maxother = _short_repr.maxlong = 60
_short_repr.maxlevel = _short_repr.maxlist = _short_repr.maxdict = _short_repr.maxtuple = 2


class Kind(Protocol):
    """The values that may stand somewhere."""

    def check(self, value: object, where: str, key: str = "") -> None:
        """Raise an error unless a value is of this kind.

        Args:
            value: what was found.
            where: the file, as the error names it.
            key: where the value stands in the file; "" for the whole content.

        Raises:
            GLIPError: it is something else (most have the code ``bad-value``).
        """


def short_repr(value: object) -> str:
    """Return a value as a message shows it: short, on one line."""
    try:
        return _short_repr.repr(value)
    except ValueError:  # Python writes no number of more than 4300 digits
        return "a number of thousands of digits"


def _refuse(value: object, where: str, key: str, expected: str) -> NoReturn:
    place = f"{key} is " if key else ""
    raise GLIPError(f"{where}: {place}{short_repr(value)}, expected {expected}", code="bad-value")


@dataclass(frozen=True)
class Whole:
    """A whole number from ``low`` to ``high``; neither true nor 3.0 is one."""

    low: int
    high: int

    def check(self, value: object, where: str, key: str = "") -> None:
        """Raise an error unless the value is such a number."""
        if type(value) is not int or not self.low <= value <= self.high:
            _refuse(value, where, key, f"a whole number from {self.low} to {self.high}")


@dataclass(frozen=True)
class Real:
    """A number from ``low`` to ``high``, so neither infinite nor NaN."""

    low: float
    high: float

    def check(self, value: object, where: str, key: str = "") -> None:
        """Raise an error unless the value is such a number."""
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if not is_number or not self.low <= value <= self.high:
            _refuse(value, where, key, f"a number from {self.low:g} to {self.high:g}")


@dataclass(frozen=True)
class Flag:
    """``true`` or ``false``."""

    def check(self, value: object, where: str, key: str = "") -> None:
        """Raise an error unless the value is one of the two."""
        if not isinstance(value, bool):
            _refuse(value, where, key, "true or false")


@dataclass(frozen=True)
class Text:
    """A text of ``shortest`` to ``longest`` characters that UTF-8 can hold."""

    longest: int = LONGEST_TEXT
    shortest: int = 0
    pattern: str = ""  # of the whole text; no pattern: any text

    def check(self, value: object, where: str, key: str = "") -> None:
        """Raise an error unless the value is such a text (half a character: ``broken-text``)."""
        if not isinstance(value, str):
            _refuse(value, where, key, "a text")
        if not self.shortest <= len(value) <= self.longest:
            place = f"{key} ({count_with_noun(len(value), 'character')})"
            _refuse(value, where, place, f"{self.shortest} to {self.longest} characters")
        if not is_text(value):
            message = f"{where}: {key} is {short_repr(value)}, which holds half a character "
            message += "(a lone surrogate); write it anew"
            raise GLIPError(message, code="broken-text")
        if self.pattern and not re.fullmatch(self.pattern, value):
            _refuse(value, where, key, f"a text of the form {self.pattern}")


@dataclass(frozen=True)
class Items:
    """A list of ``fewest`` to ``most`` values of one kind."""

    of: Kind
    fewest: int
    most: int

    def check(self, value: object, where: str, key: str = "") -> None:
        """Raise an error unless the value is such a list."""
        if not isinstance(value, list | tuple):
            _refuse(value, where, key, "a list")
        if not self.fewest <= len(value) <= self.most:
            expected = f"{self.fewest} to {self.most} entries"
            if self.fewest == self.most:
                expected = count_with_noun(self.most, "entry")
            _refuse(value, where, f"{key} (a list of {len(value)})", expected)
        for place, item in enumerate(value):
            self.of.check(item, where, f"{key}[{place}]")


@dataclass(frozen=True)
class OrNull:
    """``null``, or a value of one kind."""

    of: Kind

    def check(self, value: object, where: str, key: str = "") -> None:
        """Raise an error unless the value is null or of that kind."""
        if value is not None:
            self.of.check(value, where, key)


@dataclass(frozen=True)
class Keys:
    """A mapping with these keys; all but the ``optional`` ones are required.

    It has no ``others``, unless they are allowed: then they are not checked.
    """

    fields: Mapping[str, Kind]
    optional: Collection[str] = ()
    others: bool = False

    def check(self, value: object, where: str, key: str = "") -> None:
        """Raise an error unless the value is such a mapping.

        Raises:
            GLIPError: a key is unknown (code ``unknown-key``) or absent (``missing-key``), or a
                value is not of its kind.
        """
        known = ", ".join(self.fields)
        if not isinstance(value, Mapping):
            _refuse(value, where, key, "a mapping" if self.others else f"a mapping with {known}")
        place = f"{key}." if key else ""
        for name in value:
            if name not in self.fields and not self.others:
                message = f"{where}: unknown key {place}{short_repr(name)}; the keys are {known}"
                raise GLIPError(message, code="unknown-key")
        for name, kind in self.fields.items():
            if name in value:
                kind.check(value[name], where, f"{place}{name}")
            elif name not in self.optional:
                message = f"{where}: no '{place}{name}'"
                message += "" if self.others else f", the keys are {known}"
                raise GLIPError(message, code="missing-key")


@dataclass(frozen=True)
class Mapped:
    """A mapping of any texts to values of one kind, at most ``most``."""

    of: Kind
    most: int

    def check(self, value: object, where: str, key: str = "") -> None:
        """Raise an error unless the value is such a mapping."""
        if not isinstance(value, Mapping) or len(value) > self.most:
            expected = f"a mapping with at most {count_with_noun(self.most, 'key')}"
            _refuse(value, where, key, expected)
        for name, item in value.items():
            Text().check(name, where, f"a key of {key}")
            self.of.check(item, where, f"{key}.{name:.60}")


@dataclass(frozen=True)
class AxisValue:
    """The value of an axis: a text, a number, true, false or null."""

    def check(self, value: object, where: str, key: str = "") -> None:
        """Raise an error unless the value is one of these."""
        if isinstance(value, str):
            Text().check(value, where, key)
        elif value is not None and not isinstance(value, int | float):
            _refuse(value, where, key, "a text or a number")


@dataclass(frozen=True)
class Anything:
    """Any value: another place checks it."""

    def check(self, value: object, where: str, key: str = "") -> None:
        """Accept the value."""


SHORTEST_SIDE = Whole(1, 4096)
"""No recipe has larger images: at 4096 pixels glip-tiny needs 25 times its usual memory."""

LONGEST_SIDE = Whole(1, 65_535)
"""No JPEG has a longer side, so this is no limit in practice."""


@dataclass(frozen=True)
class InputSize:
    """``[short, longest]``: the sides in pixels that an image is resized to."""

    def check(self, value: object, where: str, key: str = "") -> None:
        """Raise an error unless the value is such a pair, the shorter side first."""
        Items(LONGEST_SIDE, 2, 2).check(value, where, key)
        assert isinstance(value, list | tuple)
        short, longest = value
        SHORTEST_SIDE.check(short, where, f"{key}[0]")
        if short > longest:
            _refuse(value, where, key, "the shorter side first")


PHRASE = Keys({"name": Text(), "prefix": Text(), "suffix": Text()}, optional=("prefix", "suffix"))
"""A class as it stands in the caption."""

PHRASES = Items(PHRASE, 1, MOST_CLASSES)

CLASS_NAMES = Items(Text(), 1, MOST_CLASSES)
"""The names of the classes in the data."""

BASE = Keys(
    {
        "name": Text(4096, shortest=1, pattern=r"[^\x00-\x1f]*"),  # the longest path of Linux
        "sha256": Text(64, shortest=64, pattern="[0-9a-f]*"),
        "input_size": InputSize(),
    }
)
"""The detector that something was tuned on."""


def class_names(content: Mapping[str, Any], phrases: str, where: str) -> tuple[str, ...]:
    """Return the names of the classes in the data; empty if the file has none.

    Args:
        content: of the file; its key ``names`` has the names.
        phrases: the key of the phrases of these classes.
        where: the file, as an error names it.

    Raises:
        GLIPError: there are not as many names as phrases (code ``bad-value``).
    """
    names = tuple(content.get("names", ()))
    expected = len(content[phrases])
    if names and len(names) != expected:
        found = count_with_noun(len(names), "name")
        message = f"{where}: {found}, expected one for each of {expected} {phrases}"
        raise GLIPError(message, code="bad-value")
    return names


def check_format(content: object, known: int, where: str) -> None:
    """Raise an error that names both formats if another version wrote ``content``.

    Raises:
        GLIPError: code ``other-format``.
    """
    if isinstance(content, Mapping) and "format" in content and content["format"] != known:
        message = f"{where}: format {short_repr(content['format'])}, this version reads {known}"
        raise GLIPError(message, code="other-format")


def read_json(path: Path, where: str) -> Any:
    """Return the content of a JSON file.

    Raises:
        GLIPError: it is too large (code ``too-large``) or cannot be read (``unreadable-json``,
            ``nested-too-deeply``).
    """
    size = path.stat().st_size
    if size > LARGEST_FILE:
        raise GLIPError(f"{where}: {size} bytes, expected at most {LARGEST_FILE}", code="too-large")
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise GLIPError(f"{where}: no text in UTF-8 ({error})", code="unreadable-json") from error
    return parse_json(text, where)


def parse_json(text: str, where: str) -> Any:
    """Return the content of a JSON text.

    Raises:
        GLIPError: it cannot be read (code ``unreadable-json`` or ``nested-too-deeply``).
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise _nesting_error(where) from None
    except ValueError as error:
        raise GLIPError(f"{where}: no JSON ({error})", code="unreadable-json") from error


def parse_yaml(text: str, where: str) -> Any:
    """Return the content of a YAML text.

    Raises:
        GLIPError: it cannot be read (code ``unreadable-yaml`` or ``nested-too-deeply``).
    """
    import yaml

    # A value that does not fit its tag (!!int "", !!bool 1, !!timestamp x) fails in other ways.
    wrong_tag = (ValueError, LookupError, AttributeError, TypeError, ArithmeticError)
    try:
        return yaml.safe_load(text)
    except RecursionError:
        raise _nesting_error(where) from None
    except (yaml.YAMLError, *wrong_tag) as error:
        reason = " ".join(str(error).split())
        raise GLIPError(f"{where}: no YAML ({reason})", code="unreadable-yaml") from error


def _nesting_error(where: str) -> GLIPError:
    message = f"{where}: brackets inside each other a thousand deep"
    return GLIPError(message, code="nested-too-deeply")
