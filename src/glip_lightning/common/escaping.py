"""Text from other sources, made safe for a terminal, a page or a picture."""

import re

UNSEEN = re.compile(
    "["
    "\x00-\x1f\x7f-\x9f"  # C0, DEL and C1: they move the cursor, change colours or ring the bell
    "\u2028\u2029"  # ends of lines and paragraphs
    "\u202a-\u202e\u2066-\u2069"  # bidirectional controls: they reorder what follows
    "\ud800-\udfff"  # lone surrogates: no encoding can write them
    "\ufffe\uffff"  # not characters: an SVG must not hold them
    "]"
)


def printable(text: str) -> str:
    r"""Return a text on one line, its control characters escaped as in Python (``\x1b``)."""
    return UNSEEN.sub(_escaped, text)


def printable_lines(text: str) -> str:
    """Return a message with its line breaks kept and all other control characters escaped."""
    lines = [printable(line) for line in text.split("\n")]
    return "\n".join(lines)


def is_text(text: str) -> bool:
    """Return whether UTF-8 can hold ``text``.

    It cannot hold half a character (a lone surrogate), although JSON can.
    """
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def json_text(text: str) -> str:
    """Return a JSON text that UTF-8 can hold.

    The lone surrogates of file names become JSON's own escapes.
    """
    return re.sub("[\ud800-\udfff]", _escaped, text)


def _escaped(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape").decode("ascii")
