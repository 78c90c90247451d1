"""Labelled boxes: where they are, in which colours, and inside the picture."""

import re

import numpy as np
import pytest
from PIL import Image, ImageColor

from glip_lightning.common.errors import GLIPError
from glip_lightning.inference.drawing import COLOURS, TRUTH_COLOUR, draw_boxes, place_labels

BACKGROUND = (90, 100, 110)


def photo(width: int = 400, height: int = 400) -> Image.Image:
    return Image.new("RGB", (width, height), BACKGROUND)


def pixels_of(image: Image.Image, colour: str) -> np.ndarray:
    """Mask of the pixels of exactly ``colour``."""
    return (np.asarray(image) == ImageColor.getrgb(colour)).all(-1)


def test_the_photo_itself_is_not_changed() -> None:
    image = photo()
    drawn = draw_boxes(image, [(100, 100, 200, 200)], ["dog"])
    assert image.getextrema() == tuple((c, c) for c in BACKGROUND)
    assert drawn.getextrema() != image.getextrema()
    assert np.array_equal(np.asarray(draw_boxes(image, [], [])), np.asarray(image))


def test_the_line_follows_the_box() -> None:
    seen = pixels_of(draw_boxes(photo(), [(100, 150, 200, 250)], ["dog"]), COLOURS[0])
    assert seen[150, 100:200].sum() >= 95  # the top line
    assert seen[150:250, 100].all()
    assert seen[249, 100:200].all()
    assert seen[150:250, 199].all()
    assert not seen[155:245, 105:195].any()
    assert not seen[250:].any()


def test_each_class_has_its_colour() -> None:
    boxes = [(50, 50, 90, 90), (150, 150, 190, 190), (250, 250, 290, 290)]
    drawn = draw_boxes(photo(), boxes, ["dog", "cat", "dog"])
    assert pixels_of(drawn, COLOURS[0])[250:290, 250].all()
    assert pixels_of(drawn, COLOURS[1])[150:190, 150].all()
    alone = draw_boxes(photo(), boxes[1:2], ["cat"], classes=["dog", "cat"])
    assert pixels_of(alone, COLOURS[1])[150:190, 150].all()  # the same without a dog in the picture


@pytest.mark.parametrize(
    "box", [(-40, -40, 30, 30), (380, 380, 480, 480), (0, 0, 400, 400), (390, 5, 399, 9)]
)
def test_labels_stay_inside(box: tuple[int, ...]) -> None:
    """The plate is wholly visible: as many pixels as that of the same label in the middle."""
    label = ["traffic light"]
    middle = pixels_of(draw_boxes(photo(), [(200, 200, 201, 201)], label), COLOURS[0]).sum()
    assert pixels_of(draw_boxes(photo(), [box], label), COLOURS[0]).sum() >= 0.95 * middle


def test_the_best_score_lies_on_top() -> None:
    boxes = [(100, 100, 200, 200), (100, 100, 200, 200)]
    drawn = draw_boxes(photo(), boxes, ["dog", "cat"], scores=[0.9, 0.4])
    assert pixels_of(drawn, COLOURS[0])[150, 100]


@pytest.mark.parametrize("scores", [None, [0.9, 0.4], [0.4, 0.9]])
def test_labels_of_one_object_do_not_cover_each_other(scores: list[float] | None) -> None:
    """Two phrases on one box: as many pixels of each plate are seen as of the same label alone."""
    names, box = ["dog", "small animal"], (100, 100, 200, 200)
    drawn = draw_boxes(photo(), [box, box], names, scores)
    for place, name in enumerate(names):
        score = None if scores is None else [scores[place]]
        apart = draw_boxes(photo(), [(300, 300, 301, 301)], [name], score, classes=names)
        plate = pixels_of(apart, COLOURS[place]).sum()
        assert pixels_of(drawn, COLOURS[place]).sum() >= 0.95 * plate


def rectangles_overlap(a: tuple[int, ...], b: tuple[int, ...]) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


