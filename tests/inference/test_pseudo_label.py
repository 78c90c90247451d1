"""``glip pseudo-label``: a small teacher labels photos, and what it leaves is data to train on."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.ops import box_iou

from glip_lightning import read_dataset
from glip_lightning.app.cli import main
from glip_lightning.common.errors import GLIPError
from glip_lightning.data.checks.findings import DataError
from glip_lightning.data.collate import Collate
from glip_lightning.data.dataset import CocoDetection
from glip_lightning.data.formats.captioned_images import Captioned, Sentence, read_captions
from glip_lightning.data.grounding import GroundingDataset
from glip_lightning.data.transforms import Transform
from glip_lightning.inference.predictor import Predictor
from glip_lightning.inference.pseudo_label.grounding_file import (
    choose,
    grounding_content,
    phrase_scores,
)
from glip_lightning.inference.pseudo_label.journal import Journal
from glip_lightning.inference.pseudo_label.labelling import find_all
from glip_lightning.inference.pseudo_label.teacher import STORED_FROM, Row, Teacher
from glip_lightning.inference.thresholds import Thresholds
from glip_lightning.shapes.shapes13 import TASKS
from glip_lightning.shapes.task_pictures import example
from glip_lightning.text.phrases import Phrase
from glip_lightning.weights.load import Task, load_detector, save
from refusals import refusal

CAPTION = "a red circle left of two blue squares"
SPANS = [(2, 12), (25, 37)]
SIZE = (96, 128)


def make_teacher(folder: Path, seed: int) -> Path:
    """A random detector that is sure of itself, so that there are boxes."""
    torch.manual_seed(seed)
    loaded = load_detector("glip-nano", "random")
    with torch.no_grad():
        loaded.model.grounding.token_bias.fill_(1.0)
    return save(
        loaded.model, loaded.tokenizer, folder, Task((Phrase("red circle"), Phrase("dog")), SIZE)
    )


@pytest.fixture(scope="session")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_teacher(tmp_path_factory.mktemp("teacher") / "detector", 0)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Five photos, two of them of another shape, one of these turned by EXIF."""
    folder = tmp_path / "photos"
    (folder / "more").mkdir(parents=True)
    for i in range(3):
        example(TASKS["Blocks"], "test", i, size=96).image.save(folder / f"{i}.jpg")
    wide = example(TASKS["Blocks"], "test", 3, size=96).image.resize((120, 80))
    wide.save(folder / "more" / "wide.png")
    exif = Image.Exif()
    exif[0x0112] = 6
    wide.save(folder / "turned.jpg", exif=exif)
    return folder


def captions(folder: Path, names: list[str] | None = None) -> Path:
    """JSON lines; the first photo has two captions, one with phrases of its own."""
    names = names or ["0.jpg", "more/wide.png", "turned.jpg"]
    rows: list[dict[str, Any]] = [{"file_name": name, "caption": CAPTION} for name in names]
    rows.append({"file_name": "0.jpg", "caption": "a dog or so", "phrases": [[2, 5], [0, 5]]})
    file = folder / "captions.jsonl"
    file.write_text("\n".join(map(json.dumps, rows)))
    return file


def command(teacher: Path, photos: Path, out: Path, *more: object) -> list[str]:
    given = ["--images", photos, "--detector", teacher, "--out", out, "--device", "cpu", *more]
    return ["pseudo-label", *map(str, given)]


def label(teacher: Path, photos: Path, out: Path, *more: object) -> int:
    return main(command(teacher, photos, out, *more))


def refused(teacher: Path, photos: Path, out: Path, *more: object) -> GLIPError:
    return refusal(*command(teacher, photos, out, *more))


def numbers(text: str) -> list[str]:
    return re.findall(r"\d+(?:\.\d+)?", text)


def content(out: Path) -> dict[str, Any]:
    return json.loads(out.read_text(encoding="utf-8"))


def three_lists(out: Path) -> dict[str, Any]:
    return {key: value for key, value in content(out).items() if key != "info"}


