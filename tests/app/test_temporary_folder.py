"""Neither the product nor its tests leave anything in the folder for temporary files."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from small_runs import make_shapes, options
from small_sweeps import write_sweep

TESTS = Path(__file__).parent.parent
KILLED = """
import subprocess, sys
CODE = "import tempfile, time; print(tempfile.mkdtemp(), flush=True); time.sleep(60)"

def test_a_killed_process_leaves_its_folder(tmp_path):
    (tmp_path / "file").write_text("x")
    with subprocess.Popen([sys.executable, "-c", CODE], stdout=subprocess.PIPE) as process:
        assert process.stdout.readline()
        process.kill()
"""
ALL_VERBS = """
import sys
from glip_lightning.app.cli import main
shapes, run, out, *fit = sys.argv[1:]
assert main(["fit", *fit]) == 0
assert main(["predict", f"{shapes}/test", "--detector", run, "--out", f"{out}/predictions"]) == 0
given = ["--images", f"{shapes}/test", "--detector", run, "--out", f"{out}/labels.json"]
assert main(["pseudo-label", *given]) == 0
"""


@pytest.mark.slow
@pytest.mark.parametrize("wandb", ["disabled", "offline"])
def test_the_folder_for_temporary_files_stays_empty(tmp_path: Path, wandb: str) -> None:
    shapes, temporary = make_shapes(tmp_path), tmp_path / "temporary"
    temporary.mkdir()
    command = [
        sys.executable,
        "-c",
        ALL_VERBS,
        str(shapes),
        str(tmp_path / "run"),
        str(tmp_path / "out"),
    ]
    environment = os.environ | {
        "TMPDIR": str(temporary),
        "WANDB_MODE": wandb,
        "OMP_NUM_THREADS": "1",
    }
    subprocess.run(
        [*command, *options(shapes, tmp_path / "run")], env=environment, check=True, cwd=tmp_path
    )
    left = [path for path in temporary.rglob("*") if not path.name.startswith("torchinductor_")]
    assert left == []  # an empty folder of that name is made by the import of lightning


@pytest.mark.slow
def test_a_sweep_leaves_nothing_of_its_trials(tmp_path: Path) -> None:
    """Each trial is a process that calls nothing at its exit."""
    file, temporary = write_sweep(tmp_path, {"seed": [0, 1]}, max_epochs=1), tmp_path / "temporary"
    temporary.mkdir()
    program = [sys.executable, "-m", "glip_lightning.app.cli"]
    command = [*program, "sweep", str(file), "--dir", str(tmp_path / "sweep"), "--workers", "2"]
    environment = os.environ | {
        "TMPDIR": str(temporary),
        "WANDB_MODE": "offline",
        "OMP_NUM_THREADS": "1",
    }
    subprocess.run(command, env=environment, check=True, cwd=tmp_path)
    assert len(list(tmp_path.glob("sweep/trials/*/wandb/offline-run-*"))) == 2
    left = [path for path in temporary.rglob("*") if not path.name.startswith("torchinductor_")]
    assert left == []


@pytest.mark.parametrize("processes", ["0", "1"])
def test_tests_leave_no_files(tmp_path: Path, processes: str) -> None:
    """What tests leave goes with their run, also with that of a worker of pytest-xdist."""
    (tmp_path / "test_killed.py").write_text(KILLED)
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")
    }
    environment |= {"TMPDIR": str(temporary), "PYTHONPATH": str(TESTS)}
    settings = [
        "-c",
        str(TESTS.parent / "pyproject.toml"),
        "-p",
        "conftest",
        "-p",
        "no:cacheprovider",
    ]
    command = [
        sys.executable,
        "-m",
        "pytest",
        *settings,
        "-n",
        processes,
        str(tmp_path / "test_killed.py"),
    ]
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    left = [path for path in temporary.rglob("*") if not path.name.startswith("pytest-of-")]
    assert left == []  # pytest itself keeps an empty folder
