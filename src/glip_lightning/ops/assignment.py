"""ATSS: which anchors are trained to find which ground-truth box.

Source: microsoft/GLIP modeling/rpn/loss.py:720-779 (Zhang et al. 2020, arXiv 1912.02424).
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from glip_lightning.ops import boxes as box_ops

CANDIDATES_PER_LEVEL = 9  # MODEL.ATSS.TOPK
MIN_INSIDE = 0.01  # pixels between an anchor's centre and the border of its box


def assign(anchors: Tensor, level_counts: Sequence[int], boxes: Tensor) -> Tensor:
    """Return the index [N] of the box that each anchor is positive for, -1 for negatives.

    For each box, the nine nearest anchors of every level are candidates. A candidate is positive if
    its centre lies inside the box and its IoU reaches the mean plus the standard deviation of the
    candidates' IoUs. An anchor that several boxes claim goes to the box with the best IoU. Without
    boxes every anchor is negative (the official code raises).

    Args:
        anchors: [N, 4] inclusive, in the frame of the boxes.
        level_counts: number of anchors of each pyramid level; they sum to N.
        boxes: [G, 4] inclusive.
    """
    if len(boxes) == 0:
        return torch.full((len(anchors),), -1, dtype=torch.int64, device=anchors.device)
    iou = box_ops.iou_matrix(anchors, boxes)  # [N, G]
    candidates = _nearest(anchors, level_counts, boxes)  # [K, G]
    candidate_iou = iou.gather(0, candidates)
    threshold = candidate_iou.mean(0) + candidate_iou.std(0)  # unbiased
    inside = _centers_inside(anchors, boxes).gather(0, candidates)
    positive = (candidate_iou >= threshold) & inside
    claims = torch.where(positive, candidate_iou, -1.0)
    claimed = torch.full_like(iou, -1.0).scatter(0, candidates, claims)  # [N, G]
    best, index = claimed.max(dim=1)
    return torch.where(best >= 0, index, -1)


def _nearest(anchors: Tensor, level_counts: Sequence[int], boxes: Tensor) -> Tensor:
    """Return the indices [K, G] of the anchors with the nearest centres, up to nine per level."""
    offset = box_ops.centers(anchors)[:, None] - box_ops.centers(boxes)[None]
    distance = offset.pow(2).sum(-1).sqrt()  # [N, G]
    found = []
    start = 0
    for count in level_counts:
        level = distance[start : start + count]
        nearest = level.topk(min(CANDIDATES_PER_LEVEL, count), dim=0, largest=False).indices
        found.append(nearest + start)
        start += count
    return torch.cat(found)


def _centers_inside(anchors: Tensor, boxes: Tensor) -> Tensor:
    """Return the mask [N, G] of anchors whose centre is inside the box by over 0.01 pixels."""
    center = box_ops.centers(anchors)[:, None]
    margin = torch.cat([center - boxes[None, :, :2], boxes[None, :, 2:] - center], dim=-1)
    return margin.amin(-1) > MIN_INSIDE
