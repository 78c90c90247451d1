"""Encoded captions: what a detector reads of its text."""

from typing import NamedTuple

from torch import Tensor


class TextFeatures(NamedTuple):
    """Encoded captions. A row of ``mask`` is True at [CLS], words, separators and [SEP]."""

    hidden: Tensor  # [B, T, D]; rows of padding hold numbers without meaning
    mask: Tensor  # bool [B, T]

    def select(self, rows: Tensor) -> "TextFeatures":
        """The features of some captions, in the given order (int64 [B]): one caption may serve many images."""
        return TextFeatures(self.hidden[rows], self.mask[rows])
