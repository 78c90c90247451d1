"""``thresholds.yaml`` of a finished run: for each class, from which score on its boxes are worth showing."""

from collections.abc import Mapping
from pathlib import Path

import yaml

from glip_lightning.common.errors import GLIPError
from glip_lightning.common.files import regular_file, write_text
from glip_lightning.common.schema import MOST_CLASSES, Keys, Mapped, Real, Whole, parse_yaml
from glip_lightning.evaluation.best_threshold import IOU, BestThreshold

THRESHOLDS_NAME = "thresholds.yaml"
HEADER = f"""\
# For each class the least score with the best F1 on the valid split (a box is right from IoU {IOU:g} on), what it
# reaches there, and on how many boxes that rests. glip predict PHOTOS --detector RUN --threshold best uses it; change
# it freely. Classes of which nothing was found there have none: 0.5 is used.
"""
_SHARE = Real(0, 1)
_CLASS = Keys(
    {"threshold": _SHARE, "precision": _SHARE, "recall": _SHARE, "boxes": Whole(1, 10**12)}
)


def write_thresholds(run: Path, found: Mapping[str, BestThreshold]) -> Path:
    """Write the thresholds of the classes, by their names in the data, into the folder of a run."""
    rows = {
        name: {
            "threshold": round(best.threshold, 4),
            "precision": round(best.precision, 4),
            "recall": round(best.recall, 4),
            "boxes": best.boxes,
        }
        for name, best in found.items()
    }
    file = run / THRESHOLDS_NAME
    write_text(file, HEADER + yaml.safe_dump(rows, sort_keys=False, allow_unicode=True))
    return file


def read_thresholds_of(run: str | Path) -> dict[str, float]:
    """Return the thresholds of a finished run by class name.

    Raises:
        GLIPError: there are none (code ``no-thresholds``), or the file was changed to something else.
    """
    file = Path(run) / THRESHOLDS_NAME
    if not file.is_file():
        message = f"{file}: there is no such file, as a fit with a valid split writes it; give a number as threshold"
        raise GLIPError(message, code="no-thresholds")
    content = parse_yaml(
        regular_file(file).read_text(encoding="utf-8", errors="surrogateescape"), str(file)
    )
    Mapped(_CLASS, MOST_CLASSES).check(content, str(file))
    return {name: row["threshold"] for name, row in content.items()}
