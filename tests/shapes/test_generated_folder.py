"""Generated folders: complete or absent, reused, and never mixed up with other files."""

import json
import multiprocessing
import re
import shutil
from multiprocessing.synchronize import Barrier
from pathlib import Path

import pytest

from glip_lightning.common.errors import GLIPError
from glip_lightning.shapes.generated_folder import MANIFEST, written_once

FORKS = multiprocessing.get_context("fork")
MANY = 400


def write(folder: Path) -> None:
    (folder / "a.txt").write_text("picture")


def write_many(folder: Path) -> None:
    for number in range(MANY):  # takes a while to remove
        (folder / str(number)).touch()


def no_write(folder: Path) -> None:
    raise AssertionError("written again")


def test_the_same_settings_are_written_once(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "world"
    assert written_once(folder, {"seed": 0}, write) == folder
    assert written_once(folder, {"seed": 0}, no_write) == folder
    assert {path.name for path in folder.iterdir()} == {"a.txt", MANIFEST}
    # nothing unfinished is left
    assert [path.name for path in folder.parent.iterdir()] == ["world"]


def test_another_version_replaces_all_that_was_there(tmp_path: Path) -> None:
    folder = written_once(tmp_path / "world", {"version": 1, "seed": 0}, write)
    written_once(folder, {"version": 2, "seed": 0}, lambda new: (new / "b.txt").touch())
    assert {path.name for path in folder.iterdir()} == {"b.txt", MANIFEST}
    assert json.loads((folder / MANIFEST).read_text()) == {"version": 2, "seed": 0}
    assert [path.name for path in tmp_path.iterdir()] == ["world"]


def settings_named(error: GLIPError, folder: Path) -> list[tuple[str, ...]]:
    """Return name, found value and wanted value of each setting in a message about a folder."""
    assert str(folder) in str(error)
    listed = re.findall(r"(\w+) (\w+), \w+ (\w+)", str(error).replace(str(folder), ""))
    return [*listed]


def test_other_settings_leave_what_is_there(tmp_path: Path) -> None:
    folder = written_once(tmp_path / "world", {"version": 1, "seed": 1, "size": 9}, write)
    with pytest.raises(GLIPError) as refused:
        written_once(folder, {"version": 1, "seed": 0, "size": 9}, no_write)
    assert refused.value.code == "folder-taken"
    assert settings_named(refused.value, folder) == [("seed", "1", "0")]
    assert {path.name for path in folder.iterdir()} == {"a.txt", MANIFEST}


def test_another_kind_or_seed_is_left_alone_whatever_its_version(tmp_path: Path) -> None:
    """28,000 pictures must not be replaced because a command was given the wrong folder."""
    mine = {"kind": "pictures", "version": 1, "seed": 0}
    folder = written_once(tmp_path / "world", mine, write)
    for other, setting in (
        ({"kind": "captions"}, ("kind", "pictures", "captions")),
        ({"seed": 5}, ("seed", "0", "5")),
        ({"kind": "captions", "version": 1}, ("kind", "pictures", "captions")),
    ):
        with pytest.raises(GLIPError) as refused:
            written_once(folder, mine | {"version": 2} | other, no_write)
        assert refused.value.code == "folder-taken"
        assert setting in settings_named(refused.value, folder)
    with pytest.raises(GLIPError) as refused:
        written_once(folder, {"version": 1, "seed": 0}, no_write)
    assert refused.value.code == "folder-taken"
    assert settings_named(refused.value, folder) == [("kind", "pictures", "None")]
    assert (folder / "a.txt").exists()


def test_a_damaged_manifest_is_named(tmp_path: Path) -> None:
    folder = written_once(tmp_path / "world", {"version": 1}, write)
    (folder / MANIFEST).write_text('{"version"')
    with pytest.raises(GLIPError) as refused:
        written_once(folder, {"version": 1}, no_write)
    assert refused.value.code == "unreadable-json"
    assert str(folder / MANIFEST) in str(refused.value)
    assert (folder / "a.txt").exists()


def test_rights_are_those_of_other_folders(tmp_path: Path) -> None:
    (tmp_path / "usual").mkdir()
    folder = written_once(tmp_path / "world", {}, write)
    assert folder.stat().st_mode == (tmp_path / "usual").stat().st_mode


def test_an_empty_folder_is_filled_and_foreign_files_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert (written_once(tmp_path / "empty", {}, write) / "a.txt").exists()
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "photo.jpg").touch()
    with pytest.raises(GLIPError) as refused:
        written_once(tmp_path / "photos", {}, no_write)
    assert refused.value.code == "folder-taken"
    assert str(tmp_path / "photos") in str(refused.value)
    assert [path.name for path in (tmp_path / "photos").iterdir()] == ["photo.jpg"]


def test_what_fails_leaves_the_old_folder(tmp_path: Path) -> None:
    folder = written_once(tmp_path / "world", {"version": 0}, write)
    with pytest.raises(AssertionError):
        written_once(folder, {"version": 1}, no_write)
    assert (folder / "a.txt").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["world"]


def take_part(folder: Path, barrier: Barrier) -> None:
    def together(new: Path) -> None:
        barrier.wait(60)  # neither has found the other's
        write_many(new)

    written_once(folder, {"version": 1}, together)
    assert len(list(folder.iterdir())) == MANY + 1


@pytest.mark.parametrize("there", [False, True])
def test_two_processes_at_once(tmp_path: Path, there: bool) -> None:
    """Also where both have to put another folder away."""
    folder = tmp_path / "world"
    for _ in range(3 if there else 1):
        if there:
            written_once(folder, {"version": 0}, write_many)
        barrier = FORKS.Barrier(2)
        both = [FORKS.Process(target=take_part, args=(folder, barrier)) for _ in range(2)]
        for process in both:
            process.start()
        for process in both:
            process.join(120)
        assert [process.exitcode for process in both] == [0, 0]
        assert [path.name for path in tmp_path.iterdir()] == ["world"]
        assert len(list(folder.iterdir())) == MANY + 1
        shutil.rmtree(folder)
