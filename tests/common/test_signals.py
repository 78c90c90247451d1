"""Real signals to real processes: finished work is kept, nothing is left, no traceback."""

import fcntl
import functools
import json
import os
import pty
import re
import shutil
import signal
import socket
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from lightning import Callback, Trainer

from glip_lightning.app.cli import main
from glip_lightning.common import signals
from glip_lightning.common.signals import SIGNALS, Interrupted, interrupting
from glip_lightning.experiments.sweep.trial_state import state_of
from glip_lightning.shapes.shapes13 import TASKS
from glip_lightning.shapes.task_pictures import example
from glip_lightning.training.ranks import lost_rank
from printed import line_with, numbers, words
from small_runs import make_shapes, options, records_of
from small_sweeps import trial_folders, write_sweep

TERM, HUP = signal.SIGTERM, signal.SIGHUP
LONG = ["--trainer.max_epochs=500", "--trainer.accelerator=cpu"]


class Stop(Callback):
    """Sends Ctrl-C once, before training batch ``batch`` of a run, counted over all epochs."""

    def __init__(self, batch: int, hook: str = "on_train_batch_start") -> None:
        self.batch = batch
        setattr(self, hook, self._look)

    def _look(self, trainer: Trainer, *_: Any, **__: Any) -> None:
        if (
            trainer.fit_loop.epoch_loop.total_batch_idx == self.batch
            and not trainer.sanity_checking
        ):
            self.batch = -1
            os.kill(os.getpid(), signal.SIGINT)


class Process:
    """A command of ours in a group of its own, as a service or a terminal starts it."""

    def __init__(
        self,
        log: Path,
        *words: object,
        nohup: bool = False,
        wandb: str = "disabled",
        terminal: int | None = None,
        hub: str | None = None,
    ) -> None:
        """``terminal`` controls it and takes stdout; ``log`` takes the rest; ``hub``: a URL."""
        variables = {"WANDB_MODE": wandb, "OMP_NUM_THREADS": "1"}
        if hub is not None:
            variables |= {"HF_ENDPOINT": hub, "HF_HUB_OFFLINE": "0"}
        self.log = log
        with log.open("w") as stream:
            self.process = subprocess.Popen(
                [
                    *(["nohup"] if nohup else []),
                    sys.executable,
                    "-m",
                    "glip_lightning.app.cli",
                    *map(str, words),
                ],
                start_new_session=True,
                env=os.environ | variables,
                stdin=subprocess.DEVNULL,
                stdout=stream if terminal is None else terminal,
                stderr=stream,
                preexec_fn=None
                if terminal is None
                else lambda: fcntl.ioctl(terminal, termios.TIOCSCTTY, 0),
            )

    def wait_for(self, pattern: str, seconds: float = 240) -> None:
        """Return when the output matches; a process that ends before is an error."""
        deadline = time.monotonic() + seconds
        while not re.search(pattern, self.said):
            assert self.process.poll() is None, self.said
            assert time.monotonic() < deadline, self.said
            time.sleep(0.05)

    @property
    def said(self) -> str:
        return self.log.read_text(errors="replace")

    def end(self, *numbers: signal.Signals, group: bool = True) -> int:
        """Send the signals; return the exit code when no process of the group is left."""
        for number in numbers:
            os.killpg(self.process.pid, number) if group else self.process.send_signal(number)
        code = self.process.wait(120)
        deadline = time.monotonic() + 20
        while self.left():
            assert time.monotonic() < deadline, "a process stays behind"
            time.sleep(0.1)
        assert "Traceback" not in self.said, self.said
        assert "Exception ignored" not in self.said, self.said
        return code

    def left(self) -> bool:
        try:
            os.killpg(self.process.pid, 0)
        except ProcessLookupError:
            return False
        return True


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_shapes(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    for i in range(60):
        example(TASKS["Blocks"], "test", i % 4, size=96).image.save(folder / f"{i:02}.jpg")
    return folder


def lines_of(run: Path) -> list[str]:
    return (run / "logs" / "metrics.csv").read_text().splitlines()


# ---- metrics.csv -------------------------------------------------------------------------------
ACCUMULATED = "--data.images_per_device=1"  # of batches of two: four batches an epoch, two steps


@pytest.fixture(scope="module")
def table(shapes: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], list[str]]:
    """metrics.csv of a run with an option that nothing interrupts."""

    @functools.cache
    def table(option: str) -> list[str]:
        run = tmp_path_factory.mktemp("whole") / "run"
        assert main(["fit", *options(shapes, run), option]) == 0
        return lines_of(run)

    return table


