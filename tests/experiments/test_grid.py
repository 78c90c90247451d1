"""Sweep files: their points, and what is wrong with them."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from glip_lightning.config.wrong_usage import WrongUsage
from glip_lightning.data.benchmarks.tasks import get_task, task_names
from glip_lightning.experiments.sweep.grid import read_grid, select

RECIPE = {
    "model": {"tuning": {"class_path": "glip_lightning.FullTuning", "init_args": {"lr": 0.5, "freeze_at": -1}}},
    "data": {"class_path": "ODinW"},
}


def write(folder: Path, axes: Any, **more: Any) -> Path:
    (folder / "recipe.yaml").write_text(yaml.safe_dump(RECIPE))
    file = folder / "sweep.yaml"
    file.write_text(yaml.safe_dump({"recipe": "recipe.yaml", "axes": axes} | more, sort_keys=False))
    return file


def test_points_are_all_combinations_in_the_order_of_the_file(tmp_path: Path) -> None:
    grid = read_grid(write(tmp_path, {"task": ["Raccoon", "BCCD"], "shots": [0, "all"], "model.detector": ["a"]}))
    assert grid.name == "sweep"
    assert [tuple(point.values()) for point in grid.points()] == [
        ("Raccoon", 0, "a"),
        ("Raccoon", "all", "a"),
        ("BCCD", 0, "a"),
        ("BCCD", "all", "a"),
    ]


def test_points_to_skip_agree_in_all_that_an_entry_names(tmp_path: Path) -> None:
    axes = {"shots": [0, 1, "all"], "tuning": ["FullTuning", "PromptTuning"]}
    skip = [{"shots": [1, "all"], "tuning": "PromptTuning"}, {"shots": 0, "tuning": ["FullTuning"]}]
    grid = read_grid(write(tmp_path, axes, skip=skip))
    assert [tuple(point.values()) for point in grid.points()] == [
        (0, "PromptTuning"),
        (1, "FullTuning"),
        ("all", "FullTuning"),
    ]


@pytest.mark.parametrize(
    "skip, said",
    [
        ({"shots": 0}, "skip: expected a list of mappings"),
        ([{}], "skip: expected a list of mappings"),
        ([{"shots": 1}, {"shot": 0}], r"skip, entry 2: shot: no axis of this sweep; did you mean shots\?"),
        ([{"shots": [1, 3]}], r"skip, entry 1: shots 3: not on the axis, which has \[0, 1\]"),
        ([{"shots": [0, 1]}], "skip: leaves no point at all"),
    ],
)
def test_faults_of_what_is_skipped(tmp_path: Path, skip: Any, said: str) -> None:
    with pytest.raises(WrongUsage, match=said):
        read_grid(write(tmp_path, {"shots": [0, 1]}, skip=skip))


def test_axes_become_values_of_dotted_keys(tmp_path: Path) -> None:
    axes = {"task": ["Raccoon"], "shots": ["all"], "seed": [30], "trainer.max_epochs": [2], "data.flip": [0.5]}
    grid = read_grid(write(tmp_path, axes))
    point = next(grid.points())
    assert grid.regime(point).content == RECIPE
    assert grid.changes(point) == {
        **{"data.task": "Raccoon", "data.shots": "all", "seed_everything": 30, "data.seed": 30},
        **{"trainer.max_epochs": 2, "data.flip": 0.5},
    }


def test_another_tuning_inherits_nothing(tmp_path: Path) -> None:
    low = {"class_path": "LinearProbe", "init_args": {"lr": 1.0}}
    full = {"class_path": "FullTuning", "init_args": {"text_lr": 0.0}}
    grid = read_grid(write(tmp_path, {"tuning": {"FullTuning": "FullTuning", "low": low, "full": full}}))
    same, other, changed = (grid.changes(point) for point in grid.points())
    assert same == {}
    assert other == {"model.tuning": low}
    assert changed == {"model.tuning": full}
    assert grid.regimes["default"].content == RECIPE


def test_recipes_by_shots(tmp_path: Path) -> None:
    write(tmp_path, {})
    (tmp_path / "zero.yaml").write_text("{model: {detector: zero}}")
    regimes = {0: "zero.yaml", "default": "recipe.yaml"}
    grid = read_grid(write(tmp_path, {"shots": [0, 1]}, recipe=regimes))
    assert [grid.regime(point).file.name for point in grid.points()] == ["zero.yaml", "recipe.yaml"]
    grid = read_grid(write(tmp_path, {"shots": [0, 1]}, recipe={0: "zero.yaml"}))
    with pytest.raises(WrongUsage, match="recipe: none for shots 1"):
        grid.regime({"shots": 1})


@pytest.mark.parametrize("benchmark", ["odinw13", "odinw35"])
def test_benchmarks_stand_for_their_tasks(tmp_path: Path, benchmark: Any) -> None:
    tasks = read_grid(write(tmp_path, {"task": [benchmark]})).axes["task"]
    assert [get_task(task).name for task in tasks] == task_names(benchmark)
    assert {"Aquarium", "Raccoon", "VehiclesOpenImages"} <= set(tasks)


def test_generated_tasks_beside_those_of_odinw(tmp_path: Path) -> None:
    tasks = read_grid(write(tmp_path, {"task": ["shapes13", "Raccoon"]})).axes["task"]
    assert tasks == [*task_names("shapes13"), "Raccoon"]
    assert len(tasks) == 14


@pytest.mark.parametrize(
    "axes, said",
    [
        ({}, "axes is missing"),
        ({"shot": [1]}, r"axis shot: no such axis; did you mean shots\?"),
        ({"data.shots": [1]}, "axis data.shots: write shots instead"),
        ({"shots": []}, "axis shots: is empty"),
        ({"shots": 3}, "axis shots: 3: expected a list"),
        ({"shots": [1, -1]}, "axis shots: -1: expected a whole number"),
        ({"shots": ["al"]}, "axis shots: 'al': expected a whole number"),
        ({"shots": [True]}, "axis shots: True"),
        ({"shots": [1, 3, 1]}, "axis shots: 1 is named twice"),
        ({"seed": ["all"]}, "axis seed: 'all': expected a whole number"),
        ({"task": ["Racoon"]}, r"axis task: no task of ODinW or Shapes-13 .*did you mean .*Raccoon"),
        ({"task": ["Raccoon", "Raccoon_Raccoon.v2-raw.coco"]}, "axis task: Raccoon is named twice"),
        ({"task": ["Kits"]}, r"axis task: no task of ODinW or Shapes-13 .*did you mean .*Kites"),
        ({"task": ["shapes13", "Reef"]}, "axis task: Reef is named twice"),
        ({"task": ["odinw13", "Raccoon"]}, "axis task: Raccoon is named twice"),
        ({"tuning": [{"class_path": "FullTuning"}]}, "axis tuning: .*the name of a class"),
        ({"tuning": {"a": 3}}, "axis tuning, a: 3: expected class_path"),
        ({"tuning": {"a": {"class_path": "FullTuning", "lr": 3}}}, "axis tuning, a: lr: belongs below init_args"),
        ({"data.min_sizes": [[96]]}, "axis data.min_sizes"),
    ],
)
def test_faults_name_file_and_axis(tmp_path: Path, axes: Any, said: str) -> None:
    file = write(tmp_path, axes)
    with pytest.raises(WrongUsage, match=said) as error:
        read_grid(file)
    assert str(file) in str(error.value)


def test_faults_of_the_file(tmp_path: Path) -> None:
    cases: dict[str, dict[str, Any]] = {
        "recip: no such key; did you mean recipe": {"recip": "recipe.yaml"},
        "recipe: a file, or a mapping": {"recipe": None},
        "recipe: 'many': expected 0": {"recipe": {"many": "recipe.yaml"}},
        "nowhere.yaml: no such file": {"recipe": "nowhere.yaml"},
        "name: 'a/b'": {"name": "a/b"},
    }
    for said, more in cases.items():
        with pytest.raises(WrongUsage, match=said):
            read_grid(write(tmp_path, {"shots": [1]}, **more))
    with pytest.raises(WrongUsage, match=r"^nowhere\.yaml: no such file"):
        read_grid(Path("nowhere.yaml"))


def test_a_part_is_selected_by_labels() -> None:
    points = [{"task": task, "shots": shots} for task in ("A", "B") for shots in (1, "all")]
    assert select(points, "task=A") == points[:2]
    assert select(points, "task=B,shots=1") == [points[2]]
    assert select(points, "shots=1, shots=all,task=A") == points[:2]
    for only, said in {
        "tasks=A": "did you mean task",
        "task": "AXIS=VALUE",
        "task=C": "the axis task has A, B",
    }.items():
        with pytest.raises(WrongUsage, match=said):
            select(points, only)


def test_half_a_character_is_refused(tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text('name: s\nrecipe: r.yaml\naxes: {model.detector: ["\\ud800"]}\n')
    with pytest.raises(WrongUsage, match=r"s\.yaml"):
        read_grid(tmp_path / "s.yaml")
