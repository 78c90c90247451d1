"""``thresholds.yaml`` of a finished run: the least score of the boxes to show, for each class."""

from collections.abc import Mapping
from pathlib import Path

import yaml

from glip_lightning.common.errors import GLIPError
from glip_lightning.common.files import regular_file, write_text
from glip_lightning.common.schema import MOST_CLASSES, Keys, Mapped, Real, Whole, parse_yaml
from glip_lightning.evaluation.best_threshold import IOU, BestThreshold

THRESHOLDS_NAME = "thresholds.yaml"
HEADER = f"""\
# For each class the least score with the best F1 on the valid split, its precision and recall
# there, and the number of boxes behind them. A box is right from IoU {IOU:g} on. It is used by
# glip predict PHOTOS --detector RUN --threshold best; change it freely. A class of which nothing
# was found has no row: 0.5 is used.
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


def read_thresholds_of(run: str | Path) -> dict[str, BestThreshold]:
    """Return the thresholds of a finished run by class name, with what they rest on.

    Raises:
        GLIPError: there are none (``no-thresholds``), or the file was changed to something else.
    """
    file = Path(run) / THRESHOLDS_NAME
    if not file.is_file():
        message = (
            f"{file}: there is no such file; a fit with a valid split writes it. Give a number "
        )
        message += "as threshold"
        raise GLIPError(message, code="no-thresholds")
    text = regular_file(file).read_text(encoding="utf-8", errors="surrogateescape")
    content = parse_yaml(text, str(file))
    Mapped(_CLASS, MOST_CLASSES).check(content, str(file))
    return {name: BestThreshold(**row) for name, row in content.items()}
