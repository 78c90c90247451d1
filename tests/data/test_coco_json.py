"""COCO files: classes, images, boxes, and what is said about a faulty file."""

import json
import pickle
import re
from collections.abc import Sequence
from multiprocessing.reduction import ForkingPickler
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from glip_lightning.common.errors import GLIPError
from glip_lightning.data.benchmarks.odinw import ANNOTATIONS
from glip_lightning.data.checks.consistency import check_splits
from glip_lightning.data.checks.findings import DataError, Findings
from glip_lightning.data.dataset import CocoDetection, DetectionDataset
from glip_lightning.data.formats.coco_json import read_coco
from glip_lightning.data.images import read_image
from glip_lightning.data.sampler import EpochSampler
from glip_lightning.data.transforms import Transform

RAW = Transform(min_sizes=(40,), max_size=60)  # the size of the files below: nothing is resized


def content() -> dict[str, Any]:
    """Two images, 60 x 40, the first in the list with the larger id and without boxes."""
    return {
        "images": [
            {"id": 7, "file_name": "b.png", "width": 60, "height": 40},
            {"id": 3, "file_name": "a.png", "width": 60, "height": 40},
        ],
        "categories": [{"id": 9, "name": "dog"}, {"id": 2, "name": "raccoon"}],
        "annotations": [{"id": 0, "image_id": 3, "category_id": 9, "bbox": [10, 5, 20, 10]}],
    }


def write(folder: Path, coco: object, size: tuple[int, int] = (60, 40)) -> CocoDetection:
    for name in ("a.png", "b.png"):
        Image.new("RGB", size, (200, 100, 50)).save(folder / name)
    (folder / "coco.json").write_text(json.dumps(coco))
    return CocoDetection(folder / "coco.json", folder, RAW)


def counts(data: CocoDetection) -> dict[str, int]:
    return {reason: int(mask.sum()) for reason, mask in data.index.dropped().items()}


def with_boxes(*boxes: Sequence[float], **fields: object) -> dict[str, Any]:
    coco = content()
    coco["annotations"] = [
        {"id": i, "image_id": 3, "category_id": 2, "bbox": box, **fields}
        for i, box in enumerate(boxes)
    ]
    return coco


def test_sample(tmp_path: Path) -> None:
    data = write(tmp_path, content())
    assert data.class_names == ["raccoon", "dog"]
    assert data.index.category_ids == (2, 9)
    assert data.image_ids == [3, 7]
    sample = data[(4, 0)]
    assert sample["image"].shape == (3, 40, 60)
    assert sample["image"][:, 0, 0].tolist() == [200, 100, 50]
    assert sample["boxes"].tolist() == [[10, 5, 29, 14]]
    assert sample["labels"].tolist() == [1]
    assert (sample["image_id"], sample["original_size"]) == (3, (40, 60))
    assert (sample["epoch"], sample["index"]) == (4, 0)
    assert sample["name"] == "a.png"


def test_an_image_without_boxes_stays(tmp_path: Path) -> None:
    sample = write(tmp_path, content())[1]
    assert sample["image_id"] == 7
    assert sample["boxes"].shape == (0, 4)
    assert sample["labels"].shape == (0,)
    assert sample["labels"].dtype == torch.int64


def test_boxes_are_clipped_and_unusable_ones_are_counted(tmp_path: Path) -> None:
    boxes = (
        [-5, -5, 20, 20],
        [50, 30, 99, 99],
        [70, 0, 5, 5],
        [1, 1, 0, 5],
        [1, 1, 9, -2],
        [4, 4, 1, 9],
    )
    data = write(tmp_path, with_boxes(*boxes))
    assert data[0]["boxes"].tolist() == [[0, 0, 14, 14], [50, 30, 59, 39]]
    assert counts(data) == {"without area": 2, "outside the image": 1, "one pixel thin": 1}
    assert int(data.index.clipped().sum()) == 2
    assert int(data.index.trains().sum()) == 2
    # evaluation, as official, takes the boxes as they are, the thin one too
    assert [a["bbox"] for a in data.index.ground_truth()["annotations"]] == [
        [*boxes[0]],
        [*boxes[1]],
        [*boxes[5]],
    ]


