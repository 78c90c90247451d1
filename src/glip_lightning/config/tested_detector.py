"""``glip test RUN`` (and ``validate``): the detector that a run, a folder or a name is, in the words of a recipe."""

from collections.abc import Sequence
from pathlib import Path

from glip_lightning.common.errors import GLIPError
from glip_lightning.config.recipe_files import given_recipes
from glip_lightning.config.wrong_usage import WrongUsage
from glip_lightning.weights.detector_files import check_detector
from glip_lightning.weights.run_files import (
    BEST,
    CHECKPOINTS,
    PROMPT_NAME,
    RECIPE_NAME,
    RESULT_NAME,
    RUN_ADAPTER,
    RUN_DETECTOR,
)


def with_detector(arguments: Sequence[str]) -> list[str]:
    """Return the arguments of ``test`` or ``validate`` with options in the place of the detector that comes first.

    The recipe is the one that the run was started with, unless ``--config`` names another one, of which the data and
    the trainer count, but not the model.

    Raises:
        GLIPError: there is no such detector, or a run has learned nothing yet.
        WrongUsage: the detector has no recipe, and none is given.
    """
    verb, *rest = arguments
    if verb not in ("test", "validate") or not rest or rest[0].startswith("-"):
        return list(arguments)
    detector, *options = rest
    recipe = Path(detector) / RECIPE_NAME
    check_detector(detector)
    if recipe.is_file():
        _check_learned(Path(detector))
    if not given_recipes(options):
        if not recipe.is_file():
            raise WrongUsage(
                f"{verb} {detector}: has no recipe.yaml; say with --config RECIPE what to test it on"
            )
        return [
            verb,
            "--config",
            str(recipe),
            *options,
        ]  # a finished run's own recipe means what it has learned
    prompt = Path(detector) / PROMPT_NAME
    if prompt.is_file():
        tuning = ["--model.tuning=SavedPrompt", f"--model.tuning.file={prompt}"]
    else:
        tuning = ["--model.tuning=null"]
    if prompt.is_file() and not (Path(detector) / RUN_DETECTOR).is_dir():
        return [verb, *options, *tuning]  # the detector is that of the recipe
    return [verb, *options, f"--model.detector={detector}", "--model.weights=pretrained", *tuning]


def _check_learned(run: Path) -> None:
    """Raise GLIPError for a run that is not finished: its recipe means the detector that it started with."""
    learned = (
        RUN_DETECTOR,
        RUN_ADAPTER,
        PROMPT_NAME,
        RESULT_NAME,
    )  # a run of 0 shots learns nothing
    if not any((run / name).exists() for name in learned):
        message = f"{run}: this run is not finished and has no detector yet; go on with glip fit --resume {run}, or "
        message += (
            f"test what it has: --config {run / RECIPE_NAME} --ckpt_path {run / CHECKPOINTS / BEST}"
        )
        raise GLIPError(message, code="unfinished-run")
