"""Warm processes of this machine: errors, deaths, signals and GPUs. The jobs here are too small to need torch."""

import os
import signal
import time
from pathlib import Path

import pytest

from glip_lightning.experiments.sweep.executors import Event, Job, Local, Stop, visible_gpus


def jobs(folder: Path, *names: str) -> list[Job]:
    return [Job(name, str(folder), str(folder)) for name in names]


def small(job: Job) -> Event:
    """Does what its id says, and notes the process that did it."""
    print(job.id)
    if job.id.startswith("exit"):
        os._exit(3)
    if job.id.startswith("killed"):
        os.kill(os.getpid(), signal.SIGKILL)
    if job.id.startswith("long"):
        Path(job.folder, "begun").touch()
        try:
            time.sleep(60)
        except KeyboardInterrupt:  # what SIGTERM is in a worker
            Path(job.folder, "saved").touch()
            return Event(job.id, "interrupted")
    return Event(job.id, "finished", f"{os.getpid()} {os.environ.get('CUDA_VISIBLE_DEVICES')}")


def deaf(job: Job) -> Event:
    """Survives what a terminal sends."""
    os.kill(os.getpid(), signal.SIGINT)
    return Event(job.id, "finished")


def ended(events: list[Event]) -> dict[str, Event]:
    return {event.id: event for event in events if event.state not in ("running", "submitted")}


def test_one_warm_process_runs_all_trials(tmp_path: Path) -> None:
    events = list(Local(1).run(small, jobs(tmp_path, "a", "b", "c"), Stop()))
    assert [(event.id, event.state) for event in events] == [
        (name, state) for name in "abc" for state in ("running", "finished")
    ]
    assert len({event.note for event in ended(events).values()}) == 1
    assert str(os.getpid()) not in events[1].note


def test_a_dead_process_takes_only_its_trial_along(tmp_path: Path) -> None:
    found = ended(list(Local(1).run(small, jobs(tmp_path, "a", "exit", "b", "killed", "c"), Stop())))
    assert {name: event.state for name, event in found.items()} == {
        **dict.fromkeys("abc", "finished"),
        **dict.fromkeys(("exit", "killed"), "died"),
    }
    assert found["exit"].note == "the worker process ended with exit code 3"
    assert "SIGKILL" in found["killed"].note
    assert len({found[name].note for name in "abc"}) == 3


def test_every_worker_sees_one_gpu(tmp_path: Path) -> None:
    found = ended(list(Local(2, ["4", "7"]).run(small, jobs(tmp_path, *"abcdef"), Stop())))
    processes = {event.note for event in found.values()}
    assert {note.split()[1] for note in processes} <= {"4", "7"}
    assert len(processes) <= 2


def test_visible_gpus_are_named_as_the_environment_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,GPU-5")
    assert visible_gpus() == ["3", "GPU-5"]
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    assert visible_gpus() == ["0", "1"]


def wait_for(path: Path) -> None:
    deadline = time.monotonic() + 30
    while not path.exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_worker_does_not_hear_the_terminal(tmp_path: Path) -> None:
    assert ended(list(Local(1).run(deaf, jobs(tmp_path, "a"), Stop())))["a"].state == "finished"


@pytest.mark.parametrize("times", [1, 2])
def test_ctrl_c_lets_a_trial_save_and_begins_no_other(tmp_path: Path, times: int) -> None:
    stop = Stop()
    events = []
    before = signal.getsignal(signal.SIGINT)  # ignored where a shell runs the tests in the background
    with stop.listening():
        for event in Local(1).run(small, jobs(tmp_path, "long", "b"), stop):
            events.append(event)
            if event.state == "running":
                wait_for(tmp_path / "begun")
                for _ in range(times):
                    os.kill(os.getpid(), signal.SIGINT)
    assert [(event.id, event.state) for event in events] == [("long", "running"), ("long", "interrupted")]
    assert (tmp_path / "saved").exists() == (times == 1)
    assert signal.getsignal(signal.SIGINT) is before
