"""Files and folders that appear whole or not at all."""

import os
import shutil
import stat
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from .errors import GLIPError
from .escaping import printable

KINDS = {
    stat.S_IFDIR: "a folder; give a file",
    stat.S_IFIFO: "a pipe, which may never end; write what comes out of it to a file and give that",
    stat.S_IFCHR: "a device or a terminal; write what comes out of it to a file and give that",
    stat.S_IFBLK: "a disk; give a file",
    stat.S_IFSOCK: "a socket; give a file",
}


def regular_file(path: str | Path) -> Path:
    """Return ``path``, to be opened next, if there is a file or a link to one: no reader waits for a pipe or a device.

    Raises:
        GLIPError: a folder, a named pipe, a device or a socket.
        OSError: nothing is there, or it cannot be reached.
    """
    kind = stat.S_IFMT(Path(path).stat().st_mode)
    if kind != stat.S_IFREG:
        what = KINDS.get(kind, "something else; give a file")
        raise GLIPError(f"{printable(str(path))}: no file but {what}", code="not-a-file")
    return Path(path)


def refuse_pipes(arguments: Iterable[str]) -> None:
    """Raise GLIPError for a word or an option's value that names a pipe or a device: who reads it would wait for it."""
    for word in arguments:
        path = Path(word.partition("=")[2] or word)
        try:
            waits = path.is_fifo() or path.is_char_device() or path.is_socket()
        except OSError:  # a text too long for a name
            continue
        if waits:
            regular_file(path)


@contextmanager
def replacing(target: Path) -> Iterator[Path]:
    """A new path beside ``target`` for a file or a folder; at the end it takes the target's place.

    No reader ever finds a part, and after an error everything is as it was.
    """
    target = target.resolve()  # of a link, what it points to
    target.parent.mkdir(parents=True, exist_ok=True)
    fresh, old = (target.with_name(f".{uuid.uuid4().hex[:8]}.{target.name}") for _ in range(2))
    try:
        yield fresh
        if target.is_dir():
            target.rename(old)
        fresh.replace(target)
    finally:
        if old.exists() and not target.exists():
            old.rename(target)
        for path in (fresh, old):
            shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write ``text`` to ``path`` and to the disk."""
    with replacing(path) as fresh, fresh.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def picture_names(photos: Iterable[Path]) -> Iterator[str]:
    """One file name per photo; equal stems get numbers, also where only capitals differ."""
    taken: set[str] = set()
    for photo in photos:
        name, number = f"{photo.stem}.jpg", 2
        while name.lower() in taken:
            name, number = f"{photo.stem}_{number}.jpg", number + 1
        taken.add(name.lower())
        yield name
