"""The options of ``glip predict`` that choose detections, and the formats that it writes."""

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torchvision.ops import box_iou

from glip_lightning import read_dataset
from glip_lightning.app.cli import main
from glip_lightning.common.errors import GLIPError
from glip_lightning.inference.predictor import Predictor
from glip_lightning.shapes.shapes13 import TASKS
from glip_lightning.shapes.task_pictures import example
from glip_lightning.text.phrases import Phrase
from glip_lightning.weights.load import RUN_DETECTOR, Task, load_detector, save
from printed import line_with, numbers
from refusals import refusal

NAMES = ("red circle", "blue square")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose random detector is sure of itself; its class ids have gaps and no order."""
    folder = tmp_path_factory.mktemp("run")
    torch.manual_seed(0)
    loaded = load_detector("glip-nano", "random")
    with torch.no_grad():
        loaded.model.grounding.token_bias.fill_(1.0)
    phrases = tuple(map(Phrase, NAMES))
    save(loaded.model, loaded.tokenizer, folder / RUN_DETECTOR, Task(phrases, (128, 256)))
    result = {"classes": list(NAMES), "category_ids": [90, 3]}
    (folder / "result.json").write_text(json.dumps(result))
    return folder


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Two pictures of other sizes, one in a folder of its own."""
    folder = tmp_path / "photos"
    (folder / "more").mkdir(parents=True)
    example(TASKS["Blocks"], "test", 0).image.save(folder / "a.png")
    example(TASKS["Blocks"], "test", 1).image.resize((160, 100)).save(folder / "more" / "b é,.png")
    return folder


def predict(run: Path, photos: Path, out: Path, *more: object) -> dict[str, Any]:
    given = [
        photos / "a.png",
        photos / "more",
        "--detector",
        run,
        "--out",
        out,
        "--device",
        "cpu",
        *more,
    ]
    assert main(["predict", *map(str, given)]) == 0
    return content(out)


def content(out: Path) -> dict[str, Any]:
    return json.loads((out / "predictions.json").read_text())


def rows(found: dict[str, Any]) -> list[dict[str, Any]]:
    return [row for entry in found["photos"] for row in entry["detections"]]


