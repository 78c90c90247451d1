"""What a sweep says while it runs: how many trials are done, and about how long the others take."""

import json
import re
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from glip_lightning.experiments.sweep import board as board_module
from glip_lightning.experiments.sweep.board import Board, show_plan, trial_name
from glip_lightning.experiments.sweep.jobs import Event, State
from glip_lightning.experiments.sweep.plan import Planned
from glip_lightning.experiments.sweep.trial_state import state_of, steps_done
from glip_lightning.experiments.sweep.trial_times import TrialTimes, finished_runs
from glip_lightning.training.logging.metrics_table import write_rows
from glip_lightning.training.trial import Trial
from printed import numbers, words


def recipe_of(tuning: str, **data: Any) -> dict[str, Any]:
    return {
        "model": {"detector": "glip-nano", "tuning": {"class_path": f"glip_lightning.{tuning}"}},
        "data": {"class_path": "glip_lightning.CustomData", "init_args": data},
        "trainer": {"accelerator": "cpu"},
    }


def trial(number: int, steps: int | None, tuning: str = "FullTuning") -> Planned:
    axes = {"shots": 0 if steps == 0 else "all", "seed": number}
    recipe = recipe_of(tuning, root="photos", seed=number)
    return Planned(Trial("tiny", f"{number:012}", axes, (axes,)), recipe, 4, steps)


def finish(folder: Path, planned: Planned, seconds: float, steps: int | None = None) -> None:
    """Write the result of a trial; ``steps`` where it ended before its last one."""
    place = folder / planned.trial.id
    place.mkdir()
    taken = planned.steps if steps is None else steps
    content = {"metrics": {"test": {"AP": 0.5}}, "seconds": seconds, "steps": taken}
    (place / "result.json").write_text(json.dumps(content))


def rates(planned: Sequence[Planned], folder: Path) -> TrialTimes:
    return TrialTimes(
        planned, {each.trial.id: state_of(folder / each.trial.id) for each in planned}
    )


def said(
    board: Board,
    capsys: pytest.CaptureFixture[str],
    planned: Planned,
    state: State,
    note: str = "",
    shown: str = "",
) -> list[str]:
    """Return the values in a line about the whole: trials done, all trials, time to go.

    What it says of the trial names it and its state, which is ``shown`` under another name.
    """
    board.show(Event(planned.trial.id, state, note, seconds=1))
    (line,) = capsys.readouterr().out.splitlines()
    whole, _, own = line.partition(" | ")
    first, _, rest = own.partition(": ")
    assert (shown or state) in words(first)
    assert rest.startswith(f"{trial_name(planned.trial)} ({planned.trial.id})")
    return re.findall(r"\d+(?: (?:s|min|h)\b)?", whole)


