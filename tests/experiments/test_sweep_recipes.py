"""The sweeps that ship: their trials, and the definition for W&B of the same axes."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from formats import HEIGHT, WIDTH, picture, write_parts
from glip_lightning.config.overrides import overrides_of
from glip_lightning.config.recipe_checker import RecipeChecker
from glip_lightning.config.recipe_files import recipe_file
from glip_lightning.config.wrong_usage import WrongUsage
from glip_lightning.data.benchmarks.odinw import odinw_task
from glip_lightning.experiments.sweep.grid import Grid, read_grid
from glip_lightning.experiments.sweep.plan import Planned, resolve
from printed import words

SWEEPS = Path(__file__).parent.parent.parent / "recipes" / "sweeps"
FILES = sorted(path for path in SWEEPS.glob("*.yaml") if not path.name.endswith(".wandb.yaml"))


def write_task(root: Path, name: str) -> None:
    """The official layout of a task, one picture with a box of every class in each split."""
    task = odinw_task(name)
    for split, file in task.splits.items():
        place = (root / task.name / file).parent
        picture(place, f"{split}.png")
        box = {"bbox": [4, 4, 30, 30], "area": 900, "iscrowd": 0, "image_id": 0}
        content = {
            "images": [{"id": 0, "file_name": f"{split}.png", "width": WIDTH, "height": HEIGHT}],
            "annotations": [
                {"id": k, "category_id": k, **box} for k, _ in enumerate(task.categories, start=1)
            ],
            "categories": [
                {"id": k, "name": name} for k, name in enumerate(task.categories, start=1)
            ],
        }
        (root / task.name / file).write_text(json.dumps(content))


def part(grid: Grid) -> Grid:
    """Two of its tasks and seeds, three shots: all ends of the grid."""
    axes = dict(grid.axes)
    axes["shots"] = [label for label in axes["shots"] if label in (0, 1, "all")]
    for axis in ("task", "seed"):
        if axis in axes:
            axes[axis] = axes[axis][:2]
    return replace(grid, axes=axes)


def trials(file: Path, root: Path) -> list[Planned]:
    grid = part(read_grid(file))
    for task in grid.axes.get("task", []):
        write_task(root, task)
    place = root if "task" in grid.axes else root / "shapes"
    return resolve(grid, [("data.root", str(place))])


def test_all_sweeps_are_tested() -> None:
    assert {path.stem for path in FILES} == {
        "demo",
        "nano_photos",
        "odinw13_fewshot",
        "odinw13_tunings",
        "own_photos",
    }


@pytest.mark.parametrize("name, tunings", [("odinw13_fewshot", 1), ("odinw13_tunings", 4)])
def test_zero_shot_runs_once_per_task_and_every_regime_keeps_its_patience(
    tmp_path: Path, name: str, tunings: int
) -> None:
    found = trials(SWEEPS / f"{name}.yaml", tmp_path)
    assert len(found) == 2 * (1 + 2 * 2 * tunings)
    zero = [each for each in found if each.trial.axes["shots"] == 0]
    assert [len(each.trial.points) for each in zero] == [2 * tunings] * 2
    for each in found:
        shots = each.trial.axes["shots"]
        patience = [
            x["init_args"]["patience"]
            for x in each.recipe["trainer"]["callbacks"] or ()
            if "Early" in str(x)
        ]
        assert patience == {0: [], 1: [8], "all": [4]}[shots]
        assert each.images == (0 if shots == 0 else 1)
        assert each.recipe["data"]["init_args"]["seed"] == (
            0 if shots == 0 else each.trial.axes["seed"]
        )


def test_thirteen_tasks_six_shots_three_seeds() -> None:
    grid = read_grid(SWEEPS / "odinw13_fewshot.yaml")
    assert [len(labels) for labels in grid.axes.values()] == [13, 6, 3]


def test_photos_train_at_least_thirty_steps(tmp_path: Path) -> None:
    """One picture per split is the least that there can be; the real ones are more."""
    steps = [
        each.steps
        for each in trials(SWEEPS / "nano_photos.yaml", tmp_path)
        if each.trial.axes["shots"] == 1
    ]
    assert len(steps) == 2 * 2 * 4
    assert all(step is not None and step >= 30 for step in steps)


def test_a_folder_of_photos_is_swept_over_shots_and_tunings(tmp_path: Path) -> None:
    """One trial has no training, then each number of shots has each tuning."""
    folder = write_parts(tmp_path / "pets")
    found = resolve(read_grid(SWEEPS / "own_photos.yaml"), [("data.root", str(folder))])
    points = {
        (str(point["shots"]), point["tuning"]) for each in found for point in each.trial.points
    }
    assert points == {
        (shots, tuning)
        for shots in ("0", "3", "10", "all")
        for tuning in ("full", "linear", "prompt")
    }
    untrained = [each for each in found if not each.steps]
    assert [each.trial.axes["shots"] for each in untrained] == [0]
    assert [each.trial.axes["shots"] for each in found] == [0, *[3] * 3, *[10] * 3, *["all"] * 3]
    assert {each.recipe["model"]["detector"] for each in found} == {"glip-nano-c"}
    full = [
        each.recipe["model"]["tuning"]
        for each in found
        if each.steps and each.trial.axes["tuning"] == "full"
    ]
    assert {tuning["init_args"]["freeze_at"] for tuning in full} == {-1}


def test_the_demo_needs_no_data(tmp_path: Path) -> None:
    grid = read_grid(SWEEPS / "demo.yaml")
    found = resolve(grid, [("data.root", str(tmp_path))])
    assert {each.trial.axes["task"] for each in found} == {"Kites", "Badges"}
    assert [len(each.trial.points) for each in found if each.trial.axes["shots"] == 0] == [2, 2]
    trained = [each for each in found if each.trial.axes["shots"] != 0]
    assert [each.steps for each in trained] == [
        240 if t.trial.axes["shots"] == "all" else 120 for t in trained
    ]
    assert len(trained) == 20
    assert all(
        tuning["class_path"] in (label, f"glip_lightning.{label}")
        for label, tuning in grid.tunings.items()
    )


def test_generated_tasks_need_no_data_either(tmp_path: Path) -> None:
    """Their names label trials; a task of another benchmark than the recipe's is refused."""
    file = tmp_path / "tasks.yaml"
    recipe = str(SWEEPS.parent / "shapes/blocks.yaml")
    file.write_text(
        yaml.safe_dump({"recipe": recipe, "axes": {"task": ["Parcels"], "shots": [0, 1]}})
    )
    found = resolve(read_grid(file), [("data.root", str(tmp_path))])
    assert [(each.trial.axes["task"], each.trial.axes["shots"]) for each in found] == [
        ("Parcels", 0),
        ("Parcels", 1),
    ]
    assert [each.images for each in found] == [0, 1]
    file.write_text(yaml.safe_dump({"recipe": recipe, "axes": {"task": ["Raccoon"], "shots": [1]}}))
    with pytest.raises(WrongUsage) as refused:
        resolve(read_grid(file), [("data.root", str(tmp_path))])
    assert refused.value.code == "other-benchmark"
    assert {"Raccoon", "ODinW"} <= words(str(refused.value))


