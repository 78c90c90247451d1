"""Accuracy of words on things, and what is left without the fusion."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from glip_lightning.common.errors import GLIPError
from glip_lightning.data.checks.findings import Findings
from glip_lightning.data.formats.coco_json import read_coco
from glip_lightning.data.index import Index
from glip_lightning.models.glip.fusion import Fusion
from glip_lightning.models.query import encode_query
from glip_lightning.shapes import alignment
from glip_lightning.shapes.alignment import Alignment, fusion_disabled, named_right
from glip_lightning.text.phrases import Phrase
from glip_lightning.training.callbacks.ema import EMA
from glip_lightning.training.module import GLIPModule
from glip_lightning.weights.load import load_detector
from report_sweep import write_json
from small_runs import go, make_shapes, rows
from tiny import tiny_module, tiny_trainer

RED, BLUE, STAR = 0, 1, 2


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Index:
    """Return a picture with a red star at 10, 10 and a blue one at 60, 60; a box per word."""
    from PIL import Image

    folder = tmp_path_factory.mktemp("named")
    Image.new("RGB", (100, 100)).save(folder / "0.png")
    boxes = [(RED, 10), (STAR, 10), (BLUE, 60), (STAR, 60)]
    content = {
        "images": [{"id": 0, "file_name": "0.png", "width": 100, "height": 100}],
        "categories": [{"id": k, "name": name} for k, name in enumerate(("red", "blue", "star"))],
        "annotations": [
            {
                "id": k,
                "image_id": 0,
                "category_id": label,
                "bbox": [place, place, 20, 20],
                "area": 400,
                "iscrowd": 0,
            }
            for k, (label, place) in enumerate(boxes, start=1)
        ],
    }
    write_json(folder / "a.json", content)
    return read_coco(folder / "a.json", folder, Findings())


def found(*rows: tuple[int, float, float]) -> dict[str, torch.Tensor]:
    """Detections of label, place and score, 20 pixels wide."""
    return {
        "boxes": torch.tensor(
            [[place, place, place + 20, place + 20] for _, place, _ in rows]
        ).reshape(-1, 4),
        "scores": torch.tensor([score for *_, score in rows]),
        "labels": torch.tensor([label for label, *_ in rows], dtype=torch.int64),
    }


def test_the_best_word_of_a_kind_on_a_thing_counts(index: Index) -> None:
    detections = found(
        (RED, 10.0, 0.6), (BLUE, 10.0, 0.5), (STAR, 10.0, 0.9), (RED, 61.0, 0.4), (BLUE, 60.0, 0.3)
    )
    assert named_right(index, 0, detections, [RED, BLUE]) == [True, False]


def test_words_far_from_a_thing_do_not_count(index: Index) -> None:
    assert named_right(index, 0, found((BLUE, 75.0, 0.9), (RED, 12.0, 0.1)), [RED, BLUE]) == [
        True,
        False,
    ]


def test_nothing_found_is_wrong_not_left_out(index: Index) -> None:
    assert named_right(index, 0, found(), [RED, BLUE]) == [False, False]
    assert named_right(index, 0, found((RED, 10.0, 0.5)), [STAR]) == [False, False]


def test_shut_fusion_hides_the_image_from_the_text_and_comes_back() -> None:
    loaded = load_detector("glip-nano", "random")
    model, images = loaded.model, torch.rand(2, 3, 64, 64)
    query = encode_query(model, loaded.tokenizer, [Phrase("red star")])
    text = query.texts[0].select(torch.zeros(2, dtype=torch.int64))
    with torch.no_grad():
        before = model(images, text).logits
        with fusion_disabled(model):
            gates = [part.gate_vision for part in model.modules() if isinstance(part, Fusion)]
            assert len(gates) == model.config.rounds
            assert not any(gate.any() for gate in gates)
            shut = model(images, text).logits
        after = model(images, text).logits
    assert torch.equal(before, after)
    assert not torch.allclose(before, shut)


def test_a_fit_logs_both(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Shares over all pictures, and AP while the gates are shut."""
    gates: list[bool] = []

    def right(index: Index, image: int, found: Any, labels: list[int]) -> list[bool]:
        return [True, False, False] if labels == [0] else [True]

    def evaluated(trainer: Any, module: GLIPModule, *_: Any) -> dict[str, float]:
        gates.extend(
            bool(part.gate_vision.any())
            for part in module.model.modules()
            if isinstance(part, Fusion)
        )
        return {"AP": 0.125}

    monkeypatch.setattr(alignment, "named_right", right)
    monkeypatch.setattr(alignment, "evaluate", evaluated)
    shapes = make_shapes(tmp_path)
    kinds = '{"red": ["red circle"], "others": ["blue square", "yellow triangle", "green star"]}'
    callback = ["--trainer.callbacks=Alignment", f"--trainer.callbacks.kinds={kinds}"]
    go("fit", shapes, tmp_path / "run", *callback, "--trainer.max_epochs=1")
    logged = {
        name: float(value) for row in rows(tmp_path / "run") for name, value in row.items() if value
    }
    assert logged["val/AP_without_fusion"] == 0.125
    assert logged["val/accuracy_red"] == pytest.approx(1 / 3)
    assert logged["val/accuracy_others"] == 1
    assert gates
    assert not any(gates)


def test_what_a_second_process_repeats_counts_once(
    index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rank 0 counts the one picture; rank 1 has it only so that both have equally many."""
    assert len(index) == 1
    valid = SimpleNamespace(index=index)
    monkeypatch.setattr(GLIPModule, "data", SimpleNamespace(datasets={"valid": valid}))
    counted = []
    for rank in (0, 1):
        trainer, module = SimpleNamespace(world_size=2, global_rank=rank), tiny_module()
        callback = Alignment({"colour": ["red", "blue"]})
        batch, outputs = {"image_ids": [int(index.ids[0])]}, {"detections": [found((0, 0.9, 0.0))]}
        callback.on_validation_batch_end(trainer, module, outputs, batch, 0)  # type: ignore[arg-type]
        counted.append(callback._all["colour"])
    assert counted[0] > 0
    assert counted[1] == 0


def test_an_average_of_the_weights_comes_later(tmp_path: Path) -> None:
    callback, average = Alignment({}), EMA()
    callback.setup(tiny_trainer(tmp_path, callback, average), tiny_module(), "fit")
    with pytest.raises(GLIPError) as caught:
        callback.setup(tiny_trainer(tmp_path, average, callback), tiny_module(), "fit")
    assert caught.value.code == "order-of-callbacks"
    assert "Alignment" in str(caught.value)


def test_a_kind_of_unknown_words_is_an_error(index: Index) -> None:
    with pytest.raises(GLIPError) as caught:
        Alignment({"colour": ["red", "gren"]})._labels(index)
    assert caught.value.code == "unknown-class"
    assert all(
        part in str(caught.value) for part in ("Alignment.kinds", "'gren'", "red, blue, star")
    )
