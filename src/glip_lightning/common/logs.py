"""How the log of the package reaches a terminal or a file."""

import logging

from typing_extensions import override

from glip_lightning.common.escaping import printable_lines


class _PrintableFormatter(logging.Formatter):
    """A format that escapes control characters; a traceback keeps its lines."""

    @override
    def format(self, record: logging.LogRecord) -> str:
        return printable_lines(super().format(record))


def show_log() -> None:
    """Write the log of this package to stderr; the loggers of other packages stay as they are."""
    handler = logging.StreamHandler()
    handler.setFormatter(_PrintableFormatter("glip: %(message)s"))
    log = logging.getLogger("glip_lightning")
    log.handlers = [handler]
    log.setLevel(logging.INFO)
    # Without a root handler of our own, the first warning of another package would install one
    # that repeats our messages in its own format.
    others = logging.StreamHandler()
    others.addFilter(_has_no_handler)
    logging.basicConfig(level=logging.WARNING, handlers=[others], format="%(name)s: %(message)s")


def _has_no_handler(record: logging.LogRecord) -> bool:
    """Return whether the package that logged ``record`` has no handler of its own."""
    package = record.name.split(".")[0]
    return not logging.getLogger(package).handlers
