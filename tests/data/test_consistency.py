"""What is wrong in data that can be read: boxes, images, classes and files."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from formats import SPLITS, write_parts
from glip_lightning.data.checks.consistency import check_splits
from glip_lightning.data.checks.findings import Findings
from glip_lightning.data.checks.problems import PROBLEMS
from glip_lightning.data.formats.layouts import read_folder
from glip_lightning.data.index import Index
from glip_lightning.data.types import Split

FILE = "_annotations.coco.json"


def checked(folder: Path) -> tuple[dict[Split, Index], Findings]:
    findings = Findings()
    return check_splits(read_folder(folder, findings).splits, findings), findings


def change(folder: Path, split: str, edit: Callable[[dict[str, Any]], None]) -> None:
    file = folder / split / FILE
    content = json.loads(file.read_text())
    edit(content)
    file.write_text(json.dumps(content))


def messages(findings: Findings, code: str) -> list[str]:
    return [finding.message for finding in findings if finding.code == code]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three splits with two findings: an image without boxes, and one class only in two splits."""
    write_parts(tmp_path)
    (tmp_path / "test" / "d.png").unlink()
    Image.effect_noise((64, 48), 80).save(tmp_path / "test" / "d.png")
    return tmp_path


def test_good_data_have_no_findings(folder: Path) -> None:
    splits, findings = checked(folder)
    assert list(splits) == list(SPLITS)
    assert [(finding.level, finding.code, finding.count) for finding in findings] == [
        ("info", "image-without-boxes", 1),
        ("warning", "missing-class", 1),
        ("warning", "missing-class", 1),
    ]


@pytest.mark.parametrize("split", ["train", "valid", "test"])
def test_a_missing_split_is_named(folder: Path, split: str) -> None:
    shutil.rmtree(folder / split)
    splits, findings = checked(folder)
    assert split not in splits
    assert messages(findings, "missing-split") == [PROBLEMS[f"missing-split/{split}"].message()]


@pytest.mark.parametrize(
    "split, level", [("train", "error"), ("valid", "warning"), ("test", "warning")]
)
def test_an_empty_split_cannot_be_trained_on(folder: Path, split: str, level: str) -> None:
    change(folder, split, lambda content: content.update(images=[], annotations=[]))
    _, findings = checked(folder)
    assert [finding.level for finding in findings if finding.code == "empty-split"] == [level]


def test_clipped_and_dropped_boxes_are_counted_by_reason(folder: Path) -> None:
    def edit(content: dict[str, Any]) -> None:
        boxes = (
            [-9, 2, 20, 20],
            [60, 40, 30, 30],
            [0.5, 0.5, 64, 48],
            [80, 2, 9, 9],
            [3, 3, 0, 9],
            [3, 3, 1, 9],
        )
        for number, box in enumerate(boxes, 10):
            content["annotations"].append(
                {"id": number, "image_id": 0, "category_id": 1, "bbox": box, "iscrowd": 0}
            )

    change(folder, "train", edit)
    splits, findings = checked(folder)
    assert findings.counts("clipped-box") == 2  # half a pixel is rounding
    rows = [PROBLEMS[f"dropped-box/{reason}"] for reason in ("flat", "outside", "thin")]
    assert messages(findings, "dropped-box") == [
        row.message(count=1, items="a.png") for row in rows
    ]
    assert int(splits["train"].trains().sum()) == 3 + 3


def test_corners_and_fractions_are_suspected(folder: Path) -> None:
    def corners(content: dict[str, Any]) -> None:
        for annotation in content["annotations"]:
            x, y, w, h = annotation["bbox"]
            annotation["bbox"] = [x, y, x + w, y + h]

    def fractions(content: dict[str, Any]) -> None:
        for annotation in content["annotations"]:
            annotation["bbox"] = [value / 64 for value in annotation["bbox"]]

    change(folder, "train", corners)
    change(folder, "test", fractions)
    _, findings = checked(folder)
    assert findings.counts("corner-boxes") == 3
    assert findings.counts("normalised-boxes") == 1


def test_large_boxes_are_no_corners(folder: Path) -> None:
    """Boxes that fill their image have a width above their x, as corners have."""

    def edit(content: dict[str, Any]) -> None:
        for annotation in content["annotations"]:
            annotation.update(bbox=[1, 1, 62, 46], area=62 * 46)

    change(folder, "train", edit)
    assert not checked(folder)[1].counts("corner-boxes")


def test_the_same_bytes_in_two_splits_are_a_leak(folder: Path) -> None:
    shutil.copy(folder / "train" / "a.png", folder / "test" / "d.png")
    _, findings = checked(folder)
    (leak,) = messages(findings, "leak")
    assert "train/a.png = test/d.png" in leak


