"""Runs that are killed at random moments or stopped by full disks go on to the same end."""

import multiprocessing
import os
import random
import resource
import shutil
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch

from glip_lightning.app.cli import main
from glip_lightning.common import files
from glip_lightning.training.checkpoint_files import damage
from small_runs import make_shapes, options, result
from test_resume import assert_equal

FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["test_kill"])  # the imports once, not once per kill
STATES = ("state_dict", "current_model_state", "averaging_state", "optimizer_states", "global_step")
KILLS = 20
SAVES = 12  # files that a run brings to the disk before its last checkpoint, about


class Trouble(NamedTuple):
    """The end of a process: a kill after some seconds or in the n-th save, or a full disk."""

    seconds: float | None = None
    save: int | None = None
    largest: int | None = None


def command(arguments: list[str], trouble: Trouble, log: Path) -> None:
    """Run the command line in this process, with both streams in ``log``."""
    torch.set_num_threads(1)
    with log.open("a") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    if trouble.save:
        die_in_save(trouble.save)
    if trouble.largest:
        resource.setrlimit(resource.RLIMIT_FSIZE, (trouble.largest, resource.RLIM_INFINITY))
    sys.exit(main(arguments))


def die_in_save(count: int) -> None:
    """Kill this process with half a file on the disk."""
    left = [count]

    def fsync(descriptor: int) -> None:
        left[0] -= 1
        if left[0] == 0:
            os.truncate(descriptor, os.fstat(descriptor).st_size // 2)
            os.kill(os.getpid(), signal.SIGKILL)

    files.os = type("os", (), {"fsync": staticmethod(fsync)})  # type: ignore[assignment]


def live(arguments: list[str], log: Path, trouble: Trouble = Trouble()) -> int | None:  # noqa: B008
    process = FORKS.Process(target=command, args=(arguments, trouble, log))
    process.start()
    process.join(trouble.seconds or 240)
    if process.is_alive():
        with suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGKILL)
        process.join()
    return process.exitcode


def go_on(shapes: Path, run: Path) -> list[str]:
    """The command that goes on, as messages tell it."""
    if (run / "checkpoints" / "last.ckpt").exists():
        return ["fit", "--resume", str(run)]
    shutil.rmtree(run, ignore_errors=True)  # nothing was saved yet
    more = ["--trainer.max_epochs=4", "--trainer.callbacks=EMA"]
    return ["fit", *options(shapes, run), *more]


def checkpoint(run: Path, name: str) -> dict[str, Any]:
    return torch.load(run / "checkpoints" / name, weights_only=True)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0])
def test_killed_at_random_moments_and_on_full_disks(
    tmp_path: Path, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_MODE", "disabled")
    shapes, whole, run, log = (
        make_shapes(tmp_path),
        tmp_path / "whole",
        tmp_path / "run",
        tmp_path / "log.txt",
    )
    live(go_on(shapes, tmp_path / "warm"), log)
    began = time.monotonic()
    assert live(go_on(shapes, whole), log) == 0
    length = time.monotonic() - began
    rng, ends = random.Random(seed), []
    while sum(code == -signal.SIGKILL for _, code in ends) < KILLS:
        assert len(ends) < 3 * KILLS, ends
        kind = rng.choice(("seconds", "seconds", "save", "save", "largest"))
        trouble = {
            "seconds": Trouble(seconds=rng.uniform(0.2, 0.9) * length),
            "save": Trouble(save=rng.randint(1, SAVES)),
            "largest": Trouble(
                largest=rng.choice([5_000_000, 20_000_000])
            ),  # no checkpoint, the best one alone
        }[kind]
        before = {path: path.read_bytes() for path in run.glob("checkpoints/[!.]*.ckpt")}
        code = live(go_on(shapes, run), log, trouble)
        ends.append((kind, code))
        for path in before:
            # a best one of the future comes again
            assert path.exists() or path.name == "best.ckpt", "lost"
        for path in run.glob("checkpoints/[!.]*.ckpt"):
            assert damage(path) is None, path
        if code == 0:  # it came to its end: another run
            assert_same(whole, run)
            run = tmp_path / f"run{len(ends)}"
        else:
            assert code == (1 if kind == "largest" else -signal.SIGKILL), log.read_text()[-2000:]
    print(ends)
    for kind, code in (("seconds", -signal.SIGKILL), ("save", -signal.SIGKILL), ("largest", 1)):
        assert ends.count((kind, code)) >= 3, kind
    assert live(go_on(shapes, run), log) in (0, 1)
    if not (run / "result.json").exists():
        assert live(go_on(shapes, run), log) == 0
    assert_same(whole, run)
    said = log.read_text()
    assert "Traceback" not in said, said
    assert "--run FOLDER" in said  # on another disk, where files find no room


def assert_same(whole: Path, run: Path) -> None:
    """Bit for bit, and nothing half-written left."""
    for name, keys in (
        ("last.ckpt", STATES),
        ("best.ckpt", ("state_dict", "global_step", "epoch")),
    ):
        one, other = checkpoint(whole, name), checkpoint(run, name)
        for key in keys:
            assert_equal(one[key], other[key], f"{name}/{key}")
    assert result(run)["metrics"] == result(whole)["metrics"]
    assert not list(run.rglob(".glip-*"))


@pytest.mark.slow
def test_of_two_fits_with_one_folder_one_trains(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_MODE", "disabled")
    shapes, run = make_shapes(tmp_path), tmp_path / "run"
    arguments = ["fit", *options(shapes, run), "--trainer.max_epochs=4"]
    logs = [tmp_path / f"{name}.txt" for name in "ab"]
    both = [
        FORKS.Process(target=command, args=([*arguments, f"--data.seed={i}"], Trouble(), logs[i]))
        for i in (0, 1)
    ]
    for process in both:
        process.start()
    for process in both:
        process.join(240)
    assert sorted(process.exitcode for process in both) == [0, 1]
    winner = [process.exitcode for process in both].index(0)
    assert result(run)["seed"]["data"] == winner
    refused = logs[1 - winner].read_text()
    assert refused.count("\n") == 1
    assert str(run) in refused
