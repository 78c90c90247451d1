"""Image files: their search, their headers, and their pixels as 8-bit RGB."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Protocol, runtime_checkable

import numpy as np
from PIL import Image, ImageFile, ImageOps, UnidentifiedImageError

from glip_lightning.common.errors import GLIPError, MissingFile
from glip_lightning.common.escaping import printable
from glip_lightning.common.files import regular_file

ORIENTATION = 0x0112  # EXIF tag


def _endings(names: str) -> frozenset[str]:
    return frozenset(f".{name}" for name in names.split())


TGA = _endings("tga icb vda vst")
PICTURES = TGA | _endings(
    "jpg jpeg jpe jfif mpo png apng bmp dib gif webp avif avifs tif tiff "
    "jp2 j2k jpc jpf jpx j2c ppm pgm pbm pnm pfm"
)
"""File name endings, in lower case, that are taken for images."""

FRAMED = _endings("gif png apng webp avif avifs tif tiff")
"""Endings of images that may have several frames."""

UNREAD = _endings(
    "heic heif hif dng cr2 cr3 nef arw orf rw2 raf pef srw raw "
    "jxl psd svg eps exr hdr dcm ico pcx sgi ras xbm dds "
    "mp4 mov m4v avi mkv webm mpg mpeg wmv mts 3gp pdf"
)
"""Endings of images and videos that are not read; they are named where they lie among others."""

FORMATS = ("JPEG", "PNG", "BMP", "DIB", "WEBP", "AVIF", "TIFF", "GIF", "JPEG2000", "PPM")
"""What Pillow may take a file for, besides TGA.

If Pillow may choose any format, it gives a file that begins with %!PS, a program, to Ghostscript.
The MPO of cameras needs no entry: Pillow's JPEG reader recognises it.
"""

# the last bytes of TGA files since 1989; their first bytes are not characteristic
TGA_END = b"TRUEVISION-XFILE.\0"

JPEG_END = b"\xff\xd9"
BLANK = 64  # last bytes of a JPEG file; if all are zero, its end may be lost

FLAT = 24  # of 256 levels: an image with fewer shows next to nothing
REDUCTION = 8  # JPEG is decoded at an eighth of its size where damage is looked for

KINDS: tuple[tuple[bytes, str, str], ...] = (
    (rb"\Z", "it is empty", "copy or download it again"),
    (rb"version https://git-lfs", "it is a placeholder of Git LFS", "run git lfs pull"),
    (
        rb"\s*<(!doctype html|html)",
        "it is a web page, perhaps of a download that failed",
        "download it again",
    ),
    (rb"\0\x05\x16\x07", "it holds notes of macOS about another file", "remove it"),
    (rb"....ftyp(hei|hev|mif|msf)", "it is HEIC", "convert it to JPEG"),
    (rb"%PDF", "it is PDF", "convert its pages to JPEG or PNG"),
    (
        rb"....ftyp(?!avi[fs])|RIFF....AVI |\x1aE\xdf\xa3",
        "it is a video",
        "save its frames as JPEG or PNG",
    ),
    (
        rb"II\*\0|MM\0\*|II\+\0|MM\0\+",
        "it is a TIFF with other channels or numbers than are read",
        "save it as 8-bit RGB",
    ),
)
"""First bytes of files that are often named .jpg or .tif, but cannot be read as an image.

After the pattern: what such a file is, and what to do.
"""

Source = str | Path | IO[bytes]


def is_below(name: str) -> bool:
    """Return whether ``name`` is a path that stays in its folder, also for Windows."""
    parts = name.replace("\\", "/").split("/")
    return ".." not in parts and not name.startswith(("/", "\\")) and ":" not in parts[0][:2]


def is_file(path: Path) -> bool:
    """Return ``path.is_file()``, and False for names that no file can have."""
    try:
        return path.is_file()
    except (OSError, ValueError):  # a name too long, a null byte
        return False


def pictures(folder: Path, endings: frozenset[str] = PICTURES) -> list[Path]:
    """Return the images below ``folder`` by name, also in sub-folders and behind links.

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
        visible = [name for name in folders if not name.startswith(".")]
        folders[:] = sorted(name for name in visible if name != "__MACOSX")
        for name in files:
            path = Path(place, name)
            if not name.startswith(".") and path.suffix.lower() in endings:
                found.append(path)
    return sorted(found)


def unread_pictures(folder: Path) -> list[Path]:
    """Return the images and videos below ``folder`` in formats that are not read."""
    return pictures(folder, UNREAD)


def _raise(error: OSError) -> None:
    raise error


@dataclass(frozen=True, slots=True)
class Header:
    """What a file says of itself before its pixels are decoded."""

    stored: tuple[int, int]  # height, width of the stored pixels
    upright: tuple[int, int]  # the same after the turn that EXIF asks for
    frames: int = 1  # of which the first is read


