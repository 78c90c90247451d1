"""Good archives and others: nothing is ever written outside the new folder."""

import io
import stat
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest

from glip_lightning.common.errors import GLIPError
from glip_lightning.data.benchmarks import unpack as module
from glip_lightning.data.benchmarks.unpack import crc_of, unpack
from hub_server import zip_of

FILES = {"Task/train/a.jpg": b"a" * 100, "Task/valid/ü b.json": b"{}", "Task/empty": b""}


def write(folder: Path, content: bytes) -> Path:
    (folder / "task.zip").write_bytes(content)
    return folder / "task.zip"


def refused(folder: Path, content: bytes, code: str, *named: str) -> None:
    """Check that unpacking is refused with this code, and leaves nothing beside its folder.

    The message has all of ``named``.
    """
    archive = write(folder, content)
    (folder / "inner").mkdir(exist_ok=True)
    with pytest.raises(GLIPError) as caught:
        unpack(archive, "Task", folder / "inner" / "Task")
    assert caught.value.code == code
    assert str(caught.value).startswith("task.zip: ")
    assert all(part in str(caught.value) for part in named), caught.value
    assert {
        path.name
        for path in folder.rglob("*")
        if not path.is_relative_to(folder / "inner" / "Task")
    } == {
        "task.zip",
        "inner",
    }


def test_files_below_the_top_folder_are_unpacked(tmp_path: Path) -> None:
    extra = {"__MACOSX/Task/._a.jpg": b"x", "README": b"x"}
    files = unpack(
        write(tmp_path, zip_of({**FILES, "Task/": b"", **extra})), "Task", tmp_path / "Task"
    )
    found = {
        f"Task/{p.relative_to(tmp_path / 'Task')}": p
        for p in (tmp_path / "Task").rglob("*")
        if p.is_file()
    }
    assert {name: path.read_bytes() for name, path in found.items()} == FILES
    assert files == {
        name.removeprefix("Task/"): (len(FILES[name]), crc_of(path)) for name, path in found.items()
    }
    assert {p.name for p in tmp_path.iterdir()} == {"task.zip", "Task"}


@pytest.mark.parametrize(
    "name",
    [
        "/Task/x",
        "Task/../../x",
        "../x",
        "C:/Task/x",
        "c:x",
        "Task\\..\\..\\x",
        "//host/share/x",
        "Task/\0x",
    ],
)
def test_names_that_lead_out(tmp_path: Path, name: str) -> None:
    content = zip_of({**FILES, "Task/QQQ" if "\0" in name else name: b"out"})
    named = repr("Task/\0xy" if "\0" in name else name)
    refused(tmp_path, content.replace(b"Task/QQQ", b"Task/\0xy"), "unsafe-archive", named)
    assert not (tmp_path / "inner" / "Task").exists()


@pytest.mark.parametrize(
    ("name", "given", "possible"),
    [
        ("Task/" + "d/" * 2000 + "f", 2001, 99),  # folders
        ("Task/" + "x" * 300, 300, 255),  # bytes of a name
        ("Task/" + "é" * 130 + "/f", 260, 255),
        ("Task/" + ("x" * 200 + "/") * 6 + "f", 1212, 1000),  # bytes of a path
        ("Other/" + "x" * 300, 300, 255),
    ],
)
def test_names_that_no_file_system_takes(
    tmp_path: Path, name: str, given: int, possible: int
) -> None:
    refused(
        tmp_path,
        zip_of({**FILES, name: b"x"}),
        "path-too-long",
        name[:30],
        str(given),
        str(possible),
    )
    assert not (tmp_path / "inner" / "Task").exists()  # nothing is unpacked before it is said


def test_names_as_long_as_can_be(tmp_path: Path) -> None:
    names = ["Task/" + "d/" * 98 + "f", "Task/" + "x" * 255]
    files = unpack(write(tmp_path, zip_of(dict.fromkeys(names, b"x"))), "Task", tmp_path / "Task")
    assert [f"Task/{name}" for name in files] == names


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR])
def test_links_and_devices(tmp_path: Path, kind: int) -> None:
    memory = io.BytesIO()
    with zipfile.ZipFile(memory, "w") as archive:
        info = zipfile.ZipInfo("Task/link")
        info.external_attr = (kind | 0o777) << 16
        archive.writestr(info, "/etc")
        archive.writestr("Task/link/passwd", "x")
    refused(tmp_path, memory.getvalue(), "unsafe-archive", "'Task/link'")


