"""Trials through Ray on this machine, and through SLURM without a cluster."""

import os
import pickle
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from glip_lightning.config.wrong_usage import WrongUsage
from glip_lightning.experiments.sweep.clusters import Ray, slurm_parameters
from glip_lightning.experiments.sweep.executors import Stop
from glip_lightning.experiments.sweep.trial_state import state_of
from printed import line_with, numbers, words
from refusals import refusal
from small_sweeps import sweep, trial_folders, use_own_ray, write_sweep
from test_executors import ended, jobs, small

SBATCH = """#!/bin/sh
cp "$1" "{folder}/submission.sh"
echo "Submitted batch job 12"
"""
SQUEUE = """#!/bin/sh
cat "{folder}/queue"
"""


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with commands of SLURM that only record what they were given."""
    folder = tmp_path / "slurm"
    folder.mkdir()
    (folder / "queue").touch()
    for name, text in {"sbatch": SBATCH, "squeue": SQUEUE, "srun": "#!/bin/sh\n"}.items():
        (folder / name).write_text(text.format(folder=folder))
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    return folder


def test_parameters_are_read_as_yaml() -> None:
    assert slurm_parameters("partition=gpu,timeout_min=60, use_srun=false") == {
        **{"partition": "gpu", "timeout_min": 60, "use_srun": False}
    }
    assert slurm_parameters("") == {}
    with pytest.raises(WrongUsage) as refused:
        slurm_parameters("gpu")
    assert refused.value.code == "bad-value"
    assert {"--slurm", "gpu", "NAME=VALUE"} <= words(str(refused.value))


def test_a_sweep_becomes_one_array_of_slurm_jobs(
    tmp_path: Path, slurm: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("submitit", reason="the extra slurm is not installed")
    file, out = (
        write_sweep(tmp_path, {"shots": [0, "all"], "seed": [3]}, max_epochs=1),
        tmp_path / "out",
    )
    given = "partition=gpu,gpus_per_node=1,timeout_min=60"
    assert sweep(file, out, "--executor", "submitit", "--slurm", given) == 0
    said = capsys.readouterr().out
    line_with(said, "queued", "task=shapes shots=all seed=3 tuning=FullTuning", "12_1")
    text = (slurm / "submission.sh").read_text()
    lines = text.splitlines()
    for line in ("array=0-1%1", "partition=gpu", "gpus-per-node=1", "time=60", "job-name=out"):
        assert f"#SBATCH --{line}" in lines
    command = next(line for line in lines if line.startswith("srun"))
    assert f"-m submitit.core._submit {out}/submitit" in command
    # what the node would do, for the second job of the array
    words = shlex.split(command)
    job = {
        "SLURM_JOB_ID": "13",
        "SLURM_ARRAY_JOB_ID": "12",
        "SLURM_ARRAY_TASK_ID": "1",
        "SLURM_PROCID": "0",
    }
    environment = os.environ | job | {"SUBMITIT_EXECUTOR": "slurm"}
    done = subprocess.run(
        words[words.index(sys.executable) :], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    kind, event = pickle.loads((out / "submitit" / "12_1_0_result.pkl").read_bytes())
    zero, trained = trial_folders(out)
    assert (kind, event.id, event.state) == ("success", trained.name, "finished")
    assert (state_of(trained).state, state_of(zero).state) == ("finished", "new")
    # called again while the other one waits, nothing is submitted
    (slurm / "queue").write_text("12_0\n")
    (slurm / "submission.sh").unlink()
    assert sweep(file, out, "--executor", "submitit", "--slurm", given) == 0
    assert not (slurm / "submission.sh").exists()
    said = capsys.readouterr().out
    line_with(said, "queued", f"({zero.name})", "12_0")
    assert numbers(line_with(said, "squeue --me")) == ["1"]  # trials in the queue
    # it is neither finished nor in the queue: only this one is submitted
    (slurm / "queue").write_text("")
    assert sweep(file, out, "--executor", "submitit", "--slurm", given) == 0
    assert "#SBATCH --array" not in (slurm / "submission.sh").read_text()
    assert capsys.readouterr().out.count("queued: ") == 1


def test_a_queue_that_does_not_answer_is_no_empty_one(tmp_path: Path, slurm: Path) -> None:
    pytest.importorskip("submitit", reason="the extra slurm is not installed")
    (slurm / "squeue").write_text("#!/bin/sh\necho 'slurm_load_jobs error' >&2\nexit 1\n")
    file = write_sweep(tmp_path, {"shots": [0]})
    refused = refusal("sweep", file, "--dir", tmp_path / "out", "--executor", "submitit")
    assert refused.code == "no-cluster"
    assert "slurm_load_jobs error" in str(refused)
    assert not (slurm / "submission.sh").exists()


@pytest.mark.parametrize("given, named", [("partitio=gpu", "partitio"), ("gpu", "NAME=VALUE")])
def test_wrong_parameters_are_explained(
    tmp_path: Path, slurm: Path, given: str, named: str
) -> None:
    pytest.importorskip("submitit", reason="the extra slurm is not installed")
    file = write_sweep(tmp_path, {"shots": [0]})
    refused = refusal(
        "sweep", file, "--dir", tmp_path / "out", "--executor", "submitit", "--slurm", given
    )
    assert refused.code == "bad-value"
    assert {"--slurm", named} <= words(str(refused))


def test_without_slurm_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("submitit", reason="the extra slurm is not installed")
    monkeypatch.setenv("PATH", "")
    file = write_sweep(tmp_path, {"shots": [0]})
    refused = refusal("sweep", file, "--dir", tmp_path / "out", "--executor", "submitit")
    assert refused.code == "no-cluster"
    assert {"--executor", "srun"} <= words(str(refused))


@pytest.mark.parametrize(
    "executor, module, extra", [("ray", "ray", "ray"), ("submitit", "submitit", "slurm")]
)
def test_a_missing_extra_is_named(
    tmp_path: Path,
    executor: str,
    module: str,
    extra: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, module, None)  # as if it were not installed
    file = write_sweep(tmp_path, {"shots": [0]})
    missing = refusal("sweep", file, "--dir", tmp_path / "out", "--executor", executor)
    assert missing.code == "not-installed"
    assert f"'glip-lightning[{extra}]'" in str(missing)


def test_a_dead_task_of_ray_takes_only_its_trial_along(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_own_ray(monkeypatch)
    found = ended(list(Ray().run(small, jobs(tmp_path, "a", "exit", "killed", "b"), Stop())))
    assert {name: event.state for name, event in found.items()} == {
        **dict.fromkeys("ab", "finished"),
        **dict.fromkeys(("exit", "killed"), "died"),
    }
    assert "WorkerCrashedError" in found["killed"].note
    # what others set is not found
    assert found["a"].note.split()[2] == found["b"].note.split()[2] == "None"
