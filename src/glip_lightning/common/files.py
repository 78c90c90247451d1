"""Files and folders that appear whole or not at all."""

import errno
import os
import re
import shutil
import stat
import time
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from glip_lightning.common.errors import GLIPError
from glip_lightning.common.escaping import printable

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


PART = re.compile(r"\.glip-[0-9a-f]{8}-(old-)?(.+)")
"""Names that :func:`replacing` writes to, and the name of what it replaces; ``old`` is a folder put aside."""

ABANDONED = 3600  # seconds after which a part belongs to a process that was killed while writing it


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
    """Yield a new path beside ``target`` for a file or a folder; at the end it takes the target's place.

    What was written is on the disk before it has the name. No reader ever finds a part, and after an error
    everything is as it was. Files get the usual permissions, also those that a library has made private.

    Raises:
        OSError: it could not be written; the error names the target, also where the library's own does not.
    """
    target = target.resolve()  # of a link, what it points to
    target.parent.mkdir(parents=True, exist_ok=True)
    mark = uuid.uuid4().hex[:8]
    fresh, old = (
        target.with_name(f".glip-{mark}-{target.name}"),
        target.with_name(f".glip-{mark}-old-{target.name}"),
    )
    try:
        yield fresh
        _settle(fresh)
        if target.is_dir():
            target.rename(old)
        fresh.replace(target)
    except Exception as error:
        if named := _named(error, target):
            raise named from error
        raise
    finally:
        if old.exists() and not target.exists():
            old.rename(target)
        for path in (fresh, old):
            _remove(path)


def write_text(path: Path, text: str) -> None:
    """Write ``text`` to ``path`` and to the disk."""
    with replacing(path) as fresh:
        fresh.write_text(text, encoding="utf-8")


def write_bytes(path: Path, content: bytes) -> None:
    """Write ``content`` to ``path`` and to the disk."""
    with replacing(path) as fresh:
        fresh.write_bytes(content)


def remove_parts(folder: Path, older: float = ABANDONED) -> None:
    """Remove what killed processes have left beside their targets in ``folder``; put back a folder that was put aside.

    Parts that were changed within the last ``older`` seconds may belong to a live process and stay: 0 is for a
    folder that no other process uses.
    """
    for path in list(folder.iterdir()) if folder.is_dir() else []:
        found = PART.fullmatch(path.name)
        if not found or time.time() - _last_change(path) < older:
            continue
        target = path.with_name(found[2])
        if found[1] and not target.exists():
            path.rename(target)
        else:
            _remove(path)


def disk_error(error: BaseException) -> OSError | None:
    """Return what the system said, if ``error`` is about a file: libraries in other languages pass it as a text."""
    if isinstance(error, OSError):
        return error
    if isinstance(
        error.__context__, OSError
    ):  # torch's, whose writer fails once more while it is closed
        return error.__context__
    said = re.search(r"\(os error (\d+)\)", str(error))
    return OSError(int(said[1]), os.strerror(int(said[1]))) if said else None


def is_disk_full(error: BaseException) -> bool:
    """Whether the disk, the quota or the largest size of a file was reached."""
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def _named(error: Exception, target: Path) -> OSError | None:
    """The error with the name of the file that could not be written; None of an error that says all already."""
    found = disk_error(error)
    if found is None or not is_disk_full(found) or (found is error and found.filename):
        return None
    return OSError(found.errno, found.strerror, str(target))


def _settle(fresh: Path) -> None:
    """Write a file, or all files of a folder, to the disk, with the permissions that a new file gets here."""
    files = [path for path in fresh.rglob("*") if path.is_file()] if fresh.is_dir() else [fresh]
    private = [path for path in files if not path.stat().st_mode & 0o077]
    if private:
        usual = fresh.with_name(f"{fresh.name}.new")
        usual.touch()
        for path in private:
            path.chmod(usual.stat().st_mode & 0o777)
        usual.unlink()
    for path in files:
        with path.open("rb+") as file:
            os.fsync(file.fileno())


def _last_change(path: Path) -> float:
    """When a file, or the latest file of a folder, was changed; now if it is just being removed."""
    times = []
    for each in (path, *path.rglob("*")):
        try:
            times.append(each.lstat().st_mtime)
        except FileNotFoundError:
            times.append(time.time())
    return max(times)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def picture_names(photos: Iterable[Path]) -> Iterator[str]:
    """One file name per photo; equal stems get numbers, also where only capitals differ."""
    taken: set[str] = set()
    for photo in photos:
        name, number = f"{photo.stem}.jpg", 2
        while name.lower() in taken:
            name, number = f"{photo.stem}_{number}.jpg", number + 1
        taken.add(name.lower())
        yield name
