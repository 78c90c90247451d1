"""The dynamic convolution of the Dynamic Head: scale, spatial and task attention over a pyramid.

Source: microsoft/GLIP modeling/rpn/vldyhead.py (DyConv), layers/dyrelu.py.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from typing_extensions import override

from glip_lightning.models.config import GROUPS
from glip_lightning.models.layers.deform_conv import TAPS, DeformConv

OFFSETS = 2 * TAPS


class DyReLU(nn.Module):
    """max(a1 x + b1, a2 x + b2) per channel, slopes and shifts from the pooled map.

    Source: dyrelu.py:39-120.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(channels, channels // 4)
        self.fc2 = nn.Linear(channels // 4, 4 * channels)

    @override
    def forward(self, x: Tensor) -> Tensor:
        pooled = x.mean((2, 3))
        theta = F.hardsigmoid(self.fc2(F.relu(self.fc1(pooled)))) - 0.5
        a1, b1, a2, b2 = theta[..., None, None].chunk(4, dim=1)
        # their maximum, whose own backward pass takes three times as long
        first, second = torch.addcmul(b1, x, 2 * a1 + 1), torch.addcmul(b2, x, 2 * a2)
        return second + F.relu(first - second)


class GroupNorm(nn.GroupNorm):
    """Group norm that also takes groups of one number, such as 16 channels on a map of one pixel.

    The result is the bias. ``nn.GroupNorm`` refuses such groups, although nothing has to be divided
    by a spread of 0.
    """

    @override
    def forward(self, input: Tensor) -> Tensor:
        """Return the normalised [B, C, H, W]."""
        return torch.group_norm(input, self.num_groups, self.weight, self.bias, self.eps)


class DyConv(nn.Module):
    """Scale, spatial and task attention over the pyramid (vldyhead.py:141-233).

    Every level collects up to three terms: itself, the finer level (stride 2) and the coarser level
    (upsampled). All three sample where this level's offsets say.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        strides = (1, 1, 2)  # from the coarser level, from this level, from the finer level
        self.convs = nn.ModuleList(DeformConv(channels, channels, stride) for stride in strides)
        self.norms = nn.ModuleList(GroupNorm(GROUPS, channels) for _ in strides)
        self.offset = nn.Conv2d(channels, OFFSETS + TAPS, 3, padding=1)
        self.scale_attention = nn.Conv2d(channels, 1, 1)
        self.relu = DyReLU(channels)
        nn.init.normal_(self.scale_attention.weight, std=0.01)
        nn.init.zeros_(self.scale_attention.bias)  # pyrefly: ignore

    @override
    def forward(self, levels: list[Tensor]) -> list[Tensor]:
        """Return P3..P7 in their shapes [B, C, H, W]; no level reads the output of another."""
        offsets, masks = zip(*(self._offset_and_mask(x) for x in levels), strict=True)
        sizes = [(x.shape[-2], x.shape[-1]) for x in levels]
        # each level but the coarsest reads the next coarser one
        offsets_below = [flat_prefix(x, size) for x, size in zip(offsets, sizes[1:], strict=False)]
        masks_below = [flat_prefix(x, size) for x, size in zip(masks, sizes[1:], strict=False)]
        below = self.convs[0](levels[1:], offsets_below, masks_below)
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
        """Return the mean of the terms, each scaled by its attention.

        That is at least 0.5: a ReLU precedes the hard sigmoid.
        """
        total = torch.zeros((), device=terms[0].device, dtype=terms[0].dtype)
        for term in terms:
            attention = F.hardsigmoid(F.relu(self.scale_attention(term.mean((2, 3), keepdim=True))))
            total = torch.addcmul(total, term, attention / len(terms))
        return total


def flat_prefix(x: Tensor, size: tuple[int, int]) -> Tensor:
    """Return the first C * h * w numbers of each image's [C, H, W] block as [C, h, w].

    The official CUDA kernel addresses the finer level's offsets with the coarser level's strides
    (csrc/cuda/deform_conv_kernel_cuda.cu:615-617); released weights were trained with that.
    """
    channels = x.shape[1]
    return x.flatten(1)[:, : channels * size[0] * size[1]].unflatten(1, (channels, *size))
