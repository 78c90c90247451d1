"""The tokens of a caption that name a phrase, and the positive map of the losses.

Offsets are those of :class:`glip_lightning.text.tokenizer.Tokenizer`: one ``(start, end)`` per
token, ``(0, 0)`` for [CLS] and [SEP].

Source: microsoft/GLIP data/datasets/modulated_coco.py (create_positive_map).
"""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

Span = tuple[int, int]  # characters: start, end (exclusive)


def char_to_token(offsets: Sequence[Span], char: int) -> int | None:
    """Return the index of the first token that covers the character at place ``char``.

    None for a blank and for a place outside the caption.
    """
    for index, (start, end) in enumerate(offsets):
        if start <= char < end:
            return index
    return None


def token_indices(spans: Iterable[Span], offsets: Sequence[Span]) -> tuple[int, ...]:
    """Return the tokens, ascending, of one phrase that stands at ``spans`` of the caption.

    A border of a span that falls on no token moves inwards by one, then two characters. A span that
    has no token at one of its borders is left out (modulated_coco.py, create_positive_map).
    """
    found: set[int] = set()
    for start, end in spans:
        first = _first_token(offsets, (start, start + 1, start + 2))
        last = _first_token(offsets, (end - 1, end - 2, end - 3))
        if first is not None and last is not None:
            found.update(range(first, last + 1))
    return tuple(sorted(found))


def _first_token(offsets: Sequence[Span], chars: Iterable[int]) -> int | None:
    """Return the token of the first of ``chars`` that has one."""
    for char in chars:
        token = char_to_token(offsets, char)
        if token is not None:
            return token
    return None


def positive_map(token_lists: Sequence[Sequence[int]], length: int) -> "Tensor":
    """Return the map, bool [G, T], that is True where token t names phrase g.

    Tokens from ``length`` on are not in the caption any more. The official data set divides rows by
    their sum, but its collator casts them to bool, so the losses see 0 and 1
    (data/collate_batch.py:38-46).
    """
    import torch  # here, since counting tokens does not need it

    rows = torch.zeros(len(token_lists), length, dtype=torch.bool)
    for row, tokens in zip(rows, token_lists, strict=True):
        row[[t for t in tokens if t < length]] = True
    return rows
