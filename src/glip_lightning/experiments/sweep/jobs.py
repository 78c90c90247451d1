"""A trial as executors see it: the job to do, and what became of it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal


@dataclass(frozen=True)
class Job:
    """A trial to run."""

    id: str
    folder: str
    """Absolute: on a cluster, on the file system that all nodes share."""
    home: str
    """Working directory, which data.root and the like are relative to."""
    recipe: dict[str, Any]
    """Complete."""
    threads: int | None = None
    """Threads of torch; None leaves its choice."""
    keep_checkpoints: bool = False


State = Literal[
    "running", "submitted", "queued", "finished", "failed", "died", "interrupted", "elsewhere"
]
"""``queued`` jobs go on without this process. ``died`` took the process along, so nobody wrote down the error."""


@dataclass(frozen=True)
class Event:
    """What became of a job."""

    id: str
    state: State
    note: str = ""
    """The error in one line, or the number of the submitted job."""
    seconds: float = 0.0


Function = Callable[[Job], Event]
