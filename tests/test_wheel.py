"""The wheel, installed into an environment without the checkout, beside its packages."""

import json
import os
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

from formats import write_parts

ROOT = Path(__file__).parent.parent
USE_ALL = """
import sys
from pathlib import Path

import glip_lightning

environment = Path(sys.prefix).resolve()
assert environment in Path(glip_lightning.__file__).resolve().parents, glip_lightning.__file__
for name in glip_lightning.__all__:
    getattr(glip_lightning, name)
modules = {n: m.__file__ for n, m in sys.modules.items() if n.split(".")[0] == "glip_lightning"}
ours = {name: file for name, file in modules.items() if file}
assert not [file for file in ours.values() if environment not in Path(file).resolve().parents]

from glip_lightning.app.cli import main

picture = "PHOTOS/test/d.png"
nano = ["--detector", "glip-nano-c", "--phrases", "red circle"]
assert main(["predict", picture, *nano, "--out", "found"]) == 0
sizes = ["--data.min_sizes=[64]", "--data.max_size=64", "--data.test_size=64", "--data.workers=0"]
short = ["--trainer.max_steps=2", "--trainer.precision=32-true", "--trainer.accelerator=cpu"]
probe = ["--model.detector=glip-nano-c", "--model.tuning", "LinearProbe"]
what = ["--data.root=PHOTOS", *probe, *sizes, *short]
assert main(["fit", "--config", "custom", *what, "--run", "run"]) == 0
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built without a network: what builds it is in the group dev."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (file,) = folder.glob("*.whl")
    return file


@pytest.fixture(scope="module")
def environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with the wheel; other packages are those of this one, whose .pth files do not
    count there.
    """
    folder = tmp_path_factory.mktemp("environment") / "venv"
    venv.create(folder, with_pip=False, symlinks=True)
    install = [
        sys.executable,
        "-m",
        "pip",
        "--python",
        str(folder / "bin" / "python"),
        "install",
        "--quiet",
    ]
    subprocess.run(
        [*install, "--no-deps", "--no-index", str(wheel)], check=True, capture_output=True
    )
    (packages,) = folder.glob("lib/python*/site-packages")
    others = [path for path in sys.path if Path(path).name in ("site-packages", "dist-packages")]
    (packages / "others.pth").write_text("\n".join(others), encoding="utf-8")
    return folder


def run(environment: Path, folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """Run a program of the environment in ``folder``."""
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    program = [str(environment / "bin" / command[0]), *command[1:]]
    variables = {**kept, "WANDB_MODE": "disabled", "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        program, cwd=folder, env=variables, capture_output=True, text=True, check=False
    )


def test_the_wheel_holds_the_package_alone(wheel: Path) -> None:
    """Of its 28 MB all but one are the weights of the nano detectors."""
    with zipfile.ZipFile(wheel) as content:
        names = content.namelist()
    tops = {name.partition("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"glip_lightning"}
    assert len([name for name in names if name.endswith("LICENSE")]) == 1
    assert wheel.stat().st_size < 40e6


@pytest.mark.slow
def test_the_sdist_has_all_files_of_the_repository(tmp_path: Path) -> None:
    """Tests read golden numbers, recipes, documents and the Makefile."""
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if listed.returncode:
        pytest.skip("this is no checkout")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "sdist", "-d", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (file,) = tmp_path.glob("*.tar.gz")
    with tarfile.open(file) as content:
        names = {name.partition("/")[2] for name in content.getnames()}
    tracked = {name for name in listed.stdout.split("\0") if name and (ROOT / name).exists()}
    assert tracked - names == set()
    assert not any(name.startswith((".venv", "runs/")) for name in names)


def test_the_wheel_lists_its_recipes(environment: Path, tmp_path: Path) -> None:
    done = run(environment, tmp_path, "glip", "recipes")
    assert done.returncode == 0, done.stderr
    listed = {line.split()[0] for line in done.stdout.splitlines()}
    recipes = ROOT / "recipes"
    assert listed == {
        path.relative_to(recipes).with_suffix("").as_posix() for path in recipes.rglob("*.yaml")
    }
    assert (
        run(environment, tmp_path, "glip", "recipes", "custom", "--copy", "mine.yaml").returncode
        == 0
    )
    assert (tmp_path / "mine.yaml").read_bytes() == (recipes / "custom.yaml").read_bytes()


def test_the_wheel_predicts_and_trains_by_a_recipe_s_name(
    environment: Path, tmp_path: Path
) -> None:
    """With every public name imported; nothing of the checkout is seen."""
    write_parts(tmp_path / "PHOTOS")
    (tmp_path / "all.py").write_text(USE_ALL, encoding="utf-8")
    done = run(environment, tmp_path, "python", "all.py")
    assert done.returncode == 0, done.stdout + done.stderr
    photos = json.loads((tmp_path / "found" / "predictions.json").read_text(encoding="utf-8"))[
        "photos"
    ]
    assert len(photos) == 1
    result = json.loads((tmp_path / "run" / "result.json").read_text(encoding="utf-8"))
    assert result["steps"] == 2
    assert result["recipe"]["model"]["tuning"]["class_path"] == "glip_lightning.LinearProbe"
    assert result["recipe"]["data"]["class_path"] == "glip_lightning.CustomData"
