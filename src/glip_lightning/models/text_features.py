"""Encoded captions: the text as a detector reads it."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class TextFeatures:
    """Encoded captions. A row of ``mask`` is True at every token that is not padding."""

    hidden: Tensor  # [B, T, D]; rows of padding hold numbers without meaning
    mask: Tensor  # bool [B, T]

    def select(self, rows: Tensor) -> "TextFeatures":
        """Return the features of the captions ``rows`` (int64 [B]), in this order.

        One caption may serve many images.
        """
        return TextFeatures(self.hidden[rows], self.mask[rows])

    def to(self, device: torch.device) -> "TextFeatures":
        """Return the features on ``device``."""
        return TextFeatures(self.hidden.to(device), self.mask.to(device))

    @classmethod
    def joined(cls, texts: "Sequence[TextFeatures]") -> "TextFeatures":
        """Return captions [1, T, D] as a batch [B, T, D]; shorter ones end with masked tokens."""
        longest = max(text.mask.shape[1] for text in texts)
        first = texts[0]
        hidden = first.hidden.new_zeros(len(texts), longest, first.hidden.shape[2])
        mask = first.mask.new_zeros(len(texts), longest)
        for row, text in enumerate(texts):
            length = text.mask.shape[1]
            hidden[row, :length], mask[row, :length] = text.hidden[0], text.mask[0]
        return cls(hidden, mask)
