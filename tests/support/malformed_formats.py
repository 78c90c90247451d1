"""Malformed data sets in the formats of YOLO, Pascal VOC and LabelMe: one function for each fault.

``CASES[name](folder)`` writes the set of that name. Where a docstring does not say otherwise, the
fault is in the train split.
"""

from pathlib import Path

from good_sets import (
    BOXES,
    WIDTH,
    Cases,
    edited,
    labelme,
    photo,
    replace_text,
    rewrite,
    shape,
    voc,
    yolo,
)

CASES = Cases()


# YOLO


def label_file(folder: Path, name: str = "img_train_0") -> Path:
    return folder / "labels" / "train" / f"{name}.txt"


@CASES.spoiling(yolo)
def yolo_in_percent(folder: Path) -> None:
    label_file(folder).write_text("0 57.1 72.8 9.5 8.0")


@CASES.spoiling(yolo)
def yolo_decimal_commas(folder: Path) -> None:
    label_file(folder).write_text("0 0,571 0,728 0,095 0,08")


@CASES.spoiling(yolo)
def yolo_classes_from_1(folder: Path) -> None:
    """The classes are counted from 1 in the labels of all splits."""
    for file in folder.glob("labels/*/*.txt"):
        lines = [f"1{line[1:]}" for line in file.read_text().splitlines()]
        file.write_text("\n".join(lines))


@CASES.spoiling(yolo)
def yolo_utf16_labels(folder: Path) -> None:
    rewrite(label_file(folder), "utf-16")


@CASES.spoiling(yolo)
def yolo_key_points(folder: Path) -> None:
    """Each line is a box and two key points, of which data.yaml says nothing."""
    label_file(folder).write_text("0 0.5 0.5 0.25 0.25 0.4 0.4 2 0.6 0.6 1")


@CASES.spoiling(yolo)
def yolo_all_labels_empty(folder: Path) -> None:
    for file in folder.glob("labels/*/*.txt"):
        file.write_text("")


# Pascal VOC


def voc_file(folder: Path, name: str = "img_train_0") -> Path:
    return folder / "Annotations" / f"{name}.xml"


@CASES.spoiling(voc)
def voc_decimal_commas(folder: Path) -> None:
    replace_text(voc_file(folder), "<xmin>89<", "<xmin>89,5<")


@CASES.spoiling(voc)
def voc_latin1(folder: Path) -> None:
    """The file is not in UTF-8 and does not say in which encoding it is."""
    replace_text(voc_file(folder), "package", "größe")
    rewrite(voc_file(folder), "latin-1")


@CASES.spoiling(voc)
def voc_picture_in_two_lists(folder: Path) -> None:
    """A picture is listed for training and for testing."""
    (folder / "ImageSets" / "Main" / "test.txt").write_text("img_test_0\nimg_train_0")


@CASES.spoiling(voc)
def voc_all_difficult(folder: Path) -> None:
    for file in (folder / "Annotations").glob("img_train_*.xml"):
        replace_text(file, "</name>", "</name><difficult>1</difficult>")


@CASES.spoiling(voc)
def voc_unlisted(folder: Path) -> None:
    """A picture with its annotations is in none of the lists."""
    photo("new").save(folder / "JPEGImages" / "new.jpg")
    text = voc_file(folder).read_text()
    voc_file(folder, "new").write_text(text.replace("img_train_0.jpg", "new.jpg"))


# LabelMe


def labelme_file(folder: Path, name: str = "img_train_0") -> Path:
    return folder / "train" / f"{name}.json"


@CASES.spoiling(labelme)
def labelme_two_files_of_one_picture(folder: Path) -> None:
    with edited(labelme_file(folder, "img_train_1")) as content:
        content["imagePath"] = "img_train_0.jpg"
    (folder / "train" / "img_train_1.jpg").unlink()


@CASES.spoiling(labelme)
def labelme_points_only(folder: Path) -> None:
    with edited(labelme_file(folder)) as content:
        content["shapes"] = [shape([[90, 160]], "point"), shape([[90, 160], [99, 170]], "line")]


@CASES.spoiling(labelme)
def labelme_nan(folder: Path) -> None:
    with edited(labelme_file(folder)) as content:
        content["shapes"][0]["points"][0][0] = float("nan")


@CASES.spoiling(labelme)
def labelme_outside(folder: Path) -> None:
    """One shape leaves the picture, one lies beside it."""
    with edited(labelme_file(folder)) as content:
        leaving, beside = [[-9, -9], [50, 50]], [[WIDTH + 9, 5], [WIDTH + 50, 50]]
        content["shapes"] += [shape(leaving), shape(beside)]


@CASES.spoiling(labelme)
def labelme_names_in_two_splits(folder: Path) -> None:
    """The valid split calls the class by another name."""
    for name in BOXES["valid"]:
        replace_text((folder / "valid" / name).with_suffix(".json"), '"package"', '"parcel"')
