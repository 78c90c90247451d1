"""A small good data set in four formats, and what spoils it for the malformed data sets."""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

ANNOTATIONS = "annotations_without_background.json"
WIDTH, HEIGHT = 168, 224
CHESS_MEN = ("bishop", "king", "knight", "pawn", "queen", "rook")
TASKS = {
    "Raccoon": ["raccoon"],
    "Packages": ["package"],
    "pothole": ["pothole"],
    "BCCD": ["Platelets", "RBC", "WBC"],
    # officially, class 1 is called by two blanks
    "ChessPieces": [
        "bishop",
        *(f"{colour}-{man}" for colour in ("black", "white") for man in CHESS_MEN),
    ],
    "COCOmini": ["person", "bicycle", "car", "motorcycle"],
}
Write = Callable[[Path], None]  # writes into a folder
Box = tuple[int, int, int, int]  # x, y, width, height in pixels
BOXES: dict[str, dict[str, list[Box]]] = {
    "train": {
        "img_train_0.jpg": [(88, 154, 16, 18)],
        "img_train_1.jpg": [(103, 120, 26, 24)],
        "img_train_2.jpg": [(52, 117, 20, 17), (22, 122, 57, 58)],
    },
    "valid": {"img_valid_0.jpg": [(46, 125, 26, 23)]},
    "test": {"img_test_0.jpg": [(38, 138, 47, 54), (67, 130, 12, 16)]},
}


class Cases(dict[str, Write]):
    """Malformed data sets by name; each value writes its set into a folder."""

    def spoiling(self, write_good: Write) -> Callable[[Write], Write]:
        """Make a case of the function below: it spoils the set that ``write_good`` has written into
        a folder.
        """

        def register(spoil: Write) -> Write:
            def write(folder: Path) -> None:
                write_good(folder)
                spoil(folder)

            self[spoil.__name__] = write
            return spoil

        return register


def photo(name: str) -> Image.Image:
    """Return a picture of soft blobs that differs from name to name."""
    rng = np.random.default_rng(list(name.encode()))
    blobs = Image.fromarray(rng.integers(0, 256, (28, 21, 3), dtype=np.uint8))
    return blobs.resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC)


