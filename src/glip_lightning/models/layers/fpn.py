"""Feature pyramid P3..P7 with DropBlock on its finer levels.

Source: microsoft/GLIP modeling/backbone/fpn.py, layers/dropblock.py.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from typing_extensions import override


class DropBlock(nn.Module):
    """A layer that drops 3x3 blocks of positions in training, the same ones in all channels."""

    block = 3

    def __init__(self, drop_prob: float) -> None:
        super().__init__()
        self.drop_prob = drop_prob

    @override
    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.drop_prob == 0:
            return x
        batch, _, height, width = x.shape
        seeds = (
            torch.rand(batch, 1, height, width, device=x.device) < self.drop_prob / self.block**2
        )
        keep = 1 - F.max_pool2d(seeds.float(), self.block, stride=1, padding=self.block // 2)
        return x * (keep * (keep.numel() / keep.sum().clamp(min=1))).to(x.dtype)


class FPN(nn.Module):
    """Pyramid: three backbone maps (strides 8, 16, 32) -> P3..P7 [B, channels, H/s, W/s]."""

    def __init__(self, channels_in: list[int], channels: int, drop_block: float) -> None:
        super().__init__()
        self.lateral = nn.ModuleList(nn.Conv2d(c, channels, 1) for c in channels_in)
        self.output = nn.ModuleList(
            nn.Conv2d(channels, channels, 3, padding=1) for _ in channels_in
        )
        self.p6 = nn.Conv2d(channels, channels, 3, stride=2, padding=1)
        self.p7 = nn.Conv2d(channels, channels, 3, stride=2, padding=1)
        self.drop_block = DropBlock(drop_block)
        for module in self.modules():
            if isinstance(module, nn.Conv2d) and module.bias is not None:
                nn.init.kaiming_uniform_(module.weight, a=1)
                nn.init.zeros_(module.bias)

    @override
    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        c3, c4, c5 = (lateral(x) for lateral, x in zip(self.lateral, maps, strict=True))
        m4 = c4 + F.interpolate(c5, size=c4.shape[-2:], mode="nearest")
        m3 = c3 + F.interpolate(m4, size=c3.shape[-2:], mode="nearest")
        # dropped only on the way into P3 and P4, never on the way down (fpn.py:99-102)
        p3 = self.output[0](self.drop_block(m3))
        p4 = self.output[1](self.drop_block(m4))
        p5 = self.output[2](c5)
        p6 = _halved(self.p6, p5)
        return [p3, p4, p5, p6, _halved(self.p7, F.relu(p6))]


def _halved(conv: nn.Conv2d, x: Tensor) -> Tensor:
    """Return ``conv(x)`` of stride 2 and padding 1, padded by hand where ``x`` is one pixel wide.

    There torch 2.15 leaves the gradient of a bfloat16 weight uninitialised on CPUs (oneDNN).
    """
    if x.shape[-1] != 1:
        return conv(x)
    return F.conv2d(F.pad(x, (1, 1, 1, 1)), conv.weight, conv.bias, stride=2)
