"""The recipes that come with the package: by name (``few_shot``, ``sweeps/demo``), wherever it is installed."""

from collections.abc import Callable, Sequence
from pathlib import Path

PACKAGE = Path(__file__).parent.parent
CONFIG = ("--config", "-c")


def recipes_folder() -> Path:
    """Return the folder of the recipes: in the installed package, or in the checkout of an editable installation."""
    installed = PACKAGE / "recipes"
    return installed if installed.is_dir() else PACKAGE.parent.parent / "recipes"


def recipe_names() -> list[str]:
    """Return the names of all recipes, those in no folder first."""
    folder = recipes_folder()
    names = [path.relative_to(folder).with_suffix("").as_posix() for path in folder.rglob("*.yaml")]
    return sorted(names, key=lambda name: (name.count("/"), name))


def recipe_file(given: str, beside: Path = Path()) -> Path:
    """Return the file that the name of a recipe or a path below ``beside`` means; the path if there is no such recipe.

    What exists at the path wins over a recipe of that name, but for a folder, which is no recipe.
    """
    path = beside / given
    if given not in recipe_names() or (path.exists() and not path.is_dir()):
        return path
    return recipes_folder() / f"{given}.yaml"


def with_recipes(arguments: Sequence[str], change: Callable[[str], str]) -> list[str]:
    """Return ``arguments`` with each value of ``--config`` (``-c``) changed."""
    changed, follows = [], False
    for word in arguments:
        option, equals, value = word.partition("=")
        if follows:
            word = change(word)
        elif equals and option in CONFIG:
            word = f"{option}={change(value)}"
        follows = word in CONFIG and not follows
        changed.append(word)
    return changed


def given_recipes(arguments: Sequence[str]) -> list[str]:
    """Return the values of ``--config`` (``-c``) in ``arguments``."""
    found: list[str] = []
    with_recipes(arguments, lambda file: found.append(file) or file)
    return [file for file in found if file]


def first_line(recipe: Path) -> str:
    """Return the first line of a recipe's header."""
    with recipe.open(encoding="utf-8") as file:
        return file.readline().lstrip("#").strip()
