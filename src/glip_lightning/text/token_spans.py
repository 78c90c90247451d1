"""Which tokens of a caption name a phrase: from characters to tokens, and the positive map of the losses.

Offsets are those of :class:`glip_lightning.text.tokenizer.Tokenizer`: one ``(start, end)`` per token, ``(0, 0)`` for
[CLS] and [SEP].

Source: microsoft/GLIP data/datasets/modulated_coco.py (create_positive_map).
"""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

Span = tuple[int, int]  # characters or tokens' characters: start, end (exclusive)


def char_to_token(offsets: Sequence[Span], char: int) -> int | None:
    """Index of the first token that covers character ``char``; None for blanks and outside the caption."""
    return next((i for i, (start, end) in enumerate(offsets) if start <= char < end), None)


def token_indices(spans: Iterable[Span], offsets: Sequence[Span]) -> tuple[int, ...]:
    """Tokens of one phrase that stands at ``spans`` of the caption, ascending.

    A border that falls on no token moves inwards by one, then two characters; a span without a token at
    either border is left out (modulated_coco.py, create_positive_map).
    """
    found: set[int] = set()
    for start, end in spans:
        first = _first_token(offsets, (start, start + 1, start + 2))
        last = _first_token(offsets, (end - 1, end - 2, end - 3))
        if first is not None and last is not None:
            found.update(range(first, last + 1))
    return tuple(sorted(found))


def _first_token(offsets: Sequence[Span], chars: Iterable[int]) -> int | None:
    tokens = (char_to_token(offsets, char) for char in chars)
    return next((token for token in tokens if token is not None), None)


def positive_map(token_lists: Sequence[Sequence[int]], length: int) -> "Tensor":
    """Bool [G, T]: True where token t < ``length`` names phrase g; later tokens were truncated away.

    The official data set divides rows by their sum, but its collator casts them to bool, so the losses
    see 0 and 1 (data/collate_batch.py:38-46).
    """
    import torch  # not needed to count tokens

    rows = torch.zeros(len(token_lists), length, dtype=torch.bool)
    for row, tokens in zip(rows, token_lists, strict=True):
        row[[t for t in tokens if t < length]] = True
    return rows