def test_crowds_are_ignored_regions_of_the_evaluation_only(tmp_path: Path) -> None:
    data = write(tmp_path, with_boxes([0, 0, 9, 9], iscrowd=1))
    assert len(data[0]["boxes"]) == 0
    assert counts(data) == {"crowd": 1}
    assert data.index.ground_truth()["annotations"][0]["iscrowd"] == 1


@pytest.mark.parametrize(
    "value, crowd", [("0", False), ("1", True), (True, True), (None, False), (0.0, False)]
)
def test_crowd_is_read_as_it_is_meant(tmp_path: Path, value: object, crowd: bool) -> None:
    assert write(tmp_path, with_boxes([0, 0, 9, 9], iscrowd=value)).index.boxes.crowd.tolist() == [
        crowd
    ]


def test_ground_truth_is_renumbered(tmp_path: Path) -> None:
    coco = content()
    coco["annotations"].append(
        {"id": 5, "image_id": 3, "category_id": 2, "bbox": [0, 0, 4, 4], "area": 7.5}
    )
    truth = write(tmp_path, coco).index.ground_truth()
    assert truth["images"] == [
        {"id": 3, "height": 40, "width": 60},
        {"id": 7, "height": 40, "width": 60},
    ]
    assert truth["categories"] == [{"id": 1, "name": "raccoon"}, {"id": 2, "name": "dog"}]
    assert [a["id"] for a in truth["annotations"]] == [1, 2]
    assert [a["category_id"] for a in truth["annotations"]] == [2, 1]
    assert [a["area"] for a in truth["annotations"]] == [200, 7.5]
    json.dumps(truth)


@pytest.mark.parametrize(
    "boxed, parent, classes",
    [
        (False, "animals", ["raccoon", "dog"]),
        (True, "animals", ["animals", "raccoon", "dog"]),
        (False, "none", ["animals", "raccoon", "dog"]),
    ],
)
def test_category_0_is_left_out_if_it_is_only_a_group(
    tmp_path: Path, boxed: bool, parent: str, classes: list[str]
) -> None:
    coco = content()
    for category in coco["categories"]:
        category["supercategory"] = parent
    coco["categories"].insert(0, {"id": 0, "name": "animals", "supercategory": "none"})
    if boxed:
        coco["annotations"].append({"id": 1, "image_id": 3, "category_id": 0, "bbox": [0, 0, 9, 9]})
    assert write(tmp_path, coco).class_names == classes


def test_an_empty_split_loads(tmp_path: Path) -> None:
    data = write(tmp_path, {**content(), "images": [], "annotations": []})
    assert len(data) == 0
    assert data.index.ground_truth()["annotations"] == []


def test_sizes_may_be_left_out(tmp_path: Path) -> None:
    coco = content()
    del coco["images"][0]["width"], coco["images"][1]["height"]
    assert write(tmp_path, coco).index.sizes.tolist() == [[40, 60], [40, 60]]


def broken(change: str, value: object) -> dict[str, Any]:
    coco = content()
    part, *where = change.split(".")
    if not where:
        return {**coco, part: value}
    coco[part][0][where[0]] = value
    return coco


