"""Counts with nouns: one is one, all other numbers take the plural."""

import pytest

from glip_lightning.common.plurals import count_with_noun


@pytest.mark.parametrize(
    ("count", "noun", "expected"),
    [
        (1, "box", "1 box"),
        (2, "box", "2 boxes"),
        (0, "image", "0 images"),
        (3, "class", "3 classes"),
        (2, "entry", "2 entries"),
        (2, "day", "2 days"),
        (5, "open run", "5 open runs"),
        (2, "batch", "2 batches"),
    ],
)
def test_count_with_noun__number_decides_the_form(count: int, noun: str, expected: str) -> None:
    assert count_with_noun(count, noun) == expected
