"""Sweeps through the command line: killed and gone on with, one trial failing, two at once."""

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from lightning import Callback, LightningModule, Trainer

from glip_lightning.app.cli import main
from glip_lightning.config.wrong_usage import WrongUsage
from glip_lightning.experiments.report.collect import collect
from glip_lightning.experiments.sweep.jobs import Event
from glip_lightning.experiments.sweep.plan import Planned
from glip_lightning.experiments.sweep.run_sweep import SweepOptions, _chosen, _command, show_end
from glip_lightning.experiments.sweep.trial_state import state_of
from glip_lightning.training.trial import Trial, read_trial
from printed import ap_lines, line_with, numbers, words
from refusals import refusal
from small_sweeps import results, sweep, trial_folders, write_sweep

AXES: dict[str, Any] = {"shots": [0, "all"], "seed": [3, 30]}  # four trials: the weights are random


class Cliff(Callback):
    """Lets seed 3 fail and seed 30 die at the first step while ``cliff`` is beside the data."""

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        data = trainer.datamodule  # pyrefly: ignore[missing-attribute]
        if Path(data.root, "cliff").exists():
            if data.seed == 30:
                os._exit(7)
            if data.seed == 3:
                raise RuntimeError("fell off\na cliff")


class Slow(Callback):
    """A training that can be caught in the middle."""

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        slow = Path(trainer.datamodule.root, "slow")  # pyrefly: ignore[missing-attribute]
        if slow.exists():
            slow.write_text("begun")
            time.sleep(0.5)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A sweep file and the folder of its finished sweep."""
    folder = tmp_path_factory.mktemp("finished")
    file = write_sweep(folder, AXES)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WANDB_MODE", "disabled")
        patch.setenv("OMP_NUM_THREADS", "1")  # other numbers of threads add in another order
        assert sweep(file, folder / "out") == 0
    return file, folder / "out"


def times(folder: Path) -> dict[str, int]:
    return {
        path.parent.name: path.stat().st_mtime_ns for path in folder.glob("trials/*/result.json")
    }


def start(file: Path, folder: Path, workers: int = 1) -> subprocess.Popen[str]:
    """A sweep in a process group of its own."""
    paths = [
        str(Path(__file__).parent),
        str(Path(__file__).parent.parent / "support"),
        *filter(None, [os.environ.get("PYTHONPATH")]),
    ]
    command = [
        sys.executable,
        "-m",
        "glip_lightning.app.cli",
        "sweep",
        str(file),
        "--dir",
        str(folder),
    ]
    return subprocess.Popen(
        [*command, "--workers", str(workers)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(paths), "WANDB_MODE": "disabled"},
        start_new_session=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def wait_until(what: Any) -> None:
    deadline = time.monotonic() + 120
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_sweep_leaves_all_that_a_report_needs(finished: tuple[Path, Path]) -> None:
    _, folder = finished
    content = json.loads((folder / "sweeps" / "tiny.json").read_text())
    assert content["name"] == "tiny"
    assert content["axes"] == {
        "task": ["shapes"],
        "shots": [0, "all"],
        "seed": [3, 30],
        "tuning": ["FullTuning"],
    }
    assert [(each["axes"]["shots"], each["steps"]) for each in content["trials"]] == [
        (0, 0)
    ] * 2 + [("all", 4)] * 2
    for each, path in zip(content["trials"], trial_folders(folder), strict=True):
        trial = read_trial(path)
        assert trial is not None
        assert (trial.id, trial.axes) == (each["id"], each["axes"])
        result = json.loads((path / "result.json").read_text())
        assert (
            result["recipe"] == each["recipe"] == yaml.safe_load((path / "recipe.yaml").read_text())
        )
        assert result["steps"] == each["steps"]
        assert not (path / "checkpoints").exists()
        assert len(ap_lines((path / "trial.log").read_text(), "test")) == 1


def test_a_trial_is_the_fit_of_its_recipe(finished: tuple[Path, Path], tmp_path: Path) -> None:
    _, folder = finished
    path = trial_folders(folder)[2]
    again = tmp_path / "again"
    torch.set_num_threads(1)
    assert main(["fit", "--config", str(path / "recipe.yaml"), "--run", str(again)]) == 0
    one, other = (json.loads((run / "result.json").read_text()) for run in (path, again))
    assert one["metrics"] == other["metrics"]
    weights = [(run / "detector" / "model.safetensors").read_bytes() for run in (path, again)]
    assert weights[0] == weights[1]


def test_nothing_finished_runs_again(
    finished: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    file, folder = finished
    before = times(folder)
    assert len(before) == 4
    assert sweep(file, folder) == 0
    assert times(folder) == before
    said = capsys.readouterr().out
    # trials, finished ones
    assert numbers(said.splitlines()[0].replace(str(folder), "")) == ["4", "4"]
    assert f"glip report {folder}" in said
    rows = [line.split() for line in said.splitlines() if line.startswith(("task", "shapes"))]
    assert rows[0] == ["task", "tuning", "0", "shots", "all"]


def test_dry_run_shows_states_steps_and_times(
    finished: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, folder = finished
    assert sweep(file, tmp_path / "new", "--dry-run") == 0
    assert not (tmp_path / "new").exists()
    said = capsys.readouterr().out
    assert said.count(" new ") == 4
    assert said.splitlines()[0].split()[-3:] == ["state", "images", "steps"]  # no time is known
    assert "?" not in said
    # of these no trial is finished, so no time is known
    line_with(said, "glip-nano", "FullTuning")
    longer = file.with_name("longer.yaml")
    axes = AXES | {"trainer.max_epochs": [2, 40]}
    longer.write_text(yaml.safe_dump({"name": "tiny", "recipe": "recipe.yaml", "axes": axes}))
    assert sweep(longer, folder, "--dry-run", "--only", "shots=all,seed=3") == 0
    header, short, long, *rest = (line.split() for line in capsys.readouterr().out.splitlines())
    assert header[-3:] == ["images", "steps", "time"]
    assert short[5:9] == [trial_folders(folder)[2].name, "finished", "4", "4"]
    assert long[6:9] == ["new", "4", "80"]
    assert long[-1] in ("s", "min")
    assert numbers(" ".join(rest[0])) == ["2", "1"]  # trials, trials to run


def test_failing_trials_are_isolated_and_alone_repeated(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    callbacks = [{"class_path": "test_run_sweep.Cliff"}]
    file = write_sweep(tmp_path, {"seed": [3, 30, 300]}, callbacks=callbacks, max_epochs=1)
    (tmp_path / "shapes" / "cliff").touch()
    assert sweep(file, tmp_path / "out") == 1
    folders = trial_folders(tmp_path / "out")
    assert [state_of(path).state for path in folders] == ["failed", "failed", "finished"]
    said = capsys.readouterr().out
    causes = ("RuntimeError: fell off", " 7")  # an error, an exit code
    for path, cause, seed in zip(folders[:2], causes, (3, 30), strict=True):
        failure = json.loads((path / "failed.json").read_text())
        assert failure["error"].endswith(cause)
        assert (failure["attempts"], failure["log"]) == (1, str(path / "trial.log"))
        assert f" task=shapes shots=all seed={seed} tuning=FullTuning: {failure['error']}\n" in said
        assert str(path / "trial.log") in said
    before = times(tmp_path / "out")
    (tmp_path / "shapes" / "cliff").unlink()
    assert sweep(file, tmp_path / "out") == 0
    assert not list((tmp_path / "out").glob("trials/*/failed.json"))
    after = times(tmp_path / "out")
    assert len(after) == 3
    assert after | before == after


def test_a_killed_sweep_goes_on_without_repeating(
    finished: tuple[Path, Path], tmp_path: Path
) -> None:
    _, whole = finished
    slow = write_sweep(tmp_path, AXES, callbacks=[{"class_path": "test_run_sweep.Slow"}])
    (tmp_path / "shapes" / "slow").touch()
    out = tmp_path / "out"
    process = start(slow, out)

    def half_way() -> bool:
        saved = {path.parts[-3] for path in out.glob("trials/*/checkpoints/last.ckpt")}
        return len(times(out)) == 3 and bool(saved - times(out).keys())

    wait_until(half_way)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    before = times(out)
    assert len(before) == 3
    (tmp_path / "shapes" / "slow").unlink()
    assert sweep(slow, out) == 0
    after = times(out)
    assert len(after) == 4
    assert after | before == after
    (last,) = after.keys() - before.keys()
    assert "last.ckpt" in json.loads((out / "trials" / last / "result.json").read_text())["command"]
    wanted, got = (list(results(folder).values()) for folder in (whole, out))
    assert got == wanted  # also of the one that was killed


@pytest.mark.slow
def test_ctrl_c_saves_the_running_trial(tmp_path: Path) -> None:
    file = write_sweep(
        tmp_path,
        {"seed": [3, 30]},
        callbacks=[{"class_path": "test_run_sweep.Slow"}],
        limit_val_batches=0,  # a step before a validation is not saved
    )
    (tmp_path / "shapes" / "slow").touch()
    out = tmp_path / "out"
    process = start(file, out)
    wait_until(lambda: (tmp_path / "shapes" / "slow").read_text() == "begun")
    os.killpg(process.pid, signal.SIGINT)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert ["2"] in map(numbers, said.splitlines())  # trials are unfinished
    assert numbers(line_with(said, "| interrupted"))[:2] == ["0", "2"]  # trials done, all trials
    (begun,) = out.glob("trials/*/recipe.yaml")
    assert (begun.parent / "checkpoints" / "last.ckpt").is_file()
    assert "SIGTERM" in (begun.parent / "trial.log").read_text()


@pytest.mark.slow
def test_two_sweeps_at_once_run_every_trial_once(tmp_path: Path) -> None:
    callbacks = [{"class_path": "test_run_sweep.Slow"}]
    file = write_sweep(tmp_path, {"seed": [3, 30, 300]}, callbacks=callbacks, max_epochs=1)
    (tmp_path / "shapes" / "slow").touch()
    both = [start(file, tmp_path / "out") for _ in range(2)]
    said = [process.communicate(timeout=240)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    folders = trial_folders(tmp_path / "out")
    assert [state_of(path).state for path in folders] == ["finished"] * 3
    assert [len(ap_lines((path / "trial.log").read_text(), "test")) for path in folders] == [1] * 3
    assert not any("unfinished" in text for text in said)


def test_trials_that_another_sweep_has_finished_are_not_counted(
    finished: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    """They were its own when this sweep came to them, and are finished when it ends."""
    trials = [read_trial(path) for path in trial_folders(finished[1])]
    chosen = [Planned(trial, {}, 0, 0) for trial in trials if trial]
    show_end(
        chosen, {each.trial.id: Event(each.trial.id, "elsewhere") for each in chosen}, finished[1]
    )
    said = capsys.readouterr().out
    show_end(chosen, {}, finished[1])
    assert said == capsys.readouterr().out
    assert ["4"] not in map(numbers, said.splitlines())


def test_trials_that_only_leaves_out_are_one_line(
    finished: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "part"
    assert sweep(finished[0], folder, "--only", "shots=0,seed=3") == 0
    lines = capsys.readouterr().out.splitlines()
    assert numbers(line_with("\n".join(lines), "--only")) == ["3"]
    rows = [line.split() for line in lines if line.startswith(("task", "shapes"))]
    assert [len(row) for row in rows] == [4, 3]  # task, tuning, AP of 0 shots
    content = json.loads((folder / "sweeps" / "tiny.json").read_text())
    assert content["left_out"] == [trial["id"] for trial in content["trials"][1:]]
    assert shlex.split(content["command"]) == [
        *("glip", "sweep", str(finished[0]), "--dir", str(folder)),
        *("--workers", "1", "--only", "shots=0,seed=3"),
    ]
    assert sweep(finished[0], folder, "--only", "shots=0") == 0
    assert len(json.loads((folder / "sweeps" / "tiny.json").read_text())["left_out"]) == 2
    assert not any(numbers(line) == ["3"] for line in capsys.readouterr().out.splitlines())


def test_the_command_of_a_sweep_is_kept_as_it_can_be_typed() -> None:
    assert _command("demo", SweepOptions(), []) == "glip sweep demo"
    options = SweepOptions(trials_per_gpu=2, slurm="partition=gpu,mem=4", keep_checkpoints=True)
    overrides = [("data.root", "MY PHOTOS")]
    assert shlex.split(_command("my file.yaml", options, overrides)) == [
        *("glip", "sweep", "my file.yaml", "--trials-per-gpu", "2"),
        *("--slurm", "partition=gpu,mem=4", "--keep-checkpoints", "--data.root=MY PHOTOS"),
    ]


def test_a_trial_of_several_points_stands_for_the_chosen_ones() -> None:
    """Zero-shot is one trial of all tunings: what a table shows of it is what ``--only`` names."""
    both = tuple({"shots": 0, "tuning": tuning} for tuning in ("full", "prompt"))
    few = {"shots": 1, "tuning": "full"}
    planned = [
        Planned(Trial("s", "a", both[0], both), {}, 0, 0),
        Planned(Trial("s", "b", few, (few,)), {}, 0, 0),
    ]
    (chosen,) = _chosen(planned, "tuning=prompt")
    assert (chosen.trial.id, chosen.trial.axes, chosen.trial.points) == ("a", both[1], both[1:])
    assert _chosen(planned, None) == planned


@pytest.mark.parametrize(
    "more, code, named",
    [
        (["--workers", "0"], "bad-value", ["--workers", "0"]),
        (["--slurm", "partition=a"], "option-without-use", ["--slurm", "--executor", "submitit"]),
        (["--only", "shot=1"], "unknown-axis", ["--only", "shot=1", "shots"]),
        (["--data.rot", "x"], "unknown-option", ["--data.rot"]),
    ],
)
def test_a_wrong_command_line_is_explained(
    finished: tuple[Path, Path], more: list[str], code: str, named: list[str], tmp_path: Path
) -> None:
    refused = refusal("sweep", finished[0], "--dir", tmp_path / "new", *more)
    assert isinstance(refused, WrongUsage)
    assert refused.code == code
    assert set(named) <= words(str(refused))


def test_a_wrong_command_line_ends_with_2(finished: tuple[Path, Path], tmp_path: Path) -> None:
    assert main(["sweep", str(finished[0]), "--dir", str(tmp_path / "new"), "--workers", "0"]) == 2


def test_sweeps_in_one_folder_share_equal_trials(
    finished: tuple[Path, Path], tmp_path: Path
) -> None:
    file, folder = finished[0], tmp_path / "both"
    shutil.copytree(finished[1], folder)
    before = times(folder)
    content = yaml.safe_load(file.read_text()) | {"name": "other"}
    content["axes"] = {"seed": [3], "shots": ["all"], "tuning": ["FullTuning", "LinearProbe"]}
    other = file.with_name("other.yaml")
    other.write_text(yaml.safe_dump(content, sort_keys=False))
    assert sweep(other, folder) == 0
    shared, new = trial_folders(folder, "other")
    assert times(folder) == before | {new.name: times(folder)[new.name]}
    assert shared in trial_folders(folder)
    collection = collect(folder)
    assert (collection.name, collection.axes["tuning"]) == ("both", ["FullTuning", "LinearProbe"])
    points = [(point.line.tuning, point.shots, point.seed) for point, _ in collection.points]
    full = [("FullTuning", shots, seed) for shots in (0, "all") for seed in (3, 30)]
    # each once
    assert sorted(points, key=str) == sorted([*full, ("LinearProbe", "all", 3)], key=str)
