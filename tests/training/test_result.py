"""The content of ``result.json`` and the summary at the end."""

import math
from pathlib import Path
from typing import Any

import pytest

from glip_lightning.training.result import print_summary, without_nan
from printed import numbers, words
from small_runs import go, make_shapes


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder of a run, with empty files."""
    for name in ("predictions/1.jpg", "logs/metrics.csv"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).touch()
    return tmp_path


def summary(
    folder: Path,
    capsys: pytest.CaptureFixture[str],
    upload: str | None = None,
    saved_prompt: str | None = None,
    **more: Any,
) -> list[str]:
    print_summary({**RESULT, **more}, folder, upload, saved_prompt)
    return capsys.readouterr().out.splitlines()


def test_result_says_what_was_done(tmp_path: Path) -> None:
    found = go(
        "fit", make_shapes(tmp_path), tmp_path / "run", "--data.shots=1", "--data.copies={1: 3}"
    )
    data = found["data"]
    assert (data["name"], data["shots"], data["copies"], data["seed"]) == ("shapes", 1, 3, 0)
    assert data["images"] == {"train": len(found["image_ids"]), "valid": 2, "test": 2}
    assert data["splits"].keys() == {"train", "valid", "test"}
    assert 0 < len(found["image_ids"]) <= 4
    assert found["command"].startswith("glip fit --config ")
    assert found["seed"] == {"data": 0, "training": 0}
    assert sum(group["parameters"] for group in found["groups"]) == found["parameters"]
    assert {(group["name"], group["lr"]) for group in found["groups"]} == {
        ("detector+text", 1e-3),
        ("detector_bias+text_bias", 2e-3),
    }
    assert found["memory"]["process_peak"] > 100e6
    assert found["ended"] is None
    assert found["restored"] == []
    assert found["metrics"]["test"]["AP"] is not None
    assert found["metrics"]["test"]["bootstrap"]["resamples"] == 200
    assert "bootstrap" not in found["metrics"]["val"]  # every epoch would pay for it


METRICS = {"AP": 0.5, "AP50": 0.75, "AP_class": {"cat": 0.5}, "images": 3}
RESULT = {
    "metrics": {"val": None, "test": METRICS},
    "classes": ["cat", "[b]dog[/b]"],
    "ended": None,
    "restored": [],
    "fitted": True,
    "detector": "glip-tiny",
    "weights": "pretrained",
}


def test_summary(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    header, cat, dog, whole, *paths = summary(folder, capsys)
    assert header.split() == ["class", "AP"]
    assert cat.split() == ["cat", "50.0"]
    assert dog.startswith("[b]dog[/b] ")
    assert numbers(dog) == []  # it has no box
    assert {"AP", "50.0", "AP50", "75.0", "3", "test"} <= words(whole)
    assert [line.split()[-1] for line in paths] == [
        str(folder),
        str(folder / "predictions"),
        str(folder / "logs" / "metrics.csv"),
        str(folder),
    ]
    assert paths[-1].endswith(f"glip predict PHOTO --detector {folder}")


def test_the_summary_names_what_a_run_has_beside(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = summary(folder, capsys)
    for name in ("prompt.safetensors", "thresholds.yaml"):
        (folder / name).touch()
    kept = {"best_step": 200, "metrics": {"val": {"AP": 0.161}, "test": METRICS}}
    after = summary(folder, capsys, "wandb sync runs/a/wandb", **kept)
    step, prompt, scores, upload = [line for line in after if line not in before]
    assert numbers(step) == ["200", "16.1"]
    assert {str(folder / "prompt.safetensors"), "--prompt"} <= set(prompt.replace("(", "").split())
    assert str(folder / "thresholds.yaml") in scores
    assert upload.endswith("wandb sync runs/a/wandb")


def test_summary_of_other_ends(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = [f"class {k}" for k in range(21)]
    assert {"AP", "50.0"} <= words(summary(folder, capsys, classes=names)[0])
    nothing = {**METRICS, "AP": math.nan, "AP50": math.nan}
    undefined = summary(folder, capsys, metrics={"val": nothing, "test": None}, fitted=False)
    (line,) = [line for line in undefined if {"AP", "AP50"} <= words(line)]
    assert numbers(line) == ["50", "3"]  # of the name AP50, and the images
    assert "nan" not in line
    unknown = summary(folder, capsys, metrics={"val": None, "test": None})
    # one line in the place of the table and the sum
    assert len(unknown) == len(summary(folder, capsys)) - 3
    assert numbers(unknown[0]) == []
    assert summary(folder, capsys, fitted=False)[-1].endswith("--detector glip-tiny")
    assert summary(folder, capsys, fitted=False, weights="random")[-1].endswith("metrics.csv")
    tested = summary(folder, capsys, saved_prompt="runs/b/p", fitted=False)
    assert tested[-1].endswith("--prompt runs/b/p")


def test_what_is_undefined_is_null() -> None:
    assert without_nan({"a": [math.nan, 1.0, (math.inf, "x")], "b": {"c": -math.inf}}) == {
        "a": [None, 1.0, [None, "x"]],
        "b": {"c": None},
    }
