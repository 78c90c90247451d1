"""``glip test RUN`` (and ``validate``): a run, a folder or a name as options of a recipe."""

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
    """Return the arguments of ``test`` or ``validate`` with options instead of the detector.

    The detector is the first word after the verb. The recipe is the one that the run was started
    with. If ``--config`` names another recipe, its data and its trainer count, but not its model.

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
                f"{verb} {detector}: has no {RECIPE_NAME}; give the data with --config RECIPE"
            )
        return [verb, "--config", str(recipe), *options]  # of a finished run: what it has learned
    prompt = Path(detector) / PROMPT_NAME
    if prompt.is_file():
        tuning = ["--model.tuning=SavedPrompt", f"--model.tuning.file={prompt}"]
    else:
        tuning = ["--model.tuning=null"]
    if prompt.is_file() and not (Path(detector) / RUN_DETECTOR).is_dir():
        return [verb, *options, *tuning]  # the detector is that of the recipe
    return [verb, *options, f"--model.detector={detector}", "--model.weights=pretrained", *tuning]


def _check_learned(run: Path) -> None:
    """Raise GLIPError (code ``unfinished-run``) for a run that has learned nothing yet.

    Its recipe means the detector that it started with. A run of 0 shots has a result and learns
    nothing.
    """
    learned = [run / name for name in (RUN_DETECTOR, RUN_ADAPTER, PROMPT_NAME, RESULT_NAME)]
    if not any(path.exists() for path in learned):
        message = f"{run}: this run is not finished and has no detector yet; "
        message += f"go on with glip fit --resume {run}, or test what it has: "
        message += f"--config {run / RECIPE_NAME} --ckpt_path {run / CHECKPOINTS / BEST}"
        raise GLIPError(message, code="unfinished-run")
