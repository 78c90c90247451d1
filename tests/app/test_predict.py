"""``glip predict`` and ``Predictor``, through the real command line on real files."""

import json
import os
import shlex
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from glip_lightning.app.cli import main
from glip_lightning.common import registry
from glip_lightning.common.errors import GLIPError
from glip_lightning.common.files import picture_names
from glip_lightning.inference.predict_photos import find_photos
from glip_lightning.inference.predictor import Predictor, find_classes
from glip_lightning.models.config import variant
from glip_lightning.models.glip.model import GLIP
from glip_lightning.models.query import encode_query
from glip_lightning.shapes.shapes13 import TASKS
from glip_lightning.shapes.task_pictures import example
from glip_lightning.text.phrases import Phrase
from glip_lightning.weights.load import RUN_DETECTOR, Task, load_detector, save
from printed import line_with, numbers
from refusals import refusal
from tiny import write_sure_run

CAPTION = "red circle. blue square"


@pytest.fixture(scope="session")
def detector(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run's folder whose random detector is sure of itself, so that there are boxes."""
    return write_sure_run(tmp_path_factory.mktemp("run"))


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for i in range(2):
        example(TASKS["Blocks"], "test", i).image.save(folder / f"{i}.jpg")
    Image.fromarray(np.full((60, 80), 40000, np.uint16)).save(folder / "grey16.png")
    return folder


def entries(out: Path) -> dict:
    return json.loads((out / "predictions.json").read_text())


def test_every_photo_gets_an_entry_and_a_picture(
    detector: Path, photos: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    arguments = [
        "predict",
        str(photos),
        "--detector",
        str(detector),
        "--phrases",
        CAPTION,
        "--threshold",
        "0.1",
    ]
    assert main([*arguments, "--out", str(out)]) == 0
    result = entries(out)
    assert result["classes"] == ["red circle", "blue square"]
    assert result["caption"] == [CAPTION]
    assert [Path(entry["photo"]).name for entry in result["photos"]] == [
        "0.jpg",
        "1.jpg",
        "grey16.png",
    ]
    for entry in result["photos"]:
        with Image.open(entry["picture"]) as picture:
            assert picture.size == (entry["width"], entry["height"])
        assert entry["detections"]
        for row in entry["detections"]:
            x1, y1, x2, y2 = row["box"]
            assert 0 <= x1 < x2 <= entry["width"]
            assert 0 <= y1 < y2 <= entry["height"]
            assert row["name"] == result["classes"][row["class_id"]]
            assert 0.1 <= row["score"] <= 1
        scores = [row["score"] for row in entry["detections"]]
        assert scores == sorted(scores, reverse=True)


def test_a_run_knows_its_classes(
    detector: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert (
        main(
            ["predict", str(photos / "0.jpg"), "--detector", str(detector), "--out", str(tmp_path)]
        )
        == 0
    )
    assert entries(tmp_path)["caption"] == ["raccoon. dog"]
    assert capsys.readouterr().out.endswith(f"picture  {tmp_path / '0.jpg'}\n")


@pytest.mark.parametrize(
    "given", ["red circle . blue square.", "red circle; blue square", "red circle\nblue square"]
)
def test_the_caption_is_the_trained_one_however_phrases_are_given(
    detector: Path, photos: Path, tmp_path: Path, given: str
) -> None:
    arguments = ["--detector", str(detector), "--phrases", given, "--out", str(tmp_path)]
    assert main(["predict", str(photos / "0.jpg"), *arguments]) == 0
    assert entries(tmp_path)["caption"] == [CAPTION]


def test_phrases_file_with_prefix_and_suffix(detector: Path, photos: Path, tmp_path: Path) -> None:
    file = tmp_path / "phrases.yaml"
    file.write_text("- {name: holes, prefix: 'there are some ', suffix: ' on the road'}\n- cat\n")
    arguments = ["--detector", str(detector), "--phrases-file", str(file), "--out", str(tmp_path)]
    assert main(["predict", str(photos / "0.jpg"), *arguments]) == 0
    assert entries(tmp_path)["caption"] == ["there are some holes on the road. cat"]
    assert entries(tmp_path)["classes"] == ["holes", "cat"]


def test_bad_photos_do_not_stop_the_others(
    detector: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (photos / "broken.jpg").write_bytes((photos / "0.jpg").read_bytes()[:500])
    (photos / "text.png").write_text("no image")
    given = [str(photos), str(tmp_path / "missing.jpg")]
    assert (
        main(["predict", *given, "--detector", str(detector), "--out", str(tmp_path / "out")]) == 1
    )
    result = entries(tmp_path / "out")["photos"]
    failed = {Path(entry["photo"]).name for entry in result if "error" in entry}
    assert all(entry["detections"] == [] for entry in result if "error" in entry)
    assert failed == {"broken.jpg", "text.png", "missing.jpg"}
    assert len(result) == 6
    errors = capsys.readouterr().err
    assert all(name in errors for name in failed)


@pytest.mark.parametrize("words", ["raccoon. dog", "raccoon,dog", "raccoon"])
def test_phrases_without_their_option_are_no_photo(
    photos: Path, tmp_path: Path, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    given = ["predict", str(photos), words, "--detector", "glip-nano-c", "--out", str(out)]
    assert main(given) == 2
    assert f"--phrases {shlex.quote(words)}" in capsys.readouterr().err
    assert refusal(*given).code == "missing-image"
    assert not out.exists()


@pytest.mark.parametrize(
    "arguments, code, told",
    [
        (["--phrases", "raccoon. . dog"], "bad-phrases", "raccoon. . dog"),
        (["--phrases", ""], "bad-phrases", "''"),
        (["--phrases-file", "nowhere.txt"], "missing-file", "--phrases-file nowhere.txt"),
        (["--phrases", "dog", "--threshold", "2"], "bad-value", "threshold 2"),
        (["--phrases", "dog", "--device", "tpu"], "bad-device", "tpu"),
        (["--phrases", "dog", "--detector", "glip-tinny"], "unknown-detector", "glip-tiny"),
    ],
)
def test_wrong_input_is_explained(
    detector: Path,
    photos: Path,
    tmp_path: Path,
    arguments: list[str],
    code: str,
    told: str,
) -> None:
    named = arguments if "--detector" in arguments else ["--detector", str(detector), *arguments]
    refused = refusal("predict", photos, *named, "--out", tmp_path / "out")
    assert refused.code == code
    assert told in str(refused)


def test_the_file_of_a_prediction_says_whose_weights(photos: Path, tmp_path: Path) -> None:
    arguments = ["--detector", "glip-nano", "--phrases", "dog", "--out", str(tmp_path)]
    assert main(["predict", str(photos / "0.jpg"), *arguments]) == 0
    assert entries(tmp_path)["weights"] == "shipped"


def test_demo_photos(odinw_data: Path, tmp_path: Path) -> None:
    """Photos of several sizes and kinds, one of them grey."""
    demos = odinw_data / "_demos"
    arguments = [
        "--phrases",
        "cat. coin. rocket",
        "--detector",
        "glip-nano",
        "--out",
        str(tmp_path),
    ]
    assert main(["predict", str(demos), *arguments]) == 0
    assert len(entries(tmp_path)["photos"]) == len(list(demos.glob("*.jpg"))) > 1


def test_find_photos(photos: Path) -> None:
    out = photos / "found"
    found = find_photos([str(photos / "*.jpg"), str(photos / "0.jpg"), str(photos)], out)
    assert [path.name for path in found] == ["0.jpg", "1.jpg", "grey16.png"]
    out.mkdir()
    for nothing in (photos / "*.tiff", out):
        with pytest.raises(GLIPError) as caught:
            find_photos([str(nothing)], photos / "other")
        assert caught.value.code == "no-pictures"
        assert str(nothing) in str(caught.value)


def test_pictures_in_sub_folders_are_found_and_others_named(
    photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for folder in ("deep/er", "found", ".hidden"):
        (photos / folder).mkdir(parents=True)
        shutil.copy(photos / "0.jpg", photos / folder / "x.jfif")
    (photos / "IMG_1.HEIC").write_bytes(b"x")
    found = find_photos([str(photos)], photos / "found")
    assert [str(path.relative_to(photos)) for path in found] == [
        "0.jpg",
        "1.jpg",
        "deep/er/x.jfif",
        "grey16.png",
    ]
    said = capsys.readouterr().err
    assert "IMG_1.HEIC" in said
    drawn = line_with(said, photos / "found", "--out")
    assert numbers(drawn.replace(str(photos), "")) == ["1"]


def test_equal_stems_get_pictures_of_their_own() -> None:
    names = picture_names([Path("a/x.jpg"), Path("b/x.png"), Path("c/X.jpg")])
    assert list(names) == ["x.jpg", "x_2.jpg", "X_3.jpg"]


def test_photos_are_not_overwritten(detector: Path, photos: Path) -> None:
    before = (photos / "0.jpg").read_bytes()
    refused = refusal("predict", photos / "0.jpg", "--detector", detector, "--out", photos)
    assert refused.code == "file-exists"
    assert str(photos / "0.jpg") in str(refused)
    assert (photos / "0.jpg").read_bytes() == before


def test_a_run_whose_data_had_a_blank_class_predicts(
    detector: Path, photos: Path, tmp_path: Path
) -> None:
    """ChessPieces of ODinW-35 has a class of two blanks: never found, and no reason to stop."""
    loaded = load_detector(str(detector))
    save(
        loaded.model,
        loaded.tokenizer,
        tmp_path / RUN_DETECTOR,
        Task((Phrase("  "), Phrase("dog")), (128, 256)),
    )
    arguments = ["--detector", str(tmp_path), "--threshold", "0.1", "--out", str(tmp_path / "out")]
    assert main(["predict", str(photos / "0.jpg"), *arguments]) == 0
    rows = entries(tmp_path / "out")["photos"][0]["detections"]
    assert {row["name"] for row in rows} == {"dog"}


def test_python_takes_files_images_and_arrays(detector: Path, photos: Path) -> None:
    predictor = Predictor(str(detector), device="cpu", threshold=0.1)
    path = photos / "0.jpg"
    with Image.open(path) as file:
        image = file.convert("RGB")
    by_file, by_image = predictor(path, CAPTION), predictor(image, ["red circle", "blue square"])
    by_array = predictor(np.asarray(image), [Phrase("red circle"), Phrase("blue square")])
    assert len(by_file.boxes) > 0
    for other in (by_image, by_array):
        assert torch.equal(by_file.boxes, other.boxes)
        assert by_file.names == other.names
    with pytest.raises(GLIPError) as caught:
        predictor(np.zeros((4, 4, 3)), CAPTION)
    assert caught.value.code == "not-an-image"
    assert "uint8" in str(caught.value)


def test_long_class_lists_are_chunked(detector: Path, photos: Path) -> None:
    """300 classes take several captions; all labels are reachable, boxes stay under the limit."""
    predictor = Predictor(str(detector), device="cpu", threshold=0.0)
    names = [f"thing number {i}" for i in range(300)]
    query = predictor.queries(names)[0]
    assert len(query.prompts) > 1
    assert sorted(k for prompt in query.prompts for k in prompt.classes) == list(range(300))
    found = predictor(photos / "0.jpg", names)
    assert len(found.boxes) >= 100
    assert set(found.names) <= set(names)


def test_an_image_is_detected_alone_as_in_a_batch(detector: Path) -> None:
    """Two images of one size give the same detections one by one and together."""
    loaded = load_detector(str(detector))
    images = [
        torch.from_numpy(np.array(example(TASKS["Blocks"], "test", i).image)).permute(2, 0, 1)
        for i in range(2)
    ]
    with torch.inference_mode():
        query = encode_query(
            loaded.model, loaded.tokenizer, [Phrase("red circle"), Phrase("blue square")]
        )
        together = find_classes(loaded.model.encode_images(images), query)
        alone = [find_classes(loaded.model.encode_images([image]), query)[0] for image in images]
    for one, other in zip(alone, together, strict=True):
        assert len(one.boxes) > 0
        order, other_order = one.scores.argsort(), other.scores.argsort()
        torch.testing.assert_close(
            one.scores[order], other.scores[other_order], rtol=1e-4, atol=1e-5
        )
        torch.testing.assert_close(one.boxes[order], other.boxes[other_order], rtol=1e-4, atol=1e-2)


def test_numbers_are_no_names_of_classes(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Other programs choose classes by number; here ``0,2`` is a word to look for."""
    predict = ["predict", str(photos / "0.jpg"), "--detector", "glip-nano-c"]
    predict += ["--out", str(tmp_path / "out"), "--phrases"]
    for phrases, said in (("0,2", True), ("0. 2", True), ("0. circle", False)):
        assert main([*predict, phrases]) == 0
        assert ("numbers" in capsys.readouterr().err) == said


def test_a_list_of_pictures_is_a_list_of_predictions(detector: Path, photos: Path) -> None:
    predictor = Predictor(str(detector), device="cpu", threshold=0.1)
    given = [photos / "0.jpg", str(photos / "grey16.png"), np.zeros((50, 90, 3), np.uint8)]
    found = predictor(given, CAPTION)
    assert len(found) == 3
    for one, photo in zip(found, given, strict=True):
        alone = predictor(photo, CAPTION)
        assert torch.equal(one.boxes, alone.boxes)
        assert torch.equal(one.scores, alone.scores)
        assert (one.names, one.size) == (alone.names, alone.size)
    assert predictor(tuple(given[:1]), CAPTION)[0].names == found[0].names
    assert predictor([], CAPTION) == []


SQUARE = np.zeros((8, 8, 3), np.uint8)


@pytest.mark.parametrize(
    "photo",
    [
        *(None, 3, b"x", [None]),
        *(SQUARE / 255, SQUARE.astype(np.float32), SQUARE.transpose(2, 0, 1), SQUARE[None]),
        *(SQUARE[:, :, 0], torch.from_numpy(SQUARE)),
    ],
)
def test_what_is_no_photo(detector: Path, photo: Any) -> None:
    with pytest.raises(GLIPError) as caught:
        Predictor(str(detector), device="cpu")(photo, CAPTION)
    assert caught.value.code == "not-an-image"


@pytest.mark.parametrize(
    ("phrases", "code"), [(["cat " * 300], "name-too-long"), (["cat", "d\udcffog"], "broken-text")]
)
def test_phrases_that_no_caption_holds(detector: Path, phrases: list[str], code: str) -> None:
    with pytest.raises(GLIPError) as caught:
        Predictor(str(detector), device="cpu").queries(phrases)
    assert caught.value.code == code


def test_hostile_photos_are_refused_each_in_a_line(
    detector: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (photos / "a\x1b[31m\n.png").write_text("no picture")
    (photos / "program.png").write_bytes(
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 64 48\n{} loop\n"
    )
    os.mkfifo(photos / "pipe.png")
    (photos / "folder.png").mkdir()
    arguments = [
        "predict",
        str(photos),
        "/dev/zero",
        "--detector",
        str(detector),
        "--out",
        str(tmp_path / "out"),
    ]
    assert main(arguments) == 1
    result = entries(tmp_path / "out")["photos"]
    assert len([entry for entry in result if "error" in entry]) == 4
    # none is in the folder that is called one
    assert len([entry for entry in result if "picture" in entry]) == 3
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("glip: ")]
    for name in (r"a\x1b[31m\n.png", "program.png", "pipe.png", "/dev/zero"):
        assert sum(name in line for line in said) == 1, name


def test_a_file_name_that_is_no_text(
    detector: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Bytes that are no UTF-8: the predictions name the file so that it can be opened again."""
    file = photos / "caf\udce9.jpg"
    (photos / "0.jpg").rename(file)
    assert (
        main(["predict", str(file), "--detector", str(detector), "--out", str(tmp_path / "out")])
        == 0
    )
    (entry,) = entries(tmp_path / "out")["photos"]
    assert Path(entry["photo"]) == file
    assert Path(entry["picture"]).is_file()
    assert r"caf\udce9.jpg" in capsys.readouterr().out


@pytest.mark.parametrize("kind", ["pipe", "device"])
def test_phrases_that_would_be_waited_for(
    detector: Path, photos: Path, tmp_path: Path, kind: str
) -> None:
    file = tmp_path / "phrases.txt"
    if kind == "pipe":
        os.mkfifo(file)
    else:
        file.symlink_to("/dev/zero")
    arguments = [
        "--phrases-file",
        str(file),
        "--detector",
        str(detector),
        "--out",
        str(tmp_path / "out"),
    ]
    refused = refusal("predict", photos, *arguments)
    assert refused.code == "not-a-file"
    assert "phrases.txt" in str(refused)


@pytest.mark.parametrize("verb", ["predict", "pseudo-label"])
def test_finite_weights_whose_scores_are_not_are_an_error(
    verb: str, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    loaded = load_detector("glip-nano", "random")
    with torch.no_grad():
        for parameter in loaded.model.fpn.parameters():
            parameter.fill_(3e38)
    save(loaded.model, loaded.tokenizer, tmp_path / "huge")
    given = [str(photos)] if verb == "predict" else ["--images", str(photos)]
    out = tmp_path / "out" / "labels.json"
    assert (
        main(
            [
                verb,
                *given,
                "--phrases",
                CAPTION,
                "--detector",
                str(tmp_path / "huge"),
                "--out",
                str(out),
            ]
        )
        == 1
    )
    assert f"glip: {tmp_path / 'huge'}: " in capsys.readouterr().err
    with pytest.raises(GLIPError) as error:
        Predictor(str(tmp_path / "huge"))(photos / "0.jpg", CAPTION)
    assert error.value.code == "not-finite"


def test_a_group_of_one_number_is_normalised(photos: Path, tmp_path: Path) -> None:
    config = variant("glip-nano-a")
    model = GLIP(replace(config, channels=16)).eval()
    save(
        model,
        load_detector("glip-nano-a", "random").tokenizer,
        tmp_path / "thin",
        Task((Phrase("dog"),), (32, 64)),
    )
    found = Predictor(str(tmp_path / "thin"), threshold=0.0)(photos / "0.jpg")
    assert found.boxes.isfinite().all()


def test_results_call_classes_as_the_data_did(detector: Path, photos: Path, tmp_path: Path) -> None:
    """Not as they stood in the caption, where two of them may even be the same."""
    loaded = load_detector(str(detector))
    task = Task((Phrase("box "), Phrase("dog")), (128, 256), ("box (red)", "dog"))
    save(loaded.model, loaded.tokenizer, tmp_path / RUN_DETECTOR, task)
    arguments = ["--detector", str(tmp_path), "--threshold", "0.1", "--out", str(tmp_path / "out")]
    assert main(["predict", str(photos / "0.jpg"), *arguments]) == 0
    found = entries(tmp_path / "out")
    assert found["classes"] == ["box (red)", "dog"]
    assert found["caption"] == ["box . dog"]
    assert {row["name"] for row in found["photos"][0]["detections"]} == {"box (red)", "dog"}


@pytest.mark.parametrize("shipped", [True, False])
def test_nothing_found(
    photos: Path, tmp_path: Path, shipped: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    """The best score is printed; limits only of a shipped detector that nobody has trained."""
    detector = "glip-nano-c"
    if not shipped:
        loaded = load_detector(detector)
        detector = str(save(loaded.model, loaded.tokenizer, tmp_path / "mine"))
    out = ["--out", str(tmp_path / "out"), "--phrases", "raccoon"]
    for _ in range(2):  # the second time nothing is looked at again
        assert (
            main(
                [
                    "predict",
                    str(photos / "grey16.png"),
                    "--detector",
                    detector,
                    "--threshold",
                    "0.99",
                    *out,
                ]
            )
            == 0
        )
        entry = entries(tmp_path / "out")["photos"][0]
        assert entry["detections"] == []
        assert 0 <= entry["best_score"] < 0.99
        said = capsys.readouterr().out
        line = line_with(said, f"{entry['best_score']:.4f}", "0.99")
        assert (registry.detector_limits.find("glip-nano-c") in line) == shipped


def test_words_that_the_detector_cannot_know(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    predict = [
        "predict",
        str(photos / "0.jpg"),
        "--detector",
        "glip-nano-c",
        "--out",
        str(tmp_path / "out"),
    ]
    assert main([*predict, "--phrases", "circle. raccoon. крыша"]) == 0
    said = capsys.readouterr().err
    assert "'крыша' ([UNK])" in said
    assert "'raccoon'" in said
    assert main([*predict, "--phrases", "крыша. 🚗"]) == 1
    assert "🚗" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [
        ["--phrases", "raccoon, dog"],
        ["--phrases-file", "raccoon, dog\n"],
        ["--phrases-file", "raccoon; dog\n"],
    ],
    ids=" ".join,
)
def test_one_phrase_with_commas_is_named_at_the_start_and_where_nothing_is_found(
    arguments: list[str], photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    option, given = arguments
    if option == "--phrases-file":
        (tmp_path / "phrases.txt").write_text(given)
        arguments = [option, str(tmp_path / "phrases.txt")]
    detector = ["--detector", "glip-nano-c", "--threshold", "0.99"]
    out = ["--out", str(tmp_path / "out")]
    assert main(["predict", str(photos / "0.jpg"), *arguments, *detector, *out]) == 0
    assert entries(tmp_path / "out")["photos"][0]["detections"] == []
    said = capsys.readouterr()
    phrase = given.strip()
    assert said.err.splitlines()[0] == line_with(said.err, repr(phrase), "'raccoon. dog'")
    last = line_with(said.out, "0.99")
    assert repr(phrase) in last
    assert "'raccoon. dog'" in last
    assert registry.detector_limits.find("glip-nano-c") not in last


def test_photos_with_several_frames_are_named(
    detector: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Only those that the program decodes in this call, each once."""
    red, blue = (Image.new("RGB", (40, 30), colour) for colour in ("red", "blue"))
    red.save(photos / "moving.gif", save_all=True, append_images=[blue])
    arguments = [
        "predict",
        str(photos),
        "--detector",
        str(detector),
        "--out",
        str(tmp_path / "out"),
    ]
    assert main(arguments) == 0
    note = line_with(capsys.readouterr().err, "moving.gif")
    assert "grey16.png" not in note
    assert main(arguments) == 0  # nothing is left to look at
    assert "moving.gif" not in capsys.readouterr().err
