"""What a sweep says while it runs: how many trials are done, and about how long the others take."""

import json
import re
from collections.abc import Sequence
from pathlib import Path

import pytest

from glip_lightning.experiments.sweep.board import Board, TrialTimes, point_name
from glip_lightning.experiments.sweep.jobs import Event, State
from glip_lightning.experiments.sweep.plan import Planned
from glip_lightning.experiments.sweep.trial_state import state_of
from glip_lightning.training.trial import Trial
from printed import words


def trial(number: int, steps: int | None, tuning: str = "FullTuning") -> Planned:
    axes = {"shots": 0 if steps == 0 else "all", "seed": number}
    recipe = {
        "model": {"detector": "glip-nano", "tuning": {"class_path": f"glip_lightning.{tuning}"}}
    }
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
    assert rest.startswith(f"{point_name(planned.trial.axes)} ({planned.trial.id})")
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
