"""How the log of the package reaches a terminal or a file."""

import logging

from glip_lightning.common.escaping import printable_lines


class _Printable(logging.Formatter):
    """Shows control characters in names of others escaped; a traceback keeps its lines."""

    def format(self, record: logging.LogRecord) -> str:
        return printable_lines(super().format(record))


def show_log() -> None:
    """What the package has to say goes to stderr; other packages' loggers stay as they are."""
    handler = logging.StreamHandler()
    handler.setFormatter(_Printable("glip: %(message)s"))
    log = logging.getLogger("glip_lightning")
    log.handlers = [handler]
    log.setLevel(logging.INFO)
    others = (
        logging.StreamHandler()
    )  # else the first warning of another package would repeat ours in its own format
    others.addFilter(lambda record: not logging.getLogger(record.name.split(".")[0]).handlers)
    logging.basicConfig(level=logging.WARNING, handlers=[others], format="%(name)s: %(message)s")
