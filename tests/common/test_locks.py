"""One process at a time in a folder."""

import errno
import fcntl
import subprocess
import sys
from pathlib import Path

import pytest

from glip_lightning.app.cli import main
from glip_lightning.common.errors import GLIPError
from glip_lightning.common.locks import LOCK_NAME, FolderLock
from glip_lightning.training.callbacks.run_folder import take_folder
from glip_lightning.weights.run_files import RECIPE_NAME
from small_runs import BLOCKS

HOLD = """
import os, sys, time
from pathlib import Path
from glip_lightning.common.locks import FolderLock
lock = FolderLock()
lock.hold(Path(sys.argv[1]))
if os.fork() == 0:  # as a worker of a data loader, which outlives the process for a while
    print("held", flush=True)
    time.sleep(10)
    os._exit(0)
time.sleep(60)
"""


def test_the_second_is_refused_until_the_first_is_killed(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, tmp_path], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        lock = FolderLock()
        with pytest.raises(GLIPError, match=str(tmp_path)) as refused:
            lock.hold(tmp_path)
        assert refused.value.code == "folder-in-use"
        process.kill()
        process.stdout.close()
        process.wait()
        lock.hold(tmp_path)  # while its child still lives
        assert lock.exclusive
        lock.release()


def test_a_folder_made_for_a_lock_goes_unless_something_came_into_it(tmp_path: Path) -> None:
    for name, filled in (("empty", False), ("filled", True)):
        lock = FolderLock()
        lock.hold(tmp_path / name)
        lock.hold(tmp_path / name)  # has it already
        if filled:
            (tmp_path / name / "some").touch()
        lock.release()
        lock.release()
    assert sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")) == [
        "filled",
        f"filled/{LOCK_NAME}",
        "filled/some",
    ]


def test_a_file_system_without_locks_is_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def flock(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", flock)
    lock = FolderLock()
    with caplog.at_level("WARNING", logger="glip_lightning"):
        lock.hold(tmp_path)
    assert not lock.exclusive
    assert str(tmp_path) in caplog.text


@pytest.mark.parametrize("resume", [False, True])
def test_a_fit_leaves_the_folder_of_another_as_it_is(
    tmp_path: Path, resume: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    lock = FolderLock()
    lock.hold(run)
    (run / ".glip-aaaaaaaa-result.json").touch()  # being written by the other process
    if resume:
        (run / "checkpoints").mkdir()
        (run / "checkpoints" / "last.ckpt").touch()
        (run / "recipe.yaml").write_text(BLOCKS.read_text())
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*")}
    options = ["--resume", str(run)] if resume else ["--config", str(BLOCKS), "--run", str(run)]
    assert main(["fit", *options]) == 1
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert str(run) in said
    assert {path: path.stat().st_mtime_ns for path in run.rglob("*")} == before
    lock.release()


@pytest.mark.parametrize("resuming", [False, True])
def test_an_unfinished_run_that_another_process_trains_is_in_use(
    tmp_path: Path, resuming: bool
) -> None:
    """Nobody is told to go on with it."""
    lock = FolderLock()
    lock.hold(tmp_path)
    (tmp_path / RECIPE_NAME).touch()
    with pytest.raises(GLIPError) as refused:
        take_folder(tmp_path, resuming, FolderLock())
    assert refused.value.code == "folder-in-use"
    lock.release()


def test_a_folder_without_a_lock_is_refused_as_it_is(tmp_path: Path) -> None:
    """An unfinished run of another version, or one that was copied."""
    (tmp_path / RECIPE_NAME).touch()
    with pytest.raises(GLIPError) as error:
        take_folder(tmp_path, False, FolderLock())
    assert error.value.code == "unfinished-run"
    assert [path.name for path in tmp_path.iterdir()] == [RECIPE_NAME]
