"""Image files to 8-bit RGB, whatever they hold."""

import os
import re
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import IO, NamedTuple, Protocol, runtime_checkable

import numpy as np
from PIL import Image, ImageFile, ImageOps, UnidentifiedImageError

from glip_lightning.common.errors import GLIPError, MissingFile
from glip_lightning.common.escaping import printable
from glip_lightning.common.files import regular_file

ORIENTATION = 0x0112  # EXIF tag
TGA = frozenset({".tga", ".icb", ".vda", ".vst"})
PICTURES = TGA | frozenset(
    {
        ".jpg",
        ".jpeg",
        ".jpe",
        ".jfif",
        ".mpo",
        ".png",
        ".apng",
        ".bmp",
        ".dib",
        ".gif",
        ".webp",
        ".avif",
        ".avifs",
    }
    | {
        ".tif",
        ".tiff",
        ".jp2",
        ".j2k",
        ".jpc",
        ".jpf",
        ".jpx",
        ".j2c",
        ".ppm",
        ".pgm",
        ".pbm",
        ".pnm",
        ".pfm",
    }
)
"""File name endings, in lower case, that are taken for pictures."""

FRAMED = frozenset({".gif", ".png", ".apng", ".webp", ".avif", ".avifs", ".tif", ".tiff"})
"""Endings of pictures that may have several frames."""

UNREAD = frozenset(
    {
        ".heic",
        ".heif",
        ".hif",
        ".dng",
        ".cr2",
        ".cr3",
        ".nef",
        ".arw",
        ".orf",
        ".rw2",
        ".raf",
        ".pef",
        ".srw",
        ".raw",
    }
    | {
        ".jxl",
        ".psd",
        ".svg",
        ".eps",
        ".exr",
        ".hdr",
        ".dcm",
        ".ico",
        ".pcx",
        ".sgi",
        ".ras",
        ".xbm",
        ".dds",
    }
    | {
        ".mp4",
        ".mov",
        ".m4v",
        ".avi",
        ".mkv",
        ".webm",
        ".mpg",
        ".mpeg",
        ".wmv",
        ".mts",
        ".3gp",
        ".pdf",
    }
)
"""Endings of pictures and videos that are not read; they are named where they lie among others."""

FORMATS = ("JPEG", "PNG", "BMP", "DIB", "WEBP", "AVIF", "TIFF", "GIF", "JPEG2000", "PPM")
"""What Pillow may take a file for, besides TGA.

Left to choose, it gives a file that begins with %!PS, a program, to Ghostscript. The MPO of cameras needs no entry:
Pillow's JPEG reader recognises it.
"""

TGA_END = (
    b"TRUEVISION-XFILE.\0"  # since 1989; the beginning of a TGA file has nothing to know it by
)

BLANK, JPEG_END = 64, b"\xff\xd9"
KINDS: tuple[tuple[bytes, str, str], ...] = (
    (rb"\Z", "it is empty", "copy or download it again"),
    (
        rb"version https://git-lfs",
        "it stands for a file of Git LFS",
        "get the files by git lfs pull",
    ),
    (
        rb"\s*<(!doctype html|html)",
        "it is a web page, as of a download that failed",
        "download it again",
    ),
    (rb"\0\x05\x16\x07", "it is macOS's notes about a file", "remove it"),
    (rb"....ftyp(hei|hev|mif|msf)", "it is HEIC", "convert it to JPEG"),
    (rb"%PDF", "it is PDF", "convert its pages to JPEG or PNG"),
    (
        rb"....ftyp(?!avi[fs])|RIFF....AVI |\x1aE\xdf\xa3",
        "it is a video",
        "save its frames as JPEG or PNG",
    ),
    (
        rb"II\*\0|MM\0\*|II\+\0|MM\0\+",
        "a TIFF with other channels or numbers than are read",
        "save it as 8-bit RGB",
    ),
)
"""First bytes of what is often called .jpg or .tif and is no picture that can be read: what it is, what to do."""

Source = str | Path | IO[bytes]


def is_below(name: str) -> bool:
    """Whether ``name`` is a path that stays in its folder, also for Windows."""
    parts = name.replace("\\", "/").split("/")
    return ".." not in parts and not name.startswith(("/", "\\")) and ":" not in parts[0][:2]


def is_file(path: Path) -> bool:
    """``path.is_file()`` for names that no file can have, too."""
    try:
        return path.is_file()
    except (OSError, ValueError):  # a name too long, a null byte
        return False


