"""The line that a verb prints before it imports torch, which takes seconds."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from glip_lightning.common.signals import blocked


@contextmanager
def heavy_imports(verb: str) -> Iterator[None]:
    """Say at once that ``verb`` starts, and hold signals back while libraries are imported.

    An exception in the middle of loading a library in C++ would end the process with its traceback.
    The line goes to stderr, once for all processes of a run. Where torch is imported already, the
    block takes no time and no line is printed.
    """
    first = os.environ.get("LOCAL_RANK", "0") == "0"
    if first and "torch" not in sys.modules:
        print(f"glip {verb}: starting ...", file=sys.stderr, flush=True)
    with blocked():
        yield
