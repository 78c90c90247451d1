"""The picture that a fit ends with."""

import logging
import shutil
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import glip_lightning
from glip_lightning import GLIPModule
from glip_lightning.data.index import Index
from glip_lightning.evaluation.best_threshold import BestThreshold
from glip_lightning.text.phrases import Phrase
from glip_lightning.training.summary_picture import (
    GAP,
    LINE,
    MARGIN,
    PANEL,
    SUMMARY_NAME,
    ShownImage,
    _scored,
    _text,
    best_and_worst,
    read_curves,
    running_mean,
    save_summary,
    summary_title,
)
from printed import numbers, words
from small_runs import make_shapes, without
from test_run import data, module, trainer


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_shapes(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def fitted(shapes: Path, tmp_path_factory: pytest.TempPathFactory) -> GLIPModule:
    """A module after its run of four steps."""
    folder = tmp_path_factory.mktemp("runs")
    trained = module()
    glip_lightning.fit(trained, data(shapes), trainer(folder), folder / "run")
    return trained


def size(run: Path) -> tuple[int, int]:
    with Image.open(run / SUMMARY_NAME) as image:
        return image.size


def run_of(fitted: GLIPModule) -> Path:
    assert fitted.record.folder is not None
    return fitted.record.folder


def test_a_fit_ends_with_curves_and_both_test_images(fitted: GLIPModule) -> None:
    """One of them is the best, one the worst."""
    width = 2 * (2 * PANEL + GAP) + GAP
    assert size(run_of(fitted))[0] == width + 2 * MARGIN
    curves = read_curves(run_of(fitted) / "logs" / "metrics.csv", 4)
    assert [step for step, _ in curves["train/loss"]] == [1, 2, 3, 4]
    # not the evaluation of the weights that are kept
    assert [step for step, _ in curves["val/AP"]] == [2, 4]


def test_the_title_names_data_and_detector_with_ap_in_points_and_thresholds(
    fitted: GLIPModule, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = fitted.record
    metrics = {"AP": 0.4987, "AP50": 0.75}
    monkeypatch.setattr(record, "metrics", {"val": None, "test": metrics})
    first, *others = fitted.data.class_names
    best = {first: BestThreshold(0.34, 1.0, 1.0, 4)} | dict.fromkeys(
        others, BestThreshold(0.71, 1.0, 1.0, 4)
    )
    monkeypatch.setattr(record, "thresholds", best)
    title = summary_title(record, fitted)
    assert {"shapes", "FullTuning", "glip-nano", "test"} <= words(title)
    assert numbers(title) == ["49.9", "50", "75.0", "0.34", "0.71"]
    monkeypatch.setattr(record, "thresholds", None)
    assert numbers(summary_title(record, fitted))[3:] == ["0.50"]
    monkeypatch.setattr(record, "metrics", {"val": None, "test": None})
    assert numbers(summary_title(record, fitted)) == []


def test_the_title_is_the_first_line_of_the_picture(fitted: GLIPModule) -> None:
    width, _ = size(run_of(fitted))
    title = summary_title(fitted.record, fitted)
    expected = np.asarray(_text(title, width - 2 * MARGIN, bold=True)).astype(int)
    with Image.open(run_of(fitted) / SUMMARY_NAME) as image:
        found = np.asarray(image).astype(int)[MARGIN : MARGIN + LINE, MARGIN:-MARGIN]
    assert (expected < 100).sum() > 500
    assert np.abs(found - expected).mean() < 5  # as a JPEG


def test_without_a_test_split_the_valid_one_is_shown(fitted: GLIPModule, tmp_path: Path) -> None:
    with_test = fitted.record.metrics
    try:
        fitted.record.metrics = with_test | {"test": None}
        fitted.record.folder, kept = tmp_path, fitted.record.folder
        index = fitted.data.datasets["valid"].index
        box = {"image_id": int(index.ids[0]), "category_id": index.category_ids[0], "score": 0.9}
        found, fitted.record.detections = (
            fitted.record.detections,
            [box | {"bbox": [10, 10, 20, 20]}],
        )
        save_summary(fitted.record, fitted, 4)
        # no metrics.csv there, so no curves: the title, two images of 96 pixels with lines of text
        assert size(tmp_path) == (
            2 * (2 * PANEL + GAP) + GAP + 2 * MARGIN,
            PANEL + 3 * LINE + 2 * MARGIN,
        )
    finally:
        fitted.record.metrics, fitted.record.folder, fitted.record.detections = (
            with_test,
            kept,
            found,
        )


def test_a_fit_without_any_evaluation_has_its_loss(shapes: Path, tmp_path: Path) -> None:
    without(shapes, tmp_path / "some", "test")
    shutil.rmtree(tmp_path / "some" / "valid")
    (tmp_path / "some" / "splits.json").write_text(
        '{"train": ["00000.jpg"], "valid": [], "test": []}'
    )
    glip_lightning.fit(
        module(), data(tmp_path / "some"), trainer(tmp_path, max_epochs=1), tmp_path / "run"
    )
    width, height = size(tmp_path / "run")
    assert width == 2 * PANEL + GAP + 2 * MARGIN
    assert height < PANEL


def test_no_picture_of_a_test_or_without_a_folder(shapes: Path, tmp_path: Path) -> None:
    glip_lightning.test(module(), data(shapes), trainer(tmp_path), tmp_path / "run")
    assert (tmp_path / "run" / "result.json").is_file()
    assert not (tmp_path / "run" / SUMMARY_NAME).exists()


def test_a_run_does_not_fail_because_of_its_picture(
    fitted: GLIPModule, shapes: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A photo that is gone; the picture that was there stays whole."""
    before = (run_of(fitted) / SUMMARY_NAME).read_bytes()
    for photo in (shapes / "test").glob("*.jpg"):
        photo.rename(photo.with_suffix(".away"))
    try:
        with caplog.at_level(logging.WARNING, logger="glip_lightning"):
            save_summary(fitted.record, fitted, 4)
    finally:
        for photo in (shapes / "test").glob("*.away"):
            photo.rename(photo.with_suffix(".jpg"))
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert SUMMARY_NAME in caplog.text
    assert (run_of(fitted) / SUMMARY_NAME).read_bytes() == before
    assert not list(run_of(fitted).glob(".glip-*"))


def test_it_takes_less_than_two_seconds(fitted: GLIPModule) -> None:
    began = time.process_time()
    save_summary(fitted.record, fitted, 4)
    assert time.process_time() - began < 2


def test_truth_is_left_and_what_was_found_right(fitted: GLIPModule) -> None:
    """F1 and shown boxes where nothing is found, all is found, and nothing above a threshold."""
    index = fitted.data.datasets["test"].index
    nothing = _scored([], index, [0.5] * len(index.class_names), len(index))
    assert [each.f1 for each in nothing] == [0.0, 0.0]
    assert [len(each.rows) for each in nothing] == [0, 0]
    ours = found_as_truth(index)
    everything = _scored(ours, index, [0.5] * len(index.class_names), len(index))
    assert [each.f1 for each in everything] == [1.0, 1.0]
    assert [len(each.rows) for each in everything] == [
        len(index.boxes_of(k).xywh) for k in range(2)
    ]
    above = _scored(ours, index, [0.95] * len(index.class_names), len(index))
    assert [each.f1 for each in above] == [0.0, 0.0]


def found_as_truth(index: Index) -> list[dict[str, object]]:
    """Return every true box as a detection of score 0.9."""
    return [
        {
            "image_id": int(index.ids[image]),
            "category_id": index.category_ids[label],
            "bbox": box.tolist(),
            "score": 0.9,
        }
        for image in range(len(index))
        for box, label in zip(
            index.boxes_of(image).xywh, index.boxes_of(image).labels.tolist(), strict=True
        )
    ]


def test_images_that_were_not_evaluated_are_not_the_worst(fitted: GLIPModule) -> None:
    """Where ``trainer.limit_test_batches`` leaves a part, only images with detections are known."""
    index = fitted.data.datasets["test"].index
    ours = [each for each in found_as_truth(index) if each["image_id"] == index.ids[1]]
    (only,) = _scored(ours, index, [0.5] * len(index.class_names), 1)
    assert (only.image, only.f1) == (1, 1.0)


def test_what_is_drawn_is_from_the_best_thresholds_on(
    fitted: GLIPModule, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        fitted.data, "phrases", lambda: [Phrase("other")] * len(fitted.data.class_names)
    )
    record = fitted.record
    kept = record.folder, record.detections, record.thresholds
    try:
        record.folder = tmp_path
        record.detections = found_as_truth(fitted.data.datasets["test"].index)
        pictures = []
        for least in (0.8, 0.95):
            best = BestThreshold(least, 1.0, 1.0, 4)
            # by class, not by phrase
            record.thresholds = dict.fromkeys(fitted.data.class_names, best)
            save_summary(record, fitted, 4)
            with Image.open(tmp_path / SUMMARY_NAME) as image:
                pictures.append(np.asarray(image).astype(int))
        changed = np.abs(pictures[0] - pictures[1]).max(axis=2) > 100
        rows, columns = changed[MARGIN + 2 * LINE : -MARGIN - LINE].nonzero()
        assert len(rows) > 500
        panel = (columns - MARGIN) // (PANEL + GAP)
        assert set(panel.tolist()) == {1, 3}  # never where the truth is
    finally:
        record.folder, record.detections, record.thresholds = kept


def images(*scores: float) -> list[ShownImage]:
    return [ShownImage(k, f1, np.empty((0, 7))) for k, f1 in enumerate(scores)]


@pytest.mark.parametrize(
    "scores, best, worst",
    [
        ([], [], []),
        ([0.5], [0], []),
        ([0.2, 0.5], [1], [0]),
        ([0.2, 0.5, 0.9], [2, 1], [0]),
        ([0.1, 0.9, 0.3, 0.7, 0.5, 0.6, 0.8, 0.2], [1, 6, 3], [0, 7, 2]),
    ],
)
def test_best_and_worst_share_no_image(
    scores: list[float], best: Sequence[int], worst: Sequence[int]
) -> None:
    found = best_and_worst(images(*scores))
    assert [[each.image for each in own] for own in found] == [list(best), list(worst)]


def test_the_mean_of_equal_losses_is_their_value() -> None:
    assert running_mean([2.0] * 5) == pytest.approx([2.0] * 5)
    assert running_mean([1.0, 3.0])[1] == pytest.approx(
        (0.9 * 0.1 * 1 + 0.1 * 3) / (0.9 * 0.1 + 0.1)
    )
