"""The command line itself: help at once, verbs that explain themselves."""

import subprocess
import sys
import time

import pytest

from glip_lightning import __version__
from glip_lightning.cli import main


def test_help_is_quick_and_names_every_verb() -> None:
    start = time.perf_counter()
    result = subprocess.run([sys.executable, "-m", "glip_lightning.cli", "--help"], capture_output=True, text=True)
    assert time.perf_counter() - start < 2  # 0.1 s on an idle machine; imports of torch alone take longer
    assert result.returncode == 0
    for verb in ("fit", "validate", "test", "predict", "convert", "env"):
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


def test_env_prints_versions_devices_and_the_hub(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert main(["env"]) == 0
    printed = capsys.readouterr().out
    assert __version__ in printed
    for word in ("Python", "torch", "CUDA", "MPS", "Hub", "offline"):
        assert word in printed


def test_convert_explains_a_missing_file(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["convert", "nowhere.pth", "out"]) == 1
    assert "nowhere.pth" in capsys.readouterr().err
