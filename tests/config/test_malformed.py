"""Real photos in 36 malformed data sets: what ``glip doctor`` and ``glip fit`` say and do about each."""

import json
from pathlib import Path
from typing import NamedTuple

import pytest

from glip_lightning.app.cli import main

RECIPES = Path(__file__).parent.parent.parent / "recipes"


class Case(NamedTuple):
    level: str  # the gravest finding: error, warning or ok
    found: dict[str, int]  # code -> sum of counts
    named: tuple[str, ...] = ()  # in the message of the first of these codes


CASES = {
    "01_truncated_jpeg": Case("error", {"undecodable-image": 1}, ("img_train_1.jpg",)),
    "02_missing_image_file": Case("error", {"missing-image": 1}, ("'img_train_1.jpg'", "1 of 3 images")),
    "03_file_not_in_json": Case("warning", {"stray-image": 1}, ("stray.jpg",)),
    "04_zero_byte_and_html": Case("error", {"unreadable-image": 2}, ("img_train_0.jpg", "img_train_1.jpg")),
    "05_png_named_jpg": Case("ok", {}),
    "06_pixel_modes": Case("ok", {}),
    "07_exif_rotated": Case("warning", {"exif-turned": 1, "exif-kept": 1}, ("img_train_0.jpg",)),
    "08_tiny_and_extreme": Case("warning", {"extreme-image": 2, "dropped-box": 1}, ("e0.jpg, e1.jpg",)),
    "09_odd_file_names": Case("ok", {}),
    "10_path_traversal": Case("error", {"outside-folder": 2}, ("'../valid/img_valid_0.jpg'",)),
    "11_box_outside": Case("warning", {"clipped-box": 3, "dropped-box": 1}, ("3 boxes", "img_train_0.jpg")),
    "12_zero_and_negative_area": Case("warning", {"dropped-box": 5}, ("4 boxes without area", "img_train_0.jpg")),
    "13_nan_inf_string_short": Case("error", {"bad-box": 6}, ("5 (", "6 (", "7 (", "8 (", "9 (", "and 1 more")),
    "14_xyxy_instead_of_xywh": Case("warning", {"corner-boxes": 4}, ("x1, y1, x2, y2",)),
    "15_normalised_boxes": Case("warning", {"normalised-boxes": 4}, ("below one pixel",)),
    "16_wrong_image_size": Case("error", {"wrong-size": 2}, ("img_train_0.jpg", "img_train_1.jpg")),
    "17_duplicate_annotation_ids": Case("error", {"duplicate-annotation-id": 1}, ("occur twice: 1;",)),
    "18_duplicate_image_ids": Case("error", {"duplicate-image-id": 1}, ("occur twice: 0;",)),
    "19_unknown_image_id": Case("error", {"unknown-image": 1}, ("image 999",)),
    "20_category_not_in_list": Case("error", {"unknown-category": 1}, ("category 7",)),
    "21_annotation_id_zero": Case("warning", {"annotation-id-zero": 3}),
    "22_background_category": Case("warning", {"background-category": 1}, ("'packages'",)),
    # its other splits have the class "package" only, which an open vocabulary can be asked for
    "23_sparse_category_ids": Case("warning", {"classes-differ": 2}, ("'package'",)),
    "24_odd_category_names": Case(
        "warning", {"blank-name": 2, "duplicate-name": 1, "classes-differ": 2}, ("category 1",)
    ),
    "25_string_ids": Case("warning", {"text-id": 3}),
    "26_categories_differ": Case("error", {"classes-differ": 1}, ("'envelope'",)),
    "27_empty_annotations": Case("warning", {"no-boxes": 1}, ("train split has no box",)),
    "28_empty_test": Case("warning", {"empty-split": 1}, ("no ground truth",)),
    "29_images_without_boxes": Case("ok", {"image-without-boxes": 2}, ("2 of 3 images",)),
    "30_missing_keys": Case("warning", {"missing-keys": 4}),
    "31_iscrowd": Case("ok", {"crowd": 1}, ("img_train_0.jpg",)),
    "32_broken_json": Case("error", {"not-json": 1}, ("line 1 column",)),
    "33_utf8_bom": Case("ok", {}),
    "34_json_is_a_list": Case("error", {"other-tool": 1}, ("COCO file",)),
    "35_missing_split": Case("warning", {"missing-split": 1}, ("no valid split",)),
    "36_split_leak": Case("warning", {"leak": 1}, ("train/img_train_0.jpg = test/img_test_0.jpg",)),
}


@pytest.fixture(params=CASES)
def malformed(request: pytest.FixtureRequest, shared_data: Path) -> tuple[Path, Case]:
    return shared_data / "_bad" / request.param, CASES[request.param]


def test_every_malformed_set_is_known(shared_data: Path) -> None:
    listed = json.loads((shared_data / "_bad" / "cases.json").read_text(encoding="utf-8"))
    levels = {"error": "error", "warn": "warning", "ok": "ok"}
    said = {name: case.level for name, case in CASES.items()}
    assert {case["case"]: levels[case["kind"]] for case in listed} == said | {"23_sparse_category_ids": "ok"}


def test_doctor(malformed: tuple[Path, Case], capsys: pytest.CaptureFixture[str]) -> None:
    folder, case = malformed
    status = main(["doctor", str(folder), "--detector", "glip-nano", "--json"])
    findings = json.loads(capsys.readouterr().out)
    assert status == (1 if case.level == "error" else 0)
    levels = {finding["level"] for finding in findings}
    assert ("error" in levels) == (case.level == "error")
    assert ("warning" in levels) == (case.level == "warning") or case.level == "error"
    for code, count in case.found.items():
        assert sum(finding["count"] for finding in findings if finding["code"] == code) == count, code
    if case.named:
        first = next(finding for finding in findings if finding["code"] == next(iter(case.found)))
        assert all(text in first["message"] for text in case.named), first["message"]


def test_fit(
    malformed: tuple[Path, Case],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Errors stop before the first step (a truncated file: when its turn comes), the rest trains and says the same."""
    folder, case = malformed
    data = ["--data", "CustomData", f"--data.root={folder}", "--data.min_sizes=[64]", "--data.test_size=64"]
    config = ["--config", str(RECIPES / "custom.yaml"), *data, "--data.max_size=96", "--run", str(tmp_path / "run")]
    short = [
        "--trainer.max_epochs=1",
        "--trainer.enable_progress_bar=false",
        "--model.detector=glip-nano",
        "--data.workers=0",
    ]
    with caplog.at_level("INFO", logger="glip_lightning"):
        status = main(["fit", *config, *short, "--model.weights=random"])
    said = capsys.readouterr().err + caplog.text
    assert status == (1 if case.level == "error" else 0), said
    assert all(text in said for text in case.named), said
    if not status:
        result = json.loads((tmp_path / "run" / "result.json").read_text())
        counts = {code: result["data"]["findings"].get(code, 0) for code in case.found}
        assert counts == case.found