def interrupted(
    shapes: Path, run: Path, option: str, *batches: int, hook: str = "on_train_batch_start"
) -> list[str]:
    """Return metrics.csv of a run that Ctrl-C ended at each of ``batches`` before it finished.

    In the last step of the first epoch and its validation nothing was saved yet: the run starts
    anew.
    """
    anew = command = ["fit", *options(shapes, run), option]
    for batch in batches:
        stop = ["--trainer.callbacks", "test_signals.Stop", f"--trainer.callbacks.batch={batch}"]
        assert main([*command, *stop, f"--trainer.callbacks.hook={hook}"]) == 130
        last = run / "checkpoints" / "last.ckpt"
        # --resume takes no other callbacks
        command = [
            "fit",
            "--config",
            str(run / "recipe.yaml"),
            "--run",
            str(run),
            "--ckpt_path",
            str(last),
        ]
        if not last.exists():
            shutil.rmtree(run)
            command = anew
    assert main([*command, "--trainer.callbacks=null"]) == 0
    return lines_of(run)


def test_the_table_of_a_run_that_was_stopped_at_every_step_is_that_of_a_whole_one(
    shapes: Path, tmp_path: Path, table: Callable[[str], list[str]]
) -> None:
    assert interrupted(shapes, tmp_path / "run", "--data.workers=0", 0, 1, 2, 3) == table(
        "--data.workers=0"
    )


@pytest.mark.slow
def test_the_table_of_accumulated_batches(
    shapes: Path, tmp_path: Path, table: Callable[[str], list[str]]
) -> None:
    """Stopped in the first and in the second batch of a step, the last of an epoch."""
    assert interrupted(shapes, tmp_path / "run", ACCUMULATED, 0, 3) == table(ACCUMULATED)


@pytest.mark.slow
@pytest.mark.parametrize("batch", range(4))
def test_the_table_of_a_run_that_was_stopped_once(
    batch: int, shapes: Path, tmp_path: Path, table: Callable[[str], list[str]]
) -> None:
    assert interrupted(shapes, tmp_path / "run", "--data.workers=0", batch) == table(
        "--data.workers=0"
    )
    hook = "on_validation_batch_start"
    if batch == 3:  # in the first validation nothing was saved yet, unless a minute has passed
        found = interrupted(shapes, tmp_path / "valid", "--data.workers=0", batch, hook=hook)
        assert found == table("--data.workers=0")


@pytest.mark.slow
@pytest.mark.parametrize("batch", range(8))
def test_the_table_of_accumulated_batches_stopped_anywhere(
    batch: int, shapes: Path, tmp_path: Path, table: Callable[[str], list[str]]
) -> None:
    assert interrupted(shapes, tmp_path / "run", ACCUMULATED, batch) == table(ACCUMULATED)


def wandb_rows(run: Path) -> list[tuple[Any, ...]]:
    """Step, loss and AP of all parts of a run in W&B."""
    parts = sorted((run / "wandb").glob("offline-run-*"), key=lambda part: part.stat().st_mtime_ns)
    found = [
        record["history"]["item"]
        for part in parts
        for record in records_of(part)
        if record["type"] == "history"
    ]
    keys = ("trainer/global_step", "train/loss", "val/AP", "test/AP")
    rows = [tuple(item.get(key) for key in keys) for item in found]
    return [row for row in rows if any(value is not None for value in row[1:])]


