"""The photo of 24 coins in scikit-image's wheel, as a data set: half to learn, half to test.

    python notebooks/coins.py photo FOLDER                   # FOLDER/train, FOLDER/test
    python notebooks/coins.py compare BEFORE AFTER PICTURE   # what two runs find in the test half

The photo is read from the installed package; this file has only the numbers of its boxes. The coins
are from Pompeii, the photo is the Brooklyn Museum's, "no known copyright restrictions".
"""

import argparse
import json
from importlib.resources import as_file, files
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFont

from glip_lightning import GLIPError, draw_boxes, read_dataset
from glip_lightning.common.files import replacing, write_text
from glip_lightning.evaluation.points import in_points

SIZE = (384, 303)  # width, height
BOXES = (  # x, y, width, height in pixels, drawn by hand: four rows of six coins
    *(
        (22, 35, 45, 39),
        (81, 39, 39, 35),
        (132, 28, 47, 46),
        (192, 30, 48, 43),
        (255, 34, 42, 38),
        (305, 16, 60, 56),
    ),
    *(
        (25, 104, 42, 41),
        (84, 108, 38, 37),
        (134, 110, 39, 35),
        (186, 105, 40, 39),
        (245, 95, 51, 49),
    ),
    *(
        (317, 106, 39, 39),
        (26, 179, 37, 38),
        (80, 175, 44, 42),
        (135, 179, 39, 38),
        (189, 170, 48, 47),
    ),
    *(
        (251, 172, 46, 45),
        (315, 156, 65, 62),
        (18, 233, 57, 55),
        (93, 245, 43, 42),
        (144, 236, 57, 52),
    ),
    *((220, 240, 49, 48), (276, 239, 50, 50), (336, 248, 46, 41)),
)
CUT = 182  # the column between the halves, where the fewest coins lie on the cut: one
HALVES = {"train": (0, CUT), "test": (CUT, SIZE[0])}
THRESHOLD = 0.5  # least score that is drawn
SCALE, HEAD, GAP = 3, 44, 12  # enlargement of the test half; pixels above and between the pictures


def photo() -> Image.Image:
    """Return the photo of coins, RGB.

    Raises:
        GLIPError: scikit-image is not installed, or has another photo than the boxes are of.
    """
    if find_spec("skimage") is None:
        message = "the photo of coins comes with scikit-image: pip install scikit-image"
        raise GLIPError(message, code="not-installed")
    with as_file(files("skimage") / "data" / "coins.png") as path, Image.open(path) as image:
        if image.size != SIZE:
            found, wanted = (f"{w} x {h}" for w, h in (image.size, SIZE))
            message = f"{path}: {found} pixels, the boxes are of {wanted}"
            raise GLIPError(message, code="bad-value")
        return image.convert("RGB")


def boxes_between(left: int, right: int) -> list[tuple[int, int, int, int]]:
    """Return the boxes between the columns ``left`` and ``right``, in the frame of that part.

    A coin on the edge is cut.
    """
    found = []
    for x, y, width, height in BOXES:
        first, last = max(x, left), min(x + width, right)
        if first < last:
            found.append((first - left, y, last - first, height))
    return found


def write_halves(folder: Path) -> str:
    """Write both halves of the photo with their COCO files, and return how many coins each has."""
    whole = photo()
    counts = []
    for split, (left, right) in HALVES.items():
        boxes = boxes_between(left, right)
        name = f"{split}.png"
        image = {"id": 1, "file_name": name, "width": right - left, "height": SIZE[1]}
        annotations = [
            {
                "id": k,
                "image_id": 1,
                "category_id": 1,
                "bbox": box,
                "area": box[2] * box[3],
                "iscrowd": 0,
            }
            for k, box in enumerate(boxes, 1)
        ]
        content = {
            "images": [image],
            "categories": [{"id": 1, "name": "coin"}],
            "annotations": annotations,
        }
        (folder / split).mkdir(parents=True, exist_ok=True)
        with replacing(folder / split / name) as fresh:
            whole.crop((left, 0, right, SIZE[1])).save(fresh, format="PNG")
        write_text(folder / split / "_annotations.coco.json", json.dumps(content, indent=1))
        counts.append(f"{len(boxes)} coins to {'learn from' if split == 'train' else 'test on'}")
    cut = sum(x < CUT < x + width for x, _, width, _ in BOXES)
    return f"{', '.join(counts)}; on the cut, as a part in both halves: {cut} of all {len(BOXES)}"


def compare(before: Path, after: Path) -> tuple[Image.Image, str]:
    """Return what two runs find in the test half, as a picture and a line; truth is white."""
    columns, said = [], []
    for name, run in (("before", before), ("after", after)):
        result = json.loads((run / "result.json").read_text(encoding="utf-8"))
        ap = result["metrics"]["test"]["AP"]
        text = (
            f"AP {in_points(ap)} {name}"
            if not result["fitted"]
            else f"AP {in_points(ap)} {name} {result['steps']} steps"
        )
        said.append(text)
        columns.append(_column(text, _test_half(run, result)))
    width = sum(column.width for column in columns) + GAP
    both = Image.new("RGB", (width, columns[0].height), "white")
    both.paste(columns[0], (0, 0))
    both.paste(columns[1], (columns[0].width + GAP, 0))
    return both, f"coins: {', '.join(said)}"


def _test_half(run: Path, result: dict[str, Any]) -> Image.Image:
    """Return the test half, enlarged, with the detections of a run."""
    index = read_dataset(result["recipe"]["data"]["init_args"]["root"]).splits["test"]
    found = json.loads((run / "detections.json").read_text(encoding="utf-8"))
    shown = [row for row in found if row["score"] >= THRESHOLD]
    picture = index.picture(0)
    large = picture.resize(
        (SCALE * picture.width, SCALE * picture.height), Image.Resampling.BICUBIC
    )
    boxes = [_corners(row["bbox"]) for row in shown]
    truth = [_corners(box) for box in index.boxes_of(0).xywh]
    return draw_boxes(large, boxes, ["coin"] * len(boxes), [row["score"] for row in shown], truth)


def _corners(box: Any) -> list[float]:
    """Return the corners of a box in the enlarged picture."""
    x, y, width, height = (SCALE * float(value) for value in box)
    return [x, y, x + width, y + height]


def _column(text: str, picture: Image.Image) -> Image.Image:
    """Return a picture with a line of text above it."""
    column = Image.new("RGB", (picture.width, picture.height + HEAD), "white")
    column.paste(picture, (0, HEAD))
    ImageDraw.Draw(column).text((4, 8), text, "black", ImageFont.load_default(24))
    return column


def main() -> None:
    """Read the arguments, write the data set or compare two runs."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    verbs = parser.add_subparsers(dest="verb", required=True)
    verbs.add_parser("photo", help="write both halves").add_argument("folder", type=Path)
    comparing = verbs.add_parser("compare", help="draw what two runs have found")
    for name in ("before", "after", "picture"):
        comparing.add_argument(name, type=Path)
    given = parser.parse_args()
    if given.verb == "photo":
        print(f"{given.folder}: {write_halves(given.folder)}")
        return
    both, said = compare(given.before, given.after)
    with replacing(given.picture) as fresh:
        both.save(fresh, format="JPEG", quality=92)
    print(f"{said}\npicture  {given.picture}")


if __name__ == "__main__":
    main()
