"""Pictures of what phrases name."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from glip_lightning.common.errors import GLIPError
from glip_lightning.shapes.phrase_picture import main, picture_of

PHRASES = ["red heart", "striped cross", "star", "wavy cyan gear"]


@pytest.mark.parametrize("seed", range(5))
def test_every_phrase_means_a_thing_and_as_many_things_are_meant_by_none(seed: int) -> None:
    shown = picture_of(PHRASES, seed, size=96)
    assert shown.image.size == (96, 96)
    meant = [
        sum(set(phrase.split()) <= {*thing.words.values()} for phrase in PHRASES)
        for thing in shown.things
    ]
    assert meant.count(1) >= len(PHRASES)
    assert 1 <= meant.count(0) <= len(PHRASES)
    assert len(shown.boxes) == len(shown.things)


def test_the_same_seed_is_the_same_picture() -> None:
    first, second, other = (np.asarray(picture_of(PHRASES, seed, 64).image) for seed in (0, 0, 1))
    assert (first == second).all()
    assert (first != other).any()


def test_what_leaves_no_near_miss_is_drawn_alone() -> None:
    assert picture_of(["red"], size=64).things[0].colour == "red"
    shapes = [
        "circle",
        "square",
        "triangle",
        "star",
        "ring",
        "cross",
        "diamond",
        "heart",
        "moon",
        "drop",
    ]
    assert [thing.shape for thing in picture_of(shapes, size=64).things] == shapes


def test_what_cannot_be_drawn_is_named() -> None:
    for phrases, code, named in (
        (["red dog"], "unknown-word", ["'red dog'", "'dog'", "circle, square"]),
        (["red blue star"], "bad-phrases", ["'red blue star'", "colour"]),
        (["blue ring"] * 59 + ["red star"], "no-room", ["'red star'", "60"]),
    ):
        with pytest.raises(GLIPError) as caught:
            picture_of(phrases, size=32)
        assert caught.value.code == code
        assert all(part in str(caught.value) for part in named)


def test_the_command_draws_a_caption(tmp_path: Path) -> None:
    target = tmp_path / "new" / "picture.jpg"
    module = "glip_lightning.shapes.phrase_picture"
    done = subprocess.run(
        [sys.executable, "-m", module, "red heart. striped cross", str(target)],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{target}\n"
    with Image.open(target) as image:
        assert (image.format, image.size) == ("JPEG", (384, 384))


@pytest.mark.parametrize("module", ["phrase_picture", "image_captions"])
def test_the_commands_say_how_they_are_called(tmp_path: Path, module: str) -> None:
    """A word that is no folder draws nothing."""
    command = [sys.executable, "-m", f"glip_lightning.shapes.{module}"]
    for options, code in ((["--help"], 0), ([], 2), (["--hlp", "a", "b"], 2)):
        done = subprocess.run(
            [*command, *options], capture_output=True, text=True, cwd=tmp_path, timeout=120
        )
        assert done.returncode == code
        assert "usage: " in done.stdout + done.stderr
    assert list(tmp_path.iterdir()) == []


def test_the_command_says_what_it_cannot_draw(tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as refused:
        main("dog", tmp_path / "picture.jpg")
    assert "'dog'" in str(refused.value)  # a text is exit code 1
    assert list(tmp_path.iterdir()) == []
