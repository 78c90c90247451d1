"""Folders of generated files: written once, used by all that ask for the same."""

import json
import shutil
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from tempfile import mkdtemp

MANIFEST = "shapes.json"


def written_once(folder: Path, settings: Mapping[str, object], write: Callable[[Path], None]) -> Path:
    """``folder`` with what ``write`` puts into a new one.

    A folder written with the same ``settings`` is used as it is, one of other settings is written anew. It
    appears at once when complete, so that processes may call this side by side.
    """
    if _settings(folder) == settings:
        return folder
    if folder.exists() and _settings(folder) is None and any(folder.iterdir()):
        raise FileExistsError(f"{folder}: holds other files than generated pictures; choose a new or empty folder")
    folder.parent.mkdir(parents=True, exist_ok=True)
    unfinished = Path(mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        new = unfinished / "new"
        new.mkdir()  # with the usual rights: mkdtemp's are private
        write(new)
        (new / MANIFEST).write_text(json.dumps(settings), encoding="utf-8")
        _replace(folder, new, unfinished / "old", settings)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return folder


def _settings(folder: Path) -> dict | None:
    """With which settings the folder was written; None if it is none of ours."""
    with suppress(FileNotFoundError, NotADirectoryError):
        return json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    return None


def _replace(folder: Path, new: Path, old: Path, settings: Mapping[str, object]) -> None:
    if _settings(folder) not in (None, settings):
        with suppress(FileNotFoundError):  # another process was faster
            folder.rename(old)  # at once: what that process puts there must not be removed file by file
    try:
        new.replace(folder)
    except OSError:  # as above
        if _settings(folder) != settings:
            raise
