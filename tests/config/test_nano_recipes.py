"""The recipes of the nano detectors run on ODinW with the official structure, by options alone."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import constants

from conftest import SHARED
from glip_lightning.app.cli import main
from glip_lightning.text.tokenizer import NANO_VOCAB
from hub_server import running_hub

RECIPES = Path(__file__).parent.parent.parent / "recipes"
VOCABULARY = SHARED / "golden" / "bert-base-uncased-vocab.txt"
VOCABULARY_SIZE = 30522  # of the official structure
TINY = ["--model.detector=glip-tiny", "--model.weights=random"]
QUICK = ["--trainer.fast_dev_run=true", "--trainer.accelerator=cpu", "--data.batch_size=1"]


def vocabulary() -> bytes:
    """Return BERT's vocabulary, else that of the nano detectors with rows to fill it up."""
    if VOCABULARY.is_file():
        return VOCABULARY.read_bytes()
    words = NANO_VOCAB.read_text(encoding="utf-8").splitlines()
    words += [f"filler{number}" for number in range(VOCABULARY_SIZE - len(words))]
    return "\n".join(words).encode()


@pytest.fixture(autouse=True)
def hub_of_this_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A Hub that gives the vocabulary of the official detectors."""
    with running_hub() as hub:
        hub.files["google-bert/bert-base-uncased/vocab.txt"] = vocabulary()
        template = hub.url + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "ENDPOINT", hub.url)
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        yield


@pytest.fixture
def raccoon(odinw_data: Path) -> list[str]:
    return ["--data=ODinW", f"--data.root={odinw_data}", "--data.task=Raccoon"]


def test_the_configuration_is_complete(
    raccoon: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(
            [
                "fit",
                "--config",
                str(RECIPES / "shapes/nano_few_shot.yaml"),
                *raccoon,
                *TINY,
                "--print_config",
            ]
        )
    printed = capsys.readouterr().out
    assert "detector: glip-tiny" in printed
    assert "weights: random" in printed
    assert "class_path: glip_lightning.ODinW" in printed
    assert "task: Raccoon" in printed


@pytest.mark.slow
@pytest.mark.parametrize("recipe", ["shapes/nano_few_shot", "shapes/nano_all_shot", "nano"])
def test_downstream_recipes_train_the_official_structure(
    recipe: str, raccoon: list[str], tmp_path: Path
) -> None:
    run = tmp_path / "run"
    assert (
        main(
            [
                "fit",
                "--config",
                str(RECIPES / f"{recipe}.yaml"),
                "--run",
                str(run),
                *raccoon,
                *TINY,
                *QUICK,
            ]
        )
        == 0
    )
    result = json.loads((run / "result.json").read_text())
    assert result["detector"] == "glip-tiny"
    assert result["classes"] == ["raccoon"]
    assert result["steps"] == 1


@pytest.mark.slow
def test_pretraining_takes_detection_data(odinw_data: Path, tmp_path: Path) -> None:
    """The recipe of variant A with the official structure, on detection data."""
    source = "Raccoon/train/annotations_without_background.json"
    data = [
        f"--data.root={odinw_data}",
        f"--data.sources.detection.file={source}",
        "--data.epoch_images=2",
    ]
    data += ["--data=Pretraining", "--data.valid=Raccoon/valid/annotations_without_background.json"]
    sizes = ["--data.min_sizes=[160]", "--data.max_size=160", "--data.test_size=160"]
    recipe = [
        "--config",
        str(RECIPES / "shapes" / "pretrain" / "glip-nano-a.yaml"),
        "--run",
        str(tmp_path / "run"),
    ]
    kinds = ["--trainer.callbacks=null"]  # whose words are those of the generated world
    options = sorted(data, key=lambda option: option != "--data=Pretraining")
    assert main(["fit", *recipe, *options, *sizes, *TINY, *QUICK, *kinds]) == 0
    assert json.loads((tmp_path / "run" / "result.json").read_text())["classes"] == ["raccoon"]
