"""What an installation brings: the packages that the code imports, and what goes on where some were
removed.
"""

import ast
import json
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from formats import write_parts

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "src"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]
REMOVED = ("wandb", "datasets")
FIT = """
import sys

from glip_lightning.app.cli import main

photos = sys.argv[1]
sizes = ["--data.min_sizes=[64]", "--data.max_size=64", "--data.test_size=64", "--data.workers=0"]
short = ["--trainer.max_steps=2", "--trainer.precision=32-true", "--trainer.accelerator=cpu"]
probe = ["--model.detector=glip-nano-c", "--model.tuning", "LinearProbe"]
what = [f"--data.root={photos}", *probe, *sizes, *short]
"""
USE = f"""{FIT}
from glip_lightning.common.errors import GLIPError
from glip_lightning.data.checks.findings import Findings
from glip_lightning.data.formats.hub_dataset import read_hub

picture = photos + "/test/d.png"
nano = ["--detector", "glip-nano-c", "--phrases", "red circle"]
assert main(["predict", picture, *nano, "--out", "found"]) == 0
assert main(["fit", "--config", "custom", *what, "--run", "run"]) == 0
assert main(["report", "run"]) == 0
assert main(["dashboard", "--print"]) == 1
try:
    read_hub("user/name", Findings())
except GLIPError as error:
    print("hub", error.code)
for name in ("wandb", "datasets", "wandb_workspaces"):
    assert name not in sys.modules
"""
LOGGERS = f"""{FIT}
wandb = ["--trainer.logger=WandbLogger", "--run", "named"]
assert main(["fit", "--config", "custom", *what, *wandb]) == 1
board = ["--trainer.logger=TensorBoardLogger", "--trainer.logger.save_dir=board"]
assert main(["fit", "--config", "custom", *what, *board, "--run", "named"]) == 1
"""


def normal(requirement: str) -> str:
    """Return the name of the package of a requirement in the form that metadata compare."""
    name = re.match(r"[\w.-]+", requirement)
    assert name, requirement
    return re.sub(r"[-_.]+", "-", name[0]).lower()


def imported(file: Path) -> Iterator[str]:
    """Yield the top-level names that a module imports, those inside functions and for type checkers
    included.
    """
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.partition(".")[0]
        elif isinstance(node, ast.Call) and getattr(node.func, "id", "") == "optional":
            yield from (each.value for each in node.args[:1] if isinstance(each, ast.Constant))


def test_every_package_that_is_imported_is_a_dependency() -> None:
    """A package that another one happens to bring is gone when that one changes its mind."""
    names = {name for file in SOURCE.rglob("*.py") for name in imported(file)}
    others = names - sys.stdlib_module_names - {"glip_lightning"}
    named = {
        normal(each)
        for each in [
            *PROJECT["dependencies"],
            *(each for extra in EXTRAS.values() for each in extra),
        ]
    }
    found = packages_distributions()
    missing = {
        name for name in others if not named & {normal(each) for each in found.get(name, [name])}
    }
    assert missing == set()


def test_all_is_every_extra() -> None:
    (everything,) = EXTRAS["all"]
    listed = re.fullmatch(r"glip-lightning\[(.+)\]", everything)
    assert listed
    assert set(listed[1].split(",")) == EXTRAS.keys() - {"all"}
    assert "'.[all]'" in (ROOT / "Makefile").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with links to all installed packages but those that are removed."""
    folder = tmp_path_factory.mktemp("packages")
    for place in [
        Path(place) for place in sys.path if Path(place).name in ("site-packages", "dist-packages")
    ]:
        for entry in place.iterdir():
            removed = entry.name.startswith((*REMOVED, "tensorboard"))
            if not removed and entry.suffix != ".pth" and not (folder / entry.name).exists():
                (folder / entry.name).symlink_to(entry, target_is_directory=entry.is_dir())
    return folder


def run(program: str, packages: Path, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a program in ``folder``, beside photos, with those packages alone."""
    photos = write_parts(folder / "photos")
    kept = {name: value for name, value in os.environ.items() if not name.startswith("WANDB_")}
    path = os.pathsep.join([str(SOURCE), str(packages)])
    done = subprocess.run(
        [
            sys.executable,
            "-S",
            "-c",
            program,
            str(photos),
        ],  # -S: no other packages than those of the path
        env=kept | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done


@pytest.mark.slow
def test_a_machine_without_wandb_and_datasets_predicts_and_trains(
    packages: Path, tmp_path: Path
) -> None:
    done = run(USE, packages, tmp_path)
    assert (
        len(
            json.loads((tmp_path / "found" / "predictions.json").read_text(encoding="utf-8"))[
                "photos"
            ]
        )
        == 1
    )
    result = json.loads((tmp_path / "run" / "result.json").read_text(encoding="utf-8"))
    assert result["steps"] == 2
    assert result["versions"]["wandb"] == result["versions"]["datasets"] == "not installed"
    assert (
        len((tmp_path / "run" / "logs" / "metrics.csv").read_text(encoding="utf-8").splitlines())
        > 1
    )
    assert (tmp_path / "run" / "report.html").is_file()
    assert len([line for line in done.stderr.splitlines() if line.endswith(" wandb")]) == 1, (
        "said once"
    )
    assert "hub not-installed" in done.stdout
    assert "'glip-lightning[dashboard]'" in done.stderr


@pytest.mark.slow
def test_a_logger_of_a_recipe_that_is_not_installed_is_named(
    packages: Path, tmp_path: Path
) -> None:
    done = run(LOGGERS, packages, tmp_path)
    assert "'glip-lightning[tensorboard]'" in done.stderr
    assert "'wandb>=" in done.stderr
    assert "Traceback" not in done.stderr
