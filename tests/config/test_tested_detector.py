"""``glip test RUN``: what stands for the detector, and what is refused."""

from pathlib import Path

import pytest

from glip_lightning.common.errors import GLIPError
from glip_lightning.config.tested_detector import with_detector
from glip_lightning.config.wrong_usage import WrongUsage


def make(folder: Path, *names: str) -> str:
    folder.mkdir()
    for name in names:
        (folder / name).mkdir() if "." not in name else (folder / name).touch()
    return str(folder)


def test_options_stay_as_they_are(tmp_path: Path) -> None:
    run = make(tmp_path / "run", "recipe.yaml", "detector")
    for words in (["test", "--config", "nano"], ["fit", run], ["validate"]):
        assert with_detector(words) == words


def test_a_run_means_its_recipe(tmp_path: Path) -> None:
    run = make(tmp_path / "run", "recipe.yaml", "detector")
    expected = ["test", "--config", str(tmp_path / "run" / "recipe.yaml"), "--data.root", "other"]
    assert with_detector(["test", run, "--data.root", "other"]) == expected


def test_another_recipe_takes_the_detector(tmp_path: Path) -> None:
    run = make(tmp_path / "run", "recipe.yaml", "adapter")
    detector = [f"--model.detector={run}", "--model.weights=pretrained", "--model.tuning=null"]
    assert with_detector(["validate", run, "--config", "nano"]) == [
        "validate",
        "--config",
        "nano",
        *detector,
    ]
    assert with_detector(["test", "glip-nano-c", "-c", "nano"])[3] == "--model.detector=glip-nano-c"
    prompt = make(tmp_path / "prompt", "recipe.yaml", "prompt.safetensors")
    words = with_detector(["test", prompt, "--config=nano"])
    assert words[2:] == [
        "--model.tuning=SavedPrompt",
        f"--model.tuning.file={prompt}/prompt.safetensors",
    ]


def test_what_has_no_recipe_or_no_detector_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WrongUsage, match="--config"):
        with_detector(["test", make(tmp_path / "folder", "config.json")])
    with pytest.raises(GLIPError) as unfinished:
        with_detector(["test", make(tmp_path / "run", "recipe.yaml", "checkpoints")])
    assert unfinished.value.code == "unfinished-run"
    with pytest.raises(GLIPError) as unknown:
        with_detector(["test", str(tmp_path / "nowhere")])
    assert unknown.value.code == "unknown-detector"
    zero = make(tmp_path / "zero", "recipe.yaml", "result.json")
    assert with_detector(["test", zero]) == [
        "test",
        "--config",
        str(tmp_path / "zero" / "recipe.yaml"),
    ]
