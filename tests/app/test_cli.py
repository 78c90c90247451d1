"""The command line itself: help at once, verbs that explain themselves."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from glip_lightning import __version__
from glip_lightning.app import cli
from glip_lightning.app.cli import OTHER_VERBS, TRAINING, VERBS, main
from glip_lightning.common import registry
from glip_lightning.text.tokenizer import NANO_VOCAB
from glip_lightning.weights.load import load_detector, save
from printed import line_with, numbers, words
from refusals import refusal


def test_help_names_every_verb() -> None:
    result = subprocess.run(
        [sys.executable, "-m", "glip_lightning.app.cli", "--help"], capture_output=True, text=True
    )
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


@pytest.mark.parametrize("verb", sorted(VERBS.keys() - set(TRAINING)))
@pytest.mark.parametrize("option", ["-h", "--help"])
def test_help_of_verbs(verb: str, option: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([verb, option]) == 0
    assert f" glip {verb} [OPTIONS]" in capsys.readouterr().out


def test_help_fits_a_narrow_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    for arguments in (["--help"], ["predict", "--help"]):
        assert main(arguments) == 0
        assert max(map(len, capsys.readouterr().out.splitlines())) <= 60


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"{__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ([], "command"),
        (["--versoin"], "--version"),
        (["predict"], "PHOTO"),
        (["predict", "a.png", "--treshold", "0.3"], "--threshold"),
        (["predict", "a.png", "--threshold", "high"], "--threshold high"),
        (["predict", "a.png", "--phrases", "dog", "--phrases-file", "dogs.txt"], "--phrases-file"),
        (["predict", "a.png", "--prompt", "a.safetensors", "--phrases", "dog"], "--phrases"),
        (["predict", "a.png", "--out"], "--out"),
        (["predict", "a.png", "--out", "--phrases", "dog"], "--out"),
        (["predict", "a.png", "--prompt=--"], "--prompt=--"),
        (["pseudo-label", "--captions", "a.json"], "--images"),
        (
            ["pseudo-label", "--images", "a", "--captions", "a.json", "--phrases", "dog"],
            "--phrases",
        ),
        (["sweep", "demo", "--executor", "cloud"], "cloud"),
        (["sweep", "demo", "--workers", "two"], "--workers two"),
        (["env", "extra"], "extra"),
        (["convert", "one", "two", "three"], "three"),
    ],
    ids=" ".join,
)
def test_a_wrong_command_line_is_told_in_a_line_and_exits_with_2(
    arguments: list[str], named: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    said, hint = capsys.readouterr().err.splitlines()
    assert said.startswith("glip: ")
    assert named in said
    program = " ".join(["glip", *(word for word in arguments[:1] if word in VERBS)])
    assert hint.startswith(f"  {program} --help ")


@pytest.mark.parametrize(
    ("verb", "meant"),
    [
        ("fitt", "fit"),
        ("train", "fit"),
        ("finetune", "fit"),
        ("swep", "sweep"),
        ("evaluate", "test"),
    ],
)
def test_an_unknown_verb_is_met_with_a_close_one(
    verb: str, meant: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([verb, "--config", "recipes/shapes/blocks.yaml"]) == 2
    said, hint = capsys.readouterr().err.splitlines()
    assert said.startswith(f"glip: {verb}: ")
    assert meant in words(said)
    assert hint.startswith("  glip --help ")
    assert refusal(verb).code == "unknown-verb"


@pytest.mark.parametrize("verb", [[], ["predict"]])
def test_help_is_a_word_too(verb: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*verb, "--help"]) == 0
    wanted = capsys.readouterr().out
    assert main(["help", *verb]) == 0
    assert capsys.readouterr().out == wanted


def test_words_of_other_programs_mean_verbs_of_ours() -> None:
    assert set(OTHER_VERBS.values()) <= VERBS.keys()
    assert not OTHER_VERBS.keys() & VERBS.keys()


def test_options_of_recipes_reach_a_sweep_in_their_order() -> None:
    words = [
        "demo",
        "--data.root",
        "DATA",
        "--workers",
        "2",
        "--model.tuning=LoRATuning",
        "--dry-run",
        "-c",
        "more",
    ]
    context = VERBS["sweep"].make_context("sweep", words)
    assert context.args == ["--data.root", "DATA", "--model.tuning=LoRATuning", "-c", "more"]
    assert (context.params["file"], context.params["workers"], context.params["dry_run"]) == (
        "demo",
        2,
        True,
    )


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


def test_env_lists_detectors_and_counts_runs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.chdir(tmp_path)
    assert main(["env"]) == 0
    text = capsys.readouterr().out
    shipped, official = line_with(text, "glip-nano-c"), line_with(text, "glip-large")
    assert {*registry.detector_weights.names()} <= words(shipped)
    assert {"glip-tiny", "glip-tiny-a"} <= words(official)
    assert shipped != official
    assert numbers(line_with(text, "./runs").partition("./runs")[2]) == ["0", "0"]

    runs = tmp_path / "runs"
    for folder in ("Raccoon-1", "sweep/trial", "Raccoon-2", "no_run"):
        (runs / folder).mkdir(parents=True)
        (runs / folder / "recipe.yaml").write_text("{}\n")
    for folder in ("Raccoon-1", "sweep/trial"):
        (runs / folder / "result.json").write_text("{}\n")
    (runs / "Raccoon-2" / "checkpoints").mkdir()
    assert main(["env"]) == 0
    runs_line = line_with(capsys.readouterr().out, "./runs")
    assert numbers(runs_line.partition("./runs")[2]) == ["2", "1"]  # finished and not finished


def test_env_says_that_the_hub_cannot_be_reached(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # nobody listens there
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    assert main(["env"]) == 0
    assert re.search(r"\(\w+Error\)$", line_with(capsys.readouterr().out, "http://127.0.0.1:9"))


def test_convert_explains_a_missing_file() -> None:
    missing = refusal("convert", "nowhere.pth", "out")
    assert missing.code == "missing-file"
    assert "nowhere.pth" in str(missing)


def test_convert_there_and_back(tmp_path: Path) -> None:
    loaded = load_detector("glip-nano", "random")
    save(loaded.model, loaded.tokenizer, tmp_path / "ours")
    assert main(["convert", str(tmp_path / "ours"), str(tmp_path / "official.pth")]) == 0
    vocab = ["--vocab", str(NANO_VOCAB)]
    assert main(["convert", str(tmp_path / "official.pth"), str(tmp_path / "again"), *vocab]) == 0
    # a name without an ending
    assert main(["convert", str(tmp_path / "ours"), str(tmp_path / "official")]) == 0
    again = load_detector(str(tmp_path / "again")).model
    assert again.config == loaded.model.config
    for name, tensor in loaded.model.state_dict().items():
        assert torch.equal(again.state_dict()[name], tensor), name


def test_errors_of_others_are_shown_with_their_traceback() -> None:
    assert cli._explanation(RuntimeError("something of torch")) is None
    in_worker = "Caught ValueError in DataLoader worker process 0.\nOriginal Traceback: ..."
    assert cli._explanation(ValueError(in_worker)) is None


def test_words_that_are_no_text_are_shown_escaped(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (
        ["env", "odd-\udcff\x1b"],
        ["odd-\udcff\x1b"],
        ["predict", "a", "--threshold=odd-\udcff\x1b"],
    ):
        assert main(arguments) == 2
        assert "odd-\\udcff\\x1b" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments, theirs, ours",
    [
        (["predict", "a.jpg", "--conf", "0.3"], "--conf", "--threshold"),
        (["predict", "a.jpg", "--box-threshold=0.3"], "--box-threshold", "--threshold"),
        (["predict", "--source", "a.jpg"], "--source", "PHOTO"),
        (["predict", "a.jpg", "--weights", "x"], "--weights", "--detector"),
        (["predict", "a.jpg", "--max-det", "9"], "--max-det", "--max-detections"),
        (["predict", "a.jpg", "--text-prompt", "cat"], "--text-prompt", "--phrases"),
        (["pseudo-label", "--images", "x", "--agnostic-nms"], "--agnostic-nms", "--one-label"),
        (["pseudo-label", "--source", "x"], "--source", "--images"),
    ],
)
def test_what_other_programs_call_our_options(
    arguments: list[str], theirs: str, ours: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    assert (
        capsys.readouterr().err.splitlines()[0]
        == f"glip: {theirs}: no such option; did you mean {ours}?"
    )
