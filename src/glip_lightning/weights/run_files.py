"""The files in the folder of a run, and how to read them; without torch."""

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from glip_lightning.common.errors import GLIPError
from glip_lightning.common.schema import (
    MOST_CLASSES,
    PHRASES,
    AxisValue,
    Items,
    Keys,
    Mapped,
    OrNull,
    Real,
    Text,
    Whole,
    parse_yaml,
    read_json,
)

RUNS = Path("runs")
"""Where new runs and sweeps go, below the working directory."""
RESULT_NAME, RECIPE_NAME = "result.json", "recipe.yaml"
CHECKPOINTS = "checkpoints"
BEST, LAST = "best.ckpt", "last.ckpt"
RUN_DETECTOR = "detector"
"""Exchange folder of the trained detector."""
RUN_ADAPTER = "adapter"
"""Folder with the few tensors that were trained, where the other weights stayed as they were."""
METRICS_NAME = "logs/metrics.csv"
"""Table of the logged metrics, a row per logged step."""
PROMPT_NAME = "prompt.safetensors"
"""File of a tuned prompt."""
UNFINISHED_NAME = "unfinished.json"
"""In the folder of a run until it is finished: the name of its data, and why the run ended."""

_INTERVAL = Keys(
    {"interval95": OrNull(Items(AxisValue(), 2, 2))}, optional=("interval95",), others=True
)
_METRICS = Keys(
    {"AP": OrNull(Real(0, 1)), "bootstrap": OrNull(_INTERVAL)},
    optional=("AP", "bootstrap"),
    others=True,
)
"""Metrics of a split; AP is null where there was no box to find."""
_DATA = Keys({"init_args": OrNull(Keys({}, others=True))}, optional=("init_args",), others=True)
_RESULT = {
    "metrics": Mapped(OrNull(_METRICS), 10),
    "seconds": Real(0, 1e9),  # 30 years
    "steps": Whole(0, 10**12),
    "epochs": Whole(0, 10**12),
    "ended": OrNull(Text()),
    "detector": Text(),
    "weights": Text(),
    "classes": Items(Text(), 0, MOST_CLASSES),
    "phrases": PHRASES,
    "recipe": Keys({"data": OrNull(_DATA)}, optional=("data",), others=True),
}
"""What may stand at the keys of a result that somebody relies on."""


def check_unfinished(folder: Path) -> None:
    """Raise GLIPError if ``folder`` holds a finished run."""
    if (folder / RESULT_NAME).exists():
        raise GLIPError(
            f"--run {folder}: holds a finished run; choose another folder or remove it",
            code="finished-run",
        )


def is_in_run(checkpoint: Path) -> bool:
    """Return whether a checkpoint, which may be missing, lies in the folder of a run."""
    recipe = checkpoint.parent.parent / RECIPE_NAME
    return checkpoint.parent.name == CHECKPOINTS and recipe.is_file()


def goes_on(verb: str, folder: str | Path | None, checkpoint: str | Path | None) -> bool:
    """Return whether ``verb`` trains on in ``folder`` from a checkpoint of the run in it."""
    if verb != "fit" or not folder or not checkpoint:
        return False
    return Path(checkpoint).resolve().is_relative_to(Path(folder).resolve())


def read_result(folder: Path, keys: Collection[str] = (), where: str = "") -> dict[str, Any]:
    """Return ``result.json`` of a finished run; an empty dict where there is none.

    Args:
        folder: of the run.
        keys: those that the caller relies on: they are there, and their values are checked.
        where: the beginning of an error's message; "": the path and what to do.

    Raises:
        GLIPError: the file is cut off or no JSON (code ``unreadable-json``, ``too-large`` or
            ``nested-too-deeply``), or not what a run writes (``bad-value``, ``missing-key``,
            ``broken-text``).
        OSError: it cannot be reached.
    """
    path = folder / RESULT_NAME
    if not path.is_file():
        return {}
    where = where or (
        f"{path}: not the result of a run "
        f"(move it elsewhere; glip fit --resume {folder} writes it anew)"
    )
    content = read_json(path, where)
    Keys({key: _RESULT[key] for key in keys}, others=True).check(content, where)
    return content


def started_from(folder: Path) -> str | None:
    """Return the detector that a run, finished or not, began with; None for other folders."""
    content: Any = read_result(folder)
    path = folder / RECIPE_NAME
    if not content and path.is_file():
        recipe = parse_yaml(path.read_text(encoding="utf-8", errors="replace"), str(path))
        content = recipe.get("model") if isinstance(recipe, dict) else None
    name = content.get("detector") if isinstance(content, dict) else None
    return name if isinstance(name, str) else None


def category_ids(folder: Path, names: Sequence[str]) -> Sequence[int]:
    """Return the ids of the classes in the data of a finished run.

    They are 1, 2, ... where the run says nothing of them, or has other classes.

    Args:
        folder: of the run.
        names: the classes that are looked for.
    """
    result = read_result(folder)
    ids = result.get("category_ids")
    usual = range(1, len(names) + 1)
    if result.get("classes") != list(names) or not isinstance(ids, list) or len(ids) != len(names):
        return usual
    usable = all(type(number) is int for number in ids) and len(set(ids)) == len(ids)
    return ids if usable else usual
