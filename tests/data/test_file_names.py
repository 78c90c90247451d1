"""File names in a COCO file that another system or another folder has written."""

import json
from pathlib import Path

import pytest
from PIL import Image

from glip_lightning.data.checks.findings import Findings
from glip_lightning.data.formats.coco_json import read_coco
from glip_lightning.data.formats.file_names import same_last_part


def pictures(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (80, 60)).save(folder / name)
    return folder


@pytest.mark.parametrize(
    ("written", "there"),
    [
        ("C:\\Users\\me\\photos\\a.jpg", "a.jpg"),
        ("photos\\a.jpg", "photos/a.jpg"),
        ("/home/other/photos/a.jpg", "a.jpg"),
        ("https://example.org/photos/a.jpg", "deep/a.jpg"),
        ("A.JPG", "a.jpg"),
        ("images/a.jpg", "a.jpg"),
        ("a%20b.jpg", "a b.jpg"),
        ("caf\u00e9.jpg", "cafe\u0301.jpg"),
    ],
)
def test_the_only_picture_that_ends_like_the_name_is_read(
    tmp_path: Path, written: str, there: str
) -> None:
    folder = pictures(tmp_path, there, "b.jpg")
    images = [
        {"id": k, "file_name": name, "width": 80, "height": 60}
        for k, name in enumerate(("b.jpg", written))
    ]
    box = {
        "image_id": 1,
        "category_id": 1,
        "bbox": [5, 5, 20, 20],
        "id": 1,
        "area": 400,
        "iscrowd": 0,
    }
    content = {"images": images, "annotations": [box], "categories": [{"id": 1, "name": "cat"}]}
    file = tmp_path / "boxes.json"
    file.write_text(json.dumps(content))
    findings = Findings()
    index = read_coco(file, folder, findings)
    assert [(finding.code, finding.count) for finding in findings] == [("other-names", 1)]
    assert [index.name(image) for image in range(2)] == ["b.jpg", there]
    assert len(index.boxes.labels) == 1


@pytest.mark.parametrize(
    ("names", "there", "taken"),
    [
        (["x/a.jpg"], ["1/a.jpg", "2/a.jpg"], []),  # two may be meant
        (["x/a.jpg", "y/a.jpg"], ["a.jpg"], []),  # two mean the same
        (["x/a.jpg"], ["a.jpg"], ["a.jpg"]),  # another entry names it
        (["x/a.png"], ["a.jpg"], []),
    ],
)
def test_a_name_that_may_mean_several_pictures_means_none(
    tmp_path: Path, names: list[str], there: list[str], taken: list[str]
) -> None:
    assert same_last_part(names, pictures(tmp_path, *there), taken) == {}
