"""What starts quickly: verbs that look at files alone import no library of the network."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from formats import write_parts
from report_sweep import write_sweep

HEAVY = ("torch", "torchvision", "transformers", "timm", "lightning", "wandb", "datasets")
VERB = "from glip_lightning.app.cli import main; code = main(sys.argv[1:])"
READ = (
    "import glip_lightning; code = bool(glip_lightning.read_dataset(sys.argv[1]).findings.errors)"
)
PROCESS = """
import sys
try:
    {code}
except SystemExit as stop:  # of --help
    code = stop.code
loaded = [name for name in {names} if name in sys.modules]
print(loaded, file=sys.stderr)
assert not code, code
"""


def imported(code: str, *arguments: object, names: tuple[str, ...] = HEAVY) -> list[str]:
    """Return which of ``names`` a process of its own has imported at its end."""
    command = [sys.executable, "-c", PROCESS.format(code=code, names=names), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stderr.splitlines()[-1].replace("'", '"'))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_parts(tmp_path_factory.mktemp("start_up") / "photos")


def test_a_data_set_is_checked_without_the_network(folder: Path) -> None:
    assert imported(VERB, "doctor", folder) == []
    assert imported(VERB, "doctor", folder, "--json", "--detector", "dyhead-nano") == []
    assert imported(READ, folder) == []


@pytest.mark.parametrize(
    "arguments", [["recipes"], ["recipes", "few_shot"], ["download", "--help"], ["--help"]]
)
def test_verbs_without_a_detector_start_without_the_network(arguments: list[str]) -> None:
    assert imported(VERB, *arguments) == []


@pytest.mark.parametrize("arguments", [["--help"], ["predict", "--help"]])
def test_help_waits_for_no_library_of_data(arguments: list[str]) -> None:
    assert imported(VERB, *arguments, names=("numpy", "PIL", "requests", "yaml")) == []


def test_a_report_is_written_without_the_network(tmp_path: Path) -> None:
    write_sweep(tmp_path / "s", ["Raccoon"], [0, 1], [3], ["FullTuning"])
    assert imported(VERB, "report", tmp_path / "s", "--leaderboard", tmp_path / "board") == []
    assert (tmp_path / "s" / "report.html").is_file()


@pytest.mark.slow
def test_a_prediction_imports_what_its_detector_needs(folder: Path, tmp_path: Path) -> None:
    arguments = (
        "predict",
        folder / "train",
        "--phrases",
        "cat. dog",
        "--detector",
        "glip-nano-c",
        "--device",
        "cpu",
    )
    assert set(imported(VERB, *arguments, "--out", tmp_path)) <= {
        "torch",
        "torchvision",
        "transformers",
        "timm",
    }
    dyhead = "import glip_lightning; load = glip_lightning.load_detector; "
    dyhead += "code = load('dyhead-nano', weights='random') is None"
    assert imported(dyhead) == ["torch", "torchvision", "timm"]


STOPPED = """
import os, sys

class Stop:
    def find_spec(self, name, path=None, target=None):
        if name == "torch":
            sys.stderr.flush()
            os._exit(77)

sys.meta_path.insert(0, Stop())
{code}
"""


def printed_before_torch(arguments: list[object]) -> list[str]:
    """Return what a verb writes to stderr in a process that ends where it would import torch."""
    command = [sys.executable, "-c", STOPPED.format(code=VERB), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode in (0, 77), done.stderr
    return done.stderr.splitlines()


@pytest.mark.parametrize("verb", ["fit", "predict", "pseudo-label"])
def test_a_verb_prints_a_line_before_it_imports_torch(
    verb: str, folder: Path, tmp_path: Path
) -> None:
    given = {
        "fit": ["--config", "custom_nano", "--data.root", tmp_path, "--trainer.max_epochs", "none"],
        "predict": [folder / "train", "--device", "none"],
        "pseudo-label": ["--images", folder / "train", "--phrases", "cat", "--device", "none"],
    }
    (line,) = printed_before_torch([verb, *given[verb]])
    assert line.startswith(f"glip {verb}: ")


@pytest.mark.parametrize("arguments", [["fit", "--help"], ["predict", "--help"]])
def test_help_begins_without_that_line(arguments: list[object]) -> None:
    assert printed_before_torch(arguments) == []


def test_a_printed_recipe_begins_without_that_line(tmp_path: Path) -> None:
    recipe = ["--config", "custom_nano", "--data.root", tmp_path, "--print_config"]
    assert printed_before_torch(["fit", *recipe]) == []
