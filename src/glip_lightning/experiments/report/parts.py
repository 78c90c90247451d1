"""The parts of a report. Both templates, of the page and of the Markdown, show the same parts.

A table is one data frame of cells, written by the loop over tables that each template has.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import pandas as pd


@dataclass(frozen=True)
class Cell:
    """A cell of a table."""

    text: str
    below: tuple[str, ...] = ()
    """Further lines; they are part of what the cell says."""
    kind: str = ""
    """Classes of the style sheet."""
    title: str = ""
    """Explanation that appears on the page when the pointer rests on the cell."""
    line: int | None = None
    """Place of the line of the report whose colour the cell shows."""

    def __str__(self) -> str:
        """Return all that the cell says in one line."""
        return " ".join(part for part in (self.text, *self.below) if part)


def _cell(content: Cell | str) -> Cell:
    return content if isinstance(content, Cell) else Cell(content)


@dataclass(frozen=True)
class ReportText:
    """A paragraph; a note explains what stands beside it."""

    kind: ClassVar = "text"
    content: str
    note: bool = False


@dataclass(frozen=True)
class PageNote:
    """An explanation of what the page alone shows: charts, colours, what a click opens."""

    kind: ClassVar = "page_note"
    content: str


@dataclass(frozen=True)
class Heading:
    """The title of what follows in a section."""

    kind: ClassVar = "heading"
    content: str


@dataclass(frozen=True)
class Code:
    """Commands, one per line."""

    kind: ClassVar = "code"
    lines: list[str]


@dataclass(frozen=True)
class Tiles:
    """Large numbers by their names; the one called ``bad`` is red."""

    kind: ClassVar = "tiles"
    numbers: dict[str, str]
    bad: str = ""


@dataclass(frozen=True)
class ReportTable:
    """A data frame of :class:`Cell`. The first ``names`` cells of a row name it."""

    kind: ClassVar = "table"
    label: str
    frame: pd.DataFrame
    names: int = 1
    folded: bool = False
    """Opened by a click on the page; left out in Markdown, since a CSV file has its rows."""

    @classmethod
    def of(
        cls, label: str, head: Sequence[str], rows: Sequence[Sequence[Cell | str]], **more: Any
    ) -> "ReportTable":
        """Return the table of rows whose texts become cells."""
        cells = [[_cell(each) for each in row] for row in rows]
        return cls(label, pd.DataFrame(cells, columns=list(head), dtype=object), **more)

    @property
    def head(self) -> list[tuple[str, bool]]:
        """The name of each column, and whether it is aligned to the left."""
        columns = [str(name) for name in self.frame.columns]
        first = self.frame.iloc[0] if len(self.frame) else [Cell("")] * len(columns)
        head = []
        for place, (name, cell) in enumerate(zip(columns, first, strict=True)):
            is_left = bool({"left", "wrap"} & {*cell.kind.split()})
            head.append((name, place < self.names or is_left))
        return head

    @property
    def rows(self) -> list[tuple[Cell, ...]]:
        """The rows as tuples."""
        return list(self.frame.itertuples(index=False, name=None))


@dataclass(frozen=True)
class Legend:
    """The sign and the name of each line, as SVG and text."""

    kind: ClassVar = "legend"
    keys: list[tuple[str, str]]


@dataclass(frozen=True)
class Figure:
    """A chart as SVG with its title; ``narrow`` is the same chart for small screens."""

    title: str
    svg: str
    narrow: str = ""


@dataclass(frozen=True)
class Figures:
    """Charts side by side in a layout of the style sheet."""

    kind: ClassVar = "figures"
    layout: str
    figures: list[Figure]


@dataclass(frozen=True)
class ReportImage:
    """A JPEG in Base64 and a text that says what it shows."""

    data: str
    alt: str


@dataclass(frozen=True)
class TaskImages:
    """The images of a task."""

    title: str
    note: str
    pictures: list[ReportImage]


@dataclass(frozen=True)
class Gallery:
    """The images of all tasks."""

    kind: ClassVar = "gallery"
    blocks: list[TaskImages]


Part = ReportText | PageNote | Heading | Code | Tiles | ReportTable | Legend | Figures | Gallery


@dataclass(frozen=True)
class Section:
    """A section of the report; ``link`` is its name in the list at the top, or empty."""

    anchor: str
    title: str
    link: str
    parts: Sequence[Part]


def _no_files(view: Any) -> Mapping[str, pd.DataFrame]:
    return {}


@dataclass(frozen=True)
class AddedSections:
    """Sections and files that a plugin adds to a report; both may be empty.

    Both are functions of a :class:`.view.ReportView`. Files are CSV files beside the report, by
    their names.
    """

    sections: Callable[[Any], list[Section]]
    files: Callable[[Any], Mapping[str, pd.DataFrame]] = field(default=_no_files)
