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

NOT_A_FILE = {
    stat.S_IFDIR: "a folder; give a file",
    stat.S_IFIFO: "a pipe, which may never end; write what comes out of it to a file and give that",
    stat.S_IFCHR: "a device or a terminal; write what comes out of it to a file and give that",
    stat.S_IFBLK: "a disk; give a file",
    stat.S_IFSOCK: "a socket; give a file",
}


def regular_file(path: str | Path) -> Path:
    """Return ``path`` if it is a file or a link to one.

    Readers call it before they open a path, so that they do not wait for a pipe or a device.

    Raises:
        GLIPError: it is a folder, a named pipe, a device or a socket (code ``not-a-file``).
        OSError: nothing is there, or it cannot be reached.
    """
    path = Path(path)
    kind = stat.S_IFMT(path.stat().st_mode)
    if kind != stat.S_IFREG:
        found = NOT_A_FILE.get(kind, "something else; give a file")
        raise GLIPError(f"{printable(str(path))}: no file but {found}", code="not-a-file")
    return path


def need_file(path: str | None, place: str) -> None:
    """Raise GLIPError (code ``missing-file``) if no file is at ``path``.

    ``place`` begins the message. Nothing is checked where ``path`` is None.
    """
    if path is None:
        return
    try:
        regular_file(path)
    except (FileNotFoundError, NotADirectoryError):
        raise GLIPError(f"{place}: no such file; check the path", code="missing-file") from None


def need_folder(path: str, place: str, cure: str = "check the path") -> None:
    """Raise GLIPError (code ``missing-folder``) if no folder is at ``path``.

    ``place`` begins the message, ``cure`` ends it.
    """
    if not Path(path).is_dir():
        what = "is a file, not a folder" if Path(path).exists() else "no such folder"
        raise GLIPError(f"{place}: {what}; {cure}", code="missing-folder")


PART = re.compile(r"\.glip-[0-9a-f]{8}-(old-)?(.+)")
"""Names that :func:`replacing` writes to; group 2 is the target, ``old`` a folder put aside."""

ABANDONED = 3600
"""Seconds after which a part is taken for the rest of a process that was killed while writing."""


def refuse_pipes(arguments: Iterable[str]) -> None:
    """Raise an error for an argument, or the value of an option, that names a pipe or a device.

    Reading it would wait, perhaps for ever.

    Raises:
        GLIPError: code ``not-a-file``.
    """
    for word in arguments:
        path = Path(word.partition("=")[2] or word)
        try:
            waits = path.is_fifo() or path.is_char_device() or path.is_socket()
        except OSError:  # the text is too long for a file name
            continue
        if waits:
            regular_file(path)


@contextmanager
def replacing(target: Path) -> Iterator[Path]:
    """Yield a new path beside ``target``; at the end it takes the place of the target.

    The block writes a file or a folder to the new path. All of it is on the disk before it gets the
    name of the target, so no reader finds a part of it. After an error everything is as before.
    Files get the usual permissions, also those that a library has made private.

    Raises:
        OSError: it could not be written; the error names the target.
    """
    target = target.resolve()  # replace what a link points to, not the link
    target.parent.mkdir(parents=True, exist_ok=True)
    mark = uuid.uuid4().hex[:8]
    fresh = target.with_name(f".glip-{mark}-{target.name}")
    old = target.with_name(f".glip-{mark}-old-{target.name}")
    try:
        yield fresh
        _flush_to_disk(fresh)
        if target.is_dir():
            target.rename(old)
        fresh.replace(target)
    except Exception as error:
        named = _disk_full_error(error, target)
        if named is None:
            raise
        raise named from error
    finally:
        if old.exists() and not target.exists():
            old.rename(target)
        for path in (fresh, old):
            _remove(path)


def write_text(path: Path, text: str) -> None:
    """Write ``text`` to ``path`` in UTF-8, whole or not at all."""
    with replacing(path) as fresh:
        fresh.write_text(text, encoding="utf-8")


def write_bytes(path: Path, content: bytes) -> None:
    """Write ``content`` to ``path``, whole or not at all."""
    with replacing(path) as fresh:
        fresh.write_bytes(content)


def remove_parts(folder: Path, older: float = ABANDONED) -> None:
    """Remove what killed processes left in ``folder``; restore a folder that was put aside.

    Args:
        folder: where the targets are; it may be missing.
        older: parts that were changed within this number of seconds stay, since a live process may
            be writing them; 0 where no other process uses the folder.
    """
    if not folder.is_dir():
        return
    for path in list(folder.iterdir()):
        found = PART.fullmatch(path.name)
        if not found or time.time() - _last_change(path) < older:
            continue
        target = path.with_name(found[2])
        if found[1] and not target.exists():
            path.rename(target)
        else:
            _remove(path)


def disk_error(error: BaseException) -> OSError | None:
    """Return the system's own error where ``error`` is about a file, None otherwise."""
    if isinstance(error, OSError):
        return error
    # The writer of torch fails a second time while it is closed.
    if isinstance(error.__context__, OSError):
        return error.__context__
    # Libraries written in Rust, such as safetensors, pass the number in their text.
    found = re.search(r"\(os error (\d+)\)", str(error))
    if found is None:
        return None
    number = int(found[1])
    return OSError(number, os.strerror(number))


def is_disk_full(error: BaseException) -> bool:
    """Return whether the disk or the quota is full, or a file has reached its largest size."""
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def _disk_full_error(error: Exception, target: Path) -> OSError | None:
    """Return an error that names ``target`` where the disk is full.

    None for other errors, and for one that names its file already.
    """
    found = disk_error(error)
    if found is None or not is_disk_full(found):
        return None
    if found is error and found.filename:
        return None
    return OSError(found.errno, found.strerror, str(target))


def _flush_to_disk(fresh: Path) -> None:
    """Flush a file, or all files of a folder; give private ones the permissions of a new file."""
    files = [fresh]
    if fresh.is_dir():
        files = [path for path in fresh.rglob("*") if path.is_file()]
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
    """Return when a file, or the newest file of a folder, was changed, in seconds since 1970.

    It is now if another process is just removing it.
    """
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
    """Yield a file name for each photo; stems that are equal but for case get numbers."""
    taken: set[str] = set()
    for photo in photos:
        name = f"{photo.stem}.jpg"
        number = 2
        while name.lower() in taken:
            name = f"{photo.stem}_{number}.jpg"
            number += 1
        taken.add(name.lower())
        yield name
