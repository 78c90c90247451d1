"""Malformed data sets: what ``glip doctor`` and ``glip fit`` say and do about each."""

import json
import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

import malformed_coco
import malformed_formats
from glip_lightning.app.cli import main
from refusals import refusal

RECIPES = Path(__file__).parent.parent.parent / "recipes"
WRITERS = malformed_coco.CASES | malformed_formats.CASES
# those that are in ../shared/data/_bad with real photos
LIKE_REAL = list(malformed_coco.CASES)[:36]


@dataclass(frozen=True)
class Case:
    """What has to be found in one data set."""

    level: str  # the gravest finding: error, warning or ok
    # code -> sum of counts; what the fault is, told by fit as well
    found: dict[str, int] = field(default_factory=dict)
    named: tuple[str, ...] = ()  # values in the message of the first of these codes
    # what follows from the fault, as the doctor counts it
    also: dict[str, int] = field(default_factory=dict)


NO_BOX = {"image-without-boxes": 1}
NO_TRAINING = {"image-without-boxes": 3}
NOWHERE = {"no-boxes": 4, "image-without-boxes": 5}  # a count for each split, one for all
NO_VALID_NAME = {"classes-differ": 2, "missing-class": 2, "untrained-class": 1}
CASES = {
    "truncated_jpeg": Case("error", {"undecodable-image": 1}, ("img_train_1.jpg",)),
    "missing_image_file": Case("error", {"missing-image": 1}, ("'img_train_1.jpg'", "1", "3")),
    "file_not_in_json": Case("warning", {"stray-image": 1}, ("stray.jpg",)),
    "zero_byte_and_html": Case(
        "error",
        {"unreadable-image": 2},
        ("img_train_0.jpg", "img_train_1.jpg"),
        {"undecodable-image": 2},
    ),
    "png_named_jpg": Case("ok"),
    "pixel_modes": Case("ok", also={"duplicate-image": 1}),
    "exif_rotated": Case("warning", {"exif-turned": 1, "exif-kept": 1}, ("img_train_0.jpg",)),
    "tiny_and_extreme": Case(
        "warning",
        {"extreme-image": 2, "dropped-box": 1},
        ("e0.jpg, e1.jpg",),
        NO_BOX | {"flat-image": 2},
    ),
    "odd_file_names": Case("ok", also={"duplicate-image": 1}),
    "path_traversal": Case(
        "error",
        {"outside-folder": 2},
        ("'../valid/img_valid_0.jpg'", "'/etc/hostname'"),
        {"stray-image": 2},
    ),
    "box_outside": Case("warning", {"clipped-box": 3, "dropped-box": 1}, ("3", "img_train_0.jpg")),
    "zero_and_negative_area": Case("warning", {"dropped-box": 5}, ("4", "img_train_0.jpg")),
    "nan_inf_string_short": Case(
        "error", {"bad-box": 6}, ("5", "6", "7", "8", "9", "1")
    ),  # five ids and one more
    "xyxy_instead_of_xywh": Case(
        "warning", {"corner-boxes": 4}, ("x1, y1, x2, y2",), {"clipped-box": 4}
    ),
    "normalised_boxes": Case(
        "warning", {"normalised-boxes": 4}, also=NO_TRAINING | {"dropped-box": 4, "no-boxes": 1}
    ),
    "wrong_image_size": Case("error", {"wrong-size": 2}, ("img_train_0.jpg", "img_train_1.jpg")),
    "duplicate_annotation_ids": Case("error", {"duplicate-annotation-id": 1}, ("1",)),
    "duplicate_image_ids": Case(
        "error", {"duplicate-image-id": 1}, ("0",), {"unknown-image": 1, "stray-image": 1}
    ),
    "unknown_image_id": Case("error", {"unknown-image": 1}, ("999",), NO_BOX),
    "category_not_in_list": Case("error", {"unknown-category": 1}, ("7",), NO_BOX),
    "annotation_id_zero": Case("warning", {"annotation-id-zero": 3}),
    "background_category": Case("warning", {"background-category": 1}, ("'packages'",)),
    # its other splits have the class "package" only, which an open vocabulary can be asked for
    "sparse_category_ids": Case(
        "warning", {"classes-differ": 2}, ("'package'",), {"untrained-class": 2, "missing-class": 4}
    ),
    "odd_category_names": Case(
        "warning",
        {"blank-name": 2, "duplicate-name": 1, "classes-differ": 2},
        ("1", "'category 1'"),
        {
            "untrained-class": 4,
            "missing-class": 8,
            "long-name": 1,
            "unknown-words": 1,
            "names-alike": 1,
        },
    ),
    "string_ids": Case("warning", {"text-id": 3}),
    "categories_differ": Case(
        "error", {"classes-differ": 1}, ("'envelope'",), {"untrained-class": 1}
    ),
    "empty_annotations": Case("warning", {"no-boxes": 1}, ("train",), NO_TRAINING),
    "empty_test": Case("warning", {"empty-split": 1}, ("test",), {"stray-image": 1}),
    "images_without_boxes": Case("ok", {"image-without-boxes": 2}, ("2", "3")),
    "missing_keys": Case("warning", {"missing-keys": 4}),
    "iscrowd": Case("ok", {"crowd": 1}, ("img_train_0.jpg",), NO_BOX),
    "broken_json": Case("error", {"not-json": 1}, ("line 1 column",)),
    "utf8_bom": Case("ok"),
    "json_is_a_list": Case(
        "error", {"other-tool": 1}, ("annotations_without_background.json", "COCO")
    ),
    "missing_split": Case("warning", {"missing-split": 1}, ("valid",)),
    "split_leak": Case("warning", {"leak": 1}, ("train/img_train_0.jpg = test/img_test_0.jpg",)),
    # more than the folders with real photos have
    "lone_surrogate": Case("error", {"broken-text": 1}, (r"'package \ud83d'",), NO_VALID_NAME),
    "windows_paths": Case(
        "warning", {"other-names": 3}, ("img_train_0.jpg", "img_train_1.jpg", "img_train_2.jpg")
    ),
    "two_annotation_files": Case(
        "error", {"several-annotation-files": 1}, ("first.json", "second.json")
    ),
    "utf16_json": Case("error", {"not-json": 1}, ("annotations_without_background.json",)),
    "folder_named_jpg": Case("error", {"missing-image": 1}, ("'img_train_0.jpg'", "1", "3")),
    "several_frames": Case("warning", {"several-frames": 1}, ("scan.tif",)),
    "many_boxes": Case("warning", {"many-objects": 1}, ("100", "320", "31%", "img_test_0.jpg")),
    "names_in_two_cases": Case(
        "warning", {"classes-differ": 2}, ("'Package'",), {"missing-class": 2, "names-alike": 1}
    ),
    "name_of_a_whole_sentence": Case(
        "error", {"name-too-long": 1}, ("252", "320"), NO_VALID_NAME | {"long-name": 1}
    ),
    "yolo_in_percent": Case(
        "error", {"label-outside": 1}, ("labels/train/img_train_0.txt:1",), NO_BOX
    ),
    "yolo_decimal_commas": Case(
        "error", {"label-not-a-number": 1}, ("labels/train/img_train_0.txt:1",), NO_BOX
    ),
    "yolo_classes_from_1": Case(
        "error", {"unknown-class": 7}, ("labels/train/img_train_0.txt:1", "0"), NOWHERE
    ),
    "yolo_utf16_labels": Case(
        "error", {"label-unreadable": 1}, ("labels/train/img_train_0.txt",), NO_BOX
    ),
    "yolo_key_points": Case(
        "error", {"key-points": 1}, ("labels/train/img_train_0.txt:1", "11"), NO_BOX
    ),
    "yolo_all_labels_empty": Case("error", NOWHERE, also={"empty-labels": 5}),
    "voc_decimal_commas": Case("error", {"bad-box": 1}, ("img_train_0.xml", "'89,5'"), NO_BOX),
    "voc_latin1": Case("error", {"broken-xml": 1}, ("img_train_0.xml",), {"stray-image": 1}),
    "voc_picture_in_two_lists": Case(
        "warning", {"leak": 1}, ("train/img_train_0.jpg = test/img_train_0.jpg",)
    ),
    "voc_all_difficult": Case(
        "warning", {"difficult": 4, "crowd": 4}, ("4",), NO_TRAINING | {"no-boxes": 1}
    ),
    "voc_unlisted": Case("warning", {"split-unlisted": 1, "stray-image": 1}, ("new",)),
    "labelme_two_files_of_one_picture": Case(
        "error", {"duplicate-image": 1}, ("img_train_0.jpg", "img_train_0.json", "img_train_1.json")
    ),
    "labelme_points_only": Case(
        "warning", {"left-out-shape": 2}, ("img_train_0.json", "'point'", "'line'"), NO_BOX
    ),
    "labelme_nan": Case("error", {"bad-box": 1}, ("img_train_0.json", "1"), NO_BOX),
    "labelme_outside": Case("warning", {"clipped-box": 1, "dropped-box": 1}, ("img_train_0.jpg",)),
    "labelme_names_in_two_splits": Case(
        "warning", {"untrained-class": 1, "missing-class": 2}, ("'parcel'",)
    ),
}


