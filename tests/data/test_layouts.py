"""Any folder: its layout is found and named, or the error says what is there and what is wrong."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from formats import (
    BOXES,
    SPLITS,
    coco,
    picture,
    write_coco,
    write_labels,
    write_parts,
    write_voc,
    write_yolo,
)
from glip_lightning.data.checks.consistency import check_splits
from glip_lightning.data.checks.findings import DataError, Findings
from glip_lightning.data.formats.layouts import LAYOUTS, read_folder
from glip_lightning.data.splits import SPLIT_FILE


def coco_2017(folder: Path, images: str = "{}2017", file: str = "instances_{}2017.json") -> Path:
    for split, word in (("train", "train"), ("valid", "val"), ("test", "test")):
        write_coco(
            folder / "annotations" / file.format(word), folder / images.format(word), SPLITS[split]
        )
        (folder / "annotations" / f"captions_{word}2017.json").write_text("{}")
    return folder


def flat(folder: Path) -> Path:
    for split, names in SPLITS.items():
        write_coco(folder / f"{split}_annotations_without_background.json", folder, names)
    return folder


def voc(folder: Path) -> Path:
    words = {"train": "train", "valid": "val", "test": "test"}
    return write_voc(
        folder, {words[split]: [name[:-4] for name in names] for split, names in SPLITS.items()}
    )


def linked(folder: Path) -> Path:
    write_parts(folder / "real")
    (folder / "link").symlink_to(folder / "real", target_is_directory=True)
    return folder / "link"


def odinw(folder: Path) -> Path:
    write_parts(folder, "annotations_without_background.json")
    (folder / "train" / "other.json").write_text("[]")
    return folder


WRITERS: dict[str, tuple[str, Callable[[Path], Path]]] = {
    "roboflow": ("Roboflow", write_parts),
    "odinw": ("ODinW", odinw),
    "capitals": ("Roboflow", lambda folder: write_parts(folder / "My Photos (1) ü#%20")),
    "link": ("Roboflow", linked),
    "one json": ("Roboflow", lambda folder: write_parts(folder, "labels_my-project_2024.json")),
    "coco": ("COCO", coco_2017),
    "coco images/train": ("COCO", lambda folder: coco_2017(folder, "images/{}")),
    "coco images": ("COCO", lambda folder: coco_2017(folder, "images", "{}.json")),
    "flat": ("COCO", flat),
    "yolo": (
        "YOLO",
        lambda f: write_yolo(
            f, "names: [cat, dog]\ntrain: images/train\nval: images/valid\ntest: images/test"
        ),
    ),
    "voc": ("Pascal VOC", voc),
}


@pytest.mark.parametrize("layout", WRITERS)
def test_every_layout_gives_the_same_splits(tmp_path: Path, layout: str) -> None:
    name, write = WRITERS[layout]
    findings = Findings()
    found = read_folder(write(tmp_path), findings)
    assert name in found.name
    assert list(found.splits) == list(SPLITS)
    for split, index in found.splits.items():
        truth, expected = index.ground_truth(), coco(SPLITS[split])
        boxes = [[round(x, 3) for x in annotation["bbox"]] for annotation in truth["annotations"]]
        assert boxes == [annotation["bbox"] for annotation in expected["annotations"]]
        assert truth["categories"] == expected["categories"]
        assert truth["images"] == [
            {k: v for k, v in image.items() if k != "file_name"} for image in expected["images"]
        ]
    check_splits(found.splits, findings)
    # d.png is in two splits, and one class in it
    assert {finding.code for finding in findings} <= {
        "leak",
        "image-without-boxes",
        "missing-class",
    }


@pytest.mark.parametrize("images", [".", "images", "data"])
def test_one_file_is_split(tmp_path: Path, images: str) -> None:
    write_coco(tmp_path / "result.json", tmp_path / images)
    findings = Findings()
    found = read_folder(tmp_path, findings, seed=1, write=True)
    assert "COCO" in found.name
    assert {split: len(index) for split, index in found.splits.items()} == {
        "train": 2,
        "valid": 1,
        "test": 1,
    }
    assert [finding.code for finding in findings] == ["split-by-rule"]
    assert (tmp_path / SPLIT_FILE).is_file()
    again = read_folder(tmp_path, Findings(), seed=2)  # splits.json is no second annotation file
    assert [again.splits[split].ids.tolist() for split in SPLITS] == [
        found.splits[s].ids.tolist() for s in SPLITS
    ]


@pytest.mark.parametrize(
    "write", [write_voc, lambda f: write_labels(f / "images", f / "labels", list(BOXES))]
)
def test_other_layouts_without_splits_are_split_too(
    tmp_path: Path, write: Callable[[Path], object]
) -> None:
    write(tmp_path)
    (tmp_path / "classes.txt").write_text("cat\ndog")
    (tmp_path / "classes.txt").rename(
        tmp_path / ("classes.txt" if (tmp_path / "labels").is_dir() else "readme.txt")
    )
    found = read_folder(tmp_path, Findings(), write=True)
    names = {
        split: [index.name(i) for i in range(len(index))] for split, index in found.splits.items()
    }
    written = json.loads((tmp_path / SPLIT_FILE).read_text())
    assert names == {split: sorted(written[split]) for split in SPLITS}


def test_a_lone_train_folder_is_split(tmp_path: Path) -> None:
    write_parts(tmp_path)
    for split in ("valid", "test"):
        shutil.rmtree(tmp_path / split)
    assert set(read_folder(tmp_path, Findings()).splits) == {"train", "valid"}
    write_coco(tmp_path / "test" / "_annotations.coco.json", tmp_path / "test")
    # nothing is taken from either
    assert set(read_folder(tmp_path, Findings()).splits) == {"train", "test"}


def test_two_layouts_are_reported(tmp_path: Path) -> None:
    write_yolo(write_parts(tmp_path))
    findings = Findings()
    assert "Roboflow" in read_folder(tmp_path, findings).name
    (finding,) = (finding for finding in findings if finding.code == "two-layouts")
    assert "YOLO" in finding.message


def test_a_split_folder_without_annotations_is_reported(tmp_path: Path) -> None:
    write_parts(tmp_path)
    (tmp_path / "test" / "_annotations.coco.json").unlink()
    findings = Findings()
    assert set(read_folder(tmp_path, findings).splits) == {"train", "valid"}
    assert [(f.code, f.where) for f in findings] == [("unannotated-split", str(tmp_path / "test"))]


@pytest.mark.parametrize(
    "write, there, hint",
    [
        (lambda folder: None, "", None),
        (lambda folder: write_parts(folder / "export" / "v2"), "export/", "export/v2"),
        (lambda folder: picture(folder, "a.png"), "a.png", ""),
        (lambda folder: (folder / "set.v1.zip").write_bytes(b"PK"), "set.v1.zip", "set.v1.zip"),
        (lambda folder: (folder / "notes.txt").write_text("x"), "notes.txt", None),
    ],
)
def test_nothing_found(
    tmp_path: Path, write: Callable[[Path], object], there: str, hint: str | None
) -> None:
    """The first line says what is there, then come the known layouts, then what may be wrong."""
    write(tmp_path)
    with pytest.raises(DataError) as caught:
        read_folder(tmp_path, Findings())
    assert caught.value.code == "no-data-set"
    first, *others = str(caught.value).split("\n")
    layouts = LAYOUTS.strip("\n").split("\n")
    assert first.startswith(str(tmp_path))
    assert there in first
    assert others[: len(layouts)] == layouts
    assert len(others) - len(layouts) == (hint is not None)
    assert (hint or "") in others[-1]


def test_no_folder(tmp_path: Path) -> None:
    write_parts(tmp_path / "photos")
    (tmp_path / "photos.zip").write_bytes(b"PK")
    (tmp_path / "photos.json").write_text("{}")
    for name, code, there in (
        ("photo", "missing-folder", "photos"),
        ("photos.zip", "not-a-folder", None),
        ("photos.json", "not-a-folder", str(tmp_path)),
        ("none/x", "missing-folder", str(tmp_path / "none")),
    ):
        with pytest.raises(DataError) as caught:
            read_folder(tmp_path / name, Findings())
        assert caught.value.code == code
        place, _, cure = str(caught.value).partition(": ")
        assert place == str(tmp_path / name)
        assert (there or "") in cure
        assert (str(tmp_path) in cure) == (there is not None)  # an archive has to be unpacked first


def test_several_annotation_files_are_refused(tmp_path: Path) -> None:
    for name in ("x.json", "y.json"):
        write_coco(tmp_path / name, tmp_path)
    with pytest.raises(DataError) as caught:
        read_folder(tmp_path, Findings())
    assert caught.value.code == "several-annotation-files"
    assert "x.json, y.json" in str(caught.value)


def test_missing_images_are_named_with_their_folder(tmp_path: Path) -> None:
    coco_2017(tmp_path)
    for name in SPLITS["train"]:
        (tmp_path / "train2017" / name).unlink()
    findings = Findings()
    read_folder(tmp_path, findings)
    assert [(f.code, f.count) for f in findings] == [("missing-image", 2)]
    assert str(tmp_path / "train2017") in findings[0].message


def test_a_task_of_odinw(odinw_data: Path) -> None:
    found = read_folder(odinw_data / "BCCD", Findings())
    assert list(found.splits) == ["train", "valid", "test"]


def test_a_split_of_coco_without_its_annotation_file_is_reported(tmp_path: Path) -> None:
    for split, names in SPLITS.items():
        write_coco(
            tmp_path / "annotations" / f"instances_{split}.json",
            tmp_path / "images" / f"{split}2017",
            names,
        )
    findings = Findings()
    assert set(read_folder(tmp_path, findings).splits) == {"train", "valid", "test"}
    assert not findings.counts("unannotated-split")
    (tmp_path / "annotations" / "instances_valid.json").unlink()
    read_folder(tmp_path, findings)
    found = [finding for finding in findings if finding.code == "unannotated-split"]
    assert [finding.where for finding in found] == [str(tmp_path / "images" / "valid2017")]


def test_a_folder_that_another_split_uses_is_not_unannotated(tmp_path: Path) -> None:
    file = write_coco(tmp_path / "annotations" / "train.json", tmp_path / "valid", SPLITS["train"])
    file.write_text(file.read_text().replace('"file_name": "', '"file_name": "valid/'))
    findings = Findings()
    assert "train" in read_folder(tmp_path, findings).splits
    assert not findings.counts("unannotated-split")


@pytest.mark.parametrize(
    "write, left_out",
    [(write_parts, 0), (write_voc, 0), (write_yolo, 1)],
    ids=["parts", "voc", "yolo"],
)
def test_pictures_in_other_folders_are_counted(
    write: Callable[[Path], object], left_out: int, tmp_path: Path
) -> None:
    write(tmp_path)  # the description of YOLO's names no test split
    findings = Findings()
    read_folder(tmp_path, findings)
    assert findings.counts("stray-image") == left_out
    picture(tmp_path / "copy-images" / "deep", "a.png")
    picture(tmp_path, "preview.png")
    findings = Findings()
    read_folder(tmp_path, findings)
    (finding,) = (finding for finding in findings if finding.code == "stray-image")
    assert (finding.level, finding.count) == ("info", left_out + 1)
    assert "copy-images/deep/a.png" in finding.message


def test_a_stray_picture_is_counted_once(tmp_path: Path) -> None:
    """One that lies below the folder of the images, which is that of the data set."""
    write_coco(tmp_path / "boxes.json", tmp_path)
    picture(tmp_path / "more", "x.png")
    findings = Findings()
    check_splits(read_folder(tmp_path, findings).splits, findings)
    assert findings.counts("stray-image") == 1


@pytest.mark.parametrize("write", [write_parts, write_voc, write_yolo])
def test_pictures_in_formats_that_are_not_read_are_named(
    write: Callable[[Path], object], tmp_path: Path
) -> None:
    write(tmp_path)
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "IMG_1.HEIC").write_bytes(b"x")
    findings = Findings()
    read_folder(tmp_path, findings)
    found = [
        (f.level, f.count, "more/IMG_1.HEIC" in f.message)
        for f in findings
        if f.code == "unread-picture"
    ]
    assert found == [("warning", 1, True)]


@pytest.mark.parametrize("place", ["train.txt", "ImageSets/train.txt"])
def test_a_list_of_other_splits_is_reported(tmp_path: Path, place: str) -> None:
    write_parts(tmp_path)
    (tmp_path / place).parent.mkdir(exist_ok=True)
    (tmp_path / place).write_text("\n".join(SPLITS["train"]))
    for text, said in {
        "\n".join(SPLITS["train"]): 0,
        "a.png\n": 1,
        "images/d\n": 1,
        "some words\n": 0,
    }.items():
        (tmp_path / place).write_text(text)
        findings = Findings()
        read_folder(tmp_path, findings)
        assert findings.counts("unused-list") == said


TABLES = {
    "annotations.csv": [
        "images/a.png,3,4,20,30,cow\n",
        "a.png,,,,,\n",
        "image_id,class,x_min,y_min,x_max,y_max\n",
        "file,label,left,top,width,height\n",
        "filename;width;height;class;xmin;ymin;xmax;ymax\n",
    ],
    "2007_train.txt": ["images/a.png 50,100,150,200,0 30,50,200,120,3\n"],
    "bbx_gt.txt": ["0--Parade/a.png\n1\n1 2 3 4 0 0 0 0 0 0\n"],
    "data.ndjson": ['{"type": "dataset", "task": "detect"}\n'],
    "annotations.jsonl": ['{"image": "a.png", "suffix": "<loc0001> cat"}\n'],
    "train-00000-of-00001.parquet": ["PAR1"],
}


@pytest.mark.parametrize(
    "file, text", [(file, text) for file, texts in TABLES.items() for text in texts]
)
def test_tables_and_lists_of_other_tools_are_refused_by_name(
    tmp_path: Path, file: str, text: str
) -> None:
    picture(tmp_path / "images", "a.png")
    (tmp_path / file).write_text(text)
    with pytest.raises(DataError) as error:
        read_folder(tmp_path, Findings())
    assert (error.value.code, str(tmp_path / file) in str(error.value)) == ("other-tool", True)


@pytest.mark.parametrize(
    "text", ["a.png\n", "cat\ndog\n", "file,label\na.png,cat\n", "Taken in 2019, see a.png.\n"]
)
@pytest.mark.parametrize("file", ["list.txt", "list.csv"])
def test_other_lists_are_no_table_of_boxes(tmp_path: Path, file: str, text: str) -> None:
    picture(tmp_path / "images", "a.png")
    (tmp_path / file).write_text(text)
    with pytest.raises(DataError) as error:
        read_folder(tmp_path, Findings())
    assert error.value.code == "no-data-set"


def test_one_coco_file_for_each_picture_is_refused_with_advice(tmp_path: Path) -> None:
    for name in ("a.png", "d.png"):
        write_coco(
            (tmp_path / "annotations" / name).with_suffix(".json"), tmp_path / "images", [name]
        )
    with pytest.raises(DataError) as error:
        read_folder(tmp_path, Findings())
    assert (error.value.code, "merge" in str(error.value)) == ("several-annotation-files", True)