@pytest.mark.parametrize(
    "change, value, code, named",
    [
        ("images", 3, "not-coco", ["'images'"]),
        ("categories", [], "no-categories", []),
        ("images.id", 3, "duplicate-image-id", ["3"]),
        ("images.id", "three", "no-image-id", ["1", "{'id': 'three'"]),
        ("categories.id", 2, "duplicate-category-id", ["2"]),
        ("categories.name", None, "no-category-name", ["9", "None"]),
        ("images.file_name", "../c.png", "outside-folder", ["'../c.png'", "7"]),
        ("images.file_name", "/c.png", "outside-folder", ["'/c.png'", "7"]),
        ("images.file_name", "C:\\c.png", "outside-folder", [repr("C:\\c.png"), "7"]),
        ("images.file_name", None, "no-file-name", ["7", "None"]),
        ("annotations.image_id", 8, "unknown-image", ["0", "8"]),
        ("annotations.category_id", 1, "unknown-category", ["0", "1", "2, 9"]),
        ("annotations.bbox", [1, 2, 3], "bad-box", ["0", "[1, 2, 3]"]),
        ("annotations.bbox", [1, 2, float("nan"), 3], "bad-box", ["0", "[1, 2, nan"]),
        ("annotations.bbox", [1, 2, 10**400, 3], "bad-box", ["0", "[1, 2, 10000"]),
        ("annotations.bbox", None, "bad-box", ["0", "None"]),
    ],
)
def test_faults_are_named(
    tmp_path: Path, change: str, value: object, code: str, named: list[str]
) -> None:
    with pytest.raises(DataError) as caught:
        write(tmp_path, broken(change, value))
    assert caught.value.code == code
    message = str(caught.value).replace(str(tmp_path), "")  # whose name has numbers
    assert "coco.json" in message
    assert all(part in message for part in named), message


def test_missing_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        CocoDetection(tmp_path / "none.json", tmp_path)
    assert caught.value.code == "missing-file"
    assert "none.json" in str(caught.value)
    coco = content()
    coco["images"][0]["file_name"] = "c.png"
    with pytest.raises(DataError) as caught:
        write(tmp_path, coco)
    assert caught.value.code == "missing-image"
    assert "'c.png'" in str(caught.value)
    numbers = re.findall(r"\d+", str(caught.value).replace(str(tmp_path), ""))
    assert {*numbers} == {"1", "2", "7"}  # images that are missing, all images, the id


def test_broken_json_is_named_with_its_place(tmp_path: Path) -> None:
    (tmp_path / "coco.json").write_text('{"images": [')
    with pytest.raises(DataError) as caught:
        CocoDetection(tmp_path / "coco.json", tmp_path)
    assert caught.value.code == "not-json"
    assert "coco.json" in str(caught.value)
    assert "line 1 column 13" in str(caught.value)  # as Python's own message has it


def test_a_wrong_size_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        write(tmp_path, content(), size=(40, 60))
    assert caught.value.code == "wrong-size"
    message = str(caught.value).replace(str(tmp_path), "")
    assert all(part in message for part in ("a.png", "3", "60 x 40", "40 x 60"))


def test_a_file_that_changes_during_training_is_an_error(tmp_path: Path) -> None:
    data = write(tmp_path, content())
    Image.new("RGB", (40, 60)).save(tmp_path / "a.png")
    with pytest.raises(GLIPError) as caught:
        data[0]
    assert caught.value.code == "changed-image"
    assert all(part in str(caught.value) for part in ("a.png", "40 x 60", "60 x 40"))


def test_ids_in_quotes_are_numbers(tmp_path: Path) -> None:
    coco = content()
    coco["images"][1]["id"], coco["annotations"][0]["category_id"] = "3", 9.0
    data = write(tmp_path, coco)
    assert data[0]["labels"].tolist() == [1]


def test_names_are_never_blank_or_equal(tmp_path: Path) -> None:
    coco = content()
    coco["categories"] = [
        {"id": k, "name": name} for k, name in enumerate(["  ", "dog", "dog ", "a\n b"], 9)
    ]
    findings = Findings()
    write(tmp_path, content())
    (tmp_path / "coco.json").write_text(json.dumps(coco))
    index = read_coco(tmp_path / "coco.json", tmp_path, findings)
    assert index.class_names == ("category 9", "dog", "dog (11)", "a b")
    assert {"blank-name", "duplicate-name"} <= {finding.code for finding in findings}


