"""What the words of a command line stand for before jsonargparse reads them."""

import logging
from collections.abc import Sequence
from pathlib import Path

import yaml

from glip_lightning.config.class_paths import of_a_run, with_public_names
from glip_lightning.config.continuing import resumed
from glip_lightning.config.recipe_files import given_recipes
from glip_lightning.config.wrong_usage import WrongUsage
from glip_lightning.weights.run_files import PROMPT_NAME, RECIPE_NAME, RUN_ADAPTER, RUN_DETECTOR

log = logging.getLogger(__name__)

OWN_DEFAULTS = ("model.tuning", "model.schedule")
"""Keys whose value, if it is another class, begins with the defaults of that class. jsonargparse would keep what the
recipe says for the one before (a learning rate!) wherever the names agree."""


def meant_by(arguments: Sequence[str]) -> list[str]:
    """Return the arguments of ``fit``, ``validate`` or ``test`` in which nothing stands for something else."""
    return fresh(finished(resumed(arguments)))


def fresh(arguments: Sequence[str]) -> list[str]:
    """Return ``arguments`` in which another tuning or schedule begins with its own defaults."""
    kept: list[str] = []
    for argument in arguments:
        name = argument.split("=")[0]
        if name.removeprefix("--") in OWN_DEFAULTS:
            if early := next((a for a in kept if a.startswith(f"{name}.")), None):
                raise WrongUsage(
                    f"{name}: give it before {early.split('=')[0]}, which is an option of it",
                    code="order-of-options",
                )
            kept.append(f"{name}=null")
        kept.append(argument)
    return kept


def finished(arguments: Sequence[str]) -> list[str]:
    """``test`` and ``validate`` of a finished run's own recipe mean what it learned, not what it started from."""
    runs = [
        Path(file).parent for file in given_recipes(arguments) if Path(file).name == RECIPE_NAME
    ]
    learned = (RUN_DETECTOR, RUN_ADAPTER, PROMPT_NAME)
    run = next((run for run in runs if any((run / name).exists() for name in learned)), None)
    given = (
        "--model.detector",
        "--model.tuning",
        "--ckpt_path",
    )  # a checkpoint fits what the run started from
    named = any(a.split("=")[0] in given for a in arguments)
    if arguments[0] not in ("validate", "test") or run is None or named:
        return list(arguments)
    changed = list(arguments)
    if (run / RUN_DETECTOR).is_dir() or (run / RUN_ADAPTER).is_dir():
        log.info("the detector of the finished run %s", run)
        changed += [f"--model.detector={run}", "--model.weights=pretrained"]
    if (run / PROMPT_NAME).is_file():
        log.info("the tuned prompt of the finished run %s", run)
        changed += ["--model.tuning=SavedPrompt", f"--model.tuning.file={run / PROMPT_NAME}"]
    return changed


def translated(recipe: str) -> str:
    """Return a recipe as text in which classes have their present names if a run wrote it; else its path as it is."""
    if not of_a_run(Path(recipe)):
        return recipe
    content = yaml.safe_load(Path(recipe).read_text(encoding="utf-8"))
    present = with_public_names(content)
    return recipe if present == content else yaml.safe_dump(present)