def test_encrypted(tmp_path: Path) -> None:
    content = bytearray(zip_of(FILES))
    content[content.index(b"PK\x01\x02") + 8] |= 1
    refused(tmp_path, bytes(content), "unsupported-archive", "'Task/train/a.jpg'")


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_the_same_file_twice(tmp_path: Path) -> None:
    memory = io.BytesIO()
    with zipfile.ZipFile(memory, "w") as archive:
        archive.writestr("Task/a", "1")
        archive.writestr("Task/a", "2")
    refused(tmp_path, memory.getvalue(), "unsafe-archive", "'Task/a'")


def test_a_file_in_place_of_a_folder(tmp_path: Path) -> None:
    refused(tmp_path, zip_of({"Task/a": b"1", "Task/a/b": b"2"}), "broken-archive")
    refused(tmp_path, zip_of({"Task/a/b": b"1", "Task/a": b"2"}), "broken-archive")


def test_a_bomb_with_true_sizes(tmp_path: Path) -> None:
    memory = io.BytesIO()
    with zipfile.ZipFile(memory, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("Task/zeros", bytes(1_000_000))
    refused(tmp_path, memory.getvalue(), "unsafe-archive", "1000000", str(module.MAX_RATIO))
    assert not (tmp_path / "inner" / "Task").exists()


def test_a_bomb_with_false_sizes(tmp_path: Path) -> None:
    """It declares a hundred bytes and holds a million; not one more than declared is written."""
    memory = io.BytesIO()
    with zipfile.ZipFile(memory, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("Task/zeros", bytes(1_000_000))
    content = memory.getvalue().replace(struct.pack("<I", 1_000_000), struct.pack("<I", 100))
    refused(tmp_path, content, "broken-archive", "CRC-32", "'Task/zeros'")
    assert (
        sum(path.stat().st_size for path in (tmp_path / "inner").rglob("*") if path.is_file())
        <= 100
    )


def test_members_that_share_their_bytes(tmp_path: Path) -> None:
    """The directory names one member of 100 kB three hundred times, which would be 30 MB."""
    content = zip_of({"Task/000": bytes(100_000)})
    start = content.index(b"PK\x01\x02")
    entry, end = (
        content[start : content.index(b"PK\x05\x06")],
        content[content.index(b"PK\x05\x06") :],
    )
    entries = b"".join(entry.replace(b"Task/000", b"Task/%03d" % k) for k in range(300))
    end = end[:8] + struct.pack("<HHI", 300, 300, len(entries)) + end[16:]
    refused(tmp_path, content[:start] + entries + end, "unsafe-archive", "30000000")
    assert not (tmp_path / "inner" / "Task").exists()


def test_no_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 101}))
    with pytest.raises(GLIPError) as refused:
        unpack(write(tmp_path, zip_of(FILES)), "Task", tmp_path / "Task")
    assert refused.value.code == "disk-too-small"
    assert str(tmp_path) in str(refused.value)


@pytest.mark.parametrize(
    "content", [b"", b"PK\x03\x04", b"<html>", zip_of(FILES)[:-30], zip_of(FILES)[40:]]
)
def test_broken_archives(tmp_path: Path, content: bytes) -> None:
    refused(tmp_path, content, "broken-archive")


def test_damaged_content(tmp_path: Path) -> None:
    refused(
        tmp_path,
        zip_of(FILES).replace(b"aaa", b"aab", 1),
        "broken-archive",
        "CRC-32",
        "'Task/train/a.jpg'",
    )


def test_another_top_folder(tmp_path: Path) -> None:
    refused(
        tmp_path,
        zip_of({"train/a": b"", "valid/b": b""}),
        "wrong-archive",
        "'Task'",
        "'train', 'valid'",
    )
    refused(tmp_path, zip_of({}), "wrong-archive", "'Task'")


def explained(archive: Path, target: Path) -> bool:
    """Return whether it is refused; what else is raised fails the test."""
    try:
        unpack(archive, "Task", target)
    except ValueError as error:
        return str(error).startswith("task.zip: ")
    return False


def test_random_damage_is_always_explained(tmp_path: Path) -> None:
    """Whatever bytes change: files that pass their checksums, or a ValueError."""
    memory = io.BytesIO()
    with zipfile.ZipFile(memory, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in FILES.items():
            archive.writestr(name, content)
    rng = np.random.default_rng(0)
    (tmp_path / "unpacked").mkdir()
    refusals = 0
    for number in range(300):
        content = bytearray(memory.getvalue())
        for place in rng.integers(len(content), size=rng.integers(1, 4)):
            content[place] = rng.integers(256)
        refusals += explained(write(tmp_path, bytes(content)), tmp_path / "unpacked" / str(number))
    assert 100 < refusals < 300
    assert {path.name for path in tmp_path.iterdir()} == {"task.zip", "unpacked"}
