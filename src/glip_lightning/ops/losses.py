"""The training loss: token focal loss, GIoU and centerness over ATSS assignments.

Source: microsoft/GLIP modeling/rpn/loss.py:517-1199, layers/sigmoid_focal_loss.py:130-171.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor

from glip_lightning.ops import boxes as box_ops
from glip_lightning.ops.assignment import assign
from glip_lightning.ops.dense_outputs import MAX_TOKENS, DenseOutputs

BOX_WEIGHT = 2.0  # MODEL.DYHEAD.FUSE_CONFIG / RPN REG_LOSS_WEIGHT of the released configs
FOCAL_ALPHA = 0.25
FOCAL_GAMMA = 2.0
NO_OBJECT_TOKEN = MAX_TOKENS - 1
"""The official target of negatives; it is padding unless the caption fills all 256 tokens."""


class Losses(NamedTuple):
    """The three losses of a batch: weighted scalars."""

    token: Tensor
    box: Tensor
    centerness: Tensor

    @property
    def total(self) -> Tensor:
        """The sum of the three."""
        return self.token + self.box + self.centerness


class Targets(NamedTuple):
    """The targets of the anchors of a batch; P positives over all images."""

    matched: Tensor  # int64 [B, N]: index of the image's box, -1 for negatives
    tokens: Tensor  # bool [B, N, T]
    boxes: Tensor  # [P, 4] inclusive, of the positive anchors in row-major order of `matched`


def build_targets(
    outputs: DenseOutputs, boxes: Sequence[Tensor], positive_maps: Sequence[Tensor]
) -> Targets:
    """Return the targets of all anchors.

    Args:
        outputs: of the detector for B images.
        boxes: of each image, inclusive [G, 4].
        positive_maps: of each image, the tokens [G, T] that name each box.
    """
    level_counts = outputs.level_counts
    matched = torch.stack([assign(outputs.anchors, level_counts, each) for each in boxes])
    targets = torch.zeros_like(outputs.logits, dtype=torch.bool)
    if targets.shape[-1] == MAX_TOKENS:
        targets[..., NO_OBJECT_TOKEN] = matched < 0
    positive_boxes = []
    for i, (image_boxes, rows) in enumerate(zip(boxes, positive_maps, strict=True)):
        positive = matched[i] >= 0
        index = matched[i][positive]
        targets[i, positive] = rows[index].bool()
        positive_boxes.append(image_boxes[index])
    return Targets(matched, targets, torch.cat(positive_boxes))


def detection_losses(outputs: DenseOutputs, text_mask: Tensor, targets: Targets) -> Losses:
    """Return the losses of a batch in fp32; ``text_mask`` [B, T] is False at padding.

    Sums are divided by the number of positives, or by the sum of centerness, *averaged over the
    processes*. So the mean of gradients in DDP equals that of one process with the whole batch
    (loss.py:1145-1195).
    """
    logits, deltas, centerness, anchors, _ = outputs
    positive = targets.matched >= 0
    positives = world_mean(positive.sum().float()).clamp(min=1.0)
    token = token_focal_loss(logits.float(), targets.tokens, text_mask) / positives
    if not positive.any():
        # zero, yet part of the graph: DDP waits for every gradient
        zero = (deltas[:, :0].sum() + centerness[:, :0].sum()).float()
        world_mean(token.new_zeros(()))  # the other ranks wait in their world_mean below
        return Losses(token, zero, zero)
    matched_anchors = anchors.expand(len(deltas), -1, -1)[positive]
    target_centerness = centerness_targets(matched_anchors, targets.boxes)
    mass = world_mean(target_centerness.sum())
    predicted = box_ops.decode(deltas.float()[positive], matched_anchors)
    # The official targets pass through the coder as well, which costs them their last digits.
    target_deltas = box_ops.encode(targets.boxes, matched_anchors)
    target = box_ops.decode(target_deltas, matched_anchors)
    box = ((1 - box_ops.giou(predicted, target)) * target_centerness).sum() / mass
    center = F.binary_cross_entropy_with_logits(
        centerness.float()[positive], target_centerness, reduction="sum"
    )
    return Losses(token, BOX_WEIGHT * box, center / positives)


def token_focal_loss(logits: Tensor, targets: Tensor, text_mask: Tensor) -> Tensor:
    """Return the sum of the focal loss over the unmasked tokens.

    [CLS], [SEP] and separators are unmasked, so they are negatives of every anchor.

    Args:
        logits: [B, N, T].
        targets: bool [B, N, T].
        text_mask: [B, T], False at padding.
    """
    targets = targets.to(logits.dtype)
    probability = logits.sigmoid()
    entropy = F.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    p_target = probability * targets + (1 - probability) * (1 - targets)
    alpha = FOCAL_ALPHA * targets + (1 - FOCAL_ALPHA) * (1 - targets)
    loss = alpha * entropy * (1 - p_target) ** FOCAL_GAMMA
    return (loss * text_mask[:, None].to(loss.dtype)).sum()


def centerness_targets(anchors: Tensor, boxes: Tensor) -> Tensor:
    """Return the centerness [P] of the centres of ``anchors`` [P, 4] in ``boxes`` [P, 4].

    It is the square root of the min/max of the distances to left and right times that of the
    distances to top and bottom.
    """
    center = box_ops.centers(anchors)
    near, far = center - boxes[:, :2], boxes[:, 2:] - center
    ratio = torch.minimum(near, far) / torch.maximum(near, far)
    return ratio.prod(-1).sqrt()


def world_mean(value: Tensor) -> Tensor:
    """Return the mean of a scalar, detached, over the processes of a distributed run."""
    if not (dist.is_available() and dist.is_initialized()):
        return value
    value = value.detach().clone()
    dist.all_reduce(value)
    return value / dist.get_world_size()
