"""A trial as executors see it: the job to do, and what became of it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal


@dataclass(frozen=True)
class Job:
    """A trial to run."""

    id: str
    folder: str
    """Absolute path of the trial's folder, which all nodes of a cluster must see."""
    home: str
    """Working directory, which ``data.root`` and other paths of the recipe are relative to."""
    recipe: dict[str, Any]
    """Complete recipe of the run."""
    threads: int | None = None
    """Threads of torch; with None torch chooses."""
    keep_checkpoints: bool = False


State = Literal[
    "running", "submitted", "queued", "finished", "failed", "died", "interrupted", "elsewhere"
]
"""What has become of a job.

``queued`` jobs go on without this process. A job that ``died`` took its process along, so that
nobody wrote down the error. ``elsewhere``: another process runs the trial.
"""


@dataclass(frozen=True)
class Event:
    """A change of the state of a job."""

    id: str
    state: State
    note: str = ""
    """The error in one line, or the number of the submitted job."""
    seconds: float = 0.0


Function = Callable[[Job], Event]
