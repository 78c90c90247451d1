"""Every box of a file is used or counted among those that are not, in each format."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import good_sets
from glip_lightning import read_dataset
from good_sets import ANNOTATIONS, BOXES, HEIGHT, WIDTH, Box, shape, voc_xml

NAME = "img_train_0.jpg"
LOST = ("dropped-box", "bad-box", "label-outside")
corners, sides = st.integers(-60, 260), st.integers(1, 300)
boxes_anywhere = st.lists(st.tuples(corners, corners, sides, sides), min_size=1, max_size=8)


def coco(folder: Path, boxes: Sequence[Box]) -> None:
    content = good_sets.coco_of(BOXES["train"] | {NAME: list(boxes)})
    good_sets.write_json(folder / "train" / ANNOTATIONS, content)


def yolo(folder: Path, boxes: Sequence[Box]) -> None:
    (folder / "labels" / "train" / NAME).with_suffix(".txt").write_text(good_sets.yolo_lines(boxes))


def voc(folder: Path, boxes: Sequence[Box]) -> None:
    (folder / "Annotations" / NAME).with_suffix(".xml").write_text(voc_xml(NAME, boxes))


def labelme(folder: Path, boxes: Sequence[Box]) -> None:
    file = (folder / "train" / NAME).with_suffix(".json")
    content = json.loads(file.read_text(encoding="utf-8"))
    content["shapes"] = [shape([[x, y], [x + w, y + h]]) for x, y, w, h in boxes]
    good_sets.write_json(file, content)


FORMATS = {
    "coco": (good_sets.coco, coco),
    "yolo": (good_sets.yolo, yolo),
    "voc": (good_sets.voc, voc),
    "labelme": (good_sets.labelme, labelme),
}


def lies_within(box: Sequence[float]) -> bool:
    x, y, w, h = box
    return min(x, y) >= 0 and x + w <= WIDTH + 1e-3 and y + h <= HEIGHT + 1e-3


@pytest.mark.parametrize("layout", FORMATS)
@settings(max_examples=20)
@given(boxes=boxes_anywhere)
def test_boxes_are_used_or_counted(
    tmp_path_factory: pytest.TempPathFactory, layout: str, boxes: list[Box]
) -> None:
    # in VOC, which counts pixels from 1, this is a corner at 0: the file seems to count from 0
    assume(layout != "voc" or not any(-1 in (x, y) for x, y, _, _ in boxes))
    write, write_boxes = FORMATS[layout]
    folder = tmp_path_factory.mktemp(layout)
    write(folder)
    write_boxes(folder, boxes)
    data = read_dataset(folder)
    train = data.splits["train"]
    place = next(number for number in range(len(train)) if Path(train.name(number)).name == NAME)
    trained_on, _ = train.target(place)
    assert len(trained_on) + data.findings.counts(*LOST) == len(boxes)
    read = train.boxes_of(place).xywh.tolist()
    for x, y, w, h in boxes:
        if w > 1 and h > 1 and lies_within((x, y, w, h)):
            assert any(found == pytest.approx((x, y, w, h), abs=1e-3) for found in read)
