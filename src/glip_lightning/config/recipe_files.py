"""The recipes that come with the package, by their names: ``few_shot``, ``sweeps/demo``."""

import re
from collections.abc import Callable, Sequence
from pathlib import Path

PACKAGE = Path(__file__).parent.parent
CONFIG = ("--config", "-c")


def recipes_folder() -> Path:
    """Return the folder of the recipes: in the package, or in the checkout beside ``src``."""
    installed = PACKAGE / "recipes"
    return installed if installed.is_dir() else PACKAGE.parent.parent / "recipes"


def recipe_names() -> list[str]:
    """Return the names of all recipes, those in no folder first."""
    folder = recipes_folder()
    names = [path.relative_to(folder).with_suffix("").as_posix() for path in folder.rglob("*.yaml")]
    return sorted(names, key=lambda name: (name.count("/"), name))


def recipe_file(given: str, beside: Path = Path()) -> Path:
    """Return the file of a recipe, which is given by its name or as a path below ``beside``.

    A file at the path comes before a recipe of that name. Where neither exists, the path is
    returned.
    """
    path = beside / given
    if given not in recipe_names() or (path.exists() and not path.is_dir()):
        return path
    return recipes_folder() / f"{given}.yaml"


def with_recipes(arguments: Sequence[str], change: Callable[[str], str]) -> list[str]:
    """Return ``arguments`` with each value of ``--config`` (``-c``) changed."""
    changed: list[str] = []
    is_value = False
    for word in arguments:
        option, equals, value = word.partition("=")
        if is_value:
            changed.append(change(word))
            is_value = False
        elif equals and option in CONFIG:
            changed.append(f"{option}={change(value)}")
        else:
            changed.append(word)
            is_value = word in CONFIG
    return changed


def given_recipes(arguments: Sequence[str]) -> list[str]:
    """Return the values of ``--config`` (``-c``) in ``arguments``."""
    found: list[str] = []

    def note(file: str) -> str:
        if file:
            found.append(file)
        return file

    with_recipes(arguments, note)
    return found


def purpose_of(recipe: Path) -> str:
    """Return the first sentence of a recipe's header, which may go over several lines."""
    words: list[str] = []
    for line in recipe.read_text(encoding="utf-8").splitlines():
        text = line.removeprefix("#").strip()
        if not line.startswith("#") or not text:
            break
        words.append(text)
    return re.split(r"(?<=\.)\s", " ".join(words), maxsplit=1)[0]