def pictures(folder: Path, endings: frozenset[str] = PICTURES) -> list[Path]:
    """Pictures below ``folder`` by name, those of sub-folders and behind links too.

    Hidden files and folders are left out. A folder that several links lead to is entered once.

    Raises:
        OSError: a folder cannot be read.
    """
    found: list[Path] = []
    entered: set[str] = set()
    for place, folders, files in os.walk(folder, onerror=_raise, followlinks=True):
        real = os.path.realpath(place)
        if real in entered:
            folders.clear()
            continue
        entered.add(real)
        folders[:] = sorted(
            name for name in folders if not name.startswith(".") and name != "__MACOSX"
        )
        shown = [Path(place, name) for name in files if not name.startswith(".")]
        found += [path for path in shown if path.suffix.lower() in endings]
    return sorted(found)


def unread_pictures(folder: Path) -> list[Path]:
    """Pictures below ``folder`` in formats that are not read."""
    return pictures(folder, UNREAD)


def _raise(error: OSError) -> None:
    raise error


class Header(NamedTuple):
    """What a file says of itself before its pixels are decoded."""

    stored: tuple[int, int]  # height, width of the stored pixels
    upright: tuple[int, int]  # the same after the turn that EXIF asks for
    frames: int = 1  # of which the first is read


class ImageSource(Protocol):
    """Where the images of a data set are: files, or rows of a table. Errors name the image."""

    def __len__(self) -> int: ...

    def name(self, index: int) -> str: ...

    def header(self, index: int) -> Header: ...

    def read(self, index: int, *, upright: bool) -> Image.Image: ...


@runtime_checkable
class StoredImages(Protocol):
    """Images in a table, each of which can be damaged; rows with another content have another fingerprint."""

    fingerprint: str

    def check(self, index: int) -> str: ...


def open_image(source: Source) -> ImageFile.ImageFile:
    """Open an image file whose pixels are still encoded, as one of :data:`FORMATS`, for a ``with`` statement.

    Nearly any bytes can pass for a TGA header: a path has to end like one, and a stream like a file of TGA 2.

    Raises:
        GLIPError: what is not a plain file, such as a folder or a named pipe.
        FileNotFoundError: nothing is there.
        Exception: Pillow's errors about the content, of all kinds.
    """
    if isinstance(source, str | Path):
        _check_there(source)
    Image.init()
    formats = [name for name in FORMATS if name in Image.OPEN]  # builds of Pillow lack some
    return Image.open(source, formats=[*formats, "TGA"] if _may_be_tga(source) else formats)


def _may_be_tga(source: Source) -> bool:
    if isinstance(source, str | Path):
        return Path(source).suffix.lower() in TGA
    size = source.seek(0, 2)
    source.seek(max(0, size - len(TGA_END)))
    end = source.read()
    source.seek(0)
    return end == TGA_END


def read_image(source: Source, *, upright: bool, name: str | None = None) -> Image.Image:
    """An image file as PIL RGB; grey, palette, CMYK, 16-bit and transparent ones included.

    ``upright=True`` turns the photo as its EXIF orientation says, as a viewer does. ``upright=False`` keeps
    the stored pixels. Alpha is dropped, as in the official ``Image.open(path).convert("RGB")``. A file that
    is missing, truncated or no image is an error that names it (by ``name`` where it is no path).
    """
    try:
        with open_image(source) as file:
            _check_end(file)
            image = ImageOps.exif_transpose(file) if upright else file
            return to_rgb(image)
    except (GLIPError, FileNotFoundError):  # of open_image itself
        raise
    except Exception as error:  # the decoders of PIL let all kinds of errors through
        raise _unreadable(name or source, error) from error


