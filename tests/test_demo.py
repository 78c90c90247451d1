"""``make demo``: the commands of the Makefile, the sweep shortened to three trials of two steps."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from glip_lightning.text.phrases import read_phrases

ROOT = Path(__file__).parent.parent
BIN = Path(sys.executable).parent
SHORT = "--only task=Kites,shots=0,shots=1 --trainer.max_steps 2 --trainer.val_check_interval 2"
needs_make = pytest.mark.skipif(shutil.which("make") is None, reason="there is no make")


def commands(folder: Path) -> list[str]:
    """Of the target ``demo``, as they run in ``folder`` after the installation."""
    for name in ("Makefile", "recipes"):
        (folder / name).symlink_to(ROOT / name)
    said = subprocess.run(
        ["make", "-n", "demo", "READY=", f"BIN={BIN}"], cwd=folder, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    return [line for line in said if not line.startswith("make")]


def run(lines: list[str], folder: Path) -> str:
    """What they print; every one has to succeed, as make would have it."""
    hidden = ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER")  # no test opens a window
    environment = {name: value for name, value in os.environ.items() if name not in hidden}
    environment |= {"PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1"}
    said = []
    for line in lines:
        done = subprocess.run(line, shell=True, cwd=folder, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"
        said.append(done.stdout)
    return "\n".join(said)


@needs_make
def test_the_demo_is_five_commands_without_downloads(tmp_path: Path) -> None:
    drawn, found, swept, reported, opened = commands(tmp_path)
    assert "phrase_picture" in drawn
    assert found.split()[1:3] == ["predict", drawn.split()[-1]]
    assert drawn.split('"')[1] == found.split('"')[1]  # what is looked for is what was drawn
    assert len(read_phrases(found.split('"')[1])) == 4
    assert "--detector glip-nano" in found
    sweep = swept.split()
    assert (ROOT / sweep[sweep.index("sweep") + 1]).is_file()
    assert reported.split()[1:] == ["report", sweep[sweep.index("--dir") + 1]]
    assert f"{reported.split()[-1]}/report.html" in opened


@pytest.mark.slow
@needs_make
def test_the_demo_runs_twice(tmp_path: Path) -> None:
    lines = [f"{line} {SHORT}" if " sweep " in line else line for line in commands(tmp_path)]
    said = run(lines, tmp_path)
    picture = tmp_path / "runs" / "demo" / "found" / "things.jpg"
    assert f"picture  {picture.relative_to(tmp_path)}" in said
    with Image.open(picture) as image:
        assert image.size == (384, 384)
    predictions = json.loads((picture.parent / "predictions.json").read_text())
    assert predictions["detector"] == "glip-nano-c"
    assert "3 trials in runs/demo, 0 of them finished already" in said
    results = [json.loads(path.read_text()) for path in (tmp_path / "runs" / "demo").glob("trials/*/result.json")]
    assert sorted(result["steps"] for result in results) == [0, 2, 2]
    assert "runs/demo/report.html" in said
    page = (tmp_path / "runs" / "demo" / "report.html").read_text(encoding="utf-8")
    assert "Tuning against tuning" in page
    assert "Kites" in page
    again = run(lines, tmp_path)
    assert "3 trials in runs/demo, 3 of them finished already" in again
