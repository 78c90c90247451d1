"""Files are read as images only: no format runs a program, no pipe is waited for."""

import ast
import io
import os
import struct
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from PIL import EpsImagePlugin, Image, UnidentifiedImageError

from glip_lightning.common.errors import GLIPError, MissingFile
from glip_lightning.common.escaping import printable
from glip_lightning.data.images import (
    FORMATS,
    PICTURES,
    UNREAD,
    open_image,
    pictures,
    read_header,
    read_image,
    read_with_frames,
    unread_pictures,
)

SOURCES = Path(__file__).parent.parent.parent / "src" / "glip_lightning"
POSTSCRIPT = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 64 48\n%%EndComments\nshowpage\n%%EOF\n"
ENDINGS = {"JPEG": "jpg", "MPO": "jpg", "JPEG2000": "jp2", "TIFF": "tif"}


@pytest.fixture
def called(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file that exists after somebody has started Ghostscript."""
    mark = tmp_path / "called"
    program = tmp_path / "bin" / "gs"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\necho "$@" >> "{mark}"\necho 10.0\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr(EpsImagePlugin, "gs_binary", None)
    return mark


def photo() -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8))


def encoded(kind: str) -> bytes:
    memory = io.BytesIO()
    several = {"save_all": True, "append_images": [photo()]} if kind == "MPO" else {}
    photo().save(memory, format=kind, **several)
    return memory.getvalue()


def refusal(source: Path | io.BytesIO, name: str | None = None) -> GLIPError:
    with pytest.raises(GLIPError) as caught:
        read_image(source, upright=True, name=name)
    assert "\n" not in str(caught.value)
    return caught.value


@pytest.mark.parametrize(
    "head", [b"", b"\xc5\xd0\xd3\xc6" + struct.pack("<II", 32, len(POSTSCRIPT)) + bytes(20)]
)
@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.tif", "a.tga", "a.eps"])
def test_a_program_is_no_picture(tmp_path: Path, called: Path, name: str, head: bytes) -> None:
    file = tmp_path / name
    file.write_bytes(head + POSTSCRIPT)
    for source in (file, io.BytesIO(file.read_bytes())):
        error = refusal(source, None if source is file else name)
        assert error.code == "unreadable-image"
        assert name in str(error)
    with pytest.raises(GLIPError):
        read_header(file)
    assert not called.exists()
    with Image.open(file) as image, suppress(Exception):  # Pillow left to choose does start it
        image.load()
    assert called.exists()


@pytest.mark.parametrize("kind", [*FORMATS, "MPO", "TGA"])
def test_every_format_is_read(tmp_path: Path, kind: str) -> None:
    file = tmp_path / f"photo.{ENDINGS.get(kind, kind.lower())}"
    file.write_bytes(encoded(kind))
    for source in (file, io.BytesIO(file.read_bytes())):
        with open_image(source) as image:
            assert image.format == kind
        assert read_header(source).stored == (48, 64)
    assert read_image(file, upright=True).size == (64, 48)
    assert pictures(tmp_path) == [file]


def test_endings_are_those_of_the_formats() -> None:
    Image.init()
    known = {
        ending
        for ending, kind in Image.registered_extensions().items()
        if kind in (*FORMATS, "MPO", "TGA")
    }
    assert known == PICTURES


def test_formats_that_this_build_lacks_are_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Image.init()
    monkeypatch.delitem(Image.OPEN, "AVIF")
    photo().save(tmp_path / "a.png")
    assert read_image(tmp_path / "a.png", upright=True).size == (64, 48)
    (tmp_path / "b.txt").write_text("no picture")
    assert refusal(tmp_path / "b.txt").code == "unreadable-image"


def icon() -> bytes:
    """An ICO of 36 KB, the beginning of which is a TGA header of a picture 32 pixels wide."""
    memory = io.BytesIO()
    photo().resize((32, 32)).save(memory, format="ICO", bitmap_format="bmp")
    return memory.getvalue()


def test_no_bytes_are_taken_for_tga(tmp_path: Path) -> None:
    """A header that Pillow's TGA reader accepts, before bytes of something else."""
    header = struct.pack("<BBBHHBHHHHBB", 0, 0, 2, 0, 0, 0, 0, 0, 64, 48, 24, 0)
    content = header + bytes(64 * 48 * 3)
    with Image.open(io.BytesIO(content), formats=["TGA"]) as image:
        assert image.size == (64, 48)
    (tmp_path / "a.png").write_bytes(content)
    (tmp_path / "a.tga").write_bytes(content)
    assert refusal(tmp_path / "a.png").code == "unreadable-image"
    assert refusal(io.BytesIO(content), "train[0]").code == "unreadable-image"
    assert refusal(io.BytesIO(icon()), "train[0]").code == "unreadable-image"
    assert read_image(tmp_path / "a.tga", upright=True).size == (64, 48)


@pytest.mark.parametrize(
    "content", [b"", b"\0" * 10, b"\0" * 100, bytes(range(256)) * 4, b"<html></html>", icon()]
)
def test_foreign_content_named_tga(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.tga").write_bytes(content)
    assert refusal(tmp_path / "a.tga").code == "unreadable-image"


def test_a_damaged_tga(tmp_path: Path) -> None:
    (tmp_path / "a.tga").write_bytes(encoded("TGA")[:1000])
    assert refusal(tmp_path / "a.tga").code == "unreadable-image"


def test_a_decompression_bomb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    photo().save(tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    error = refusal(tmp_path / "a.png")
    assert error.code == "unreadable-image"
    assert "decompression bomb" in str(error)  # Pillow's words


@pytest.mark.parametrize("kind", ["pipe", "link to a pipe", "device", "folder"])
def test_no_plain_file(tmp_path: Path, kind: str) -> None:
    file = tmp_path / "a.png"
    if kind == "folder":
        file.mkdir()
    elif kind == "device":
        file.symlink_to("/dev/zero")
    else:
        os.mkfifo(tmp_path / "pipe.png" if "link" in kind else file)
        if "link" in kind:
            file.symlink_to(tmp_path / "pipe.png")
    error = refusal(file)
    assert error.code == "not-a-file"
    assert str(file) in str(error)


def test_nothing_there(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    (tmp_path / "loop.png").symlink_to(tmp_path / "loop.png")
    (tmp_path / "dangling.png").symlink_to(tmp_path / "none")
    for path in (
        tmp_path / "a.png",
        tmp_path / "file" / "a.png",
        tmp_path / "dangling.png",
        Path("a\0.png"),
    ):
        with pytest.raises(MissingFile) as caught:
            read_image(path, upright=True)
        assert caught.value.code == "missing-file"
        assert printable(str(path)) in str(caught.value)
    assert refusal(tmp_path / "loop.png").code == "unreadable-image"


def test_names_are_shown_escaped(tmp_path: Path) -> None:
    file = tmp_path / "a\x1b[31m\n\u202e.png"
    file.write_text("no picture")
    assert "a\\x1b[31m\\n\\u202e.png" in str(refusal(file))


def opened(path: Path) -> Iterator[str]:
    """Functions in which Pillow is asked to open a file, under whatever name it was imported."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    names = {"PIL.Image.open"}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {
                f"{each.asname or each.name}.Image.open"
                for each in node.names
                if each.name == "PIL"
            }
            names |= {
                f"{each.asname}.open"
                for each in node.names
                if each.name == "PIL.Image" and each.asname
            }
        elif isinstance(node, ast.ImportFrom) and node.module == "PIL":
            names |= {
                f"{each.asname or each.name}.open" for each in node.names if each.name == "Image"
            }
        elif isinstance(node, ast.ImportFrom) and node.module == "PIL.Image":
            names |= {each.asname or each.name for each in node.names if each.name == "open"}
    for function in ast.walk(tree):
        if isinstance(function, ast.FunctionDef):
            used = {
                ast.unparse(node)
                for node in ast.walk(function)
                if isinstance(node, ast.Attribute | ast.Name)
            }
            if used & names:
                yield f"{path.name}:{function.name}"


@pytest.mark.parametrize(
    "text",
    [
        "from PIL import Image\ndef f(): Image.open('a')",
        "from PIL import Image as I\ndef f(): return I.open",
        "import PIL.Image\ndef f(): PIL.Image.open('a')",
        "import PIL.Image as I\ndef f(): I.open('a')",
        "from PIL.Image import open as o\ndef f(): o('a')",
    ],
)
def test_the_search_finds_it(tmp_path: Path, text: str) -> None:
    (tmp_path / "x.py").write_text(text)
    assert list(opened(tmp_path / "x.py")) == ["x.py:f"]


def test_one_function_opens_pictures() -> None:
    found = [place for path in sorted(SOURCES.rglob("*.py")) for place in opened(path)]
    assert found == ["images.py:open_image"]


def test_open_image_says_what_pillow_says(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_text("no picture")
    with pytest.raises(UnidentifiedImageError):
        open_image(tmp_path / "a.png")


def test_folders_are_searched_by_one_rule(tmp_path: Path) -> None:
    """Sub-folders and links are entered, each folder once; hidden ones are not."""
    for place in ("a.png", "deep/er/b.JPG", ".hidden/c.png", "__MACOSX/d.png", "deep/._e.png"):
        (tmp_path / "set" / place).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "set" / place).write_bytes(b"x")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "f.webp").write_bytes(b"x")
    (tmp_path / "elsewhere" / "g.HEIC").write_bytes(b"x")
    (tmp_path / "elsewhere" / "h.mov").write_bytes(b"x")
    (tmp_path / "set" / "link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "set" / "link2").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "set" / "deep" / "loop").symlink_to(tmp_path / "set")
    found = [str(path.relative_to(tmp_path / "set")) for path in pictures(tmp_path / "set")]
    assert found == ["a.png", "deep/er/b.JPG", "link/f.webp"]
    assert [path.name for path in unread_pictures(tmp_path / "set")] == ["g.HEIC", "h.mov"]
    assert not PICTURES & UNREAD


@pytest.mark.parametrize("name", ["a.gif", "a.png", "a.webp", "a.tif"])
def test_the_first_of_several_frames_is_read_and_they_are_counted(
    tmp_path: Path, name: str
) -> None:
    red, blue = (Image.new("RGB", (40, 30), colour) for colour in ("red", "blue"))
    red.save(tmp_path / name, save_all=True, append_images=[blue, red])
    blue.save(tmp_path / f"one-{name}")
    (tmp_path / f"broken-{name}").write_bytes(b"nothing")
    assert read_header(tmp_path / name).frames == 3
    first, frames = read_with_frames(tmp_path / name, upright=True)
    assert frames == 3
    assert read_with_frames(tmp_path / f"one-{name}", upright=True)[1] == 1
    with pytest.raises(GLIPError) as caught:
        read_with_frames(tmp_path / f"broken-{name}", upright=True)
    assert caught.value.code == "unreadable-image"
    assert first.tobytes() == read_image(tmp_path / name, upright=True).tobytes()
    pixel = first.getpixel((20, 15))
    assert isinstance(pixel, tuple)
    assert pixel[0] > 200


@pytest.mark.parametrize(
    "content, word",
    [
        (b"", "empty"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(99), "HEIC"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 3\n", "git lfs pull"),
        (b"\n<!DOCTYPE html><html>403</html>", "web page"),
        (b"\0\5\x16\7\0\2\0\0Mac OS X        " + bytes(99), "macOS"),
        (b"II*\0" + bytes(99), "TIFF"),
        (b"MM\0*" + bytes(99), "TIFF"),
        (b"%PDF-1.7\n", "PDF"),
        (b"\0\0\0\x20ftypisom\0\0\2\0isomiso2avc1mp41" + bytes(99), "video"),
        (b"RIFF\xff\xff\0\0AVI LIST" + bytes(99), "video"),
    ],
)
def test_the_true_kind_of_a_file_is_named(tmp_path: Path, content: bytes, word: str) -> None:
    (tmp_path / "a.jpg").write_bytes(content)
    error = refusal(tmp_path / "a.jpg")
    assert (error.code, word in str(error)) == ("unreadable-image", True)


def test_pictures_with_too_many_pixels_are_cut_into_tiles(tmp_path: Path) -> None:
    Image.new("1", (14_000, 14_000)).save(tmp_path / "a.png")
    assert "tiles" in str(refusal(tmp_path / "a.png"))
