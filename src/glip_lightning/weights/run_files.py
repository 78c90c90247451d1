"""What a run's folder says about itself, read without torch: its result, or its recipe while it is unfinished."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from glip_lightning.common.schema import parse_yaml, read_json

RESULT_NAME, RECIPE_NAME = "result.json", "recipe.yaml"
CHECKPOINTS = "checkpoints"
BEST, LAST = "best.ckpt", "last.ckpt"


def read_result(folder: Path) -> dict[str, Any]:
    """Return ``result.json`` of a finished run; nothing of any other folder, also where it is not readable as such."""
    path = folder / RESULT_NAME
    content = read_json(path, f"{path}: not the result of a run") if path.is_file() else {}
    return content if isinstance(content, dict) else {}


def started_from(folder: Path) -> str | None:
    """Return the detector that a run, finished or not, began with; None where the folder is that of no run."""
    content: Any = read_result(folder)
    path = folder / RECIPE_NAME
    if not content and path.is_file():
        recipe = parse_yaml(path.read_text(encoding="utf-8", errors="replace"), str(path))
        content = recipe.get("model") if isinstance(recipe, dict) else None
    name = content.get("detector") if isinstance(content, dict) else None
    return name if isinstance(name, str) else None


def category_ids(folder: Path, names: Sequence[str]) -> Sequence[int]:
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
    return ids if own == list(names) and usable else counted
