"""The raw outputs of a detector with anchors, which model, losses and post-processing share."""

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from torch import Tensor

MAX_TOKENS = 256
"""Longest caption of the official models, [CLS] and [SEP] included.

Source: MODEL.LANGUAGE_BACKBONE.MAX_QUERY_LEN.
"""


class DenseOutputs(NamedTuple):
    """Raw predictions at N positions: levels P3 to P7 in order, each row-major."""

    logits: "Tensor"  # [B, N, T], before the sigmoid
    deltas: "Tensor"  # [B, N, 4], for boxes.decode with the anchors
    centerness: "Tensor"  # [B, N], before the sigmoid
    anchors: "Tensor"  # [N, 4], inclusive, pixels of the padded input
    level_sizes: tuple[tuple[int, int], ...]  # (height, width) of the five levels

    @property
    def level_counts(self) -> list[int]:
        """The number of positions of each level; they sum to N."""
        return [height * width for height, width in self.level_sizes]