def test_the_definition_for_wandb_has_the_same_axes(tmp_path: Path) -> None:
    content = yaml.safe_load((SWEEPS / "odinw13_fewshot.wandb.yaml").read_text())
    axes = read_grid(SWEEPS / "odinw13_fewshot.yaml").axes
    values = {name: entry["values"] for name, entry in content["parameters"].items()}
    assert {name: sorted(map(str, x)) for name, x in values.items()} == {
        f"data.{axis}": sorted(map(str, labels)) for axis, labels in axes.items()
    }
    assert content["method"] == "grid"
    # what an agent makes of the command, for the first and the last point
    program, verb, *words = content["command"]
    assert (program, content["program"], verb) == ("${program}", "glip", "fit")
    for which in (0, -1):
        chosen = [f"--{name}={x[which]}" for name, x in values.items()]
        line = [word.replace("${envvar:DATA}", str(tmp_path)) for word in words[:-1]] + chosen
        assert words[-1] == "${args}"
        file = recipe_file(line[line.index("--config") + 1])
        options = [word for word in line if word.startswith("--") and word != "--config"]
        content = yaml.safe_load(file.read_text())
        resolved = RecipeChecker().check(file, content, overrides_of(options))
        assert resolved.data.shots == values["data.shots"][which]
        assert resolved.recipe["data"]["init_args"]["root"] == str(tmp_path)
