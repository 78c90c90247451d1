"""What a file that another person made may hold: types and bounds, checked before anything is computed.

A schema is a value: ``Keys({"name": Text(), "sizes": Items(Whole(1, 9), 1, 4)}).check(content, "task.json")``. An error
is one line that names the file, the key, the value and what is expected.
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

LONGEST_TEXT = 100_000
"""Characters of a name or a caption: a caption is cut after 256 tokens, and a word of over 100 letters is unknown to
every tokenizer of BERT's kind, so this is four times what a detector can read."""

MOST_CLASSES = 50_000
"""Twice the classes of the largest list in use (ImageNet-21k has 21,841)."""

LARGEST_FILE = 64_000_000
"""Bytes of a JSON file: 50,000 classes with long names take 10 MB."""

_short_repr = reprlib.Repr()
_short_repr.maxstring = _short_repr.maxother = _short_repr.maxlong = 60
_short_repr.maxlevel, _short_repr.maxlist, _short_repr.maxdict, _short_repr.maxtuple = 2, 2, 2, 2


class Kind(Protocol):
    """What a value may be."""

    def check(self, value: object, where: str, key: str = "") -> None:
        """Raise :class:`GLIPError` if the value at ``key`` of the file ``where`` is something else."""


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
        if type(value) is not int or not self.low <= value <= self.high:
            _refuse(value, where, key, f"a whole number from {self.low} to {self.high}")


@dataclass(frozen=True)
class Real:
    """A number from ``low`` to ``high``, so neither infinite nor NaN."""

    low: float
    high: float

    def check(self, value: object, where: str, key: str = "") -> None:
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if not is_number or not self.low <= value <= self.high:
            _refuse(value, where, key, f"a number from {self.low:g} to {self.high:g}")


@dataclass(frozen=True)
class Flag:
    """``true`` or ``false``."""

    def check(self, value: object, where: str, key: str = "") -> None:
        if not isinstance(value, bool):
            _refuse(value, where, key, "true or false")


@dataclass(frozen=True)
class Text:
    """A text that can be written as UTF-8, of ``shortest`` to ``longest`` characters."""

    longest: int = LONGEST_TEXT
    shortest: int = 0
    pattern: str = ""  # of the whole text; no pattern: any text

    def check(self, value: object, where: str, key: str = "") -> None:
        if not isinstance(value, str):
            _refuse(value, where, key, "a text")
        if not self.shortest <= len(value) <= self.longest:
            _refuse(
                value,
                where,
                f"{key} ({len(value)} characters)",
                f"{self.shortest} to {self.longest} characters",
            )
        if not is_text(value):
            message = f"{where}: {key} is {short_repr(value)}, which holds half a character (a lone surrogate)"
            raise GLIPError(f"{message}; write it anew", code="broken-text")
        if self.pattern and not re.fullmatch(self.pattern, value):
            _refuse(value, where, key, f"a text of the form {self.pattern}")


@dataclass(frozen=True)
class Items:
    """A list of ``fewest`` to ``most`` values of one kind."""

    of: Kind
    fewest: int
    most: int

    def check(self, value: object, where: str, key: str = "") -> None:
        if not isinstance(value, list | tuple):
            _refuse(value, where, key, "a list")
        if not self.fewest <= len(value) <= self.most:
            number = (
                f"{self.fewest}" if self.fewest == self.most else f"{self.fewest} to {self.most}"
            )
            _refuse(value, where, f"{key} (a list of {len(value)})", f"{number} entries")
        for place, item in enumerate(value):
            self.of.check(item, where, f"{key}[{place}]")


@dataclass(frozen=True)
class Keys:
    """A mapping with these keys and no others; all of them are needed but the ``optional`` ones."""

    fields: Mapping[str, Kind]
    optional: Collection[str] = ()

    def check(self, value: object, where: str, key: str = "") -> None:
        if not isinstance(value, Mapping):
            _refuse(value, where, key, f"a mapping with {', '.join(self.fields)}")
        place = f"{key}." if key else ""
        for name in value:
            if name not in self.fields:
                known = ", ".join(self.fields)
                raise GLIPError(
                    f"{where}: unknown key {place}{short_repr(name)}; the keys are {known}",
                    code="unknown-key",
                )
        for name, kind in self.fields.items():
            if name in value:
                kind.check(value[name], where, f"{place}{name}")
            elif name not in self.optional:
                known = ", ".join(self.fields)
                raise GLIPError(
                    f"{where}: no '{place}{name}', the keys are {known}", code="missing-key"
                )