def test_workers_do_not_copy_the_annotations(tmp_path: Path) -> None:
    """What is sent to a worker that is not forked does not grow with the number of boxes."""
    sizes = []
    for count in (1, 2000):
        data = write(tmp_path, with_boxes(*([1, 1, 9, 9],) * count))
        sent = ForkingPickler.dumps(data)
        sizes.append(len(sent))
        received = pickle.loads(sent)
        assert received.index.ground_truth() == data.index.ground_truth()
        assert received.index.name(0) == data.index.name(0)
    assert sizes[1] - sizes[0] < 100


def test_select(tmp_path: Path) -> None:
    coco = content()
    coco["annotations"].append({"id": 5, "image_id": 7, "category_id": 2, "bbox": [0, 0, 4, 4]})
    index = write(tmp_path, coco).index
    turned = index.select([1, 0])
    assert turned.ids.tolist() == [7, 3]
    assert [turned.name(0), turned.name(1)] == ["b.png", "a.png"]
    assert turned.target(0)[0].tolist() == [[0, 0, 3, 3]]
    assert turned.target(1)[1].tolist() == [1]
    assert turned.find(3) == 1
    assert len(index.select([])) == 0
    copied = DetectionDataset(index.select([0]), RAW, copies=3)
    assert len(copied) == 3
    assert copied.image_ids == [3]
    assert torch.equal(copied[2]["image"], copied[0]["image"])


def test_a_photo_is_turned_for_the_viewer_only(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # orientation: turn by 90 degrees
    Image.new("RGB", (60, 40)).save(tmp_path / "turned.jpg", exif=exif)
    assert read_image(tmp_path / "turned.jpg", upright=False).size == (60, 40)
    assert read_image(tmp_path / "turned.jpg", upright=True).size == (40, 60)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "I;16"])
def test_pixel_modes_become_rgb(tmp_path: Path, mode: str) -> None:
    grey = Image.fromarray(np.repeat(np.array([[0, 255]], np.uint8), 2, axis=0))
    image = (
        Image.fromarray(np.asarray(grey).astype(np.uint16) * 257)
        if mode == "I;16"
        else grey.convert(mode)
    )
    image.save(tmp_path / "image.png")
    pixels = np.asarray(read_image(tmp_path / "image.png", upright=False))
    assert pixels.tolist() == [[[0] * 3, [255] * 3]] * 2


def test_16_bits_keep_their_shades(tmp_path: Path) -> None:
    ramp = np.arange(0, 65536, 257, dtype=np.uint16)[None]
    Image.fromarray(ramp).save(tmp_path / "ramp.png")
    pixels = np.asarray(read_image(tmp_path / "ramp.png", upright=True))
    assert pixels[0, :, 1].tolist() == list(range(256))


def test_a_transparent_palette_is_read_without_a_warning(
    tmp_path: Path, recwarn: pytest.WarningsRecorder
) -> None:
    image = Image.new("P", (2, 2), 1)
    image.putpalette([0, 0, 0, 9, 8, 7])
    image.save(tmp_path / "image.png", transparency=b"\x00\x80")
    assert read_image(tmp_path / "image.png", upright=False).getpixel((0, 0)) == (9, 8, 7)
    assert not recwarn.list


def test_the_same_key_gives_the_same_sample_in_any_worker(tmp_path: Path) -> None:
    data = write(tmp_path, content())
    data.transform = Transform((20, 30, 40), 60, flip=0.5, seed=1)
    keys = [*EpochSampler(len(data), seed=1), (1, 0), (2, 0), (3, 0), (4, 0)]
    loader = torch.utils.data.DataLoader(data, sampler=keys, num_workers=2, batch_size=None)  # pyrefly: ignore
    for key, loaded in zip(keys, loader, strict=True):
        assert torch.equal(loaded["image"], data[key]["image"])
        assert torch.equal(loaded["boxes"], data[key]["boxes"])