class ImageSource(Protocol):
    """Where the images of a data set are: files, or rows of a table. Errors name the image."""

    def __len__(self) -> int: ...

    def name(self, index: int) -> str:
        """Return the name of an image, by which messages and results call it."""
        ...

    def header(self, index: int) -> Header:
        """Read what the image says of itself before its pixels are decoded."""
        ...

    def read(self, index: int, *, upright: bool) -> Image.Image:
        """Read an image as RGB, turned as its EXIF orientation says if ``upright``."""
        ...


@dataclass(frozen=True, slots=True)
class ImageCheck:
    """What is wrong with the pixels of an image file."""

    fault: str = ""  # why they cannot be read
    flat: bool = False  # they are nearly of one colour


@runtime_checkable
class StoredImages(Protocol):
    """Images in a table, each of which can be damaged."""

    fingerprint: str  # of the content of the rows

    def check(self, index: int) -> ImageCheck:
        """Decode an image and return what is wrong with it."""
        ...


def open_image(source: Source) -> ImageFile.ImageFile:
    """Open an image file for a ``with`` statement, as one of :data:`FORMATS`; pixels stay encoded.

    Nearly any bytes can pass for a TGA header, so a path must have such an ending, and a stream
    must end like a file of TGA 2.

    Raises:
        GLIPError: it is not a plain file, but a folder or a named pipe, for example.
        MissingFile: nothing is there.
        Exception: Pillow's errors about the content, of all kinds.
    """
    if isinstance(source, str | Path):
        _check_there(source)
    Image.init()
    formats = [name for name in FORMATS if name in Image.OPEN]  # builds of Pillow lack some
    if _may_be_tga(source):
        formats.append("TGA")
    return Image.open(source, formats=formats)


def _may_be_tga(source: Source) -> bool:
    if isinstance(source, str | Path):
        return Path(source).suffix.lower() in TGA
    size = source.seek(0, 2)
    source.seek(max(0, size - len(TGA_END)))
    end = source.read()
    source.seek(0)
    return end == TGA_END


def read_image(source: Source, *, upright: bool, name: str | None = None) -> Image.Image:
    """Return an image file as PIL RGB, also if it is grey, palette, CMYK, 16-bit or transparent.

    Alpha is dropped, as in the official ``Image.open(path).convert("RGB")``.

    Args:
        source: the file, or a stream of its bytes.
        upright: True turns the photo as its EXIF orientation says, as a viewer does; False keeps
            the stored pixels.
        name: by which errors call a stream.

    Raises:
        MissingFile: nothing is there.
        GLIPError: the file is truncated or is no image (``unreadable-image``).
    """
    with _opened(source, name) as file:
        return _first_frame(file, upright)


def read_with_frames(path: Path, *, upright: bool) -> tuple[Image.Image, int]:
    """Return what :func:`read_image` returns, the first frame, and how many frames the file has.

    The number is 1 where frames cannot be counted, and for a JPEG file, whose others are previews.
    """
    with _opened(path) as file:
        frames = 1
        if path.suffix.lower() in FRAMED:
            try:
                frames = getattr(file, "n_frames", 1)
            except Exception:  # a later frame is damaged: PIL raises all kinds of errors
                file.seek(0)
        return _first_frame(file, upright), frames


@contextmanager
def _opened(source: Source, name: str | None = None) -> Iterator[ImageFile.ImageFile]:
    """Yield an opened image file; what goes wrong with it becomes an error that names it."""
    try:
        with open_image(source) as file:
            yield file
    except (GLIPError, FileNotFoundError):
        raise
    except Exception as error:  # the decoders of PIL let all kinds of errors through
        raise _unreadable(name or source, error) from error


def _first_frame(file: ImageFile.ImageFile, upright: bool) -> Image.Image:
    _check_end(file)
    return to_rgb(ImageOps.exif_transpose(file) if upright else file)


