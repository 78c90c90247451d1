"""Boxes with their labels on a photo."""

from collections.abc import Sequence
from contextlib import suppress
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from glip_lightning.common.errors import GLIPError
from glip_lightning.common.escaping import printable

COLOURS = ("#E69F00", "#56B4E9", "#009E73", "#F0E442", "#0072B2", "#D55E00", "#CC79A7")
"""Okabe and Ito's colours (2008), distinct also for colour-blind readers; black is left out."""

TRUTH_COLOUR = "#FF00FF"
"""Magenta: photos seldom have it, and it is seen on bright photos, where white is not."""

OTHER_FONTS = (
    "DejaVuSans.ttf",
    "NotoSansCJK-Regular.ttc",
    "wqy-microhei.ttc",
    "wqy-zenhei.ttc",
    "msyh.ttc",
    "simhei.ttf",
    "malgun.ttf",
    "PingFang.ttc",
    "Arial Unicode.ttf",
)
"""Fonts for letters that the usual font lacks: accents, Cyrillic, Chinese, Japanese, Korean."""

NO_LETTER = "\U0010ffff"
"""A character that no font has: its picture is that of all missing letters."""

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

Box = Sequence[float]
"""Outside corners x1, y1, x2, y2 in pixels of the picture."""

Rectangle = tuple[int, int, int, int]
"""Corners x1, y1, x2, y2 in pixels; x2 and y2 lie just outside."""

LINES = (0, 1, -1, 2, -2, 3, -3)
"""By how many lines a label may move down, in the order in which places are tried."""


