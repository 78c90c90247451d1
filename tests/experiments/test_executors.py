"""Processes of this machine: errors, deaths, signals and GPUs; no job needs torch."""

import os
import signal
import subprocess
import sys
import time
from multiprocessing import forkserver, get_all_start_methods
from pathlib import Path

import pytest

from glip_lightning.experiments.sweep.executors import Local, Stop, visible_gpus
from glip_lightning.experiments.sweep.jobs import Event, Job


def jobs(folder: Path, *names: str) -> list[Job]:
    return [Job(name, str(folder), str(folder), {}) for name in names]


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
    gpus = os.environ.get("CUDA_VISIBLE_DEVICES")
    note = f"{os.getpid()} {gpus} {os.environ.get('GLIP_LEFT_BEHIND')}"
    os.environ["GLIP_LEFT_BEHIND"] = job.id
    return Event(job.id, "finished", note)


def deaf(job: Job) -> Event:
    """Survives what a terminal sends."""
    os.kill(os.getpid(), signal.SIGINT)
    return Event(job.id, "finished")


def ended(events: list[Event]) -> dict[str, Event]:
    return {event.id: event for event in events if event.state not in ("running", "submitted")}


def test_every_trial_has_a_clean_process(tmp_path: Path) -> None:
    events = list(Local(1).run(small, jobs(tmp_path, "a", "b", "c"), Stop()))
    assert [(event.id, event.state) for event in events] == [
        (name, state) for name in "abc" for state in ("running", "finished")
    ]
    processes, _, left = zip(*(event.note.split() for event in ended(events).values()), strict=True)
    assert len({*processes, str(os.getpid())}) == 4
    assert set(left) == {"None"}


@pytest.mark.parametrize("temporary", ["", "long " * 20])
def test_modules_are_imported_once_for_all_trials(tmp_path: Path, temporary: str) -> None:
    """The server imports them that all processes are forked from.

    There is none where the folder of temporary files has too long a path for its socket.
    """
    (tmp_path / "preloaded.py").write_text(
        "import os\nprint('imported', os.getpid(), flush=True)\n"
    )
    (tmp_path / "many.py").write_text(
        "from test_executors import Local, Stop, ended, jobs, small\n"
        "if __name__ == '__main__':\n"
        "    from pathlib import Path\n"
        "    local = Local(2, preload=['preloaded'])\n"
        "    found = ended(list(local.run(small, jobs(Path('.'), 'a', 'b', 'c'), Stop())))\n"
        "    print(*(event.state for event in found.values()))\n"
    )
    environment = dict(os.environ)
    environment["PYTHONPATH"] = os.pathsep.join([str(tmp_path), str(Path(__file__).parent)])
    has_server = "forkserver" in get_all_start_methods()
    if temporary:
        (tmp_path / temporary).mkdir()
        environment["TMPDIR"] = str(tmp_path / temporary)
        has_server = False
    else:
        environment.pop("TMPDIR", None)
    done = subprocess.run(
        [sys.executable, str(tmp_path / "many.py")],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    said = done.stdout.splitlines()
    assert said[-1] == "finished finished finished"
    assert sum(line.startswith("imported") for line in said) == has_server


def test_a_dead_process_takes_only_its_trial_along(tmp_path: Path) -> None:
    found = ended(
        list(Local(1).run(small, jobs(tmp_path, "a", "exit", "b", "killed", "c"), Stop()))
    )
    assert {name: event.state for name, event in found.items()} == {
        **dict.fromkeys("abc", "finished"),
        **dict.fromkeys(("exit", "killed"), "died"),
    }
    assert found["exit"].note.split()[-1] == "3"  # its exit code
    assert "SIGKILL" in found["killed"].note
    assert len({found[name].note for name in "abc"}) == 3


def test_every_worker_sees_one_gpu(tmp_path: Path) -> None:
    found = ended(list(Local(2, ["4", "7"]).run(small, jobs(tmp_path, *"abcdef"), Stop())))
    processes = {event.note for event in found.values()}
    assert {note.split()[1] for note in processes} == {"4", "7"}


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


@pytest.mark.parametrize("held_back", [True, False])
def test_a_worker_does_not_hear_the_terminal(tmp_path: Path, held_back: bool) -> None:
    """This holds whether or not signals were blocked when the server started that forks them."""
    forkserver._forkserver._stop()
    if not held_back:
        forkserver.ensure_running()
    assert ended(list(Local(1).run(deaf, jobs(tmp_path, "a"), Stop())))["a"].state == "finished"


@pytest.mark.parametrize("times", [1, 2])
def test_ctrl_c_lets_a_trial_save_and_begins_no_other(tmp_path: Path, times: int) -> None:
    stop = Stop()
    events = []
    # ignored where a shell runs the tests in the background
    before = signal.getsignal(signal.SIGINT)
    with stop.listening():
        for event in Local(1).run(small, jobs(tmp_path, "long", "b"), stop):
            events.append(event)
            if event.state == "running":
                wait_for(tmp_path / "begun")
                for _ in range(times):
                    os.kill(os.getpid(), signal.SIGINT)
    assert [(event.id, event.state) for event in events] == [
        ("long", "running"),
        ("long", "interrupted"),
    ]
    assert (tmp_path / "saved").exists() == (times == 1)
    assert signal.getsignal(signal.SIGINT) is before
