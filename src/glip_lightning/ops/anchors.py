"""One square anchor per location, 8 times as wide as the level's stride.

Source: microsoft/GLIP modeling/rpn/anchor_generator.py with the released settings (ANCHOR_SIZES
64..1024, ANCHOR_STRIDE 8..128, one ratio, one scale).
"""

from collections.abc import Sequence

import torch
from torch import Tensor

SIZE_PER_STRIDE = 8


def cell_anchor(stride: int) -> tuple[float, float, float, float]:
    """Return the inclusive box of the anchor at location (0, 0), in pixels of the padded input."""
    near = -(SIZE_PER_STRIDE - 1) * stride / 2
    far = (SIZE_PER_STRIDE + 1) * stride / 2 - 1
    return near, near, far, far


def level_anchors(
    height: int, width: int, stride: int, device: torch.device | None = None
) -> Tensor:
    """Return the anchors [height * width, 4] of one level, row-major."""
    x = torch.arange(width, device=device, dtype=torch.float32) * stride
    y = torch.arange(height, device=device, dtype=torch.float32) * stride
    yy, xx = torch.meshgrid(y, x, indexing="ij")
    x1, y1, x2, y2 = cell_anchor(stride)
    return torch.stack([xx + x1, yy + y1, xx + x2, yy + y2], dim=-1).view(-1, 4)


def grid_anchors(
    level_sizes: Sequence[tuple[int, int]],
    strides: Sequence[int],
    device: torch.device | None = None,
) -> Tensor:
    """Return the anchors [N, 4] of all levels, finest first; sizes are (height, width)."""
    levels = []
    for (height, width), stride in zip(level_sizes, strides, strict=True):
        levels.append(level_anchors(height, width, stride, device))
    return torch.cat(levels)
