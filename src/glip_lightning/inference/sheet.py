"""Pictures side by side on one sheet, each with a line of text below it."""

import io
from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from glip_lightning.common.errors import GLIPError
from glip_lightning.common.escaping import printable
from glip_lightning.common.files import write_bytes
from glip_lightning.inference.drawing import Box, draw_boxes

SIDE = 320  # of the place of a picture, in pixels
LINE = 20  # height of the text below it
FORMATS = {".jpg": "JPEG", ".jpeg": "JPEG", ".png": "PNG"}


def check_sheet(file: str, option: str) -> None:
    """Raise GLIPError (code ``bad-value``) if the name of ``file`` has another ending than those of JPEG and PNG."""
    if Path(file).suffix.lower() not in FORMATS:
        raise GLIPError(
            f"{option} {file}: expected a name that ends with {', '.join(FORMATS)}",
            code="bad-value",
        )


def small_with_boxes(
    image: Image.Image, boxes: Sequence[Box], labels: Sequence[str], classes: Sequence[str]
) -> Image.Image:
    """Return a copy of at most ``SIDE`` pixels with boxes (corners in pixels of ``image``) and readable labels."""
    scale = min(1.0, SIDE / max(image.size))
    small = image.copy()
    small.thumbnail((SIDE, SIDE))
    return draw_boxes(small, [[scale * x for x in box] for box in boxes], labels, classes=classes)


def save_sheet(file: str, rows: Sequence[Sequence[tuple[Image.Image, str]]]) -> None:
    """Write rows of pictures, none larger than ``SIDE``, each with its text, as a JPEG or PNG file."""
    columns = max(map(len, rows), default=1)
    sheet = Image.new("RGB", (columns * SIDE, len(rows) * (SIDE + LINE)), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=12)
    for row, places in enumerate(rows):
        for column, (picture, text) in enumerate(places):
            x, y = column * SIDE, row * (SIDE + LINE)
            sheet.paste(picture, (x, y))
            draw.text(
                (x + 4, y + picture.height + 3), printable(text)[:50], fill="black", font=font
            )
    content = io.BytesIO()
    sheet.save(content, FORMATS[Path(file).suffix.lower()], quality=92)
    write_bytes(Path(file), content.getvalue())
