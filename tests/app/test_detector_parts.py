"""``glip env --detector``: the parts of a detector, and what each tuning trains of them."""

import re
from pathlib import Path

import pytest
import torch

from glip_lightning.app.cli import main
from glip_lightning.app.detector_parts import TUNINGS
from glip_lightning.tuning.base import count_parts
from glip_lightning.tuning.weight_tunings import FullTuning
from glip_lightning.weights.load import load_detector, save
from printed import words
from refusals import refusal


def tables(text: str) -> dict[str, list[str]]:
    """Return the columns of each line by its first word."""
    return {line.split()[0]: re.split(r"  +", line)[1:] for line in text.splitlines() if line}


def test_parts_and_trained_parameters_are_those_of_a_run(
    capsys: pytest.CaptureFixture[str],
) -> None:
    model = load_detector("glip-nano", "random").model
    FullTuning().setup(model, None, load_detector("glip-nano", "random").tokenizer)
    trained = count_parts(model, FullTuning())
    assert main(["env", "--detector", "glip-nano"]) == 0
    found = tables(capsys.readouterr().out)
    assert {"vision", "text", "fusion", "head"} <= found.keys()
    assert found["vision"] == ["backbone, fpn"]
    parts = ["vision", "text", "fusion", "head"]
    numbers = [trained[part].trainable for part in parts] + [0, trained["all"].trainable]
    assert found["FullTuning"] == [f"{number:,}" for number in numbers]
    assert found["there"][:4] == [f"{trained[part].total:,}" for part in parts]
    assert {kind.__name__ for kind in TUNINGS} <= found.keys()


@pytest.mark.parametrize("detector", ["glip-tiny", "glip-large"])
def test_official_detectors_are_described_without_a_download(
    detector: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert main(["env", "--detector", detector]) == 0
    # the text encoder
    assert int(tables(capsys.readouterr().out)["there"][1].replace(",", "")) > 100_000_000


def test_a_tuning_that_does_not_fit_is_named_with_its_reason(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["env", "--detector", "dyhead-nano"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines if ": " in line] == [
        "LanguageTuning",
        "LoRATuning",
        "PromptTuning",
    ]


def test_a_folder_is_described_and_an_unknown_name_is_an_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    loaded = load_detector("glip-nano-a", "random")
    save(loaded.model, loaded.tokenizer, tmp_path / "mine")
    assert main(["env", "--detector", str(tmp_path / "mine")]) == 0
    total = sum(x.numel() for x in loaded.model.parameters() if isinstance(x, torch.nn.Parameter))
    assert tables(capsys.readouterr().out)["there"][-1] == f"{total:,}"
    unknown = refusal("env", "--detector", "glip-nanoo")
    assert unknown.code == "unknown-detector"
    assert "glip-nano" in words(str(unknown))
