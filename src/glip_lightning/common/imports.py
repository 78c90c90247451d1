"""Libraries that bring along more than is used of them."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def without(package: str) -> Iterator[None]:
    """Let the libraries that are imported meanwhile do without an optional package, as where it is not installed.

    One that is imported already stays; afterwards it can be imported as ever.
    """
    if package in sys.modules:
        yield
        return
    sys.modules[package] = None  # pyrefly: ignore - Python's own way to say that there is no such module
    try:
        yield
    finally:
        del sys.modules[package]
