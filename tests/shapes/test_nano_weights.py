"""The detectors in the package: exchange folders in half precision, with a model card."""

import json
import re
from pathlib import Path

import pytest
import torch

from glip_lightning.common import registry
from glip_lightning.common.registry import Table
from glip_lightning.inference.predictor import Predictor
from glip_lightning.models.config import VARIANTS, GLIPConfig
from glip_lightning.shapes.plugin import WEIGHTS
from glip_lightning.shapes.pretraining_pictures import captions, scene_of, show
from glip_lightning.shapes.scene import Vocabulary
from glip_lightning.shapes.words import (
    CAPTION_NAMES,
    CAPTION_SHAPES,
    DETECTION_NAMES,
    NEW_COLOURS,
    NEW_SHAPES,
    NEW_TEXTURES,
    SHAPES,
    single_names,
)
from glip_lightning.text.phrases import Phrase, words_of
from glip_lightning.text.tokenizer import NANO_VOCAB, VOCAB_NAME, Tokenizer
from glip_lightning.weights.conversion import convert_weights
from glip_lightning.weights.detector_files import load_words
from glip_lightning.weights.hub_files import OFFICIAL
from glip_lightning.weights.load import Task, load_detector, save

NAMES = sorted(path.name for path in WEIGHTS.iterdir())
MEGABYTES = 40


