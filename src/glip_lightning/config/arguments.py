"""Words of a command line that stand for others, replaced before jsonargparse reads them."""

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
"""Keys of classes: another class begins with its own defaults.

jsonargparse would keep the arguments of the class in the recipe (a learning rate!) where the new
class has arguments of the same names.
"""


def meant_by(arguments: Sequence[str]) -> list[str]:
    """Return the arguments of ``fit``, ``validate`` or ``test`` as jsonargparse takes them."""
    return fresh(finished(resumed(arguments)))


def fresh(arguments: Sequence[str]) -> list[str]:
    """Return ``arguments`` in which another tuning or schedule begins with its own defaults.

    Raises:
        WrongUsage: an option of the class comes before the class (code ``order-of-options``).
    """
    kept: list[str] = []
    for argument in arguments:
        name = argument.split("=")[0]
        if name.removeprefix("--") in OWN_DEFAULTS:
            early = [word for word in kept if word.startswith(f"{name}.")]
            if early:
                option = early[0].split("=")[0]
                raise WrongUsage(
                    f"{name}: give it before {option}, which is an option of it",
                    code="order-of-options",
                )
            kept.append(f"{name}=null")
        kept.append(argument)
    return kept


def finished(arguments: Sequence[str]) -> list[str]:
    """Return the arguments of ``test`` and ``validate`` with the detector of a finished run.

    Its recipe names the detector that the run started with; here it is the one that the run has
    learned. A checkpoint, a detector or a tuning on the command line belongs to the recipe: then
    the arguments stay as they are.
    """
    run = _finished_run(arguments)
    started_with = ("--model.detector", "--model.tuning", "--ckpt_path")
    is_given = any(word.split("=")[0] in started_with for word in arguments)
    if arguments[0] not in ("validate", "test") or run is None or is_given:
        return list(arguments)
    changed = list(arguments)
    if (run / RUN_DETECTOR).is_dir() or (run / RUN_ADAPTER).is_dir():
        log.info("the detector of the finished run %s", run)
        changed += [f"--model.detector={run}", "--model.weights=pretrained"]
    if (run / PROMPT_NAME).is_file():
        log.info("the tuned prompt of the finished run %s", run)
        changed += ["--model.tuning=SavedPrompt", f"--model.tuning.file={run / PROMPT_NAME}"]
    return changed


def _finished_run(arguments: Sequence[str]) -> Path | None:
    """Return the folder of the first run that has learned something and whose recipe is given."""
    for file in given_recipes(arguments):
        run = Path(file).parent
        learned = [run / name for name in (RUN_DETECTOR, RUN_ADAPTER, PROMPT_NAME)]
        if Path(file).name == RECIPE_NAME and any(path.exists() for path in learned):
            return run
    return None


def translated(recipe: str) -> str:
    """Return the path of a recipe, or its text where a run wrote it with former names of classes.

    In the text, classes have their present names.
    """
    if not of_a_run(Path(recipe)):
        return recipe
    content = yaml.safe_load(Path(recipe).read_text(encoding="utf-8"))
    present = with_public_names(content)
    return recipe if present == content else yaml.safe_dump(present)
