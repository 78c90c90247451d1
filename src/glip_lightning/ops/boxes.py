"""Boxes of the network: what knows the legacy "+1" pixel convention of the official code.

Two conventions meet here and in :mod:`.box_arrays`, nowhere else:

* *inclusive*: ``x1, y1, x2, y2`` where ``x2`` is the last pixel that belongs to the box, so that its
  width is ``x2 - x1 + 1``. Batches, anchors, assignment, losses and NMS use it in the input frame
  (pixels of the resized image), because the official numbers depend on it.
* *outside*: ``x1, y1, x2, y2`` with ``x2 = x1 + width``, in pixels of the original image: JSON files,
  the predictor, the evaluator.

Source: microsoft/GLIP structures/bounding_box.py, structures/boxlist_ops.py, modeling/rpn/vldyhead.py
(BoxCoder), modeling/rpn/loss.py (GIoU), csrc/cuda/ml_nms.cu.
"""

import math

import torch
from torch import Tensor
from torchvision.ops import batched_nms

CODER_WEIGHTS = (10.0, 10.0, 5.0, 5.0)
MAX_LOG_SCALE = math.log(1000.0 / 16)  # decoded boxes grow at most 62.5 times


def to_outside(boxes: Tensor, scale_w: float, scale_h: float) -> Tensor:
    """Inclusive boxes in the input frame [N, 4] -> outside boxes [N, 4] in the original frame.

    ``scale_*`` = original side / input side. As official: corners are scaled first, then the one pixel
    is added (data/datasets/evaluation/coco/coco_eval.py:129-157).
    """
    boxes = rescale(boxes, scale_w, scale_h)
    return boxes + boxes.new_tensor([0.0, 0.0, 1.0, 1.0])


def clip_outside(boxes: Tensor, height: int, width: int) -> Tensor:
    """Clip outside boxes [N, 4] to a ``height x width`` image; the official scaling can pass its border by 1."""
    return torch.minimum(boxes.clamp(min=0), boxes.new_tensor([width, height, width, height]))


def rescale(boxes: Tensor, scale_w: float, scale_h: float) -> Tensor:
    """Multiply corners [G, 4] by the side ratios, without any +1 (bounding_box.py:110-146)."""
    return boxes * boxes.new_tensor([scale_w, scale_h, scale_w, scale_h])


def hflip(boxes: Tensor, width: int) -> Tensor:
    """Mirror inclusive boxes [G, 4] in an image of ``width`` pixels: x' = width - x - 1."""
    x1, y1, x2, y2 = boxes.unbind(-1)
    return torch.stack([width - x2 - 1, y1, width - x1 - 1, y2], dim=-1)


def clip_inclusive(boxes: Tensor, height: int, width: int) -> Tensor:
    """Clip inclusive boxes [N, 4] to the pixels of a ``height x width`` image."""
    x = boxes[..., 0::2].clamp(0, width - 1)
    y = boxes[..., 1::2].clamp(0, height - 1)
    return torch.stack([x[..., 0], y[..., 0], x[..., 1], y[..., 1]], dim=-1)


def centers(boxes: Tensor) -> Tensor:
    """Centre points [N, 2] (x, y); the convention of the corners drops out."""
    return (boxes[..., :2] + boxes[..., 2:]) / 2


def area(boxes: Tensor) -> Tensor:
    """Pixel count [N] of inclusive boxes [N, 4]."""
    return (boxes[..., 2] - boxes[..., 0] + 1) * (boxes[..., 3] - boxes[..., 1] + 1)


def iou_matrix(a: Tensor, b: Tensor) -> Tensor:
    """IoU [N, M] of inclusive boxes [N, 4] and [M, 4] (boxlist_ops.py:118-131)."""
    top_left = torch.maximum(a[:, None, :2], b[None, :, :2])
    bottom_right = torch.minimum(a[:, None, 2:], b[None, :, 2:])
    inter = (bottom_right - top_left + 1).clamp(min=0).prod(-1)
    return inter / (area(a)[:, None] + area(b)[None] - inter)


def giou(pred: Tensor, target: Tensor) -> Tensor:
    """Elementwise generalised IoU [N] of boxes [N, 4]; here, as official, *without* the +1.

    Predictions are made non-degenerate first (x2 >= x1, y2 >= y1) (loss.py:610-651).
    """
    eps = 1e-7
    pred = torch.cat([pred[:, :2], torch.maximum(pred[:, 2:], pred[:, :2])], dim=1)
    inter_size = torch.minimum(pred[:, 2:], target[:, 2:]) - torch.maximum(
        pred[:, :2], target[:, :2]
    )
    inter = inter_size.clamp(min=0).prod(-1)
    union = (pred[:, 2:] - pred[:, :2]).prod(-1) + (target[:, 2:] - target[:, :2]).prod(-1) - inter
    hull = (
        torch.maximum(pred[:, 2:], target[:, 2:]) - torch.minimum(pred[:, :2], target[:, :2])
    ).prod(-1)
    iou = inter / (union + eps)
    return iou - (hull - union) / (hull + eps)


def encode(boxes: Tensor, anchors: Tensor) -> Tensor:
    """Deltas [N, 4] (dx, dy, dw, dh) that turn inclusive ``anchors`` [N, 4] into ``boxes`` [N, 4]."""
    anchor_size = anchors[:, 2:] - anchors[:, :2] + 1
    box_size = boxes[:, 2:] - boxes[:, :2] + 1
    shift = (centers(boxes) - centers(anchors)) / anchor_size
    weights = boxes.new_tensor(CODER_WEIGHTS)
    return torch.cat([shift, torch.log(box_size / anchor_size)], dim=1) * weights


def decode(deltas: Tensor, anchors: Tensor) -> Tensor:
    """Inverse of :func:`encode`; sizes are limited to 62.5 times the anchor's."""
    deltas = deltas / deltas.new_tensor(CODER_WEIGHTS)
    anchor_size = anchors[:, 2:] - anchors[:, :2] + 1
    center = deltas[:, :2] * anchor_size + centers(anchors)
    size = deltas[:, 2:].clamp(max=MAX_LOG_SCALE).exp() * anchor_size
    half = 0.5 * (size - 1)
    return torch.cat([center - half, center + half], dim=1)


def class_nms(boxes: Tensor, scores: Tensor, labels: Tensor, threshold: float) -> Tensor:
    """Indices (ascending) of the inclusive boxes [N, 4] that greedy per-class NMS keeps.

    A box is suppressed by a better one of its class if their +1 IoU *exceeds* ``threshold``
    (ml_nms.cu:13-24, 64-68, 131-135). Adding the one pixel to the far corners makes torchvision's IoU
    that of the inclusive convention; float64 keeps its per-class coordinate offsets from eating digits.
    """
    device = (
        torch.device("cpu") if boxes.device.type == "mps" else boxes.device
    )  # MPS has no float64
    outside = boxes.to(device).double() + torch.tensor([0.0, 0.0, 1.0, 1.0], device=device)
    keep = batched_nms(outside, scores.to(device).double(), labels.to(device), threshold)
    return keep.sort().values.to(boxes.device)
