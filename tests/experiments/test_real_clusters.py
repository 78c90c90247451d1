"""Sweeps through engines that run here: a SLURM of one node, and Ray."""

import json
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from lightning import Callback, LightningModule, Trainer

import slurm_cluster
from glip_lightning.common.signals import received
from glip_lightning.experiments.failures import read_failure
from glip_lightning.experiments.sweep.trial_state import state_of
from printed import line_with, numbers
from small_sweeps import (
    know_tests,
    results,
    sweep,
    trial_folders,
    use_own_ray,
    weights,
    write_sweep,
)

pytestmark = pytest.mark.slow
SEEDS = {"seed": [3, 30, 300, 3000]}


class Held(Callback):
    """A training that waits after its first step as long as ``hold`` is beside the data."""

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: object) -> None:
        folder = Path(trainer.datamodule.root)  # pyrefly: ignore[missing-attribute]
        while (folder / "hold").exists() and trainer.global_step == 1 and received() is None:
            (folder / "held").touch()
            time.sleep(0.1)


class Shot(Callback):
    """Kills the process of seed 30 at its first step as long as ``shoot`` is beside the data."""

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        data = trainer.datamodule  # pyrefly: ignore[missing-attribute]
        if data.seed == 30 and Path(data.root, "shoot").exists():
            os.kill(os.getpid(), signal.SIGKILL)


@pytest.fixture
def slurm(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A SLURM of this machine that the commands of this process and its children ask."""
    pytest.importorskip("submitit", reason="the extra slurm is not installed")
    if missing := slurm_cluster.what_is_missing():
        pytest.skip(missing)
    with (
        tempfile.TemporaryDirectory(prefix="slurm") as folder,
        slurm_cluster.running(Path(folder)) as configuration,
    ):
        monkeypatch.setenv("SLURM_CONF", str(configuration))
        know_tests(monkeypatch)
        yield


def wait_until(what: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, subprocess.run(
            ["squeue"], capture_output=True, text=True
        ).stdout
        time.sleep(0.5)


def queue(form: str = "%i %t") -> list[list[str]]:
    """The jobs of the queue, those of arrays one by one."""
    said = subprocess.run(
        ["squeue", "--noheader", "--array", f"--format={form}"], capture_output=True, text=True
    )
    return [line.split() for line in said.stdout.splitlines()]


def restarts(number: str) -> int:
    said = subprocess.run(
        ["scontrol", "show", "job", number], capture_output=True, text=True
    ).stdout
    return int(said.split("Restarts=")[1].split()[0])


@pytest.mark.usefixtures("slurm")
def test_an_array_of_slurm_jobs_ends_as_a_sweep_of_this_machine(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # other numbers of threads add in another order
    file = write_sweep(
        tmp_path, SEEDS, callbacks=[{"class_path": "test_real_clusters.Held"}], logger=False
    )
    held, hold = (tmp_path / "shapes" / name for name in ("held", "hold"))
    hold.touch()
    out = tmp_path / "slurm"
    given = [
        "--executor",
        "submitit",
        "--slurm",
        "partition=cpu,timeout_min=1,cpus_per_task=1,signal_delay_s=20",
    ]
    assert sweep(file, out, *given) == 0
    wait_until(held.exists, 60)
    jobs = sorted(number for number, _ in queue())
    assert len(jobs) == 4
    assert sorted(state for _, state in queue()) == ["PD", "PD", "PD", "R"]
    capsys.readouterr()

    # called again while jobs wait: nothing is submitted twice
    assert sweep(file, out, *given) == 0
    assert sorted(number for number, _ in queue()) == jobs
    said = capsys.readouterr().out
    for job in jobs:
        line_with(said, "queued", job)

    # its time is over: signalled, saved, in the queue again
    first = trial_folders(out)[0]
    wait_until(lambda: restarts(jobs[0]) == 1, 90)
    hold.unlink()
    assert (first / "checkpoints" / "last.ckpt").is_file()
    assert not (first / "result.json").exists()
    # not two minutes later
    subprocess.run(["scontrol", "update", f"JobId={jobs[0]}", "StartTime=now"], check=False)
    wait_until(lambda: not queue(), 200)
    assert "last.ckpt" in json.loads((first / "result.json").read_text())["command"]

    # all are finished: the table
    capsys.readouterr()
    assert sweep(file, out, *given) == 0
    said = capsys.readouterr().out
    # trials, finished ones
    assert numbers(said.splitlines()[0].replace(str(out), "")) == ["4", "4"]
    assert [
        line.split()[0] for line in said.splitlines() if line.startswith(("task", "shapes"))
    ] == ["task", "shapes"]
    assert "squeue" not in said
    assert sweep(file, tmp_path / "local") == 0
    assert results(out) == results(tmp_path / "local")
    assert weights(out) == weights(tmp_path / "local")


def test_a_killed_process_of_ray_takes_only_its_trial_along(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_own_ray(monkeypatch)
    callbacks = [{"class_path": "test_real_clusters.Shot"}]
    file = write_sweep(tmp_path, {"seed": [3, 30, 300]}, callbacks=callbacks, max_epochs=1)
    (tmp_path / "shapes" / "shoot").touch()
    assert sweep(file, tmp_path / "ray", "--executor", "ray") == 1
    folders = trial_folders(tmp_path / "ray")
    assert [state_of(path).state for path in folders] == ["finished", "failed", "finished"]
    assert "WorkerCrashedError" in read_failure(folders[1]).error
    (tmp_path / "shapes" / "shoot").unlink()
    assert sweep(file, tmp_path / "ray", "--executor", "ray") == 0
    assert sweep(file, tmp_path / "local") == 0
    assert results(tmp_path / "ray") == results(tmp_path / "local")
    assert weights(tmp_path / "ray") == weights(tmp_path / "local")
