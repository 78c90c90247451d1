"""Learning rates over a run."""

from pathlib import Path

import pytest
import torch
from torch.optim import AdamW

from glip_lightning.common.errors import GLIPError
from glip_lightning.training.schedules import Constant, Cosine, MultiStep, Plateau, Schedule
from parity import read_json
from printed import words


def make_optimizer(*rates: float) -> AdamW:
    return AdamW([{"params": [torch.nn.Parameter(torch.zeros(1))], "lr": rate} for rate in rates])


def run(schedule: Schedule, steps: int, total: int | None, *rates: float) -> list[list[float]]:
    """The rates of all groups before each of ``steps`` optimizer steps."""
    optimizer = make_optimizer(*rates)
    scheduler = schedule.build(optimizer, total)
    history = []
    for _ in range(steps):
        history.append([group["lr"] for group in optimizer.param_groups])
        optimizer.step()
        scheduler.step()
    return history


@pytest.mark.parametrize("schedule", [Constant(warmup_steps=4), Cosine(warmup_steps=4)])
def test_warmup_rises_to_one_and_is_never_zero(schedule: Schedule) -> None:
    assert run(schedule, 5, 20, 1.0) == [[pytest.approx(x)] for x in (0.2, 0.4, 0.6, 0.8, 1.0)]


def test_cosine_ends_at_zero_and_stays_there() -> None:
    rates = run(Cosine(warmup_steps=4), 31, 20, 1.0)
    assert [rates[step][0] for step in (12, 20, 30)] == pytest.approx([0.5, 0, 0])


def test_constant_stays() -> None:
    assert run(Constant(), 50, None, 0.3) == [[0.3]] * 50


@pytest.mark.parametrize("schedule", [Cosine(), MultiStep()])
def test_what_needs_an_end_says_so(schedule: Schedule) -> None:
    with pytest.raises(GLIPError) as caught:
        schedule.build(make_optimizer(1.0), None)
    assert caught.value.code == "endless-schedule"
    assert {type(schedule).__name__, "trainer.max_epochs", "trainer.max_steps"} <= words(
        str(caught.value)
    )


def test_steps_as_milestones_need_no_end() -> None:
    assert run(MultiStep([2, 3], gamma=0.5), 5, None, 1.0) == [[1.0], [1.0], [0.5], [0.25], [0.25]]


def test_wrong_values_are_named() -> None:
    with pytest.raises(GLIPError, match=r"milestones=\[0.9, 0.5\]") as caught:
        MultiStep([0.9, 0.5])
    assert caught.value.code == "bad-value"
    with pytest.raises(GLIPError, match="warmup_steps=-1") as caught:
        Constant(warmup_steps=-1)
    assert caught.value.code == "bad-value"


def reference(golden: Path, name: str) -> list[list[float]]:
    rows = read_json(golden / "ops" / "ops.json").get("lr_schedules", {})
    found = [values for key, values in rows.items() if key.startswith(name)]
    if not found:
        pytest.skip(f"{golden.name} has no learning rates of {name}")
    return found[0]


@pytest.mark.parity
@pytest.mark.parametrize("milestones", [(30, 45), (0.5, 0.75)])
def test_multi_step_is_the_official_one(golden: Path, milestones: tuple[float, ...]) -> None:
    theirs = reference(
        golden, "WarmupMultiStepLR(milestones=[30,45],gamma=.1,warmup_factor=.001,warmup_iters=10)"
    )
    ours = run(MultiStep(milestones, warmup_steps=10), len(theirs), 60, *theirs[20])
    assert ours == [pytest.approx(row, rel=1e-14) for row in theirs]


@pytest.mark.parity
def test_plateau_is_the_official_one(golden: Path) -> None:
    """Three steps without a metric before each with one; an AP of 0.0 is in the sequence."""
    theirs = reference(
        golden, "WarmupReduceLROnPlateau(gamma=.1,warmup_iters=0,eta_min=1e-6,patience=3)"
    )
    optimizer = make_optimizer(*theirs[0][1:])
    scheduler = Plateau(patience=3).build(optimizer, None)
    for ap, *rates in theirs:
        for _ in range(3):
            optimizer.step()
            scheduler.step()
        scheduler.step(ap)
        assert [group["lr"] for group in optimizer.param_groups] == pytest.approx(rates, rel=1e-14)


def test_plateau_ignores_an_undefined_ap() -> None:
    optimizer = make_optimizer(1.0)
    scheduler = Plateau(patience=1).build(optimizer, None)
    for ap in (0.5, *[float("nan")] * 10, 0.0, 0.4):
        scheduler.step(ap)
    assert optimizer.param_groups[0]["lr"] == 1.0
    scheduler.step(0.3)
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.1)


def test_which_rates_depend_on_the_end_of_the_run() -> None:
    assert Cosine().needs_end
    assert MultiStep().needs_end
    assert not MultiStep(milestones=(10, 20)).needs_end
    assert not Constant().needs_end
    assert not Plateau().needs_end