@pytest.mark.parametrize(
    "text", ["Red  circle: {0}\nunicorn: 0.5\n", "red circle: {{threshold: {0}, boxes: 3}}\n"]
)
def test_thresholds_of_classes(
    run: Path, photos: Path, tmp_path: Path, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A file as people write it, and one as a run may leave it."""
    before = rows(predict(run, photos, tmp_path / "out", "--threshold", 0.2))
    scores = sorted(row["score"] for row in before if row["name"] == "red circle")
    middle = scores[len(scores) // 2] - 1e-6  # scores are rounded in the file
    (tmp_path / "t.yaml").write_text(text.format(middle))
    capsys.readouterr()
    after = predict(
        run, photos, tmp_path / "out", "--threshold", 0.2, "--thresholds", tmp_path / "t.yaml"
    )
    assert rows(after) == [
        row for row in before if row["name"] != "red circle" or row["score"] >= middle
    ]
    assert after["thresholds"]["red circle"] == middle
    assert ("unicorn" in capsys.readouterr().err) == ("unicorn" in text)


def test_the_best_detections_are_kept_and_the_others_counted(
    run: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = predict(run, photos, tmp_path / "out", "--threshold", 0.1)
    counts = [len(entry["detections"]) for entry in whole["photos"]]
    assert min(counts) > 7
    capsys.readouterr()
    cut = predict(run, photos, tmp_path / "out", "--threshold", 0.1, "--max-detections", 7)
    for before, after, count in zip(whole["photos"], cut["photos"], counts, strict=True):
        assert after["detections"] == before["detections"][:7]
        assert (before["cut"], after["cut"]) == (max(0, count - 300), count - 7 + before["cut"])
    line = line_with(capsys.readouterr().err, "--max-detections")
    assert numbers(line) == [str(sum(counts) - 14), "2", "7"]  # boxes, photos, the limit


def test_more_boxes_than_an_evaluation_counts(run: Path, photos: Path) -> None:
    """The limit of 100 of evaluations is none of predictions."""
    names = [
        f"{colour} {shape}"
        for colour in ("red", "blue", "green", "black")
        for shape in ("circle", "square")
    ]
    every = Predictor(str(run), device="cpu", threshold=0.0)(photos / "a.png", names)
    some = Predictor(str(run), device="cpu", threshold=0.0, max_detections=120)(
        photos / "a.png", names
    )
    assert len(every.boxes) > 120
    assert (len(some.boxes), some.cut, every.cut) == (120, len(every.boxes) - 120, 0)
    assert torch.equal(every.scores[:120], some.scores)


def test_one_label_per_object(run: Path, photos: Path, tmp_path: Path) -> None:
    before = predict(run, photos, tmp_path / "all", "--threshold", 0.2)
    after = predict(run, photos, tmp_path / "one", "--threshold", 0.2, "--one-label")
    assert len(rows(after)) < len(rows(before))
    for every, kept in zip(before["photos"], after["photos"], strict=True):
        boxes = torch.tensor([row["box"] for row in kept["detections"]])
        overlap = box_iou(boxes, boxes).fill_diagonal_(0)
        assert overlap.max() <= 0.6 + 1e-3  # boxes are rounded in the file
        for row in every["detections"]:
            if row not in kept["detections"]:  # a better one stands for it
                better = torch.tensor(
                    [k["box"] for k in kept["detections"] if k["score"] >= row["score"]]
                )
                assert box_iou(torch.tensor([row["box"]]), better).max() > 0.6 - 1e-3


def test_the_formats_hold_what_predictions_json_holds(
    run: Path, photos: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    found = predict(run, photos, out, "--threshold", 0.4, "--format", "json, coco,YOLO,csv")
    assert found["formats"] == ["coco", "yolo", "csv"]
    assert min(len(entry["detections"]) for entry in found["photos"]) > 0
    coco = json.loads((out / "coco.json").read_text(encoding="utf-8"))
    assert coco["categories"] == [
        {"id": 90, "name": "red circle"},
        {"id": 3, "name": "blue square"},
    ]
    assert [image["file_name"] for image in coco["images"]] == ["a.png", "more/b é,.png"]
    names = {90: "red circle", 3: "blue square"}
    table = list(csv.DictReader((out / "predictions.csv").open(encoding="utf-8", newline="")))
    assert len(table) == len(coco["annotations"]) == len(rows(found))
    for row, line, annotation in zip(rows(found), table, coco["annotations"], strict=True):
        x, y, w, h = annotation["bbox"]
        assert [x, y, x + w, y + h] == pytest.approx(row["box"], abs=0.011)
        assert [float(line[key]) for key in ("x1", "y1", "x2", "y2", "score")] == [
            *row["box"],
            row["score"],
        ]
        assert (
            names[annotation["category_id"]]
            == names[int(line["category_id"])]
            == line["name"]
            == row["name"]
        )
        assert annotation["score"] == row["score"]
    assert {line["photo"] for line in table} == {"a.png", "more/b é,.png"}


@pytest.mark.parametrize("form", ["coco", "yolo"])
def test_what_is_written_is_a_data_set(run: Path, photos: Path, tmp_path: Path, form: str) -> None:
    """With the photos beside it, it is read as classes and boxes."""
    out = tmp_path / "out"
    found = predict(run, photos, out, "--threshold", 0.4, "--format", form)
    if form == "coco":
        folder = tmp_path / "set"
        shutil.copytree(photos, folder / "images")
        shutil.copy(out / "coco.json", folder / "annotations.json")
    else:
        folder = out / "yolo"
        (folder / "images").mkdir()
        for entry in found["photos"]:
            shutil.copy(entry["photo"], folder / "images")
    data = read_dataset(folder)
    assert not [finding for finding in data.findings if finding.level == "error"]
    boxes = {}
    for index in data.splits.values():
        assert set(index.class_names) == set(NAMES)
        for i in range(len(index)):
            of_image = index.boxes_of(i)
            named = [index.class_names[k] for k in of_image.labels]
            boxes[Path(index.name(i)).name] = list(zip(named, of_image.xywh.tolist(), strict=True))
    for entry in found["photos"]:
        width, height = entry["width"], entry["height"]
        with Image.open(entry["photo"]) as photo:
            assert photo.size == (width, height)
        read = boxes[Path(entry["photo"]).name]
        # in the order of the file
        for (name, (x, y, w, h)), row in zip(read, entry["detections"], strict=True):
            assert name == row["name"]
            assert [x, y, x + w, y + h] == pytest.approx(row["box"], abs=0.03)


def test_other_phrases_than_the_run_s_are_numbered(run: Path, photos: Path, tmp_path: Path) -> None:
    predict(run, photos, tmp_path, "--phrases", "dog. red circle", "--format", "coco")
    coco = json.loads((tmp_path / "coco.json").read_text())
    assert coco["categories"] == [{"id": 1, "name": "dog"}, {"id": 2, "name": "red circle"}]


def test_files_of_formats_do_not_outlive_their_predictions(
    run: Path, photos: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    predict(run, photos, out, "--format", "coco,yolo,csv")
    (out / "yolo" / "classes.txt").write_text("mine\n")
    predict(run, photos, out, "--format", "csv,yolo", "--threshold", 0.9)
    assert not (out / "coco.json").exists()
    assert (out / "yolo" / "classes.txt").read_text() == "red circle\nblue square\n"
    assert len((out / "predictions.csv").read_text().splitlines()) == 1 + len(rows(content(out)))
    predict(run, photos, out, "--threshold", 0.9)
    assert not {"coco.json", "yolo", "predictions.csv"} & {path.name for path in out.iterdir()}


def test_files_of_others_are_not_replaced(run: Path, photos: Path, tmp_path: Path) -> None:
    (tmp_path / "yolo").mkdir()
    (tmp_path / "yolo" / "weights.txt").write_text("mine")
    refused = refusal("predict", photos, "--detector", run, "--out", tmp_path, "--format", "yolo")
    assert refused.code == "file-exists"
    assert "yolo" in str(refused)
    assert (tmp_path / "yolo" / "weights.txt").read_text() == "mine"
    assert not (tmp_path / "predictions.json").exists()


def test_a_photo_that_cannot_be_read_is_in_no_format(
    run: Path, photos: Path, tmp_path: Path
) -> None:
    (photos / "broken.png").write_bytes(b"no picture")
    given = [
        "predict",
        str(photos / "broken.png"),
        str(photos / "a.png"),
        "--detector",
        str(run),
        "--out",
        str(tmp_path / "out"),
        "--format",
        "coco,yolo,csv",
    ]
    assert main(given) == 1
    coco = json.loads((tmp_path / "out" / "coco.json").read_text())
    assert [image["file_name"] for image in coco["images"]] == ["a.png"]
    assert [path.name for path in (tmp_path / "out" / "yolo" / "labels").iterdir()] == ["a.txt"]


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (["--thresold", "0.2"], "--threshold"),
        (["--max-detection", "7"], "--max-detections"),
        (["--one-lable"], "--one-label"),
        (["--formats", "csv"], "--format"),
        (["--max-detections", "0"], "--max-detections 0"),
        (["--format", "pascal"], "'pascal'"),
        (["--format", ""], "coco"),
    ],
)
def test_wrong_options_name_the_right_ones(
    photos: Path, given: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["predict", str(photos), *given]) == 2
    assert told in capsys.readouterr().err


@pytest.mark.parametrize(
    "wrong", [{"threshold": 2}, {"thresholds": {"dog": -1}}, {"max_detections": 0}]
)
def test_wrong_values_from_python(run: Path, wrong: dict[str, Any]) -> None:
    with pytest.raises(GLIPError) as caught:
        Predictor(str(run), device="cpu", **wrong)
    assert caught.value.code == "bad-value"