@pytest.fixture
def half(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A shipped ``glip-nano-b`` of random weights, made as the shipped ones are."""
    random = load_detector("glip-nano-b", "random")
    task = Task((Phrase("star"), Phrase("ring")), (128, 128))
    run = save(random.model, random.tokenizer, tmp_path / "run" / "detector", task).parent
    table = Table[Path]("detector")
    table.add("glip-nano-b", tmp_path / "shipped" / "glip-nano-b")
    monkeypatch.setattr(registry, "detector_weights", table)
    convert_weights(run, tmp_path / "shipped" / "glip-nano-b", half=True)
    return run


def test_a_name_means_the_folder_that_is_shipped(half: Path) -> None:
    found, whole = load_detector("glip-nano-b"), load_detector(str(half))
    assert (found.name, found.weights, found.task) == ("glip-nano-b", "shipped", whole.task)
    for key, tensor in found.model.state_dict().items():
        assert tensor.dtype == torch.float32, key
        torch.testing.assert_close(tensor, whole.model.state_dict()[key], rtol=1e-3, atol=1e-6)
    assert load_detector("glip-nano-b", "random").weights == "random"


def test_half_precision_is_half_the_size(half: Path) -> None:
    sizes = [
        (folder / "model.safetensors").stat().st_size
        for folder in (registry.detector_weights.find("glip-nano-b"), half / "detector")
    ]
    assert sizes[0] == pytest.approx(sizes[1] / 2, rel=0.05)


def test_every_name_has_weights() -> None:
    assert set(NAMES) == set(VARIANTS) - set(OFFICIAL)


def test_all_together_stay_small() -> None:
    assert (
        sum(path.stat().st_size for path in WEIGHTS.rglob("*") if path.is_file()) < MEGABYTES * 1e6
    )


@pytest.mark.parametrize("name", NAMES)
def test_structure_and_vocabulary_are_those_of_the_name(name: str) -> None:
    config = json.loads((WEIGHTS / name / "config.json").read_text(encoding="utf-8"))
    assert GLIPConfig(**config) == VARIANTS[name]
    if not VARIANTS[name].classes:
        assert (WEIGHTS / name / VOCAB_NAME).read_bytes() == NANO_VOCAB.read_bytes()


def interval(name: str, row: str) -> tuple[float, float]:
    """Of AP50, as the card says."""
    card = (WEIGHTS / name / "README.md").read_text(encoding="utf-8")
    low, high = re.findall(rf"^\| {row} .* \| ([\d.]+) to ([\d.]+) \|$", card, re.MULTILINE)[0]
    return float(low), float(high)


def test_grounding_data_teach_combinations() -> None:
    """Variant C finds pairs of words that it never saw together; variant A far fewer."""
    row = "combinations held out"
    assert interval("glip-nano-c", row)[0] > interval("glip-nano-a", row)[1]


@pytest.mark.parametrize(
    "row", ["shapes that captions alone show", "names that captions alone say"]
)
def test_captions_teach_what_they_alone_have(row: str) -> None:
    others = [name for name in NAMES if not VARIANTS[name].classes and name != "glip-nano"]
    assert others == ["glip-nano-a", "glip-nano-b", "glip-nano-c"]
    assert all(interval("glip-nano", row)[0] > interval(name, row)[1] for name in others)


@pytest.mark.parametrize("name", NAMES)
def test_cards_say_data_command_and_measured_ap(name: str) -> None:
    """Weights must know enough: A, B and the baseline the names in their data."""
    card = (WEIGHTS / name / "README.md").read_text(encoding="utf-8")
    assert f"glip fit --config recipes/shapes/pretrain/{name}.yaml" in card
    for word in ("seed", "seconds", "AP50", "95 %", "licence"):
        assert word in card.lower() or word in card, word
    taught = ["names of the detection data"]
    taught += ["single names: shape"] if not VARIANTS[name].classes else []
    taught += ["single names: all"] if name in ("glip-nano", "glip-nano-c") else []
    for row in taught:
        (ap50,) = re.findall(rf"^\| {row} \| \d+ \| [\d.]+ \| ([\d.]+) \|", card, re.MULTILINE)
        assert float(ap50) >= 0.6, row


@pytest.mark.parametrize("name", [name for name in NAMES if not VARIANTS[name].classes])
def test_single_shapes_are_found_by_name(name: str) -> None:
    """In twelve test pictures the best box for a shape lies on such a shape, nearly always."""
    predictor, right, wrong = Predictor(name, threshold=0.0), 0, 0
    assert predictor.loaded.task is not None
    assert predictor.loaded.task.input_size == (128, 128)
    for index in range(12):
        shown = show("names/test", 0, index)
        for shape in {thing.shape for thing in shown.things}:
            found = predictor(shown.image, shape)
            x1, y1, x2, y2 = found.boxes[0].tolist()
            inside = [
                x <= (x1 + x2) / 2 <= x + w and y <= (y1 + y2) / 2 <= y + h
                for thing, (x, y, w, h) in zip(shown.things, shown.boxes, strict=True)
                if thing.shape == shape
            ]
            right, wrong = right + any(inside), wrong + (not any(inside))
    assert right > 5 * wrong


def test_the_names_of_the_world_are_tokens_of_their_own() -> None:
    words = [word for kind in single_names().values() for word in kind]
    assert set(SHAPES) <= set(words)
    assert Tokenizer.nano().encode(words)[0].shape[1] == 3  # [CLS] word [SEP]


@pytest.mark.parametrize("name", [name for name in NAMES if not VARIANTS[name].classes])
def test_the_words_that_pre_training_has_shown(name: str) -> None:
    """Detection data (A, B) name shapes and few colours; captions describe all things."""
    words = load_words(name)
    assert words is not None
    if name in ("glip-nano-a", "glip-nano-b"):
        assert words == words_of(DETECTION_NAMES)
        return
    said = {text for index in range(200) for text in _captions("grounding", index)}
    assert words_of([*DETECTION_NAMES, *Vocabulary().words, *said]) - words == set()
    taught = {*CAPTION_SHAPES, *CAPTION_NAMES}
    assert words & taught == (taught if name == "glip-nano" else set())
    assert not words & {*NEW_SHAPES, *NEW_COLOURS, *NEW_TEXTURES, "raccoon"}


def _captions(part: str, index: int) -> list[str]:
    """Those of one picture, as if nothing in it were hidden."""
    things, _ = scene_of(part, 0, index)
    return [caption.text for kind in captions(part, 0, index, things).values() for caption in kind]
