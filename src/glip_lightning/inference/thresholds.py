"""Which boxes of a phrase are kept: from which score on, and how many."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from glip_lightning.common.errors import GLIPError, MissingFile
from glip_lightning.common.files import regular_file
from glip_lightning.common.schema import MOST_CLASSES, Text, parse_json, parse_yaml, short_repr


@dataclass(frozen=True, slots=True)
class Thresholds:
    """The least score of every phrase, whatever the capitals and blanks of the phrase.

    ``best_from`` is for captions, whose phrases are in the picture: where a phrase has no box from
    its least score on, its best box counts from ``best_from`` on, if no other phrase has that box.
    """

    default: float
    phrases: Mapping[str, float] = field(default_factory=dict)
    best_from: float | None = None

    def of(self, phrase: str) -> float:
        """Return the least score of a phrase."""
        return self.phrases.get(phrase_key(phrase), self.default)

    def describe(self, phrases: Iterable[str]) -> str:
        """Return the least score of some phrases in words, or the lowest and the highest."""
        scores = sorted({self.of(phrase) for phrase in phrases})
        if len(scores) == 1:
            return f"the threshold {scores[0]:g}"
        return f"the thresholds {scores[0]:g} to {scores[-1]:g}"


def phrase_key(phrase: str) -> str:
    """Return a phrase in small letters with single blanks: equal phrases become equal texts."""
    return " ".join(phrase.lower().split())


def check_threshold(value: object, where: str, least: float = 0) -> float:
    """Return a score from ``least`` to 1.

    Raises:
        GLIPError: something else (code ``bad-value``); ``where`` begins the message.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= 1:
        lowest = f"{least} (lower ones are not stored)" if least else "0"
        raise GLIPError(
            f"{where} {short_repr(value)}: expected a score from {lowest} to 1", code="bad-value"
        )
    return float(value)


def read_thresholds(file: str | Path, default: float, least: float = 0) -> Thresholds:
    """Read a YAML or JSON mapping of phrases to scores; other phrases have the ``default``.

    A mapping with the key ``threshold`` may stand in the place of a score.

    Raises:
        GLIPError: the file is missing or no such mapping, or a score is not from ``least`` to 1.
    """
    try:
        text = regular_file(file).read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        message = f"{file}: no such file of thresholds; check the path"
        raise MissingFile(message, code="missing-file") from None
    except UnicodeDecodeError as error:
        raise GLIPError(
            f"{file}: neither YAML nor JSON ({error})", code="unreadable-yaml"
        ) from error
    parse = parse_json if Path(file).suffix.lower() == ".json" else parse_yaml
    content = parse(text, f"{file}: neither YAML nor JSON")
    if not isinstance(content, dict):
        message = f"{file}: expected phrases with a score each, e.g. 'red ring: 0.4', "
        message += f"found {short_repr(content)}"
        raise GLIPError(message, code="bad-value")
    return Thresholds(default, _scores(content, file, least))


def _scores(content: Mapping[object, object], file: str | Path, least: float) -> dict[str, float]:
    if len(content) > MOST_CLASSES:
        raise GLIPError(
            f"{file}: {len(content)} phrases, expected at most {MOST_CLASSES}", code="bad-value"
        )
    found: dict[str, float] = {}
    for phrase, value in content.items():
        # YAML reads yes, no and null as something else than words; numbers may be names
        if isinstance(phrase, bool) or not isinstance(phrase, str | int | float):
            raise GLIPError(
                f"{file}: {short_repr(phrase)} is no phrase; put it in quotes", code="bad-value"
            )
        name = str(phrase)
        Text().check(name, f"{file}", "a phrase")
        if phrase_key(name) in found:
            raise GLIPError(
                f"{file}: {short_repr(name)} stands there twice; keep one of them", code="bad-value"
            )
        score = value.get("threshold") if isinstance(value, dict) else value
        found[phrase_key(name)] = check_threshold(score, f"{file}: {short_repr(phrase)}:", least)
    return found
