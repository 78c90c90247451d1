"""Predictions as the files that labelling tools and other trainers read: COCO, YOLO and CSV."""

import csv
import io
import json
import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from glip_lightning.common.errors import GLIPError
from glip_lightning.common.escaping import json_text
from glip_lightning.common.files import replacing

FILES = {"coco": "coco.json", "yolo": "yolo", "csv": "predictions.csv"}
"""The file or folder of each format, beside ``predictions.json``, which is always written."""

CSV_COLUMNS = ("photo", "category_id", "name", "score", "x1", "y1", "x2", "y2")

Categories = Mapping[int, str]
"""Id -> name, in the order of the classes."""


def refuse_other_files(out: Path, formats: Iterable[str], ours: Sequence[str]) -> None:
    """Raise GLIPError if the file of a format exists that no earlier call has written.

    ``ours`` are the formats that an earlier call has written. The code is ``file-exists``.
    """
    for name in formats:
        if name not in ours and (out / FILES[name]).exists():
            message = f"--out {out}: holds {FILES[name]}, which glip predict has not written; "
            message += "choose another folder"
            raise GLIPError(message, code="file-exists")


def remove_formats(out: Path, formats: Iterable[str]) -> None:
    """Remove the files of formats that an earlier call has written."""
    for name in formats:
        path = out / FILES[name]
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def write_formats(
    out: Path, formats: Iterable[str], entries: Sequence[Mapping[str, Any]], categories: Categories
) -> list[Path]:
    """Write the entries of ``predictions.json`` in other formats and return the files and folders.

    Photos that could not be read are in none of them. Names of photos are relative to the folder
    that all photos are in. The labels of YOLO have the names of the pictures in ``out``.
    """
    seen = [entry for entry in entries if "error" not in entry]
    photos = _names_in_common_folder(entries)
    written = []
    for name in formats:
        with replacing(out / FILES[name]) as fresh:
            if name == "coco":
                content = coco_content(seen, photos, categories)
                _write_text(fresh, json_text(json.dumps(content, ensure_ascii=False)))
            elif name == "csv":
                _write_text(fresh, _csv_text(seen, photos, categories))
            else:
                _write_yolo(fresh, seen, categories)
        written.append(out / FILES[name])
    return written


def _names_in_common_folder(entries: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Return the path of each photo below the folder that all are in, by the path as given."""
    paths = {entry["photo"]: Path(entry["photo"]).absolute() for entry in entries}
    if not paths:
        return {}
    folder = os.path.commonpath([path.parent for path in paths.values()])
    return {photo: path.relative_to(folder).as_posix() for photo, path in paths.items()}


def coco_content(
    entries: Sequence[Mapping[str, Any]], photos: Mapping[str, str], categories: Categories
) -> dict[str, Any]:
    """Return the content of a COCO file in which each box has its score.

    Args:
        entries: those of ``predictions.json``; boxes are outside corners in pixels of the photo.
        photos: the file name of each photo, by the photo as it was given.
        categories: the name of each class by its id, in the order of the classes.
    """
    ids = list(categories)
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number, entry in enumerate(entries, start=1):
        size = {"width": entry["width"], "height": entry["height"]}
        images.append({"id": number, "file_name": photos[entry["photo"]], **size})
        for row in entry["detections"]:
            x1, y1, x2, y2 = row["box"]
            width, height = round(x2 - x1, 2), round(y2 - y1, 2)
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": number,
                    "category_id": ids[row["class_id"]],
                    "bbox": [x1, y1, width, height],
                    "area": round(width * height, 2),
                    "iscrowd": 0,
                    "score": row["score"],
                }
            )
    listed = [{"id": number, "name": name} for number, name in categories.items()]
    return {"images": images, "annotations": annotations, "categories": listed}


def _csv_text(
    entries: Iterable[Mapping[str, Any]], photos: Mapping[str, str], categories: Categories
) -> str:
    """Return one line per box, corners in pixels."""
    ids = list(categories)
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(CSV_COLUMNS)
    for entry in entries:
        photo = photos[entry["photo"]]
        for row in entry["detections"]:
            category_id = ids[row["class_id"]]
            table.writerow([photo, category_id, row["name"], row["score"], *row["box"]])
    return text.getvalue()


def _write_yolo(folder: Path, entries: Iterable[Mapping[str, Any]], categories: Categories) -> None:
    """Write a new folder with ``classes.txt`` and ``labels/NAME.txt`` for each photo.

    The file of a photo in which nothing was found is empty.
    """
    (folder / "labels").mkdir(parents=True)
    _write_text(folder / "classes.txt", "".join(f"{name}\n" for name in categories.values()))
    for entry in entries:
        lines = []
        for row in entry["detections"]:
            x1, y1, x2, y2 = row["box"]
            across, down = entry["width"], entry["height"]
            center_x, center_y = (x1 + x2) / 2 / across, (y1 + y2) / 2 / down
            width, height = (x2 - x1) / across, (y2 - y1) / down
            box = f"{center_x:.6f} {center_y:.6f} {width:.6f} {height:.6f}"
            lines.append(f"{row['class_id']} {box}\n")
        file = folder / "labels" / f"{Path(entry['picture']).stem}.txt"
        _write_text(file, "".join(lines))


def _write_text(path: Path, text: str) -> None:
    """Write a text in UTF-8; bytes of file names that are no UTF-8 stay as they are."""
    path.write_text(text, encoding="utf-8", errors="surrogateescape", newline="\n")