@pytest.fixture(params=CASES)
def malformed(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, Case]:
    folder = tmp_path / "data"
    WRITERS[request.param](folder)
    return folder, CASES[request.param]


def examined(folder: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, list[dict[str, Any]]]:
    """Return the exit code of ``glip doctor`` and its findings."""
    status = main(["doctor", str(folder), "--detector", "glip-nano", "--json"])
    return status, json.loads(capsys.readouterr().out)


def counts_of(findings: list[dict[str, Any]]) -> Counter[tuple[str, str]]:
    """Return (level, code) -> sum of counts."""
    counts: Counter[tuple[str, str]] = Counter()
    for finding in findings:
        counts[finding["level"], finding["code"]] += finding["count"]
    return counts


def names_all(text: str, values: tuple[str, ...]) -> bool:
    """Return whether each value stands in a text as a word of its own."""
    return all(re.search(rf"(?<!\w){re.escape(value)}(?!\w)", text) for value in values)


def test_there_is_an_expectation_for_every_set() -> None:
    assert list(CASES) == list(WRITERS)


def test_generated_sets_are_like_those_of_real_photos(
    shared_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    real = {
        folder.name.partition("_")[2]: folder
        for folder in sorted((shared_data / "_bad").glob("[0-9]*_*"))
    }
    assert list(real) == LIKE_REAL
    for name, folder in real.items():
        WRITERS[name](tmp_path / name)
        status, findings = examined(tmp_path / name, capsys)
        real_status, real_findings = examined(folder, capsys)
        assert (name, status, counts_of(findings)) == (name, real_status, counts_of(real_findings))


def test_wanted_levels_are_those_of_the_real_sets(shared_data: Path) -> None:
    listed = json.loads((shared_data / "_bad" / "cases.json").read_text(encoding="utf-8"))
    levels = {"error": "error", "warn": "warning", "ok": "ok"}
    wanted = {case["case"].partition("_")[2]: levels[case["kind"]] for case in listed}
    found = {name: CASES[name].level for name in LIKE_REAL}
    # the other splits lack these classes
    assert found == wanted | {"sparse_category_ids": "warning"}


def test_doctor(malformed: tuple[Path, Case], capsys: pytest.CaptureFixture[str]) -> None:
    folder, case = malformed
    status, findings = examined(folder, capsys)
    counts = counts_of(findings)
    levels = {level for level, _ in counts}
    gravest = next((level for level in ("error", "warning") if level in levels), "ok")
    assert (status, gravest) == (1 if case.level == "error" else 0, case.level)
    found: Counter[str] = Counter()
    for (_, code), count in counts.items():
        found[code] += count
    del found["unread-words"]  # depends on what the shipped detector was trained on
    assert found == case.found | case.also
    if case.named:
        first = next(finding for finding in findings if finding["code"] == next(iter(case.found)))
        assert names_all(first["message"], case.named), first["message"]


def fit_options(folder: Path, run: Path) -> list[str]:
    data = [
        "--data",
        "CustomData",
        f"--data.root={folder}",
        "--data.min_sizes=[64]",
        "--data.test_size=64",
    ]
    config = [
        "--config",
        str(RECIPES / "custom.yaml"),
        *data,
        "--data.max_size=96",
        "--data.workers=0",
    ]
    short = ["--trainer.max_epochs=1", "--trainer.enable_progress_bar=false"]
    return [
        *config,
        *short,
        "--model.detector=glip-nano",
        "--model.weights=random",
        "--run",
        str(run),
    ]


def test_fit(
    malformed: tuple[Path, Case], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Errors stop before the first step, the rest trains and says the same."""
    folder, case = malformed
    options = fit_options(folder, tmp_path / "run")
    if case.level == "error":
        error = refusal("fit", *options)
        assert error.code == next(iter(case.found))
        assert names_all(str(error), case.named)
        return
    with caplog.at_level("INFO", logger="glip_lightning"):
        assert main(["fit", *options]) == 0
    assert names_all(caplog.text, case.named)
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    counts = {code: result["data"]["findings"].get(code, 0) for code in case.found}
    assert counts == case.found


def test_a_refused_fit_ends_with_exit_code_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    WRITERS["missing_image_file"](tmp_path / "data")
    assert main(["fit", *fit_options(tmp_path / "data", tmp_path / "run")]) == 1
    assert "img_train_1.jpg" in capsys.readouterr().err