@dataclass(frozen=True)
class Mapped:
    """A mapping of any texts to values of one kind, at most ``most``."""

    of: Kind
    most: int

    def check(self, value: object, where: str, key: str = "") -> None:
        if not isinstance(value, Mapping) or len(value) > self.most:
            _refuse(value, where, key, f"a mapping with at most {self.most} keys")
        for name, item in value.items():
            Text().check(name, where, f"a key of {key}")
            self.of.check(item, where, f"{key}.{name:.60}")


@dataclass(frozen=True)
class AxisValue:
    """A text, a number, true, false or null: a value of an axis."""

    def check(self, value: object, where: str, key: str = "") -> None:
        if isinstance(value, str):
            Text().check(value, where, key)
        elif value is not None and not isinstance(value, int | float):
            _refuse(value, where, key, "a text or a number")


@dataclass(frozen=True)
class Anything:
    """Whatever it is: somebody else checks it."""

    def check(self, value: object, where: str, key: str = "") -> None:
        return


# No sides of a picture are larger in any recipe; at 4096 on the shorter side glip-tiny needs 25 times its usual memory.
SHORTEST_SIDE = Whole(1, 4096)
LONGEST_SIDE = Whole(1, 65_535)  # no JPEG has a longer one, so that is no limit at all


@dataclass(frozen=True)
class InputSize:
    """``[short, longest]``: sides in pixels that a picture is resized to."""

    def check(self, value: object, where: str, key: str = "") -> None:
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
"""What the data call these classes."""

BASE = Keys(
    {
        "name": Text(4096, shortest=1, pattern=r"[^\x00-\x1f]*"),  # the longest path of Linux
        "sha256": Text(64, shortest=64, pattern="[0-9a-f]*"),
        "input_size": InputSize(),
    }
)
"""The detector that something was tuned on."""


def class_names(content: Mapping[str, Any], phrases: str, where: str) -> tuple[str, ...]:
    """Return what the data call the classes whose phrases are under the key ``phrases``; empty if not on record."""
    names, expected = tuple(content.get("names", ())), len(content[phrases])
    if names and len(names) != expected:
        message = f"{where}: {len(names)} names, expected one for each of {expected} {phrases}"
        raise GLIPError(message, code="bad-value")
    return names


def check_format(content: object, known: int, where: str) -> None:
    """Raise an error that names both formats if ``content`` was written by another version."""
    if isinstance(content, Mapping) and "format" in content and content["format"] != known:
        message = f"{where}: format {short_repr(content['format'])}, this version reads {known}"
        raise GLIPError(message, code="other-format")


def read_json(path: Path, where: str) -> Any:
    """Return the content of a JSON file; what cannot be read is an error of one line."""
    if (size := path.stat().st_size) > LARGEST_FILE:
        raise GLIPError(f"{where}: {size} bytes, expected at most {LARGEST_FILE}", code="too-large")
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise GLIPError(f"{where}: no text in UTF-8 ({error})", code="unreadable-json") from error
    return parse_json(text, where)


def parse_json(text: str, where: str) -> Any:
    """Return what a JSON text holds."""
    try:
        return json.loads(text)
    except RecursionError:
        raise GLIPError(
            f"{where}: brackets inside each other a thousand deep", code="nested-too-deeply"
        ) from None
    except ValueError as error:
        raise GLIPError(f"{where}: no JSON ({error})", code="unreadable-json") from error


def parse_yaml(text: str, where: str) -> Any:
    """Return what a YAML text holds."""
    import yaml

    try:
        return yaml.safe_load(text)
    except RecursionError:
        raise GLIPError(
            f"{where}: brackets inside each other a thousand deep", code="nested-too-deeply"
        ) from None
    # a value that is not what its tag says (!!int "", !!bool 1, !!timestamp x) fails in other ways
    except (
        yaml.YAMLError,
        ValueError,
        LookupError,
        AttributeError,
        TypeError,
        ArithmeticError,
    ) as error:
        reason = " ".join(str(error).split())
        raise GLIPError(f"{where}: no YAML ({reason})", code="unreadable-yaml") from error
