"""The tower of the detector: rounds of dynamic convolution, after fusion where text is read.

Source: microsoft/GLIP modeling/rpn/vldyhead.py (VLDyHead).
"""

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from typing_extensions import override

from glip_lightning.models.layers.dynamic_conv import DyConv
from glip_lightning.models.text_features import TextFeatures


class Round(nn.Module):
    """One round of the tower: fusion, if there is one, and dynamic convolution.

    Variant A and Dynamic Head have no fusion.
    """

    def __init__(
        self, channels: int, fusion: nn.Module | None = None, text: nn.Module | None = None
    ) -> None:
        """Make a round.

        Args:
            channels: of the maps.
            fusion: takes vision [B, N, C], text [B, T, D] and mask [B, T]; returns both, updated.
            text: a layer that takes text [B, T, D] and mask [B, T].
        """
        super().__init__()
        self.fusion, self.text = fusion, text
        self.vision = DyConv(channels)

    @override
    def forward(
        self, levels: list[Tensor], text: TextFeatures | None
    ) -> tuple[list[Tensor], TextFeatures | None]:
        if self.fusion is not None and self.text is not None:
            assert text is not None
            sizes = [x.shape[-2:] for x in levels]
            vision, hidden = self.fusion(flatten_levels(levels), text.hidden, text.mask)
            levels = split_levels(vision, sizes)
            text = TextFeatures(self.text(hidden, text.mask), text.mask)
        return self.vision(levels), text


class DyHead(nn.Module):
    """The tower: P3..P7 and the text -> both after all rounds, which share no weights."""

    def __init__(self, rounds: Iterable[Round]) -> None:
        super().__init__()
        self.rounds = nn.ModuleList(rounds)

    @override
    def forward(
        self, levels: list[Tensor], text: TextFeatures | None
    ) -> tuple[list[Tensor], TextFeatures | None]:
        for tower_round in self.rounds:
            levels, text = tower_round(levels, text)
        return levels, text


def flatten_levels(levels: list[Tensor]) -> Tensor:
    """Return maps [B, C, H, W] as positions [B, N, C], row-major, finest level first."""
    return torch.cat([x.permute(0, 2, 3, 1).flatten(1, 2) for x in levels], dim=1)


def split_levels(tokens: Tensor, sizes: list[torch.Size]) -> list[Tensor]:
    """Invert :func:`flatten_levels`; the maps are channels-last views."""
    parts = tokens.split([h * w for h, w in sizes], dim=1)
    levels = []
    for part, size in zip(parts, sizes, strict=True):
        levels.append(part.unflatten(1, tuple(size)).permute(0, 3, 1, 2))
    return levels
