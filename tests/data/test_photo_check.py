"""Damaged photos are found before the first step, once, and left out if the user wants it."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from formats import SPLITS, write_parts
from glip_lightning import CustomData, GLIPError
from glip_lightning.data.checks.findings import DataError, Findings
from glip_lightning.data.checks.photo_check import check_photos
from glip_lightning.data.formats.layouts import read_folder
from glip_lightning.data.images import check_image, read_image


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


def photo(path: Path, kind: str) -> bytes:
    noise = np.random.default_rng(0).integers(0, 256, (120, 160, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path, format=kind)
    return path.read_bytes()


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "BMP"])
@given(st.data())
def test_what_training_cannot_read_is_found(
    tmp_path_factory: pytest.TempPathFactory, kind: str, data: st.DataObject
) -> None:
    file = tmp_path_factory.mktemp("photos") / "a.jpg"
    content = photo(file, kind)
    assert check_image(file).fault == ""
    lost = data.draw(st.integers(1, len(content) - 200))
    file.write_bytes(content[:-lost])
    fault = ""
    try:
        read_image(file, upright=True)
    except GLIPError as error:
        fault = str(error)
    assert bool(check_image(file).fault) == bool(fault)
    assert fault or lost < 60  # of PNG, whose last bytes are no pixels


@pytest.mark.parametrize("lost", [64, 1000, 8000])
@pytest.mark.parametrize("more", [b"", bytes(500), b"MotionPhoto_Data" + bytes(500)])
def test_a_jpeg_whose_end_is_blank_is_damaged(tmp_path: Path, lost: int, more: bytes) -> None:
    """Unfinished copies and downloads often end in zeros; decoders paint the rest grey."""
    file = tmp_path / "a.jpg"
    content = photo(file, "JPEG")
    file.write_bytes(content + more)  # what phones put behind the end does no harm
    assert check_image(file).fault == ""
    file.write_bytes(content[:-lost] + bytes(lost))
    assert "zeros" in check_image(file).fault
    with pytest.raises(GLIPError) as error:
        read_image(file, upright=True)
    assert error.value.code == "unreadable-image"


class Bar:
    """How many files had to be read."""

    total = 0

    def __call__(self, steps: Iterator[None], total: int) -> Iterator[None]:
        self.total += total
        return steps


def damaged(folder: Path) -> Path:
    """A data set with one photo that lacks its end, of which the header is whole."""
    write_parts(folder)
    shutil.copy(folder / "train" / "a.png", folder / "valid" / "z.png")
    file = folder / "train" / "a.png"
    file.write_bytes(file.read_bytes()[:-2000])
    return folder


def checked(folder: Path, skip: bool = False) -> tuple[dict, Findings, int]:
    findings, bar = Findings(), Bar()
    return (
        check_photos(read_folder(folder, findings).splits, findings, bar, skip),
        findings,
        bar.total,
    )


def test_findings_are_kept_by_path_size_and_time(tmp_path: Path) -> None:
    folder = damaged(tmp_path / "set")
    _, findings, read = checked(folder)
    assert read == sum(map(len, SPLITS.values()))
    assert [(f.code, f.count) for f in findings.errors] == [("undecodable-image", 1)]
    _, findings, read = checked(folder)
    assert read == 0
    assert [(f.code, f.count) for f in findings.errors] == [("undecodable-image", 1)]
    shutil.copy(folder / "valid" / "z.png", folder / "train" / "a.png")
    _, findings, read = checked(folder)
    assert (read, findings.errors) == (1, [])


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
@pytest.mark.parametrize("levels, flat", [(2, True), (60, False)])
def test_photos_of_nearly_one_colour_are_counted(
    tmp_path: Path, kind: str, levels: int, flat: bool
) -> None:
    """Fine detail counts, although it cannot be seen at an eighth of the size."""
    folder = write_parts(tmp_path / "set") / "train"
    photo = np.random.default_rng(0).integers(100, 100 + levels, (48, 64, 3), dtype=np.uint8)
    Image.fromarray(photo).save(folder / "a.png", format=kind, quality=95)
    for files in (sum(map(len, SPLITS.values())), 0):  # decoded, then known
        _, findings, read = checked(tmp_path / "set")
        assert read == files
        found = [(f.level, f.count, "a.png" in f.message) for f in findings if "flat" in f.code]
        assert found == [("warning", 1, True)] * flat


@pytest.mark.parametrize(
    "content", ["{", '{"a.png": [1, 2, ""]}', '{"a.png": [1, 2, "", false, 0]}']
)
def test_a_damaged_cache_is_made_anew(tmp_path: Path, cache: Path, content: str) -> None:
    folder = damaged(tmp_path / "set")
    checked(folder)
    files = list(cache.rglob("*.json"))
    assert files
    for file in files:
        file.write_text(content)
    _, findings, read = checked(folder)
    assert read == sum(map(len, SPLITS.values()))
    assert findings.counts("undecodable-image") == 1


def test_fit_stops_or_goes_on_without_them(tmp_path: Path) -> None:
    folder = damaged(tmp_path / "set")
    (folder / "test" / "d.png").write_text("no picture at all")
    with pytest.raises(DataError) as refused:
        CustomData(str(folder)).read_splits()
    assert refused.value.code == "unreadable-image"
    data = CustomData(str(folder), skip_unreadable=True)
    data.read_splits()
    assert [data.datasets["train"].index.name(0), len(data.datasets["train"])] == ["b 1.png", 1]
    assert data.findings.counts("skipped-image") == 2
    assert not data.findings.errors
