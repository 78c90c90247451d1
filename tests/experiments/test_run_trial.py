"""One trial in a process of its own: its claim, its log, and how it goes on."""

import json
import logging
import os
import random
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from filelock import FileLock
from lightning import Callback, LightningModule, Trainer

from glip_lightning.experiments.failures import Failure, read_failure, record_failure
from glip_lightning.experiments.sweep.executors import Local, Stop
from glip_lightning.experiments.sweep.jobs import Event, Job
from glip_lightning.experiments.sweep.run_trial import run_trial
from small_runs import make_shapes
from small_sweeps import RECIPE


class Poison(Callback):
    """Sets whatever a process has to be set, prints below Python, and fails if so wished."""

    def __init__(self, fail: bool = False) -> None:
        self.fail = fail

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        os.environ["GLIP_POISON"] = "1"
        os.write(1, b"from below Python\n")
        warnings.simplefilter("ignore")
        logging.getLogger().addHandler(logging.NullHandler())

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        random.seed(1), np.random.seed(1), torch.manual_seed(1)
        if self.fail:
            torch.set_default_dtype(torch.float64)
            torch.set_num_threads(2)
            torch.use_deterministic_algorithms(True)
            torch.set_float32_matmul_precision("medium")
            torch.set_grad_enabled(False)
            os.chdir("/")
            raise KeyError("on purpose")


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_shapes(tmp_path_factory.mktemp("data"))


def job(folder: Path, shapes: Path, *callbacks: dict[str, Any], keep: bool = False) -> Job:
    recipe = json.loads(json.dumps(RECIPE))
    recipe["data"]["init_args"]["root"] = str(shapes)
    recipe["trainer"] |= {"callbacks": list(callbacks), "logger": False, "max_epochs": 1}
    folder.mkdir(parents=True)
    return Job(folder.name, str(folder), str(Path.cwd()), recipe, threads=1, keep_checkpoints=keep)


def run(*given: Job) -> list[Event]:
    """Run one after another, as a sweep does."""
    return [event for event in Local(1).run(run_trial, given, Stop()) if event.state != "running"]


def outcome(folder: Path) -> tuple[Any, ...]:
    """Metrics, every logged number and the trained weights."""
    found = json.loads((folder / "result.json").read_text())
    rows = (folder / "logs" / "metrics.csv").read_text()
    return found["metrics"], rows, (folder / "detector" / "model.safetensors").read_bytes()


def test_no_trial_finds_what_another_has_set(
    tmp_path: Path, shapes: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    given = [
        job(tmp_path / "fresh", shapes),
        job(
            tmp_path / "failing",
            shapes,
            {"class_path": "test_run_trial.Poison", "init_args": {"fail": True}},
        ),
        job(tmp_path / "poison", shapes, {"class_path": "test_run_trial.Poison"}),
        job(tmp_path / "last", shapes),
    ]
    events = run(*given)
    assert [event.state for event in events] == ["finished", "failed", "finished", "finished"]
    assert events[1].note == "KeyError: 'on purpose'"
    assert outcome(tmp_path / "last") == outcome(tmp_path / "fresh")
    assert capfd.readouterr() == ("", "")
    assert "from below Python" in (tmp_path / "poison" / "trial.log").read_text()
    failure = json.loads((tmp_path / "failing" / "failed.json").read_text())
    assert failure["error"] == "KeyError: 'on purpose'"
    assert "on_train_batch_end" in failure["traceback"]
    assert failure["attempts"] == 1
    assert "KeyError: 'on purpose'" in Path(failure["log"]).read_text()


@pytest.mark.skipif(sys.platform != "linux", reason="threads are counted in /proc")
def test_the_server_of_trials_has_imported_what_they_need_and_has_one_thread() -> None:
    """Forks could use neither threads of torch nor a GPU that it has used.

    Each fork would repeat the imports: 0.4 s of BERT, 0.7 s of W&B.
    """
    program = (
        "import sys, torch\n"
        "asked = []\n"
        "torch.cuda.is_available = lambda: bool(asked.append('is_available'))\n"
        "torch.cuda.device_count = lambda: asked.append('device_count') or 0\n"
        "import glip_lightning.experiments.sweep.preloaded\n"
        "from pathlib import Path\n"
        "lines = Path('/proc/self/status').read_text().splitlines()\n"
        "(threads,) = [line for line in lines if line.startswith('Threads:')]\n"
        "print(asked, torch.cuda.is_initialized(), threads.split()[1])\n"
        "needed = ('transformers.models.bert.modeling_bert', 'wandb.sdk.launch')\n"
        "print(*(name in sys.modules for name in needed))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
        # with more threads OpenBLAS starts its own
        env={**os.environ, "OMP_NUM_THREADS": "1", "WANDB_MODE": "offline"},
    )
    assert done.stdout.split() == ["[]", "False", "1", "True", "True"]


def test_a_claimed_trial_is_left_alone(tmp_path: Path, shapes: Path) -> None:
    mine = job(tmp_path / "mine", shapes)
    with FileLock(tmp_path / "mine.lock"):
        assert run_trial(mine).state == "elsewhere"
    assert list((tmp_path / "mine").iterdir()) == []


def test_what_cannot_be_gone_on_with_starts_anew(tmp_path: Path, shapes: Path) -> None:
    mine = job(tmp_path / "mine", shapes, keep=True)
    folder = tmp_path / "mine"
    (folder / "checkpoints").mkdir()
    (folder / "checkpoints" / "last.ckpt").write_bytes(b"torn")
    (folder / "recipe.yaml").write_text(yaml.safe_dump(mine.recipe))
    record_failure(folder, "the disk was full", "", 1)
    record_failure(folder, "the disk was full", "", 1)
    assert json.loads((folder / "failed.json").read_text())["attempts"] == 2
    assert run(mine)[0].state == "finished"
    # which is not used
    assert str(folder / "checkpoints" / "last.ckpt") in (folder / "trial.log").read_text()
    assert not (folder / "failed.json").exists()
    assert (folder / "checkpoints" / "last.ckpt").stat().st_size > 1000  # kept, as asked
    assert run_trial(mine).state == "finished"  # at once


@pytest.mark.parametrize("text", ["", "[]", "[" * 100_000, "{}", '{"error": "x", "attempts": -1}'])
def test_an_edited_failure_is_no_reason_to_stop(tmp_path: Path, text: str) -> None:
    (tmp_path / "failed.json").write_text(text)
    assert read_failure(tmp_path).attempts == 0
    record_failure(tmp_path, "odd-\udcff", "", 1.0)
    written = json.loads((tmp_path / "failed.json").read_text())
    assert (written["error"], written["attempts"]) == ("odd-\udcff", 1)
    record_failure(tmp_path, "again", "", 1.0)
    assert read_failure(tmp_path) == Failure("again", 2)


def test_a_failure_without_a_number_of_attempts_keeps_its_error(tmp_path: Path) -> None:
    (tmp_path / "failed.json").write_text('{"error": "no memory"}')
    assert read_failure(tmp_path) == Failure("no memory", 1)
    (tmp_path / "failed.json").write_text("[]")
    assert read_failure(tmp_path).attempts == 0
    (tmp_path / "failed.json").unlink()
    assert str(tmp_path) not in read_failure(tmp_path).error
