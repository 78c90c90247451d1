"""The generated pictures: reproducible, tightly boxed, complete or absent on disk."""

import json
from pathlib import Path

import numpy as np
import pytest

from glip_lightning.data.coco import CocoDetection
from glip_lightning.data.odinw import ANNOTATIONS
from glip_lightning.data.shapes import CLASS_NAMES, MANIFEST, Picture, render, write_shapes

COUNTS = {"train": 3, "valid": 2, "test": 1}


@pytest.fixture(scope="module")
def pictures() -> list[Picture]:
    return [render(0, index, 128) for index in range(150)]


def test_pictures_depend_on_seed_and_index_only() -> None:
    first, again = render(1, 2, 96), render(1, 2, 96)
    assert np.array_equal(np.asarray(first.image), np.asarray(again.image))
    assert (first.boxes, first.labels) == (again.boxes, again.labels)
    assert not np.array_equal(np.asarray(first.image), np.asarray(render(1, 3, 96).image))
    assert not np.array_equal(np.asarray(first.image), np.asarray(render(2, 2, 96).image))


def test_pictures_are_varied_and_their_boxes_inside(pictures: list[Picture]) -> None:
    assert {len(picture.boxes) for picture in pictures} == {1, 2, 3, 4}
    assert {label for picture in pictures for label in picture.labels} == set(range(len(CLASS_NAMES)))
    for picture in pictures:
        assert picture.image.size == (128, 128)
        for x, y, width, height in picture.boxes:
            assert min(x, y) >= 0
            assert max(x + width, y + height) <= 128
            assert min(width, height) >= 10
            assert max(width, height) <= 66


@pytest.mark.parametrize("label", range(len(CLASS_NAMES)))
def test_boxes_are_tight(pictures: list[Picture], label: int) -> None:
    """The pixels of the class's colour reach to within the rim on all four sides of the box."""
    name = CLASS_NAMES[label].split()[0]
    weights = {"red": [1, -1, 0], "blue": [0, -1, 1], "yellow": [0.5, 0.5, -1], "green": [-0.5, 1, -0.5]}[name]
    alone = [picture for picture in pictures if picture.labels == [label]]
    assert len(alone) >= 3
    for picture in alone:
        x, y, width, height = picture.boxes[0]
        coloured = np.asarray(picture.image).astype(float) @ weights > 50
        rows, columns = np.nonzero(coloured[y : y + height, x : x + width])
        assert max(columns.min(), rows.min(), width - 1 - columns.max(), height - 1 - rows.max()) <= 4


def test_data_set_is_read_back(tmp_path: Path) -> None:
    folder = write_shapes(tmp_path / "shapes", seed=3, counts=COUNTS, size=96)
    for number, (split, count) in enumerate(COUNTS.items()):
        data = CocoDetection(folder / split / ANNOTATIONS, folder / split)
        assert data.class_names == list(CLASS_NAMES)
        assert len(data) == count
        assert not data.index.dropped()
        picture = render(3, number * 1_000_000, 96)
        assert data.index.target(0)[1].tolist() == picture.labels
        x, y, width, height = picture.boxes[0]
        assert data.index.target(0)[0][0].tolist() == [x, y, x + width - 1, y + height - 1]
        assert data[0]["original_size"] == (96, 96)


def test_a_complete_folder_is_reused_and_others_are_written_anew(tmp_path: Path) -> None:
    folder = write_shapes(tmp_path / "shapes", counts=COUNTS, size=64)
    before = (folder / MANIFEST).stat().st_mtime_ns
    write_shapes(folder, counts=COUNTS, size=64)
    assert (folder / MANIFEST).stat().st_mtime_ns == before
    write_shapes(folder, counts={"test": 2}, size=64)
    assert json.loads((folder / MANIFEST).read_text())["counts"] == {"test": 2}
    assert {path.name for path in folder.iterdir()} == {"test", MANIFEST}
    assert [path.name for path in tmp_path.iterdir()] == ["shapes"]  # nothing unfinished is left


def test_other_peoples_files_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "photo.jpg").touch()
    with pytest.raises(FileExistsError, match="choose a new or empty folder"):
        write_shapes(tmp_path, counts=COUNTS)
    assert (tmp_path / "photo.jpg").exists()
