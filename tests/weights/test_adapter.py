"""What was trained, kept beside the name of its base, and the same detector from both."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from glip_lightning.app.cli import main
from glip_lightning.common.errors import GLIPError
from glip_lightning.inference.predictor import Predictor
from glip_lightning.models.config import variant
from glip_lightning.models.glip.model import GLIP
from glip_lightning.text.tokenizer import Tokenizer
from glip_lightning.training.module import GLIPModule
from glip_lightning.weights.adapter import TENSORS_NAME, load_adapter
from glip_lightning.weights.base_model import CONTENT_NAME
from glip_lightning.weights.detector_files import load_tokenizer
from glip_lightning.weights.load import load_detector, save
from glip_lightning.weights.run_files import RUN_ADAPTER
from small_runs import go, make_shapes, options, result

TUNINGS = {
    "LinearProbe": ["--model.tuning=LinearProbe", "--model.tuning.lr=0.01"],
    "LoRATuning": [
        "--model.tuning=LoRATuning",
        "--model.tuning.parts=[text,fusion,head]",
        "--model.tuning.lr=0.01",
    ],
    "PartialTuning": ["--model.tuning=PartialTuning", '--model.tuning.rates={"^fpn.p6": 0.001}'],
}


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_shapes(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    model = GLIP(variant("glip-nano"))
    with torch.no_grad():
        model.grounding.token_bias.fill_(1.0)  # sure of itself, so that there are boxes
    return save(model, Tokenizer.nano(), tmp_path_factory.mktemp("base") / "detector")


@pytest.fixture(scope="module", params=TUNINGS)
def run(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    shapes: Path,
    base: Path,
) -> Path:
    folder = tmp_path_factory.mktemp("runs") / request.param
    go(
        "fit",
        shapes,
        folder,
        f"--model.detector={base}",
        "--model.weights=pretrained",
        *TUNINGS[request.param],
    )
    return folder


def copy_of(run: Path, target: Path) -> Path:
    shutil.copytree(run / RUN_ADAPTER, target / RUN_ADAPTER)
    return target / RUN_ADAPTER


def test_a_run_leaves_what_it_trained_and_no_copy_of_its_base(run: Path, base: Path) -> None:
    assert not (run / "detector").exists()
    size = sum(file.stat().st_size for file in (run / RUN_ADAPTER).iterdir())
    assert size < (base / "model.safetensors").stat().st_size / 3
    adapter = load_adapter(run / RUN_ADAPTER)
    assert adapter.base.name == str(base)
    assert adapter.tuning.startswith(run.name)
    assert [phrase.name for phrase in adapter.phrases] == result(run)["classes"]


def test_the_run_tests_and_predicts_as_it_did(run: Path, shapes: Path, tmp_path: Path) -> None:
    again = ["test", "--config", str(run / "recipe.yaml")]
    found = go(
        "test",
        shapes,
        tmp_path / "again",
        *again[1:],
        f"--model.detector={run}",
        "--model.weights=pretrained",
    )
    assert found["metrics"]["test"]["AP"] == pytest.approx(
        result(run)["metrics"]["test"]["AP"], abs=1e-4
    )
    predictor = Predictor(str(run), threshold=0.06)
    best = max(json.loads((run / "detections.json").read_text()), key=lambda row: row["score"])
    scores = [
        predictor(photo).scores.max().item() for photo in sorted((shapes / "test").glob("*.jpg"))
    ]
    assert max(scores) == pytest.approx(best["score"], abs=1e-4)
    assert len(load_tokenizer(str(run))) == len(Tokenizer.nano())


def test_another_base_is_refused_with_both_hashes(run: Path, base: Path, tmp_path: Path) -> None:
    folder = copy_of(run, tmp_path)
    torch.manual_seed(1)
    other = save(GLIP(variant("glip-nano")), Tokenizer.nano(), tmp_path / "other")
    content = json.loads((folder / CONTENT_NAME).read_text())
    (folder / CONTENT_NAME).write_text(
        json.dumps(content | {"base": content["base"] | {"name": str(other)}})
    )
    with pytest.raises(GLIPError, match=content["base"]["sha256"]) as caught:
        load_detector(str(tmp_path))
    assert caught.value.code == "other-base"


def test_the_text_encoder_belongs_to_the_base(run: Path, base: Path, tmp_path: Path) -> None:
    folder = copy_of(run, tmp_path)
    changed = load_detector(str(base))
    with torch.no_grad():
        next(changed.model.language.parameters()).add_(0.1)
    other = save(changed.model, changed.tokenizer, tmp_path / "other")
    content = json.loads((folder / CONTENT_NAME).read_text())
    (folder / CONTENT_NAME).write_text(
        json.dumps(content | {"base": content["base"] | {"name": str(other)}})
    )
    with pytest.raises(GLIPError, match=content["base"]["sha256"]) as caught:
        load_detector(str(tmp_path))
    assert caught.value.code == "other-base"


def test_a_run_killed_after_its_last_step_keeps_what_it_learned(
    base: Path, shapes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Interrupted in the test, a run has no result; resumed, it trains no more."""

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    detector = [f"--model.detector={base}", "--model.weights=pretrained", *TUNINGS["LoRATuning"]]
    with monkeypatch.context() as patch:
        patch.setattr(GLIPModule, "on_test_epoch_start", killed)
        assert main(["fit", *options(shapes, tmp_path / "run"), *detector]) == 130
    assert not (tmp_path / "run" / "result.json").exists()
    assert main(["fit", "--resume", str(tmp_path / "run")]) == 0
    found = result(tmp_path / "run")
    assert found["fitted"]
    assert found["parts"]["tuning"]["trainable"] > 0
    assert found["groups"]
    assert load_detector(str(tmp_path / "run")).weights == "folder"


