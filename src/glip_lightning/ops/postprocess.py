"""From raw outputs to detections.

Source: microsoft/GLIP modeling/rpn/inference.py:592-850 with the test settings of the released configs.
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


@dataclass(frozen=True)
class DetectionSettings:
    """What decides in every detector how many detections an image gets; a detector may add settings of its own."""

    score_threshold: float
    max_detections: int

    def best(self, found: Detections) -> Detections:
        """Return the ``max_detections`` highest scores, ties at the last place included."""
        if len(found.scores) <= self.max_detections:
            return found
        keep = found.scores >= found.scores.topk(self.max_detections).values[-1]
        return Detections(*(x[keep] for x in found))


@dataclass(frozen=True)
class PostProcess(DetectionSettings):
    """Scores of classes, thresholds, class-wise NMS of dense outputs; the defaults are the official ones of GLIP."""

    aggregation: Aggregation = "MEAN"
    score_threshold: float = 0.05  # on the class score alone, before centerness
    per_level: int = 1000
    nms_threshold: float = 0.6
    max_detections: int = 100

    def __call__(
        self,
        outputs: DenseOutputs,
        class_tokens: Sequence[Sequence[Sequence[int]]],
        image_sizes: Sequence[tuple[int, int]],
    ) -> list[Detections]:
        """Return the detections of each image.

        ``class_tokens[i][k]`` are the tokens of class k in the caption of image i (a class without tokens is never
        predicted), ``image_sizes`` (height, width) of the resized images before padding, to which boxes are clipped.
        """
        found = []
        for i, (tokens, size) in enumerate(zip(class_tokens, image_sizes, strict=True)):
            found.append(self.select(self.candidates(outputs, i, tokens, size)))
        return found

    def candidates(
        self,
        outputs: DenseOutputs,
        image: int,
        class_tokens: Sequence[Sequence[int]],
        size: tuple[int, int],
    ) -> Detections:
        """The best (position, class) pairs of every level of one image, before suppression."""
        scores = class_scores(
            outputs.logits[image].float().sigmoid(), class_tokens, self.aggregation
        )
        ranks = scores * outputs.centerness[image].float().sigmoid()[:, None]
        positions, labels, start = [], [], 0
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
        """Class-wise NMS, then the best ``max_detections``."""
        keep = box_ops.class_nms(*candidates, threshold=self.nms_threshold)
        return self.best(Detections(*(x[keep] for x in candidates)))


def class_scores(
    probabilities: Tensor, class_tokens: Sequence[Sequence[int]], aggregation: Aggregation
) -> Tensor:
    """Token probabilities [N, T] -> class scores [N, K]; a class without tokens scores 0.

    MEAN is the arithmetic, POWER the geometric mean over the tokens of a class (inference.py:771-823).
    """
    scores = probabilities.new_zeros(len(probabilities), len(class_tokens))
    named = [k for k, tokens in enumerate(class_tokens) if len(tokens) > 0]
    if not named:
        return scores
    longest = max(len(class_tokens[k]) for k in named)
    # repeat the first token to equal lengths; the weights below count it once
    index = [
        [*class_tokens[k], *[class_tokens[k][0]] * (longest - len(class_tokens[k]))] for k in named
    ]
    counts = torch.tensor([len(class_tokens[k]) for k in named], device=probabilities.device)
    values = probabilities[:, torch.tensor(index, device=probabilities.device)]  # [N, K', longest]
    weights = (torch.arange(longest, device=probabilities.device) < counts[:, None]) / counts[
        :, None
    ]
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
