"""Tables of what layers offer by name, so that layers below use it without importing it.

A plugin is a function that adds rows. Installed packages name theirs in the entry points ``glip_lightning.plugins``;
plugins are loaded when a name is asked for that its table does not have, or when all names are.
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
    """A row that is imported when somebody asks for it: ``package.module:name``."""

    place: str


class Table(Generic[Row]):
    """Rows by name."""

    def __init__(self, kind: str) -> None:
        """Make an empty table; errors call its rows by ``kind``."""
        self.kind = kind
        self._rows: dict[str, Row | Later] = {}

    def add(self, name: str, row: Row | Later) -> None:
        """Add a row.

        Raises:
            GLIPError: the name is taken.
        """
        if name in self._rows:
            raise GLIPError(
                f"{self.kind} {name!r}: the name is taken; choose another one", code="name-taken"
            )
        self._rows[name] = row

    def names(self) -> list[str]:
        """Return all names in the order in which they were added."""
        load_plugins()
        return list(self._rows)

    def rows(self) -> dict[str, Row]:
        """Return all rows by name, those imported that were left for later."""
        return {name: self._row(name) for name in self.names()}

    def get(self, name: str) -> Row | None:
        """Return the row of a name, None if there is none."""
        if name not in self._rows:
            load_plugins()
        return self._row(name) if name in self._rows else None

    def find(self, name: str) -> Row:
        """Return the row of a name.

        Raises:
            GLIPError: there is none; the message lists names like it.
        """
        row = self.get(name)
        if row is None:
            close = difflib.get_close_matches(name, self._rows, n=3)
            known = ", ".join(close or self._rows) or "none"
            meant = f"did you mean {known}?" if close else f"there are: {known}"
            raise GLIPError(
                f"no {self.kind} is called {name!r}; {meant}",
                code=f"unknown-{self.kind.replace(' ', '-')}",
            )
        return row

    def _row(self, name: str) -> Row:
        row = self._rows[name]
        if isinstance(row, Later):
            row = self._rows[name] = pkgutil.resolve_name(row.place)
        return row  # pyrefly: ignore[bad-return]


@functools.cache
def load_plugins() -> None:
    """Let all installed plugins add their rows, once in a process; one that fails is left out with a warning."""
    for plugin in entry_points(group=GROUP):
        try:
            plugin.load()()
        except Exception as error:  # whatever is wrong in it, the rest works
            log.warning("plugin %s (%s) is left out: %s", plugin.name, plugin.value, error)


tasks: Table = Table("benchmark")
"""``TaskSet`` by the name of a benchmark (``shapes13``)."""

detector_weights: Table[Path] = Table("detector")
"""Exchange folders by the names of detectors whose weights a plugin brings."""

detector_limits: Table[str] = Table("detector")
"""What such a detector does not know, as the end of a sentence that begins with its name."""

data_modules: Table[type] = Table("data module")
"""Classes of data that a recipe may name without their path."""

callbacks: Table[type] = Table("callback")
"""Classes of callbacks that a recipe may name without their path."""

report_sections: Table = Table("section of the report")
"""``AddedSections`` of a plugin by their name."""
