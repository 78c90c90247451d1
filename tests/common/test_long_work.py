"""What is shown of steps that take long, where no terminal is."""

import pytest

from glip_lightning.common import long_work


def test_a_line_a_minute_without_a_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(long_work, "MINUTE", 0.0)
    assert list(long_work.tracked("abc", "photos", 3)) == ["a", "b", "c"]
    assert capsys.readouterr() == ("", "glip: photos: 1 of 3\nglip: photos: 2 of 3\n")


def test_short_work_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(long_work.tracked(iter([1, 2]), "photos", 2)) == [1, 2]
    assert capsys.readouterr() == ("", "")
