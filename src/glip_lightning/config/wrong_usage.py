"""The error for a command line or a recipe that cannot be meant, and suggestions for it."""

from collections.abc import Sequence
from difflib import SequenceMatcher, get_close_matches

from glip_lightning.common.errors import GLIPError
from glip_lightning.config.recipe_files import given_recipes


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


def close_keys(key: str, known: Sequence[str]) -> list[str]:
    """Return at most two keys whose last part is like that of ``key``, the most similar first.

    For ``lr`` one of them is ``model.tuning.lr``.
    """
    similarity: dict[str, float] = {}  # of the last parts, plus that of the whole keys: 0 to 2
    for name in known:
        last_parts = SequenceMatcher(None, name.split(".")[-1], key.split(".")[-1]).ratio()
        if last_parts > 0.75 and not name.endswith(".help"):
            similarity[name] = last_parts + SequenceMatcher(None, name, key).ratio()
    if not similarity:
        return []
    least = max(1, max(similarity.values()) - 0.1)
    ranked = sorted(similarity, key=lambda name: similarity[name], reverse=True)
    return [name for name in ranked if similarity[name] > least][:2]


def suggest(close: Sequence[str], dash: str = "") -> str:
    """Return ``; did you mean --lr or --lora?`` with ``dash`` before each name.

    The text is empty if there is no name.
    """
    if not close:
        return ""
    names = " or ".join(f"{dash}{name}" for name in close)
    return f"; did you mean {names}?"


def no_option(word: str) -> WrongUsage:
    """Return the error for a word that is neither an option nor the value of one."""
    message = f"{word}: not understood; every option begins with --, as in --trainer.max_epochs 5"
    return WrongUsage(message, code="unknown-option")


def no_value(option: str, expected: str | None = "one argument") -> WrongUsage:
    """Return the error for an option of the command line that ends without its value."""
    message = f"{option}: a value is missing (expected {expected})"
    return WrongUsage(message, code="missing-value")


def missing_values(
    key: str, owner: str | None, names: Sequence[str], arguments: Sequence[str]
) -> WrongUsage:
    """Return the error for arguments that the class at a key needs and nobody gives."""
    keys = [f"{key}.{name}" for name in names]
    verb, it = ("have", "them") if len(keys) > 1 else ("has", "it")
    by = owner.split(".")[-1] if owner else "it"
    flags = " ".join(f"--{name} VALUE" for name in keys)
    message = f"{' and '.join(keys)} {verb} no value, and {by} needs {it}: give {flags}"
    files = given_recipes(arguments)
    if files:
        message += f", or write it into {files[-1]}"
    return WrongUsage(message, code="missing-value")
