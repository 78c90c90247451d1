"""Tables of what higher layers offer by name, so that lower layers can use it without an import.

A plugin is a function that adds rows. Installed packages declare their plugins as entry points in
the group ``glip_lightning.plugins``. Plugins are loaded when somebody asks a table for all names,
or for a name that it does not have.
"""

import difflib
import functools
import logging
import pkgutil
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from typing import Generic, TypeVar

from glip_lightning.common.errors import GLIPError

log = logging.getLogger(__name__)

GROUP = "glip_lightning.plugins"

Row = TypeVar("Row")


@dataclass(frozen=True)
class Later:
    """A row that is imported when somebody asks for it; ``place`` is ``package.module:name``."""

    place: str


class Table(Generic[Row]):
    """Rows by name."""

    def __init__(self, kind: str) -> None:
        """Make an empty table; its errors call a row a ``kind``."""
        self.kind = kind
        self._rows: dict[str, Row | Later] = {}

    def add(self, name: str, row: Row | Later) -> None:
        """Add a row.

        Raises:
            GLIPError: the name is taken (code ``name-taken``).
        """
        if name in self._rows:
            message = f"{self.kind} {name!r}: the name is taken; choose another one"
            raise GLIPError(message, code="name-taken")
        self._rows[name] = row

    def names(self) -> list[str]:
        """Return all names in the order in which they were added."""
        load_plugins()
        return list(self._rows)

    def rows(self) -> dict[str, Row]:
        """Return all rows by name; those that wait for their import are imported."""
        return {name: self._row(name) for name in self.names()}

    def get(self, name: str) -> Row | None:
        """Return the row of a name, None if there is none."""
        if name not in self._rows:
            load_plugins()
        if name not in self._rows:
            return None
        return self._row(name)

    def find(self, name: str) -> Row:
        """Return the row of a name.

        Raises:
            GLIPError: there is none (code ``unknown-KIND``); the message lists similar names.
        """
        row = self.get(name)
        if row is None:
            similar = difflib.get_close_matches(name, self._rows, n=3)
            hint = f"there are: {', '.join(self._rows) or 'none'}"
            if similar:
                hint = f"did you mean {', '.join(similar)}?"
            code = f"unknown-{self.kind.replace(' ', '-')}"
            raise GLIPError(f"no {self.kind} is called {name!r}; {hint}", code=code)
        return row

    def _row(self, name: str) -> Row:
        row = self._rows[name]
        if isinstance(row, Later):
            row = pkgutil.resolve_name(row.place)
            self._rows[name] = row
        return row  # pyrefly: ignore[bad-return]


@functools.cache
def load_plugins() -> None:
    """Let all installed plugins add their rows, once per process; a failure is only a warning."""
    for plugin in entry_points(group=GROUP):
        try:
            plugin.load()()
        except Exception as error:  # a broken plugin must not stop the rest
            log.warning("plugin %s (%s) is left out: %s", plugin.name, plugin.value, error)


tasks: Table = Table("benchmark")
"""``TaskSet`` by the name of a benchmark (``shapes13``)."""

detector_weights: Table[Path] = Table("detector")
"""Exchange folder by the name of a detector whose weights a plugin brings."""

detector_limits: Table[str] = Table("detector")
"""What such a detector does not know: the end of a sentence that begins with its name."""

data_modules: Table[type] = Table("data module")
"""Data module classes that a recipe may name without their path."""

callbacks: Table[type] = Table("callback")
"""Callback classes that a recipe may name without their path."""

report_sections: Table = Table("section of the report")
"""``AddedSections`` of the report by the name that a plugin gives them."""
