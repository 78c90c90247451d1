"""What a detector has found, as a picture and in the forms of other libraries."""

import io
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from glip_lightning import GLIPError, Prediction, Predictor
from glip_lightning.inference.drawing import draw_boxes
from glip_lightning.shapes.shapes13 import TASKS
from glip_lightning.shapes.task_pictures import example
from tiny import write_sure_run


@pytest.fixture(scope="module")
def predictor(tmp_path_factory: pytest.TempPathFactory) -> Predictor:
    return Predictor(
        str(write_sure_run(tmp_path_factory.mktemp("run"))),
        device="cpu",
        threshold=0.1,
        max_detections=5,
    )


@pytest.fixture(scope="module")
def photo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("photo") / "photo.png"
    example(TASKS["Blocks"], "test", 0).image.save(file)
    return file


@pytest.fixture(scope="module")
def found(predictor: Predictor, photo: Path) -> Prediction:
    prediction = predictor(photo, "red circle. blue square")
    assert len(prediction) == 5
    assert prediction.classes == ["red circle", "blue square"]
    return prediction


def drawn(found: Prediction, photo: Path) -> np.ndarray:
    """The pixels that the picture has to have."""
    with Image.open(photo) as image:
        boxes, scores = found.boxes.tolist(), found.scores.tolist()
        return np.asarray(draw_boxes(image, boxes, found.names, scores, classes=found.classes))


def test_the_picture_is_saved_in_the_format_of_its_ending(
    found: Prediction, photo: Path, tmp_path: Path
) -> None:
    expected = drawn(found, photo)
    assert found.save(tmp_path / "new" / "a.png") == tmp_path / "new" / "a.png"
    with Image.open(tmp_path / "new" / "a.png") as image:
        assert (np.asarray(image) == expected).all()
    found.save(tmp_path / "a.jpg")
    with Image.open(tmp_path / "a.jpg") as image:
        assert image.format == "JPEG"
        assert abs(np.asarray(image).astype(int) - expected).mean() < 8


def test_an_ending_that_is_no_format_is_refused(found: Prediction, tmp_path: Path) -> None:
    with pytest.raises(GLIPError) as error:
        found.save(tmp_path / "a.pictures")
    assert error.value.code == "unknown-ending"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", ["path", "image", "array"])
def test_any_photo_can_be_drawn(predictor: Predictor, photo: Path, kind: str) -> None:
    with Image.open(photo) as image:
        given = {
            "path": str(photo),
            "image": image.convert("RGB"),
            "array": np.asarray(image.convert("RGB")),
        }[kind]
        prediction = predictor(given, "red circle. blue square")
    assert (np.asarray(prediction.draw()) == drawn(prediction, photo)).all()


def test_a_notebook_shows_the_picture(
    found: Prediction, photo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Image.open(io.BytesIO(found._repr_png_())) as image:
        assert (np.asarray(image) == drawn(found, photo)).all()
    shown: list[Image.Image] = []
    notebook, display = ModuleType("IPython"), ModuleType("IPython.display")
    notebook.get_ipython = lambda: SimpleNamespace(kernel=object())  # type: ignore[attr-defined]
    display.display = shown.append  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "IPython", notebook)
    monkeypatch.setitem(sys.modules, "IPython.display", display)
    found.show()
    assert [image.size for image in shown] == [found.size[::-1]]
    notebook.get_ipython = lambda: None  # type: ignore[attr-defined]
    monkeypatch.setattr(Image.Image, "show", lambda image: shown.append(image))
    found.show()
    assert len(shown) == 2


def test_coco_results(found: Prediction) -> None:
    rows = found.to_coco(image_id=7)
    assert [row["category_id"] - 1 for row in rows] == found.labels.tolist()
    assert {row["image_id"] for row in rows} == {7}
    corners = torch.tensor([[x, y, x + w, y + h] for x, y, w, h in (row["bbox"] for row in rows)])
    torch.testing.assert_close(corners, found.boxes, atol=0.011, rtol=0)
    assert [row["score"] for row in rows] == pytest.approx(found.scores.tolist(), abs=1e-6)


def test_supervision(found: Prediction) -> None:
    supervision = pytest.importorskip("supervision", reason="supervision is not installed")
    detections = found.to_supervision()
    assert isinstance(detections, supervision.Detections)
    assert detections.xyxy.tolist() == found.boxes.tolist()
    assert detections.confidence.tolist() == found.scores.tolist()
    assert detections.class_id.tolist() == found.labels.tolist()
    assert detections.data["class_name"].tolist() == found.names


def test_without_supervision_its_command_is_named(
    found: Prediction, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("glip_lightning.inference.prediction.find_spec", lambda name: None)
    with pytest.raises(GLIPError) as error:
        found.to_supervision()
    assert error.value.code == "not-installed"
