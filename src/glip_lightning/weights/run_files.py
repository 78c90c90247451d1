"""What a run's folder says about itself, read without torch: its result, or its recipe while it is unfinished."""

from pathlib import Path
from typing import Any

from glip_lightning.common.schema import read_json

RESULT_NAME, RECIPE_NAME = "result.json", "recipe.yaml"
CHECKPOINTS = "checkpoints"
BEST, LAST = "best.ckpt", "last.ckpt"


def read_result(folder: Path) -> dict[str, Any]:
    """Return ``result.json`` of a finished run; nothing of any other folder, also where it is not readable as such."""
    path = folder / RESULT_NAME
    content = read_json(path, f"{path}: not the result of a run") if path.is_file() else {}
    return content if isinstance(content, dict) else {}


def category_ids(folder: Path, names: list[str]) -> list[int]:
    """Return the ids that the data of a finished run have for its classes; 1, 2, ... where it says nothing of them.

    ``names`` are those of the classes that are looked for: other ones than the run's are numbered anew.
    """
    result = read_result(folder)
    phrases, ids = result.get("phrases"), result.get("category_ids")
    counted = list(range(1, len(names) + 1))
    if not isinstance(phrases, list) or not isinstance(ids, list) or len(ids) != len(phrases):
        return counted
    own = [phrase.get("name") if isinstance(phrase, dict) else None for phrase in phrases]
    usable = all(type(number) is int for number in ids) and len(set(ids)) == len(ids)
    return ids if own == names and usable else counted
