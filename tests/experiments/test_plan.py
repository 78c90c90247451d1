"""Points become trials: hashes, trials that are the same run, steps, and all errors at once."""

from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from glip_lightning.config.overrides import overrides_of
from glip_lightning.config.wrong_usage import WrongUsage
from glip_lightning.data.benchmarks.odinw import ANNOTATIONS
from glip_lightning.experiments.sweep.grid import read_grid
from glip_lightning.experiments.sweep.plan import Planned, resolve, untrained
from glip_lightning.models.config import variant
from glip_lightning.models.glip.model import GLIP
from glip_lightning.shapes.data_modules import Shapes
from glip_lightning.shapes.pretraining_pictures import write_pretraining
from glip_lightning.text.tokenizer import Tokenizer
from glip_lightning.weights.load import save
from printed import line_with, numbers, words
from small_sweeps import write_sweep

RECIPES = Path(__file__).parent.parent.parent / "recipes"


def planned(folder: Path, axes: dict[str, Any], *overrides: str, **trainer: Any) -> list[Planned]:
    return resolve(read_grid(write_sweep(folder, axes, **trainer)), overrides_of(overrides))


def test_points_that_are_the_same_run_are_one_trial(tmp_path: Path) -> None:
    axes = {"shots": [0, 1], "seed": [3, 30], "tuning": ["FullTuning", "LinearProbe"]}
    trials = planned(tmp_path, axes)
    # random weights are drawn by the seed: two zero-shot trials; then 2 seeds x 2 tunings
    assert [len(each.trial.points) for each in trials] == [2, 2, 1, 1, 1, 1]
    assert [point["tuning"] for point in trials[0].trial.points] == ["FullTuning", "LinearProbe"]
    assert trials[0].recipe["model"]["tuning"] is None
    assert {each.recipe["seed_everything"] for each in trials} == {3, 30}
    pretrained = planned(
        tmp_path, axes, "--model.detector", "glip-tiny", "--model.weights", "pretrained"
    )
    assert [len(each.trial.points) for each in pretrained] == [4, 1, 1, 1, 1]


def test_hashes_are_stable_and_see_what_matters(tmp_path: Path) -> None:
    axes = {"shots": [1], "trainer.max_epochs": [2, 3]}
    first, second = planned(tmp_path, axes)
    assert first.trial.id == planned(tmp_path, axes)[0].trial.id != second.trial.id
    for looks in (
        ["--trainer.logger", "false"],
        ["--data.workers", "2"],
        ["--trainer.enable_progress_bar", "false"],
    ):
        assert planned(tmp_path, axes, *looks)[0].trial.id == first.trial.id
    assert planned(tmp_path, axes, "--data.flip", "0.1")[0].trial.id != first.trial.id
    assert len(first.trial.id) == 12


def test_other_pictures_make_other_trials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = [*("--data.class_path", "Shapes"), *("--data.root", str(tmp_path / "shapes"))]
    (before,) = planned(tmp_path, {"shots": [1]}, *options)
    monkeypatch.setattr(Shapes, "version", 1000)
    (after,) = planned(tmp_path, {"shots": [1]}, *options)
    assert before.recipe == after.recipe
    assert before.trial.id != after.trial.id


def test_a_mixture_is_swept_as_any_other_data(tmp_path: Path) -> None:
    world = write_pretraining(
        tmp_path / "world", counts={"grounding": 1, "names/valid": 1}, size=64
    )
    file = tmp_path / "mixed.yaml"
    recipe = yaml.safe_load((RECIPES / "shapes" / "pretrain" / "glip-nano-c.yaml").read_text())
    recipe["data"] = {
        "class_path": "Pretraining",
        "init_args": {
            **{"root": str(world), "epoch_images": 4, "valid": f"names/valid/{ANNOTATIONS}"},
            "sources": {"words": {"file": "grounding/words.json"}},
        },
    }
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    sweep = {"name": "mixed", "recipe": "recipe.yaml", "axes": {"trainer.max_epochs": [1, 2]}}
    file.write_text(yaml.safe_dump(sweep))
    assert [(each.images, each.steps) for each in resolve(read_grid(file), [])] == [(4, 1), (4, 2)]