def check_image(source: Source, name: str | None = None) -> ImageCheck:
    """Decode a file, JPEG at an eighth of its size, and return what is wrong with it.

    Args:
        source: the file, or a stream of its bytes.
        name: by which the fault calls a stream.
    """
    try:
        with open_image(source) as file:
            _check_end(file)
            width, height = file.size
            # only JPEG has smaller sizes
            file.draft("RGB", (max(1, width // REDUCTION), max(1, height // REDUCTION)))
            image = to_rgb(file)
        if image.size != (width, height) and is_flat(image):
            image = read_image(source, upright=False, name=name)  # details may be lost at an eighth
    except (GLIPError, FileNotFoundError) as error:
        return ImageCheck(fault=str(error))
    except Exception as error:  # the decoders of PIL let all kinds of errors through
        return ImageCheck(fault=str(_unreadable(name or source, error)))
    return ImageCheck(flat=is_flat(image))


def is_flat(image: Image.Image) -> bool:
    """Return whether an RGB image is nearly of one colour: under 24 of 256 levels per channel."""
    ranges = np.ptp(image.getextrema(), axis=1)  # of the channels
    return bool(ranges.max() < FLAT)


def read_header(source: Source, name: str | None = None) -> Header:
    """Read the sizes of an image file.

    Raises:
        MissingFile: nothing is there.
        GLIPError: the file is no image (``unreadable-image``).
    """
    with _opened(source, name) as file:
        exif = Image.Image.getexif(file)  # that of PNG files would decode them
        turned = exif.get(ORIENTATION, 1) in (5, 6, 7, 8)
        stored = (file.height, file.width)
        frames = getattr(file, "n_frames", 1)
    upright = stored[::-1] if turned else stored
    return Header(stored, upright, frames)


def _check_there(path: str | Path) -> None:
    try:
        regular_file(path)
    except GLIPError:
        raise
    except (FileNotFoundError, NotADirectoryError, ValueError) as error:
        # ValueError: a null byte in its name
        message = f"{printable(str(path))}: no such image file; check the path"
        raise MissingFile(message, code="missing-file") from error


def _check_end(file: ImageFile.ImageFile) -> None:
    """Raise OSError for a JPEG file, just opened, whose pixels end too early in zeros.

    Decoders paint the missing lines grey and report nothing.
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
        raise OSError("zeros replace its last lines, perhaps after a copy that was not finished")


def _unreadable(name: object, error: Exception) -> GLIPError:
    """Return the error about a file that is no image that can be read."""
    reason = printable(" ".join(str(error).split()) or type(error).__name__)
    cure = "replace the file or remove it"
    if isinstance(error, UnidentifiedImageError):
        reason = f"its content is none of {', '.join(FORMATS)}"
        known = _true_kind(Path(name)) if isinstance(name, str | Path) else None
        if known is not None:
            reason, cure = known
    if isinstance(error, Image.DecompressionBombError):
        cure = "cut it into tiles or scale it down"
    message = f"{printable(str(name))}: not a readable image ({reason}); {cure}"
    return GLIPError(message, code="unreadable-image")


def _true_kind(path: Path) -> tuple[str, str] | None:
    """Return what a file really is, and what to do about it; None where :data:`KINDS` lacks it."""
    try:
        with path.open("rb") as stream:
            head = stream.read(64)
    except OSError:  # a name that is no path
        return None
    for pattern, kind, cure in KINDS:
        if re.match(pattern, head, re.IGNORECASE | re.DOTALL):
            return kind, cure
    return None


def to_rgb(image: Image.Image) -> Image.Image:
    """Convert an image of any mode to 8-bit RGB; levels of 16 bits are scaled, not clipped.

    Raises:
        GLIPError: its numbers have more than 16 bits (``unreadable-image``).
    """
    if image.mode.startswith("I"):  # 16 bits and more: convert("RGB") would clip most to white
        return Image.fromarray(_high_byte(np.asarray(image))).convert("RGB")
    if image.mode == "F":
        message = "its pixels are 32-bit floats; save it with 8 or 16 bits per channel"
        raise GLIPError(message, code="unreadable-image")
    if image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")  # PIL warns when a transparent palette goes straight to RGB
    return image.convert("RGB")


def _high_byte(values: np.ndarray) -> np.ndarray:
    """Scale grey levels 0..65535 to uint8; 65535 becomes 255."""
    if values.min() < 0 or values.max() > 65535:
        message = f"grey levels {values.min()}..{values.max()} exceed 16 bits; save it with 8 or 16"
        raise GLIPError(message, code="unreadable-image")
    return ((values.astype(np.uint32) + 128) // 257).astype(np.uint8)


class Names:
    """Many texts in two arrays.

    A list of texts would be copied into every worker process, piece by piece: to read a Python
    object changes its count of references, so that its page of memory is no longer shared.
    """

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
    """Image files below a folder, an :class:`ImageSource`."""

    def __init__(self, folder: Path, names: list[str]) -> None:
        self.folder, self._names = folder, Names(names)

    def __len__(self) -> int:
        return len(self._names)

    def name(self, index: int) -> str:
        """Return the file name of an image, below the folder."""
        return self._names[index]

    def path(self, index: int) -> Path:
        """Return the path of an image."""
        return self.folder / self._names[index]

    def header(self, index: int) -> Header:
        """Read the sizes of an image; see :func:`read_header`."""
        return read_header(self.path(index))

    def read(self, index: int, *, upright: bool) -> Image.Image:
        """Read an image as RGB; see :func:`read_image`."""
        return read_image(self.path(index), upright=upright)
