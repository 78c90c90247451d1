"""Data without splits: the rule, the file that keeps its result, and what users do to that file."""

import json
from pathlib import Path

import pytest

from formats import write_coco
from glip_lightning.data.checks.findings import DataError, Findings
from glip_lightning.data.formats.coco_json import read_coco
from glip_lightning.data.index import Index
from glip_lightning.data.splits import SPLIT_FILE, complete_splits, split_index, split_names


@pytest.fixture
def index(tmp_path: Path) -> Index:
    return read_coco(write_coco(tmp_path / "coco.json", tmp_path), tmp_path, Findings())


@pytest.mark.parametrize(
    "count, sizes",
    [
        (0, (0, 0, 0)),
        (1, (1, 0, 0)),
        (2, (1, 1, 0)),
        (3, (1, 1, 1)),
        (4, (2, 1, 1)),
        (10, (7, 2, 1)),
        (30, (21, 5, 4)),
        (1000, (700, 150, 150)),
    ],
)
def test_shares(count: int, sizes: tuple[int, ...]) -> None:
    names = [f"{i}.jpg" for i in range(count)]
    lists = split_names(names, seed=3)
    assert tuple(map(len, lists.values())) == sizes
    assert sorted(name for found in lists.values() for name in found) == sorted(names)


def test_the_rule_is_stable_and_seeded() -> None:
    names = [f"{i}.jpg" for i in range(50)]
    assert split_names(names, 0) == split_names(names[::-1], 0)
    assert split_names(names, 0) != split_names(names, 1)
    # the order that `printf 0/2.jpg | sha256sum`, ... gives
    assert split_names(names[:4], 0) == {
        "train": ["2.jpg", "1.jpg"],
        "valid": ["0.jpg"],
        "test": ["3.jpg"],
    }


def names_of(splits: dict) -> dict[str, list[str]]:
    return {split: [index.name(i) for i in range(len(index))] for split, index in splits.items()}


def test_it_is_written_once_and_then_followed(tmp_path: Path, index: Index) -> None:
    findings = Findings()
    splits = split_index(index, tmp_path, findings, seed=5, write=True)
    written = json.loads((tmp_path / SPLIT_FILE).read_text())
    assert written["seed"] == 5
    assert "sha256" in written["rule"]
    assert {split: sorted(written[split]) for split in ("train", "valid", "test")} == names_of(
        splits
    )
    assert [finding.code for finding in findings] == ["split-by-rule"]
    findings = Findings()
    assert names_of(split_index(index, tmp_path, findings, seed=6, write=True)) == names_of(splits)
    assert [(finding.level, finding.code) for finding in findings] == [("info", "split-file")]


def test_looking_does_not_write(tmp_path: Path, index: Index) -> None:
    split_index(index, tmp_path, Findings())
    assert not (tmp_path / SPLIT_FILE).exists()
    split_index(index, None, Findings(), write=True)


def test_nothing_is_written_while_images_are_missing(tmp_path: Path) -> None:
    file = write_coco(tmp_path / "coco.json", tmp_path)
    (tmp_path / "c.png").unlink()
    findings = Findings()
    split_index(read_coco(file, tmp_path, findings), tmp_path, findings, write=True)
    assert findings.errors
    assert not (tmp_path / SPLIT_FILE).exists()


def test_an_edited_file_counts(tmp_path: Path, index: Index) -> None:
    lists = {"train": ["a.png", "gone.png"], "valid": [], "test": ["d.png"]}
    (tmp_path / SPLIT_FILE).write_text(json.dumps(lists))
    findings = Findings()
    assert names_of(split_index(index, tmp_path, findings)) == {
        "train": ["a.png"],
        "test": ["d.png"],
    }
    unlisted = next(finding for finding in findings if finding.code == "split-unlisted")
    assert (unlisted.count, unlisted.level) == (2, "warning")
    assert "b 1.png, c.png" in unlisted.message
    assert "gone.png" in next(
        finding.message for finding in findings if finding.code == "split-gone"
    )
    assert not findings.errors


def test_an_image_in_two_lists_is_an_error(tmp_path: Path, index: Index) -> None:
    (tmp_path / SPLIT_FILE).write_text(json.dumps({"train": ["a.png"], "test": ["a.png"]}))
    findings = Findings()
    split_index(index, tmp_path, findings)
    assert [(finding.code, "a.png" in finding.message) for finding in findings.errors] == [
        ("split-twice", True)
    ]


@pytest.mark.parametrize(
    "text",
    ["", "[]", '{"train": "a.png"}', '{"train": [3]}', '{"train": []}', "{}", "[" * 10**5, "\x00"],
)
def test_a_broken_file_is_an_error(tmp_path: Path, index: Index, text: str) -> None:
    (tmp_path / SPLIT_FILE).write_text(text)
    with pytest.raises(DataError) as caught:
        split_index(index, tmp_path, Findings())
    assert caught.value.code == "bad-splits"
    assert str(tmp_path / SPLIT_FILE) in str(caught.value)
    assert "sha256" in str(caught.value)  # the rule that divides the images without the file


def test_a_folder_that_cannot_be_written_gets_a_warning(
    tmp_path: Path, index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path, text: str) -> None:  # as root no folder refuses
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("glip_lightning.data.splits.write_text", refuse)
    findings = Findings()
    splits = split_index(index, tmp_path, findings, write=True)
    assert names_of(splits) == names_of(split_index(index, None, Findings()))
    (finding,) = (finding for finding in findings if finding.code == "split-not-written")
    assert "Permission denied" in finding.message  # as the system says above


def test_only_a_lone_train_split_is_divided(index: Index) -> None:
    assert complete_splits({"train": index, "test": index}, None, Findings())["train"] is index
    assert set(complete_splits({"train": index}, None, Findings())) == {"train", "valid", "test"}


def test_no_images(index: Index) -> None:
    assert names_of(split_index(index.select([]), None, Findings())) == {"train": []}
