"""Zip files from elsewhere, unpacked safely.

No file is written outside the new folder, and none is larger than the zip file declares.
"""

import os
import shutil
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import IO, NamedTuple

from glip_lightning.common.errors import GLIPError
from glip_lightning.common.escaping import printable

CHUNK = 1 << 20
MAX_RATIO = 100  # unpacked to packed bytes: pictures give 1 to 2, annotation files up to 20
LONGEST_NAME = 255  # bytes of one part of a path; Linux, macOS and Windows take no more
LONGEST_PATH = 1000  # bytes of a path inside an archive; macOS takes 1,024 with the folder's own
DEEPEST = 100  # folders inside one another

BROKEN = (
    zipfile.BadZipFile,
    *(zlib.error, EOFError, NotImplementedError, struct.error, UnicodeDecodeError),
    *(FileExistsError, NotADirectoryError),  # a file where another member has a folder
)
"""What zipfile lets through when an archive is damaged."""


class Entry(NamedTuple):
    """What a file of an archive has to be; the record of a download holds it as a list."""

    size: int  # bytes
    crc: int  # CRC-32


def unpack(archive: Path, top: str, target: Path) -> dict[str, Entry]:
    """Unpack what an archive holds below a folder; return path in it -> size and checksum.

    Names and sizes are checked before the first file is written, each checksum while its file is.

    Args:
        archive: the zip file.
        top: the folder in it.
        target: the new folder.

    Raises:
        GLIPError: the archive is broken, or would become more than :data:`MAX_RATIO` times as
            large; a member leads out of the folder, is no plain file, or is there twice; there is
            not enough room.
    """
    try:
        with zipfile.ZipFile(archive) as content:
            members = _members(archive, content, top)
            _check_size(archive, members, target)
            return {name: _extract(content, info, target / name) for name, info in members.items()}
    except BROKEN as error:
        message = f"{archive.name}: a broken zip file ({error})"
        raise GLIPError(message, code="broken-archive") from error


def crc_of(file: Path) -> int:
    """Return the CRC-32 of a file."""
    crc = 0
    with file.open("rb") as stream:
        for chunk in _chunks(stream):
            crc = zlib.crc32(chunk, crc)
    return crc


def _chunks(stream: IO[bytes]) -> Iterator[bytes]:
    return iter(partial(stream.read, CHUNK), b"")


def _members(archive: Path, content: zipfile.ZipFile, top: str) -> Mapping[str, zipfile.ZipInfo]:
    """Return the files below the folder ``top`` by their paths in it."""
    found: dict[str, zipfile.ZipInfo] = {}
    tops: set[str] = set()
    for info in content.infolist():
        path = _safe_path(archive, info)
        tops.add(path.parts[0] if path.parts else "")
        if path.parts[:1] != (top,) or info.is_dir():
            continue
        name = str(PurePosixPath(*path.parts[1:]))
        if name in found:
            message = f"{archive.name}: {info.filename!r} occurs twice in it; not unpacked"
            raise GLIPError(message, code="unsafe-archive")
        found[name] = info
    if not found:
        there = ", ".join(repr(name) for name in sorted(tops)) or "nothing"
        message = f"{archive.name}: no files in a folder {top!r}; it holds {there}"
        raise GLIPError(message, code="wrong-archive")
    return found


def _safe_path(archive: Path, info: zipfile.ZipInfo) -> PurePosixPath:
    """Return the path of a member; raise GLIPError or BadZipFile if it must not be unpacked."""
    name = info.orig_filename  # as it is in the archive, before zipfile corrects it
    path = PurePosixPath(name)
    kind = stat.S_IFMT(info.external_attr >> 16)
    fault = None
    is_relative = not path.is_absolute() and not PureWindowsPath(name).drive
    if not is_relative or ".." in path.parts or "\\" in name or "\0" in name:
        fault = "leads out of its folder"
    elif kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        fault = "is a link or a device"
    if fault is not None:
        message = f"{archive.name}: {name!r} {fault}; nothing of this archive is unpacked"
        raise GLIPError(message, code="unsafe-archive")
    fault = _too_long(path)
    if fault is not None:
        shown = printable(name if len(name) <= 60 else f"{name[:60]}...")
        message = f"{archive.name}: {shown}: {fault}; nothing of this archive is unpacked"
        raise GLIPError(message, code="path-too-long")
    if info.flag_bits & 1 or info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        message = f"{archive.name}: {name!r} is encrypted or packed by a rare method"
        raise GLIPError(f"{message}; pack it anew without", code="unsupported-archive")
    if info.header_offset < 0:
        raise zipfile.BadZipFile(f"{name!r} lies before its beginning")
    return path


def _too_long(path: PurePosixPath) -> str | None:
    """Return why no file system takes a path, None if it is of usual length."""
    longest = max((len(os.fsencode(part)) for part in path.parts), default=0)
    if longest > LONGEST_NAME:
        return f"a name of {longest} bytes in it, {LONGEST_NAME} are possible"
    if len(path.parts) > DEEPEST:
        return f"{len(path.parts) - 1} folders inside one another, {DEEPEST - 1} are possible"
    length = len(os.fsencode(str(path)))
    if length > LONGEST_PATH:
        return f"a path of {length} bytes, {LONGEST_PATH} are possible"
    return None


def _check_size(archive: Path, members: Mapping[str, zipfile.ZipInfo], target: Path) -> None:
    packed = archive.stat().st_size
    total = sum(info.file_size for info in members.values())
    if total > MAX_RATIO * packed:
        message = f"{archive.name}: {packed} bytes would swell to {total}"
        message += f", more than {MAX_RATIO} times as many; not unpacked"
        raise GLIPError(message, code="unsafe-archive")
    free = shutil.disk_usage(target.parent).free
    if total > free:
        raise GLIPError(
            f"{archive.name}: unpacking needs {total / 1e9:.1f} GB, but {free / 1e9:.1f} GB are "
            f"free in {target.parent}; make room and run the same command again",
            code="disk-too-small",
        )


def _extract(content: zipfile.ZipFile, info: zipfile.ZipInfo, file: Path) -> Entry:
    """Write a member to ``file`` and return its size and checksum.

    zipfile never gives more than the declared size, and compares the checksum at the end.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    size = 0
    with content.open(info) as source, file.open("xb") as sink:
        for chunk in _chunks(source):
            size += sink.write(chunk)
    if size != info.file_size:
        raise zipfile.BadZipFile(f"{info.filename!r} has {size} bytes and not {info.file_size}")
    return Entry(size, info.CRC)
