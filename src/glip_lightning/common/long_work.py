"""Steps that take long: a bar on a terminal, a line a minute where there is none."""

import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

from rich.console import Console
from rich.progress import track

T = TypeVar("T")

MINUTE = 60.0


def tracked(steps: Iterable[T], description: str, total: int) -> Iterator[T]:
    """Yield ``steps``, of which there are ``total``, and say on stderr how many are done."""
    console = Console(stderr=True)
    if console.is_terminal:
        yield from track(steps, description, total, console=console, transient=True)
        return
    told = time.monotonic()
    for done, step in enumerate(steps, 1):
        yield step
        if done < total and time.monotonic() - told >= MINUTE:
            print(f"glip: {description}: {done} of {total}", file=sys.stderr)
            told = time.monotonic()
