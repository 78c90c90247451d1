"""What a report is made of. The two templates, of the page and of the Markdown, show the same parts.

A table is one data frame of cells, written by the loop over tables that each template has.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import pandas as pd


@dataclass(frozen=True)
class Cell:
    """A cell of a table. The lines of ``below`` are part of what it says; ``title`` explains it on the page."""

    text: str
    below: tuple[str, ...] = ()
    kind: str = ""  # classes of the style sheet
    title: str = ""
    line: int | None = None  # the line of the report whose colour it shows

    def __str__(self) -> str:
        """Return all that it says in one line."""
        return " ".join(part for part in (self.text, *self.below) if part)


@dataclass(frozen=True)
class ReportText:
    """A paragraph; a note explains what stands beside it."""

    kind: ClassVar = "text"
    content: str
    note: bool = False


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
    """Large numbers with their names; ``bad`` are the names of those in red."""

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
    folded: bool = (
        False  # opened by a click on the page; left out in Markdown, since a CSV file has its rows
    )

    @classmethod
    def of(
        cls, label: str, head: Sequence[str], rows: Sequence[Sequence[Cell | str]], **more: Any
    ) -> "ReportTable":
        """Return the table of rows whose texts become cells."""
        cells = [[x if isinstance(x, Cell) else Cell(x) for x in row] for row in rows]
        return cls(label, pd.DataFrame(cells, columns=list(head), dtype=object), **more)

    @property
    def head(self) -> list[tuple[str, bool]]:
        """Each column's name and whether it stands on the left."""
        first = self.frame.iloc[0] if len(self.frame) else [Cell("")] * len(self.frame.columns)
        left = [
            i < self.names or bool({"left", "wrap"} & {*cell.kind.split()})
            for i, cell in enumerate(first)
        ]
        return list(zip(map(str, self.frame.columns), left, strict=True))

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
    """A chart with its title; ``narrow`` is the same for small screens."""

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
    """Base64 of a JPEG and what it shows."""

    data: str
    alt: str


@dataclass(frozen=True)
class TaskImages:
    """The pictures of a task."""

    title: str
    note: str
    pictures: list[ReportImage]


@dataclass(frozen=True)
class Gallery:
    """The pictures of all tasks."""

    kind: ClassVar = "gallery"
    blocks: list[TaskImages]


Part = ReportText | Heading | Code | Tiles | ReportTable | Legend | Figures | Gallery


@dataclass(frozen=True)
class Section:
    """A section of the report; ``link`` is its name in the list at the top, empty where it has none."""

    anchor: str
    title: str
    link: str
    parts: Sequence[Part]


@dataclass(frozen=True)
class AddedSections:
    """What a plugin says about the runs of a report; both are empty where it has nothing to say about them."""

    sections: Callable[[Any], list[Section]]  # of a ReportView
    files: Callable[[Any], Mapping[str, pd.DataFrame]] = field(
        default=lambda view: {}
    )  # CSV, beside the report
