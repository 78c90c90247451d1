"""Which boxes of a phrase are kept: from which score on, and how many."""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from glip_lightning.common.errors import GLIPError, MissingFile
from glip_lightning.common.files import regular_file
from glip_lightning.common.schema import MOST_CLASSES, Text, parse_json, parse_yaml, short_repr

MAX_DETECTIONS = 300
"""Boxes of a photo that are kept where nobody says otherwise; evaluations keep the detector's own number, 100."""

ONE_LABEL_IOU = 0.6
"""Overlap from which boxes of different classes are one object: that from which the official NMS takes boxes of one
class for one."""


class Thresholds(NamedTuple):
    """Least score of every phrase; phrases are the same whatever their capitals and blanks.

    What a caption names is in the picture: of a phrase that has no box from its score on, the best one that no
    other phrase has counts from ``best_from`` on.
    """

    default: float
    phrases: Mapping[str, float] = {}
    best_from: float | None = None

    def of(self, phrase: str) -> float:
        return self.phrases.get(same(phrase), self.default)


def same(phrase: str) -> str:
    return " ".join(phrase.lower().split())


def check_threshold(value: object, where: str, least: float = 0) -> float:
    """Return a score from ``least``, below which none is stored, to 1."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= 1:
        lowest = f"{least} (lower ones are not stored)" if least else "0"
        raise GLIPError(
            f"{where} {short_repr(value)}: expected a score from {lowest} to 1", code="bad-value"
        )
    return float(value)


def read_thresholds(file: str | Path, default: float, least: float = 0) -> Thresholds:
    """Read a YAML or JSON mapping of phrases to scores; the other phrases have the ``default``.

    In the place of a score may stand a mapping with the key ``threshold``.
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
        message = f"{file}: expected phrases with a score each, e.g. 'red ring: 0.4', found {short_repr(content)}"
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
        if same(name) in found:
            raise GLIPError(
                f"{file}: {short_repr(name)} stands there twice; keep one of them", code="bad-value"
            )
        score = value.get("threshold") if isinstance(value, dict) else value
        found[same(name)] = check_threshold(score, f"{file}: {short_repr(phrase)}:", least)
    return found