def test_lines_have_the_time_to_go_as_soon_as_it_is_known(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Ten times the steps take ten times as long; what needs no step says nothing of what does."""
    untrained, short, long, prompt = (
        trial(1, 0),
        trial(2, 100),
        trial(3, 1000),
        trial(4, 1000, "PromptTuning"),
    )
    with Board([untrained, short, long, prompt], tmp_path, 1, rates([], tmp_path)) as board:
        assert said(board, capsys, untrained, "running") == ["0", "4"]
        finish(tmp_path, untrained, 5)
        assert said(board, capsys, untrained, "finished") == ["1", "4"]
        finish(tmp_path, short, 300)
        assert said(board, capsys, short, "finished") == ["2", "4", "100 min"]
        finish(tmp_path, prompt, 1200)  # another tuning: its own rate, and no longer guessed
        assert said(board, capsys, prompt, "finished") == ["3", "4", "50 min"]
        finish(tmp_path, long, 3000)
        assert said(board, capsys, long, "finished") == ["4", "4"]


def test_workers_share_the_time_and_none_is_shorter_than_its_trial(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, *others, long = trial(1, 100), trial(2, 100), trial(3, 100), trial(4, 100), trial(5, 600)
    finish(tmp_path, first, 600)
    known = rates([first], tmp_path)
    two = Board([*others, long], tmp_path, 2, known)
    assert said(two, capsys, long, "running") == ["0", "4", "60 min"]
    three = Board(others, tmp_path, 2, known)
    assert said(three, capsys, others[0], "running") == ["0", "3", "15 min"]


def test_a_trial_that_stopped_early_counts_by_what_was_planned(tmp_path: Path) -> None:
    """The others will stop early, too."""
    early, other, endless = trial(1, 1000), trial(2, 500), trial(3, None)
    finish(tmp_path, early, 400, steps=200)
    known = rates([early, other, endless], tmp_path)
    assert known.seconds(other) == 200
    assert known.seconds(endless) is None


@pytest.mark.parametrize("state", ["interrupted", "elsewhere", "queued"])
def test_only_what_is_over_is_done(
    state: State, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one, two, three = trial(1, 100), trial(2, 100), trial(3, 100)
    board = Board([one, two, three], tmp_path, 2, rates([], tmp_path))
    assert said(board, capsys, one, state) == ["0", "3"]
    assert said(board, capsys, two, "died", "exit code 7", shown="failed") == ["1", "3"]
    assert said(board, capsys, three, "failed", "no") == ["2", "3"]


def test_after_an_interruption_nobody_waits(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, running, waiting = trial(1, 100), trial(2, 100), trial(3, 100)
    finish(tmp_path, first, 600)
    board = Board([running, waiting], tmp_path, 1, rates([first], tmp_path))
    assert said(board, capsys, running, "running") == ["0", "2", "20 min"]
    assert said(board, capsys, running, "interrupted") == ["0", "2"]


def log_step(folder: Path, planned: Planned, step: int, more: str = "") -> None:
    """Write the metrics that a running trial has logged, the last row after ``step`` steps."""
    path = folder / planned.trial.id / "logs" / "metrics.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    many = {f"val/AP_class/a {number}, b": 0.5 for number in range(300)}
    rows = [many | {"step": each, "train/loss": 1.5} for each in range(9, step, 10)]
    write_rows(path, [*many, "step", "train/loss"], rows)
    with path.open("a") as file:
        file.write(more)


def test_the_step_of_a_running_trial_is_the_last_whole_row(tmp_path: Path) -> None:
    one = trial(1, 588)
    place = tmp_path / one.trial.id
    assert steps_done(place) == 0
    log_step(tmp_path, one, 0)
    assert steps_done(place) == 0  # a header alone
    log_step(tmp_path, one, 10)
    assert steps_done(place) == 10
    log_step(tmp_path, one, 500, more="0.5,0.5")
    assert steps_done(place) == 500


def test_without_a_terminal_a_line_says_where_the_running_trials_are(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(board_module, "PAUSE", 0.01)
    first, second, waiting = trial(1, 588), trial(2, None), trial(3, 0)
    said: list[str] = []
    with Board([first, second, waiting], tmp_path, 2, rates([], tmp_path)) as board:
        log_step(tmp_path, first, 350)
        for each in (first, second):
            board.show(Event(each.trial.id, "running"))
        time.sleep(0.1)
        assert len(capsys.readouterr().out.splitlines()) == 2  # a minute is not over
        monkeypatch.setattr(board_module, "MINUTE", 0.05)
        deadline = time.monotonic() + 20
        while not said and time.monotonic() < deadline:
            time.sleep(0.05)
            said = capsys.readouterr().out.splitlines()
    _, _, running = said[0].partition("running: ")
    one, other = running.split("; ")
    assert one == "shots=all seed=1, step 350 of 588 (0 s)"
    assert other == "shots=all seed=2 (0 s)"  # nothing is logged yet
    capsys.readouterr()
    time.sleep(0.1)
    assert capsys.readouterr().out == ""


def test_trials_that_wait_on_a_cluster_are_not_said_to_run(tmp_path: Path) -> None:
    first, second = trial(1, 588), trial(2, 588)
    board = Board([first, second], tmp_path, 2, rates([], tmp_path))
    for each in (first, second):
        board.show(Event(each.trial.id, "submitted"))
    log_step(tmp_path, second, 20)
    assert board._positions() == ["seed=2, step 20 of 588"]


def write_run(folder: Path, name: str, recipe: object, seconds: float, steps: int) -> None:
    (folder / name).mkdir()
    content = {"metrics": {}, "seconds": seconds, "steps": steps, "recipe": recipe}
    (folder / name / "result.json").write_text(json.dumps(content))


def test_finished_runs_on_the_same_data_tell_the_time_until_a_trial_does(tmp_path: Path) -> None:
    runs, trials = tmp_path / "runs", tmp_path / "trials"
    runs.mkdir()
    trials.mkdir()
    write_run(runs, "a", recipe_of("FullTuning", root="photos", seed=77), 100, 50)
    write_run(runs, "other-data", recipe_of("FullTuning", root="elsewhere", seed=1), 1000, 50)
    write_run(runs, "test", recipe_of("FullTuning", root="photos", seed=1), 1000, 0)
    write_run(runs, "other", {"model": "glip-nano"}, 1000, 50)
    (runs / "damaged").mkdir()
    (runs / "damaged" / "result.json").write_text("{")
    full, again, prompt = trial(1, 200), trial(2, 100), trial(3, 100, "PromptTuning")
    planned = [full, again, prompt]
    new = {each.trial.id: state_of(trials / each.trial.id) for each in planned}
    known = TrialTimes(planned, new, finished_runs(runs))
    assert (known.seconds(full), known.seconds(again), known.seconds(prompt)) == (400, 200, None)
    assert known.guess(prompt) == 200
    finish(trials, full, 100)
    known.add(full, state_of(trials / full.trial.id))
    assert known.seconds(again) == 50


def test_the_plan_says_why_there_are_fewer_trials_than_combinations(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    points = tuple({"shots": 0, "tuning": tuning} for tuning in ("full", "prompt"))
    shared = Planned(Trial("s", "a", points[0], points), recipe_of("FullTuning"), 0, 0)
    few = {"shots": 1, "tuning": "full"}
    own = Planned(Trial("s", "b", few, (few,)), recipe_of("FullTuning"), 4, 10)
    planned = [shared, own]
    states = {each.trial.id: state_of(tmp_path / each.trial.id) for each in planned}
    show_plan(planned, states, rates(planned, tmp_path))
    header, zero, one, count, unknown = capsys.readouterr().out.splitlines()
    assert header.split() == ["shots", "tuning", "trial", "state", "images", "steps"]
    assert zero.split() == ["0", "-", "a", "new", "0", "0"]
    assert one.split() == ["1", "full", "b", "new", "4", "10"]
    assert numbers(count) == ["2", "3", "0", "2"]  # trials, combinations, shots, to run
    assert {"glip-nano", "FullTuning"} <= words(unknown)
    assert trial_name(shared.trial) == "shots=0"
