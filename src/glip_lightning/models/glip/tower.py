"""The tower of the detector: rounds of fusion, text layer and dynamic convolution.

Source: microsoft/GLIP modeling/rpn/vldyhead.py (DyConv, VLDyHead), layers/dyrelu.py.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from glip_lightning.models.config import GROUPS, GLIPConfig
from glip_lightning.models.dynamic_head.deform_conv import TAPS, DeformConv
from glip_lightning.models.glip.fusion import Fusion, TextLayer
from glip_lightning.models.glip.language import TextFeatures

OFFSETS = 2 * TAPS


class DyReLU(nn.Module):
    """max(a1 x + b1, a2 x + b2) per channel, with slopes and shifts from the pooled map (dyrelu.py:39-120)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(channels, channels // 4)
        self.fc2 = nn.Linear(channels // 4, 4 * channels)

    def forward(self, x: Tensor) -> Tensor:
        theta = F.hardsigmoid(self.fc2(F.relu(self.fc1(x.mean((2, 3)))))) - 0.5
        a1, b1, a2, b2 = theta[..., None, None].chunk(4, dim=1)
        # their maximum, whose own backward pass takes three times as long
        first, second = torch.addcmul(b1, x, 2 * a1 + 1), torch.addcmul(b2, x, 2 * a2)
        return second + F.relu(first - second)


class DyConv(nn.Module):
    """Scale, spatial and task attention over the pyramid (vldyhead.py:141-233).

    Every level collects up to three terms: itself, the finer level (stride 2) and the coarser level
    (upsampled). All three sample where this level's offsets say.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        strides = (1, 1, 2)  # from the coarser level, from this level, from the finer level
        self.convs = nn.ModuleList(DeformConv(channels, channels, stride) for stride in strides)
        self.norms = nn.ModuleList(nn.GroupNorm(GROUPS, channels) for _ in strides)
        self.offset = nn.Conv2d(channels, OFFSETS + TAPS, 3, padding=1)
        self.scale_attention = nn.Conv2d(channels, 1, 1)
        self.relu = DyReLU(channels)
        nn.init.normal_(self.scale_attention.weight, std=0.01)
        nn.init.zeros_(self.scale_attention.bias)  # pyrefly: ignore

    def forward(self, levels: list[Tensor]) -> list[Tensor]:
        """P3..P7, each [B, C, H, W] -> the same shapes; all levels read the inputs, none the outputs."""
        offsets, masks = zip(*(self._offset_and_mask(x) for x in levels), strict=True)
        sizes = [(x.shape[-2], x.shape[-1]) for x in levels]
        below = self.convs[0](
            levels[1:],
            [flat_prefix(x, size) for x, size in zip(offsets, sizes[1:], strict=False)],
            [flat_prefix(x, size) for x, size in zip(masks, sizes[1:], strict=False)],
        )
        here = self.convs[1](levels, offsets, masks)
        above = self.convs[2](levels[:-1], offsets[1:], masks[1:])
        mixed = []
        for i, size in enumerate(sizes):
            terms = [self.norms[1](here[i])]
            if i > 0:
                terms.append(self.norms[2](above[i - 1]))
            if i + 1 < len(sizes):
                coarser = self.norms[0](below[i])
                terms.append(F.interpolate(coarser, size=size, mode="bilinear", align_corners=True))
            mixed.append(self.relu(self._mean(terms)))
        return mixed

    def _offset_and_mask(self, x: Tensor) -> tuple[Tensor, Tensor]:
        offset, mask = self.offset(x).float().split([OFFSETS, TAPS], dim=1)
        return offset, mask.sigmoid()

    def _mean(self, terms: list[Tensor]) -> Tensor:
        """Mean of the terms, each scaled by its attention (at least 0.5: a ReLU precedes the hard sigmoid)."""
        total = torch.zeros((), device=terms[0].device, dtype=terms[0].dtype)
        for term in terms:
            attention = F.hardsigmoid(F.relu(self.scale_attention(term.mean((2, 3), keepdim=True))))
            total = torch.addcmul(total, term, attention / len(terms))
        return total


def flat_prefix(x: Tensor, size: tuple[int, int]) -> Tensor:
    """The first C * h * w numbers of each image's [C, H, W] block, read as [C, h, w].

    The official CUDA kernel addresses the finer level's offsets with the coarser level's strides
    (csrc/cuda/deform_conv_kernel_cuda.cu:615-617); released weights were trained with that.
    """
    channels = x.shape[1]
    return x.flatten(1)[:, : channels * size[0] * size[1]].unflatten(1, (channels, *size))


class Round(nn.Module):
    """One round of the tower; without fusion (variant A) the dynamic convolution alone."""

    def __init__(self, config: GLIPConfig) -> None:
        super().__init__()
        self.fusion = self.text = None
        if config.fusion:
            self.fusion = Fusion(
                config.channels,
                config.text.hidden_size,
                config.fusion_dim,
                config.fusion_heads,
                config.fusion_dropout,
                gate=1 / config.rounds,
            )
            self.text = TextLayer(config.text)
        self.vision = DyConv(config.channels)

    def forward(self, levels: list[Tensor], text: TextFeatures) -> tuple[list[Tensor], TextFeatures]:
        if self.fusion is not None and self.text is not None:
            sizes = [x.shape[-2:] for x in levels]
            vision, hidden = self.fusion(flatten_levels(levels), *text)
            levels = split_levels(vision, sizes)
            text = TextFeatures(self.text(hidden, text.mask), text.mask)
        return self.vision(levels), text


class DyHead(nn.Module):
    """Pyramid P3..P7 and text -> both after all rounds. Nothing is shared between the rounds."""

    def __init__(self, config: GLIPConfig) -> None:
        super().__init__()
        self.rounds = nn.ModuleList(Round(config) for _ in range(config.rounds))

    def forward(self, levels: list[Tensor], text: TextFeatures) -> tuple[list[Tensor], TextFeatures]:
        for tower_round in self.rounds:
            levels, text = tower_round(levels, text)
        return levels, text


def flatten_levels(levels: list[Tensor]) -> Tensor:
    """Maps [B, C, H, W] -> positions [B, N, C], row-major, finest level first."""
    return torch.cat([x.permute(0, 2, 3, 1).flatten(1, 2) for x in levels], dim=1)


def split_levels(tokens: Tensor, sizes: list[torch.Size]) -> list[Tensor]:
    """Inverse of :func:`flatten_levels`; the maps are channels-last views."""
    parts = tokens.split([h * w for h, w in sizes], dim=1)
    return [part.unflatten(1, tuple(size)).permute(0, 3, 1, 2) for part, size in zip(parts, sizes, strict=True)]