def check_image(source: Source, name: str | None = None) -> str:
    """Decode a file, JPEG at an eighth of its size, and return what is wrong; an empty text for nothing."""
    try:
        with open_image(source) as file:
            _check_end(file)
            file.draft(
                "RGB", (max(1, file.width // 8), max(1, file.height // 8))
            )  # only JPEG has smaller sizes
            if file.format != "JPEG":
                to_rgb(file)  # also finds levels that are not read
            file.load()
    except (GLIPError, FileNotFoundError) as error:
        return str(error)
    except Exception as error:  # the decoders of PIL let all kinds of errors through
        return str(_unreadable(name or source, error))
    return ""


def read_header(source: Source, name: str | None = None) -> Header:
    """Sizes of an image file; what is no image is an error that names it."""
    try:
        with open_image(source) as file:
            exif = Image.Image.getexif(file)  # that of PNG files would decode them
            turned = exif.get(ORIENTATION, 1) in (5, 6, 7, 8)
            height, width, frames = file.height, file.width, getattr(file, "n_frames", 1)
    except (GLIPError, FileNotFoundError):
        raise
    except Exception as error:
        raise _unreadable(name or source, error) from error
    return Header((height, width), (width, height) if turned else (height, width), frames)


def with_frames(paths: Iterable[Path]) -> list[Path]:
    """Return the pictures that have several frames or pages, of which the first is read."""
    found = []
    for path in paths:
        if path.suffix.lower() in FRAMED:
            with suppress(GLIPError, OSError):  # told by who reads its pixels
                found += [path] if read_header(path).frames > 1 else []
    return found


def _check_there(path: str | Path) -> None:
    try:
        regular_file(path)
    except GLIPError:
        raise
    except (
        FileNotFoundError,
        NotADirectoryError,
        ValueError,
    ) as error:  # ValueError: a null byte in its name
        message = f"{printable(str(path))}: no such image file; check the path"
        raise MissingFile(message, code="missing-file") from error


def _check_end(file: ImageFile.ImageFile) -> None:
    """Raise OSError for a JPEG file that was just opened and ends in zeros before its pixels do.

    Decoders paint the missing lines grey and say nothing.
    """
    stream = file.fp
    if file.format != "JPEG" or stream is None:
        return
    pixels = stream.tell()
    size = stream.seek(0, 2)
    stream.seek(max(pixels, size - BLANK))
    blank = not any(stream.read())
    stream.seek(pixels)
    lost = blank and JPEG_END not in stream.read()
    stream.seek(pixels)
    if lost:
        raise OSError(
            "zeros stand where its last lines should be, as after a copy that was not finished"
        )


def _unreadable(name: object, error: Exception) -> GLIPError:
    reason, cure = (
        printable(" ".join(str(error).split()) or type(error).__name__),
        "replace the file or remove it",
    )
    if isinstance(error, UnidentifiedImageError):
        reason = f"its content is none of {', '.join(FORMATS)}"
        if isinstance(name, str | Path):
            reason, cure = _true_kind(Path(name)) or (reason, cure)
    if isinstance(error, Image.DecompressionBombError):
        cure = "cut it into tiles or scale it down"
    message = f"{printable(str(name))}: not a readable image ({reason}); {cure}"
    return GLIPError(message, code="unreadable-image")


def _true_kind(path: Path) -> tuple[str, str] | None:
    """What a file is in truth, and what to do about it; None for what has no name here."""
    try:
        with path.open("rb") as stream:
            head = stream.read(64)
    except OSError:  # a name that is no path
        return None
    flags = re.IGNORECASE | re.DOTALL
    return next(
        ((kind, cure) for pattern, kind, cure in KINDS if re.match(pattern, head, flags)), None
    )


def to_rgb(image: Image.Image) -> Image.Image:
    """Any mode to 8-bit RGB; levels of 16 bits are scaled, not clipped."""
    if image.mode.startswith(
        "I"
    ):  # 16 bits and more: convert("RGB") would clip nearly all to white
        return Image.fromarray(_high_byte(np.asarray(image))).convert("RGB")
    if image.mode == "F":
        message = "its pixels are 32-bit floats; save it with 8 or 16 bits per channel"
        raise GLIPError(message, code="unreadable-image")
    if image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")  # PIL warns when a transparent palette goes straight to RGB
    return image.convert("RGB")


def _high_byte(values: np.ndarray) -> np.ndarray:
    """Grey levels 0..65535 to uint8, 65535 becoming 255."""
    if values.min() < 0 or values.max() > 65535:
        message = f"grey levels {values.min()}..{values.max()} exceed 16 bits; save it with 8 or 16"
        raise GLIPError(message, code="unreadable-image")
    return ((values.astype(np.uint32) + 128) // 257).astype(np.uint8)


class Names:
    """Many texts in two arrays: a list of them would be copied into every worker process, touch by touch."""

    def __init__(self, texts: list[str]) -> None:
        encoded = [text.encode("utf-8", "surrogateescape") for text in texts]
        self._bytes = np.frombuffer(bytearray(b"".join(encoded)), dtype=np.uint8)
        self._ends = np.cumsum([len(text) for text in encoded], dtype=np.int64)

    def __len__(self) -> int:
        return len(self._ends)

    def __getitem__(self, index: int) -> str:
        start = self._ends[index - 1] if index else 0
        return self._bytes[start : self._ends[index]].tobytes().decode("utf-8", "surrogateescape")


class ImageFiles:
    """Image files below a folder."""

    def __init__(self, folder: Path, names: list[str]) -> None:
        self.folder, self._names = folder, Names(names)

    def __len__(self) -> int:
        return len(self._names)

    def name(self, index: int) -> str:
        return self._names[index]

    def path(self, index: int) -> Path:
        return self.folder / self._names[index]

    def header(self, index: int) -> Header:
        return read_header(self.path(index))

    def read(self, index: int, *, upright: bool) -> Image.Image:
        return read_image(self.path(index), upright=upright)
