"""Class paths in recipes: public names; those of version 0.1 are refused, or translated in runs."""

from pathlib import Path

import pytest
import yaml

from glip_lightning import PUBLIC
from glip_lightning.app.cli import main
from glip_lightning.config.class_paths import OLD, of_a_run, old_names, with_public_names
from glip_lightning.config.recipe_checker import RecipeChecker
from glip_lightning.config.usage_errors import check_recipes
from glip_lightning.config.wrong_usage import WrongUsage

OLD_RECIPE = """
model:
  tuning: {class_path: glip_lightning.tuning.FullTuning}  # not glip_lightning.schedules.Cosine
data: "glip_lightning.datamodules.CustomData"
"""


def test_old_paths_lead_to_public_names() -> None:
    assert {new.removeprefix("glip_lightning.") for new in OLD.values()} <= PUBLIC.keys()
    assert not OLD.keys() & set(OLD.values())
    assert OLD["glip_lightning.selection.EarlyStop"] == "glip_lightning.EarlyStop"


@pytest.mark.parametrize("old", OLD)
def test_an_old_path_in_a_recipe_is_an_error_that_names_the_new_one(
    old: str, tmp_path: Path
) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(f"trainer:\n  callbacks:\n  - {old}\n", encoding="utf-8")
    with pytest.raises(WrongUsage) as refused:
        check_recipes(["--config", str(file)])
    assert str(refused.value).startswith(f"{file}, line 3: {old}: ")
    assert str(refused.value).endswith(OLD[old])


def test_every_old_path_is_named_with_its_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert old_names(OLD_RECIPE) == [
        (3, "glip_lightning.tuning.FullTuning"),
        (4, "glip_lightning.datamodules.CustomData"),
    ]
    file = tmp_path / "recipe.yaml"  # a name alone makes no run of it
    file.write_text(OLD_RECIPE, encoding="utf-8")
    assert main(["fit", "--config", str(file), "--data.root", "x"]) == 2
    said = capsys.readouterr().err
    assert "line 3: " in said
    assert "line 4: " in said


@pytest.mark.parametrize(
    "option", ["--model.tuning=glip_lightning.tuning.LinearProbe", "--model.tuning"]
)
def test_an_old_path_on_the_command_line_is_refused(
    option: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [option] if "=" in option else [option, "glip_lightning.tuning.LinearProbe"]
    assert main(["fit", "--config", "nano", *words]) == 2
    assert "glip_lightning.LinearProbe" in capsys.readouterr().err


def test_old_paths_in_sweeps_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "sweep.yaml"
    file.write_text(
        "recipe: nano\naxes:\n  tuning: [glip_lightning.tuning.FullTuning]\n", encoding="utf-8"
    )
    assert main(["sweep", str(file), "--dry-run"]) == 2
    assert f"{file}, line 3: " in capsys.readouterr().err


def test_what_a_run_wrote_is_known_by_what_lies_beside_it(tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(OLD_RECIPE, encoding="utf-8")
    assert not of_a_run(recipe)
    (tmp_path / "logs").mkdir()
    assert of_a_run(recipe)
    assert not of_a_run(tmp_path / "other.yaml")
    check_recipes(["--config", str(recipe)])


def test_nested_content_is_translated_and_the_rest_stays() -> None:
    content = {
        "a": ["glip_lightning.ema.EMA", 1, None],
        "b": {"class_path": "glip_lightning.tuning.prompt.SavedPrompt", "init_args": {}},
    }
    assert with_public_names(content) == {
        "a": ["glip_lightning.EMA", 1, None],
        "b": {"class_path": "glip_lightning.SavedPrompt", "init_args": {}},
    }
    assert with_public_names("test_run_sweep.Cliff") == "test_run_sweep.Cliff"


def test_runs_keep_public_names_however_classes_were_named(tmp_path: Path) -> None:
    content = {
        "model": {
            "detector": "glip-nano",
            "weights": "random",
            "tuning": "LinearProbe",
            "schedule": {"class_path": "glip_lightning.training.schedules.Cosine"},
            "features": {"class_path": "glip_lightning.FeatureCache"},
        },
        "data": {
            "class_path": "glip_lightning.training.data_sources.CustomData",
            "init_args": {"root": "photos"},
        },
        "trainer": {
            "callbacks": [
                {"class_path": "EMA"},
                {"class_path": "EarlyStop", "init_args": {"patience": 2}},
            ]
        },
    }
    recipe = (
        RecipeChecker()
        .check(tmp_path / "mine.yaml", content, [("model.tuning", "LoRATuning")])
        .recipe
    )
    text = yaml.safe_dump(recipe)
    named = sorted(line.split(": ")[-1] for line in text.splitlines() if "class_path" in line)
    names = ["Cosine", "CustomData", "EMA", "EarlyStop", "FeatureCache", "LoRATuning"]
    assert named == [f"glip_lightning.{name}" for name in names]
