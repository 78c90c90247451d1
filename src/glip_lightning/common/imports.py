"""Libraries that an installation may lack, and libraries that bring along more than is used of them."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

from glip_lightning.common.errors import GLIPError


def import_optional(module: str, wanted_by: str, extra: str | None = None) -> Any:
    """Import and return a module whose package an installation may lack.

    Args:
        module: its name, with dots for one inside a package.
        wanted_by: what needs it, the beginning of the message: an option, a setting or a verb.
        extra: the extra of ours that installs it; None for a package of the base.

    Raises:
        GLIPError: the package is not installed (code ``not-installed``); the message has the command that installs it.
    """
    package = module.partition(".")[0]
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != package:
            raise  # something that the package itself needs
        raise GLIPError(
            not_installed_message(package, wanted_by, extra), code="not-installed"
        ) from None


def not_installed_message(package: str, wanted_by: str, extra: str | None = None) -> str:
    """Return the message about a package that is not installed, with the command that installs it."""
    what = f"'glip-lightning[{extra}]'" if extra else package
    return f"{wanted_by}: {package} is not installed: pip install {what}"


@contextmanager
def hide_package(package: str) -> Iterator[None]:
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
