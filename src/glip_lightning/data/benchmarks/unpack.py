"""Zip files from elsewhere: unpacked without leaving their folder, and to no more than they declare."""

import os
import shutil
import stat
import struct
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import NamedTuple

from glip_lightning.common.errors import GLIPError
from glip_lightning.common.escaping import printable

CHUNK = 1 << 20
MAX_RATIO = 100  # unpacked to packed bytes: pictures give 1 to 2, annotation files up to 20
LONGEST_NAME = 255  # bytes of one part of a path; Linux, macOS and Windows take no more
LONGEST_PATH = 1000  # bytes of a path inside an archive; macOS takes 1,024 with the folder that it is unpacked to
DEEPEST = 100  # folders inside one another

BROKEN = (
    zipfile.BadZipFile,
    *(zlib.error, EOFError, NotImplementedError, struct.error, UnicodeDecodeError),
    *(FileExistsError, NotADirectoryError),  # a file where another member has a folder
)
"""What zipfile lets through when an archive is damaged."""


class Entry(NamedTuple):
    size: int  # bytes
    crc: int  # CRC-32


def unpack(archive: Path, top: str, target: Path) -> dict[str, Entry]:
    """Unpack what ``archive`` holds below the folder ``top`` to the new folder ``target``; paths in it -> files.

    Everything is checked before the first file is written, the checksums while they are.

    Raises:
        GLIPError: a broken archive; a member that leads out of the folder, is no plain file, or comes twice;
            an archive that would swell more than :data:`MAX_RATIO` times; not enough room.
    """
    try:
        with zipfile.ZipFile(archive) as content:
            members = _members(archive, content, top)
            _check_size(archive, members, target)
            return {name: _extract(content, info, target / name) for name, info in members.items()}
    except BROKEN as error:
        raise GLIPError(
            f"{archive.name}: a broken zip file ({error})", code="broken-archive"
        ) from error


def crc_of(file: Path) -> int:
    crc = 0
    with file.open("rb") as stream:
        while chunk := stream.read(CHUNK):
            crc = zlib.crc32(chunk, crc)
    return crc


def _members(archive: Path, content: zipfile.ZipFile, top: str) -> Mapping[str, zipfile.ZipInfo]:
    """The files below ``top`` by their path in it."""
    found: dict[str, zipfile.ZipInfo] = {}
    tops = set()
    for info in content.infolist():
        path = _safe_path(archive, info)
        tops.add(path.parts[0] if path.parts else "")
        if path.parts[:1] != (top,) or info.is_dir():
            continue
        name = str(PurePosixPath(*path.parts[1:]))
        if name in found:
            raise GLIPError(
                f"{archive.name}: {info.filename!r} occurs twice in it; not unpacked",
                code="unsafe-archive",
            )
        found[name] = info
    if not found:
        there = ", ".join(map(repr, sorted(tops))) or "nothing"
        raise GLIPError(
            f"{archive.name}: no files in a folder {top!r}; it holds {there}", code="wrong-archive"
        )
    return found


def _safe_path(archive: Path, info: zipfile.ZipInfo) -> PurePosixPath:
    name = info.orig_filename  # as it stands in the archive, before zipfile mends it
    path = PurePosixPath(name)
    leads_out = (
        path.is_absolute()
        or ".." in path.parts
        or PureWindowsPath(name).drive
        or set(name) & set("\\\0")
    )
    kind = stat.S_IFMT(info.external_attr >> 16)
    if leads_out or kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        what = "leads out of its folder" if leads_out else "is a link or a device"
        raise GLIPError(
            f"{archive.name}: {name!r} {what}; nothing of this archive is unpacked",
            code="unsafe-archive",
        )
    if fault := _too_long(path):
        shown = printable(name if len(name) <= 60 else f"{name[:60]}...")
        raise GLIPError(
            f"{archive.name}: {shown}: {fault}; nothing of this archive is unpacked",
            code="path-too-long",
        )
    if info.flag_bits & 1 or info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise GLIPError(
            f"{archive.name}: {name!r} is encrypted or packed by a rare method; pack it anew without",
            code="unsupported-archive",
        )
    if info.header_offset < 0:
        raise zipfile.BadZipFile(f"{name!r} lies before its beginning")
    return path


def _too_long(path: PurePosixPath) -> str | None:
    """Return what no file system would take of a path, None if it is of usual length."""
    longest = max((len(os.fsencode(part)) for part in path.parts), default=0)
    if longest > LONGEST_NAME:
        return f"a name of {longest} bytes in it, {LONGEST_NAME} are possible"
    if len(path.parts) > DEEPEST:
        return f"{len(path.parts) - 1} folders inside one another, {DEEPEST - 1} are possible"
    length = len(os.fsencode(str(path)))
    return (
        f"a path of {length} bytes, {LONGEST_PATH} are possible" if length > LONGEST_PATH else None
    )


def _check_size(archive: Path, members: Mapping[str, zipfile.ZipInfo], target: Path) -> None:
    packed, total = archive.stat().st_size, sum(info.file_size for info in members.values())
    if total > MAX_RATIO * packed:
        raise GLIPError(
            f"{archive.name}: {packed} bytes would swell to {total}, more than {MAX_RATIO} times as many; not unpacked",
            code="unsafe-archive",
        )
    free = shutil.disk_usage(target.parent).free
    if total > free:
        raise GLIPError(
            f"{archive.name}: unpacking needs {total / 1e9:.1f} GB, but {free / 1e9:.1f} GB are free in "
            f"{target.parent}; make room and run the same command again",
            code="disk-too-small",
        )


def _extract(content: zipfile.ZipFile, info: zipfile.ZipInfo, file: Path) -> Entry:
    """zipfile never gives more than the declared size, and compares the checksum at its end."""
    file.parent.mkdir(parents=True, exist_ok=True)
    size = 0
    with content.open(info) as source, file.open("xb") as sink:
        while chunk := source.read(CHUNK):
            size += sink.write(chunk)
    if size != info.file_size:
        raise zipfile.BadZipFile(f"{info.filename!r} has {size} bytes and not {info.file_size}")
    return Entry(size, info.CRC)
