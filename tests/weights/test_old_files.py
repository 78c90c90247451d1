"""Files of version 0.1 (tests/golden/runs_0_1) are read: runs, prompts, adapters, labels."""

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from glip_lightning import PUBLIC
from glip_lightning.app.cli import main

OLD = Path(__file__).parent.parent / "golden" / "runs_0_1"
EXPECTED: dict[str, Any] = json.loads((OLD / "expected.json").read_text(encoding="utf-8"))
STOPPED_IN = 4
"""The step during which the interrupted run got Ctrl-C.

Version 0.1 took it, but left its loss out of metrics.csv."""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the old files; their paths begin in it."""
    shutil.copytree(OLD, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def read(path: str) -> Any:
    return json.loads(Path(path).read_text(encoding="utf-8"))


def losses(run: str) -> dict[int, float]:
    """The loss of each step that is on record."""
    with (Path(run) / "logs" / "metrics.csv").open(newline="", encoding="utf-8") as file:
        return {
            int(row["step"]): float(row["train/loss"])
            for row in csv.DictReader(file)
            if row["train/loss"]
        }


def class_paths(content: Any) -> set[str]:
    """Return all class paths of a recipe."""
    if isinstance(content, list):
        return set().union(*map(class_paths, content))
    if not isinstance(content, dict):
        return set()
    own = {content["class_path"]} if "class_path" in content else set()
    return own.union(*map(class_paths, content.values()))


def check_names(run: str) -> None:
    """What a run writes now names classes by their public names."""
    recipe = yaml.safe_load((Path(run) / "recipe.yaml").read_text(encoding="utf-8"))
    assert recipe == read(f"{run}/result.json")["recipe"]
    assert class_paths(recipe)
    assert {path.removeprefix("glip_lightning.") for path in class_paths(recipe)} <= PUBLIC.keys()


def check(run: str, expected: dict[str, Any]) -> None:
    """The detections and metrics of the test split are the old ones."""
    metrics = read(f"{run}/result.json")["metrics"]["test"]
    assert {name: metrics[name] for name in expected["test"]} == pytest.approx(
        expected["test"], abs=1e-4
    )
    rows = read(f"{run}/detections.json")
    assert len(rows) == expected["detections"]
    scores = sorted((row["score"] for row in rows), reverse=True)
    assert scores[: len(expected["scores"])] == pytest.approx(expected["scores"], abs=1e-4)


def test_an_interrupted_run_goes_on_to_its_end() -> None:
    expected = EXPECTED["interrupted"]
    wanted = dict(enumerate(expected["losses"]))
    del wanted[STOPPED_IN]
    assert max(losses("interrupted")) < STOPPED_IN
    assert main(["fit", "--resume", "interrupted"]) == 0
    assert read("interrupted/result.json")["steps"] == expected["steps"]
    assert losses("interrupted") == pytest.approx(wanted, rel=1e-4)
    check("interrupted", expected)
    check_names("interrupted")
    assert (Path("interrupted") / "adapter" / "adapter.safetensors").is_file()


def test_the_best_checkpoint_of_an_interrupted_run_is_tested() -> None:
    arguments = [
        "--config",
        "interrupted/recipe.yaml",
        "--ckpt_path",
        "interrupted/checkpoints/best.ckpt",
    ]
    assert main(["test", *arguments, "--run", "tested"]) == 0
    found = read("tested/result.json")
    assert (found["verb"], found["best_epoch"]) == ("test", EXPECTED["best"]["epoch"])
    check("tested", EXPECTED["best"])


@pytest.mark.parametrize("run", ["lora", "probe", "prompt"])
def test_the_recipe_of_a_finished_run_means_what_it_learned(run: str) -> None:
    assert main(["test", "--config", f"{run}/recipe.yaml", "--run", "tested"]) == 0
    check("tested", EXPECTED[run])
    check_names("tested")


@pytest.mark.parametrize("run", ["lora", "probe", "prompt"])
def test_photos_are_searched_with_an_old_adapter_or_prompt(run: str) -> None:
    what = ["--detector", run] if run != "prompt" else ["--prompt", "prompt/prompt.safetensors"]
    assert (
        main(
            [
                "predict",
                "pictures/test",
                *what,
                "--threshold",
                "0.05",
                "--out",
                "found",
                "--device",
                "cpu",
            ]
        )
        == 0
    )
    photos = read("found/predictions.json")["photos"]
    assert len(photos) == len(EXPECTED["predict"][run]) == 2
    for photo, expected in zip(photos, EXPECTED["predict"][run], strict=True):
        best = photo["detections"][: len(expected)]
        assert [x["name"] for x in best] == [name for name, _, _ in expected]
        assert [x["score"] for x in best] == pytest.approx(
            [score for _, score, _ in expected], abs=1e-4
        )
        boxes = [x["box"] for x in best]
        torch.testing.assert_close(
            torch.tensor(boxes), torch.tensor([box for _, _, box in expected]), rtol=0, atol=0.02
        )


def test_pseudo_labels_go_on_with_another_threshold(folder: Path) -> None:
    """No photo is read again: the journal stays, with the scores that were not kept."""
    journal = folder / "labels.scores.jsonl"
    written = journal.read_text(encoding="utf-8").replace("PHOTOS", str(folder / "photos"))
    journal.write_text(written, encoding="utf-8")
    assert len(read("labels.json")["annotations"]) == EXPECTED["labels"]["0.6"]
    what = [
        "--images",
        "photos",
        "--captions",
        "captions.jsonl",
        "--detector",
        "detector",
        "--device",
        "cpu",
    ]
    assert main(["pseudo-label", *what, "--out", "labels.json", "--threshold", "0.65"]) == 0
    annotations = read("labels.json")["annotations"]
    assert len(annotations) == EXPECTED["labels"]["0.65"]
    assert min(row["score"] for row in annotations) >= 0.65
    assert journal.read_text(encoding="utf-8") == written


def test_pseudo_labels_are_data_to_train_on() -> None:
    assert main(["fit", "--config", "mixture.yaml", "--run", "trained"]) == 0
    assert read("trained/result.json")["sources"]["labels"]["size"] == 2
    assert losses("trained") == pytest.approx(dict(enumerate(EXPECTED["mixture"])), rel=1e-4)


def test_a_report_shows_the_finished_runs_and_the_unfinished_one() -> None:
    assert main(["report", ".", "--out", "page"]) == 0
    with (Path("page") / "report.csv").open(newline="", encoding="utf-8") as file:
        rows = {row["trial"]: row for row in csv.DictReader(file)}
    assert {trial: row["state"] for trial, row in rows.items()} == {
        "interrupted": "missing",
        "lora": "finished",
        "probe": "finished",
        "prompt": "finished",
    }
    assert [trial for trial, row in rows.items() if row["error"]] == ["interrupted"]
    tunings = {"lora": "LoRATuning", "probe": "LinearProbe", "prompt": "PromptTuning"}
    for trial, tuning in tunings.items():
        assert (rows[trial]["task"], rows[trial]["tuning"], rows[trial]["steps"]) == (
            "pictures",
            tuning,
            "8",
        )
        assert float(rows[trial]["AP"]) == pytest.approx(EXPECTED[trial]["test"]["AP"], abs=1e-9)
    assert (Path("page") / "report.html").is_file()
