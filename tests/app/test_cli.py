"""The command line itself: help at once, verbs that explain themselves."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from glip_lightning import __version__
from glip_lightning.app import cli
from glip_lightning.app.cli import main
from glip_lightning.text.tokenizer import NANO_VOCAB
from glip_lightning.weights.load import load_detector, save


def test_help_names_every_verb() -> None:
    result = subprocess.run([sys.executable, "-m", "glip_lightning.app.cli", "--help"], capture_output=True, text=True)
    assert result.returncode == 0
    for verb in (
        "fit",
        "validate",
        "test",
        "predict",
        "pseudo-label",
        "convert",
        "doctor",
        "download",
        "sweep",
        "report",
        "env",
    ):
        assert verb in result.stdout


@pytest.mark.parametrize("arguments", [["--version"], ["predict", "--help"], ["convert", "--help"]])
def test_help_of_verbs(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 0
    assert capsys.readouterr().out


@pytest.mark.parametrize("arguments", [[], ["forecast"], ["predict"]])
def test_a_wrong_command_line_exits_with_2(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 2


def test_an_unknown_verb_is_met_with_a_close_one(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["fitt", "--config", "recipes/shapes/blocks.yaml"])
    assert stop.value.code == 2
    said = capsys.readouterr().err.splitlines()
    assert said == ["glip: fitt: no such verb; did you mean fit?", "  glip --help lists what there is"]


def test_other_processes_of_a_run_do_not_repeat_what_the_first_says(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert main(["fit", "--config", "nowhere.yaml"]) == 2
    assert capsys.readouterr().err == ""


def test_env_prints_versions_devices_and_the_hub(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert main(["env"]) == 0
    printed = capsys.readouterr().out
    assert __version__ in printed
    for word in ("Python", "torch", "CUDA", "MPS", "Hub", "offline"):
        assert word in printed


def test_env_says_that_the_hub_cannot_be_reached(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")  # nobody listens there
    assert main(["env"]) == 0
    assert "cannot be reached" in capsys.readouterr().out


def test_convert_explains_a_missing_file(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["convert", "nowhere.pth", "out"]) == 1
    assert "nowhere.pth" in capsys.readouterr().err


def test_convert_there_and_back(tmp_path: Path) -> None:
    loaded = load_detector("glip-nano", "random")
    save(loaded.model, loaded.tokenizer, tmp_path / "ours")
    assert main(["convert", str(tmp_path / "ours"), str(tmp_path / "official.pth")]) == 0
    vocab = ["--vocab", str(NANO_VOCAB)]
    assert main(["convert", str(tmp_path / "official.pth"), str(tmp_path / "again"), *vocab]) == 0
    assert main(["convert", str(tmp_path / "ours"), str(tmp_path / "official")]) == 0  # a name without an ending
    again = load_detector(str(tmp_path / "again")).model
    assert again.config == loaded.model.config
    for name, tensor in loaded.model.state_dict().items():
        assert torch.equal(again.state_dict()[name], tensor), name


def test_errors_of_data_workers_are_one_line_if_they_are_ours() -> None:
    """torch hands them on as a text with their traceback."""
    ours = str(Path(cli.__file__).parent.parent / "data" / "images.py")
    frame = 'Original Traceback:\n  File "/elsewhere/worker.py", line 1, in f\n    x()\n  File "{}", line 9, in g\n'
    caught = "Caught DataError in DataLoader worker process 0.\n" + frame
    kind = "glip_lightning.data.checks.findings.DataError"
    assert cli._explanation(ValueError(f"{caught.format(ours)}{kind}: a.jpg: cut off; replace it\n")) == (
        "a.jpg: cut off; replace it"
    )
    coded = f"{caught.format(ours)}glip_lightning.common.errors.GLIPError: a.jpg: cut off\n"
    assert cli._explanation(RuntimeError(coded)) == "a.jpg: cut off"  # torch cannot make an error that needs a code
    assert cli._explanation(RuntimeError("something of torch")) is None
    assert cli._explanation(ValueError(f"{caught.format('/elsewhere/numpy.py')}ValueError: bad shape\n")) is None


def test_an_option_without_its_value_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    for word in ("--out=--", "--detector=--"):
        with pytest.raises(SystemExit) as stop:
            main(["predict", "a.png", word])
        assert stop.value.code == 2
        assert word in capsys.readouterr().err


def test_words_that_are_no_text_are_shown_escaped(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["env", "odd-\udcff"])
    assert stop.value.code == 2
    assert "odd-\\udcff" in capsys.readouterr().err
