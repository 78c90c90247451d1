"""The wheel in an empty environment: the base predicts and trains, then one extra after the other
is used.
"""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

sys.path.insert(0, str(Path(__file__).parent.parent / "benchmarks"))

import pytest

from formats import write_parts
from installation import USES, Environment, extras
from test_installation import EXTRAS

ROOT = Path(__file__).parent.parent
ROOM = 10e9  # bytes; PyTorch and what it needs are most of it
SMALL = ("--data.min_sizes=[64]", "--data.max_size=64", "--data.test_size=64", "--data.workers=0")
SHORT = ("--trainer.max_steps=2", "--trainer.precision=32-true", "--trainer.accelerator=cpu")


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """A folder that goes with the test: pytest would keep those of its last runs."""
    if shutil.which("uv", path=str(Path(sys.executable).parent)) is None:
        pytest.skip("uv is not installed beside this Python; make installs it")
    with TemporaryDirectory() as place:
        if shutil.disk_usage(place).free < ROOM:
            pytest.skip(f"less than {ROOM / 1e9:.0f} GB free in {place}")
        yield Path(place)


@pytest.fixture(scope="module")
def wheel(folder: Path) -> Path:
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (file,) = folder.glob("*.whl")
    return file


def test_every_extra_has_a_use() -> None:
    assert {name for name in EXTRAS if name != "all"} == USES.keys()


@pytest.mark.slow
def test_the_base_works_alone_and_each_extra_adds_what_it_is_for(folder: Path, wheel: Path) -> None:
    """It prints what it measures, as `benchmarks/installation.py` does."""
    environment = Environment(folder)
    before = environment.install(wheel)
    first, again = environment.first_box(), environment.first_box()
    print(f"base: {before.seconds:.0f} s, {before.bytes / 1e9:.2f} GB, {before.packages} packages")
    print(f"first box: {first:.1f} s, the second time {again:.1f} s")
    assert (folder / "found" / "predictions.json").is_file()
    photos = write_parts(folder / "photos")
    tuned = (
        "--model.detector=glip-nano-c",
        "--model.tuning",
        "LinearProbe",
        f"--data.root={photos}",
    )
    environment.run("glip", "fit", "--config", "custom", *tuned, *SMALL, *SHORT, "--run", "run")
    environment.run("glip", "report", "run")
    assert (folder / "run" / "report.html").is_file()
    assert set(extras(wheel)) == {
        name for name, packages in EXTRAS.items() if packages and name != "all"
    }
    for extra in extras(wheel):
        assert not environment.works(extra), f"{extra}: is there without the extra"
        step = environment.install(wheel, extra)
        assert environment.works(extra), extra
        more, packages = (step.bytes - before.bytes) / 1e9, step.packages - before.packages
        print(f"{extra}: {step.seconds:.0f} s, + {more:.2f} GB, + {packages} packages")
        assert step.packages > before.packages
        before = step
