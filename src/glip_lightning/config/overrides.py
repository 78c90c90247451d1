"""Options of a command line as overrides of a recipe, for programs that do not take words."""

from collections.abc import Sequence
from typing import Any

from glip_lightning.config.wrong_usage import no_option, no_value

Overrides = Sequence[tuple[str, Any]]
"""Dotted keys of a recipe with the values that they get, one after the other.

A value is a text, as on a command line, or what the text stands for. A key that ends with ``+``
adds to a list.
"""


def overrides_of(words: Sequence[str]) -> list[tuple[str, Any]]:
    """Return the options of a command line as overrides.

    Raises:
        WrongUsage: a word is no option (code ``unknown-option``), or an option has no value
            (``missing-value``).
    """
    found: list[tuple[str, Any]] = []
    rest = iter(words)
    for word in rest:
        option, equals, value = word.partition("=")
        option = "--config" if option == "-c" else option
        if not option.startswith("--"):
            raise no_option(word)
        if not equals:
            value = next(rest, "--")
            if value.startswith("--"):
                raise no_value(option)
        found.append((option.removeprefix("--"), value))
    return found
