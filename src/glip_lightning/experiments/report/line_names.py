"""How the report names a row: the tuning of a line, and the settings in which lines differ."""

from collections.abc import Sequence
from dataclasses import dataclass

from glip_lightning.experiments.report.runs import (
    MEASURED,
    NO_VALUE,
    PRETTY,
    Line,
    setting_names,
)


@dataclass(frozen=True, slots=True)
class LineNames:
    """The names of lines, and the settings that these names need not repeat."""

    names: dict[Line, str]
    """The tuning of a line, and its settings in which lines that are called alike differ."""
    shared: dict[str, list[str]]
    """Settings of all lines whose names begin alike, by this beginning; empty: of all lines."""


def name_lines(lines: Sequence[Line]) -> LineNames:
    """Return short names of lines that are told apart by them.

    A name has the settings of :data:`MEASURED` in which any lines differ: without them numbers must
    not be compared. It has further settings only where lines differ that are called alike without.
    """
    varied = _varied(lines)
    alike: dict[str, list[Line]] = {}
    for line in lines:
        start = [PRETTY.get(line.tuning, line.tuning)]
        for key in varied:
            value = line.get(key)
            if key in MEASURED and value is not None:
                start.append(value)
        alike.setdefault(", ".join(start), []).append(line)
    found: dict[Line, str] = {}
    shared = {"": _texts(lines[0], [key for key in setting_names(lines) if key not in varied])}
    for start, group in alike.items():
        own = _varied(group)
        for line in group:
            found[line] = ", ".join([start, *_texts(line, own)])
        shared[start] = _texts(group[0], [key for key in varied if key not in (*own, *MEASURED)])
    return LineNames({line: found[line] for line in lines}, shared)


def _varied(lines: Sequence[Line]) -> list[str]:
    """Return the settings in which the lines differ."""
    varied = []
    for key in setting_names(lines):
        values = {line.get(key) for line in lines}
        if len(values) > 1:
            varied.append(key)
    return varied


def _texts(line: Line, keys: Sequence[str]) -> list[str]:
    """Return settings of a line like ``lr 0.001``, without those that it does not have."""
    found = []
    for key in keys:
        value = line.get(key)
        if value is not None and value != NO_VALUE:
            found.append(f"{key.removeprefix('init_args.').split('.')[-1]} {value}")
    return found
