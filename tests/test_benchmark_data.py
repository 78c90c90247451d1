"""The benchmark of reading and evaluating runs, and finds both sides of the evaluation equal."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "benchmarks"))

pytest.importorskip("pycocotools")

import data
from printed import line_with, numbers


def test_evaluation_agrees(capsys: pytest.CaptureFixture[str]) -> None:
    data.evaluation(images=20)  # exits where the two disagree
    out = capsys.readouterr().out
    assert numbers(out.splitlines()[0])[:2] == ["20", "100"]  # images, detections
    assert numbers(line_with(out, "  AP "))[1] == "6"  # stats that agree


def test_all_readers_read_the_same(tmp_path: Path) -> None:
    """As many images, of the same sizes."""
    file = data.write_pictures(tmp_path, 6)
    ours = list(data.our_loader(tmp_path, file, workers=0))
    assert [len(batch["images"]) for batch in ours] == [4, 2]
    assert {tuple(image.shape) for batch in ours for image in batch["images"]} == {(3, 640, 853)}
    for tensors in (False, True):
        theirs = list(data.torchvision_loader(tmp_path, file, 0, tensors))
        assert [len(images) for images, _ in theirs] == [4, 2]
        assert {tuple(image.shape) for images, _ in theirs for image in images} == {(3, 640, 853)}
