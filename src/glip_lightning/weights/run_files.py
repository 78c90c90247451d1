"""The files in a run's folder, and what they say of it; known without torch."""

from pathlib import Path

from glip_lightning.common.errors import GLIPError

RESULT_NAME, RECIPE_NAME = "result.json", "recipe.yaml"
CHECKPOINTS = "checkpoints"
BEST, LAST = "best.ckpt", "last.ckpt"
UNFINISHED_NAME = "unfinished.json"
"""In the folder of a run until it is finished: the name of its data, and why it ended where it says so."""


def check_unfinished(folder: Path) -> None:
    """Raise GLIPError if ``folder`` holds a finished run."""
    if (folder / RESULT_NAME).exists():
        raise GLIPError(
            f"--run {folder}: holds a finished run; choose another folder or remove it", code="finished-run"
        )


def goes_on(verb: str, folder: str | Path | None, checkpoint: str | Path | None) -> bool:
    """Return whether ``verb`` goes on with the run in ``folder``: it trains from a checkpoint of that run."""
    if verb != "fit" or not folder or not checkpoint:
        return False
    return Path(checkpoint).resolve().is_relative_to(Path(folder).resolve())
