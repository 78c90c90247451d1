"""Which texts can mean a detector; known without loading one, and without torch."""

import difflib
import re
from pathlib import Path

from glip_lightning.common.errors import GLIPError
from glip_lightning.models.config import VARIANTS


def check_detector(detector: str) -> None:
    """Raise GLIPError for what cannot mean a detector; whether a repository exists is not asked."""
    if detector not in VARIANTS and not as_path(detector).exists() and not is_repository(detector):
        raise unknown_detector(detector)


def as_path(detector: str) -> Path:
    """Return ``detector`` as a path; ``~`` is somebody's home where there is one."""
    try:
        return Path(detector).expanduser()
    except RuntimeError:
        return Path(detector)


def is_repository(detector: str) -> bool:
    """Return whether ``detector`` has the form of a Hub repository, ``user/name``."""
    return re.fullmatch(r"\w[\w.-]*/\w[\w.-]*", detector) is not None and Path(detector).suffix != ".pth"


def unknown_detector(detector: str) -> GLIPError:
    """Return the error about what is no detector; it lists names like it."""
    close = difflib.get_close_matches(detector, VARIANTS, n=3) or list(VARIANTS)
    message = f"detector={detector!r}: no such name, file or folder. Names: {', '.join(close)}; or give an exchange "
    message += "folder, a finished run's folder, an official .pth file or a Hub repository (user/name)"
    return GLIPError(message, code="unknown-detector")
