"""Pictures of what a detector finds by phrases that its training never had: the grid of the README.

    python benchmarks/picture_grid.py --detector glip-nano-c --out docs/held_out.jpg

Every cell is a test picture of the held-out combinations, with a phrase that is true of a thing in
it. Magenta boxes are the ground truth, the others the detections. The pictures are the first ones,
not the best ones.
"""

import argparse
from collections.abc import Iterator
from itertools import count
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from glip_lightning.common.files import replacing
from glip_lightning.inference.drawing import draw_boxes
from glip_lightning.inference.predictor import Predictor
from glip_lightning.shapes.paint import Box
from glip_lightning.shapes.pretraining_pictures import SIZE, show
from glip_lightning.shapes.words import HELD_OUT

SCALE, LINE = 2, 22  # enlargement of a picture, height of the text in pixels
PART = "combinations/held_out"


def pictures(seed: int) -> Iterator[tuple[Image.Image, str, list[Box]]]:
    """Yield a picture, a held-out phrase that is true of things in it, and the boxes of these."""
    for index in count():
        shown = show(PART, seed, index)
        pairs = [
            (a, s)
            for thing in shown.things
            for a, s in sorted(HELD_OUT)
            if {a, s} <= {*thing.words.values()}
        ]
        if pairs:
            pair = pairs[index % len(pairs)]
            named = [
                box
                for thing, box in zip(shown.things, shown.boxes, strict=True)
                if {*pair} <= {*thing.words.values()}
            ]
            yield shown.image, " ".join(pair), named


def cell(
    predictor: Predictor, image: Image.Image, phrase: str, boxes: list[tuple[int, int, int, int]]
) -> Image.Image:
    """Return one picture with detections, ground truth and its phrase."""
    found = predictor(image, phrase)
    large = image.resize((SCALE * SIZE, SCALE * SIZE), Image.Resampling.BICUBIC)
    truth = [[SCALE * v for v in (x, y, x + w, y + h)] for x, y, w, h in boxes]
    ours = [[SCALE * v for v in box] for box in found.boxes.tolist()]
    large = draw_boxes(large, ours, found.names, found.scores.tolist(), truth, [phrase])
    framed = Image.new("RGB", (SCALE * SIZE + 4, SCALE * SIZE + LINE), "white")
    framed.paste(large, (2, 2))
    ImageDraw.Draw(framed).text((6, SCALE * SIZE + 4), phrase, "black", ImageFont.load_default(14))
    return framed


def grid(detector: str, columns: int, rows: int, threshold: float, seed: int) -> Image.Image:
    """Return the picture of all cells."""
    predictor = Predictor(detector, threshold=threshold)
    cells = [
        cell(predictor, *shown)
        for shown, _ in zip(pictures(seed), range(columns * rows), strict=False)
    ]
    width, height = cells[0].size
    sheet = Image.new("RGB", (columns * width, rows * height), "white")
    for k, each in enumerate(cells):
        sheet.paste(each, (k % columns * width, k // columns * height))
    return sheet


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--detector", default="glip-nano-c")
    parser.add_argument("--out", type=Path, default=Path("docs/held_out.jpg"))
    parser.add_argument("--columns", type=int, default=4)
    parser.add_argument("--rows", type=int, default=2)
    parser.add_argument("--threshold", type=float, default=0.6)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    with replacing(given.out) as fresh:
        grid(given.detector, given.columns, given.rows, given.threshold, given.seed).save(
            fresh, format="JPEG", quality=90
        )
    print(given.out)