def test_every_trial_has_the_four_axes(tmp_path: Path) -> None:
    (trial,) = planned(tmp_path, {"model.detector": ["glip-nano-a"]})
    assert trial.trial.axes == {
        **{"task": "shapes", "shots": "all", "seed": 0, "tuning": "FullTuning"},
        **{"model.detector": "glip-nano-a"},
    }


def test_a_tuning_of_another_class_starts_from_its_own_defaults(tmp_path: Path) -> None:
    full, probe = planned(tmp_path, {"tuning": ["FullTuning", "LinearProbe"]})
    assert full.recipe["model"]["tuning"]["init_args"]["lr"] == 1e-3
    assert probe.recipe["model"]["tuning"]["init_args"]["lr"] == 5e-3  # nano's own


def test_steps_follow_from_the_images(tmp_path: Path) -> None:
    axes = {"shots": [0, 1, "all"], "data.copies": [1, 3]}
    trials = planned(tmp_path, axes)
    found = [
        (each.trial.axes["shots"], each.trial.axes["data.copies"], each.images, each.steps)
        for each in trials
    ]
    few = trials[1].images
    assert 0 < few < 4
    assert found[0] == (0, 1, 0, 0)
    assert found[1:] == [
        (shots, copies, images, 2 * -(-images * copies // 2))
        for shots, images in ((1, few), ("all", 4))
        for copies in (1, 3)
    ]
    assert planned(tmp_path, {"shots": ["all"]}, max_steps=3)[0].steps == 3
    assert planned(tmp_path, {"shots": ["all"]}, max_epochs=-1)[0].steps is None


def test_untrained_recipes_keep_what_evaluation_needs() -> None:
    recipe = yaml.safe_load((RECIPES / "nano.yaml").read_text())
    content = untrained(recipe | {"retention": {"class_path": "Retention"}})
    assert content["retention"] is None
    assert content["data"]["init_args"]["test_size"] == recipe["data"]["init_args"]["test_size"]
    assert content["model"]["tuning"] is None
    assert recipe["model"]["tuning"] is not None


def test_all_errors_are_told_at_once(tmp_path: Path) -> None:
    axes = {
        "shots": [1, 3],
        "tuning": ["FullTuning", "LinearProb"],
        "model.detector": ["glip-nano", "glip-nanoo"],
    }
    with pytest.raises(WrongUsage) as error:
        planned(tmp_path, axes)
    assert error.value.code == "unknown-detector"  # the first of them
    detector, tuning = str(error.value).splitlines()
    assert "detector='glip-nanoo'" in detector
    assert numbers(detector)[-2:] == ["2", "8"]  # trials that have it, all trials
    assert "tiny.yaml, " in tuning
    assert {"tuning", "LinearProb", "LinearProbe"} <= words(tuning)
    assert numbers(tuning)[-2:] == ["4", "8"]


@pytest.mark.parametrize(
    "axes, overrides, code, named",
    [
        (
            {"model.detectr": ["a"]},
            [],
            "unknown-option",
            ["tiny.yaml", "model.detectr", "--model.detector"],
        ),
        ({"data.flip": ["much"]}, [], "bad-value", ["tiny.yaml", "data.flip", "much"]),
        ({"task": ["Raccoon"]}, [], "unknown-option", ["tiny.yaml", "task"]),
        (
            {"tuning": {"a": {"class_path": "FullTuning", "init_args": {"lrr": 1}}}},
            [],
            "unknown-option",
            ["lrr", "lr"],
        ),
        ({"shots": [1]}, ["--data.sise=3"], "unknown-option", ["--data.sise"]),
        (
            {"shots": [1]},
            ["--data.shots=3"],
            "option-of-an-axis",
            ["--data.shots", "--only", "shots=VALUE"],
        ),
        ({"shots": [1]}, ["--run", "x"], "option-without-use", ["--run"]),
        ({"shots": [1]}, ["--data.root=/nowhere"], "missing-folder", ["/nowhere"]),
        ({"shots": [1]}, ["--data.batch_size=0"], "bad-value", ["batch_size=0"]),
    ],
)
def test_what_is_wrong_is_said_before_anything_starts(
    tmp_path: Path, axes: dict[str, Any], overrides: list[str], code: str, named: list[str]
) -> None:
    with pytest.raises(WrongUsage) as refused:
        planned(tmp_path, axes, *overrides)
    assert refused.value.code == code
    found = {part.rsplit("/", 1)[-1] for part in words(str(refused.value))} | words(
        str(refused.value)
    )
    found |= {part.rsplit(".", 1)[-1] for part in found}
    assert set(named) <= found


def test_a_task_whose_files_are_missing_is_named(tmp_path: Path) -> None:
    file = tmp_path / "sweep.yaml"
    axes = {"task": ["Raccoon", "Packages"], "shots": [1, "all"]}
    file.write_text(yaml.safe_dump({"recipe": str(RECIPES / "nano.yaml"), "axes": axes}))
    with pytest.raises(WrongUsage) as error:
        resolve(read_grid(file), [("data.root", str(tmp_path))])
    assert error.value.code == "missing-file"
    said = str(error.value)
    assert "'Raccoon'" in said
    assert "'Packages'" in said
    # of 4 trials 2 have each
    assert [numbers(line)[-2:] for line in said.splitlines()].count(["2", "4"]) == 2


def test_tunings_that_do_not_fit_the_detector_are_found_before_the_first_trial(
    tmp_path: Path,
) -> None:
    tunings = {
        "lora": {"class_path": "LoRATuning", "init_args": {"parts": ["fusion"]}},
        "neck": {"class_path": "PartialTuning", "init_args": {"rates": {"^neck": 1e-3}}},
        "full": "FullTuning",
    }
    axes = {"shots": [0, 1], "tuning": tunings, "model.detector": ["glip-nano-a"]}
    with pytest.raises(WrongUsage) as refused:
        planned(tmp_path, axes)
    assert refused.value.code == "empty-part"
    assert numbers(line_with(str(refused.value), "'fusion'"))[-2:] == ["1", "6"]
    assert line_with(str(refused.value), "'^neck'").strip().startswith("rates: ")


def test_tunings_of_text_are_no_trials_of_a_table_of_classes(tmp_path: Path) -> None:
    axes = {
        "shots": [1],
        "tuning": ["FullTuning", "LinearProbe", "PromptTuning"],
        "model.detector": ["dyhead-nano"],
    }
    with pytest.raises(WrongUsage) as refused:
        planned(tmp_path, axes)
    assert refused.value.code == "no-text-encoder"
    assert "PromptTuning" in words(str(refused.value))
    assert numbers(str(refused.value))[-2:] == ["1", "3"]
    assert len(planned(tmp_path, axes | {"tuning": ["FullTuning", "LinearProbe"]})) == 2
    assert len(planned(tmp_path, axes | {"model.detector": ["glip-nano"]})) == 3


def test_a_prompt_that_is_not_trained_is_no_trial(tmp_path: Path) -> None:
    """Whether its file is there is asked first."""
    with pytest.raises(WrongUsage) as refused:
        planned(
            tmp_path,
            {"tuning": {"saved": {"class_path": "SavedPrompt", "init_args": {"file": "none"}}}},
        )
    assert refused.value.code == "missing-file"
    assert "none" in words(str(refused.value))


def test_a_probe_that_cannot_be_read_is_found_before_the_first_trial(tmp_path: Path) -> None:
    probe = ["--retention.data", "CustomData", "--retention.data.root", str(tmp_path / "nowhere")]
    with pytest.raises(WrongUsage) as refused:
        planned(tmp_path, {"seed": [3, 30]}, *probe)
    assert refused.value.code == "missing-folder"
    # trials, all of them
    assert numbers(line_with(str(refused.value), tmp_path / "nowhere"))[-1] == "2"


def test_another_training_of_the_base_makes_other_trials(tmp_path: Path) -> None:
    base = tmp_path / "base"
    ids = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        save(GLIP(variant("glip-nano")), Tokenizer.nano(), base)
        options = ["--model.detector", str(base), "--model.weights", "pretrained"]
        ids.append(planned(tmp_path, {"shots": [1]}, *options)[0].trial.id)
    assert ids[0] != ids[1]
