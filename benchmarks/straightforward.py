"""The detector as the formulas are usually written down, to measure ours against.

It has the same weights and the same results (``tests/test_benchmark.py`` compares it with the
reference tensors). Every image position is projected to the fusion width, captions are padded to
256 tokens, and the deformable convolution is torchvision's.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torchvision.ops import deform_conv2d
from typing_extensions import override

from glip_lightning.models.glip.fusion import CLAMP, Fusion
from glip_lightning.models.glip.model import GLIP
from glip_lightning.models.layers.deform_conv import DeformConv

TOKENS = 256


class StraightforwardFusion(Fusion):
    """Cross-attention with all projections of the image in full."""

    @override
    def forward(self, vision: Tensor, text: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        vision, text = self.norm_vision(vision), self.norm_text(text)
        query = self._split(self.query(vision) * self.scale)  # [B, h, N, d]
        key = self._split(self.key(text))
        scores = (query @ key.transpose(-2, -1)).clamp(-CLAMP, CLAMP)  # [B, h, N, T]
        to_text = scores.masked_fill(~mask[:, None, None], float("-inf")).softmax(-1)
        to_image = scores.transpose(-2, -1).softmax(-1)
        read_text = self.dropout(to_text) @ self._split(self.value_text(text))
        read_image = self.dropout(to_image) @ self._split(self.value_vision(vision))
        vision_update = self.out_vision(read_text.transpose(1, 2).flatten(2))
        text_update = self.out_text(read_image.transpose(1, 2).flatten(2))
        return vision + self.gate_vision * vision_update, text + self.gate_text * text_update


class TorchvisionDeformConv(DeformConv):
    """torchvision's operator on every device."""

    @override
    def forward(
        self, maps: Sequence[Tensor], offsets: Sequence[Tensor], masks: Sequence[Tensor]
    ) -> list[Tensor]:
        return [
            deform_conv2d(
                x, offset, self.weight, self.bias, (self.stride, self.stride), (1, 1), mask=mask
            )
            for x, offset, mask in zip(maps, offsets, masks, strict=True)
        ]


def make_straightforward(model: GLIP) -> GLIP:
    """Change the formulation of a model in place; its parameters stay."""
    for module in model.modules():
        if type(module) is Fusion:
            module.__class__ = StraightforwardFusion
        elif type(module) is DeformConv:
            module.__class__ = TorchvisionDeformConv
    return model


def pad_text(input_ids: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Token ids and mask [U, T] -> [U, 256]."""
    missing = TOKENS - input_ids.shape[1]
    return torch.nn.functional.pad(input_ids, (0, missing)), torch.nn.functional.pad(
        mask, (0, missing)
    )
