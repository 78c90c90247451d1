"""Recipes by name: which there are, what a name means, and the verb that lists and copies them."""

from pathlib import Path

import pytest
import yaml

from glip_lightning.app.cli import main
from glip_lightning.config.recipe_files import (
    purpose_of,
    recipe_file,
    recipe_names,
    recipes_folder,
    with_recipes,
)
from printed import numbers, words
from refusals import refusal

RECIPES = Path(__file__).parent.parent.parent / "recipes"
OWN = {
    "all_shot",
    "custom",
    "custom_nano",
    "few_shot",
    "linear_probe",
    "lora",
    "nano",
    "prompt",
    "zero_shot",
}


def test_the_recipes_are_those_of_the_checkout() -> None:
    assert recipes_folder() == RECIPES
    names = recipe_names()
    assert names[: len(OWN)] == sorted(OWN)
    assert len(names) == len(list(RECIPES.rglob("*.yaml")))
    assert {
        "sweeps/demo",
        "shapes/nano_few_shot",
        "shapes/sweeps/quick",
        "shapes/pretrain/glip-nano",
    } <= set(names)
    assert {name.split("/")[0] for name in names if "/" in name} == {"sweeps", "shapes"}


@pytest.mark.parametrize("name", recipe_names())
def test_every_header_begins_with_what_the_recipe_is_for(name: str) -> None:
    lines = (RECIPES / f"{name}.yaml").read_text(encoding="utf-8").splitlines()
    purpose = purpose_of(RECIPES / f"{name}.yaml")
    assert purpose.startswith(lines[0].removeprefix("# ").split(". ")[0])
    assert purpose.endswith(".")  # a whole sentence, also where the header wraps it
    assert len(purpose) > 20
    commands = [line for line in lines if line.startswith("#   ")]
    assert commands, "a header shows the command"


def test_an_existing_file_wins_over_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sweeps").mkdir()
    assert recipe_file("few_shot") == RECIPES / "few_shot.yaml"
    assert recipe_file("sweeps/demo") == RECIPES / "sweeps" / "demo.yaml"
    assert recipe_file("few_shot.yaml") == Path("few_shot.yaml")
    assert recipe_file("../few_shot") == Path("../few_shot")
    (tmp_path / "custom").mkdir()  # photos, perhaps: a folder is no recipe
    assert recipe_file("custom") == RECIPES / "custom.yaml"
    (tmp_path / "few_shot").write_text("{}")
    assert recipe_file("few_shot") == Path("few_shot")
    assert recipe_file("few_shot", tmp_path / "sweeps") == RECIPES / "few_shot.yaml"


def test_both_spellings_of_the_option_are_understood() -> None:
    words = [
        "fit",
        "--config",
        "a",
        "--run",
        "b",
        "-c",
        "c",
        "--config=d",
        "--config",
        "--config",
        "-c=e",
        "f",
    ]
    found = [
        "fit",
        "--config",
        "A",
        "--run",
        "b",
        "-c",
        "C",
        "--config=D",
        "--config",
        "--CONFIG",
        "-c=E",
        "f",
    ]
    assert with_recipes(words, str.upper) == found


def test_a_recipe_runs_by_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stop:
        main(
            [
                "fit",
                "--config",
                "prompt",
                "--data.root",
                "x",
                "--data.task",
                "Raccoon",
                "--print_config",
            ]
        )
    assert stop.value.code == 0
    printed = yaml.safe_load(capsys.readouterr().out)
    assert printed["model"]["tuning"]["class_path"] == "glip_lightning.PromptTuning"


@pytest.mark.parametrize(
    ("command", "close"),
    [
        (["fit", "--config", "few_shots"], "few_shot"),
        (["sweep", "sweeps/demmo"], "sweeps/demo"),
        (["recipes", "demo"], "sweeps/demo"),
        (["recipes", "qqqq"], None),
    ],
)
def test_names_that_nobody_has_are_met_with_close_ones(
    command: list[str], close: str | None
) -> None:
    unknown = refusal(*command)
    assert unknown.code == "unknown-recipe"
    found = words(str(unknown))
    assert command[-1] in found
    assert found & set(recipe_names()) == ({close} if close else set())


def test_the_exit_code_of_an_unknown_name() -> None:
    assert main(["sweep", "sweeps/demmo"]) == 2
    assert main(["recipes", "demo"]) == 1


def test_the_verb_lists_and_prints_them(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["recipes"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == recipe_names()
    assert lines[0].endswith(purpose_of(RECIPES / f"{recipe_names()[0]}.yaml"))
    (demo,) = [line for line in lines if line.startswith("sweeps/demo ")]
    assert demo.endswith("trained as a whole or its prompt alone; no download.")  # of two lines
    assert main(["recipes", "lora"]) == 0
    assert capsys.readouterr().out == (RECIPES / "lora.yaml").read_text(encoding="utf-8")


def test_a_copy_is_written_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mine = tmp_path / "new" / "mine.yaml"
    assert main(["recipes", "custom", "--copy", str(mine)]) == 0
    assert mine.read_bytes() == (RECIPES / "custom.yaml").read_bytes()
    mine.write_text("changed")
    assert main(["recipes", "custom", "--copy", str(mine)]) == 1
    assert mine.read_text() == "changed"
    assert str(mine) in capsys.readouterr().err
    assert main(["recipes", "--copy", str(mine)]) == 2


def test_a_copied_sweep_still_finds_its_recipes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["recipes", "sweeps/demo", "--copy", "mine.yaml"]) == 0
    only = ["--only", "task=Kites,shots=0", "--data.root", str(tmp_path / "shapes")]
    assert main(["sweep", "mine.yaml", "--dry-run", *only]) == 0
    # trials, points
    assert ["1", "2"] in [numbers(line)[:2] for line in capsys.readouterr().out.splitlines()]
