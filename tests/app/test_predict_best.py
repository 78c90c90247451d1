"""``glip predict --threshold best``: the least scores are those of the run's thresholds.yaml."""

import json
from pathlib import Path

import numpy as np
import pytest
import yaml

from glip_lightning.app.cli import main
from glip_lightning.common.errors import GLIPError
from glip_lightning.data.formats.layouts import read_dataset
from glip_lightning.evaluation.best_threshold import BestThreshold, best_thresholds
from glip_lightning.inference.predictor import Predictor
from glip_lightning.shapes.shapes13 import TASKS
from glip_lightning.shapes.task_pictures import example
from glip_lightning.weights.threshold_file import (
    THRESHOLDS_NAME,
    read_thresholds_of,
    write_thresholds,
)
from printed import numbers
from refusals import refusal
from small_runs import go, make_shapes
from tiny import write_sure_run


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A finished run whose random detector finds boxes of both classes, without thresholds."""
    return write_sure_run(tmp_path / "run")


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    file = tmp_path / "photo.jpg"
    example(TASKS["Blocks"], "test", 0).image.save(file)
    return file


def test_each_class_has_its_own_least_score(
    run: Path, photo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = Predictor(str(run), threshold=0)(photo)
    scores = sorted(
        (float(s) for s, name in zip(found.scores, found.names, strict=True) if name == "dog"),
        reverse=True,
    )
    middle = (scores[2] + scores[3]) / 2
    write_thresholds(run, {"dog": BestThreshold(middle, 0.75, 0.6, 5)})
    least = read_thresholds_of(run)["dog"].threshold  # of four digits
    best = ["--detector", str(run), "--threshold", "best"]
    assert main(["predict", str(photo), *best, "--out", str(tmp_path / "o")]) == 0
    said = list(map(numbers, capsys.readouterr().out.splitlines()))
    assert ["1", "2", "0.5"] in said  # classes without one of their own
    assert ["20", "0.3", "0.5"] in said  # the threshold rests on fewer boxes
    result = json.loads((tmp_path / "o" / "predictions.json").read_text())
    assert (result["threshold"], result["thresholds"]) == (0.5, {"dog": least})
    rows = result["photos"][0]["detections"]
    assert sum(row["name"] == "dog" for row in rows) == sum(score >= least for score in scores)
    raccoons = [
        float(s) for s, name in zip(found.scores, found.names, strict=True) if name == "raccoon"
    ]
    assert sum(row["name"] == "raccoon" for row in rows) == sum(score >= 0.5 for score in raccoons)


def test_a_run_that_found_nothing_right_says_so(run: Path, photo: Path, tmp_path: Path) -> None:
    write_thresholds(run, {})
    out = tmp_path / "out"
    best = ["--detector", str(run), "--threshold", "best"]
    assert main(["predict", str(photo), *best, "--out", str(out)]) == 0
    result = json.loads((out / "predictions.json").read_text())
    assert (result["threshold"], result["thresholds"]) == (0.5, {})


def test_the_file_says_what_it_rests_on(tmp_path: Path) -> None:
    file = write_thresholds(
        tmp_path, {"yes": BestThreshold(0.31, 0.75, 0.6, 5), "é": BestThreshold(0.5, 1, 1, 1)}
    )
    content = yaml.safe_load(file.read_text(encoding="utf-8"))
    assert content["yes"] == {"threshold": 0.31, "precision": 0.75, "recall": 0.6, "boxes": 5}
    assert read_thresholds_of(tmp_path) == {
        "yes": BestThreshold(0.31, 0.75, 0.6, 5),
        "é": BestThreshold(0.5, 1, 1, 1),
    }


def test_photos_without_a_box_name_the_thresholds_in_use(
    run: Path, photo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_thresholds(run, {"dog": BestThreshold(0.9991, 0.75, 0.6, 50)})
    best = ["--detector", str(run), "--threshold", "best", "--out", str(tmp_path / "out")]
    (tmp_path / "high.yaml").write_text("raccoon: 1")
    assert main(["predict", str(photo), *best, "--thresholds", str(tmp_path / "high.yaml")]) == 0
    said = list(map(numbers, capsys.readouterr().out.splitlines()))
    (line,) = [line for line in said if line[-2:] == ["0.9991", "1"] and line[:2] == ["1", "1"]]
    assert "20" not in line


@pytest.mark.parametrize(
    "text, code",
    [
        (None, "no-thresholds"),
        ("dog: {threshold: 2, precision: 1, recall: 1, boxes: 1}", "bad-value"),
        ("dog: 0.4", "bad-value"),
        ("[", "unreadable-yaml"),
    ],
)
def test_a_file_that_is_missing_or_spoilt_is_an_error(
    run: Path, text: str | None, code: str
) -> None:
    if text is not None:
        (run / THRESHOLDS_NAME).write_text(text)
    with pytest.raises(GLIPError) as error:
        Predictor(str(run), threshold="best")
    assert error.value.code == code


def test_a_fit_writes_what_its_valid_split_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The same as from the detections that a validation of the run leaves."""
    monkeypatch.setenv("WANDB_MODE", "disabled")
    shapes, run = make_shapes(tmp_path), tmp_path / "run"
    go(
        "fit",
        shapes,
        run,
        "--model.detector=glip-nano-c",
        "--model.weights=pretrained",
        "--trainer.max_epochs=1",
    )
    assert str(run / THRESHOLDS_NAME) in capsys.readouterr().out
    validated = tmp_path / "validated"
    given = [f"--model.detector={run}", "--model.weights=pretrained"]
    go("validate", shapes, validated, *given)
    assert not (validated / THRESHOLDS_NAME).exists()
    index = read_dataset(shapes).splits["valid"]
    rows: dict[int, list[list[float]]] = {int(image): [] for image in index.ids}
    for found in json.loads((validated / "detections.json").read_text()):
        label = index.category_ids.index(found["category_id"]) + 1
        rows[found["image_id"]].append([found["image_id"], *found["bbox"], found["score"], label])
    arrays = {
        image: np.array(each, dtype=np.float64).reshape(-1, 7) for image, each in rows.items()
    }
    expected = best_thresholds(index.ground_truth(), arrays, index.class_names)
    written = yaml.safe_load((run / THRESHOLDS_NAME).read_text())
    assert written
    assert written.keys() == expected.keys()
    for name, best in expected.items():
        row = written[name]
        assert row["threshold"] == pytest.approx(best.threshold, abs=2e-4)
        assert (row["precision"], row["recall"]) == pytest.approx(
            (best.precision, best.recall), abs=1e-4
        )
        assert (
            row["boxes"]
            == best.boxes
            == int((index.boxes.labels == index.class_names.index(name)).sum())
        )


def test_best_of_no_run(photo: Path) -> None:
    with pytest.raises(GLIPError) as error:
        Predictor(threshold="best")
    assert error.value.code == "no-thresholds"
    refused = refusal(
        "predict", photo, "--phrases", "dog", "--threshold", "best", "--detector", "glip-nano-c"
    )
    assert refused.code == "no-thresholds"
    assert THRESHOLDS_NAME in str(refused)


def test_a_threshold_is_a_number_or_best(photo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["predict", str(photo), "--threshold", "bestest"]) == 2
    assert "bestest" in capsys.readouterr().err