def test_what_it_leaves_is_read_as_grounding_data(
    teacher: Path, photos: Path, tmp_path: Path
) -> None:
    out = tmp_path / "labels.json"
    assert label(teacher, photos, out, "--captions", captions(tmp_path), "--threshold", 0.3) == 0
    data = GroundingDataset(out, photos, Transform((96,), 128))
    tokenizer = load_detector(str(teacher)).tokenizer
    assert len(data) == 4
    assert data.unnamed(tokenizer) == 0
    batch = Collate(tokenizer, [])([data[i] for i in range(4)])
    assert sorted(batch["names"]) == ["0.jpg", "0.jpg", "more/wide.png", "turned.jpg"]
    assert all(len(boxes) for boxes in batch["boxes"])
    assert all(rows.any(1).all() for rows in batch["positive_maps"])
    found = content(out)
    sizes = {image["file_name"]: (image["height"], image["width"]) for image in found["images"]}
    assert sizes == {"0.jpg": (96, 96), "more/wide.png": (80, 120), "turned.jpg": (120, 80)}
    named = {
        tuple(map(tuple, a["tokens_positive"])) for a in found["annotations"] if a["image_id"] != 2
    }
    assert named <= {(SPANS[0],), (SPANS[1],), tuple(SPANS)}
    assert {0.3} == {found["info"]["thresholds"]["default"]}
    assert all(0.3 <= a["score"] <= 1 for a in found["annotations"])
    info = found["info"]
    assert info["teacher"]["name"] == str(teacher)
    assert len(info["teacher"]["sha256"]) == 64
    assert info["counts"]["boxes kept"] == len(found["annotations"])
    assert info["command"].startswith("glip pseudo-label --images")


def test_boxes_are_those_of_the_predictor(teacher: Path, photos: Path, tmp_path: Path) -> None:
    """Class lists, one photo at a time and in batches: the same as ``glip predict`` finds."""
    out, phrases = tmp_path / "labels.json", "red circle. blue square"
    assert label(teacher, photos, out, "--phrases", phrases, "--threshold", 0.4, "--batch", 2) == 0
    found = content(out)
    assert found["categories"] == [
        {"id": 1, "name": "red circle"},
        {"id": 2, "name": "blue square"},
    ]
    assert len(found["images"]) == 5
    predictor = Predictor(str(teacher), device="cpu", threshold=0.4)
    for image in found["images"]:
        seen = predictor(photos / image["file_name"], phrases)
        mine = [a for a in found["annotations"] if a["image_id"] == image["id"]]
        best = max(mine, key=lambda a: a["score"])
        x, y, w, h = best["bbox"]
        torch.testing.assert_close(
            torch.tensor([x, y, x + w, y + h]), seen.boxes[0], atol=0.05, rtol=1e-3
        )
        assert best["score"] == pytest.approx(float(seen.scores[0]), abs=1e-3)
        assert found["categories"][best["category_id"] - 1]["name"] == seen.names[0]
        # thin boxes, and the noise of batches at the threshold
        assert 0 <= len(seen.boxes) - len(mine) <= 2


def test_a_finished_run_knows_its_classes(teacher: Path, photos: Path, tmp_path: Path) -> None:
    assert label(teacher, photos, tmp_path / "labels.json") == 0
    found = content(tmp_path / "labels.json")
    assert [category["name"] for category in found["categories"]] == ["red circle", "dog"]


def test_a_detector_without_a_task_has_to_be_told(photos: Path, tmp_path: Path) -> None:
    loaded = load_detector("glip-nano", "random")
    detector = save(loaded.model, loaded.tokenizer, tmp_path / "detector")
    error = refused(detector, photos, tmp_path / "labels.json")
    assert error.code == "no-classes"
    assert all(
        part in str(error) for part in ("--captions", "--phrases", "--phrases-file", str(detector))
    )
    assert label(detector, photos, tmp_path / "labels.json") == 1


def test_long_class_lists_become_several_captions(
    teacher: Path, photos: Path, tmp_path: Path
) -> None:
    file, out = tmp_path / "phrases.txt", tmp_path / "labels.json"
    names = [f"thing number {i}" for i in range(100)]
    file.write_text("\n".join(names))
    assert (
        label(teacher, photos, out, "--phrases-file", file, "--threshold", 0.1, "--keep-empty") == 0
    )
    found = content(out)
    assert [category["name"] for category in found["categories"]] == names
    assert len(found["images"]) == 5
    predictor = Predictor(str(teacher), device="cpu", threshold=0.1)
    seen = predictor(photos / "0.jpg", names)
    first = max((a for a in found["annotations"] if a["image_id"] == 1), key=lambda a: a["score"])
    assert found["images"][0]["file_name"] == "0.jpg"
    assert names[first["category_id"] - 1] == seen.names[0]


