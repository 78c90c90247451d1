"""The interface of detectors: all that others know, and enough for another kind of detector."""

import ast
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning import seed_everything
from torch import Tensor

import glip_lightning
from glip_lightning.common.errors import GLIPError
from glip_lightning.inference import predictor
from glip_lightning.models.build import build_detector
from glip_lightning.models.config import VARIANTS, variant
from glip_lightning.models.detector import Detector, GroundTruth
from glip_lightning.models.dynamic_head import DynamicHead
from glip_lightning.models.feature_cache import FeatureCache
from glip_lightning.models.glip.model import GLIP
from glip_lightning.models.text_features import TextFeatures
from glip_lightning.text.tokenizer import Tokenizer
from glip_lightning.training import module as training
from glip_lightning.training.module import GLIPModule
from glip_lightning.tuning.base import Tuning
from glip_lightning.tuning.lora import LoRATuning
from glip_lightning.tuning.prompt import PromptTuning
from glip_lightning.tuning.weight_tunings import FullTuning, LanguageTuning, LinearProbe
from glip_lightning.weights.load import Loaded
from glip_lightning.weights.official_checkpoint import official_name
from set_detector import LAYERS, SetConfig, SetDetector
from tiny import tiny_data, tiny_trainer, weights

PACKAGE = Path(glip_lightning.__file__).parent
OUTSIDE = ("training", "tuning", "inference", "evaluation", "experiments", "app", "data", "config")
# modules of GLIP that are nobody else's business
OWN = {"backbone", "fpn", "dyhead", "language", "grounding"}
INTERFACE = ("detector", "feature_cache", "query", "rates", "text_features")
KNOWN = {"glip_lightning.models", *(f"glip_lightning.models.{name}" for name in INTERFACE)}
FILES = sorted(path for folder in OUTSIDE for path in (PACKAGE / folder).rglob("*.py"))


