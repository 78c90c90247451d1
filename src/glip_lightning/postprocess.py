"""From raw outputs to detections.

Source: microsoft/GLIP modeling/rpn/inference.py:592-850 with the test settings of the released configs.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from . import boxes as box_ops

Aggregation = Literal["MEAN", "MAX", "POWER"]


class Detections(NamedTuple):
    """Detections of one image, in no particular order."""

    boxes: Tensor  # [n, 4], inclusive, input frame
    scores: Tensor  # [n]
    labels: Tensor  # int64 [n], 0-based class index


@dataclass(frozen=True)
class PostProcess:
    """Scores of classes, thresholds, class-wise NMS; the defaults are the official ones."""

    aggregation: Aggregation = "MEAN"
    score_threshold: float = 0.05  # on the class score alone, before centerness
    per_level: int = 1000
    nms_threshold: float = 0.6
    max_detections: int = 100

    def __call__(
        self,
        logits: Tensor,
        deltas: Tensor,
        centerness: Tensor,
        anchors: Tensor,
        level_counts: Sequence[int],
        class_tokens: Sequence[Sequence[int]],
        image_sizes: Sequence[tuple[int, int]],
    ) -> list[Detections]:
        """Detections of each image.

        logits [B, N, T], deltas [B, N, 4], centerness [B, N], anchors [N, 4]; ``class_tokens`` the tokens of
        each class (a class without tokens is never predicted); ``image_sizes`` (height, width) of the resized
        images before padding, to which boxes are clipped.
        """
        found = []
        for i, (height, width) in enumerate(image_sizes):
            scores = class_scores(logits[i].float().sigmoid(), class_tokens, self.aggregation)
            center = centerness[i].float().sigmoid()
            candidates = self.candidates(scores, center, deltas[i].float(), anchors, level_counts)
            candidates = candidates._replace(boxes=box_ops.clip(candidates.boxes, height, width))
            found.append(self.select(candidates))
        return found

    def candidates(
        self, scores: Tensor, centerness: Tensor, deltas: Tensor, anchors: Tensor, level_counts: Sequence[int]
    ) -> Detections:
        """The best (position, class) pairs of every level: scores [N, K], centerness [N], deltas [N, 4]."""
        positions, labels, start = [], [], 0
        ranks = scores * centerness[:, None]
        for count in level_counts:
            level = slice(start, start + count)
            position, label = (scores[level] > self.score_threshold).nonzero(as_tuple=True)
            rank = ranks[level][position, label]
            best = rank.topk(min(self.per_level, len(rank)), sorted=False).indices
            positions.append(position[best] + start)
            labels.append(label[best])
            start += count
        position, label = torch.cat(positions), torch.cat(labels)
        boxes = box_ops.decode(deltas[position], anchors[position])
        return Detections(boxes, ranks[position, label].sqrt(), label)

    def select(self, candidates: Detections) -> Detections:
        """Class-wise NMS, then the best ``max_detections``."""
        keep = box_ops.class_nms(*candidates, threshold=self.nms_threshold)
        return self.best(Detections(*(x[keep] for x in candidates)))

    def best(self, found: Detections) -> Detections:
        """The ``max_detections`` highest scores, ties at the last place included."""
        if len(found.scores) <= self.max_detections:
            return found
        keep = found.scores >= found.scores.topk(self.max_detections).values[-1]
        return Detections(*(x[keep] for x in found))


def class_scores(probabilities: Tensor, class_tokens: Sequence[Sequence[int]], aggregation: Aggregation) -> Tensor:
    """Token probabilities [N, T] -> class scores [N, K]; a class without tokens scores 0.

    MEAN is the arithmetic, POWER the geometric mean over the tokens of a class (inference.py:771-823).
    """
    scores = probabilities.new_zeros(len(probabilities), len(class_tokens))
    named = [k for k, tokens in enumerate(class_tokens) if len(tokens) > 0]
    if not named:
        return scores
    longest = max(len(class_tokens[k]) for k in named)
    # repeat the first token to equal lengths; the weights below count it once
    index = [[*class_tokens[k], *[class_tokens[k][0]] * (longest - len(class_tokens[k]))] for k in named]
    counts = torch.tensor([len(class_tokens[k]) for k in named], device=probabilities.device)
    values = probabilities[:, torch.tensor(index, device=probabilities.device)]  # [N, K', longest]
    weights = (torch.arange(longest, device=probabilities.device) < counts[:, None]) / counts[:, None]
    if aggregation == "MEAN":
        aggregated = (values * weights).sum(-1)
    elif aggregation == "MAX":
        aggregated = values.amax(-1)
    elif aggregation == "POWER":
        aggregated = (values.log() * weights).sum(-1).exp()
    else:
        raise ValueError(f"score aggregation {aggregation!r}: choose MEAN, MAX or POWER")
    scores[:, named] = aggregated
    return scores
