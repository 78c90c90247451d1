"""The error for a command line or a recipe that cannot be meant, and suggestions for it."""

from collections.abc import Sequence
from difflib import get_close_matches

from glip_lightning.common.errors import GLIPError


class WrongUsage(GLIPError):
    """The error for a command line, recipe or sweep file that cannot be meant."""

    def __init__(self, message: str, *, code: str = "wrong-usage") -> None:
        """Make an error with a message and the code of its kind."""
        super().__init__(message, code=code)


def meant(name: str, known: Sequence[str]) -> str:
    """Return the end of a message with known names like ``name``, or an empty text if none is."""
    lower = {option.lower(): option for option in known}
    close = get_close_matches(name.lower(), lower, n=2, cutoff=0.7)
    return suggest([lower[match] for match in close])


def suggest(close: Sequence[str], dash: str = "") -> str:
    """Return ``; did you mean --lr or --lora?`` with ``dash`` before each name.

    The text is empty if there is no name.
    """
    if not close:
        return ""
    names = " or ".join(f"{dash}{name}" for name in close)
    return f"; did you mean {names}?"
