"""Operations on boxes as tensors, with the legacy "+1" pixel convention of the official code.

Two conventions meet here and in :mod:`.box_arrays`, nowhere else:

* *inclusive*: ``x1, y1, x2, y2`` where ``x2`` is the last pixel that belongs to the box, so that
  its width is ``x2 - x1 + 1``. Batches, anchors, assignment, losses and NMS use it in the input
  frame (pixels of the resized image), because the official numbers depend on it.
* *outside*: ``x1, y1, x2, y2`` with ``x2 = x1 + width``, in pixels of the original image. JSON
  files, the predictor and the evaluator use it.

Source: microsoft/GLIP structures/bounding_box.py, structures/boxlist_ops.py,
modeling/rpn/vldyhead.py (BoxCoder), modeling/rpn/loss.py (GIoU), csrc/cuda/ml_nms.cu.
"""

import math

import torch
from torch import Tensor
from torchvision.ops import batched_nms

CODER_WEIGHTS = (10.0, 10.0, 5.0, 5.0)
MAX_LOG_SCALE = math.log(1000.0 / 16)  # decoded boxes grow at most 62.5 times


def to_outside(boxes: Tensor, scale_w: float, scale_h: float) -> Tensor:
    """Turn inclusive boxes [N, 4] of the input frame into outside boxes of the original frame.

    ``scale_*`` = original side / input side. As in the official code, the corners are scaled first,
    then the one pixel is added (data/datasets/evaluation/coco/coco_eval.py:129-157).
    """
    boxes = rescale(boxes, scale_w, scale_h)
    return boxes + boxes.new_tensor([0.0, 0.0, 1.0, 1.0])


def clip_outside(boxes: Tensor, height: int, width: int) -> Tensor:
    """Clip outside boxes [N, 4] to a ``height x width`` image.

    The official scaling can pass the border of the image by one pixel.
    """
    border = boxes.new_tensor([width, height, width, height])
    return torch.minimum(boxes.clamp(min=0), border)


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
    """Return the centres [N, 2] (x, y) of boxes [N, 4].

    Differences of centres are the same in both conventions.
    """
    return (boxes[..., :2] + boxes[..., 2:]) / 2


def area(boxes: Tensor) -> Tensor:
    """Return the number of pixels [N] of inclusive boxes [N, 4]."""
    return (boxes[..., 2] - boxes[..., 0] + 1) * (boxes[..., 3] - boxes[..., 1] + 1)


def iou_matrix(a: Tensor, b: Tensor) -> Tensor:
    """Return the IoU [N, M] of inclusive boxes [N, 4] and [M, 4] (boxlist_ops.py:118-131)."""
    top_left = torch.maximum(a[:, None, :2], b[None, :, :2])
    bottom_right = torch.minimum(a[:, None, 2:], b[None, :, 2:])
    inter = (bottom_right - top_left + 1).clamp(min=0).prod(-1)
    return inter / (area(a)[:, None] + area(b)[None] - inter)


def giou(pred: Tensor, target: Tensor) -> Tensor:
    """Return the generalised IoU [N] of each box of ``pred`` [N, 4] with that of ``target`` [N, 4].

    As in the official code, this is computed *without* the +1. Predictions get x2 >= x1 and y2 >=
    y1 first (loss.py:610-651).
    """
    eps = 1e-7
    pred_near = pred[:, :2]
    pred_far = torch.maximum(pred[:, 2:], pred_near)
    near, far = target[:, :2], target[:, 2:]
    inter_size = torch.minimum(pred_far, far) - torch.maximum(pred_near, near)
    inter = inter_size.clamp(min=0).prod(-1)
    union = (pred_far - pred_near).prod(-1) + (far - near).prod(-1) - inter
    hull = (torch.maximum(pred_far, far) - torch.minimum(pred_near, near)).prod(-1)
    iou = inter / (union + eps)
    return iou - (hull - union) / (hull + eps)


def encode(boxes: Tensor, anchors: Tensor) -> Tensor:
    """Return the deltas [N, 4] (dx, dy, dw, dh) from ``anchors`` to ``boxes``, inclusive [N, 4]."""
    anchor_size = anchors[:, 2:] - anchors[:, :2] + 1
    box_size = boxes[:, 2:] - boxes[:, :2] + 1
    shift = (centers(boxes) - centers(anchors)) / anchor_size
    weights = boxes.new_tensor(CODER_WEIGHTS)
    return torch.cat([shift, torch.log(box_size / anchor_size)], dim=1) * weights


def decode(deltas: Tensor, anchors: Tensor) -> Tensor:
    """Return the inclusive boxes [N, 4] of deltas [N, 4], the inverse of :func:`encode`.

    A box is at most 62.5 times as wide and as high as its anchor.
    """
    deltas = deltas / deltas.new_tensor(CODER_WEIGHTS)
    anchor_size = anchors[:, 2:] - anchors[:, :2] + 1
    center = deltas[:, :2] * anchor_size + centers(anchors)
    size = deltas[:, 2:].clamp(max=MAX_LOG_SCALE).exp() * anchor_size
    half = 0.5 * (size - 1)
    return torch.cat([center - half, center + half], dim=1)


def class_nms(boxes: Tensor, scores: Tensor, labels: Tensor, threshold: float) -> Tensor:
    """Return the indices, ascending, of the boxes that greedy NMS within each class keeps.

    A box is suppressed if a better one of its class has a +1 IoU with it that *exceeds*
    ``threshold`` (ml_nms.cu:13-24, 64-68, 131-135). One pixel is added to the far corners, so that
    the IoU of torchvision is that of the inclusive convention. torchvision shifts the boxes of each
    class by an offset; in float64 this costs no digits.

    Args:
        boxes: inclusive [N, 4].
        scores: [N].
        labels: [N] class indices.
        threshold: the largest IoU of two boxes of a class that are both kept.
    """
    device = boxes.device
    if device.type == "mps":  # it has no float64
        device = torch.device("cpu")
    outside = boxes.to(device).double() + torch.tensor([0.0, 0.0, 1.0, 1.0], device=device)
    keep = batched_nms(outside, scores.to(device).double(), labels.to(device), threshold)
    return keep.sort().values.to(boxes.device)
