"""Seconds, bytes and packages of an installation, and the time to its first box; then each extra.

    python -m hatchling build -t wheel
    python benchmarks/installation.py dist/glip_lightning-0.2.0-py3-none-any.whl  # base, extras
    python benchmarks/installation.py WHEEL --base          # the base alone, of an earlier version
    python benchmarks/installation.py WHEEL --empty-cache   # with all downloads

The environment is new and is removed at the end (7 GB meanwhile). Versions are those of
constraints.txt. Without ``--empty-cache`` uv takes known packages from its cache: then the
seconds are those of unpacking.
"""

import argparse
import os
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from email.parser import HeaderParser
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).parent.parent
PICTURE = "things.jpg"
PHRASES = "red heart. pink star"

USES = {
    "tensorboard": """
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from lightning.pytorch.loggers import TensorBoardLogger

logger = TensorBoardLogger("board")
logger.log_metrics({"loss": 0.5}, step=3)
logger.finalize("success")
events = EventAccumulator(logger.log_dir)
events.Reload()
assert [(event.step, event.value) for event in events.Scalars("loss")] == [(3, 0.5)]
""",
    "ray": """
import ray

ray.init(address="local", num_cpus=1, include_dashboard=False, object_store_memory=100 * 2**20)
assert ray.get(ray.remote(lambda: 1 + 1).remote()) == 2
ray.shutdown()
""",
    "slurm": """
import submitit

executor = submitit.LocalExecutor("jobs")
executor.update_parameters(timeout_min=1)
assert executor.submit(max, 1, 2).result() == 2
""",
    "dashboard": """
from glip_lightning.app.cli import main

assert main(["dashboard", "--print"]) == 0
""",
    "docs": "import mkdocs",
}
"""A small program per extra that uses what it brings; it fails where the extra is not installed."""


@dataclass(frozen=True)
class Step:
    """What the environment is after an installation."""

    name: str
    seconds: float
    bytes: int
    packages: int


class Environment:
    """A new environment in ``folder``, into which a wheel and its extras are installed."""

    def __init__(self, folder: Path, cache: Path | None = None) -> None:
        """Make it; ``cache`` is a folder for packages in place of the usual one of uv."""
        self.folder = folder
        self.variables = {
            k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV")
        }
        self.variables |= {
            "WANDB_MODE": "disabled",
            "PYTHONDONTWRITEBYTECODE": "",
            "PYTHONPYCACHEPREFIX": "",
        }
        self.variables |= {"UV_CACHE_DIR": str(cache)} if cache else {}
        self._run(["uv", "venv", "--quiet", "--python", sys.executable, str(folder / "venv")])

    def install(self, wheel: Path, extra: str | None = None) -> Step:
        """Install the wheel, or what an extra adds to it."""
        begun = time.perf_counter()
        what = (
            f"glip-lightning[{extra}] @ {wheel.resolve().as_uri()}"
            if extra
            else str(wheel.resolve())
        )
        where = [
            "--python",
            str(self.program("python")),
            "--constraints",
            str(ROOT / "constraints.txt"),
        ]
        self._run(["uv", "pip", "install", "--quiet", *where, what])
        seconds = time.perf_counter() - begun
        found = list((self.folder / "venv").rglob("*"))
        files = [
            path
            for path in found
            if path.is_file() and not path.is_symlink() and path.suffix != ".pyc"
        ]
        packages = sum(path.name.endswith(".dist-info") for path in found)
        return Step(extra or "base", seconds, sum(path.stat().st_size for path in files), packages)

    def first_box(self) -> float:
        """Return the seconds from the start of the command to the first picture with boxes."""
        if not (self.folder / PICTURE).exists():
            self.run("python", "-m", "glip_lightning.shapes.phrase_picture", PHRASES, PICTURE)
        begun = time.perf_counter()
        self.run(
            "glip",
            "predict",
            PICTURE,
            "--phrases",
            PHRASES,
            "--detector",
            "glip-nano-c",
            "--out",
            "found",
        )
        return time.perf_counter() - begun

    def works(self, extra: str) -> bool:
        """Return whether what an extra brings does what it is for."""
        return self._run([str(self.program("python")), "-c", USES[extra]], check=False) == 0

    def run(self, program: str, *arguments: str) -> None:
        """Run a program of the environment in its folder."""
        self._run([str(self.program(program)), *arguments])

    def program(self, name: str) -> Path:
        """Return the path of a program of the environment."""
        return self.folder / "venv" / ("Scripts" if sys.platform == "win32" else "bin") / name

    def _run(self, command: Sequence[str], check: bool = True) -> int:
        path = os.pathsep.join([str(Path(sys.executable).parent), self.variables["PATH"]])
        done = subprocess.run(
            command,
            cwd=self.folder,
            env=self.variables | {"PATH": path},
            capture_output=True,
            text=True,
            check=False,
        )
        if check and done.returncode:
            raise RuntimeError(f"{' '.join(command)}\n{done.stdout}{done.stderr}")
        return done.returncode


def extras(wheel: Path) -> list[str]:
    """Return the extras of a wheel that add packages, without the one that is all of them."""
    with zipfile.ZipFile(wheel) as content:
        (name,) = (name for name in content.namelist() if name.endswith(".dist-info/METADATA"))
        head = HeaderParser().parsestr(content.read(name).decode("utf-8"))
    required = head.get_all("Requires-Dist") or []
    return [
        extra
        for extra in head.get_all("Provides-Extra") or []
        if extra != "all" and any(f"extra == '{extra}'" in line for line in required)
    ]


def measure(wheel: Path, folder: Path, wanted: Sequence[str], cache: Path | None) -> Iterator[str]:
    """Yield the rows of the table, each when it is measured."""
    environment = Environment(folder, cache)
    base = environment.install(wheel)
    first, again = environment.first_box(), environment.first_box()
    yield "| installed | seconds | GB | packages | first box, s | the second time, s |"
    yield "|---|---|---|---|---|---|"
    size = f"{base.bytes / 1e9:.2f} | {base.packages}"
    yield f"| base | {base.seconds:.0f} | {size} | {first:.1f} | {again:.1f} |"
    before = base
    for extra in wanted:
        step = environment.install(wheel, extra)
        works = "works" if environment.works(extra) else "DOES NOT WORK"
        more, packages = (step.bytes - before.bytes) / 1e9, step.packages - before.packages
        yield f"| + {extra} ({works}) | {step.seconds:.0f} | + {more:.2f} | + {packages} | | |"
        before = step


def main() -> None:
    """Read the arguments, measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("wheel", type=Path)
    parser.add_argument("--base", action="store_true", help="leave the extras out")
    parser.add_argument("--empty-cache", action="store_true", help="download all packages")
    given = parser.parse_args()
    print(f"{given.wheel.name}: {given.wheel.stat().st_size / 1e6:.1f} MB")
    with TemporaryDirectory(prefix="glip-installation-") as folder:
        cache = Path(folder) / "cache" if given.empty_cache else None
        wanted = [] if given.base else extras(given.wheel)
        for row in measure(given.wheel, Path(folder), wanted, cache):
            print(row, flush=True)


if __name__ == "__main__":
    main()
