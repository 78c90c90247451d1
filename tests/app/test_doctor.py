"""``glip doctor``: tables for people, findings for programs, and whether one can train."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageColor

from formats import BOXES, write_parts
from glip_lightning.app import augmented_sheet
from glip_lightning.app.cli import main
from glip_lightning.common.errors import GLIPError
from glip_lightning.data.formats.layouts import read_dataset
from glip_lightning.inference.drawing import COLOURS
from glip_lightning.inference.sheet import SIDE
from glip_lightning.shapes.plugin import WEIGHTS
from printed import line_with, numbers, words
from refusals import refusal

RECIPES = Path(__file__).parent.parent.parent / "recipes"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_parts(tmp_path / "pets")


def verdict(said: str) -> list[str]:
    """Return the numbers of errors and of warnings, with which the doctor ends."""
    return numbers(said.splitlines()[-1])


def test_counts_classes_and_verdict(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", str(folder), "--detector", "glip-nano"]) == 0
    said = capsys.readouterr().out
    assert said.splitlines()[0] == f"{read_dataset(folder).layout} in {folder}"
    lines = said.splitlines()
    for row in ("train 2 0 3 0 0 0", "1 cat 1 1 1 1 cat", "2 dog 2 0 0 1 dog"):
        assert any(line.replace("│", " ").split() == row.split() for line in lines), row
    end = max(number for number, line in enumerate(lines) if line.startswith("└"))
    assert "glip-nano" in lines[end + 1]  # whose vocabulary counted the tokens
    assert verdict(said)[0] == "0"


def test_every_image_is_decoded(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    picture = folder / "train" / "a.png"
    picture.write_bytes(picture.read_bytes()[:2000])
    assert main(["doctor", str(folder), "--detector", "glip-nano", "--json"]) == 1
    (error,) = [f for f in json.loads(capsys.readouterr().out) if f["level"] == "error"]
    assert error["code"] == "undecodable-image"
    assert "a.png" in error["message"]
    assert error.keys() == {"level", "code", "message", "where", "count"}
    assert main(["doctor", str(folder), "--detector", "glip-nano"]) == 1
    lines = [line.replace("│", " ").split() for line in capsys.readouterr().out.splitlines()]
    assert {
        line[0]: line[-1] for line in lines if line[:1] in (["train"], ["valid"], ["test"])
    } == {
        "train": "1",
        "valid": "0",
        "test": "0",
    }


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
    assert verdict(said)[0] == "1"


def test_without_a_train_split(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.rmtree(folder / "train")
    (finding,) = [f for f in said_of(folder, capsys, trains=False) if f["code"] == "missing-split"]
    assert "train" in words(finding["message"])


def test_names_that_words_cannot_tell(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for file in folder.rglob("*.json"):
        content = json.loads(file.read_text())
        names = ["猫", "word " * 30]
        content["categories"] = [{"id": k, "name": name} for k, name in enumerate(names, start=1)]
        file.write_text(json.dumps(content))
    main(["doctor", str(folder), "--detector", "glip-nano", "--json"])
    codes = {f["code"] for f in json.loads(capsys.readouterr().out)}
    assert {"unknown-words", "long-name"} <= codes


def rename(folder: Path, name: str) -> None:
    """Call the first class ``name`` in all splits."""
    for file in folder.rglob("*.json"):
        content = json.loads(file.read_text())
        content["categories"][0]["name"] = name
        file.write_text(json.dumps(content))


def said_of(folder: Path, capsys: pytest.CaptureFixture[str], trains: bool = True) -> list[dict]:
    code = main(["doctor", str(folder), "--detector", "glip-nano", "--json"])
    findings = json.loads(capsys.readouterr().out)
    assert code == (not trains or any(f["level"] == "error" for f in findings))
    return findings


@pytest.mark.parametrize(
    ("name", "code", "shown"),
    [
        ("cir\ud800cle", "broken-text", "cir\\ud800cle"),
        ("\udcff", "broken-text", "\\udcff"),
        ("cat " * 253, "name-too-long", "(253 tokens)"),
        ("cat " * 20_000, "name-too-long", "(20000 tokens)"),
    ],
)
def test_names_that_no_caption_holds(
    folder: Path,
    tmp_path: Path,
    name: str,
    code: str,
    shown: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The doctor says what the training would, which stops before its first step."""
    rename(folder, name)
    errors = [f for f in said_of(folder, capsys) if f["level"] == "error"]
    assert {f["code"] for f in errors} == {code}
    assert shown in errors[0]["message"]
    assert len(errors[0]["message"]) < 400
    arguments = [
        "--config",
        str(RECIPES / "nano.yaml"),
        "--data",
        "CustomData",
        f"--data.root={folder}",
    ]
    assert main(["fit", *arguments, "--run", str(tmp_path / "run")]) == 1
    text = capsys.readouterr().err
    assert shown in text
    assert "Traceback" not in text


