"""Augmented photos: boxes follow their pixels, and all depends on (seed, epoch, index)."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from glip_lightning.common.errors import GLIPError
from glip_lightning.data.augment import GONE, KEPT, STRENGTHS, Augment, AugmentName
from glip_lightning.ops.boxes import area

NAMES: list[AugmentName] = [*STRENGTHS]


def painted(height: int, width: int, boxes: torch.Tensor) -> Image.Image:
    """A black photo whose boxes [G, 4] are filled, box g with the red value 255 - g."""
    pixels = np.zeros((height, width, 3), np.uint8)
    for number, (x1, y1, x2, y2) in enumerate(boxes.int().tolist()):
        pixels[y1 : y2 + 1, x1 : x2 + 1, 0] = 255 - number
    return Image.fromarray(pixels)


@pytest.mark.parametrize("name", NAMES)
def test_boxes_are_where_their_pixels_are(name: AugmentName) -> None:
    # apart from each other
    boxes = torch.tensor([[5.0, 8, 24, 27], [60, 10, 99, 49], [30, 55, 33, 58]])
    photo = painted(60, 100, boxes)
    augment, seen = Augment(name), set()
    for index in range(200):
        view = augment.view(60, 100, boxes, 0, index)
        red = np.array(view.pixels(photo))[:, :, 0]
        assert red.shape == (view.height, view.width)
        expected = []
        for number in range(len(boxes)):
            rows, columns = (red == 255 - number).nonzero()
            visible = len(rows) / float(area(boxes[number : number + 1]))
            kept = bool(view.kept[number])
            assert visible >= KEPT if kept else visible <= GONE
            if kept:
                expected.append([columns.min(), rows.min(), columns.max(), rows.max()])
        assert view.boxes(boxes).tolist() == expected
        seen.add((view.width > 100, view.width < 100, len(expected)))
    assert {bigger for bigger, _, _ in seen} == {smaller for _, smaller, _ in seen} == {True, False}
    assert (
        {count for _, _, count in seen} == {1, 2, 3}
        if name == "strong"
        else {3} <= {n for _, _, n in seen}
    )


@given(st.integers(1, 60), st.integers(1, 60), st.integers(0, 2**31), st.integers(0, 4))
def test_no_box_leaves_the_picture_and_one_stays(
    height: int, width: int, index: int, count: int
) -> None:
    corners = np.random.default_rng(index).random((count, 2, 2)) * [width - 1, height - 1]
    corners.sort(axis=1)
    boxes = torch.from_numpy(corners.reshape(count, 4)).float()
    boxes = boxes[(boxes[:, 2:] > boxes[:, :2]).all(-1)]  # as data sets give them
    view = Augment("strong").view(height, width, boxes, 0, index)
    found = view.boxes(boxes)
    assert len(found) == int(view.kept.sum()) >= min(1, len(boxes))
    assert (found[:, :2] >= 0).all()
    assert (found[:, 2:] > found[:, :2]).all()
    assert (found[:, 2:] <= torch.tensor([view.width - 1, view.height - 1])).all()
    photo = Image.new("RGB", (width, height))
    assert view.pixels(photo).size == (view.width, view.height)


def test_what_lies_beyond_a_photo_has_its_mean_colour() -> None:
    pixels = np.zeros((20, 30, 3), np.uint8)
    pixels[:, :15] = (200, 100, 50)
    augment = Augment("strong")
    views = [augment.view(20, 30, torch.zeros(0, 4), 0, index) for index in range(40)]
    view = next(view for view in views if view.x < 0 and view.y < 0)
    assert np.array(view.pixels(Image.fromarray(pixels)))[0, 0].tolist() == [100, 50, 25]


def test_a_view_that_cuts_a_box_is_drawn_anew() -> None:
    """Boxes are so close that any border cuts some; most of each box is in every view."""
    corners = torch.from_numpy(np.random.default_rng(0).integers(0, 360, (1000, 2))).float()
    boxes = torch.cat([corners, corners + 39], dim=1)
    views = [Augment("strong").view(400, 400, boxes, 0, index) for index in range(20)]
    assert all(view.kept.all() for view in views)
    assert len({(view.width, view.height) for view in views}) > 10


def test_all_is_drawn_from_seed_epoch_and_index() -> None:
    boxes = torch.tensor([[10.0, 10, 40, 40]])
    image = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (3, 8, 9), dtype=np.uint8))

    def drawn(seed: int, epoch: int, index: int) -> tuple:
        augment = Augment("strong", seed)
        view = augment.view(50, 80, boxes, epoch, index)
        return (
            view.x,
            view.y,
            view.width,
            view.height,
            augment.recolour(image, epoch, index).numpy().tobytes(),
        )

    keys = [(seed, epoch, index) for seed in range(3) for epoch in range(3) for index in range(3)]
    assert [drawn(*key) for key in keys] == [drawn(*key) for key in reversed(keys)][::-1]
    assert len({drawn(*key) for key in keys}) == len(keys)


@pytest.mark.parametrize("name", NAMES)
def test_colours_change_within_their_bounds(name: AugmentName) -> None:
    image = torch.full((3, 4, 5), 120, dtype=torch.uint8)
    means = []
    for index in range(100):
        changed = Augment(name).recolour(image, 0, index)
        assert changed.shape == image.shape
        assert changed.dtype == torch.uint8
        means.append(float(changed.float().mean()))
    by = STRENGTHS[name].brightness
    assert 120 * (1 - by) - 4 <= min(means) < 115  # each of four changes rounds down
    assert 125 < max(means) <= 120 * (1 + by)


def test_an_unknown_strength_is_refused() -> None:
    with pytest.raises(GLIPError) as error:
        Augment("mild")  # pyrefly: ignore
    assert error.value.code == "bad-value"
