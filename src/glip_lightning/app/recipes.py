"""``glip recipes``: list the recipes, print one, or write a copy of it to change."""

import sys
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated

import typer

from glip_lightning.common.errors import GLIPError
from glip_lightning.common.files import write_text
from glip_lightning.config.recipe_files import purpose_of, recipe_names, recipes_folder
from glip_lightning.config.wrong_usage import WrongUsage


def recipes(
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="Print this recipe.")] = None,
    copy: Annotated[
        str | None, typer.Option(metavar="FILE", help="Write it to a new file, to change it.")
    ] = None,
) -> int:
    """List the recipes that glip fit --config and glip sweep know by name."""
    if name is None:
        if copy is not None:
            raise WrongUsage(
                f"--copy {copy}: say which recipe, as in glip recipes few_shot --copy {copy}",
                code="missing-value",
            )
        _print_list()
        return 0
    text = _recipe_of_name(name).read_text(encoding="utf-8")
    if copy is None:
        sys.stdout.write(text)
        return 0
    target = Path(copy)
    if target.exists():
        raise GLIPError(f"--copy {target}: exists already; choose another name", code="file-exists")
    write_text(target, text)
    print(target)
    return 0


def _print_list() -> None:
    names = recipe_names()
    width = max(len(name) for name in names)
    for name in names:
        print(f"{name:{width}}  {purpose_of(recipes_folder() / f'{name}.yaml')}")


def _recipe_of_name(name: str) -> Path:
    """Return the file of a recipe.

    Raises:
        GLIPError: no recipe is called so; the message lists names like it.
    """
    names = recipe_names()
    if name not in names:
        last_part = {known.rsplit("/", 1)[-1]: known for known in names}  # demo: sweeps/demo
        close = get_close_matches(name, names, n=3)
        close += [last_part[part] for part in get_close_matches(name, last_part)]
        hint = "glip recipes lists them"
        if close:
            hint = f"did you mean {' or '.join(dict.fromkeys(close))}?"
        raise GLIPError(f"no recipe is called {name!r}; {hint}", code="unknown-recipe")
    return recipes_folder() / f"{name}.yaml"