def inner_details(tree: ast.AST) -> list[str]:
    """What a file knows of a detector beyond the interface."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(
            "glip_lightning.models"
        ):
            found += [] if node.module in KNOWN else [f"import of {node.module}"]
        elif isinstance(node, ast.Attribute) and node.attr in OWN:
            found.append(f".{node.attr}")
        elif isinstance(node, ast.Attribute) and node.attr == "config":
            owner = (
                node.value.attr
                if isinstance(node.value, ast.Attribute)
                else getattr(node.value, "id", "")
            )
            found += [f"{owner}.config"] if owner == "model" else []
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_other_folders_read_no_inner_parts_of_detectors(path: Path) -> None:
    assert inner_details(ast.parse(path.read_text(encoding="utf-8"))) == []


def test_the_search_finds_what_it_looks_for() -> None:
    code = "from glip_lightning.models.glip.model import GLIP\n"
    code += "self.model.config.classes\nmodel.fpn\nrun.config"
    assert inner_details(ast.parse(code)) == [
        "import of glip_lightning.models.glip.model",
        ".fpn",
        "model.config",
    ]


def made(name: str) -> Detector:
    with torch.device("meta"):
        return SetDetector(SetConfig(words=7)) if name == "set" else build_detector(variant(name))


@pytest.mark.parametrize("name", [*VARIANTS, "set"])
def test_every_parameter_is_in_exactly_one_part(name: str) -> None:
    model = made(name)
    parts = model.parts()
    assert list(parts) == ["vision", "text", "fusion", "head"]
    for key, _ in model.named_parameters():
        owners = [
            part
            for part, names in parts.items()
            for x in names
            if key == x or key.startswith(f"{x}.")
        ]
        assert owners == [model.part_of(key)]
    known = {*dict(model.named_modules()), *dict(model.named_parameters())}
    assert {x for names in parts.values() for x in names} <= known
    assert {*model.last_layers(), *model.class_parameters()} <= dict(
        model.named_parameters()
    ).keys()
    with pytest.raises(KeyError, match="neck"):
        model.part_of("neck.weight")


@pytest.mark.parametrize("name", VARIANTS)
def test_biases_are_named_as_officially(name: str) -> None:
    model = made(name)
    assert isinstance(model, GLIP | DynamicHead)
    for key, _ in model.named_parameters():
        official = (
            key if key in model.class_parameters() else official_name(key, model.config.fusion)
        )
        rule = model.optimizer_rule(key)
        assert (rule.lr_factor, rule.decay) == ((2.0, False) if "bias" in official else (1.0, True))


def test_a_configuration_decides_the_class() -> None:
    assert {name for name in VARIANTS if isinstance(made(name), DynamicHead)} == {"dyhead-nano"}
    assert not made("dyhead-nano").reads_text
    with pytest.raises(GLIPError) as error:
        GLIP(variant("dyhead-nano"))
    assert error.value.code == "wrong-detector"
    with pytest.raises(GLIPError) as error:
        DynamicHead(variant("glip-nano-a"))
    assert error.value.code == "wrong-detector"


@pytest.mark.parametrize("name", ["glip-nano", "glip-nano-a", "dyhead-nano", "set"])
def test_the_stages_are_the_forward_pass(name: str) -> None:
    torch.manual_seed(0)
    model = (
        SetDetector(SetConfig(words=7)) if name == "set" else build_detector(variant(name))
    ).eval()
    images = [
        torch.randint(256, (3, 64, 96), dtype=torch.uint8),
        torch.randint(256, (3, 48, 64), dtype=torch.uint8),
    ]
    text = TextFeatures(torch.randn(2, 5, model.prompt_width), torch.ones(2, 5, dtype=torch.bool))
    tokens, sizes = [[(1, 2), (3,)]] * 2, [(64, 96), (48, 64)]
    with torch.no_grad():
        features = model.preprocess(images)
        expected = model.detections(model(features, text), tokens, sizes, model.defaults.detection)
        for stage in model.stages():
            features = stage(features, text)
            assert all(len(x) == 2 for x in features)
        encoded = model.encode_images(images)
        assert encoded.sizes == sizes
        for outputs in (model.predict(features, text), encoded.detect(text), encoded.detect(text)):
            found = model.detections(outputs, tokens, sizes, model.defaults.detection)
            for mine, theirs in zip(found, expected, strict=True):
                assert all(torch.equal(a, b) for a, b in zip(mine, theirs, strict=True))


@pytest.mark.parametrize("name", ["glip-nano", "dyhead-nano", "set"])
def test_a_batch_without_boxes_has_losses_with_gradients(name: str) -> None:
    torch.manual_seed(0)
    model = SetDetector(SetConfig(words=7)) if name == "set" else build_detector(variant(name))
    images = [torch.randint(256, (3, 64, 64), dtype=torch.uint8)]
    text = TextFeatures(torch.randn(1, 5, model.prompt_width), torch.ones(1, 5, dtype=torch.bool))
    truth = GroundTruth([torch.zeros(0, 4)], [torch.zeros(0, 5)], [(64, 64)])
    losses = model.losses(model(model.preprocess(images), text), text, truth)
    assert all(
        loss.requires_grad and loss.isfinite() and loss.ndim == 0 for loss in losses.values()
    )


# -- a detector of another kind in the hands of everybody


TUNINGS: list[tuple[Tuning, str]] = [
    (FullTuning(freeze_at=-1), "nothing"),
    (FullTuning(freeze_at=2), "backbone"),
    (LinearProbe(), "encoder"),
    (LanguageTuning(), "backbone"),
    (PromptTuning("offset"), "backbone"),
    (PromptTuning("features"), "backbone"),
    (PromptTuning("context"), "backbone"),
    (LoRATuning(["fusion", "text"]), "backbone"),
]


def loaded(*_: Any, **__: Any) -> Loaded:
    tokenizer = Tokenizer.nano()
    return Loaded(SetDetector(SetConfig(len(tokenizer))).eval(), tokenizer, "set", "random")


@pytest.mark.parametrize(
    "tuning, cut", TUNINGS, ids=[f"{type(x).__name__}-{i}" for i, (x, _) in enumerate(TUNINGS)]
)
def test_a_set_of_queries_is_trained_by_every_tuning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tuning: Tuning, cut: str
) -> None:
    monkeypatch.setattr(training, "load_detector", loaded)
    seed_everything(0, verbose=False)
    module = GLIPModule("set", "random", tuning, features=FeatureCache())
    trainer = tiny_trainer(tmp_path, max_epochs=1)  # two steps
    before: dict[str, Tensor] = {}
    module.on_train_start = lambda: before.update(weights(module))  # type: ignore[method-assign]
    trainer.fit(module, datamodule=tiny_data(tmp_path / "data"))
    learned = {key for key, p in module.named_parameters() if p.requires_grad}
    changed = {key for key, x in weights(module).items() if not torch.equal(x, before[key])}
    assert learned == changed
    frozen = [stage.name for stage in tuning.frozen_stages(module.model)]
    assert (frozen or ["nothing"])[-1] == cut
    names = {
        name.removeprefix("train/loss_")
        for name in trainer.logged_metrics
        if name.startswith("train/loss_")
    }
    assert names == {"class", "box"} | {
        f"{kind}_{k}" for kind in ("class", "box") for k in range(LAYERS - 1)
    }
    assert module.parts()["all"].trainable == sum(
        p.numel() for p in module.parameters() if p.requires_grad
    )
    trainer.validate(module, datamodule=tiny_data(tmp_path / "data"), verbose=False)
    rows = module.record.detections
    assert [len({row["image_id"] for row in rows}), len(rows)] == [2, 2 * 5]


def test_the_cache_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "load_detector", loaded)
    runs = []
    for features in (FeatureCache(0), FeatureCache(), FeatureCache(folder=str(tmp_path / "store"))):
        seed_everything(0, verbose=False)
        module = GLIPModule("set", "random", LinearProbe(lr=0.1), features=features)
        tiny_trainer(tmp_path, max_epochs=2).fit(module, datamodule=tiny_data(tmp_path / "data"))
        runs.append(weights(module))
    assert features.hits > 0
    assert all(torch.equal(x, run[key]) for run in runs[1:] for key, x in runs[0].items())


def test_a_set_of_queries_predicts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(predictor, "load_detector", loaded)
    torch.manual_seed(0)
    find = predictor.Predictor("set", threshold=0, max_detections=5)
    photo = np.random.default_rng(0).integers(0, 255, (120, 90, 3), dtype=np.uint8)
    found = find(photo, "red circle. blue square")
    assert (len(found.scores), found.cut) == (5, 7)  # six queries, two classes
    assert set(found.names) <= {"red circle", "blue square"}
    assert (found.boxes >= 0).all()
    assert (found.boxes <= torch.tensor([90, 120, 90, 120])).all()
