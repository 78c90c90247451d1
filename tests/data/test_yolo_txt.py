"""YOLO folders: descriptions and conventions, label lines, and what is said about faulty ones."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from formats import BOXES, HEIGHT, SPLITS, WIDTH, coco, picture, write_labels, write_yolo
from glip_lightning.data.checks.findings import DataError, Findings
from glip_lightning.data.formats.yolo_txt import is_yolo, read_yolo
from glip_lightning.data.images import read_image
from glip_lightning.data.index import Index
from glip_lightning.data.transforms import Transform

RAW = Transform((HEIGHT,), WIDTH)


def read(folder: Path) -> dict:
    assert is_yolo(folder)
    findings = Findings()
    splits = read_yolo(folder, findings)
    assert not findings
    return splits


def check(splits: dict, **wanted: tuple[str, ...]) -> None:
    """Classes, ids, names and boxes are those of the pictures that were written."""
    assert splits.keys() == wanted.keys()
    for split, names in wanted.items():
        index: Index = splits[split]
        truth = index.ground_truth()
        assert [Path(index.name(i)).name for i in range(len(index))] == list(names)
        assert truth["categories"] == coco(names)["categories"]
        assert truth["images"] == [
            {"id": i, "height": HEIGHT, "width": WIDTH} for i in range(len(names))
        ]
        boxes = [
            (a["image_id"], a["category_id"], *(round(x, 3) for x in a["bbox"]))
            for a in truth["annotations"]
        ]
        assert boxes == [
            (a["image_id"], a["category_id"], *a["bbox"]) for a in coco(names)["annotations"]
        ]


TWO = {"train": SPLITS["train"], "valid": SPLITS["valid"]}


@pytest.mark.parametrize(
    "yaml",
    [
        "names: [cat, dog]\ntrain: images/train\nval: images/valid\n",
        "names:\n  0: cat\n  1: dog\nnc: 2\ntrain: ./images/train/\nvalid: [images/valid]\ntest:\n",
        "names: {'0': cat, 1: dog}\npath: .\ntrain: ../images/train\nval: ..\\images\\valid\n",
        "names: [cat, dog]\npath: images\ntrain: train\nval: valid\n",
        "names: [cat, dog]\npath: /content/drive/set\n"
        "train: /content/set/images/train\nval: images/valid\n",
        "names: [cat, dog]\ntrain: train.txt\nval: images/valid\n",
    ],
)
def test_descriptions(tmp_path: Path, yaml: str) -> None:
    write_yolo(tmp_path, yaml)
    (tmp_path / "train.txt").write_text(
        "./images/train/a.png\n\n/content/set/images/train/b 1.png\n"
    )
    check(read(tmp_path), **TWO)


def test_an_absolute_path(tmp_path: Path) -> None:
    write_yolo(tmp_path / "data", f"names: [cat, dog]\ntrain: {tmp_path}/data/images/train\n")
    check(read(tmp_path / "data"), train=SPLITS["train"])


def test_roboflow_puts_splits_first(tmp_path: Path) -> None:
    for split, names in SPLITS.items():
        write_labels(tmp_path / split / "images", tmp_path / split / "labels", names)
    (tmp_path / "data.yaml").write_text(
        "train: ../train/images\nval: ../valid/images\ntest: ../test/images\n"
        "nc: 2\nnames: [cat, dog]\n"
    )
    check(read(tmp_path), **SPLITS)
    (tmp_path / "data.yaml").unlink()
    (tmp_path / "classes.txt").write_text("cat\ndog\n\n")
    check(read(tmp_path), **SPLITS)


def test_one_folder_without_splits(tmp_path: Path) -> None:
    write_labels(tmp_path / "images", tmp_path / "labels", list(BOXES))
    (tmp_path / "labels" / "classes.txt").write_text("cat\r\ndog\r\n")
    check(read(tmp_path), train=tuple(BOXES))


def test_labels_beside_the_pictures(tmp_path: Path) -> None:
    write_labels(tmp_path, tmp_path, list(BOXES))
    (tmp_path / "classes.txt").write_text("cat\ndog")
    check(read(tmp_path), train=tuple(BOXES))


def one(folder: Path, lines: str, names: str = "names: [cat, dog]\n") -> tuple[Index, Findings]:
    """The index of a single picture with these labels."""
    picture(folder / "images", "a.png")
    (folder / "labels").mkdir()
    (folder / "labels" / "a.txt").write_text(lines)
    (folder / "data.yaml").write_text(f"{names}train: images\n")
    findings = Findings()
    return read_yolo(folder, findings)["train"], findings


def test_polygons_and_overshoot(tmp_path: Path) -> None:
    lines = "1 0.25 0.5 0.5 0.25 0.75 0.5 0.5 0.75\n\n 0 1.005 0.5 0.5 1.0 \n0.0 -0.001 0 0.5 0.5"
    index, findings = one(tmp_path, lines)
    boxes = [[16, 12, 32, 24], [48, 0, 32, 48], [-16, -12, 32, 24]]
    assert index.boxes.xywh.tolist() == boxes
    assert index.boxes.labels.tolist() == [1, 0, 0]
    assert [(f.code, f.level, f.count) for f in findings] == [("polygon", "info", 1)]


def test_a_confidence_is_ignored_and_reported(tmp_path: Path) -> None:
    index, findings = one(tmp_path, "1 0.5 0.5 0.5 0.5 0.93")
    assert index.boxes.xywh.tolist() == [[16, 12, 32, 24]]
    assert [(f.code, f.level, f.count) for f in findings] == [("confidence-column", "warning", 1)]
    assert "labels/a.txt:1" in findings[0].message


@pytest.mark.parametrize(
    "line, code",
    [
        ("0 0.5 0.5 0.5", "label-numbers"),
        ("0", "label-numbers"),
        ("0 0.1 0.1 0.2 0.2 0.3 0.3 0.4", "label-numbers"),
        ("2 0.5 0.5 0.5 0.5", "unknown-class"),
        ("-1 0.5 0.5 0.5 0.5", "unknown-class"),
        ("0.5 0.5 0.5 0.5 0.5", "unknown-class"),
        ("cat 0.5 0.5 0.5 0.5", "label-not-a-number"),
        ("0 0.5 nan 0.5 0.5", "label-not-a-number"),
        ("0 0.5 1e400 0.5 0.5", "label-not-a-number"),
        ("0,0.5,0.5,0.5,0.5", "label-not-a-number"),
        ("0 32 24 10 10", "label-outside"),
        ("0 0.5 0.5 -0.5 0.5", "label-outside"),
        ("0 0.5 0.5 0.2 0.1 45", "more-numbers"),  # degrees, or a track
        ("0 0.5 0.5 0.2 0.1 -0.7", "more-numbers"),  # radians
        ("0 0.5 0.5 0.2 0.1 0.9 7", "more-numbers"),  # a confidence and a track
    ],
)
def test_faulty_lines_are_named(tmp_path: Path, line: str, code: str) -> None:
    index, findings = one(tmp_path, f"1 0.5 0.5 0.5 0.5\n{line}\n")
    assert [(f.code, f.level, f.count) for f in findings] == [(code, "error", 1)]
    assert "labels/a.txt:2" in findings[0].message
    assert len(index.boxes.labels) == 1


def test_empty_and_missing_label_files_are_images_without_boxes(tmp_path: Path) -> None:
    write_yolo(tmp_path)
    (tmp_path / "labels" / "train" / "a.txt").write_text("")
    (tmp_path / "labels" / "train" / "b 1.txt").unlink()
    findings = Findings()
    index = read_yolo(tmp_path, findings)["train"]
    assert (len(index), len(index.boxes.labels)) == (2, 0)
    assert not findings


def test_no_label_file_at_all_is_an_error(tmp_path: Path) -> None:
    write_yolo(tmp_path)
    (tmp_path / "labels").rename(tmp_path / "lables")
    findings = Findings()
    read_yolo(tmp_path, findings)
    assert [finding.code for finding in findings.errors] == ["no-labels"]


def test_a_label_file_without_a_picture_is_reported(tmp_path: Path) -> None:
    write_yolo(tmp_path)
    (tmp_path / "images" / "train" / "a.png").unlink()
    findings = Findings()
    read_yolo(tmp_path, findings)
    assert [(f.code, "labels/train/a.txt" in f.message) for f in findings] == [
        ("stray-label", True)
    ]


@pytest.mark.parametrize(
    "yaml, code, named",
    [
        ("train: images/train", "bad-names", ["classes.txt"]),  # where they can be written
        ("names: 3\ntrain: images/train", "bad-names", ["names", "3"]),
        ("names: []\ntrain: images/train", "bad-names", ["names", "[]"]),
        ("names: {0: cat, 1: }\ntrain: images/train", "bad-names", ["1", "None"]),
        ("names: [[cat], dog]\ntrain: images/train", "bad-names", ["0", "['cat']"]),
        ("names: {a: cat}\ntrain: images/train", "bad-names", ["names", "'a'"]),
        ("names: {-1: cat}\ntrain: images/train", "bad-names", ["names", "-1"]),
        ("- cat\n- dog", "not-yaml", ["['cat', 'dog']", "names, train"]),
        ("names: [cat\ntrain: images/train", "not-yaml", ["line 1, column 8"]),  # PyYAML's words
        (
            "names: !!python/object/apply:os.system ['touch hacked']",
            "not-yaml",
            ["python/object/apply:os.system"],
        ),
        ("a: &a [x]\nnames: [*a, *a]\ntrain: images/train", "not-yaml", ["*name"]),
        ("names: [cat, dog]\ntrain: nowhere", "no-pictures", ["nowhere"]),
        ("[" * 5000, "not-yaml", []),
    ],
)
def test_faulty_descriptions_are_named(
    tmp_path: Path, yaml: str, code: str, named: list[str]
) -> None:
    write_yolo(tmp_path, yaml)
    with pytest.raises(DataError) as caught:
        read_yolo(tmp_path, Findings())
    assert caught.value.code == code
    message = str(caught.value).replace(str(tmp_path), "")  # whose name has numbers
    assert message.startswith("/data.yaml: ")
    assert all(part in message for part in named), message


WORDS = [
    "007",
    "on",
    "no",
    "Yes",
    "null",
    "1.0",
    "1_000",
    "2024-01-01",
    "12:30",
    "0x10",
    "=",
    "cat",
]


@pytest.mark.parametrize("quote", ["", '"'])
@pytest.mark.parametrize("numbered", [True, False])
def test_class_names_are_the_text_of_the_file(tmp_path: Path, quote: str, numbered: bool) -> None:
    """YAML itself reads 007 as a number, on as true and null as nothing."""
    entries = [f"{quote}{word}{quote}" for word in WORDS]
    names = f"[{', '.join(entries)}]"
    if numbered:
        names = "".join(f"\n  {number}: {entry}" for number, entry in enumerate(entries))
    write_yolo(tmp_path, f"names: {names}\nnc: {len(WORDS)}\ntrain: images/train\n")
    assert read(tmp_path)["train"].class_names == tuple(WORDS)


def test_paths_that_are_not_there(tmp_path: Path) -> None:
    write_yolo(
        tmp_path, "names: [cat, dog]\nnc: 3\ntrain: images/train\nval: images/none\ntest: 7\n"
    )
    findings = Findings()
    assert read_yolo(tmp_path, findings).keys() == {"train"}
    assert [(f.code, f.level) for f in findings] == [
        ("class-count", "warning"),
        ("missing-split-path", "warning"),
        ("missing-split-path", "warning"),
    ]
    write_yolo(tmp_path, "names: [cat, dog]\ntrain: images/none\nval: images/valid\n")
    findings = Findings()
    read_yolo(tmp_path, findings)
    assert "images/none" in findings.errors[0].message


def test_image_lists_stay_in_the_folder(tmp_path: Path) -> None:
    write_yolo(tmp_path / "data", "names: [cat, dog]\ntrain: train.txt\n")
    picture(tmp_path, "secret.png")
    lines = [
        "images/train/a.png",
        "../secret.png",
        f"{tmp_path}/secret.png",
        "images/train/none.png",
    ]
    (tmp_path / "data" / "train.txt").write_text("\n".join(lines))
    findings = Findings()
    index = read_yolo(tmp_path / "data", findings)["train"]
    assert [index.name(i) for i in range(len(index))] == ["a.png"]
    errors = {finding.code: finding for finding in findings.errors}
    assert errors["outside-folder"].count == 2
    assert "'images/train/none.png'" in errors["missing-image"].message
    assert "4" in errors["missing-image"].message.replace(str(tmp_path), "")  # its line


@pytest.mark.parametrize(
    "turn, size", [(6, (HEIGHT, WIDTH)), (3, (WIDTH, HEIGHT)), (2, (WIDTH, HEIGHT))]
)
def test_boxes_are_those_of_the_upright_photo(
    tmp_path: Path, turn: int, size: tuple[int, int]
) -> None:
    index, _ = one(tmp_path, "0 0.25 0.5 0.5 1.0")
    photo = tmp_path / "images" / "a.png"
    exif = Image.Exif()
    exif[0x0112] = turn
    with Image.open(photo) as image:
        image.save(photo, exif=exif)
    index = read_yolo(tmp_path, Findings())["train"]
    assert index.sizes.tolist() == [[size[1], size[0]]]
    assert index.boxes.xywh.tolist() == [[0, 0, size[0] / 2, size[1]]]
    shown = index.picture(0)
    assert (
        shown.tobytes()
        == read_image(photo, upright=True).tobytes()
        != read_image(photo, upright=False).tobytes()
    )


def test_an_unreadable_picture_is_named(tmp_path: Path) -> None:
    write_yolo(tmp_path)
    (tmp_path / "images" / "train" / "a.png").write_text("<html>")
    findings = Findings()
    read_yolo(tmp_path, findings)
    assert [(f.code, "a.png" in f.message) for f in findings] == [("unreadable-image", True)]


def test_a_split_without_pictures_is_named(tmp_path: Path) -> None:
    described = "names: [cat, dog]\ntrain: images/train\nval: images/valid\ntest: images/test\n"
    write_yolo(tmp_path, described)
    shutil.rmtree(tmp_path / "images" / "test")
    (tmp_path / "images" / "test").mkdir()
    findings = Findings()
    read_yolo(tmp_path, findings)
    assert [(finding.code, finding.level) for finding in findings] == [
        ("missing-split-path", "warning")
    ]


def pose_line(label: int, box: tuple[float, ...], points: list[tuple[float, ...]]) -> str:
    return " ".join(map(str, (label, *box, *(value for point in points for value in point))))


pose_boxes = st.tuples(*[st.floats(0.3, 0.7)] * 2, *[st.floats(0.1, 0.4)] * 2)


@st.composite
def poses(draw: st.DrawFn, numbers: int) -> tuple[list[tuple[float, ...]], str]:
    """Draw boxes and label lines of a pose data set: equally many key points inside each box."""
    count = draw(st.integers(1, 5))
    found, lines = [], []
    for _ in range(draw(st.integers(1, 4))):
        box = draw(pose_boxes)
        points = []
        for _ in range(count):
            x, y = (box[i] + draw(st.floats(-0.49, 0.49)) * box[i + 2] for i in (0, 1))
            points.append((x, y, draw(st.sampled_from((1, 2))))[:numbers])
        found.append(box)
        lines.append(pose_line(0, box, points))
    return found, "\n".join(lines)


@given(st.data(), st.sampled_from((2, 3)))
def test_key_points_are_left_out_and_counted(
    tmp_path_factory: pytest.TempPathFactory, data: Any, numbers: int
) -> None:
    boxes, lines = data.draw(poses(numbers))
    count = (len(lines.splitlines()[0].split()) - 5) // numbers
    said = f"names: [cat, dog]\nkpt_shape: [{count}, {numbers}]\n"
    index, findings = one(tmp_path_factory.mktemp("set"), lines, said)
    expected = [
        [(x - w / 2) * WIDTH, (y - h / 2) * HEIGHT, w * WIDTH, h * HEIGHT] for x, y, w, h in boxes
    ]
    assert index.boxes.xywh == pytest.approx(np.array(expected))
    assert [(f.code, f.level, f.count) for f in findings] == [("key-points", "info", len(boxes))]


@given(st.data(), st.sampled_from((2, 3)))
def test_key_points_without_a_description_are_suspected(
    tmp_path_factory: pytest.TempPathFactory, data: Any, numbers: int
) -> None:
    boxes, lines = data.draw(poses(numbers))
    if len(lines.splitlines()[0].split()) == 7:  # one key point: no polygon either
        return
    _, findings = one(tmp_path_factory.mktemp("set"), lines)
    level = "warning" if numbers == 2 else "error"
    assert [(f.code, f.level, f.count) for f in findings if f.code == "key-points"] == [
        ("key-points", level, len(boxes))
    ]


@pytest.mark.parametrize("place", ["", "labels", "labels/train", "train/labels", "images/train"])
def test_classes_are_found_among_the_labels(tmp_path: Path, place: str) -> None:
    write_yolo(tmp_path)
    (tmp_path / "data.yaml").unlink()
    (tmp_path / place).mkdir(parents=True, exist_ok=True)
    (tmp_path / place / "classes.txt").write_text("cat\ndog\n")
    check(read(tmp_path), **SPLITS)
    (tmp_path / "labels" / "valid" / "classes.txt").write_text("cat\ndog")
    check(read(tmp_path), **SPLITS)
    (tmp_path / "labels" / "valid" / "classes.txt").write_text("dog\ncat")
    with pytest.raises(DataError) as refused:
        read_yolo(tmp_path, Findings())
    assert refused.value.code == "bad-names"
    assert "labels/valid/classes.txt" in str(refused.value)


def test_a_class_list_that_differs_from_the_description_is_reported(tmp_path: Path) -> None:
    write_yolo(tmp_path)
    (tmp_path / "classes.txt").write_text("dog\ncat")
    findings = Findings()
    assert read_yolo(tmp_path, findings)["train"].class_names == ("cat", "dog")
    assert [(f.code, f.level) for f in findings] == [("class-lists-differ", "warning")]


@pytest.mark.parametrize(
    "train, valid", [("train", "valid"), ("Train", "Validation"), ("TRAIN", "val")]
)
@pytest.mark.parametrize("described", [True, False])
def test_darknet_and_cvat(tmp_path: Path, train: str, valid: str, described: bool) -> None:
    for split, word in {"train": train, "valid": valid}.items():
        folder = tmp_path / f"obj_{word}_data"
        write_labels(folder, folder, SPLITS[split])
        names = "".join(f"data/obj_{word}_data/{name}\n" for name in SPLITS[split])
        (tmp_path / f"{word}.txt").write_text(names)
    if described:
        lists = f"{train} = data/{train}.txt\n{valid} = data/{valid}.txt\n"
        text = f"classes = 2\n{lists}names = data/my.names\nbackup = backup/\n"
        (tmp_path / "obj.data").write_text(text)
    (tmp_path / ("my.names" if described else "obj.names")).write_text("cat\ndog\n")
    check(read(tmp_path), **TWO)


def test_empty_label_files_are_named_with_their_folder(tmp_path: Path) -> None:
    write_yolo(tmp_path)
    for file in (tmp_path / "labels").rglob("*.txt"):
        file.write_text("\n")
    findings = Findings()
    read_yolo(tmp_path, findings)
    assert [(f.code, f.count, "labels/train" in f.message) for f in findings] == [
        ("empty-labels", 4, True)
    ]


def test_labels_without_a_picture_beside_pictures_are_reported(tmp_path: Path) -> None:
    write_labels(tmp_path, tmp_path, list(BOXES))
    (tmp_path / "classes.txt").write_text("cat\ndog")
    (tmp_path / "readme.txt").write_text("five words that are text")
    (tmp_path / "gone.txt").write_text("0 0.5 0.5 0.5 0.5")
    findings = Findings()
    read_yolo(tmp_path, findings)
    assert [(f.code, f.count, "gone.txt" in f.message) for f in findings] == [
        ("stray-label", 1, True)
    ]


def test_a_path_of_another_machine_is_named(tmp_path: Path) -> None:
    write_yolo(
        tmp_path,
        "names: [cat, dog]\npath: /content/elsewhere\ntrain: imgs/train\nval: images/valid\n",
    )
    findings = Findings()
    read_yolo(tmp_path, findings)
    assert "/content/elsewhere" in findings.errors[0].message


@pytest.mark.parametrize("ending", [".txt", ".png.txt"])
def test_label_files_may_have_the_whole_name_of_the_picture(tmp_path: Path, ending: str) -> None:
    write_labels(tmp_path / "images", tmp_path / "labels", list(BOXES))
    (tmp_path / "classes.txt").write_text("cat\ndog")
    for file in (tmp_path / "labels").iterdir():
        file.rename(file.with_name(file.stem + ending))
    check(read(tmp_path), train=tuple(BOXES))


def test_a_label_file_of_two_pictures_is_reported(tmp_path: Path) -> None:
    write_labels(tmp_path / "images", tmp_path / "labels", list(BOXES))
    (tmp_path / "classes.txt").write_text("cat\ndog")
    for name in ("a.jpg", "d.bmp"):
        picture(tmp_path / "images", name)
    (tmp_path / "labels" / "d.bmp.txt").write_text("")  # not shared: it has the whole name
    findings = Findings()
    read_yolo(tmp_path, findings)
    assert [(f.code, f.level, f.count) for f in findings] == [("shared-label", "warning", 1)]
    assert "a.jpg, a.png" in findings[0].message


@pytest.mark.parametrize("encoding", ["cp950", "utf-16"])
@pytest.mark.parametrize("file", ["classes.txt", "my.names"])
def test_class_lists_that_are_no_utf_8_are_refused(
    tmp_path: Path, encoding: str, file: str
) -> None:
    write_labels(tmp_path / "images", tmp_path / "labels", list(BOXES))
    (tmp_path / file).write_bytes("\u8c93\n\u72d7\n".encode(encoding))
    if file == "my.names":
        (tmp_path / "obj.data").write_text("names = my.names\n")
    with pytest.raises(DataError) as error:
        read_yolo(tmp_path, Findings())
    assert (error.value.code, str(tmp_path / file) in str(error.value)) == ("bad-names", True)


def test_a_wrong_description_is_refused_with_the_folders_of_pictures(tmp_path: Path) -> None:
    for split, names in SPLITS.items():
        write_labels(
            tmp_path / "set" / split / "images", tmp_path / "set" / split / "labels", names
        )
    (tmp_path / "data.yaml").write_text(
        "path: ./\nnames: [cat, dog]\ntrain: train/images\nval: valid/images\n"
    )
    with pytest.raises(DataError) as error:
        read_yolo(tmp_path, Findings())
    assert error.value.code == "no-pictures"
    assert "set/train/images" in str(error.value)
