"""LabelMe: shapes to boxes, which picture a file is about, and what is left out and said."""

import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from formats import BOXES, CLASSES, HEIGHT, SPLITS, WIDTH, picture
from glip_lightning.data.checks.findings import DataError, Findings
from glip_lightning.data.formats.layouts import read_folder


def shape(
    label: str, points: Sequence[Sequence[float]], kind: str | None = "rectangle", **more: Any
) -> dict[str, Any]:
    return {"label": label, "points": points, "shape_type": kind, "flags": {}, **more}


def content(name: str, shapes: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "version": "5.4.1",
        "imagePath": name,
        "imageHeight": HEIGHT,
        "imageWidth": WIDTH,
        "shapes": shapes,
    }


def write_labelme(
    images: Path, files: Path, names: Sequence[str] = tuple(BOXES), path: str = "{}"
) -> None:
    files.mkdir(parents=True, exist_ok=True)
    for name in names:
        picture(images, name)
        shapes = [shape(CLASSES[k], [[x + w, y], [x, y + h]]) for k, x, y, w, h in BOXES[name]]
        (files / name).with_suffix(".json").write_text(
            json.dumps(content(path.format(name), shapes))
        )


def boxes(folder: Path, findings: Findings | None = None) -> dict[str, list[list[float]]]:
    splits = read_folder(folder, Findings() if findings is None else findings).splits
    return {
        Path(i.name(n)).name: i.boxes_of(n).xywh.tolist()
        for i in splits.values()
        for n in range(len(i))
    }


ALL = {name: [list(map(float, box)) for _, *box in found] for name, found in BOXES.items()}


@pytest.mark.parametrize("images, files", [(".", "."), ("images", "labels"), ("a/b", "c")])
@pytest.mark.parametrize("path", ["{}", "..\\images\\{}", "/home/me/{}", "x.JPG"])
def test_one_file_per_picture(tmp_path: Path, images: str, files: str, path: str) -> None:
    write_labelme(tmp_path / images, tmp_path / files, path=path)
    found = read_folder(tmp_path, Findings())
    assert found.name == "LabelMe"
    assert next(iter(found.splits.values())).class_names == CLASSES
    assert boxes(tmp_path) == ALL


def test_folders_of_splits(tmp_path: Path) -> None:
    for split, names in SPLITS.items():
        write_labelme(tmp_path / split, tmp_path / split, names)
    findings = Findings()
    splits = read_folder(tmp_path, findings).splits
    assert {
        split: [index.name(i) for i in range(len(index))] for split, index in splits.items()
    } == {split: list(names) for split, names in SPLITS.items()}
    assert not findings


def test_pictures_of_several_folders_are_used(tmp_path: Path) -> None:
    write_labelme(tmp_path / "a", tmp_path / "a", ("a.png", "c.png"))
    write_labelme(tmp_path / "b", tmp_path / "b", ("b 1.png", "d.png"))
    findings = Findings()
    assert boxes(tmp_path, findings) == ALL
    assert [finding.code for finding in findings] == ["split-by-rule"]


@pytest.mark.parametrize("ending", [".json", ".JSON"])
def test_files_are_found_where_pictures_are(tmp_path: Path, ending: str) -> None:
    """Pictures are looked for behind links, and not in the folder of notes that macOS adds."""
    write_labelme(tmp_path / "elsewhere", tmp_path / "elsewhere")
    for file in (tmp_path / "elsewhere").glob("*.json"):
        file.rename(file.with_suffix(ending))
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "photos").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    (tmp_path / "set" / "__MACOSX").mkdir()
    (tmp_path / "set" / "__MACOSX" / f"a{ending}").write_text("no JSON")
    findings = Findings()
    assert boxes(tmp_path / "set", findings) == ALL
    assert {finding.code for finding in findings} <= {"split-by-rule"}


points = st.lists(st.tuples(st.floats(0, 60), st.floats(0, 40)), min_size=3, max_size=8)


@given(points, st.sampled_from(["polygon", None, "rotation", "circle", "rectangle"]))
def test_the_box_around_each_shape(
    tmp_path_factory: pytest.TempPathFactory, drawn: list[tuple[float, float]], kind: str | None
) -> None:
    folder = tmp_path_factory.mktemp("set")
    picture(folder, "a.png")
    (folder / "a.json").write_text(json.dumps(content("a.png", [shape("cat", drawn, kind)])))
    xs, ys = zip(*drawn, strict=True)
    if kind == "circle":
        radius = math.dist(*drawn[:2])
        xs, ys = (xs[0] - radius, xs[0] + radius), (ys[0] - radius, ys[0] + radius)
    expected = [min(xs), min(ys), max(xs) - min(xs), max(ys) - min(ys)]
    assert np.allclose(boxes(folder)["a.png"], [expected], atol=1e-9)