def write_photos(folder: Path, split: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name in BOXES[split]:
        photo(name).save(folder / name, quality=82)


def image_entry(number: int, name: str, width: int = WIDTH, height: int = HEIGHT) -> dict[str, Any]:
    return {"id": number, "file_name": name, "width": width, "height": height}


def box_entry(number: int, image: int, bbox: Any, area: float = 1) -> dict[str, Any]:
    keys = {"id": number, "image_id": image, "category_id": 1, "bbox": bbox}
    return keys | {"area": area, "segmentation": [], "iscrowd": 0}


def coco_of(boxes: dict[str, list[Box]]) -> dict[str, Any]:
    images = [image_entry(number, name) for number, name in enumerate(boxes)]
    placed = [(image, box) for image, name in enumerate(boxes) for box in boxes[name]]
    annotations = [
        box_entry(k, image, list(box), box[2] * box[3])
        for k, (image, box) in enumerate(placed, start=1)
    ]
    categories = [{"id": 1, "name": "package", "supercategory": "packages"}]
    return {
        "info": {},
        "licenses": [],
        "categories": categories,
        "images": images,
        "annotations": annotations,
    }


def coco(folder: Path) -> None:
    """Write COCO in the layout of ODinW: a folder for each split with pictures and annotations."""
    for split, boxes in BOXES.items():
        write_photos(folder / split, split)
        write_json(folder / split / ANNOTATIONS, coco_of(boxes))


def odinw_task(folder: Path, class_names: Sequence[str]) -> None:
    """COCO in the layout of ODinW with classes of these names, which the boxes have in turn."""
    coco(folder)
    for split in BOXES:
        with edited(folder / split / ANNOTATIONS) as content:
            content["categories"] = [
                {"id": number, "name": name} for number, name in enumerate(class_names, start=1)
            ]
            for place, annotation in enumerate(content["annotations"]):
                annotation["category_id"] = place % len(class_names) + 1


def odinw(folder: Path) -> None:
    """A folder as ../shared/data: the tasks of ODinW that it has, and single photos of which one is
    grey.
    """
    for task, class_names in TASKS.items():
        odinw_task(folder / task, class_names)
    (folder / "_demos").mkdir()
    for number in range(3):
        picture = photo(f"demo {number}")
        picture.convert("L" if number == 0 else "RGB").save(folder / "_demos" / f"{number}.jpg")


def yolo(folder: Path) -> None:
    """YOLO: images/SPLIT, labels/SPLIT and data.yaml."""
    for split, boxes in BOXES.items():
        write_photos(folder / "images" / split, split)
        (folder / "labels" / split).mkdir(parents=True)
        for name, found in boxes.items():
            (folder / "labels" / split / name).with_suffix(".txt").write_text(yolo_lines(found))
    splits = "train: images/train\nval: images/valid\ntest: images/test\n"
    (folder / "data.yaml").write_text(f"names: [package]\n{splits}")


def yolo_lines(boxes: Sequence[Box]) -> str:
    """Return a line "class cx cy w h" for each box, in fractions of the picture."""
    lines = [
        f"0 {(x + w / 2) / WIDTH} {(y + h / 2) / HEIGHT} {w / WIDTH} {h / HEIGHT}"
        for x, y, w, h in boxes
    ]
    return "\n".join(lines)


def voc(folder: Path) -> None:
    """Pascal VOC: JPEGImages, Annotations and a list for each split."""
    for part in ("Annotations", "ImageSets/Main"):
        (folder / part).mkdir(parents=True)
    for split, boxes in BOXES.items():
        write_photos(folder / "JPEGImages", split)
        stems = [Path(name).stem for name in boxes]
        (folder / "ImageSets" / "Main" / f"{split.replace('valid', 'val')}.txt").write_text(
            "\n".join(stems)
        )
        for name, found in boxes.items():
            (folder / "Annotations" / name).with_suffix(".xml").write_text(voc_xml(name, found))


def voc_xml(name: str, boxes: Sequence[Box]) -> str:
    # both ends are in the box, counted from 1
    corners = [(x + 1, y + 1, x + w, y + h) for x, y, w, h in boxes]
    objects = [
        f"<object><name>package</name><bndbox><xmin>{x1}</xmin><ymin>{y1}</ymin>"
        f"<xmax>{x2}</xmax><ymax>{y2}</ymax></bndbox></object>"
        for x1, y1, x2, y2 in corners
    ]
    size = f"<size><width>{WIDTH}</width><height>{HEIGHT}</height><depth>3</depth></size>"
    return f"<annotation><filename>{name}</filename>{size}{''.join(objects)}</annotation>"


def labelme(folder: Path) -> None:
    """LabelMe: a folder for each split with a JSON file beside each picture."""
    for split, boxes in BOXES.items():
        write_photos(folder / split, split)
        for name, found in boxes.items():
            shapes = [shape([[x, y], [x + w, y + h]]) for x, y, w, h in found]
            size = {"imageWidth": WIDTH, "imageHeight": HEIGHT}
            write_json(
                (folder / split / name).with_suffix(".json"),
                {"imagePath": name, "shapes": shapes} | size,
            )


def shape(points: Any, kind: str = "rectangle", label: Any = "package") -> dict[str, Any]:
    return {"label": label, "points": points, "shape_type": kind, "flags": {}}


# What the cases have in common


def write_json(file: Path, content: Any) -> None:
    file.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")


@contextmanager
def edited(file: Path) -> Iterator[Any]:
    """Give the content of a JSON file to be changed, and write it back."""
    content = json.loads(file.read_text(encoding="utf-8"))
    yield content
    write_json(file, content)


def train(folder: Path) -> Any:
    return edited(folder / "train" / ANNOTATIONS)


def replace_images(
    folder: Path, pictures: dict[str, Image.Image], box: list[float] | None = None
) -> None:
    """Train on other pictures, each with one box: ``box`` or the whole picture."""
    for name in BOXES["train"]:
        (folder / "train" / name).unlink()
    for name, picture in pictures.items():
        (folder / "train" / name).parent.mkdir(parents=True, exist_ok=True)
        picture.save(folder / "train" / name)
    with train(folder) as content:
        content["images"] = [
            image_entry(k, name, *pictures[name].size) for k, name in enumerate(pictures)
        ]
        boxes = [box or [0, 0, *picture.size] for picture in pictures.values()]
        content["annotations"] = [
            box_entry(k + 1, k, bbox, bbox[2] * bbox[3]) for k, bbox in enumerate(boxes)
        ]


def add_boxes(folder: Path, boxes: list[Any]) -> None:
    """Add boxes to the first picture; their ids go on from the last one."""
    with train(folder) as content:
        first = len(content["annotations"]) + 1
        content["annotations"] += [box_entry(first + k, 0, bbox) for k, bbox in enumerate(boxes)]


def replace_text(file: Path, old: str, new: str) -> None:
    text = file.read_text(encoding="utf-8")
    assert old in text
    file.write_text(text.replace(old, new), encoding="utf-8")


def rewrite(file: Path, encoding: str) -> None:
    """Write a file of UTF-8 in another encoding."""
    file.write_text(file.read_text(encoding="utf-8"), encoding=encoding)
