"""Swin Transformer body, from timm's blocks with GLIP's padding order and output norms.

timm rolls the map before it pads it, GLIP pads first, so the two agree only where nothing is
padded. GLIP also always shifts, normalises the outputs of stages 2 to 4 one by one, and merges
patches at the end of a stage. Source: microsoft/GLIP modeling/backbone/swint.py.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from typing_extensions import override

from glip_lightning.common.imports import hide_package
from glip_lightning.models.config import GLIPConfig

with hide_package("wandb"):  # timm's helpers for training take it where it is installed: 0.3 s
    from timm.layers import DropPath, Mlp, PatchEmbed
    from timm.models.swin_transformer import (
        PatchMerging,
        WindowAttention,
        window_partition,
        window_reverse,
    )
    from timm.models.swin_transformer import (
        get_relative_position_index as get_relative_position_index,
    )


class SwinBlock(nn.Module):
    """Window attention and MLP.

    Maps are padded to whole windows before they are shifted (swint.py:201-236).
    """

    def __init__(self, dim: int, heads: int, window: int, shifted: bool, drop_path: float) -> None:
        super().__init__()
        self.window = (window, window)
        self.shift = window // 2 if shifted else 0
        self.norm1 = nn.LayerNorm(dim)
        self.attn = WindowAttention(dim, heads, window_size=window)
        # torch's fused attention: faster, and keeps no score matrix for the backward pass
        self.attn.fused_attn = True  # pyrefly: ignore
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = Mlp(dim, 4 * dim)
        self.drop_path = DropPath(drop_path)

    @override
    def forward(self, x: Tensor, shift_mask: Tensor) -> Tensor:
        """Return x [B, H, W, C], updated; shift_mask [windows, area, area] is 0 or -100."""
        x = x + self.drop_path(self._window_attention(self.norm1(x), shift_mask))
        return x + self.drop_path(self.mlp(self.norm2(x)))

    def _window_attention(self, x: Tensor, shift_mask: Tensor) -> Tensor:
        _, height, width, channels = x.shape
        window, shift = self.window[0], self.shift
        # padded positions are real keys: they hold the bias of qkv and are not masked
        x = F.pad(x, (0, 0, 0, -width % window, 0, -height % window))
        padded_height, padded_width = x.shape[1:3]
        if shift:
            x = torch.roll(x, shifts=(-shift, -shift), dims=(1, 2))
        windows = window_partition(x, self.window).view(-1, window * window, channels)
        windows = self.attn(windows, mask=shift_mask if shift else None)
        x = window_reverse(
            windows.view(-1, *self.window, channels), self.window, padded_height, padded_width
        )
        if shift:
            x = torch.roll(x, shifts=(shift, shift), dims=(1, 2))
        return x[:, :height, :width]


class SwinStage(nn.Module):
    """Blocks of one resolution; every second one works on shifted windows."""

    def __init__(
        self, dim: int, heads: int, window: int, drop_paths: list[float], downsample: bool
    ) -> None:
        super().__init__()
        self.window = window
        self.blocks = nn.ModuleList(
            SwinBlock(dim, heads, window, shifted=j % 2 == 1, drop_path=rate)
            for j, rate in enumerate(drop_paths)
        )
        self.downsample: PatchMerging | None = PatchMerging(dim) if downsample else None

    @override
    def forward(self, x: Tensor) -> Tensor:
        """Return x [B, H, W, C], updated, before patch merging."""
        mask = shift_mask(x.shape[1], x.shape[2], self.window, x.device)
        for block in self.blocks:
            x = block(x, mask)
        return x

    def merge(self, x: Tensor) -> Tensor:
        """Return x [B, H, W, C] as [B, H/2, W/2, 2 C]; the last stage keeps its map."""
        return x if self.downsample is None else self.downsample(x)


class Swin(nn.Module):
    """Image backbone: images [B, 3, H, W] -> maps of stages 2 to 4 [B, C, H/s, W/s], s = 8, 16, 32.

    Sides of the images are multiples of 32. The maps are channels-last in memory.
    """

    def __init__(self, config: GLIPConfig) -> None:
        super().__init__()
        dims = [config.swin_dim * 2**i for i in range(len(config.swin_depths))]
        rates = torch.linspace(0, config.drop_path, sum(config.swin_depths), device="cpu").tolist()
        self.channels = dims[1:]
        self.patch_embed = PatchEmbed(
            img_size=None,
            patch_size=4,
            embed_dim=dims[0],
            norm_layer=nn.LayerNorm,
            flatten=False,
            output_fmt="NHWC",
        )
        self.stages = nn.ModuleList()
        for i, depth in enumerate(config.swin_depths):
            stage_rates, rates = rates[:depth], rates[depth:]
            merges = i < len(dims) - 1
            stage = SwinStage(
                dims[i], config.swin_heads[i], config.swin_window, stage_rates, downsample=merges
            )
            self.stages.append(stage)
        self.norms = nn.ModuleList(nn.LayerNorm(dim) for dim in dims[1:])

    @override
    def forward(self, images: Tensor) -> list[Tensor]:
        x = self.patch_embed(images)
        outputs = []
        for norm, stage in zip([None, *self.norms], self.stages, strict=True):
            assert isinstance(stage, SwinStage)
            x = stage(x)
            if norm is not None:  # the map of the first stage (stride 4) is not used
                outputs.append(norm(x).permute(0, 3, 1, 2))
            x = stage.merge(x)  # the un-normed map goes on
        return outputs


def shift_mask(height: int, width: int, window: int, device: torch.device) -> Tensor:
    """Return the additive mask [windows, area, area] between regions that a cyclic shift joins.

    Built on the padded size, with -100 and not -inf (swint.py:354-373).
    """
    height, width = height + -height % window, width + -width % window
    row = _shift_region(height, window, device)
    column = _shift_region(width, window, device)
    region = (3 * row[:, None] + column[None]).view(1, height, width, 1)
    region = window_partition(region, (window, window)).view(-1, window * window)
    return (region[:, None] != region[:, :, None]).float() * -100.0


def _shift_region(size: int, window: int, device: torch.device) -> Tensor:
    """Return the region of each position [size] of an axis.

    0 is the untouched part, 1 and 2 are the two sides of the seam in the last window.
    """
    position = torch.arange(size, device=device)
    return (position >= size - window).long() + (position >= size - window // 2).long()