def test_shapes_of_one_group_are_one_object_and_those_without_box_are_counted(
    tmp_path: Path,
) -> None:
    picture(tmp_path, "a.png")
    shapes = [
        shape("cat", [[1, 2], [11, 12]], group_id=1),
        shape("cat", [[20, 5], [30, 40]], group_id=1),
        shape("cat", [[20, 5], [30, 40]], group_id=2),
        shape("dog", [[20, 5], [30, 40]], group_id=1),
        shape("dog", [[3, 3]], "point"),
        shape("dog", [[3, 3], [9, 9]], "linestrip"),
        shape("__ignore__", [[3, 3], [9, 9]]),
    ]
    (tmp_path / "a.json").write_text(json.dumps(content("a.png", shapes)))
    findings = Findings()
    assert boxes(tmp_path, findings) == {
        "a.png": [[1, 2, 29, 38], [20, 5, 10, 35], [20, 5, 10, 35]]
    }
    assert [f.count for f in findings if f.code == "left-out-shape"] == [3]


@pytest.mark.parametrize(
    "edit, code",
    [
        (lambda c: c.update(imagePath="gone.png"), "missing-image"),
        (lambda c: c["shapes"].append(shape("cat", [[1, 2]])), "bad-box"),
        (lambda c: c["shapes"].append(shape("cat", [[1, "2"], [3, 4]])), "bad-box"),
        (lambda c: c["shapes"].append(shape("", [[1, 2], [3, 4]])), "no-category-name"),
        (lambda c: c["shapes"].append(7), "no-category-name"),
        (lambda c: c.update(imageWidth=7), "wrong-size"),
    ],
)
def test_faults_are_named(
    tmp_path: Path, edit: Callable[[dict[str, Any]], None], code: str
) -> None:
    write_labelme(tmp_path, tmp_path)
    file = tmp_path / "z.json"
    made = content("a.png" if code != "missing-image" else "gone.png", [])
    picture(tmp_path, "z.png")
    if code == "missing-image":
        (tmp_path / "z.png").unlink()
    else:
        made["imagePath"] = "z.png"
    edit(made)
    file.write_text(json.dumps(made))
    findings = Findings()
    read_folder(tmp_path, findings)
    assert [(f.code, f.count) for f in findings.errors] == [(code, 1)]
    assert ("z.json" if code != "wrong-size" else "z.png") in findings.errors[0].message


@pytest.mark.parametrize("spoiled", ["", "[", '{"shapes": []}', "[1]"])
def test_spoiled_files_are_reported(tmp_path: Path, spoiled: str) -> None:
    write_labelme(tmp_path, tmp_path)
    (tmp_path / "c.json").write_text(spoiled)
    findings = Findings()
    read_folder(tmp_path, findings)
    assert {f.code for f in findings} & {"broken-json", "stray-annotation"}


OTHERS: dict[str, Any] = {
    "VIA": {"a.png12": {"filename": "a.png", "regions": []}},
    "VIA ": {"_via_settings": {}, "_via_img_metadata": {}},
    "Label Studio": [{"id": 1, "data": {}, "annotations": []}],
    "Create ML": [{"image": "a.png", "annotations": []}],
    "BDD100K": [{"name": "a.png", "labels": []}],
    "Datumaro": {"info": {}, "categories": {}, "items": []},
    "Labelbox": [{"Labeled Data": "a.png", "Label": {}}],
    "detections": [{"image_id": 1, "bbox": [1, 2, 3, 4], "score": 0.5}],
    "Supervisely": {"size": {"height": 1, "width": 1}, "objects": []},
}


@pytest.mark.parametrize("tool", OTHERS)
@pytest.mark.parametrize("place", ["x.json", "annotations/x.json", "train/x.json"])
def test_other_tools_are_refused_by_name(tmp_path: Path, tool: str, place: str) -> None:
    picture(tmp_path, "a.png")
    (tmp_path / place).parent.mkdir(exist_ok=True)
    (tmp_path / place).write_text(json.dumps(OTHERS[tool]))
    with pytest.raises(DataError) as refused:
        read_folder(tmp_path, Findings())
    assert refused.value.code == "other-tool"
    assert tool.strip() in str(refused.value)


@pytest.mark.parametrize(
    "name, text, tool",
    [
        (
            "annotations.xml",
            "<?xml version='1.0'?>\n<annotations><version>1.1</version></annotations>",
            "CVAT",
        ),
        (
            "labels.csv",
            "filename,width,height,class,xmin,ymin,xmax,ymax\na.png,1,1,cat,0,0,1,1\n",
            "CSV",
        ),
        ("oidv7.csv", "ImageID,Source,LabelName,Confidence,XMin,XMax,YMin,YMax\n", "Open Images"),
        ("train.tfrecord", "x", "TFRecord"),
        ("labelTxt/a.txt", "1 2 3 4 5 6 7 8 plane 0", "DOTA"),
    ],
)
def test_other_files_are_refused_by_name(tmp_path: Path, name: str, text: str, tool: str) -> None:
    picture(tmp_path, "a.png")
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text(text)
    with pytest.raises(DataError) as refused:
        read_folder(tmp_path, Findings())
    assert refused.value.code == "other-tool"
    assert tool in str(refused.value)