def test_strays_are_named(folder: Path) -> None:
    shutil.copy(folder / "train" / "a.png", folder / "train" / "A new.PNG")
    _, findings = checked(folder)
    assert "A new.PNG" in messages(findings, "stray-image")[0]


def set_classes(**numbers: int) -> Callable[[dict[str, Any]], None]:
    def edit(content: dict[str, Any]) -> None:
        content["categories"] = [{"id": number, "name": name} for name, number in numbers.items()]
        for annotation in content["annotations"]:
            annotation["category_id"] = next(iter(numbers.values()))

    return edit


def test_classes_are_matched_by_name(folder: Path) -> None:
    change(folder, "valid", set_classes(dog=7))
    change(folder, "test", set_classes(bird=9))
    splits, findings = checked(folder)
    assert not findings.errors
    assert findings.counts("classes-differ") == 2
    assert all(index.class_names == ("cat", "dog", "bird") for index in splits.values())
    assert splits["valid"].boxes.labels.tolist() == [1] * len(splits["valid"].boxes.labels)
    assert splits["test"].boxes.labels.tolist() == [2] * len(splits["test"].boxes.labels)


def test_contradicting_class_lists_are_an_error(folder: Path) -> None:
    change(folder, "valid", set_classes(bird=1, cat=2))
    _, findings = checked(folder)
    (error,) = findings.errors
    assert error.code == "classes-differ"
    assert "'bird'" in error.message
    assert "'cat'" in error.message


@pytest.mark.parametrize(
    "counts, highest", [((100, 1), None), ((144,), "69%"), ((250, 100, 50), "62%")]
)
def test_more_objects_than_ap_counts_are_reported(
    folder: Path, counts: tuple[int, ...], highest: str | None, tmp_path: Path
) -> None:
    def fill(content: dict[str, Any]) -> None:
        (image,), (first, *_) = content["images"][:1], content["annotations"]
        content["images"] = [{**image, "id": i} for i in range(len(counts))]
        owners = [image for image, count in enumerate(counts) for _ in range(count)]
        content["annotations"] = [
            {**first, "id": n, "image_id": image} for n, image in enumerate(owners, start=1)
        ]

    for split in ("train", "test"):  # AP looks at the second only
        change(folder, split, fill)
    _, findings = checked(folder)
    found = [finding for finding in findings if finding.code == "many-objects"]
    assert [finding.where for finding in found] == [str(folder / "test" / FILE)] * bool(highest)
    assert [finding.count for finding in found] == [sum(count > 100 for count in counts)] * bool(
        highest
    )
    assert all(
        str(highest) in finding.message and str(max(counts)) in finding.message for finding in found
    )


@pytest.mark.parametrize("emptied, level", [(("train",), "warning"), (tuple(SPLITS), "error")])
def test_a_data_set_without_a_single_box_is_an_error(
    folder: Path, emptied: tuple[str, ...], level: str
) -> None:
    for split in emptied:
        change(folder, split, lambda content: content.update(annotations=[]))
    _, findings = checked(folder)
    found = [finding for finding in findings if finding.code == "no-boxes"]
    assert [(finding.level, finding.where) for finding in found][:1] == [
        (level, str(folder / "train" / FILE))
    ]


@pytest.mark.parametrize("marked, level", [(("train",), "warning"), (tuple(SPLITS), "error")])
def test_crowds_alone_are_nothing_to_train_on(
    folder: Path, marked: tuple[str, ...], level: str
) -> None:
    for split in marked:
        change(
            folder,
            split,
            lambda content: [entry.update(iscrowd=1) for entry in content["annotations"]] and None,
        )
    _, findings = checked(folder)
    found = [finding for finding in findings if finding.code == "no-boxes"]
    assert [(finding.level, finding.where) for finding in found][:1] == [
        (level, str(folder / "train" / FILE))
    ]


@pytest.mark.parametrize("copies", [0, 1, 3])
def test_boxes_that_come_twice_are_counted(folder: Path, copies: int) -> None:
    def repeat(content: dict[str, Any]) -> None:
        first = content["annotations"][0]
        others = ({**first, "category_id": 2}, {**first, "bbox": [4, 6, 20, 11]})  # not the same
        more = [*others, *[first] * copies]
        content["annotations"] += [
            {**entry, "id": number} for number, entry in enumerate(more, start=100)
        ]

    change(folder, "train", repeat)
    _, findings = checked(folder)
    found = [
        (finding.level, finding.count) for finding in findings if finding.code == "duplicate-box"
    ]
    assert found == [("warning", copies)] * bool(copies)
