"""``make demo``: the commands of the Makefile, the sweep shortened to three trials of two steps, as
the last fit.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from PIL import Image
from torchvision.ops import box_iou

from glip_lightning import Predictor
from glip_lightning.config.overrides import overrides_of
from glip_lightning.config.recipe_checker import RecipeChecker
from glip_lightning.evaluation.points import in_points
from glip_lightning.shapes.phrase_picture import picture_of
from glip_lightning.shapes.words import HELD_OUT
from glip_lightning.text.phrases import read_phrases
from printed import line_with, numbers, words

ROOT = Path(__file__).parent.parent
BIN = Path(sys.executable).parent
SHORT = "--only task=Kites,shots=0,shots=1 --trainer.max_steps 2 --trainer.val_check_interval 2"
needs_make = pytest.mark.skipif(shutil.which("make") is None, reason="there is no make")


def commands(folder: Path) -> list[str]:
    """Of the target ``demo``, as they run in ``folder`` after the installation; what is made
    already is left out.
    """
    for name in ("Makefile", "recipes", "notebooks"):
        if not (folder / name).exists():
            (folder / name).symlink_to(ROOT / name)
    said = subprocess.run(
        ["make", "-n", "demo", "READY=", f"BIN={BIN}"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    return [line for line in said if not line.startswith("make")]


def shortened(folder: Path) -> list[str]:
    """Those commands, with few and short trainings."""
    short = {" sweep ": SHORT, " fit ": "--trainer.max_steps 2"}
    return [
        " ".join([line, *(more for verb, more in short.items() if verb in line)])
        for line in commands(folder)
    ]


def run(lines: list[str], folder: Path) -> str:
    """What they print; every one has to succeed, as make would have it."""
    hidden = ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER")  # no test opens a window
    environment = {name: value for name, value in os.environ.items() if name not in hidden}
    environment |= {"PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1"}
    said = []
    for line in lines:
        done = subprocess.run(
            line, shell=True, cwd=folder, env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"
        said.append(done.stdout)
    return "\n".join(said)


@needs_make
def test_the_demo_is_ten_commands_without_downloads(tmp_path: Path) -> None:
    drawn, found, swept, reported, photo, *coins, compared, opened = commands(tmp_path)
    assert "phrase_picture" in drawn
    assert found.split()[1:3] == ["predict", drawn.split()[-1]]
    assert drawn.split('"')[1] == found.split('"')[1]  # what is looked for is what was drawn
    assert len(read_phrases(found.split('"')[1])) == 4
    assert "--detector glip-nano" in found
    sweep = swept.split()
    assert (ROOT / sweep[sweep.index("sweep") + 1]).is_file()
    assert reported.split()[1:] == ["report", sweep[sweep.index("--dir") + 1]]
    assert f"{reported.split()[-1]}/report.html" in opened
    cleared, tested, cleared_too, fitted = map(str.split, coins)
    folder, before, after = photo.split()[-1], tested[-1], fitted[-1]
    assert [cleared[-1], cleared_too[-1]] == [before, after] == compared.split()[3:5]
    for verb, command in (("test", tested), ("fit", fitted)):
        start = command.index(verb)
        assert command[start : start + 5] == [
            verb,
            "--config",
            "custom_nano",
            "--data.root",
            folder,
        ]


def test_the_last_fit_is_a_hundred_steps_of_views_of_one_photo() -> None:
    """Whatever else ``custom_nano`` says: steps end it, not epochs."""
    (line,) = re.findall(r"glip fit (.*)", (ROOT / "Makefile").read_text(encoding="utf-8"))
    options = [word for word in line.split() if not word.startswith("$")]
    root = options.index("--data.root")
    words = [*options[2:root], *options[root + 1 : options.index("--run")], "--data.root", "photos"]
    content = yaml.safe_load((ROOT / "recipes" / f"{options[1]}.yaml").read_text(encoding="utf-8"))
    checked = RecipeChecker().check(Path("custom_nano.yaml"), content, overrides_of(words))
    recipe = checked.recipe
    trainer, data = recipe["trainer"], recipe["data"]["init_args"]
    assert (recipe["model"]["detector"], recipe["model"]["weights"]) == (
        "glip-nano-c",
        "pretrained",
    )
    assert trainer["max_steps"] == 100
    assert trainer["max_epochs"] * data["copies"] // data["batch_size"] >= 100


def test_the_first_picture_shows_what_works() -> None:
    """Each thing that is named is found once, nothing else is."""
    (caption,) = re.findall(
        r"^PHRASES \?= (.*)$", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE
    )
    phrases = [phrase.name for phrase in read_phrases(caption)]
    assert {tuple(phrase.split()) for phrase in phrases} <= HELD_OUT
    shown = picture_of(phrases)
    found = Predictor("glip-nano-c", device="cpu")(shown.image, phrases)
    assert sorted(found.names) == sorted(phrases)
    for box, name in zip(found.boxes, found.names, strict=True):
        meant = [{*name.split()} <= {*thing.words.values()} for thing in shown.things]
        assert sum(meant) == 1
        x, y, width, height = shown.boxes[meant.index(True)]
        assert (
            box_iou(box[None], torch.tensor([[x, y, x + width, y + height]]).float()).item() > 0.7
        )


@pytest.mark.slow
@needs_make
def test_the_demo_runs_twice(tmp_path: Path) -> None:
    said = run(shortened(tmp_path), tmp_path)
    picture = tmp_path / "runs" / "demo" / "found" / "things.jpg"
    assert f"picture  {picture.relative_to(tmp_path)}" in said
    with Image.open(picture) as image:
        assert image.size == (384, 384)
    predictions = json.loads((picture.parent / "predictions.json").read_text())
    assert predictions["detector"] == "glip-nano-c"
    assert numbers(line_with(said, "folder: runs/demo")) == ["3", "0"]  # trials, finished ones
    results = [
        json.loads(path.read_text())
        for path in (tmp_path / "runs" / "demo").glob("trials/*/result.json")
    ]
    assert sorted(result["steps"] for result in results) == [0, 2, 2]
    assert "runs/demo/report.html" in said
    page = (tmp_path / "runs" / "demo" / "report.html").read_text(encoding="utf-8")
    assert 'id="tunings"' in page
    assert "Kites" in page
    assert "13" in [
        number for line in said.splitlines() if "coins" in words(line) for number in numbers(line)
    ]
    coins = tmp_path / "runs" / "demo" / "coins"
    before, after = (
        json.loads((coins / name / "result.json").read_text()) for name in ("before", "after")
    )
    assert [
        (each["verb"], each["steps"], each["data"]["images"]["test"]) for each in (before, after)
    ] == [
        ("test", 0, 1),
        ("fit", 2, 1),
    ]
    assert before["metrics"]["test"]["AP"] > 0.6  # what it knows of photos without having seen one
    known = in_points(before["metrics"]["test"]["AP"])
    assert numbers(line_with(said, "coins: AP "))[0] == known
    with Image.open(coins / "before_after.jpg") as image:
        assert image.size == (1224, 953)
    lines = shortened(tmp_path)
    assert not any(verb in line for line in lines for verb in (" test ", " fit ", "rm -rf"))
    again = run(lines, tmp_path)
    assert numbers(line_with(again, "coins: AP "))[0] == known
    assert numbers(line_with(again, "folder: runs/demo")) == ["3", "3"]
