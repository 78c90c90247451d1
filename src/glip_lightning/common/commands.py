"""Commands as a user would type them."""

from dataclasses import fields
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


def option_words(options: "DataclassInstance") -> list[str]:
    """Return options as words of a command line, without those that have their default."""
    words: list[str] = []
    for option in fields(options):
        value = getattr(options, option.name)
        if value == option.default:
            continue
        words.append(f"--{option.name.replace('_', '-')}")
        if value is not True:
            words.append(str(value))
    return words
