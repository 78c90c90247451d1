"""What is wrong with a data set: collected while it is read, so that one look names every fault."""

import logging
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

from glip_lightning.common.errors import GLIPError
from glip_lightning.common.escaping import printable, printable_lines
from glip_lightning.data.checks.problems import PROBLEMS, Level
from glip_lightning.data.images import unread_pictures

T = TypeVar("T")
LISTED = 5  # ids and names that one message spells out


class Finding(NamedTuple):
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

    def __init__(self, message: str, *, code: str = "unreadable-data") -> None:
        super().__init__(message, code=code)


def data_error(key: str, where: object, /, **values: object) -> DataError:
    """Return the error about a problem of the table that leaves nothing to go on with."""
    return DataError(f"{where}: {PROBLEMS[key].message(**values)}", code=key.split("/")[0])


class Findings(list[Finding]):
    """Findings in the order in which they were met."""

    def add(self, key: str, where: object, count: int = 1, /, **values: object) -> None:
        """Add a problem of the table; ``values`` take the places of its braces."""
        problem = PROBLEMS[key]
        message = problem.message(count=count, **values)
        self.append(Finding(problem.level, key.split("/")[0], message, str(where), count))

    def attempt(self, where: object, read: Callable[[], T]) -> T | None:
        """Return what ``read`` does; an error of ours becomes one finding of ``where``, and None."""
        try:
            return read()
        except GLIPError as error:
            self.append(
                Finding("error", error.code, str(error).removeprefix(f"{where}: "), str(where))
            )
            return None

    @property
    def errors(self) -> list[Finding]:
        return [finding for finding in self if finding.level == "error"]

    def counts(self, *codes: str) -> int:
        """Sum of the counts of the findings with one of ``codes``."""
        return sum(finding.count for finding in self if finding.code in codes)

    def raise_errors(self) -> None:
        """Raise :class:`DataError` if there is an error among them."""
        if self.errors:
            raise DataError("\n  ".join(map(str, self.errors)), code=self.errors[0].code)

    def log_to(self, log: logging.Logger) -> None:
        """Warnings as warnings, notes as information; errors are for :meth:`raise_errors`."""
        for finding in self:
            if finding.level != "error":
                log.log(
                    logging.WARNING if finding.level == "warning" else logging.INFO, "%s", finding
                )


def listing(items: Iterable[object], separator: str = ", ") -> str:
    """Return items with separators, the first five by name and the others as a count."""
    named = [printable(str(item)) for item in items]
    more = f" and {len(named) - LISTED} more" if len(named) > LISTED else ""
    return separator.join(named[:LISTED]) + more


def frames_note(framed: Sequence[Path]) -> str | None:
    """Return the note about pictures with several frames, None if there are none."""
    message = PROBLEMS["several-frames"].message(count=len(framed), items=listing(map(str, framed)))
    return message if framed else None


def unread_note(folder: Path) -> str | None:
    """Return what to say of the pictures below a folder whose formats are not read, None if there are none."""
    unread = unread_pictures(folder)
    items = listing(path.relative_to(folder) for path in unread)
    message = PROBLEMS["unread-picture"].message(count=len(unread), items=items)
    return f"{printable(str(folder))}: {message}" if unread else None


def short(value: object) -> str:
    """A value as a message shows it."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
