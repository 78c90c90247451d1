"""What is wrong with a data set, collected while it is read: all faults are told at once."""

import logging
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from glip_lightning.common.errors import GLIPError
from glip_lightning.common.escaping import printable, printable_lines
from glip_lightning.data.checks.problems import PROBLEMS, Level
from glip_lightning.data.images import unread_pictures

T = TypeVar("T")
LISTED = 5  # ids and names that one message spells out
LOG_LEVELS = {"warning": logging.WARNING, "info": logging.INFO}
LONGEST_VALUE = 60  # characters of a value that a message shows


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is wrong with a data set, or good to know about it."""

    level: Level
    code: str  # stable, e.g. "missing-image"; :mod:`.problems` lists them
    message: str  # names the values and says what to do
    where: str  # file or folder
    count: int = 1  # images, boxes or classes that it is about

    @property
    def text(self) -> str:
        """Return place and message, safe to print."""
        return f"{printable(self.where)}: {printable_lines(self.message)}"

    def __str__(self) -> str:
        return self.text


class DataError(GLIPError):
    """A data set that cannot be used as it is; the message holds every finding of level "error"."""


def data_error(key: str, where: object, count: int = 1, /, **values: object) -> DataError:
    """Return the error about a problem of the table that leaves nothing to go on with.

    The arguments are those of :meth:`Findings.add`.
    """
    return _error_of([_finding(key, where, count, values)])


def _finding(key: str, where: object, count: int, values: Mapping[str, object]) -> Finding:
    problem = PROBLEMS[key]
    message = problem.message(count=count, **values)
    return Finding(problem.level, key.split("/")[0], message, str(where), count)


def _error_of(findings: Sequence[Finding]) -> DataError:
    return DataError("\n  ".join(map(str, findings)), code=findings[0].code)


class Findings(list[Finding]):
    """Findings in the order in which they were met."""

    def add(self, key: str, where: object, count: int = 1, /, **values: object) -> None:
        """Add a problem of the table.

        Args:
            key: of the row in :data:`.problems.PROBLEMS`.
            where: the file or folder that it is about.
            count: the number of images, boxes or classes that it is about.
            values: take the places of the row's braces; ``count`` is one of them.
        """
        self.append(_finding(key, where, count, values))

    def attempt(self, where: object, read: Callable[[], T]) -> T | None:
        """Return what ``read`` returns; add a GLIPError that it raises as a finding of ``where``.

        Returns:
            The result, None after an error.
        """
        try:
            return read()
        except GLIPError as error:
            message = str(error)
            for place in (str(where), printable(str(where))):
                message = message.removeprefix(f"{place}: ")
            self.append(Finding("error", error.code, message, str(where)))
            return None

    @property
    def errors(self) -> list[Finding]:
        """The findings that stop a training."""
        return [finding for finding in self if finding.level == "error"]

    def counts(self, *codes: str) -> int:
        """Return the sum of the counts of the findings with one of ``codes``."""
        return sum(finding.count for finding in self if finding.code in codes)

    def raise_errors(self) -> None:
        """Raise :class:`DataError` with the code of the first error, if there is one."""
        if self.errors:
            raise _error_of(self.errors)

    def log_to(self, log: logging.Logger) -> None:
        """Log warnings and notes; errors are for :meth:`raise_errors`."""
        for finding in self:
            if finding.level in LOG_LEVELS:
                log.log(LOG_LEVELS[finding.level], "%s", finding)


class Faults(defaultdict[str, list[object]]):
    """What a reader meets on its way through the data, by the keys of the problems."""

    def __init__(self, *first: str) -> None:
        """Begin with nothing.

        Args:
            first: keys that are reported before others, in this order; the others are reported in
                the order in which they were met.
        """
        super().__init__(list, {key: [] for key in first})

    def report(
        self,
        where: object,
        findings: Findings,
        values: Mapping[str, Mapping[str, object]] | None = None,
    ) -> None:
        """Add a finding for each problem that was met.

        Args:
            where: the file or folder that the findings name.
            findings: where they are added.
            values: key of a problem -> what else its text says; ``items`` and ``folder`` (which is
                ``where``) are given.
        """
        for key, items in self.items():
            if items:
                told = {"items": listing(items), "folder": where}
                told |= (values or {}).get(key, {})
                findings.add(key, where, len(items), **told)


def listing(items: Iterable[object], separator: str = ", ") -> str:
    """Return items with separators, the first five by name and the others as a count."""
    items = list(items)
    text = separator.join(printable(str(item)) for item in items[:LISTED])
    if len(items) > LISTED:
        text += f" and {len(items) - LISTED} more"
    return text


def frames_note(framed: Sequence[Path]) -> str | None:
    """Return a message about images that have several frames; None where there are none."""
    if not framed:
        return None
    return PROBLEMS["several-frames"].message(count=len(framed), items=listing(framed))


def unread_note(folder: Path) -> str | None:
    """Return a message about images below a folder in formats that are not read.

    Returns:
        The message, None where there are no such images.
    """
    unread = unread_pictures(folder)
    if not unread:
        return None
    items = listing(path.relative_to(folder) for path in unread)
    message = PROBLEMS["unread-picture"].message(count=len(unread), items=items)
    return f"{printable(str(folder))}: {message}"


def short(value: object) -> str:
    """Return the ``repr`` of a value, cut to 60 characters, as messages show it."""
    text = repr(value)
    if len(text) <= LONGEST_VALUE:
        return text
    return f"{text[: LONGEST_VALUE - 3]}..."
