"""Counts with their nouns, so that no message says "1 boxes"."""

import re


def count_with_noun(count: int, noun: str) -> str:
    """Return ``count`` and ``noun`` in the number that fits: ``1 box``, ``2 boxes``, ``0 entries``.

    ``noun`` is a regular English noun in the singular; words may stand before it (``"open run"``).
    """
    if count == 1:
        return f"1 {noun}"
    if re.search(r"(s|x|z|ch|sh)$", noun):
        return f"{count} {noun}es"
    if re.search(r"[^aeiou]y$", noun):
        return f"{count} {noun[:-1]}ies"
    return f"{count} {noun}s"
