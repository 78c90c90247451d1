"""Boxes with their labels on a photo."""

from collections.abc import Sequence
from contextlib import suppress
from functools import lru_cache
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from glip_lightning.common.errors import GLIPError
from glip_lightning.common.escaping import printable

COLOURS = ("#E69F00", "#56B4E9", "#009E73", "#F0E442", "#0072B2", "#D55E00", "#CC79A7")
"""Okabe and Ito's colours (2008), distinct also for colour-blind readers; black is left out."""

TRUTH_COLOUR = "#FF00FF"
"""Magenta: photos seldom have it, and unlike white it is seen on bright ones, too."""

OTHER_FONTS = (
    *("DejaVuSans.ttf", "NotoSansCJK-Regular.ttc", "wqy-microhei.ttc", "wqy-zenhei.ttc"),
    *("msyh.ttc", "simhei.ttf", "malgun.ttf", "PingFang.ttc", "Arial Unicode.ttf"),
)
"""Looked for where the usual font lacks a letter: accents and Cyrillic, then Chinese, Japanese, Korean."""

NO_LETTER = "\U0010ffff"

_Font = ImageFont.FreeTypeFont | ImageFont.ImageFont
Box = Sequence[float]  # outside corners x1, y1, x2, y2 in pixels of the photo


def draw_boxes(
    image: Image.Image,
    boxes: Sequence[Box],
    labels: Sequence[str],
    scores: Sequence[float] | None = None,
    truth: Sequence[Box] | None = None,
    classes: Sequence[str] | None = None,
) -> Image.Image:
    """Return a copy of ``image`` with ``boxes``, each with its label and, where given, its score (0 to 1) in percent.

    Boxes are outside corners x1, y1, x2, y2 in pixels of the image, as a ``Prediction`` has them. Every class keeps
    its colour from photo to photo if ``classes`` lists them all; otherwise colours go by the first appearance of a
    label. ``truth`` boxes are thin and magenta. The best score is drawn last, on top; lines and text grow with the
    photo.

    Raises:
        ValueError: not one label, or not one score, per box.
    """
    if not len(boxes) == len(labels) == len(boxes if scores is None else scores):
        counts = f"{len(boxes)} boxes, {len(labels)} labels, {len(boxes if scores is None else scores)} scores"
        raise GLIPError(f"{counts}: give one label and one score per box", code="bad-value")
    names = list(dict.fromkeys([*(classes or ()), *labels]))
    canvas = image.convert("RGB")
    draw = ImageDraw.Draw(canvas)
    unit = max(1, round(min(canvas.size) / 200))  # line width; 2 at 400 pixels
    font = ImageFont.load_default(size=max(11, 5 * unit + 3))
    for box in truth or ():
        _outline(draw, box, TRUTH_COLOUR, max(1, unit // 2))
    order = (
        range(len(boxes)) if scores is None else sorted(range(len(boxes)), key=lambda i: scores[i])
    )
    coloured = [(i, COLOURS[names.index(labels[i]) % len(COLOURS)]) for i in order]
    for i, colour in coloured:
        _outline(draw, boxes[i], colour, unit)
    for i, colour in coloured:  # after all boxes, so that no line crosses a label
        text_font = _font_for(labels[i], font)
        name = _shown(printable(labels[i]), text_font)
        score = "" if scores is None else f" {100 * scores[i]:.0f}%"
        text = _shortened(name, score, text_font, canvas.width)
        _plate(draw, boxes[i], text, colour, text_font, canvas.size)
    return canvas


def _font_for(text: str, usual: _Font) -> _Font:
    """Return the usual font, or the first of this machine's that has all letters of ``text``, if there is one."""
    if not _missing(text, usual):
        return usual
    for name in OTHER_FONTS:
        font = _load_font(name, _size(usual))
        if font is not None and not _missing(text, font):
            return font
    return usual


@lru_cache
def _load_font(name: str, size: float) -> ImageFont.FreeTypeFont | None:
    """Return a font by its file, from the folders of the system or of matplotlib; None where it is not there."""
    found = find_spec("matplotlib")  # an import would take long
    folders = [Path(place) / "mpl-data/fonts/ttf" for place in _places(found)]
    for file in (name, *(str(folder / name) for folder in folders)):
        with suppress(OSError):
            return ImageFont.truetype(file, size)
    return None


def _places(found: ModuleSpec | None) -> list[str]:
    return list(found.submodule_search_locations or ()) if found else []


def _missing(text: str, font: _Font) -> set[str]:
    """Return the letters that ``font`` has no picture of: it draws them as what is no letter."""
    blank = _picture(NO_LETTER, font)
    return {x for x in set(text) if not x.isspace() and _picture(x, font) == blank}


def _picture(letter: str, font: _Font) -> bytes:
    side = 2 * round(_size(font))
    image = Image.new("L", (side, side))
    ImageDraw.Draw(image).text((0, 0), letter, fill=255, font=font)
    return image.tobytes()


def _size(font: _Font) -> float:
    """Return the height of a font in pixels."""
    return font.size if isinstance(font, ImageFont.FreeTypeFont) else 11


def _shown(name: str, font: _Font) -> str:
    r"""Return ``name`` with the letters escaped (``\u6d63``) that no font of this machine has."""
    missing = _missing(name, font)
    return "".join(ascii(x)[1:-1] if x in missing else x for x in name)


def _shortened(name: str, score: str, font: _Font, width: int) -> str:
    """Return name and score; of a name that is too long for the photo its beginning, so that the score is seen."""
    room = width - _size(font)  # the plate has an edge around the text
    if font.getlength(name + score) <= room:
        return name + score
    while len(name) > 1 and font.getlength(f"{name}...{score}") > room:
        name = name[:-1]
    return f"{name}...{score}"


def _outline(draw: ImageDraw.ImageDraw, box: Box, colour: str, width: int) -> None:
    """A coloured line along the box with a dark one around it, to be seen on light and on dark photos."""
    x1, y1, x2, y2 = _sorted(box)
    draw.rectangle((x1 - 1, y1 - 1, x2, y2), outline="#202020", width=width + 2)
    draw.rectangle((x1, y1, max(x1, x2 - 1), max(y1, y2 - 1)), outline=colour, width=width)


def _sorted(box: Box) -> tuple[int, int, int, int]:
    x1, y1, x2, y2 = (round(float(x)) for x in box)
    return min(x1, x2), min(y1, y2), max(x1, x2), max(y1, y2)


def _plate(
    draw: ImageDraw.ImageDraw, box: Box, text: str, colour: str, font: _Font, size: tuple[int, int]
) -> None:
    """The label on a plate of its colour: above the box, else inside its top, always inside the photo."""
    left, _, right, _ = draw.textbbox((0, 0), text, font=font)
    _, top, _, bottom = draw.textbbox((0, 0), "Ág", font=font)  # the same height for all labels
    pad = max(2, round((bottom - top) / 6))
    width, height = round(right - left) + 2 * pad, round(bottom - top) + 2 * pad
    x1, y1, _, _ = _sorted(box)
    x = min(max(x1 - 1, 0), max(size[0] - width, 0))
    y = y1 - height if y1 >= height else y1
    y = min(max(y, 0), max(size[1] - height, 0))
    draw.rectangle((x, y, x + width - 1, y + height - 1), fill=colour)
    draw.text((x + pad - left, y + pad - top), text, fill=_ink(colour), font=font)


def _ink(colour: str) -> str:
    """Black or white, whichever is easier to read on ``colour`` (luminance of ITU-R BT.601)."""
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return "#000000" if 0.299 * red + 0.587 * green + 0.114 * blue > 120 else "#FFFFFF"
