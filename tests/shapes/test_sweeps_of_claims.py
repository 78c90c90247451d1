"""The sweeps of the paper's claims: their trials, and which of them are the same."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from glip_lightning.experiments.sweep import plan
from glip_lightning.experiments.sweep.grid import read_grid
from glip_lightning.experiments.sweep.plan import Planned, resolve

CLAIMS = Path(__file__).parent.parent.parent / "recipes" / "shapes" / "sweeps"
COUNTS = {
    "1_transfer": 125,
    "2_data_efficiency": 395,
    "3_prompt_tuning": 720,
    "4_manual_prompts": 40,
    "5_teacher_student": 130,
}
"""Trials as the heads of the files say, of five tasks."""


def planned(name: str, patch: pytest.MonkeyPatch) -> list[Planned]:
    """The trials of one task and seed; its pictures are not drawn."""
    patch.setattr(
        plan._Reader, "images", lambda self, resolved: 0 if resolved.data.shots == 0 else 1
    )
    grid = read_grid(CLAIMS / f"{name}.yaml")
    few: dict[str, list[Any]] = {"task": grid.axes["task"][:1], "seed": grid.axes["seed"][:1]}
    return resolve(replace(grid, axes=grid.axes | few), [])


def test_every_file_is_tested() -> None:
    assert {path.stem for path in CLAIMS.glob("*.yaml")} == {*COUNTS, "quick", "shapes13"}


def test_files_share_their_trials_in_one_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    found = {name: planned(name, monkeypatch) for name in COUNTS}
    ids = {name: {each.trial.id for each in all_of_one} for name, all_of_one in found.items()}
    of_all_seeds = {each.trial.id: 3 if each.steps else 1 for one in found.values() for each in one}
    assert {name: 5 * sum(of_all_seeds[id] for id in some) for name, some in ids.items()} == COUNTS
    assert ids["1_transfer"] | ids["5_teacher_student"] <= ids["2_data_efficiency"]
    assert 5 * sum(of_all_seeds.values()) == 895
    assert {each.trial.id for each in planned("quick", monkeypatch)} <= of_all_seeds.keys()
    steps = {(each.trial.axes["shots"], each.steps) for each in found["2_data_efficiency"]}
    assert steps == {(0, 0), *((k, 120) for k in (1, 3, 5, 10)), ("all", 240)}


def test_all_files_have_the_same_tasks_and_labels_of_tunings() -> None:
    """Else equal runs would be lines of their own, and means would be over other tasks."""
    grids = [read_grid(CLAIMS / f"{name}.yaml") for name in COUNTS]
    assert len({tuple(grid.axes["task"]) for grid in grids}) == 1
    for grid in [*grids, read_grid(CLAIMS / "quick.yaml"), read_grid(CLAIMS / "shapes13.yaml")]:
        assert all(
            tuning["class_path"] in (label, f"glip_lightning.{label}")
            for label, tuning in grid.tunings.items()
        )


def test_quick_is_quick_and_the_large_one_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    quick, grid = planned("quick", monkeypatch), read_grid(CLAIMS / "quick.yaml")
    assert (len(grid.axes["task"]), len(quick)) == (3, 8 + 14)
    tuned = {
        each.trial.axes["model.detector"]
        for each in quick
        if each.trial.axes["tuning"] == "PromptTuning"
    }
    assert tuned == {"glip-nano-a", "glip-nano-b", "glip-nano-c", "glip-nano"}
    assert len(read_grid(CLAIMS / "shapes13.yaml").axes["task"]) == 13
    assert len(planned("shapes13", monkeypatch)) == 8 + 13 * 5
