"""``glip fit``, ``validate`` and ``test``: verbs of LightningCLI, which reads their arguments."""

from collections.abc import Sequence

import typer

from glip_lightning.app.starting import heavy_imports
from glip_lightning.common.files import refuse_pipes
from glip_lightning.common.signals import blocked
from glip_lightning.config.recipe_files import recipe_file, with_recipes


def fit_command(context: typer.Context) -> int:
    """Train by a recipe, test the best weights, keep the detector (glip fit --help)."""
    return _run(["fit", *context.args])


def validate_command(context: typer.Context) -> int:
    """Evaluate a detector or a recipe on valid data: glip validate RUN (glip validate --help)."""
    return _run(["validate", *context.args])


def test_command(context: typer.Context) -> int:
    """Evaluate a detector or a recipe on the test split: glip test RUN (glip test --help)."""
    return _run(["test", *context.args])


def _run(arguments: Sequence[str]) -> int:
    from glip_lightning.config.early_checks import asks_to_print, check_training
    from glip_lightning.config.tested_detector import with_detector
    from glip_lightning.config.usage_errors import check_recipes

    arguments = with_detector(arguments)
    arguments = with_recipes(arguments, lambda given: str(recipe_file(given)))
    check_recipes(arguments)
    refuse_pipes(arguments[1:])
    check_training(arguments)
    imports = blocked() if asks_to_print(arguments) else heavy_imports(arguments[0])
    with imports:
        from glip_lightning.config.recipe import run

    run(arguments)
    return 0
