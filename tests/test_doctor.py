"""``glip doctor``: tables for people, findings for programs, and whether one can train."""

import json
import shutil
from pathlib import Path

import pytest
from PIL import Image

from formats import write_parts
from glip_lightning.cli import main


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_parts(tmp_path / "pets")


def test_counts_classes_and_verdict(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", str(folder), "--detector", "glip-nano"]) == 0
    said = capsys.readouterr().out
    assert "one folder per split" in said
    for row in ("train 2 0 3 0 0", "1 cat 1 1 1 1 cat", "2 dog 2 0 0 1 dog"):
        assert any(line.replace("│", " ").split() == row.split() for line in said.splitlines()), row
    assert "vocabulary of glip-nano" in said
    assert "can be trained on: 0 errors" in said


def test_every_image_is_decoded(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    picture = folder / "train" / "a.png"
    picture.write_bytes(picture.read_bytes()[:2000])
    assert main(["doctor", str(folder), "--detector", "glip-nano", "--json"]) == 1
    (error,) = [f for f in json.loads(capsys.readouterr().out) if f["level"] == "error"]
    assert error["code"] == "undecodable-image"
    assert "a.png" in error["message"]
    assert error.keys() == {"level", "code", "message", "where", "count"}


def test_equal_pixels_in_other_files(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Image.open(folder / "train" / "a.png") as image:
        image.save(folder / "test" / "d.png", compress_level=1)
    shutil.copy(folder / "valid" / "c.png", folder / "valid" / "d.png")
    main(["doctor", str(folder), "--detector", "glip-nano", "--json"])
    found = {f["code"]: f["message"] for f in json.loads(capsys.readouterr().out)}
    assert "train/a.png = test/d.png" in found["leak"]
    assert "valid/c.png = valid/d.png" in found["duplicate-image"]


@pytest.mark.parametrize("what", ["nowhere", "empty"])
def test_nothing_to_examine(tmp_path: Path, what: str, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty").mkdir()
    assert main(["doctor", str(tmp_path / what), "--detector", "glip-nano"]) == 1
    said = capsys.readouterr().out
    assert str(tmp_path / what) in said
    assert "cannot be trained on yet: 1 errors" in said


def test_without_a_train_split(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.rmtree(folder / "train")
    assert main(["doctor", str(folder), "--detector", "glip-nano"]) == 1
    assert "no train split" in capsys.readouterr().out


def test_names_that_words_cannot_tell(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for file in folder.rglob("*.json"):
        content = json.loads(file.read_text())
        names = ["猫", "word " * 30]
        content["categories"] = [{"id": k, "name": name} for k, name in enumerate(names, start=1)]
        file.write_text(json.dumps(content))
    main(["doctor", str(folder), "--detector", "glip-nano", "--json"])
    codes = {f["code"] for f in json.loads(capsys.readouterr().out)}
    assert {"unknown-words", "long-name"} <= codes
