"""Texts of others, made safe to be shown: in a terminal, on a page, on a picture."""

import re

UNSEEN = re.compile(
    "["
    "\x00-\x1f\x7f-\x9f"  # C0, DEL and C1: they move the cursor, change colours or ring the bell
    "\u2028\u2029"  # ends of lines and paragraphs
    "\u202a-\u202e\u2066-\u2069"  # bidirectional embeddings, overrides and isolates: they reorder what follows
    "\ud800-\udfff"  # lone surrogates, which no encoding can write
    "\ufffe\uffff"  # no characters, which no SVG may hold
    "]"
)


def printable(text: str) -> str:
    r"""Return a name of a class, a file or a run in one line, control characters escaped as in Python (``\x1b``)."""
    return UNSEEN.sub(_escaped, text)


def printable_lines(text: str) -> str:
    """Return a message of ours with its lines as they are, and all other control characters escaped."""
    return "\n".join(map(printable, text.split("\n")))


def is_text(text: str) -> bool:
    """Return whether UTF-8 can hold ``text``; half a character (a lone surrogate), which JSON can hold, it cannot."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def json_text(text: str) -> str:
    """Return a JSON text that UTF-8 can hold: the lone surrogates of file names become JSON's own escapes."""
    return re.sub("[\ud800-\udfff]", _escaped, text)


def _escaped(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape").decode("ascii")
