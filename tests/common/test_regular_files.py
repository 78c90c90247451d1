"""Files that are opened: no reader waits for what may never end."""

import ast
import os
from pathlib import Path

import pytest

from glip_lightning.app.cli import main
from glip_lightning.common.errors import GLIPError
from glip_lightning.common.files import refuse_pipes, regular_file
from glip_lightning.data.formats.captioned_images import read_captions
from glip_lightning.data.formats.coco_json import load_coco
from glip_lightning.inference.pseudo_label.journal import Journal
from glip_lightning.inference.thresholds import read_thresholds
from glip_lightning.text.phrases import read_phrases_file

DATA = Path(__file__).parent.parent.parent / "src" / "glip_lightning" / "data"


def test_a_file_or_a_link_to_one(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("x")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    assert regular_file(tmp_path / "a").read_text() == "x"
    assert regular_file(str(tmp_path / "b")) == tmp_path / "b"
    with pytest.raises(FileNotFoundError):
        regular_file(tmp_path / "c")


@pytest.mark.parametrize(
    "read",
    [
        regular_file,
        load_coco,
        lambda path: read_captions(path.rename(path.with_suffix(".csv"))),
        lambda path: read_phrases_file(path.rename(path.with_suffix(".txt"))),
        lambda path: read_thresholds(path, 0.5),
        lambda path: Journal(path, {}),
    ],
    ids=["regular_file", "json", "captions", "phrases", "thresholds", "journal"],
)
def test_pipes_and_folders_are_refused_in_one_line(tmp_path: Path, read) -> None:
    for make in (os.mkfifo, Path.mkdir):
        path = tmp_path / f"{make.__name__}.json"
        make(path)
        with pytest.raises(GLIPError) as caught:
            read(path)
        assert caught.value.code == "not-a-file"
        assert make.__name__ in str(caught.value)
        assert "\n" not in str(caught.value)


def test_devices_are_refused() -> None:
    with pytest.raises(GLIPError) as caught:
        regular_file("/dev/zero")
    assert caught.value.code == "not-a-file"


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["--config", "{}"], 2),
        (["--config", "recipes/custom.yaml", "--data", "{}"], 1),
        (["--config", "recipes/custom.yaml", "--model.tuning={}"], 1),
        (["--config", "recipes/custom.yaml", "--ckpt_path", "{}"], 1),
        (["--config", "recipes/custom.yaml", "--data.root", "/dev/zero", "{}"], 1),
    ],
)
def test_no_parser_waits(
    tmp_path: Path, words: list[str], code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    os.mkfifo(tmp_path / "pipe.yaml")
    root = Path(__file__).parent.parent.parent
    given = [
        word.format(tmp_path / "pipe.yaml").replace("recipes/", f"{root}/recipes/")
        for word in words
    ]
    assert main(["fit", *given]) == code
    assert ("/dev/zero" if "/dev/zero" in given else "pipe.yaml") in capsys.readouterr().err


def test_other_words_are_left_alone(tmp_path: Path) -> None:
    refuse_pipes(["--run", str(tmp_path), "--x=" + "y" * 5000, "a\0b", "", "--", "fit"])


def test_readers_of_data_look_before_they_open() -> None:
    """All ``PATH.read_text()`` in data/ have ``regular_file(PATH)``, but for tables of our own."""
    unchecked = []
    for path in sorted(DATA.glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute) and node.attr in ("read_text", "read_bytes"):
                receiver = ast.unparse(node.value)
                if not receiver.startswith("regular_file(") and receiver != "TABLE":
                    unchecked.append(f"{path.name}: {receiver}")
    assert unchecked == []
