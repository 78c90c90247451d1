"""Bidirectional cross-attention of image and text, and the text layer that follows it.

Source: microsoft/GLIP utils/fuse_helper.py (BiAttentionBlockForCheckpoint, BiMultiHeadAttention),
modeling/rpn/vldyhead.py (VLFuse, BertEncoderLayer), modeling/rpn/modeling_bert.py.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from typing_extensions import override

from glip_lightning.models.config import TextConfig
from glip_lightning.models.layers.grounding_head import CLAMP


class Fusion(nn.Module):
    """Cross-attention between image positions and tokens, both ways with one score matrix.

    Officially every image position is projected to ``dim`` (2048) three times. A score is bilinear
    in image and text, so all projections can be folded onto the few tokens instead: no image tensor
    wider than ``channels`` exists. With k the keys of head h and v the normed image features:

    * scores   S = (W_q v + b_q) k / sqrt(d) = v (W_q^T k) / sqrt(d) + b_q k / sqrt(d)
    * to image sum over h of softmax_T(S) (W_vl l + b) W_o^T, the bracket and W_o multiplied first
    * to text  softmax_N(S^T) (W_vv v + b) = (softmax_N(S^T) v) W_vv^T + b * (row sum; it is 1
      without dropout)
    """

    def __init__(
        self, channels: int, text_dim: int, dim: int, heads: int, dropout: float, gate: float
    ) -> None:
        super().__init__()
        self.heads = heads
        self.scale = (dim // heads) ** -0.5
        self.norm_vision = nn.LayerNorm(channels)
        self.norm_text = nn.LayerNorm(text_dim)
        self.query = nn.Linear(channels, dim)
        self.key = nn.Linear(text_dim, dim)
        self.value_vision = nn.Linear(channels, dim)
        self.value_text = nn.Linear(text_dim, dim)
        self.out_vision = nn.Linear(dim, channels)
        self.out_text = nn.Linear(dim, text_dim)
        self.gate_vision = nn.Parameter(torch.full((channels,), gate))
        self.gate_text = nn.Parameter(torch.full((text_dim,), gate))
        self.dropout = nn.Dropout(dropout)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)

    @override
    def forward(self, vision: Tensor, text: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Return vision [B, N, C] and text [B, T, D], updated; mask bool [B, T].

        The residuals start from the *normed* inputs (fuse_helper.py:419-426). Padded tokens are
        hidden from the image; the softmax over image positions is not masked at all
        (fuse_helper.py:250-273).
        """
        vision, text = self.norm_vision(vision), self.norm_text(text)
        # [B, h, T, N]: both softmaxes then run along rows of N positions
        scores = self._scores(vision, text)
        vision_update = self._read_text(scores, text, mask)
        text_update = self._read_image(scores, vision)
        return vision + self.gate_vision * vision_update, text + self.gate_text * text_update

    def _split(self, x: Tensor) -> Tensor:
        """Return [B, T, h * d] as [B, h, T, d]."""
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)

    def _per_head(self, rows: Tensor) -> Tensor:
        """Return a weight or bias whose first axis is ``dim`` as [h, d, ...]."""
        return rows.unflatten(0, (self.heads, -1))

    def _scores(self, vision: Tensor, text: Tensor) -> Tensor:
        key = self._split(self.key(text)) * self.scale  # [B, h, T, d]
        weight = (key @ self._per_head(self.query.weight)).flatten(1, 2)  # [B, h * T, C]
        bias = (key @ self._per_head(self.query.bias).unsqueeze(-1)).flatten(1, 2)  # [B, h * T, 1]
        scores = torch.baddbmm(
            bias.to(weight.dtype), weight, vision.transpose(1, 2).to(weight.dtype)
        )
        return scores.clamp(-CLAMP, CLAMP).unflatten(1, (self.heads, -1))

    def _read_text(self, scores: Tensor, text: Tensor, mask: Tensor) -> Tensor:
        share = scores.masked_fill(~mask[:, None, :, None], float("-inf")).softmax(2)  # over tokens
        value = self._split(self.value_text(text))  # [B, h, T, d]
        out = self._per_head(self.out_vision.weight.T)  # [h, d, C]
        value = (value @ out).flatten(1, 2)  # [B, h * T, C]
        share = self.dropout(share).to(value.dtype).flatten(1, 2)  # [B, h * T, N]
        return torch.baddbmm(self.out_vision.bias.to(value.dtype), share.transpose(1, 2), value)

    def _read_image(self, scores: Tensor, vision: Tensor) -> Tensor:
        share = self.dropout(scores.softmax(3))  # over positions
        pooled = share.flatten(1, 2).to(vision.dtype) @ vision  # [B, h * T, C]
        pooled = pooled.unflatten(1, (self.heads, -1))  # [B, h, T, C]
        weight = self._per_head(self.value_vision.weight).transpose(1, 2)  # [h, C, d]
        bias = self._per_head(self.value_vision.bias)[:, None]  # [h, 1, d]
        value = pooled @ weight + share.sum(3)[..., None] * bias  # [B, h, T, d]
        return self.out_text(value.transpose(1, 2).flatten(2))


class TextLayer(nn.Module):
    """One post-norm BERT layer over the fused text, with the official clamps.

    Source: modeling_bert.py:139-272.
    """

    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        dim, eps = config.hidden_size, config.layer_norm_eps
        self.heads = config.num_attention_heads
        self.query = nn.Linear(dim, dim)
        self.key = nn.Linear(dim, dim)
        self.value = nn.Linear(dim, dim)
        self.out = nn.Linear(dim, dim)
        self.norm1 = nn.LayerNorm(dim, eps)
        self.fc1 = nn.Linear(dim, config.intermediate_size)
        self.fc2 = nn.Linear(config.intermediate_size, dim)
        self.norm2 = nn.LayerNorm(dim, eps)
        self.attention_dropout = nn.Dropout(config.dropout)
        self.dropout = nn.Dropout(config.dropout)

    @override
    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Return the text x [B, T, D], updated; mask bool [B, T]."""
        x = self.norm1(x + self.dropout(self.out(self._attention(x, mask))))
        hidden = _clamp(F.gelu(_clamp(self.fc1(x))))
        return _clamp(self.norm2(x + _clamp(self.dropout(self.fc2(hidden)))))

    def _attention(self, x: Tensor, mask: Tensor) -> Tensor:
        query, key, value = (  # each [B, h, T, d]
            layer(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for layer in (self.query, self.key, self.value)
        )
        scores = _clamp(query @ key.transpose(-2, -1) * query.shape[-1] ** -0.5)
        share = scores.masked_fill(~mask[:, None, None], float("-inf")).softmax(-1)
        return (self.attention_dropout(share).to(value.dtype) @ value).transpose(1, 2).flatten(2)


def _clamp(x: Tensor) -> Tensor:
    return x.clamp(-CLAMP, CLAMP)
