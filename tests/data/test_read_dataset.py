"""``read_dataset``: a folder as Python sees it, with all that is wrong with it."""

from pathlib import Path

import pytest

from formats import BOXES, SPLITS, write_parts
from glip_lightning import GLIPError, read_dataset, to_hub


def test_splits_have_names_boxes_and_classes(tmp_path: Path) -> None:
    data = read_dataset(write_parts(tmp_path / "photos"))
    assert {split: len(index) for split, index in data.splits.items()} == {
        s: len(names) for s, names in SPLITS.items()
    }
    train = data.splits["train"]
    assert [train.name(i) for i in range(len(train))] == list(SPLITS["train"])
    for i in range(len(train)):
        expected = [list(map(float, box)) for _, *box in BOXES[train.name(i)]]
        assert train.boxes_of(i).xywh.tolist() == expected
    assert len({index.class_names for index in data.splits.values()}) == 1
    assert set(to_hub(data.splits)) == {"train", "validation", "test"}


def test_findings_have_a_code_and_a_text_that_names_the_place(tmp_path: Path) -> None:
    folder = write_parts(tmp_path / "photos")
    (folder / "train" / SPLITS["train"][0]).unlink()
    found = {finding.code: finding for finding in read_dataset(folder).findings}
    assert found["missing-image"].level == "error"
    assert SPLITS["train"][0] in found["missing-image"].text
    assert str(folder) in found["missing-image"].text


def test_nothing_is_written(tmp_path: Path) -> None:
    write_parts(tmp_path / "photos")
    folder = tmp_path / "photos" / "train"  # one set of images, which is divided
    before = sorted(folder.iterdir())
    assert set(read_dataset(str(folder)).splits) == {"train", "valid"}
    assert sorted(folder.iterdir()) == before


def test_no_data_set_is_an_error_with_a_code(tmp_path: Path) -> None:
    with pytest.raises(GLIPError) as refused:
        read_dataset(tmp_path / "nowhere")
    assert refused.value.code == "missing-folder"
