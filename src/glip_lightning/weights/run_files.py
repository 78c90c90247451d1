"""The files in a run's folder, and what they say of it; known without torch."""

from pathlib import Path

from glip_lightning.common.errors import GLIPError

RESULT_NAME, RECIPE_NAME = "result.json", "recipe.yaml"
CHECKPOINTS = "checkpoints"
BEST, LAST = "best.ckpt", "last.ckpt"


def check_unfinished(folder: Path) -> None:
    """Raise GLIPError if ``folder`` holds a finished run."""
    if (folder / RESULT_NAME).exists():
        raise GLIPError(
            f"--run {folder}: holds a finished run; choose another folder or remove it", code="finished-run"
        )


def is_of_run(checkpoint: str | Path, folder: str | Path) -> bool:
    """Return whether a checkpoint lies in the folder of a run, which then goes on."""
    return Path(checkpoint).resolve().is_relative_to(Path(folder).resolve())
