"""The two box conventions and the operators on them."""

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from glip_lightning.ops import box_arrays
from glip_lightning.ops import boxes as box_ops

coordinate = st.floats(0, 500, width=32)
side = st.floats(2, 400, width=32)


@st.composite
def xywh(draw: st.DrawFn) -> Tensor:
    rows = draw(st.lists(st.tuples(coordinate, coordinate, side, side), min_size=1, max_size=20))
    return torch.tensor(rows)


def corners(boxes: Tensor) -> Tensor:
    return torch.from_numpy(box_arrays.from_xywh(boxes.numpy()))


@given(xywh())
def test_annotated_boxes_are_what_torch_makes_of_them_bit_for_bit(boxes: Tensor) -> None:
    x, y, w, h = boxes.unbind(-1)
    assert torch.equal(corners(boxes), torch.stack([x, y, x + w - 1, y + h - 1], dim=-1))
    clipped = box_arrays.clip_to_images(corners(boxes).numpy(), np.array([240, 320]))
    assert torch.equal(torch.from_numpy(clipped), box_ops.clip_inclusive(corners(boxes), 240, 320))
    assert clipped.dtype == np.float32
    each = box_arrays.clip_to_images(corners(boxes).numpy(), np.array([[240, 320]] * len(boxes)))
    assert np.array_equal(each, clipped)
    assert box_arrays.nonempty(clipped).tolist() == [
        x2 > x1 and y2 > y1 for x1, y1, x2, y2 in clipped.tolist()
    ]


@given(xywh())
def test_a_box_survives_the_way_in_and_out(boxes: Tensor) -> None:
    x, y, w, h = boxes.unbind(-1)
    outside = box_ops.to_outside(corners(boxes), 1.0, 1.0)
    torch.testing.assert_close(outside, torch.stack([x, y, x + w, y + h], -1), rtol=1e-5, atol=1e-3)


@given(xywh())
def test_flipping_twice_changes_nothing(boxes: Tensor) -> None:
    boxes = corners(boxes)
    torch.testing.assert_close(
        box_ops.hflip(box_ops.hflip(boxes, 640), 640), boxes, rtol=1e-5, atol=1e-3
    )


@given(xywh())
def test_decoding_inverts_encoding(boxes: Tensor) -> None:
    boxes = corners(boxes)
    anchors = boxes.flip(0)
    ratio = (boxes[:, 2:] - boxes[:, :2] + 1) / (anchors[:, 2:] - anchors[:, :2] + 1)
    keep = ratio.amax(1) < 60  # beyond 62.5 the decoder limits sizes
    decoded = box_ops.decode(box_ops.encode(boxes, anchors), anchors)
    torch.testing.assert_close(decoded[keep], boxes[keep], rtol=1e-4, atol=1e-2)


def greedy_nms(boxes: Tensor, scores: Tensor, labels: Tensor, threshold: float) -> list[int]:
    """The definition, one box at a time."""
    kept: list[int] = []
    for i in scores.argsort(descending=True).tolist():
        same = [j for j in kept if labels[j] == labels[i]]
        if (
            not same
            or box_ops.iou_matrix(boxes[[i]].double(), boxes[same].double()).max() <= threshold
        ):
            kept.append(i)
    return sorted(kept)


@settings(deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 60), st.integers(1, 4))
def test_nms_is_greedy_per_class(seed: int, count: int, classes: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    corner = torch.rand(count, 2, generator=generator) * 30
    boxes = torch.cat([corner, corner + torch.rand(count, 2, generator=generator) * 30], 1)
    scores = torch.rand(count, generator=generator)
    labels = torch.randint(classes, (count,), generator=generator)
    assert box_ops.class_nms(boxes, scores, labels, 0.6).tolist() == greedy_nms(
        boxes, scores, labels, 0.6
    )


def test_nms_of_nothing() -> None:
    empty = torch.zeros(0, 4), torch.zeros(0), torch.zeros(0, dtype=torch.int64)
    assert box_ops.class_nms(*empty, 0.6).tolist() == []


def test_clip_keeps_boxes_on_pixels() -> None:
    boxes = torch.tensor([[-5.0, -5, 700, 500]])
    assert box_ops.clip_inclusive(boxes, height=480, width=640).tolist() == [[0, 0, 639, 479]]
