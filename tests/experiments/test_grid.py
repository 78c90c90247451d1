"""Sweep files: their points, and what is wrong with them."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from glip_lightning.config.recipe_files import recipes_folder
from glip_lightning.config.wrong_usage import WrongUsage
from glip_lightning.data.benchmarks.tasks import get_task, task_names
from glip_lightning.experiments.sweep.grid import read_grid, select, sweep_file, sweep_folder
from printed import words
from refusals import refusal

RECIPE = {
    "model": {
        "tuning": {
            "class_path": "glip_lightning.FullTuning",
            "init_args": {"lr": 0.5, "freeze_at": -1},
        }
    },
    "data": {"class_path": "ODinW"},
}


def write(folder: Path, axes: Any, **more: Any) -> Path:
    (folder / "recipe.yaml").write_text(yaml.safe_dump(RECIPE))
    file = folder / "sweep.yaml"
    file.write_text(yaml.safe_dump({"recipe": "recipe.yaml", "axes": axes} | more, sort_keys=False))
    return file


def test_points_are_all_combinations_in_the_order_of_the_file(tmp_path: Path) -> None:
    grid = read_grid(
        write(tmp_path, {"task": ["Raccoon", "BCCD"], "shots": [0, "all"], "model.detector": ["a"]})
    )
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
    "skip, code, named",
    [
        ({"shots": 0}, "bad-value", []),
        ([{}], "bad-value", []),
        ([{"shots": 1}, {"shot": 0}], "unknown-axis", ["2", "shot", "shots"]),
        ([{"shots": [1, 3]}], "unknown-value", ["1", "shots", "3"]),
        ([{"shots": [0, 1]}], "empty-grid", []),
    ],
)
def test_faults_of_what_is_skipped(tmp_path: Path, skip: Any, code: str, named: list[str]) -> None:
    with pytest.raises(WrongUsage) as error:
        read_grid(write(tmp_path, {"shots": [0, 1]}, skip=skip))
    assert error.value.code == code
    assert {"skip", *named} <= words(str(error.value))


def test_axes_become_values_of_dotted_keys(tmp_path: Path) -> None:
    axes = {
        "task": ["Raccoon"],
        "shots": ["all"],
        "seed": [30],
        "trainer.max_epochs": [2],
        "data.flip": [0.5],
    }
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
    grid = read_grid(
        write(tmp_path, {"tuning": {"FullTuning": "FullTuning", "low": low, "full": full}})
    )
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
    with pytest.raises(WrongUsage) as error:
        grid.regime({"shots": 1})
    assert error.value.code == "no-recipe"
    assert {"recipe", "shots", "1"} <= words(str(error.value))


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
    "axes, code, named",
    [
        ({}, "missing-key", ["axes"]),
        ({"shot": [1]}, "unknown-axis", ["shot", "shots"]),
        ({"data.shots": [1]}, "unknown-axis", ["data.shots", "shots"]),
        ({"shots": []}, "empty-axis", ["shots"]),
        ({"shots": 3}, "bad-value", ["shots", "3"]),
        ({"shots": [1, -1]}, "bad-value", ["shots", "-1"]),
        ({"shots": ["al"]}, "bad-value", ["shots", "al"]),
        ({"shots": [True]}, "bad-value", ["shots", "True"]),
        ({"shots": [1, 3, 1]}, "duplicate-value", ["shots", "1"]),
        ({"seed": ["all"]}, "bad-value", ["seed", "all"]),
        ({"task": ["Racoon"]}, "unknown-task", ["task", "Racoon", "Raccoon"]),
        (
            {"task": ["Raccoon", "Raccoon_Raccoon.v2-raw.coco"]},
            "duplicate-value",
            ["task", "Raccoon"],
        ),
        ({"task": ["Kits"]}, "unknown-task", ["task", "Kits", "Kites"]),
        ({"task": ["shapes13", "Reef"]}, "duplicate-value", ["task", "Reef"]),
        ({"task": ["odinw13", "Raccoon"]}, "duplicate-value", ["task", "Raccoon"]),
        ({"tuning": [{"class_path": "FullTuning"}]}, "bad-value", ["tuning", "FullTuning"]),
        ({"tuning": {"a": 3}}, "bad-value", ["tuning", "a", "3", "class_path"]),
        (
            {"tuning": {"a": {"class_path": "FullTuning", "lr": 3}}},
            "unknown-key",
            ["tuning", "a", "lr", "init_args"],
        ),
        ({"data.min_sizes": [[96]]}, "bad-value", ["data.min_sizes", "96"]),
    ],
)
def test_faults_name_file_and_axis(tmp_path: Path, axes: Any, code: str, named: list[str]) -> None:
    file = write(tmp_path, axes)
    with pytest.raises(WrongUsage) as error:
        read_grid(file)
    assert error.value.code == code
    assert {str(file), *named} <= words(str(error.value))


@pytest.mark.parametrize(
    "more, code, named",
    [
        ({"recip": "recipe.yaml"}, "unknown-key", ["recip", "recipe"]),
        ({"recipe": None}, "bad-value", ["recipe"]),
        ({"recipe": {"many": "recipe.yaml"}}, "bad-value", ["recipe", "many"]),
        ({"recipe": "nowhere.yaml"}, "unknown-recipe", ["{folder}/nowhere.yaml"]),
        ({"name": "a/b"}, "bad-value", ["name", "a/b"]),
    ],
)
def test_faults_of_the_file(
    tmp_path: Path, more: dict[str, Any], code: str, named: list[str]
) -> None:
    with pytest.raises(WrongUsage) as error:
        read_grid(write(tmp_path, {"shots": [1]}, **more))
    assert error.value.code == code
    assert {word.format(folder=tmp_path) for word in named} <= words(str(error.value))


def test_a_file_that_is_not_there() -> None:
    with pytest.raises(WrongUsage) as error:
        read_grid(Path("nowhere.yaml"))
    assert error.value.code == "unknown-recipe"
    assert str(error.value).startswith("nowhere.yaml: ")


def test_a_part_is_selected_by_labels() -> None:
    points = [{"task": task, "shots": shots} for task in ("A", "B") for shots in (1, "all")]
    assert select(points, "task=A") == points[:2]
    assert select(points, "task=B,shots=1") == [points[2]]
    assert select(points, "shots=1, shots=all,task=A") == points[:2]
    for only, code, named in (
        ("tasks=A", "unknown-axis", {"task", "shots"}),
        ("task", "unknown-axis", {"AXIS=VALUE"}),
        ("task=C", "unknown-value", {"task", "A", "B"}),
    ):
        with pytest.raises(WrongUsage) as error:
            select(points, only)
        assert error.value.code == code
        assert {"--only", only, *named} <= words(str(error.value))


def test_half_a_character_is_refused(tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text(
        'name: s\nrecipe: r.yaml\naxes: {model.detector: ["\\ud800"]}\n'
    )
    with pytest.raises(WrongUsage) as error:
        read_grid(tmp_path / "s.yaml")
    assert error.value.code == "broken-text"
    assert str(tmp_path / "s.yaml") in str(error.value)


@pytest.mark.parametrize(
    "given, name",
    [
        ("own_photos", "sweeps/own_photos"),
        ("quick", "shapes/sweeps/quick"),
        ("sweeps/demo", "sweeps/demo"),
        ("nano", "nano"),
    ],
)
def test_a_sweep_is_found_by_its_name_alone(
    given: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert sweep_file(given) == recipes_folder() / f"{name}.yaml"
    (tmp_path / given).mkdir(parents=True)
    assert sweep_file(given) == recipes_folder() / f"{name}.yaml"  # a folder is no sweep file
    (tmp_path / given).rmdir()
    (tmp_path / given).touch()
    assert sweep_file(given) == Path(given)


def test_the_folder_of_a_sweep_is_found_by_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert (
        sweep_folder("own_photos") == sweep_folder("sweeps/own_photos") == Path("runs/own_photos")
    )
    assert sweep_folder("quick") == Path("runs/claims_quick")  # as its file calls it
    assert sweep_folder("no_sweep") == Path("no_sweep")
    (tmp_path / "quick").mkdir()
    assert sweep_folder("quick") == Path("quick")


@pytest.mark.parametrize("name", ["own_photos", "sweeps/own_photos", "quick"])
def test_the_command_finds_a_sweep_by_its_name(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file is read before the options are looked at: what is refused is the option."""
    monkeypatch.chdir(tmp_path)
    refused = refusal("sweep", name, "--workers", "0")
    assert (refused.code, {"--workers", "0"} <= words(str(refused))) == ("bad-value", True)
