"""The error for a command line or a recipe that cannot be meant, and what was meant instead."""

from collections.abc import Sequence
from difflib import get_close_matches

from glip_lightning.common.errors import GLIPError


class WrongUsage(GLIPError):
    """A command line, recipe or sweep file that cannot be meant; the message says all."""

    def __init__(self, message: str, *, code: str = "wrong-usage") -> None:
        """Make an error that says ``message``, with the code of its kind."""
        super().__init__(message, code=code)


def meant(name: str, known: Sequence[str]) -> str:
    """Return the end of a message that names what is close to ``name``; nothing if nothing is."""
    lower = {option.lower(): option for option in known}
    return suggest(
        [lower[match] for match in get_close_matches(name.lower(), lower, n=2, cutoff=0.7)]
    )


def suggest(close: Sequence[str], dash: str = "") -> str:
    """Return ``; did you mean --lr or --lora?`` with ``dash`` before each, nothing if nothing is close."""
    return f"; did you mean {' or '.join(dash + match for match in close)}?" if close else ""
