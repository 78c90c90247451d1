"""Last layers: every position is scored against every token, and gets a box and a centerness.

Source: microsoft/GLIP modeling/rpn/vldyhead.py:645-693, 731-859. The official ``cls_logits`` layer
is not built: its loss is multiplied by zero and its output only counts score columns.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from typing_extensions import override

from glip_lightning.models.config import STRIDES, GLIPConfig
from glip_lightning.models.layers.tower import flatten_levels

PRIOR_PROBABILITY = 0.01
CLAMP = 50000.0  # the official guard against fp16 overflow


class GroundingHead(nn.Module):
    """Dot products of positions and tokens, box deltas and centerness logits."""

    def __init__(self, config: GLIPConfig) -> None:
        super().__init__()
        channels, text_dim = config.channels, config.text.hidden_size
        self.text_projection = nn.Linear(text_dim, channels)
        self.log_scale = nn.Parameter(torch.full((1,), config.log_scale))
        self.token_bias_weight = nn.Parameter(torch.zeros(text_dim))
        self.token_bias = nn.Parameter(
            torch.full((1,), -math.log((1 - PRIOR_PROBABILITY) / PRIOR_PROBABILITY))
        )
        self.box = nn.Conv2d(channels, 4, 1)
        self.centerness = nn.Conv2d(channels, 1, 1)
        self.box_scales = nn.ParameterList(torch.ones(1) for _ in STRIDES)
        for layer in (self.box, self.centerness):
            nn.init.normal_(layer.weight, std=0.01)
            nn.init.zeros_(layer.bias)  # pyrefly: ignore

    @override
    def forward(self, levels: list[Tensor], text: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return logits [B, N, T], deltas [B, N, 4] and centerness logits [B, N].

        The inputs are maps [B, C, H, W] of five levels and text [B, T, D].
        """
        vision = flatten_levels(levels)
        deltas = F.linear(vision, self.box.weight.flatten(1), self.box.bias)
        deltas = deltas * self._scale_per_position(levels)
        centerness = F.linear(vision, self.centerness.weight.flatten(1), self.centerness.bias)
        return self._logits(vision, text), deltas, centerness.squeeze(-1)

    def _logits(self, vision: Tensor, text: Tensor) -> Tensor:
        text = F.normalize(text, dim=-1)
        # half the embedding for the projection, the whole one for the bias (vldyhead.py:772-777)
        tokens = self.text_projection(text / 2)
        bias = text @ self.token_bias_weight + self.token_bias  # [B, T]
        logits = vision @ tokens.transpose(1, 2) / self.log_scale.exp() + bias[:, None]
        return logits.clamp(-CLAMP, CLAMP)

    def _scale_per_position(self, levels: list[Tensor]) -> Tensor:
        scales = []
        for scale, level in zip(self.box_scales, levels, strict=True):
            scales.append(scale.expand(level.shape[-2] * level.shape[-1]))
        return torch.cat(scales)[:, None]
