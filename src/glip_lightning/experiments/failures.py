"""``failed.json``: why a trial failed, and how often. The report and the next sweep read it."""

import json
from dataclasses import dataclass
from pathlib import Path

from glip_lightning.common.errors import GLIPError
from glip_lightning.common.escaping import json_text
from glip_lightning.common.files import write_text
from glip_lightning.common.schema import Whole, read_json

FAILED_NAME = "failed.json"
LOG_NAME = "trial.log"

_ATTEMPTS = Whole(0, 1_000_000)


@dataclass(frozen=True)
class Failure:
    """The error in ``failed.json`` and the number of attempts that failed."""

    error: str
    attempts: int


def record_failure(folder: Path, error: str, text: str, seconds: float) -> None:
    """Write ``failed.json``: the report shows it, and the next call of the sweep repeats the trial.

    ``error`` is one line, ``text`` the traceback, ``seconds`` how long the attempt took.
    """
    path = folder / FAILED_NAME
    earlier = read_failure(folder).attempts if path.is_file() else 0
    content = {
        "error": error,
        "traceback": text,
        "log": str(folder / LOG_NAME),
        "attempts": earlier + 1,
        "seconds": round(seconds, 1),
    }
    write_text(path, json_text(json.dumps(content, indent=2, ensure_ascii=False)))


def read_failure(folder: Path) -> Failure:
    """Return the failure of a trial; where the file cannot be read, a failure that says so.

    A file without a number of attempts stands for one.
    """
    try:
        content = read_json(folder / FAILED_NAME, FAILED_NAME)
        error, attempts = str(content["error"]), content.get("attempts", 1)
        _ATTEMPTS.check(attempts, FAILED_NAME, "attempts")
    except (OSError, KeyError, TypeError, GLIPError) as wrong:
        reason = getattr(wrong, "strerror", None) or wrong  # without the whole path
        return Failure(f"{FAILED_NAME}: cannot be read: {reason}", 0)
    return Failure(error, attempts)
