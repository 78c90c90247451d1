"""``glip push``: what goes to the Hub is the run's detector, and what comes back finds the same."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import constants

from glip_lightning.app.cli import main
from glip_lightning.app.hub_upload import push_run
from glip_lightning.common.errors import GLIPError
from glip_lightning.evaluation.points import in_points
from hub_server import TOKEN, Hub, running_hub
from printed import words
from small_runs import go, make_shapes

REPOSITORY = "somebody/shapes-detector"
LORA = ["--model.tuning=LoRATuning"]


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_shapes(tmp_path_factory.mktemp("push"))


@pytest.fixture(scope="module")
def fitted(shapes: Path) -> Path:
    """A finished run that trained the whole detector for two epochs."""
    go("fit", shapes, shapes.parent / "fitted", "--trainer.logger=false")
    return shapes.parent / "fitted"


@pytest.fixture
def run(fitted: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    return Path(shutil.copytree(fitted, tmp_path / "my run"))


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """An empty Hub, and somebody who is logged in there."""
    with running_hub() as hub:
        monkeypatch.setattr(constants, "ENDPOINT", hub.url)
        template = hub.url + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)  # its storage is another server
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no token"))
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        yield hub


def detections(detector: str | Path, photos: Path, out: Path) -> list[object]:
    """What the command finds in the test pictures."""
    assert (
        main(
            [
                "predict",
                str(photos),
                "--detector",
                str(detector),
                "--threshold",
                "0.05",
                "--out",
                str(out),
            ]
        )
        == 0
    )
    found = json.loads((out / "predictions.json").read_text(encoding="utf-8"))["photos"]
    return [{key: value for key, value in photo.items() if key != "picture"} for photo in found]


def names(hub: Hub) -> set[str]:
    return {name.removeprefix(f"{REPOSITORY}/") for name in hub.files}


def test_what_comes_back_finds_the_same(run: Path, shapes: Path, hub: Hub, tmp_path: Path) -> None:
    assert main(["push", str(run), REPOSITORY]) == 0
    assert names(hub) == {path.name for path in (run / "detector").iterdir()}
    assert hub.private == {REPOSITORY: False}
    found = detections(REPOSITORY, shapes / "test", tmp_path / "from the hub")
    assert found == detections(run, shapes / "test", tmp_path / "from the run")
    assert sum(len(photo["detections"]) for photo in found) > 0
    card = hub.files[f"{REPOSITORY}/README.md"].decode()
    assert f"glip predict PHOTO --detector {REPOSITORY}\n" in card
    assert "# shapes-detector\n" in card


@pytest.mark.slow
def test_an_adapter_goes_as_a_whole_detector(shapes: Path, hub: Hub, tmp_path: Path) -> None:
    run = tmp_path / "lora"
    start = ["--model.detector=glip-nano-c", "--model.weights=pretrained", "--trainer.logger=false"]
    go("fit", shapes, run, *start, *LORA)
    assert (run / "adapter").is_dir()
    assert main(["push", str(run), REPOSITORY]) == 0
    assert {"config.json", "model.safetensors", "vocab.txt", "task.json", "README.md"} <= names(hub)
    found = detections(REPOSITORY, shapes / "test", tmp_path / "from the hub")
    assert found == detections(run, shapes / "test", tmp_path / "from the run")
    assert {"LoRATuning", "glip-nano-c"} <= words(hub.files[f"{REPOSITORY}/README.md"].decode())
    assert not list(run.glob(".push-*"))


def test_a_dry_run_writes_the_card_and_asks_nobody(
    run: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("HF_TOKEN")
    (run / "detector" / "README.md").unlink()
    assert main(["push", str(run), REPOSITORY, "--dry-run"]) == 0
    said = capsys.readouterr().out
    size = (run / "detector" / "model.safetensors").stat().st_size / 1e6
    assert f"model.safetensors ({size:.2f} MB)" in said
    assert f"{hub.url}/{REPOSITORY}" in said
    card = (run / "detector" / "README.md").read_text(encoding="utf-8")
    result = json.loads((run / "result.json").read_text(encoding="utf-8"))
    low, high = result["metrics"]["test"]["bootstrap"]["interval95"]
    assert f"| {in_points(low)} to {in_points(high)} |" in card
    assert f"    {result['command']}\n" in card
    assert hub.requests == []


def test_a_card_that_was_changed_keeps_its_text(run: Path, hub: Hub) -> None:
    file = run / "detector" / "README.md"
    made = file.read_text(encoding="utf-8")
    assert "--detector FOLDER\n" in made
    file.write_text(made + "\nThe photos are CC BY 4.0.\n", encoding="utf-8")
    assert main(["push", str(run), REPOSITORY]) == 0
    card = hub.files[f"{REPOSITORY}/README.md"].decode()
    assert card == file.read_text(encoding="utf-8")
    assert card.endswith("The photos are CC BY 4.0.\n")
    assert f"--detector {REPOSITORY}\n" in card


def test_a_card_that_was_not_changed_names_the_next_repository(run: Path, hub: Hub) -> None:
    push_run(run, "somebody/first")
    push_run(run, REPOSITORY)
    card = hub.files[f"{REPOSITORY}/README.md"].decode()
    assert "first" not in card
    assert "# shapes-detector\n" in card


def test_files_of_an_earlier_detector_do_not_stay(run: Path, hub: Hub) -> None:
    push_run(run, REPOSITORY)
    hub.files[f"{REPOSITORY}/words.txt"] = b"of another detector\n"
    hub.files[f"{REPOSITORY}/picture.jpg"] = b"of the owner"
    (run / "detector" / "words.txt").unlink(missing_ok=True)
    push_run(run, REPOSITORY)
    assert "words.txt" not in names(hub)
    assert hub.files[f"{REPOSITORY}/picture.jpg"] == b"of the owner"


def test_a_private_repository_is_private_before_anything_is_in_it(run: Path, hub: Hub) -> None:
    push_run(run, REPOSITORY, private=True)
    assert hub.private == {REPOSITORY: True}
    push_run(run, "somebody/public")
    before = dict(hub.files)
    with pytest.raises(GLIPError) as refused:
        push_run(run, "somebody/public", private=True)
    assert refused.value.code == "public-repository"
    assert hub.files == before


@pytest.mark.parametrize(
    "name", ["shapes", "a/b/c", "some body/shapes", "some--body/shapes", "/shapes", "owner/"]
)
def test_a_name_without_owner_is_refused(
    run: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(GLIPError) as refused:
        push_run(run, name, dry_run=True)
    assert refused.value.code == "bad-repository"
    assert main(["push", str(run), name, "--dry-run"]) == 2
    assert name in capsys.readouterr().err


def test_what_cannot_be_pushed_has_a_code(
    run: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    def code(dry_run: bool = False) -> str:
        with pytest.raises(GLIPError) as refused:
            push_run(run, REPOSITORY, dry_run=dry_run)
        return refused.value.code

    monkeypatch.setenv("HF_TOKEN", "hf_of_somebody_else")
    assert code() == "not-logged-in"
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    hub.refused = 403
    assert code() == "upload-failed"
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")  # nobody listens there
    assert code() == "upload-failed"
    monkeypatch.delenv("HF_TOKEN")
    assert code() == "not-logged-in"
    result = run / "result.json"
    content = json.loads(result.read_text(encoding="utf-8"))
    (run / "detector" / "README.md").unlink()
    result.write_text(json.dumps(content | {"metrics": 3}), encoding="utf-8")
    assert code(dry_run=True) == "damaged-record"
    shutil.rmtree(run / "detector")
    assert code(dry_run=True) == "no-detector"
    result.unlink()
    assert code(dry_run=True) == "unfinished-run"
    assert main(["push", str(run / "nowhere"), REPOSITORY]) == 1
    assert hub.files == {}
