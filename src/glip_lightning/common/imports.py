"""Imports of packages that an installation may lack, or that cost more than is used of them."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

from glip_lightning.common.errors import GLIPError


def import_optional(module: str, wanted_by: str, extra: str | None = None) -> Any:
    """Import and return a module whose package may be missing from an installation.

    Args:
        module: its name, with dots for one inside a package.
        wanted_by: what needs it (an option, a setting or a verb); the message begins with it.
        extra: the extra of glip-lightning that installs it; None for a package of the base.

    Raises:
        GLIPError: the package is not installed (code ``not-installed``); the message has the
            command that installs it.
    """
    package = module.partition(".")[0]
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != package:
            raise  # the package itself needs something that is missing
        message = not_installed_message(package, wanted_by, extra)
        raise GLIPError(message, code="not-installed") from None


def not_installed_message(package: str, wanted_by: str, extra: str | None = None) -> str:
    """Return the message about a missing package, with the command that installs it."""
    target = f"'glip-lightning[{extra}]'" if extra else package
    return f"{wanted_by}: {package} is not installed: pip install {target}"


@contextmanager
def hide_package(package: str) -> Iterator[None]:
    """Let the imports in this block behave as if ``package`` was not installed.

    A package that is imported already stays visible. After the block it can be imported as usual.
    """
    if package in sys.modules:
        yield
        return
    sys.modules[package] = None  # pyrefly: ignore - Python's way to mark a module as missing
    try:
        yield
    finally:
        del sys.modules[package]
