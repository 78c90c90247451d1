"""One small data set, written in every layout that can be read."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

WIDTH, HEIGHT = 64, 48
CLASSES = ("cat", "dog")
Box = tuple[int, int, int, int, int]  # class, x, y, width, height
BOXES: Mapping[str, Sequence[Box]] = {
    "a.png": [(0, 4, 6, 20, 10), (1, 30, 12, 16, 24)],
    "b 1.png": [(1, 2, 2, 8, 8)],
    "c.png": [],
    "d.png": [(0, 40, 20, 24, 28)],
}
SPLITS = {"train": ("a.png", "b 1.png"), "valid": ("c.png", "d.png"), "test": ("d.png",)}


def picture(folder: Path, name: str) -> None:
    """A picture that looks different for each name."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(sum(name.encode()))
    Image.fromarray(rng.integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)).save(folder / name)


def coco(names: Sequence[str]) -> dict[str, list]:
    annotations = [
        {"image_id": i, "category_id": k + 1, "bbox": [x, y, w, h], "area": w * h, "iscrowd": 0}
        for i, name in enumerate(names)
        for k, x, y, w, h in BOXES[name]
    ]
    return {
        "images": [
            {"id": i, "file_name": name, "width": WIDTH, "height": HEIGHT}
            for i, name in enumerate(names)
        ],
        "annotations": [{"id": i, **entry} for i, entry in enumerate(annotations, start=1)],
        "categories": [{"id": k, "name": name} for k, name in enumerate(CLASSES, start=1)],
    }


def write_coco(file: Path, images: Path, names: Sequence[str] = tuple(BOXES)) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    for name in names:
        picture(images, name)
    file.write_text(json.dumps(coco(names)), encoding="utf-8")
    return file


def write_parts(folder: Path, annotations: str = "_annotations.coco.json") -> Path:
    """ODinW and Roboflow: a folder per split."""
    for split, names in SPLITS.items():
        write_coco(folder / split / annotations, folder / split, names)
    return folder


def label_lines(name: str) -> str:
    lines = (
        f"{k} {(x + w / 2) / WIDTH:.9f} {(y + h / 2) / HEIGHT:.9f} {w / WIDTH:.9f} {h / HEIGHT:.9f}"
        for k, x, y, w, h in BOXES[name]
    )
    return "\n".join(lines)


def write_labels(images: Path, labels: Path, names: Sequence[str]) -> None:
    labels.mkdir(parents=True, exist_ok=True)
    for name in names:
        picture(images, name)
        (labels / name).with_suffix(".txt").write_text(label_lines(name))


def write_yolo(
    folder: Path, yaml: str = "names: [cat, dog]\ntrain: images/train\nval: images/valid\n"
) -> Path:
    for split, names in SPLITS.items():
        write_labels(folder / "images" / split, folder / "labels" / split, names)
    (folder / "data.yaml").write_text(yaml)
    return folder


def xml(name: str, boxes: Sequence[Box], more: str = "", start: int = 1) -> str:
    objects = "".join(
        f"<object><name>{CLASSES[k]}</name><difficult>0</difficult><bndbox><xmin>{x + start}</xmin>"
        f"<ymin>{y + start}</ymin><xmax>{x + w - 1 + start}</xmax>"
        f"<ymax>{y + h - 1 + start}</ymax></bndbox></object>"
        for k, x, y, w, h in boxes
    )
    size = f"<size><width>{WIDTH}</width><height>{HEIGHT}</height><depth>3</depth></size>"
    return f"<annotation><filename>{name}</filename>{size}{objects}{more}</annotation>"


def write_voc(folder: Path, lists: Mapping[str, Sequence[str]] | None = None) -> Path:
    (folder / "Annotations").mkdir(parents=True)
    for name, boxes in BOXES.items():
        picture(folder / "JPEGImages", name)
        (folder / "Annotations" / name).with_suffix(".xml").write_text(xml(name, boxes))
    for split, names in (lists or {}).items():
        (folder / "ImageSets" / "Main").mkdir(parents=True, exist_ok=True)
        (folder / "ImageSets" / "Main" / f"{split}.txt").write_text("\n".join(names))
    return folder