def draw_boxes(
    image: Image.Image,
    boxes: Sequence[Box],
    labels: Sequence[str],
    scores: Sequence[float] | None = None,
    truth: Sequence[Box] | None = None,
    classes: Sequence[str] | None = None,
) -> Image.Image:
    """Return a copy of a picture with boxes and their labels; lines and text grow with the picture.

    Args:
        image: the picture, in any mode; the copy is RGB.
        boxes: outside corners x1, y1, x2, y2 in pixels of the picture, as of a ``Prediction``.
        labels: the name of each box.
        scores: the score of each box, 0 to 1, drawn in percent. The box with the best score is
            drawn last, on top.
        truth: boxes of the ground truth, drawn thin and in magenta.
        classes: all class names: every class keeps its colour from picture to picture. Without
            them, colours go by the first appearance of a label.

    Raises:
        GLIPError: not one label, or not one score, per box (code ``bad-value``).
    """
    count = len(boxes)
    scored = count if scores is None else len(scores)
    if not count == len(labels) == scored:
        counts = f"{count} boxes, {len(labels)} labels, {scored} scores"
        raise GLIPError(f"{counts}: give one label and one score per box", code="bad-value")
    names = list(dict.fromkeys([*(classes or ()), *labels]))
    colours = [COLOURS[names.index(label) % len(COLOURS)] for label in labels]
    order = list(range(count))  # of drawing
    if scores is not None:
        order.sort(key=lambda i: scores[i])
    canvas = image.convert("RGB")
    draw = ImageDraw.Draw(canvas)
    unit = max(1, round(min(canvas.size) / 200))  # line width; 2 at 400 pixels
    usual_font = ImageFont.load_default(size=max(11, 5 * unit + 3))
    # once per class, not per box: each letter is drawn to see whether the font has it
    font_of = {label: _font_for(label, usual_font) for label in dict.fromkeys(labels)}
    name_of = {label: _with_escapes(printable(label), font) for label, font in font_of.items()}
    fonts = [font_of[label] for label in labels]
    texts = []
    for i, label in enumerate(labels):
        score = "" if scores is None else f" {100 * scores[i]:.0f}%"
        texts.append(_shortened(name_of[label], score, fonts[i], canvas.width))
    for box in truth or ():
        _draw_outline(draw, box, TRUTH_COLOUR, max(1, unit // 2))
    for i in order:
        _draw_outline(draw, boxes[i], colours[i], unit)
    choosing = order if scores is None else order[::-1]  # the best score takes the best place
    sizes = [_plate_size(draw, texts[i], fonts[i]) for i in choosing]
    places = place_labels([boxes[i] for i in choosing], sizes, canvas.size)
    place_of = dict(zip(choosing, places, strict=True))
    for i in order:  # after all boxes, so that no line crosses a label
        _draw_plate(draw, place_of[i], texts[i], colours[i], fonts[i])
    return canvas


def _font_for(text: str, usual: Font) -> Font:
    """Return the usual font, or if it lacks a letter of the text, another font of this machine.

    If no font has all letters, it is the usual font.
    """
    if not _missing_letters(text, usual):
        return usual
    for name in OTHER_FONTS:
        font = _load_font(name, _font_size(usual))
        if font is not None and not _missing_letters(text, font):
            return font
    return usual


@lru_cache
def _load_font(name: str, size: float) -> ImageFont.FreeTypeFont | None:
    """Return a font of the system or of matplotlib by its file, None if there is no such file."""
    files = [name]
    matplotlib = find_spec("matplotlib")  # an import would take long
    if matplotlib is not None:
        places = matplotlib.submodule_search_locations or ()
        files += [str(Path(place, "mpl-data", "fonts", "ttf", name)) for place in places]
    for file in files:
        with suppress(OSError):
            return ImageFont.truetype(file, size)
    return None


def _missing_letters(text: str, font: Font) -> set[str]:
    """Return the letters that a font has no picture of."""
    missing = _picture_of(NO_LETTER, font)
    letters = {letter for letter in text if not letter.isspace()}
    return {letter for letter in letters if _picture_of(letter, font) == missing}


def _picture_of(letter: str, font: Font) -> bytes:
    side = 2 * round(_font_size(font))
    image = Image.new("L", (side, side))
    ImageDraw.Draw(image).text((0, 0), letter, fill=255, font=font)
    return image.tobytes()


def _font_size(font: Font) -> float:
    """Return the height of a font in pixels."""
    return font.size if isinstance(font, ImageFont.FreeTypeFont) else 11


def _with_escapes(name: str, font: Font) -> str:
    r"""Return a name in which letters that the font lacks are escaped (``\u6d63``)."""
    missing = _missing_letters(name, font)
    return "".join(ascii(letter)[1:-1] if letter in missing else letter for letter in name)


def _shortened(name: str, score: str, font: Font, width: int) -> str:
    """Return name and score; a name that is too long for the picture is cut, the score is not."""
    room = width - _font_size(font)  # the plate has an edge around the text
    if font.getlength(name + score) <= room:
        return name + score
    while len(name) > 1 and font.getlength(f"{name}...{score}") > room:
        name = name[:-1]
    return f"{name}...{score}"


def place_labels(
    boxes: Sequence[Box], sizes: Sequence[tuple[int, int]], picture: tuple[int, int]
) -> list[Rectangle]:
    """Return the place of the label of each box; all labels lie inside the picture.

    A label lies above its box, else inside the top of the box. If it would cover the label of an
    earlier box, it moves to the right end of the box, or up or down by some lines. If there is no
    room, it stays where it is.

    Args:
        boxes: outside corners in pixels of the picture.
        sizes: width and height of each label, in pixels.
        picture: width and height of the picture, in pixels.
    """
    placed: list[Rectangle] = []
    for box, size in zip(boxes, sizes, strict=True):
        candidates = _label_candidates(box, size, picture)
        free = (place for place in candidates if not _covers_any(place, placed))
        placed.append(next(free, candidates[0]))
    return placed


def _label_candidates(box: Box, size: tuple[int, int], picture: tuple[int, int]) -> list[Rectangle]:
    """Return the places inside the picture where the label of a box may lie, the best one first."""
    width, height = size
    x1, y1, x2, _ = _sorted_corners(box)
    last_x, last_y = max(picture[0] - width, 0), max(picture[1] - height, 0)
    left = min(max(x1 - 1, 0), last_x)
    right = min(max(x2 - width, 0), last_x)
    above_or_inside = y1 - height if y1 >= height else y1
    best = min(max(above_or_inside, 0), last_y)
    found = []
    for lines in LINES:
        y = best + lines * height
        if 0 <= y <= last_y:
            found += [(x, y, x + width, y + height) for x in (left, right)]
    return found


def _covers_any(place: Rectangle, others: Sequence[Rectangle]) -> bool:
    x1, y1, x2, y2 = place
    return any(x1 < b[2] and b[0] < x2 and y1 < b[3] and b[1] < y2 for b in others)


def _draw_outline(draw: ImageDraw.ImageDraw, box: Box, colour: str, width: int) -> None:
    """Draw a coloured line along the box, with a dark line around it.

    The dark line is seen on light photos, the coloured line on dark ones.
    """
    x1, y1, x2, y2 = _sorted_corners(box)
    draw.rectangle((x1 - 1, y1 - 1, x2, y2), outline="#202020", width=width + 2)
    draw.rectangle((x1, y1, max(x1, x2 - 1), max(y1, y2 - 1)), outline=colour, width=width)


def _sorted_corners(box: Box) -> tuple[int, int, int, int]:
    x1, y1, x2, y2 = (round(float(x)) for x in box)
    return min(x1, x2), min(y1, y2), max(x1, x2), max(y1, y2)


def _line_of_text(draw: ImageDraw.ImageDraw, font: Font) -> tuple[float, int, int]:
    """Return the top of a line of text, its height and the padding around it, in pixels."""
    _, top, _, bottom = draw.textbbox((0, 0), "Ág", font=font)  # the same height for all labels
    return top, round(bottom - top), max(2, round((bottom - top) / 6))


def _plate_size(draw: ImageDraw.ImageDraw, text: str, font: Font) -> tuple[int, int]:
    """Return width and height of a label with its padding, in pixels."""
    left, _, right, _ = draw.textbbox((0, 0), text, font=font)
    _, height, padding = _line_of_text(draw, font)
    return round(right - left) + 2 * padding, height + 2 * padding


def _draw_plate(
    draw: ImageDraw.ImageDraw, place: Rectangle, text: str, colour: str, font: Font
) -> None:
    """Draw the label on a plate of its colour."""
    x1, y1, x2, y2 = place
    left = draw.textbbox((0, 0), text, font=font)[0]
    top, _, padding = _line_of_text(draw, font)
    draw.rectangle((x1, y1, x2 - 1, y2 - 1), fill=colour)
    start = (x1 + padding - left, y1 + padding - top)
    draw.text(start, text, fill=_text_colour(colour), font=font)


def _text_colour(colour: str) -> str:
    """Return black or white: the one that is easier to read on ``colour`` (``#RRGGBB``).

    The luminance is that of ITU-R BT.601.
    """
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    luminance = 0.299 * red + 0.587 * green + 0.114 * blue
    return "#000000" if luminance > 120 else "#FFFFFF"