@pytest.mark.slow
def test_wandb_has_the_rows_of_a_whole_run(
    shapes: Path, tmp_path: Path, table: Callable[[str], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = table("--data.workers=0")
    monkeypatch.setenv("WANDB_MODE", "offline")
    assert main(["fit", *options(shapes, tmp_path / "whole")]) == 0
    assert interrupted(shapes, tmp_path / "parts", "--data.workers=0", 0, 2) == expected
    whole = wandb_rows(tmp_path / "whole")
    assert len(whole) >= 7  # four steps, two validations, a test
    assert wandb_rows(tmp_path / "parts") == whole


# ---- training ----------------------------------------------------------------------------------
def fit(shapes: Path, folder: Path, *more: object, **given: Any) -> Process:
    """A long training that has finished an epoch."""
    command = ["fit", *options(shapes, folder / "run"), *LONG, *more]
    process = Process(folder / "log.txt", *command, **given)
    process.wait_for(r"epoch 2\b")
    return process


def assert_resumable(process: Process, folder: Path) -> None:
    assert f"glip fit --resume {folder / 'run'}" in process.said
    assert (folder / "run" / "checkpoints" / "last.ckpt").is_file()


def test_sigterm_to_the_group_ends_a_fit_with_its_workers(shapes: Path, tmp_path: Path) -> None:
    """Twice, as ``timeout`` sends it."""
    process = fit(shapes, tmp_path, "--data.workers=2", wandb="offline")
    assert process.end(TERM, TERM) == 128 + TERM
    assert_resumable(process, tmp_path)
    assert "SIGTERM" in process.said


@pytest.mark.slow
def test_a_closed_terminal_ends_a_fit_and_nohup_does_not(shapes: Path, tmp_path: Path) -> None:
    process = fit(shapes, tmp_path, "--data.workers=1", nohup=True)
    os.killpg(process.process.pid, HUP)
    epoch = len(re.findall("epoch", process.said))
    process.wait_for(rf"(?s)(epoch.*){{{epoch + 3}}}")
    assert process.end(TERM) == 128 + TERM
    assert_resumable(process, tmp_path)
    screen, terminal = pty.openpty()
    again = Process(tmp_path / "again.txt", "fit", "--resume", tmp_path / "run", terminal=terminal)
    os.close(terminal)
    shown = b""
    while b"train/loss" not in shown:  # the bar
        assert again.process.poll() is None, again.said
        shown += os.read(screen, 4096)
    os.close(screen)
    assert again.end() == 128 + HUP
    assert_resumable(again, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("number", SIGNALS)
@pytest.mark.parametrize("group", [True, False], ids=["group", "alone"])
def test_signals_end_a_fit(
    number: signal.Signals, group: bool, shapes: Path, tmp_path: Path
) -> None:
    process = fit(shapes, tmp_path, "--data.workers=2")
    assert process.end(number, group=group) == 128 + number
    assert_resumable(process, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [1, 3, 5, 7, 9, 11])
def test_signals_before_the_first_step(seconds: float, shapes: Path, tmp_path: Path) -> None:
    command = ["fit", *options(shapes, tmp_path / "run"), *LONG, "--data.workers=2"]
    process = Process(tmp_path / "log.txt", *command)
    time.sleep(seconds)
    assert process.end(TERM) in (128 + TERM, -TERM)  # the second: before the program had begun


@pytest.mark.slow
def test_signals_end_two_ranks(shapes: Path, tmp_path: Path) -> None:
    process = fit(
        shapes, tmp_path, "--data.workers=1", "--trainer.devices=2", "--trainer.strategy=ddp"
    )
    assert process.end(TERM, TERM) == 128 + TERM
    assert_resumable(process, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("lost", ["first", "second"])
def test_a_lost_rank_ends_the_other_with_a_line(lost: str, shapes: Path, tmp_path: Path) -> None:
    process = fit(
        shapes, tmp_path, "--data.workers=0", "--trainer.devices=2", "--trainer.strategy=ddp"
    )
    first = process.process.pid
    listed = subprocess.run(
        ["ps", "-o", "pid=,args=", "--ppid", str(first)], capture_output=True, text=True
    )
    (second,) = (int(line.split()[0]) for line in listed.stdout.splitlines() if " fit " in line)
    os.kill(first if lost == "first" else second, signal.SIGKILL)
    assert process.end() == (-signal.SIGKILL if lost == "first" else 1)
    told = lost_rank(RuntimeError("gloo: Connection closed by peer"))
    assert told is not None
    assert process.said.count(told) == 1
    assert "gloo" not in process.said


# ---- predict and pseudo-label ------------------------------------------------------------------
def predict(photos: Path, out: Path, *more: object) -> list[str]:
    words = [
        "predict",
        photos,
        "--detector",
        "glip-nano-c",
        "--phrases",
        "red circle",
        "--device",
        "cpu",
        "--out",
        out,
    ]
    return [*map(str, words), *map(str, more)]


def counts(said: str) -> list[list[str]]:
    """Return the numbers in each line."""
    return list(map(numbers, said.splitlines()))


def entries(out: Path) -> list[dict[str, Any]]:
    return json.loads((out / "predictions.json").read_text())["photos"]


def test_sigterm_keeps_what_was_predicted_and_the_same_command_goes_on(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    process = Process(tmp_path / "log.txt", *predict(photos, out))
    while len(list(out.glob("*.jpg"))) < 5:
        assert process.process.poll() is None, process.said
        time.sleep(0.02)
    assert process.end(TERM, TERM) == 128 + TERM
    kept = entries(out)
    assert 4 <= len(kept) < 60
    times = {entry["picture"]: Path(entry["picture"]).stat().st_mtime_ns for entry in kept}
    changed = Path(kept[0]["photo"])
    os.utime(changed, (1, 1))
    assert main(predict(photos, out)) == 0
    assert [str(len(kept) - 1), "60"] in counts(capsys.readouterr().out)  # done already
    assert len(entries(out)) == 60
    again = [name for name, time in times.items() if Path(name).stat().st_mtime_ns != time]
    assert again == [kept[0]["picture"]]


def test_another_command_replaces_what_was_predicted(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    given = [photos / f"{i:02}.jpg" for i in range(3)]
    assert main(["predict", *map(str, given), *predict(photos, out)[2:]]) == 0
    (out / "mine.jpg").touch()
    content = json.loads((out / "predictions.json").read_text())
    elsewhere = tmp_path / "elsewhere.jpg"
    elsewhere.touch()
    content["photos"][2]["picture"] = str(elsewhere)
    (out / "predictions.json").write_text(json.dumps(content))
    assert main(["predict", str(given[0]), *predict(photos, out, "--threshold", "0.4")[2:]]) == 0
    said = capsys.readouterr().out
    assert re.findall(rf"^{out}/predictions\.json ", said, re.MULTILINE)  # is replaced
    assert ["2"] in counts(said)  # pictures are deleted
    assert [entry["photo"] for entry in entries(out)] == [str(given[0])]
    assert sorted(path.name for path in out.glob("*.jpg")) == ["00.jpg", "02.jpg", "mine.jpg"]
    assert elsewhere.exists()


def test_other_photos_take_the_place_of_those_before(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    for i in range(2):
        assert main(["predict", str(photos / f"{i:02}.jpg"), *predict(photos, out)[2:]]) == 0
    assert ["1"] in counts(capsys.readouterr().out)  # picture is deleted
    assert [path.name for path in out.glob("*.jpg")] == ["01.jpg"]


def test_a_damaged_file_of_predictions_is_replaced(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "predictions.json").write_text('{"photos": [{"photo"')
    (tmp_path / "07.jpg").touch()
    assert main(["predict", str(photos / "00.jpg"), *predict(photos, tmp_path)[2:]]) == 0
    line_with(capsys.readouterr().err, tmp_path / "predictions.json")
    assert len(entries(tmp_path)) == 1
    assert (tmp_path / "07.jpg").exists()


@pytest.mark.slow
def test_signals_keep_the_journal_of_pseudo_labels(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "labels.json"
    words = [
        "--images",
        photos,
        "--phrases",
        "red circle",
        "--detector",
        "glip-nano-c",
        "--out",
        out,
        "--batch",
        1,
    ]
    process = Process(tmp_path / "log.txt", "pseudo-label", *words, "--device", "cpu")
    journal = tmp_path / "labels.scores.jsonl"
    while not (journal.exists() and journal.read_bytes().count(b"\n") >= 4):
        assert process.process.poll() is None, process.said
        time.sleep(0.02)
    assert process.end(HUP, TERM) == 128 + HUP
    assert str(journal) in process.said.splitlines()[-1]
    assert not out.exists()
    assert journal.read_bytes().count(b"\n") >= 4


# ---- other verbs, sweeps -----------------------------------------------------------------------
@contextmanager
def waiting(folder: Path, **given: Any) -> Iterator[Process]:
    """The verb is in the middle: a download from a server that accepts and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        hub = f"http://127.0.0.1:{server.getsockname()[1]}"
        process = Process(
            folder / "log.txt", "download", "Raccoon", "--root", folder / "data", hub=hub, **given
        )
        server.settimeout(120)
        with server.accept()[0]:
            yield process


@pytest.mark.parametrize("number", [TERM, HUP])
def test_a_signal_ends_a_verb_that_keeps_nothing(number: signal.Signals, tmp_path: Path) -> None:
    with waiting(tmp_path) as process:
        assert process.end(number) == 128 + number
    last = process.said.splitlines()[-1]
    assert last.startswith("glip: ")
    assert number.name in words(last)


def test_a_closed_terminal_does_not_end_what_nohup_has_started(tmp_path: Path) -> None:
    with waiting(tmp_path, nohup=True) as process:
        for _ in range(2):
            os.killpg(process.process.pid, HUP)
            time.sleep(0.2)
        assert process.process.poll() is None
        assert process.end(TERM) == 128 + TERM


def test_a_closed_terminal_ends_a_verb(tmp_path: Path) -> None:
    screen, terminal = pty.openpty()
    with waiting(tmp_path, terminal=terminal) as process:
        os.close(terminal)
        os.close(screen)
        assert process.end() == 128 + HUP


@pytest.mark.slow
@pytest.mark.parametrize("number", SIGNALS)
@pytest.mark.parametrize("group", [True, False], ids=["group", "parent"])
def test_signals_end_a_sweep(number: signal.Signals, group: bool, tmp_path: Path) -> None:
    file = write_sweep(tmp_path, {"seed": [3, 30]}, max_epochs=500)
    folder = tmp_path / "out"
    process = Process(
        tmp_path / "log.txt", "sweep", file, "--dir", folder, "--workers", 2, "--data.workers=1"
    )
    deadline = time.monotonic() + 240
    while len(list(folder.glob("trials/*/checkpoints/last.ckpt"))) < 2:
        assert process.process.poll() is None, process.said
        assert time.monotonic() < deadline, process.said
        time.sleep(0.1)
    assert process.end(number, group=group) == 128 + number
    assert ["2"] in counts(process.said)  # trials are unfinished
    for trial in trial_folders(folder):
        assert state_of(trial).state == "unfinished"
        said = (trial / "trial.log").read_text()
        assert said.count("SIGTERM") == 2  # the step is finished, then the trial is interrupted
        assert "Traceback" not in said


# ---- the module --------------------------------------------------------------------------------
@pytest.mark.parametrize("number", SIGNALS)
def test_the_first_signal_interrupts(number: signal.Signals) -> None:
    before = [signal.getsignal(each) for each in SIGNALS]
    with pytest.raises(Interrupted) as stop, interrupting():
        os.kill(os.getpid(), number)
    assert stop.value.number == signals.received() == number
    assert stop.value.exit_code == 128 + number
    assert [signal.getsignal(each) for each in SIGNALS] == before


class Dying:
    def __del__(self) -> None:
        os.kill(os.getpid(), TERM)
        time.sleep(0)


def test_a_signal_is_not_lost_where_python_drops_exceptions(
    capfd: pytest.CaptureFixture[str],
) -> None:
    def wait() -> None:
        Dying()
        time.sleep(10)

    with pytest.raises(Interrupted), interrupting():
        wait()
    assert capfd.readouterr().err == ""


def test_what_is_ignored_stays_ignored() -> None:
    before = signal.signal(HUP, signal.SIG_IGN)
    try:
        with interrupting():
            os.kill(os.getpid(), HUP)
            assert signal.getsignal(HUP) == signal.SIG_IGN
        assert signals.received() is None
    finally:
        signal.signal(HUP, before)


def test_an_echo_is_no_second_signal() -> None:
    heard = []
    with interrupting():
        previous = signals.listen(heard.append)
        for number in (TERM, TERM, HUP, signal.SIGINT):
            os.kill(os.getpid(), number)
        signals.restore(previous)
    assert heard == [TERM, signal.SIGINT]
