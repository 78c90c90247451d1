"""A table of classes in the place of a text encoder, for the baseline that reads no names."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from typing_extensions import override

from glip_lightning.models.text_features import TextFeatures

TABLE = "language.rows"
"""The parameter whose rows are the classes."""


class ClassTable(nn.Module):
    """Learned features of classes without names: position k of a caption is class k (Dynamic Head).

    Its rows mean the classes of the list that they were trained with, and nothing for another list.
    """

    def __init__(self, classes: int, width: int) -> None:
        super().__init__()
        # as large as BERT's features; the head reads their direction alone, and random directions
        # are far apart
        self.rows = nn.Parameter(torch.randn(classes, width))

    @override
    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> TextFeatures:
        return TextFeatures(F.embedding(input_ids, self.rows), attention_mask.to(torch.bool))

    @torch.no_grad()
    def start_anew(self, seed: int) -> None:
        """Draw initial rows for another class list, a function of ``seed`` alone."""
        generator = torch.Generator("cpu").manual_seed(seed)  # the same rows on all devices
        self.rows.copy_(torch.randn(self.rows.shape, generator=generator, device="cpu"))
