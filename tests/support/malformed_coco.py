"""Malformed data sets in COCO's format: one function for each fault.

``CASES[name](folder)`` writes the set of that name. Where a docstring does not say otherwise, the
fault is in the train split.
"""

import json
import shutil
from pathlib import Path

import numpy as np
from PIL import Image

from good_sets import (
    ANNOTATIONS,
    BOXES,
    HEIGHT,
    WIDTH,
    Cases,
    add_boxes,
    coco,
    coco_of,
    edited,
    photo,
    replace_images,
    replace_text,
    rewrite,
    train,
    write_json,
)

UPRIGHT = 6  # EXIF's number for "turn me by 90 degrees"
CASES = Cases()


# Files


@CASES.spoiling(coco)
def truncated_jpeg(folder: Path) -> None:
    file = folder / "train" / "img_train_1.jpg"
    data = file.read_bytes()
    file.write_bytes(data[: len(data) * 2 // 5])


@CASES.spoiling(coco)
def missing_image_file(folder: Path) -> None:
    (folder / "train" / "img_train_1.jpg").unlink()


@CASES.spoiling(coco)
def file_not_in_json(folder: Path) -> None:
    photo("stray").save(folder / "train" / "stray.jpg")


@CASES.spoiling(coco)
def zero_byte_and_html(folder: Path) -> None:
    (folder / "train" / "img_train_0.jpg").write_bytes(b"")
    (folder / "train" / "img_train_1.jpg").write_text("<html><body>404 Not Found</body></html>")


@CASES.spoiling(coco)
def png_named_jpg(folder: Path) -> None:
    photo("img_train_0.jpg").save(folder / "train" / "img_train_0.jpg", "PNG")


@CASES.spoiling(coco)
def pixel_modes(folder: Path) -> None:
    """Each picture has another kind of pixels; 16 bits and grey with alpha show the same."""
    colour = photo("img_train_0.jpg")
    grey = colour.convert("L")
    transparent = colour.copy()
    transparent.putalpha(grey.point(lambda value: 255 if value > 60 else 0))
    pictures = {
        "cmyk.jpg": colour.convert("CMYK"),
        "gray16.png": Image.fromarray(np.asarray(grey, dtype=np.uint16) * 257),
        "rgba.png": transparent,
        "palette.png": colour.quantize(64),
        "onebit.png": colour.convert("1"),
        "gray.jpg": grey,
        "la.png": colour.convert("LA"),
    }
    replace_images(folder, pictures, [88, 154, 16, 18])


@CASES.spoiling(coco)
def exif_rotated(folder: Path) -> None:
    """Two photos ask to be turned: size and boxes of picture 0 are those after the turn, of picture
    1 those before.
    """
    turn = Image.Exif()
    turn[0x0112] = UPRIGHT
    turned = photo("img_train_0.jpg").transpose(Image.Transpose.ROTATE_90)
    turned.save(folder / "train" / "img_train_0.jpg", exif=turn)
    photo("img_train_1.jpg").save(folder / "train" / "img_train_1.jpg", exif=turn)


@CASES.spoiling(coco)
def tiny_and_extreme(folder: Path) -> None:
    colour = (90, 120, 60)
    replace_images(
        folder,
        {"e0.jpg": Image.new("RGB", (1, 1), colour), "e1.jpg": Image.new("RGB", (2000, 4), colour)},
    )


@CASES.spoiling(coco)
def odd_file_names(folder: Path) -> None:
    names = ["a b (1).jpg", "größe_包裹.jpg", "x#1%20y..v2.jpg", "sub/folder/z.JPG"]
    replace_images(folder, dict.fromkeys(names, photo("img_train_0.jpg")), [88, 154, 16, 18])


@CASES.spoiling(coco)
def path_traversal(folder: Path) -> None:
    with train(folder) as content:
        content["images"][0]["file_name"] = "../valid/img_valid_0.jpg"
        content["images"][1]["file_name"] = "/etc/hostname"


# Boxes


@CASES.spoiling(coco)
def box_outside(folder: Path) -> None:
    """Two boxes leave the picture at opposite corners, one is larger than it and one lies beside
    it.
    """
    larger, beside = [-50, -50, WIDTH + 100, HEIGHT + 100], [WIDTH + 20, HEIGHT + 20, 30, 30]
    add_boxes(folder, [[-40, -30, 100, 90], [WIDTH - 50, HEIGHT - 50, 100, 100], beside, larger])


@CASES.spoiling(coco)
def zero_and_negative_area(folder: Path) -> None:
    add_boxes(
        folder,
        [[50, 50, 0, 30], [50, 50, 30, 0], [50, 50, 0, 0], [90, 90, -40, 30], [60, 60, 0.3, 40]],
    )


@CASES.spoiling(coco)
def nan_inf_string_short(folder: Path) -> None:
    nan, infinity = float("nan"), float("inf")
    add_boxes(
        folder,
        [[nan, 5, 9, 9], [5, 5, infinity, 9], ["5", "5", "20", "20"], None, [1, 2, 3], "none"],
    )
    with train(folder) as content:
        del content["annotations"][-1]["bbox"]


@CASES.spoiling(coco)
def xyxy_instead_of_xywh(folder: Path) -> None:
    with train(folder) as content:
        for annotation in content["annotations"]:
            x, y, w, h = annotation["bbox"]
            annotation["bbox"] = [x, y, x + w, y + h]


@CASES.spoiling(coco)
def normalised_boxes(folder: Path) -> None:
    with train(folder) as content:
        for annotation in content["annotations"]:
            x, y, w, h = annotation["bbox"]
            annotation["bbox"] = [x / WIDTH, y / HEIGHT, w / WIDTH, h / HEIGHT]


@CASES.spoiling(coco)
def wrong_image_size(folder: Path) -> None:
    with train(folder) as content:
        content["images"][0] |= {"width": HEIGHT, "height": WIDTH}
        content["images"][1] |= {"width": 2 * WIDTH, "height": 2 * HEIGHT}


# Ids and categories


@CASES.spoiling(coco)
def duplicate_annotation_ids(folder: Path) -> None:
    with train(folder) as content:
        content["annotations"][1]["id"] = 1


@CASES.spoiling(coco)
def duplicate_image_ids(folder: Path) -> None:
    with train(folder) as content:
        content["images"][1]["id"] = 0


@CASES.spoiling(coco)
def unknown_image_id(folder: Path) -> None:
    with train(folder) as content:
        content["annotations"][0]["image_id"] = 999


@CASES.spoiling(coco)
def category_not_in_list(folder: Path) -> None:
    with train(folder) as content:
        content["annotations"][0]["category_id"] = 7


@CASES.spoiling(coco)
def annotation_id_zero(folder: Path) -> None:
    """The annotations of all splits are numbered from 0, as Roboflow does."""
    for split in BOXES:
        with edited(folder / split / ANNOTATIONS) as content:
            for annotation in content["annotations"]:
                annotation["id"] -= 1


@CASES.spoiling(coco)
def background_category(folder: Path) -> None:
    with train(folder) as content:
        content["categories"].insert(0, {"id": 0, "name": "packages", "supercategory": "none"})


@CASES.spoiling(coco)
def sparse_category_ids(folder: Path) -> None:
    with train(folder) as content:
        content["categories"] = [
            {"id": 90, "name": "box"},
            {"id": 3, "name": "envelope"},
            {"id": 17, "name": "crate"},
        ]
        for place, annotation in enumerate(content["annotations"]):
            annotation["category_id"] = (90, 3)[place % 2]


@CASES.spoiling(coco)
def odd_category_names(folder: Path) -> None:
    names = ["  ", "a. b", "x", "x", "", "long " * 60, "café/包裹", "package "]
    with train(folder) as content:
        content["categories"] = [
            {"id": number, "name": name} for number, name in enumerate(names, start=1)
        ]
        for place, annotation in enumerate(content["annotations"]):
            annotation["category_id"] = place + 1


@CASES.spoiling(coco)
def string_ids(folder: Path) -> None:
    with train(folder) as content:
        for image in content["images"]:
            image["id"] = str(image["id"])


@CASES.spoiling(coco)
def categories_differ(folder: Path) -> None:
    """Number 1 is another class in the valid split."""
    with edited(folder / "valid" / ANNOTATIONS) as content:
        content["categories"] = [{"id": 1, "name": "envelope"}, {"id": 2, "name": "package"}]
        content["annotations"][0]["category_id"] = 2


# What is there and what is not


@CASES.spoiling(coco)
def empty_annotations(folder: Path) -> None:
    with train(folder) as content:
        content["annotations"] = []


@CASES.spoiling(coco)
def empty_test(folder: Path) -> None:
    """The test split lists no picture."""
    with edited(folder / "test" / ANNOTATIONS) as content:
        content["images"], content["annotations"] = [], []


@CASES.spoiling(coco)
def images_without_boxes(folder: Path) -> None:
    with train(folder) as content:
        content["annotations"] = content["annotations"][:1]


@CASES.spoiling(coco)
def missing_keys(folder: Path) -> None:
    with train(folder) as content:
        for annotation in content["annotations"]:
            del annotation["area"], annotation["iscrowd"], annotation["segmentation"]
        del content["categories"][0]["supercategory"], content["licenses"], content["info"]


@CASES.spoiling(coco)
def iscrowd(folder: Path) -> None:
    with train(folder) as content:
        content["annotations"][0]["iscrowd"] = 1


@CASES.spoiling(coco)
def broken_json(folder: Path) -> None:
    file = folder / "train" / ANNOTATIONS
    text = file.read_text(encoding="utf-8")
    file.write_text(text[: len(text) // 2], encoding="utf-8")


@CASES.spoiling(coco)
def utf8_bom(folder: Path) -> None:
    rewrite(folder / "train" / ANNOTATIONS, "utf-8-sig")


@CASES.spoiling(coco)
def json_is_a_list(folder: Path) -> None:
    file = folder / "train" / ANNOTATIONS
    write_json(file, json.loads(file.read_text(encoding="utf-8"))["annotations"])


@CASES.spoiling(coco)
def missing_split(folder: Path) -> None:
    """There is no valid split."""
    shutil.rmtree(folder / "valid")


@CASES.spoiling(coco)
def split_leak(folder: Path) -> None:
    """The picture of the test split is one of the train split."""
    shutil.copyfile(folder / "train" / "img_train_0.jpg", folder / "test" / "img_test_0.jpg")
    write_json(
        folder / "test" / ANNOTATIONS,
        coco_of({"img_test_0.jpg": BOXES["train"]["img_train_0.jpg"]}),
    )


# More than the folders with real photos have


@CASES.spoiling(coco)
def lone_surrogate(folder: Path) -> None:
    """Half a character is in the name of a class, as after a cut in the middle of an emoji."""
    replace_text(folder / "train" / ANNOTATIONS, '"package"', r'"package \ud83d"')


@CASES.spoiling(coco)
def windows_paths(folder: Path) -> None:
    with train(folder) as content:
        for image in content["images"]:
            image["file_name"] = f"C:\\Users\\me\\{image['file_name']}"


@CASES.spoiling(coco)
def two_annotation_files(folder: Path) -> None:
    file = folder / "train" / ANNOTATIONS
    shutil.copyfile(file, file.with_name("first.json"))
    file.rename(file.with_name("second.json"))


@CASES.spoiling(coco)
def utf16_json(folder: Path) -> None:
    """The file went through a shell of Windows."""
    rewrite(folder / "train" / ANNOTATIONS, "utf-16")


@CASES.spoiling(coco)
def folder_named_jpg(folder: Path) -> None:
    (folder / "train" / "img_train_0.jpg").unlink()
    (folder / "train" / "img_train_0.jpg").mkdir()


@CASES.spoiling(coco)
def several_frames(folder: Path) -> None:
    frames = [photo("one"), photo("two")]
    replace_images(folder, {"scan.tif": frames[0]}, [88, 154, 16, 18])
    frames[0].save(folder / "train" / "scan.tif", save_all=True, append_images=frames[1:])


@CASES.spoiling(coco)
def many_boxes(folder: Path) -> None:
    """The picture of the test split has more boxes than COCO's AP counts."""
    boxes = [(x, y, 10, 10) for x in range(0, 160, 10) for y in range(0, 200, 10)]
    write_json(folder / "test" / ANNOTATIONS, coco_of({"img_test_0.jpg": boxes}))


@CASES.spoiling(coco)
def names_in_two_cases(folder: Path) -> None:
    with train(folder) as content:
        content["categories"].append({"id": 2, "name": "Package"})
        content["annotations"][0]["category_id"] = 2


@CASES.spoiling(coco)
def name_of_a_whole_sentence(folder: Path) -> None:
    """The description of a class has more words than a caption has room for."""
    with train(folder) as content:
        content["categories"][0]["name"] = "a brown box in front of a door " * 40
