"""Options of a command line as dotted keys and values."""

import pytest

from glip_lightning.config.overrides import overrides_of
from glip_lightning.config.wrong_usage import WrongUsage


def test_options_keep_their_order_and_their_texts() -> None:
    words = ["--data", "ODinW", "--data.root=A B", "--trainer.max_steps", "-1", "-c", "few_shot"]
    words += ["--trainer.callbacks+=EMA", "--trainer.callbacks.decay=0.9", "--data.copies={1: 8}"]
    assert overrides_of(words) == [
        *(("data", "ODinW"), ("data.root", "A B"), ("trainer.max_steps", "-1")),
        *(
            ("config", "few_shot"),
            ("trainer.callbacks+", "EMA"),
            ("trainer.callbacks.decay", "0.9"),
        ),
        ("data.copies", "{1: 8}"),
    ]
    assert overrides_of([]) == []


@pytest.mark.parametrize(
    ("words", "code", "named"),
    [
        (["extra"], "unknown-option", "extra: "),
        (["--data.root=.", "extra"], "unknown-option", "extra: "),
        (["--data.root"], "missing-value", "--data.root: "),
        (["--data.root", "--data.task=Raccoon"], "missing-value", "--data.root: "),
    ],
)
def test_words_that_are_no_options_and_values_that_are_missing(
    words: list[str], code: str, named: str
) -> None:
    with pytest.raises(WrongUsage) as refused:
        overrides_of(words)
    assert refused.value.code == code
    assert str(refused.value).startswith(named)
