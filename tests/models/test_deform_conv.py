"""The routes of the deformable convolution agree, in values and in gradients."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torchvision.ops import deform_conv2d

from glip_lightning.models.layers import deform_conv as ours
from glip_lightning.models.layers.deform_conv import (
    TAPS,
    DeformConv,
    bilinear_taps,
    sample_by_bags,
    sample_by_index,
    sampled_deform_conv,
)


def inputs(
    batch: int, channels: int, height: int, width: int, stride: int, spread: float
) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    out = (-(-height // stride), -(-width // stride))
    x = torch.randn(batch, channels, height, width, generator=generator)
    offset = spread * torch.randn(batch, 2 * TAPS, *out, generator=generator)
    mask = torch.rand(batch, TAPS, *out, generator=generator)
    weight = torch.randn(6, channels, 3, 3, generator=generator)
    bias = torch.randn(6, generator=generator)
    return [t.requires_grad_() for t in (x, offset, mask, weight, bias)]


def theirs(
    x: Tensor, offset: Tensor, mask: Tensor, weight: Tensor, bias: Tensor, stride: int
) -> Tensor:
    return deform_conv2d(x, offset, weight, bias, stride, padding=1, mask=mask)


def sampled(
    x: Tensor, offset: Tensor, mask: Tensor, weight: Tensor, bias: Tensor, stride: int
) -> Tensor:
    return sampled_deform_conv([[x, offset, mask]], weight, bias, stride)[0]


@settings(max_examples=40, deadline=None)
@given(
    batch=st.integers(1, 3),
    height=st.integers(1, 9),
    width=st.integers(1, 9),
    stride=st.sampled_from([1, 2]),
    spread=st.sampled_from([0.0, 0.7, 30.0]),
)
def test_equals_torchvision(
    batch: int, height: int, width: int, stride: int, spread: float
) -> None:
    """Offsets far outside the map included."""
    tensors = inputs(batch, 4, height, width, stride, spread)
    torch.testing.assert_close(
        sampled(*tensors, stride), theirs(*tensors, stride), rtol=1e-5, atol=1e-5
    )


@pytest.mark.parametrize("stride", [1, 2])
def test_gradients_equal_torchvision(stride: int) -> None:
    """More positions than one piece holds, so that pieces of both passes are joined."""
    tensors = inputs(2, 4, 45, 43, stride, 1.5)
    assert ours.PIECE < 45 * 43 * 2
    out, expected = sampled(*tensors, stride), theirs(*tensors, stride)
    upstream = torch.randn(out.shape, generator=torch.Generator().manual_seed(1))
    for mine, other in zip(
        torch.autograd.grad(out, tensors, upstream),
        torch.autograd.grad(expected, tensors, upstream),
        strict=True,
    ):
        torch.testing.assert_close(mine, other, rtol=1e-4, atol=1e-4)


def test_indexing_route_equals_bags() -> None:
    """What runs on MPS, in values and gradients."""
    x, offset, mask, *_ = inputs(1, 4, 7, 5, 1, 1.5)
    index, share = bilinear_taps(offset, mask, 7, 5, 1)
    rows = x.permute(0, 2, 3, 1).reshape(-1, 4)
    by_bags, by_index = sample_by_bags(rows, index, share), sample_by_index(rows, index, share)
    torch.testing.assert_close(by_index, by_bags, rtol=1e-5, atol=1e-6)
    upstream = torch.randn(by_bags.shape, generator=torch.Generator().manual_seed(1))
    for mine, other in zip(
        torch.autograd.grad(by_index, (x, offset, mask), upstream, retain_graph=True),
        torch.autograd.grad(by_bags, (x, offset, mask), upstream),
        strict=True,
    ):
        torch.testing.assert_close(mine, other, rtol=1e-4, atol=1e-5)


def test_stays_in_fp32_under_autocast() -> None:
    layer = DeformConv(4, 6)
    x, offset, mask, *_ = inputs(1, 4, 8, 8, 1, 1.0)
    exact = layer([x], [offset], [mask])[0]
    with torch.autocast("cpu", torch.bfloat16):
        out = layer([x.bfloat16().float()], [offset], [mask])[0]
        assert layer([x.bfloat16()], [offset], [mask])[0].dtype == torch.float32
    assert out.dtype == torch.float32
    assert (out - exact).abs().max() < 0.1


def test_several_maps_at_once_equal_one_by_one() -> None:
    maps = [inputs(2, 4, height, width, 2, 1.0) for height, width in ((9, 7), (4, 4), (1, 2))]
    _, _, _, weight, bias = maps[0]
    together = sampled_deform_conv([row[:3] for row in maps], weight, bias, 2)
    for out, (x, offset, mask, *_) in zip(together, maps, strict=True):
        torch.testing.assert_close(
            out, theirs(x, offset, mask, weight, bias, 2), rtol=1e-5, atol=1e-5
        )
