"""What messages about data spell out, and what they count."""

import pytest

from glip_lightning.data.checks.findings import listing


@pytest.mark.parametrize(
    "count, more", [(0, ""), (1, ""), (5, ""), (6, " and 1 more"), (164, " and 159 more")]
)
def test_five_are_named_and_the_others_counted(count: int, more: str) -> None:
    names = [f"p{i}.png" for i in range(count)]
    assert listing(names) == ", ".join(names[:5]) + more
    assert listing(names, "; ") == "; ".join(names[:5]) + more


def test_names_are_shown_escaped() -> None:
    assert listing(["a\x1b[31m"]) == "a\\x1b[31m"
