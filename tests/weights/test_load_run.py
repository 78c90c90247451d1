"""Runs as detectors: unfinished ones, checkpoints, adapters, runs that trained nothing."""

import json
import re
import shutil
from pathlib import Path

import pytest
import torch

from glip_lightning.app.cli import main
from glip_lightning.common.errors import GLIPError
from glip_lightning.text.tokenizer import Tokenizer
from glip_lightning.weights.conversion import convert_weights
from glip_lightning.weights.detector_files import load_tokenizer
from glip_lightning.weights.load import load_detector
from small_runs import go, make_shapes

BASE = ["--model.detector=glip-nano-c", "--model.weights=pretrained"]
KEPT = ("detector", "adapter", "prompt.safetensors", "result.json")


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_shapes(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module", params=["FullTuning", "LoRATuning"])
def finished(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, shapes: Path
) -> Path:
    folder = tmp_path_factory.mktemp("runs") / request.param
    go("fit", shapes, folder, *BASE, f"--model.tuning={request.param}", "--model.tuning.lr=0.001")
    return folder


@pytest.fixture
def unfinished(finished: Path, tmp_path: Path) -> Path:
    """The same run as it was before its end."""
    run = tmp_path / "unfinished"
    shutil.copytree(finished, run, ignore=shutil.ignore_patterns(*KEPT))
    return run


def assert_same(run: Path | str, expected: Path) -> None:
    loaded, wanted = load_detector(str(run)), load_detector(str(expected))
    assert loaded.task == wanted.task
    state = wanted.model.state_dict()
    assert loaded.model.state_dict().keys() == state.keys()
    assert all(torch.equal(x, state[key]) for key, x in loaded.model.state_dict().items())


def test_an_unfinished_run_is_its_best_weights(
    unfinished: Path,
    finished: Path,
    shapes: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    best = json.loads((finished / "result.json").read_text())["best_epoch"]
    assert_same(unfinished, finished)
    assert_same(unfinished / "checkpoints" / "best.ckpt", finished)
    photo = next((shapes / "test").glob("*.jpg"))
    capsys.readouterr()
    assert (
        main(["predict", str(photo), "--detector", str(unfinished), "--out", str(tmp_path / "out")])
        == 0
    )
    (line,) = [line for line in capsys.readouterr().err.splitlines() if str(unfinished) in line]
    assert re.findall(r"\d+", line.replace(str(unfinished), "")) == [str(best + 1)]  # the epoch
    for path in (unfinished, unfinished / "checkpoints" / "best.ckpt"):
        assert len(load_tokenizer(str(path))) == len(Tokenizer.nano())
    convert_weights(unfinished / "checkpoints" / "best.ckpt", tmp_path / "best")
    assert_same(tmp_path / "best", finished)


def test_weights_that_were_never_validated(
    unfinished: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (unfinished / "checkpoints" / "best.ckpt").unlink()
    assert load_detector(str(unfinished)).task is not None
    (unfinished / "checkpoints" / "last.ckpt").unlink()
    with pytest.raises(GLIPError) as caught:
        load_detector(str(unfinished))
    assert caught.value.code == "unfinished-run"


def test_a_checkpoint_without_its_detector_is_refused(unfinished: Path) -> None:
    path = unfinished / "checkpoints" / "best.ckpt"
    content = torch.load(path, weights_only=True)
    for wrong, code in (
        (None, "no-detector"),
        (content["detector"] | {"phrases": []}, "bad-value"),
    ):
        torch.save(content | {"detector": wrong}, path)
        with pytest.raises(GLIPError) as caught:
            load_detector(str(path))
        assert caught.value.code == code


def test_the_adapter_of_a_run(finished: Path) -> None:
    if (finished / "adapter").is_dir():
        assert_same(finished / "adapter", finished)
        assert len(load_tokenizer(str(finished / "adapter"))) == len(Tokenizer.nano())


def test_an_unfinished_prompt_is_refused(shapes: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    go("fit", shapes, run, *BASE, "--model.tuning=PromptTuning")
    for name in KEPT:
        (run / name).unlink(missing_ok=True)
    with pytest.raises(GLIPError) as caught:
        load_detector(str(run))
    assert caught.value.code == "unfinished-prompt"


def test_a_run_of_no_shots_is_its_base_with_the_classes_of_its_data(
    shapes: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    found = go("fit", shapes, run, *BASE, "--model.tuning=FullTuning", "--data.shots=0")
    loaded, base = load_detector(str(run)), load_detector("glip-nano-c")
    assert loaded.task is not None
    assert [phrase.name for phrase in loaded.task.phrases] == found["classes"]
    assert loaded.task.input_size == (96, 128)
    state = base.model.state_dict()
    assert all(torch.equal(x, state[key]) for key, x in loaded.model.state_dict().items())
    assert len(load_tokenizer(str(run))) == len(Tokenizer.nano())
    photo = next((shapes / "test").glob("*.jpg"))
    assert (
        main(["predict", str(photo), "--detector", str(run), "--out", str(tmp_path / "out")]) == 0
    )
    random = tmp_path / "random"
    go(
        "fit",
        shapes,
        random,
        "--model.detector=glip-nano-c",
        "--model.weights=random",
        "--data.shots=0",
    )
    with pytest.raises(GLIPError) as caught:
        load_detector(str(random))
    assert caught.value.code == "nothing-trained"