@pytest.mark.parametrize(
    "boxes",
    [
        [(100, 100, 200, 200)] * 7,
        [(0, 0, 400, 400)] * 4,
        [(5, 3, 60, 30), (10, 8, 70, 40), (0, 380, 50, 400), (2, 379, 60, 399)],
        [(-30, -20, 20, 20), (390, 390, 450, 450), (380, 395, 400, 400)],
    ],
)
def test_labels_take_places_of_their_own_inside_the_picture(boxes: list[tuple[int, ...]]) -> None:
    size = (60, 20)
    places = place_labels(boxes, [size] * len(boxes), (400, 400))
    for i, place in enumerate(places):
        assert (place[2] - place[0], place[3] - place[1]) == size
        assert min(place) >= 0
        assert max(place) <= 400
        assert not any(rectangles_overlap(place, other) for other in places[:i])


def test_a_label_alone_lies_above_its_box_and_stays_there_without_room() -> None:
    boxes = [(100, 100, 200, 200), (300, 20, 350, 60)]
    assert place_labels(boxes, [(60, 20)] * 2, (400, 400)) == [
        (99, 80, 159, 100),
        (299, 0, 359, 20),
    ]
    crowded = place_labels([(0, 0, 60, 20)] * 3, [(60, 20)] * 3, (60, 40))
    assert crowded == [(0, 0, 60, 20), (0, 20, 60, 40), (0, 0, 60, 20)]


def test_lines_and_text_grow_with_the_photo() -> None:
    small, large = (
        draw_boxes(photo(s, s), [(0.3 * s, 0.3 * s, 0.6 * s, 0.6 * s)], ["dog"])
        for s in (400, 2000)
    )
    shares = [pixels_of(image, COLOURS[0]).mean() for image in (small, large)]
    assert shares[0] == pytest.approx(shares[1], rel=0.25)


def test_a_long_label_keeps_its_score() -> None:
    """The plate stays in the photo, and another score is another picture."""
    label = "a person in a red jacket who rides a very old bicycle along the street"
    boxes = [(100, 100, 200, 200)]
    one, other = (draw_boxes(photo(300, 300), boxes, [label], [score]) for score in (0.87, 0.31))
    assert not np.array_equal(np.asarray(one), np.asarray(other))
    short = draw_boxes(photo(300, 300), boxes, ["person"], [0.87])
    assert pixels_of(one, COLOURS[0]).sum() > pixels_of(short, COLOURS[0]).sum()


@pytest.mark.parametrize(
    "pair",
    [("\u00d6l", "\u00c5l"), ("\u043a\u043e\u0442", "\u043a\u0438\u0442"), ("\u6d63", "\u72d7")],
)
def test_letters_that_the_usual_font_lacks_are_told_apart(pair: tuple[str, str]) -> None:
    """From another font of this machine, else as their numbers; an empty square says nothing."""
    one, other = (draw_boxes(photo(), [(100, 100, 300, 300)], [name]) for name in pair)
    assert not np.array_equal(np.asarray(one), np.asarray(other))


def test_truth_and_odd_boxes() -> None:
    drawn = draw_boxes(
        photo(), [(50, 50, 50, 50), (90, 80, 60, 70)], ["dog", "dog"], truth=[(10, 10, 60, 60)]
    )
    assert pixels_of(drawn, TRUTH_COLOUR)[10:60, 10].all()


def test_grey_photos_become_coloured() -> None:
    assert draw_boxes(Image.new("L", (50, 50)), [(5, 5, 20, 20)], ["dog"]).mode == "RGB"


def test_lengths_have_to_agree() -> None:
    with pytest.raises(GLIPError) as caught:
        draw_boxes(photo(), [(1, 2, 3, 4)], ["dog", "cat"])
    assert caught.value.code == "bad-value"
    assert re.findall(r"\d+", str(caught.value)) == ["1", "2", "1"]  # boxes, labels, scores
