"""Learning-rate factors."""

import pytest

from glip_lightning.schedules import factor


@pytest.mark.parametrize("schedule", ["constant", "cosine"])
def test_warmup_rises_to_one_and_is_never_zero(schedule: str) -> None:
    rates = [factor(schedule, step, 4, 20) for step in range(5)]  # pyrefly: ignore
    assert rates == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])


def test_cosine_ends_at_zero_and_stays_there() -> None:
    assert factor("cosine", 12, 4, 20) == pytest.approx(0.5)
    assert factor("cosine", 20, 4, 20) == pytest.approx(0)
    assert factor("cosine", 30, 4, 20) == pytest.approx(0)


def test_constant_stays() -> None:
    assert factor("constant", 1000, 0, 20) == 1
