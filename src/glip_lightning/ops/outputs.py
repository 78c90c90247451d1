"""What the detector says about a batch: the value that model, losses and post-processing share."""

from typing import NamedTuple

from torch import Tensor

from glip_lightning.common.errors import GLIPError

MAX_TOKENS = 256
"""Longest caption of the official models, [CLS] and [SEP] included (MODEL.LANGUAGE_BACKBONE.MAX_QUERY_LEN)."""


class Outputs(NamedTuple):
    """Raw predictions at N positions: levels P3..P7 one after the other, each row-major."""

    logits: Tensor  # [B, N, T], before the sigmoid
    deltas: Tensor  # [B, N, 4], for boxes.decode with the anchors
    centerness: Tensor  # [B, N], before the sigmoid
    anchors: Tensor  # [N, 4], inclusive, pixels of the padded input
    level_sizes: tuple[tuple[int, int], ...]  # (height, width) of the five levels

    def check_finite(self, detector: str) -> None:
        """Raise :class:`GLIPError` if a score or a box is NaN: it would be left out as if nothing were there.

        Weights that are finite can be so large that what they compute is not. Infinite logits are no fault: they are
        scores of 0 and 1.
        """
        if any(bool(x.isnan().any()) for x in (self.logits, self.centerness, self.deltas)):
            message = f"{detector}: its weights give scores or boxes that are no numbers (NaN); give another detector"
            raise GLIPError(message, code="not-finite")

    @property
    def level_counts(self) -> list[int]:
        """Positions per level; they sum to N."""
        return [height * width for height, width in self.level_sizes]