def test_a_base_that_is_gone_is_named(run: Path, tmp_path: Path) -> None:
    folder = copy_of(run, tmp_path)
    content = json.loads((folder / CONTENT_NAME).read_text())
    (folder / CONTENT_NAME).write_text(
        json.dumps(content | {"base": content["base"] | {"name": "runs/gone-001/x"}})
    )
    with pytest.raises(GLIPError) as caught:
        load_detector(str(tmp_path))
    assert caught.value.code == "unknown-detector"
    assert "runs/gone-001/x" in str(caught.value)
    assert str(folder) in str(caught.value)  # what needs it


HARMS = {
    "torn": ("unreadable-tensors", TENSORS_NAME),
    "unknown": ("unknown-key", " backbone.neck"),
    "shape": ("bad-tensor", "grounding.box.bias"),
    "format": ("other-format", " 2"),
    "missing": ("missing-file", TENSORS_NAME),
}
"""What is done to an adapter -> the code of the error, and what it names."""


@pytest.mark.parametrize("harm", HARMS)
def test_a_folder_that_is_no_adapter_is_named(harm: str, run: Path, tmp_path: Path) -> None:
    folder = copy_of(run, tmp_path)
    file = folder / TENSORS_NAME
    if harm == "torn":
        file.write_bytes(file.read_bytes()[:-40])
    elif harm == "missing":
        file.unlink()
    elif harm == "format":
        content = json.loads((folder / CONTENT_NAME).read_text())
        (folder / CONTENT_NAME).write_text(json.dumps(content | {"format": 2}))
    else:
        tensors = load_file(file)
        wrong = (
            {"new.backbone.neck": torch.zeros(1)}
            if harm == "unknown"
            else {"new.grounding.box.bias": torch.ones(3)}
        )
        save_file(tensors | wrong, file)
    with pytest.raises(GLIPError) as caught:
        load_detector(str(tmp_path))
    code, named = HARMS[harm]
    assert caught.value.code == code
    assert str(folder) in str(caught.value)
    assert named in str(caught.value)
    if harm == "shape":
        assert "(3,)" in str(caught.value)
        assert "(4,)" in str(caught.value)
