"""Files that appear whole or not at all, also on a full disk and after a kill."""

import errno
import os
import re
import resource
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from glip_lightning.common.files import ABANDONED, remove_parts, replacing, write_bytes, write_text
from glip_lightning.training.checkpoint_files import WholeCheckpoints


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """A disk on which no file may pass ``size`` bytes, for this process."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def write_checkpoint(path: Path, size: int) -> None:
    WholeCheckpoints().save_checkpoint({"state_dict": {"a": torch.zeros(size // 4)}}, path)


def write_folder(path: Path, size: int) -> None:
    with replacing(path) as fresh:
        fresh.mkdir()
        save_file({"a": torch.zeros(size // 4)}, fresh / "model.safetensors")


WRITERS = {
    "text": lambda path, size: write_text(path, "x" * size),
    "bytes": lambda path, size: write_bytes(path, bytes(size)),
    "checkpoint": write_checkpoint,
    "folder": write_folder,
}


@pytest.mark.parametrize("writer", WRITERS.values(), ids=WRITERS.keys())
def test_where_a_file_finds_no_room_all_stays_as_it_was(tmp_path: Path, writer) -> None:
    target = tmp_path / "some" / "target"
    writer(target, 1000)
    before = sorted(
        (path.relative_to(tmp_path), path.stat().st_mtime_ns) for path in tmp_path.rglob("*")
    )
    with largest_file(20_000), pytest.raises(OSError, match=re.escape(str(target))) as stopped:
        writer(target, 100_000)
    assert (stopped.value.errno, stopped.value.filename) == (errno.EFBIG, str(target))
    target.parent.chmod(0o755)
    assert [path for path, _ in before] == sorted(
        path.relative_to(tmp_path) for path in tmp_path.rglob("*")
    )
    assert dict(before)[target.relative_to(tmp_path)] == target.stat().st_mtime_ns


@pytest.mark.parametrize("mask", [0o022, 0o002, 0o077])
def test_files_get_the_usual_permissions(tmp_path: Path, mask: int) -> None:
    """Libraries make their files private, as those of a temporary folder are."""
    before = os.umask(mask)
    try:
        for name, writer in WRITERS.items():
            writer(tmp_path / name, 1000)
        (tmp_path / "usual").touch()
    finally:
        os.umask(before)
    usual = stat.S_IMODE((tmp_path / "usual").stat().st_mode)
    assert usual == 0o666 & ~mask
    assert {
        stat.S_IMODE(path.stat().st_mode) for path in tmp_path.rglob("*") if path.is_file()
    } == {usual}


def test_nothing_passes_through_the_temporary_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "not there"))
    for name, writer in WRITERS.items():
        writer(tmp_path / name, 1000)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(WRITERS)


def test_what_killed_processes_leave_is_removed(tmp_path: Path) -> None:
    """Files of others stay; a fresh part goes only if nobody else works in the folder."""
    others = [tmp_path / name for name in (".glip-cache", ".12345678.a.txt", "a.txt")]
    parts = [tmp_path / f".glip-{x * 8}-a.txt" for x in "ab"]
    for path in (*others, *parts):
        path.touch()
    (tmp_path / ".glip-cccccccc-detector").mkdir()
    (tmp_path / ".glip-cccccccc-detector" / "half").touch()
    os.utime(parts[0], (0, 0))
    remove_parts(tmp_path)
    assert [path.exists() for path in parts] == [False, True]
    remove_parts(tmp_path, older=0)
    assert sorted(tmp_path.iterdir()) == sorted(others)
    assert ABANDONED > 60
    remove_parts(tmp_path / "not there")


def test_a_folder_that_was_put_aside_comes_back(tmp_path: Path) -> None:
    """Killed between the two renames that replace a folder."""
    (tmp_path / ".glip-aaaaaaaa-old-detector").mkdir()
    (tmp_path / ".glip-aaaaaaaa-old-detector" / "model").write_text("old")
    (tmp_path / ".glip-aaaaaaaa-detector").mkdir()
    remove_parts(tmp_path, older=0)
    assert [path.name for path in tmp_path.iterdir()] == ["detector"]
    assert (tmp_path / "detector" / "model").read_text() == "old"
