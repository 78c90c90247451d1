"""Pictures side by side on one sheet, each with a line of text below it."""

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from glip_lightning.common.errors import GLIPError
from glip_lightning.common.escaping import printable
from glip_lightning.common.files import write_bytes
from glip_lightning.inference.drawing import Box, draw_boxes

SIDE = 320  # of the place of a picture, in pixels
LINE = 20  # height of the text below it
FORMATS = {".jpg": "JPEG", ".jpeg": "JPEG", ".png": "PNG"}


def check_sheet(file: str, option: str) -> None:
    """Raise GLIPError (code ``bad-value``) if the name of ``file`` has no ending of JPEG or PNG."""
    if Path(file).suffix.lower() not in FORMATS:
        raise GLIPError(
            f"{option} {file}: expected a name that ends with {', '.join(FORMATS)}",
            code="bad-value",
        )


def small_with_boxes(
    image: Image.Image, boxes: Sequence[Box], labels: Sequence[str], classes: Sequence[str]
) -> Image.Image:
    """Return a copy of at most ``SIDE`` pixels with boxes and readable labels.

    ``boxes`` are outside corners in pixels of ``image``.
    """
    scale = min(1.0, SIDE / max(image.size))
    small = image.copy()
    small.thumbnail((SIDE, SIDE))
    scaled = (scale * np.asarray(boxes).reshape(-1, 4)).tolist()
    return draw_boxes(small, scaled, labels, classes=classes)


def save_sheet(file: str, rows: Sequence[Sequence[tuple[Image.Image, str]]]) -> None:
    """Write rows of pictures of at most ``SIDE`` pixels, each with its text, to a picture file."""
    columns = max(map(len, rows), default=1)
    sheet = Image.new("RGB", (columns * SIDE, len(rows) * (SIDE + LINE)), "white")
    draw = ImageDraw.Draw(sheet)
    draw.font = ImageFont.load_default(size=12)
    for row, places in enumerate(rows):
        for column, (picture, text) in enumerate(places):
            x, y = column * SIDE, row * (SIDE + LINE)
            sheet.paste(picture, (x, y))
            draw.text((x + 4, y + picture.height + 3), printable(text)[:50], fill="black")
    content = io.BytesIO()
    sheet.save(content, FORMATS[Path(file).suffix.lower()], quality=92)
    write_bytes(Path(file), content.getvalue())