def test_labels_of_a_class_list_are_an_ordinary_data_set(
    teacher: Path, photos: Path, tmp_path: Path
) -> None:
    out = photos / "labels.json"
    assert label(teacher, photos, out, "--phrases", "red circle. dog", "--threshold", 0.3) == 0
    data = read_dataset(photos)
    assert not [finding for finding in data.findings if finding.level == "error"]
    assert {index.class_names for index in data.splits.values()} == {("red circle", "dog")}
    assert sum(len(index.boxes.labels) for index in data.splits.values()) == len(
        content(out)["annotations"]
    )


def test_labels_of_captions_are_no_classes(teacher: Path, photos: Path, tmp_path: Path) -> None:
    out = photos / "labels.json"
    assert label(teacher, photos, out, "--captions", captions(tmp_path), "--threshold", 0.3) == 0
    findings = {finding.code: finding for finding in read_dataset(photos).findings}
    assert findings["caption-phrases"].level == "error"
    assert findings["caption-phrases"].count == len(content(out)["annotations"])


def test_one_label_per_object_and_most_boxes(
    teacher: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, given = (
        tmp_path / "labels.json",
        ("--phrases", "red circle. blue square", "--threshold", 0.3),
    )
    assert label(teacher, photos, out, *given) == 0
    every = content(out)
    assert label(teacher, photos, out, *given, "--one-label") == 0
    one = content(out)
    assert one["info"]["counts"]["boxes of an object that has a better one"] > 0
    assert len(one["annotations"]) < len(every["annotations"])
    for image in one["images"]:
        rows = [a["bbox"] for a in one["annotations"] if a["image_id"] == image["id"]]
        corners = torch.tensor([[x, y, x + w, y + h] for x, y, w, h in rows])
        assert box_iou(corners, corners).fill_diagonal_(0).max() <= 0.6
    assert label(teacher, photos, out, *given, "--max-detections", 3) == 0
    few = content(out)
    assert max(Counter(a["image_id"] for a in few["annotations"]).values()) == 3
    left_out = len(every["annotations"]) - len(few["annotations"])
    assert few["info"]["counts"]["boxes beyond --max-detections"] == left_out
    (line,) = (line for line in capsys.readouterr().out.splitlines() if "--max-detections" in line)
    assert numbers(line) == [str(left_out)]


@pytest.mark.parametrize(
    "wrong, code",
    [(("--max-detections", 1001), "bad-value"), (("--one-label",), "option-without-use")],
)
def test_limits_that_labels_cannot_have(
    teacher: Path, photos: Path, tmp_path: Path, wrong: tuple[object, ...], code: str
) -> None:
    error = refused(
        teacher, photos, tmp_path / "labels.json", "--captions", captions(tmp_path), *wrong
    )
    assert error.code == code
    assert " ".join(map(str, wrong)) in str(error)
    assert not (tmp_path / "labels.json").exists()


def test_thresholds_come_after_the_teacher(
    teacher: Path,
    photos: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out, given = tmp_path / "labels.json", ("--captions", captions(tmp_path))
    assert label(teacher, photos, out, *given, "--threshold", 0.1) == 0
    scores = (tmp_path / "labels.scores.jsonl").read_bytes()
    all_boxes = content(out)["annotations"]
    monkeypatch.setattr(Teacher, "find", None)  # not asked again
    monkeypatch.setattr(Teacher, "read", None)
    middle = sorted(a["score"] for a in all_boxes)[len(all_boxes) // 2]
    assert label(teacher, photos, out, *given, "--threshold", middle) == 0
    kept = content(out)["annotations"]
    assert 0 < len(kept) < len(all_boxes)
    assert min(a["score"] for a in kept) >= middle
    assert (tmp_path / "labels.scores.jsonl").read_bytes() == scores
    (tmp_path / "own.yaml").write_text("Red  Circle: 1.0\nunicorn: 0.2\n")
    capsys.readouterr()
    assert (
        label(
            teacher, photos, out, *given, "--threshold", 0.1, "--thresholds", tmp_path / "own.yaml"
        )
        == 0
    )
    (line,) = (line for line in capsys.readouterr().err.splitlines() if "unicorn" in line)
    assert f"--thresholds {tmp_path / 'own.yaml'}" in line
    assert not any([*SPANS[0]] in a["tokens_positive"] for a in content(out)["annotations"])
    assert content(out)["info"]["thresholds"]["phrases"] == {"red circle": 1.0, "unicorn": 0.2}
    assert label(teacher, photos, out, *given, "--threshold", 1.0) == 0
    assert content(out)["images"] == []
    assert content(out)["info"]["counts"]["captions in which nothing was found"] == 4
    assert label(teacher, photos, out, *given, "--threshold", 1.0, "--keep-empty") == 0
    assert [len(GroundingDataset(out, photos)), content(out)["annotations"]] == [4, []]


def test_the_teacher_sees_what_training_will_see(
    teacher: Path, photos: Path, tmp_path: Path
) -> None:
    """The same pixels, however EXIF turns them: half a turn cannot be told from the size."""
    for turn in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = turn
        example(TASKS["Blocks"], "test", turn, size=96).image.save(
            photos / f"square{turn}.jpg", exif=exif
        )
        example(TASKS["Blocks"], "test", turn, size=96).image.resize((120, 70)).save(
            photos / f"wide{turn}.jpg", exif=exif
        )
    out = tmp_path / "labels.json"
    assert label(teacher, photos, out, "--phrases", "dog", "--threshold", 0.1, "--keep-empty") == 0
    data = CocoDetection(out, photos, Transform((SIZE[0],), SIZE[1]))
    model = Teacher(str(teacher), "cpu")
    assert len(data) == 21
    for i in range(len(data)):
        assert torch.equal(data[i]["image"], model.read(photos / data[i]["name"]).image), data[i][
            "name"
        ]


def test_ctrl_c_keeps_what_is_done(
    teacher: Path,
    photos: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    find, calls = Teacher.find, []

    def interrupted(self: Teacher, *given: Any) -> Any:
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return find(self, *given)

    monkeypatch.setattr(Teacher, "find", interrupted)
    given = ("--phrases", "dog", "--batch", 1)
    assert label(teacher, photos, tmp_path / "labels.json", *given) == 130
    journal = str(tmp_path / "labels.scores.jsonl")
    (line,) = (line for line in capsys.readouterr().err.splitlines() if journal in line)
    assert numbers(line.replace(journal, "")) == ["2", "5"]  # images that are done, of how many
    assert label(teacher, photos, tmp_path / "labels.json", *given) == 0
    assert len(calls) == 6


def slow_label(teacher: Path, photos: Path, out: Path, file: Path) -> subprocess.Popen[bytes]:
    """The real command in a process of its own, one photo at a time with a pause after each."""
    code = (
        "import sys, time\nfrom glip_lightning.app.cli import main\n"
        "from glip_lightning.inference.pseudo_label.journal import Journal\n"
        "append = Journal.append\n"
        "def slow(self, records):\n    append(self, records); time.sleep(0.4)\n"
        "Journal.append = slow\nsys.exit(main(sys.argv[1:]))"
    )
    given = [
        "--images",
        photos,
        "--detector",
        teacher,
        "--out",
        out,
        "--device",
        "cpu",
        "--captions",
        file,
    ]
    words = ["pseudo-label", *map(str, given), "--threshold", "0.3", "--batch", "1"]
    return subprocess.Popen(
        [sys.executable, "-c", code, *words], stderr=subprocess.PIPE, stdout=subprocess.PIPE
    )


def test_killed_at_any_time_it_goes_on(teacher: Path, photos: Path, tmp_path: Path) -> None:
    names = ["0.jpg", "1.jpg", "2.jpg", "more/wide.png", "turned.jpg"]
    file = captions(tmp_path, names)
    whole, out = tmp_path / "whole.json", tmp_path / "labels.json"
    given = ("--captions", file, "--threshold", 0.3, "--batch", 1)
    assert label(teacher, photos, whole, *given) == 0
    process = slow_label(teacher, photos, out, file)
    scores = tmp_path / "labels.scores.jsonl"
    deadline = time.monotonic() + 120
    while not (scores.exists() and scores.read_bytes().count(b"\n") >= 3):
        assert process.poll() is None, process.stderr and process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    assert not out.exists()
    before = scores.read_bytes()
    assert 3 <= before.count(b"\n") < 6
    scores.write_bytes(before + b'{"file_name":"2.jpg","hei')  # as the kill could have left it
    assert label(teacher, photos, out, *given) == 0
    assert scores.read_bytes().startswith(before)
    assert scores.read_bytes() == (tmp_path / "whole.scores.jsonl").read_bytes()
    assert three_lists(out) == three_lists(whole)


def test_batches_of_a_run_that_goes_on_are_those_of_a_whole_one(
    teacher: Path, photos: Path, tmp_path: Path
) -> None:
    model = Teacher(str(teacher), "cpu")
    listed = [Captioned(f"{i}.jpg", (Sentence("red circle", ((0, 10),)),)) for i in range(3)]
    listed.insert(1, Captioned("more/wide.png", (Sentence("red circle", ((0, 10),)),) * 2))
    with Journal(tmp_path / "whole.jsonl", {}) as whole:
        assert list(find_all(model, photos, listed, whole, 2)) == [0, 2, 1, 1]
        lines = whole.path.read_bytes().splitlines(keepends=True)
        (tmp_path / "part.jsonl").write_bytes(b"".join(lines[:3]))  # header and first batch
        with Journal(tmp_path / "part.jsonl", {}) as part:
            assert sum(find_all(model, photos, listed, part, 2)) == 4
            assert part.path.read_bytes() == whole.path.read_bytes()
            assert list(find_all(model, photos, listed, part, 2)) == [4]
        assert len(whole.get("more/wide.png")["found"]) == 2


def test_another_teacher_or_setting_is_refused(teacher: Path, photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "labels.json"
    assert label(teacher, photos, out, "--phrases", "dog") == 0
    journal = tmp_path / "labels.scores.jsonl"
    scores = journal.read_bytes()
    header = json.loads(scores.splitlines()[0])
    other = make_teacher(tmp_path / "other", 1)
    error = refused(other, photos, out, "--phrases", "dog")
    assert error.code == "other-journal"
    for part in (journal, teacher, f"weights {header['weights']}", other, "--out"):
        assert str(part) in str(error)
    assert "photos and phrases" not in str(error)  # a key of the header that is the same
    error = refused(teacher, photos, out, "--phrases", "cat")
    assert error.code == "other-journal"
    assert f"photos and phrases {header['photos and phrases']}" in str(error)
    assert f"weights {header['weights']}" not in str(error)
    with Journal(tmp_path / "busy.scores.jsonl", {}):
        error = refused(teacher, photos, tmp_path / "busy.json", "--phrases", "dog")
    assert error.code == "journal-in-use"
    assert str(tmp_path / "busy.scores.jsonl") in str(error)
    assert journal.read_bytes() == scores


PHOTO = b'{"file_name":"a.png","height":4,"width":4,"found":[]}'


@pytest.mark.parametrize(
    "damage, code, lines",
    [
        (b"{}\n{nonsense\n{}\n", "damaged-journal", ["2"]),
        (b"[]\n", "not-a-journal", []),
        (b"[" * 100_000 + b"\n", "not-a-journal", []),
        (b"a poem without an end", "not-a-journal", []),
        (b'{}\n{"file_name":"a.png"}\n', "damaged-journal", ["2"]),
        (b"{}\n" + PHOTO + b"\n" + PHOTO.replace(b":4", b":0") + b"\n", "damaged-journal", ["3"]),
        (b"{}\n" + PHOTO.replace(b"[]", b"7") + b"\n", "damaged-journal", ["2"]),
        (b'{}\n{"file_name":"a.png","error":null}\n', "damaged-journal", ["2"]),
        (b"{}\n" + PHOTO.replace(b"a.png", b"\xff") + b"\n", "damaged-journal", ["2"]),
    ],
)
def test_damaged_journals_are_named(
    tmp_path: Path, damage: bytes, code: str, lines: list[str]
) -> None:
    file = tmp_path / "j.jsonl"
    file.write_bytes(damage)
    with pytest.raises(GLIPError) as error:
        Journal(file, {})
    assert error.value.code == code
    assert str(file) in str(error.value)
    assert numbers(str(error.value).replace(str(file), "")) == lines
    assert file.read_bytes() == damage


def test_a_journal_that_was_killed_at_once_is_gone_on_with(tmp_path: Path) -> None:
    header = {"pseudo-labels": 1, "teacher": "a"}
    for begun in (b"", json.dumps(header).encode()[:-5]):
        (tmp_path / "j.jsonl").write_bytes(begun)
        with Journal(tmp_path / "j.jsonl", header):
            assert json.loads((tmp_path / "j.jsonl").read_bytes()) == header


@pytest.mark.parametrize(
    "found",
    [
        [],
        [[], []],
        [7],
        [[[0, 0.5, 1, 2, 3]]],
        [[[2, 0.5, 1, 2, 3, 4]]],
        [[[-1, 0.5, 1, 2, 3, 4]]],
        [[[0, "0.5", 1, 2, 3, 4]]],
        [[[0, float("nan"), 1, 2, 3, 4]]],
        [[[0, 0.5, 1, 2, 3, 10**400]]],
    ],
)
def test_scores_of_other_captions_are_refused(found: list[Any]) -> None:
    photo = Captioned("a.png", (Sentence(CAPTION, tuple(SPANS)),))
    labelled = [(photo, {"file_name": "a.png", "height": 9, "width": 9, "found": found})]
    for use in (
        lambda: list(phrase_scores(labelled)),
        lambda: grounding_content(labelled, Thresholds(0.2), True),
    ):
        with pytest.raises(GLIPError) as error:
            use()
        assert error.value.code == "damaged-journal"


def test_unreadable_photos_are_named_and_tried_again(
    teacher: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = (photos / "1.jpg").read_bytes()
    (photos / "1.jpg").write_bytes(whole[:500])
    file = captions(tmp_path, ["0.jpg", "1.jpg", "missing.jpg"])
    out = tmp_path / "labels.json"
    assert label(teacher, photos, out, "--captions", file, "--threshold", 0.3) == 1
    said = capsys.readouterr()
    for name in ("1.jpg", "missing.jpg"):
        assert sum(str(photos / name) in line for line in said.err.splitlines()) == 1
    assert content(out)["info"]["counts"]["unreadable images"] == 2
    # the same key
    assert ["2", "unreadable images"] in [line.split(maxsplit=1) for line in said.out.splitlines()]
    assert {image["file_name"] for image in content(out)["images"]} == {"0.jpg"}
    (photos / "1.jpg").write_bytes(whole)
    Image.fromarray(np.zeros((40, 40, 3), np.uint8)).save(photos / "missing.jpg")
    assert label(teacher, photos, out, "--captions", file, "--threshold", 0.3) == 0
    assert {image["file_name"] for image in content(out)["images"]} == {
        "0.jpg",
        "1.jpg",
        "missing.jpg",
    }


def test_inputs_are_not_overwritten_and_have_to_name_something(
    teacher: Path, photos: Path, tmp_path: Path
) -> None:
    file = tmp_path / "captions.json"
    file.write_text(json.dumps([{"file_name": "0.jpg", "caption": "here and there"}]))
    before = file.read_bytes()
    error = refused(teacher, photos, file, "--captions", file)
    assert error.code == "file-exists"
    assert f"--out {file}" in str(error)
    error = refused(teacher, photos, tmp_path / "labels.json", "--captions", file)
    assert error.code == "no-phrases"
    assert str(file) in str(error)
    assert file.read_bytes() == before


def test_photos_with_several_frames_are_named(
    teacher: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    frames = [Image.new("RGB", (40, 30), colour) for colour in ("red", "blue")]
    frames[0].save(photos / "pages.tif", save_all=True, append_images=frames[1:])
    assert label(teacher, photos, tmp_path / "labels.json", "--phrases", "red circle") == 0
    notes = [line for line in capsys.readouterr().err.splitlines() if "pages.tif" in line]
    assert len(notes) == 1
    assert "wide.png" not in notes[0]


@pytest.mark.parametrize("ending", [".txt", ".yaml"])
def test_one_phrase_with_commas_is_named_at_the_start(
    ending: str, teacher: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / f"phrases{ending}"
    file.write_text("red circle; dog\n" if ending == ".txt" else "- red circle; dog\n")
    assert label(teacher, photos, tmp_path / "labels.json", "--phrases-file", file) == 0
    first = capsys.readouterr().err.splitlines()[0]
    assert "'red circle; dog'" in first
    assert "'red circle. dog'" in first


def test_progress_is_lines_where_there_is_no_terminal(
    teacher: Path,
    photos: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("glip_lightning.app.label_images.EVERY", 2)
    assert label(teacher, photos, tmp_path / "labels.json", "--phrases", "dog", "--batch", 1) == 0
    lines = [numbers(line) for line in capsys.readouterr().err.splitlines() if "/s" in line]
    # images that are done, of how many
    assert [line[:2] for line in lines] == [["2", "5"], ["4", "5"], ["5", "5"]]
    # then images per second and, before the end, minutes to go
    assert [len(line) for line in lines] == [4, 4, 3]


@pytest.mark.parametrize(
    "arguments, code, named",
    [
        (["--threshold", "0.01"], "bad-value", ["--threshold 0.01", str(STORED_FROM)]),
        (
            ["--best-from", "0.3", "--phrases", "dog"],
            "option-without-use",
            ["--best-from", "--captions"],
        ),
        (
            ["--best-from", "0.01", "--captions", "captions.json"],
            "bad-value",
            ["--best-from 0.01", str(STORED_FROM)],
        ),
        (
            ["--best-from", "0.6", "--captions", "captions.json"],
            "bad-value",
            ["--best-from 0.6", "0.5"],
        ),
        (["--detector", "dyhead-nano"], "reads-no-words", ["--detector dyhead-nano"]),
        (["--batch", "0"], "bad-value", ["--batch 0"]),
        (["--captions", "nowhere.json"], "missing-file", ["--captions nowhere.json"]),
        (["--thresholds", "nowhere.yaml"], "missing-file", ["--thresholds nowhere.yaml"]),
        (["--phrases", "dog. dog"], "repeated-phrase", ["'dog'"]),
        (["--images", "nowhere"], "missing-folder", ["--images nowhere"]),
        (["--out", "."], "not-a-file", ["--out ."]),
    ],
)
def test_wrong_input_is_explained(
    teacher: Path,
    photos: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    code: str,
    named: list[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    given = [str(captions(tmp_path)) if word == "captions.json" else word for word in arguments]
    error = refused(teacher, photos, tmp_path / "labels.json", *given)
    assert error.code == code
    assert all(part in str(error) for part in named), error
    assert not (tmp_path / "labels.json").exists()


COCO_IMAGES = [
    {"id": 7, "file_name": "a.jpg"},
    {"id": 8, "file_name": "b.jpg"},
    {"id": 9, "file_name": "c.jpg"},
]
COCO_CAPTIONS = [
    {"id": k, "image_id": i, "caption": text}
    for k, (i, text) in enumerate([(8, "x"), (7, "y"), (8, "z")])
]
GROUPED = [("b.jpg", ["x", "z"]), ("a.jpg", ["y"])]
ROWS = [
    {"file_name": "b.jpg", "caption": "x"},
    {"file_name": "a.jpg", "caption": "y"},
    {"file_name": "b.jpg", "caption": "z"},
]


@pytest.mark.parametrize(
    "name, text",
    [
        ("coco.json", json.dumps({"images": COCO_IMAGES, "annotations": COCO_CAPTIONS})),
        ("mdetr.json", json.dumps({"images": ROWS, "annotations": [], "categories": []})),
        ("list.json", json.dumps([*ROWS, {"file_name": "c.jpg", "caption": " "}])),
        ("lines.jsonl", "\n".join(map(json.dumps, ROWS)) + "\n\n"),
        ("table.csv", "file_name,caption,more\nb.jpg,x,1\na.jpg,y,2\nb.jpg,z,3\n"),
    ],
)
def test_caption_files(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    found = [
        (photo.file_name, [s.caption for s in photo.sentences])
        for photo in read_captions(tmp_path / name)
    ]
    assert found == GROUPED


def test_captions_in_csv_may_hold_lines_and_commas(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text('caption,file_name\n"a, ""b""\nc",a.jpg\n')
    assert read_captions(tmp_path / "x.csv") == [Captioned("a.jpg", (Sentence('a, "b"\nc'),))]


@pytest.mark.parametrize("break_", ["\x85", "\u2028", "\f", "\v"])
def test_a_line_of_csv_ends_where_the_line_of_a_file_does(tmp_path: Path, break_: str) -> None:
    """Other breaks would cut captions and make up photos."""
    (tmp_path / "x.csv").write_text(
        f"file_name,caption\na.jpg,a dog{break_}b.jpg\n", encoding="utf-8"
    )
    assert read_captions(tmp_path / "x.csv") == [
        Captioned("a.jpg", (Sentence(f"a dog{break_}b.jpg"),))
    ]


def test_ids_in_quotes_are_those_without(tmp_path: Path) -> None:
    content = {
        "images": [{"id": "7", "file_name": "a.jpg"}],
        "annotations": [{"image_id": 7, "caption": "x"}],
    }
    (tmp_path / "x.json").write_text(json.dumps(content))
    assert read_captions(tmp_path / "x.json") == [Captioned("a.jpg", (Sentence("x"),))]


@pytest.mark.parametrize(
    "name, text, code, named",
    [
        ("x.json", '{"images": [], "annotations": 578}', "not-captions", ['"annotations"', "578"]),
        (
            "x.json",
            '{"images": [{"id": 17}, {"id": "17"}, {"id": 2}], '
            '"annotations": [{"image_id": 17, "caption": "x"}]}',
            "not-captions",
            ["17"],
        ),
        ("x.txt", "", "not-captions", ["'.txt'", ".json, .jsonl, .csv"]),
        ("x.json", "{", "not-captions", ["line 1 column 2"]),  # Python's words
        ("x.json", "{}", "not-captions", ['"images"']),
        ("x.json", "[]", "no-caption", []),
        ("x.json", "[387]", "bad-entry", ["1", "387"]),
        ("x.csv", "a,b\n1,2\n", "not-captions", ["caption", "file_name"]),
        ("x.json", '[{"caption": "x"}]', "bad-entry", ["1", "file_name", "None"]),
        (
            "x.json",
            '[{"file_name": "../x.jpg", "caption": "x"}]',
            "bad-entry",
            ["1", "file_name", "'../x.jpg'"],
        ),
        (
            "x.json",
            '[{"file_name": "x.jpg", "caption": 378}]',
            "bad-entry",
            ["1", "caption", "378"],
        ),
        (
            "x.json",
            '[{"file_name": "x.jpg", "caption": "dog", "phrases": [[1, 4]]}]',
            "bad-entry",
            ["[[1, 4]]"],
        ),
        (
            "x.json",
            '[{"file_name": "x.jpg", "caption": "dog", "phrases": [[1, 1]]}]',
            "bad-entry",
            ["[[1, 1]]"],
        ),
        (
            "x.json",
            '{"images": [], "annotations": [{"image_id": 478, "caption": "x"}]}',
            "bad-entry",
            ["1", "image_id", "478"],
        ),
    ],
)
def test_faults_of_caption_files_are_named(
    tmp_path: Path, name: str, text: str, code: str, named: list[str]
) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(DataError) as caught:
        read_captions(tmp_path / name)
    assert caught.value.code == code
    message = str(caught.value).replace(str(tmp_path), "")  # whose name has numbers
    assert message.startswith(f"/{name}: ")
    assert all(part in message for part in named), message


def test_phrases_of_one_object_become_one_annotation() -> None:
    sentence = Sentence("a red ring and a ring", ((2, 10), (6, 10), (17, 21)))
    rows: list[Row] = [
        (1, 0.9, 10, 10, 40, 40),
        (0, 0.7, 10, 10, 41, 40),
        (2, 0.6, 10, 11, 40, 40),
        (2, 0.8, 60, 60, 20, 20),
        (0, 0.8, 62, 62, 20, 20),  # overlaps, but is another box
        (0, 0.2, 60, 60, 20, 20),
    ]
    counts: Counter[str] = Counter()
    labels = choose(sentence, rows, Thresholds(0.5), counts)
    assert [(label.row[1], label.spans) for label in labels] == [
        (0.9, ((2, 10), (17, 21))),
        (0.8, ((17, 21),)),
        (0.8, ((2, 10),)),
    ]
    assert labels[0].row[2:] == (10, 10, 40, 40)
    assert counts == {"boxes below their threshold": 1, "boxes joined with another phrase's": 2}


THREE = Sentence("a ring and a star and a moon", ((2, 6), (13, 17), (24, 28)))


def chosen(
    rows: Sequence[Row], thresholds: Thresholds
) -> list[tuple[float, tuple[tuple[int, int], ...]]]:
    """Score and characters of what is kept of ``THREE``."""
    return [(label.row[1], label.spans) for label in choose(THREE, rows, thresholds, Counter())]


def test_what_a_caption_names_is_there() -> None:
    rows: list[Row] = [
        (0, 0.6, 10, 10, 40, 40),
        (0, 0.4, 60, 10, 20, 20),  # the ring is found already
        (1, 0.3, 60, 60, 20, 20),
        (1, 0.4, 10, 60, 20, 20),
        (2, 0.2, 80, 80, 10, 10),
    ]
    ring = (0.6, ((2, 6),))
    assert chosen(rows, Thresholds(0.5)) == [ring]
    assert chosen(rows, Thresholds(0.5, best_from=0.25)) == [ring, (0.4, ((13, 17),))]
    star_too = Thresholds(0.5, {"star": 0.35}, best_from=0.1)
    assert chosen(rows, star_too) == [ring, (0.4, ((13, 17),)), (0.2, ((24, 28),))]


def test_what_is_left_over_is_the_best_guess() -> None:
    """The ring's box is no moon, nor is the one that the star gets in the same way."""
    rows: list[Row] = [
        (0, 0.6, 10, 10, 40, 40),
        (1, 0.4, 60, 60, 20, 20),
        (2, 0.45, 12, 12, 40, 40),
        (2, 0.39, 61, 61, 20, 20),
        (2, 0.3, 80, 10, 10, 10),
    ]
    ring, star, moon = (0.6, ((2, 6),)), (0.4, ((13, 17),)), (0.3, ((24, 28),))
    assert chosen(rows, Thresholds(0.5, best_from=0.25)) == [ring, star, moon]
    assert chosen(rows, Thresholds(0.5, best_from=0.35)) == [ring, star]
