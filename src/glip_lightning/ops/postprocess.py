"""Detections from the raw outputs of a detector.

Source: microsoft/GLIP modeling/rpn/inference.py:592-850 with the test settings of the released
configs.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from glip_lightning.common.errors import GLIPError
from glip_lightning.ops import boxes as box_ops
from glip_lightning.ops.dense_outputs import DenseOutputs

Aggregation = Literal["MEAN", "MAX", "POWER"]


class Detections(NamedTuple):
    """Detections of one image, in no particular order."""

    boxes: Tensor  # [n, 4], inclusive, input frame
    scores: Tensor  # [n]
    labels: Tensor  # int64 [n], 0-based class index

    def at(self, index: Tensor) -> "Detections":
        """Return the detections at ``index``: a mask [n] or indices."""
        return Detections(self.boxes[index], self.scores[index], self.labels[index])


@dataclass(frozen=True)
class DetectionSettings:
    """The settings that limit the detections of an image in every detector.

    A detector may add settings of its own.
    """

    score_threshold: float
    max_detections: int

    def best(self, found: Detections) -> Detections:
        """Return the ``max_detections`` best detections, with all ties at the last place."""
        if len(found.scores) <= self.max_detections:
            return found
        lowest = found.scores.topk(self.max_detections).values[-1]
        return found.at(found.scores >= lowest)


@dataclass(frozen=True)
class PostProcess(DetectionSettings):
    """The post-processing of dense outputs: class scores, thresholds, NMS within each class.

    The defaults are the official settings of GLIP.
    """

    aggregation: Aggregation = "MEAN"
    score_threshold: float = 0.05  # on the class score alone, before centerness
    per_level: int = 1000  # (position, class) pairs that enter the NMS
    nms_threshold: float = 0.6
    max_detections: int = 100

    def __call__(
        self,
        outputs: DenseOutputs,
        class_tokens: Sequence[Sequence[Sequence[int]]],
        image_sizes: Sequence[tuple[int, int]],
    ) -> list[Detections]:
        """Return the detections of each image.

        Args:
            outputs: of the detector for B images.
            class_tokens: of each image, the tokens of each class in its caption. A class without
                tokens is never predicted.
            image_sizes: (height, width) of each resized image before padding. Boxes are clipped to
                it.
        """
        found = []
        for i, (tokens, size) in enumerate(zip(class_tokens, image_sizes, strict=True)):
            candidates = self.candidates(outputs, i, tokens, size)
            found.append(self.select(candidates))
        return found

    def candidates(
        self,
        outputs: DenseOutputs,
        image: int,
        class_tokens: Sequence[Sequence[int]],
        size: tuple[int, int],
    ) -> Detections:
        """Return the best (position, class) pairs of every level of one image, before the NMS."""
        probabilities = outputs.logits[image].float().sigmoid()  # [N, T]
        scores = class_scores(probabilities, class_tokens, self.aggregation)  # [N, K]
        ranks = scores * outputs.centerness[image].float().sigmoid()[:, None]
        positions, labels = [], []
        start = 0
        for count in outputs.level_counts:
            level = slice(start, start + count)
            position, label = (scores[level] > self.score_threshold).nonzero(as_tuple=True)
            rank = ranks[level][position, label]
            best = rank.topk(min(self.per_level, len(rank)), sorted=False).indices
            positions.append(position[best] + start)
            labels.append(label[best])
            start += count
        position, label = torch.cat(positions), torch.cat(labels)
        boxes = box_ops.decode(outputs.deltas[image].float()[position], outputs.anchors[position])
        return Detections(
            box_ops.clip_inclusive(boxes, *size), ranks[position, label].sqrt(), label
        )

    def select(self, candidates: Detections) -> Detections:
        """Return what NMS within each class keeps, at most ``max_detections``."""
        keep = box_ops.class_nms(*candidates, threshold=self.nms_threshold)
        return self.best(candidates.at(keep))


def class_scores(
    probabilities: Tensor, class_tokens: Sequence[Sequence[int]], aggregation: Aggregation
) -> Tensor:
    """Return class scores [N, K] of token probabilities [N, T]; 0 for a class without tokens.

    MEAN is the arithmetic and POWER the geometric mean over the tokens of a class
    (inference.py:771-823).

    Raises:
        GLIPError: the aggregation is none of the three (code ``bad-value``).
    """
    device = probabilities.device
    scores = probabilities.new_zeros(len(probabilities), len(class_tokens))
    named = [k for k, tokens in enumerate(class_tokens) if len(tokens) > 0]
    if not named:
        return scores
    lengths = [len(class_tokens[k]) for k in named]
    longest = max(lengths)
    # Repeat the first token to equal lengths; the weights below count it once.
    index = []
    for k, length in zip(named, lengths, strict=True):
        padding = [class_tokens[k][0]] * (longest - length)
        index.append([*class_tokens[k], *padding])
    values = probabilities[:, torch.tensor(index, device=device)]  # [N, K', longest]
    counts = torch.tensor(lengths, device=device)[:, None]
    weights = (torch.arange(longest, device=device) < counts) / counts  # [K', longest]
    if aggregation == "MEAN":
        aggregated = (values * weights).sum(-1)
    elif aggregation == "MAX":
        aggregated = values.amax(-1)
    elif aggregation == "POWER":
        aggregated = (values.log() * weights).sum(-1).exp()
    else:
        message = f"score aggregation {aggregation!r}: choose MEAN, MAX or POWER"
        raise GLIPError(message, code="bad-value")
    scores[:, named] = aggregated
    return scores
