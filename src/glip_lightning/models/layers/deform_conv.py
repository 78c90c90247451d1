"""Modulated deformable 3x3 convolution, by the fastest exact route of each device.

The three routes agree to the rounding of fp32 (tests/models/test_deform_conv.py), ratios are in
benchmarks/model.py:

* CPU: bilinear sampling is a weighted sum of four rows of the channels-last map, which is what
  ``embedding_bag`` does with contiguous reads; one matrix product follows. torchvision's CPU kernel
  needs ten times longer in the backward pass.
* CUDA, and any device while exporting: ``torchvision.ops.deform_conv2d``.
* elsewhere (MPS): the same weighted sum with plain indexing, which every backend has.

Source: microsoft/GLIP layers/deform_conv.py, csrc/cuda/deform_conv_kernel_cuda.cu:615-633.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.ops import deform_conv2d
from typing_extensions import override

TAPS = 9
PIECE = 512  # positions sampled at a time: 4.7 MB of columns at 256 channels


class DeformConv(nn.Module):
    """Weights of a modulated deformable 3x3 convolution (padding 1, one group).

    Offsets and mask are arguments, since the dynamic head shares them among three convolutions.
    """

    def __init__(self, channels_in: int, channels_out: int, stride: int = 1) -> None:
        super().__init__()
        self.stride = stride
        self.weight = nn.Parameter(torch.empty(channels_out, channels_in, 3, 3))
        self.bias = nn.Parameter(torch.zeros(channels_out))
        bound = 1 / math.sqrt(channels_in * TAPS)  # layers/deform_conv.py reset_parameters
        nn.init.uniform_(self.weight, -bound, bound)

    @override
    def forward(
        self, maps: Sequence[Tensor], offsets: Sequence[Tensor], masks: Sequence[Tensor]
    ) -> list[Tensor]:
        """Return several maps after the same convolution, computed in fp32.

        maps [B, C, H, W], offsets [B, 18, h, w] in pixels, masks [B, 9, h, w] -> [B, C', h, w].
        """
        # fp32 also under autocast: half-precision offsets would move samples by whole pixels, and
        # the bf16 kernel does not exist on CPU (as official, layers/deform_conv.py:378-382)
        with torch.autocast(maps[0].device.type, enabled=False):
            inputs = []
            for x, offset, mask in zip(maps, offsets, masks, strict=True):
                inputs.append([x.float(), offset.float(), mask.float()])
            outputs = self._run(inputs, self.weight.float(), self.bias.float())
        return [x.to(self.weight.dtype) for x in outputs]

    def _run(self, inputs: list[list[Tensor]], weight: Tensor, bias: Tensor) -> list[Tensor]:
        if weight.device.type == "cuda" or torch.compiler.is_exporting():
            stride = (self.stride, self.stride)
            return [deform_conv2d(x, o, weight, bias, stride, (1, 1), mask=m) for x, o, m in inputs]
        return sampled_deform_conv(inputs, weight, bias, self.stride)


def sampled_deform_conv(
    inputs: list[list[Tensor]], weight: Tensor, bias: Tensor, stride: int
) -> list[Tensor]:
    """Return all (map, offset, mask) after the convolution: one matrix product for all maps."""
    rows = [x.permute(0, 2, 3, 1).flatten(0, 2) for x, _, _ in inputs]
    indices, shares, start = [], [], 0
    for x, offset, mask in inputs:
        index, share = bilinear_taps(offset, mask, x.shape[2], x.shape[3], stride)
        indices.append(index + start)
        shares.append(share)
        start += x.shape[0] * x.shape[2] * x.shape[3]
    matrix = weight.permute(2, 3, 1, 0).flatten(0, 2)  # [9 * C, C']
    out = SampledProduct.apply(torch.cat(rows), torch.cat(indices), torch.cat(shares), matrix, bias)
    parts = out.split([len(index) // TAPS for index in indices])
    return [
        part.view(len(mask), *mask.shape[2:], -1).permute(0, 3, 1, 2)
        for part, (_, _, mask) in zip(parts, inputs, strict=True)
    ]


class SampledProduct(torch.autograd.Function):
    """``sample(rows, index, share) @ matrix + bias``, piece by piece.

    The columns of a whole map are nine times the map. In pieces they stay in the processor's
    cache and in memory that is already mapped, and sampling them again in the backward pass is
    cheaper than keeping them.
    """

    @staticmethod
    @override
    def forward(
        ctx: Any, rows: Tensor, index: Tensor, share: Tensor, matrix: Tensor, bias: Tensor
    ) -> Tensor:
        ctx.save_for_backward(rows, index, share, matrix)
        out = rows.new_empty(len(index) // TAPS, matrix.shape[1])
        pieces = zip(
            index.split(PIECE * TAPS), share.split(PIECE * TAPS), out.split(PIECE), strict=True
        )
        for i, s, piece in pieces:
            torch.addmm(bias, sample(rows, i, s), matrix, out=piece)
        return out

    @staticmethod
    @override
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *grad_outputs: Any) -> tuple[Tensor | None, ...]:  # pyrefly: ignore
        (grad,) = grad_outputs
        rows, index, share, matrix = ctx.saved_tensors
        wants_matrix, wants_bias = ctx.needs_input_grad[3:]  # not where the convolution is frozen
        grad_rows, grad_matrix, grad_shares = torch.zeros_like(rows), torch.zeros_like(matrix), []
        pieces = zip(
            index.split(PIECE * TAPS), share.split(PIECE * TAPS), grad.split(PIECE), strict=True
        )
        for i, s, g in pieces:
            read = rows_read(i, len(rows))
            band, s = rows[read].detach().requires_grad_(), s.detach().requires_grad_()
            with torch.enable_grad():
                columns = sample(band, i - read.start, s)
            if wants_matrix:
                grad_matrix = torch.addmm(grad_matrix, columns.detach().T, g)
            grad_band, grad_share = torch.autograd.grad(columns, (band, s), g @ matrix.T)
            grad_rows[read] += grad_band
            grad_shares.append(grad_share)
        grad_bias = grad.sum(0) if wants_bias else None
        grad_weight = grad_matrix if wants_matrix else None
        return grad_rows, None, torch.cat(grad_shares), grad_weight, grad_bias


def rows_read(index: Tensor, count: int) -> slice:
    """Return the band of a map's rows that a piece reads: its gradient touches no others.

    All rows on other devices than the CPU, where the two numbers would have to be waited for.
    """
    if index.device.type != "cpu":
        return slice(0, count)
    first, last = index.aminmax()
    return slice(int(first), int(last) + 1)


def sample(rows: Tensor, index: Tensor, share: Tensor) -> Tensor:
    """Return weighted sums of four rows [B * H * W, C] per tap as columns [positions, 9 * C]."""
    method = sample_by_bags if rows.device.type == "cpu" else sample_by_index
    columns = method(rows, index, share)
    return columns.view(-1, TAPS * rows.shape[1])


def sample_by_bags(rows: Tensor, index: Tensor, share: Tensor) -> Tensor:
    """Return the weighted sums [positions * 9, C], with contiguous reads: fastest on CPUs."""
    return F.embedding_bag(index, rows, per_sample_weights=share, mode="sum")


def sample_by_index(rows: Tensor, index: Tensor, share: Tensor) -> Tensor:
    """Return the weighted sums [positions * 9, C], with plain indexing, which all devices have."""
    return (share[..., None] * rows[index]).sum(1)


def bilinear_taps(
    offset: Tensor, mask: Tensor, height: int, width: int, stride: int
) -> tuple[Tensor, Tensor]:
    """Return the four rows that each sample reads from the flattened maps, and their shares.

    Rows are indices (int64) into [B * H * W, C]; both results are [B * h * w * 9, 4]. A share is
    bilinear weight times modulation; corners outside the map get share 0 (and any valid index), as
    with zero padding. Offset channel 2k moves tap k = 3i + j down, channel 2k + 1 moves it right.
    """
    batch, _, h, w = offset.shape
    tap = torch.arange(3, device=offset.device) - 1
    start_y = (torch.arange(h, device=offset.device) * stride).view(
        h, 1, 1
    ) + tap.repeat_interleave(3)
    start_x = (torch.arange(w, device=offset.device) * stride).view(1, w, 1) + tap.repeat(3)
    shift_y, shift_x = offset.view(batch, TAPS, 2, h, w).permute(2, 0, 3, 4, 1)
    ys, share_y = _corners(start_y + shift_y, height)
    xs, share_x = _corners(start_x + shift_x, width)
    first_row = (torch.arange(batch, device=offset.device) * (height * width)).view(
        batch, 1, 1, 1, 1, 1
    )
    index = first_row + ys[..., :, None] * width + xs[..., None, :]
    share = (share_y * mask.permute(0, 2, 3, 1)[..., None])[..., :, None] * share_x[..., None, :]
    return index.reshape(-1, 4), share.reshape(-1, 4)


def _corners(position: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Return both neighbours [..., 2] of each position on one axis, and their linear shares."""
    low = position.floor()
    share = torch.stack([low + 1 - position, position - low], dim=-1)
    corner = torch.stack([low, low + 1], dim=-1).long()
    inside = (corner >= 0) & (corner < size)
    return corner.clamp(0, size - 1), share * inside