@pytest.mark.parametrize(
    "task", ["Raccoon", "Packages", "pothole", "BCCD", "ChessPieces", "COCOmini"]
)
def test_tasks_of_odinw(odinw_data: Path, task: str) -> None:
    for split in ("train", "valid", "test"):
        folder = odinw_data / task / split
        file = json.loads((folder / ANNOTATIONS).read_text(encoding="utf-8"))
        data = CocoDetection(folder / ANNOTATIONS, folder)
        assert len(data) == len(file["images"])
        assert data.class_names == [
            c["name"] for c in sorted(file["categories"], key=lambda c: c["id"])
        ]
        assert len(data.index.ground_truth()["annotations"]) == len(file["annotations"])
        assert not counts(data)
        sample = data[0]
        assert min(sample["image"].shape[1:]) <= 800
        assert max(sample["image"].shape[1:]) <= 1333


@pytest.mark.parametrize("key, value", [("annotations", []), ("images", []), ("info", 3)])
def test_a_key_that_comes_twice_is_an_error(tmp_path: Path, key: str, value: object) -> None:
    text = json.dumps(content() | {"info": 2})
    (tmp_path / "coco.json").write_text(text[:-1] + f', "{key}": {json.dumps(value)}}}')
    with pytest.raises(DataError) as error:
        CocoDetection(tmp_path / "coco.json", tmp_path)
    assert error.value.code == "duplicate-key"


def test_equal_values_of_one_key_lose_nothing(tmp_path: Path) -> None:
    write(tmp_path, content())
    text = json.dumps(content())
    (tmp_path / "coco.json").write_text(
        text[:-1] + f', "categories": {json.dumps(content()["categories"])}}}'
    )
    assert len(CocoDetection(tmp_path / "coco.json", tmp_path, RAW)) == 2


@pytest.mark.parametrize(
    "rotation, box", [(0.0, [10, 5, 20, 10]), (180, [10, 5, 20, 10]), (90.0, [15, 0, 10, 20])]
)
def test_turned_boxes_are_the_boxes_around_them(
    tmp_path: Path, rotation: float, box: list[float]
) -> None:
    coco = content()
    coco["annotations"][0]["attributes"] = {"occluded": False, "rotation": rotation}
    write(tmp_path, coco)
    findings = Findings()
    index = read_coco(tmp_path / "coco.json", tmp_path, findings)
    assert index.boxes.xywh.tolist() == [pytest.approx(box)]
    assert findings.counts("turned-box") == bool(rotation)


@pytest.mark.parametrize(
    "attributes", [None, [], {"rotation": "left"}, {"rotation": True}, {"rotation": None}]
)
def test_other_attributes_turn_nothing(tmp_path: Path, attributes: object) -> None:
    coco = content()
    coco["annotations"][0]["attributes"] = attributes
    write(tmp_path, coco)
    findings = Findings()
    assert read_coco(tmp_path / "coco.json", tmp_path, findings).boxes.xywh.tolist() == [
        [10, 5, 20, 10]
    ]
    assert not findings.counts("turned-box")


def test_a_picture_that_is_listed_twice_is_reported(tmp_path: Path) -> None:
    coco = content()
    coco["images"].append({**coco["images"][1], "id": 8})
    coco["annotations"].append(
        {**coco["annotations"][0], "id": 5, "image_id": 8, "bbox": [1, 1, 5, 5]}
    )
    write(tmp_path, coco)
    findings = Findings()
    index = read_coco(tmp_path / "coco.json", tmp_path, findings)
    assert len(index) == 3
    check_splits({"train": index}, findings)
    found = [
        (finding.level, finding.count) for finding in findings if finding.code == "duplicate-image"
    ]
    assert found == [("warning", 1)]