def test_the_longest_name(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rename(folder, "cat " * 252)
    assert "name-too-long" not in {f["code"] for f in said_of(folder, capsys)}


def test_control_characters_are_shown(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rename(folder, "c\x1b[31m\u202eat")
    assert main(["doctor", str(folder), "--detector", "glip-nano"]) == 0
    said = capsys.readouterr().out
    assert r"c\x1b[31m\u202eat" in said
    assert not {"\x1b", "\u202e"} & set(said)


@pytest.mark.parametrize("kind", ["program", "pipe", "folder", "loop"])
def test_what_is_called_a_picture(
    folder: Path, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    picture = folder / "train" / "a.png"
    picture.unlink()
    if kind == "program":
        picture.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 64 48\n{} loop\n")
    elif kind == "loop":
        picture.symlink_to(picture)
    else:
        (os.mkfifo if kind == "pipe" else Path.mkdir)(picture)
    errors = [f for f in said_of(folder, capsys) if f["level"] == "error"]
    code = "missing-image" if kind != "program" else "unreadable-image"
    assert errors[0]["code"] == code
    assert "a.png" in errors[0]["message"]


def test_annotations_nested_too_deep(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "train" / "_annotations.coco.json").write_text("[" * 100_000 + "]" * 100_000)
    errors = [f for f in said_of(folder, capsys) if f["level"] == "error"]
    assert errors[0]["code"] == "nested-too-deeply"


@pytest.mark.parametrize("recipe, augment", [("custom_nano", "strong"), ("few_shot", None)])
def test_what_training_shows_is_drawn(
    folder: Path,
    tmp_path: Path,
    recipe: str,
    augment: str | None,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Two photos in five views each, also by the settings of a recipe for other data."""
    for picture in folder.rglob("*.png"):
        with Image.open(picture) as image:
            Image.new("RGB", image.size, "blue").save(picture)
    sheet = tmp_path / "sheet.png"
    arguments = [
        "doctor",
        str(folder),
        "--detector",
        "glip-nano",
        "--config",
        recipe,
        "--show-augmented",
        str(sheet),
    ]
    assert main(arguments) == 0
    printed = capsys.readouterr()
    line = line_with(printed.out + printed.err, sheet).replace(str(sheet), "")
    boxes = sum(len(BOXES[picture.name]) for picture in (folder / "train").glob("*.png"))
    if augment:
        assert augment in words(line)
        assert numbers(line) == ["10", "0", str(boxes)]  # views, boxes out of view, all boxes
    else:
        assert numbers(line) == ["10"]
    with Image.open(sheet) as image:
        assert image.size == (5 * augmented_sheet.SIDE, 2 * augmented_sheet.SIDE)
        centres = {
            image.getpixel((augmented_sheet.SIDE * view + augmented_sheet.SIDE // 2, 8))
            for view in range(5)
        }
    # the blue of the photos in other colours
    assert (len(centres) > 1) == (recipe == "custom_nano")


@pytest.mark.parametrize(
    "arguments", [["--config", "custom_nano"], ["--show-augmented", "sheet.jpg"]]
)
def test_a_sheet_needs_a_recipe_and_a_recipe_a_sheet(folder: Path, arguments: list[str]) -> None:
    assert main(["doctor", str(folder), "--detector", "glip-nano", *arguments]) == 2


def test_a_sheet_of_augmented_photos_is_a_picture(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(GLIPError) as error:
        augmented_sheet.save_augmented(
            str(tmp_path / "sheet.pdf"),
            "custom_nano",
            str(folder),
            read_dataset(folder).splits["train"],
        )
    assert error.value.code == "bad-value"


def test_a_sheet_of_photos_with_their_annotations(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "train" / "a.png").write_bytes(b"no picture")
    sheet = tmp_path / "new" / "sheet.png"
    main(["doctor", str(folder), "--detector", "glip-nano", "--json", "--show", str(sheet)])
    said = capsys.readouterr()
    json.loads(said.out)
    line = line_with(said.err, sheet)
    assert numbers(line.replace(str(sheet), "")) == ["4", "5", "1"]  # drawn, all, unreadable
    with Image.open(sheet) as image:
        pixels = np.asarray(image.convert("RGB")).astype(int)
    assert pixels.shape[1] == 4 * SIDE
    # boxes in the colours of their classes
    for place, name in enumerate(["b 1.png", "c.png", "d.png", "d.png"]):
        part = pixels[:SIDE, place * SIDE : (place + 1) * SIDE]
        drawn = [
            label
            for label, colour in enumerate(COLOURS[:2])
            if (part == ImageColor.getrgb(colour)).all(2).any()
        ]
        assert drawn == sorted({box[0] for box in BOXES[name]}), name


def test_a_sheet_is_a_picture(folder: Path, tmp_path: Path) -> None:
    refused = refusal("doctor", folder, "--show", tmp_path / "sheet.pdf")
    assert refused.code == "bad-value"
    assert ".jpg" in str(refused)
    assert not (tmp_path / "sheet.pdf").exists()


def test_the_words_of_a_detector(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What a shipped detector has never read, and the classes of a run in another order."""
    main(["doctor", str(folder), "--detector", "glip-nano-c", "--json"])
    codes = {f["code"]: f["message"] for f in json.loads(capsys.readouterr().out)}
    assert "'cat', 'dog'" in codes["unread-words"]
    run = tmp_path / "run" / "detector"
    shutil.copytree(WEIGHTS / "glip-nano-c", run)
    (run / "task.json").write_text(
        json.dumps({"phrases": [{"name": "dog"}, {"name": "cat"}], "input_size": [64, 64]})
    )
    (run / "words.txt").write_text("cat\ndog\n")
    main(["doctor", str(folder), "--detector", str(run.parent), "--json"])
    codes = {f["code"]: f["message"] for f in json.loads(capsys.readouterr().out)}
    assert "unread-words" not in codes
    assert "dog, cat" in codes["other-order"]
