"""The number of threads on a busy processor."""

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from glip_lightning.experiments.sweep import run_sweep
from glip_lightning.experiments.sweep.run_sweep import SweepOptions
from glip_lightning.training.callbacks import threads
from glip_lightning.training.callbacks.threads import ProcessorThreads

ON_CPU: Any = SimpleNamespace(strategy=SimpleNamespace(root_device=torch.device("cpu")))


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Two cores, of which others want one and a half; nobody has set the number of threads."""
    before = torch.get_num_threads()
    for name in threads.NAMED:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(threads, "AT_IMPORT", 2)
    monkeypatch.setattr(threads.os, "cpu_count", lambda: 2)
    monkeypatch.setattr(threads, "cores", lambda: 2)
    monkeypatch.setattr(threads.os, "getloadavg", lambda: (1.5, 0.0, 0.0))
    monkeypatch.setattr(threads, "CGROUP", Path("nowhere"))
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def measured(monkeypatch: pytest.MonkeyPatch, one: float, two: float) -> list[int]:
    """The numbers of threads that are measured, which take so long."""
    asked: list[int] = []

    def seconds(number: int) -> float:
        asked.append(number)
        return {1: one, 2: two}[number]

    monkeypatch.setattr(threads, "seconds_with_threads", seconds)
    return asked


def started(callback: ProcessorThreads) -> int:
    callback.on_fit_start(ON_CPU, None)  # type: ignore[arg-type]
    return torch.get_num_threads()


@pytest.mark.parametrize(("one", "two", "chosen"), [(0.01, 1.0, 1), (0.02, 0.01, 2)])
def test_the_faster_number_is_taken(
    monkeypatch: pytest.MonkeyPatch, one: float, two: float, chosen: int
) -> None:
    asked = measured(monkeypatch, one, two)
    callback = ProcessorThreads()
    assert started(callback) == callback.threads == chosen
    assert started(callback) == chosen
    assert asked == [1, 2]  # once


@pytest.mark.parametrize("name", threads.NAMED)
def test_what_the_user_says_wins(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    asked = measured(monkeypatch, 0.01, 1.0)
    monkeypatch.setenv(name, "2")
    assert started(ProcessorThreads()) == 2
    monkeypatch.delenv(name)
    torch.set_num_threads(3)
    assert started(ProcessorThreads()) == 3
    assert asked == []


def test_a_free_processor_is_not_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = measured(monkeypatch, 0.01, 1.0)
    monkeypatch.setattr(threads.os, "getloadavg", lambda: (0.9, 0.0, 0.0))
    assert started(ProcessorThreads()) == 2
    assert asked == []


@pytest.mark.parametrize(
    ("files", "busy"),
    [
        ({"cpu.max": "50000 100000"}, True),
        ({"cpu.max": "max 100000"}, False),
        ({"cpu.max": "400000 100000"}, False),
        ({"cpu/cpu.cfs_quota_us": "100000", "cpu/cpu.cfs_period_us": "100000"}, True),
        ({"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, False),
    ],
)
def test_a_container_with_less_time_than_cores_is_measured(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, files: dict[str, str], busy: bool
) -> None:
    """Its load is that of the whole machine, which may be idle; threads above the quota wait."""
    asked = measured(monkeypatch, 0.01, 1.0)
    monkeypatch.setattr(threads.os, "getloadavg", lambda: (0.0, 0.0, 0.0))
    monkeypatch.setattr(threads, "CGROUP", tmp_path)
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text + "\n")
    assert started(ProcessorThreads()) == (1 if busy else 2)
    assert asked == ([1, 2] if busy else [])


def test_a_resumed_run_keeps_its_number(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = measured(monkeypatch, 1.0, 0.01)
    resumed = ProcessorThreads()
    resumed.load_state_dict({"threads": 1})
    assert started(resumed) == 1
    assert asked == []


def test_measuring_takes_little_time_and_draws_no_random_number() -> None:
    state, before = torch.get_rng_state(), torch.get_num_threads()
    began = threads.time.perf_counter()
    assert 0 < threads.seconds_with_threads(1) < 1
    assert threads.time.perf_counter() - began < 2
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.get_num_threads() == before


def test_a_sweep_decides_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """One trial at a time with two threads, or with one; the trials get the number of the sweep."""
    monkeypatch.setattr(run_sweep, "cores", lambda: 2)
    asked = measured(monkeypatch, 0.01, 1.0)
    _, workers, number = run_sweep._executor(tmp_path, SweepOptions(workers=1))
    assert (workers, number, asked) == (1, 1, [1, 2])
    assert run_sweep._executor(tmp_path, SweepOptions(workers=2))[1:] == (2, 1)  # one core each
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    assert run_sweep._executor(tmp_path, SweepOptions(workers=1))[1:] == (1, 2)
    assert asked == [1, 2]
