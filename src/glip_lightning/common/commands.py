"""Commands as a user would type them."""

from dataclasses import fields
from typing import Any


def option_words(options: Any) -> list[str]:
    """Return the fields of a dataclass as options of a command, without those at their default."""
    words: list[str] = []
    for option in fields(options):
        value = getattr(options, option.name)
        if value == option.default:
            continue
        words.append(f"--{option.name.replace('_', '-')}")
        if value is not True:
            words.append(str(value))
    return words
