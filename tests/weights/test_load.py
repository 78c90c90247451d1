import json
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from huggingface_hub import constants

from glip_lightning.common.errors import GLIPError, MissingFile
from glip_lightning.models.config import VARIANTS, GLIPConfig, TextConfig
from glip_lightning.models.dynamic_head import DynamicHead
from glip_lightning.models.glip.model import GLIP
from glip_lightning.text.phrases import Phrase
from glip_lightning.text.tokenizer import NANO_VOCAB, ClassTokenizer, Tokenizer
from glip_lightning.weights import load as pretrained
from glip_lightning.weights.conversion import convert_weights
from glip_lightning.weights.detector_files import load_tokenizer
from glip_lightning.weights.hub_files import OFFICIAL_VOCAB, DownloadError, HubFile, NotInRepository
from glip_lightning.weights.load import Task, load_detector, save
from glip_lightning.weights.official_checkpoint import CheckpointError, to_official
from hub_server import COMMIT, Hub, running_hub

WEIGHTS = HubFile("GLIPModel/GLIP", "glip_small.pth", "MIT licence, as stated by microsoft/GLIP")
TOKENIZER = Tokenizer.nano()
SMALL_TEXT = TextConfig(
    len(TOKENIZER), 64, num_hidden_layers=1, num_attention_heads=1, intermediate_size=32
)
SMALL = GLIPConfig(
    swin_dim=16,
    swin_depths=(1, 1, 1, 1),
    swin_heads=(1, 2, 4, 8),
    channels=16,
    rounds=1,
    fusion_dim=64,
    text=SMALL_TEXT,
)
TASK = Task((Phrase("raccoon"), Phrase("hand", suffix=" of a person")), (480, 640))


@pytest.fixture(scope="module")
def model() -> GLIP:
    torch.manual_seed(0)
    return GLIP(SMALL)


@pytest.fixture(scope="module")
def pth(model, tmp_path_factory) -> Path:
    """An official file with its vocabulary beside it."""
    path = tmp_path_factory.mktemp("official") / WEIGHTS.name
    torch.save({"model": to_official(model.state_dict(), SMALL), "iteration": 7}, path)
    path.with_name("vocab.txt").write_bytes(NANO_VOCAB.read_bytes())
    return path


@pytest.fixture
def hub(pth, tmp_path, monkeypatch) -> Iterator[Hub]:
    """A Hub that serves the small model as official variant ``glip-small``, and an empty cache."""
    with running_hub() as hub:
        hub.files[f"{WEIGHTS.repo}/{WEIGHTS.name}"] = pth.read_bytes()
        hub.files["google-bert/bert-base-uncased/vocab.txt"] = NANO_VOCAB.read_bytes()
        # the client reads its environment when it is imported; the last test sets real variables
        monkeypatch.setattr(constants, "ENDPOINT", hub.url)
        monkeypatch.setattr(
            constants,
            "HUGGINGFACE_CO_URL_TEMPLATE",
            hub.url + "/{repo_id}/resolve/{revision}/{filename}",
        )
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setitem(VARIANTS, "glip-small", SMALL)
        monkeypatch.setitem(pretrained.OFFICIAL, "glip-small", WEIGHTS)
        yield hub


def assert_same_weights(model: GLIP, expected: GLIP) -> None:
    state = expected.state_dict()
    assert model.state_dict().keys() == state.keys()
    assert all(torch.equal(x, state[key]) for key, x in model.state_dict().items())


def snapshot(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


# -- names


def test_nano_starts_at_random_where_asked_for():
    loaded = load_detector("glip-nano-a", "random")
    assert (loaded.name, loaded.weights, loaded.task) == ("glip-nano-a", "random", None)
    assert len(loaded.tokenizer) == loaded.model.config.text.vocab_size
    assert not loaded.model.training


def test_official_names_can_start_at_random_with_the_official_vocabulary(hub, model):
    loaded = load_detector("glip-small", weights="random")
    assert loaded.weights == "random"
    assert [request.path.rpartition("/")[2] for request in hub.requests] == ["vocab.txt"] * len(
        hub.requests
    )


def test_every_official_name_is_a_variant():
    assert {name for name in VARIANTS if "nano" not in name} == set(pretrained.OFFICIAL)


@pytest.mark.parametrize("detector", ["glip-tinny", "./nowhere", "nowhere.pth", "a/nowhere.pth"])
def test_unknown_detector_is_an_error(detector):
    with pytest.raises(GLIPError) as caught:
        load_detector(detector)
    assert caught.value.code == "unknown-detector"
    assert repr(detector) in str(caught.value)


def test_close_names_are_proposed():
    with pytest.raises(GLIPError) as caught:
        load_detector("glip-tinny")
    named = [
        name for name in VARIANTS if re.search(rf"(?<![\w-]){name}(?![\w-])", str(caught.value))
    ]
    assert "glip-tiny" in named
    assert len(named) == 3


@pytest.mark.parametrize(
    "detector, weights, named",
    [("glip-nano", "best", "'best'"), ("./folder", "random", "'./folder'")],
)
def test_wrong_weights_argument_is_an_error(detector, weights, named):
    with pytest.raises(GLIPError, match=named) as caught:
        load_detector(detector, weights)
    assert caught.value.code == "bad-value"


# -- official files


def test_official_file_is_read_as_it_is(pth, model):
    loaded = load_detector(str(pth))
    assert loaded.weights == "official"
    assert loaded.model.config == SMALL
    assert_same_weights(loaded.model, model)


def test_official_file_of_other_sizes_is_named(hub, pth, monkeypatch):
    monkeypatch.setitem(VARIANTS, "glip-small", replace(SMALL, rounds=2))
    with pytest.raises(CheckpointError) as caught:
        load_detector("glip-small")
    assert caught.value.code == "other-tensors"
    assert "glip_small.pth" in str(caught.value)
    assert "rpn.head.dyhead_tower.3" in str(caught.value)


def test_foreign_vocabulary_is_an_error(pth, tmp_path):
    other = shutil.copy(pth, tmp_path / "x.pth")
    (tmp_path / "vocab.txt").write_bytes(NANO_VOCAB.read_bytes() + b"surplus\n")
    with pytest.raises(GLIPError) as caught:
        load_detector(str(other))
    assert caught.value.code == "other-vocabulary"
    assert str(other) in str(caught.value)
    assert [str(len(TOKENIZER) + more) in str(caught.value) for more in (0, 1)] == [True, True]


# -- exchange folders


def test_saved_folder_comes_back(model, tmp_path):
    save(model, TOKENIZER, tmp_path / "out", TASK)
    loaded = load_detector(str(tmp_path / "out"))
    assert (loaded.weights, loaded.name, loaded.task) == ("folder", str(tmp_path / "out"), TASK)
    assert loaded.model.config == SMALL
    assert_same_weights(loaded.model, model)
    assert loaded.tokenizer.tokens("raccoon") == TOKENIZER.tokens("raccoon")
    assert_same_weights(GLIP.from_pretrained(tmp_path / "out", strict=True), model)


def test_finished_run_is_a_detector(model, tmp_path):
    save(model, TOKENIZER, tmp_path / "run" / "detector")
    assert load_detector(str(tmp_path / "run")).name == str(tmp_path / "run")


def test_a_file_of_a_folder_is_refused_with_the_folder(model, tmp_path):
    save(model, TOKENIZER, tmp_path / "run" / "detector", TASK)
    with pytest.raises(GLIPError) as error:
        load_detector(str(tmp_path / "run" / "detector" / "model.safetensors"))
    assert error.value.code == "not-a-detector"
    assert str(error.value).endswith(f"give {tmp_path}/run/detector")


def test_saving_again_replaces_the_folder(model, tmp_path):
    save(model, TOKENIZER, tmp_path / "out", TASK)
    save(GLIP(SMALL), TOKENIZER, tmp_path / "out")
    loaded = load_detector(str(tmp_path / "out"))
    assert loaded.task is None
    with pytest.raises(AssertionError):
        assert_same_weights(loaded.model, model)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_folder_of_other_things_is_not_replaced(model, tmp_path):
    (tmp_path / "photo.jpg").write_bytes(b"precious")
    with pytest.raises(GLIPError, match=r"photo\.jpg") as refused:
        save(model, TOKENIZER, tmp_path)
    assert refused.value.code == "file-exists"
    assert snapshot(tmp_path) == {"photo.jpg": b"precious"}


def test_a_broken_off_save_leaves_the_old_folder(model, tmp_path, monkeypatch):
    save(model, TOKENIZER, tmp_path / "out")
    before = snapshot(tmp_path / "out")

    def full_disk(*_: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(Tokenizer, "save", full_disk)
    with pytest.raises(OSError, match="no space left"):
        save(GLIP(SMALL), TOKENIZER, tmp_path / "out")
    assert snapshot(tmp_path / "out") == before
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "vocab.txt"])
def test_incomplete_folder_names_what_is_missing(model, tmp_path, name):
    save(model, TOKENIZER, tmp_path / "out")
    (tmp_path / "out" / name).unlink()
    with pytest.raises(MissingFile) as caught:
        load_detector(str(tmp_path / "out"))
    assert caught.value.code == "missing-file"
    named = Counter(re.findall(r"config\.json|model\.safetensors|vocab\.txt", str(caught.value)))
    assert named.most_common(1) == [(name, 2)]  # as missing, and in the list of what a folder holds
    assert named.total() == 4


@pytest.mark.parametrize(
    "name, content, code, named",
    [
        ("config.json", "{", "unreadable-json", ""),
        ("config.json", '{"swim_dim": 3}', "unknown-key", "swim_dim"),
        ("model.safetensors", "x", "unreadable-tensors", ""),
        ("task.json", '{"phrases": ["raccoon"]}', "bad-value", "phrases"),
        ("vocab.txt", "x\n", "bad-vocabulary", ""),
    ],
)
def test_damaged_folder_names_the_file(model, tmp_path, name, content, code, named):
    save(model, TOKENIZER, tmp_path / "out")
    (tmp_path / "out" / name).write_text(content)
    with pytest.raises(GLIPError) as caught:
        load_detector(str(tmp_path / "out"))
    assert caught.value.code == code
    assert str(tmp_path / "out" / name) in str(caught.value)
    assert named in str(caught.value)


def test_weights_of_another_config_are_listed(model, tmp_path):
    config = save(model, TOKENIZER, tmp_path / "out") / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"rounds": 2}))
    with pytest.raises(CheckpointError) as caught:
        load_detector(str(tmp_path / "out"))
    assert caught.value.code == "other-tensors"
    assert str(tmp_path / "out" / "model.safetensors") in str(caught.value)
    assert "dyhead.rounds.1" in str(caught.value)


# -- conversion


def test_conversion_there_and_back(pth, model, tmp_path):
    convert_weights(pth, tmp_path / "folder")
    convert_weights(tmp_path / "folder", tmp_path / "back.pth")
    assert_same_weights(load_detector(str(tmp_path / "folder")).model, model)
    first, last = (
        torch.load(path, weights_only=True)["model"] for path in (pth, tmp_path / "back.pth")
    )
    assert first.keys() == last.keys()
    assert all(torch.equal(first[key], last[key]) for key in first)


def test_conversion_takes_a_vocabulary(pth, tmp_path):
    alone = shutil.copy(pth, tmp_path / "x.pth")
    convert_weights(alone, tmp_path / "folder", vocab=NANO_VOCAB)
    assert (tmp_path / "folder" / "vocab.txt").read_bytes() == NANO_VOCAB.read_bytes()
    with pytest.raises(GLIPError) as caught:
        convert_weights(tmp_path / "folder", tmp_path / "back.pth", vocab=NANO_VOCAB)
    assert caught.value.code == "option-without-use"
    assert repr(str(NANO_VOCAB)) in str(caught.value)


def test_conversion_overwrites_nothing(pth, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "photo.jpg").touch()
    for target in (tmp_path / "out", tmp_path / "out" / "photo.jpg"):
        with pytest.raises(GLIPError) as refused:
            convert_weights(pth, target)
        assert refused.value.code == "file-exists"
    (tmp_path / "empty").mkdir()
    convert_weights(pth, tmp_path / "empty")


def test_conversion_of_a_folder_to_a_folder_keeps_the_task(model, tmp_path):
    save(model, TOKENIZER, tmp_path / "run" / "detector", TASK)
    convert_weights(tmp_path / "run", tmp_path / "v1.5")
    loaded = load_detector(str(tmp_path / "v1.5"))
    assert loaded.task == TASK
    assert_same_weights(loaded.model, model)


@pytest.mark.parametrize(
    "name", ["m.onnx", "m.engine", "m.pt2", "m.tflite", "m.safetensors", "m.PTH", "m.x1"]
)
def test_conversion_writes_no_unknown_ending(pth, model, tmp_path, name):
    folder = save(model, TOKENIZER, tmp_path / "folder")
    for source in (folder, pth):
        with pytest.raises(GLIPError) as caught:
            convert_weights(source, tmp_path / name)
        assert caught.value.code == "unknown-ending"
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]
    (tmp_path / name).mkdir()  # a folder that is there, whatever it is called
    assert convert_weights(folder, tmp_path / name) == tmp_path / name


@pytest.mark.parametrize("options", [{"half": True}, {"without_text": True}])
def test_conversion__options_for_folders_are_refused_for_files(pth, model, tmp_path, options):
    folder = save(model, TOKENIZER, tmp_path / "folder")
    for source, given in ((folder, options), (pth, options), (pth, {})):
        with pytest.raises(GLIPError) as caught:
            convert_weights(source, tmp_path / "m.pt", **given)
        assert caught.value.code == "unknown-ending"
    convert_weights(folder, tmp_path / "m.pt")
    assert_same_weights(load_detector(str(tmp_path / "folder")).model, model)


# -- the Hub


@pytest.mark.parametrize("offline", [False, True])
def test_download_happens_once(hub, model, monkeypatch, offline):
    assert_same_weights(load_detector("glip-small").model, model)
    asked = len(hub.requests)
    assert hub.count("GET") == 2  # weights and vocabulary
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", offline)
    assert_same_weights(load_detector("glip-small").model, model)
    assert len(hub.requests) == asked


def test_download_is_announced_with_size_and_licence(hub, capsys, pth):
    load_detector("glip-small")
    said = capsys.readouterr().err.splitlines()
    (weights,) = [line for line in said if "glip_small.pth" in line and WEIGHTS.repo in line]
    assert f"{pth.stat().st_size / 1e6:.1f} MB" in weights
    assert WEIGHTS.licence in weights
    (vocab,) = [line for line in said if "vocab.txt" in line and "bert-base-uncased" in line]
    assert "Apache-2.0" in vocab
    load_detector("glip-small")
    again = capsys.readouterr().err
    assert "glip_small.pth" not in again
    assert "vocab.txt" not in again


def test_broken_off_download_goes_on_where_it_stopped(hub, model, monkeypatch):
    # whole chunks survive, and the file is small
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 10_000)
    hub.break_after.append(100_000)
    assert_same_weights(load_detector("glip-small").model, model)
    ranges = [request.range for request in hub.requests if request.method == "GET"]
    assert ranges[0] is None
    assert re.fullmatch(r"bytes=[1-9]\d*-", ranges[1])


def test_wrong_length_is_detected_and_nothing_is_kept(hub, model):
    hub.cut_to = 100_000
    with pytest.raises(DownloadError) as caught:
        load_detector("glip-small")
    assert caught.value.code == "download-failed"
    assert [value in str(caught.value) for value in (WEIGHTS.name, WEIGHTS.repo, "100000")] == [
        True
    ] * 3
    hub.cut_to = None
    assert_same_weights(load_detector("glip-small").model, model)


def test_offline_without_cache_says_what_to_do(hub, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(DownloadError) as caught:
        load_detector("glip-small")
    message = str(caught.value)
    assert caught.value.code == "download-failed"
    assert "HF_HUB_OFFLINE" in message
    assert f"{hub.url}/GLIPModel/GLIP/resolve/main/glip_small.pth" in message
    assert hub.requests == []


def test_missing_vocabulary_says_where_to_put_it(hub, tmp_path, monkeypatch, pth):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    alone = shutil.copy(pth, tmp_path / "x.pth")
    with pytest.raises(DownloadError) as caught:
        load_detector(str(alone))
    assert caught.value.code == "download-failed"
    assert f"{hub.url}/{OFFICIAL_VOCAB.repo}/resolve/main/vocab.txt" in str(caught.value)
    # what is missing, its address, what its copy has to be called
    assert str(caught.value).count("vocab.txt") == 3


def test_absent_file_is_named(hub):
    del hub.files[f"{WEIGHTS.repo}/{WEIGHTS.name}"]
    hub.files[f"{WEIGHTS.repo}/README.md"] = b"moved"
    with pytest.raises(NotInRepository) as caught:
        load_detector("glip-small")
    assert [value in str(caught.value) for value in (WEIGHTS.name, WEIGHTS.repo, "404")] == [
        True
    ] * 3


def test_web_page_instead_of_the_hub_is_named(hub):
    hub.web_page = True
    with pytest.raises(DownloadError, match=r"glip_small\.pth") as caught:
        load_detector("glip-small")
    assert caught.value.code == "download-failed"
    assert constants.HUGGINGFACE_HEADER_X_REPO_COMMIT in str(caught.value)  # which its answer lacks


@pytest.mark.parametrize("task", [None, TASK])
def test_repository_with_an_exchange_folder_is_a_detector(hub, model, tmp_path, monkeypatch, task):
    save(model, TOKENIZER, tmp_path / "out", task)
    hub.files |= {
        f"user/raccoons/{name}": content for name, content in snapshot(tmp_path / "out").items()
    }
    loaded = load_detector("user/raccoons")
    assert (loaded.name, loaded.weights, loaded.task) == ("user/raccoons", "folder", task)
    assert_same_weights(loaded.model, model)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert load_detector("user/raccoons").task == task


def test_repository_without_a_vocabulary_where_none_is_needed(hub, tmp_path):
    model = DynamicHead(replace(SMALL, fusion=False, classes=5))
    save(model, ClassTokenizer(5), tmp_path / "out", TASK)
    hub.files |= {
        f"user/table/{name}": content for name, content in snapshot(tmp_path / "out").items()
    }
    assert len(load_tokenizer("user/table")) == 5
    assert {request.path.rpartition("/")[2] for request in hub.requests} == {"config.json"}
    loaded = load_detector("user/table")
    assert (loaded.name, loaded.task) == ("user/table", TASK)
    assert_same_weights(loaded.model, model)


def test_repository_s_vocabulary_alone(hub, model, tmp_path):
    save(model, TOKENIZER, tmp_path / "out")
    hub.files |= {
        f"user/raccoons/{name}": content for name, content in snapshot(tmp_path / "out").items()
    }
    assert len(load_tokenizer("user/raccoons")) == len(TOKENIZER)
    assert {request.path.rpartition("/")[2] for request in hub.requests} == {
        "config.json",
        "vocab.txt",
    }


def test_a_mistyped_folder_is_not_blamed_on_the_hub_alone(hub, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # where there is no folder runs
    with pytest.raises(DownloadError, match=r"detector='runs/raccoon' .*config\.json") as caught:
        load_detector("runs/raccoon")
    assert caught.value.code == "download-failed"


@pytest.mark.slow
def test_environment_chooses_the_endpoint_and_the_cache(hub, model, tmp_path):
    """What the other tests patch in the Hub client is what its documented variables set."""
    save(model, TOKENIZER, tmp_path / "out")
    hub.files |= {
        f"user/raccoons/{name}": content for name, content in snapshot(tmp_path / "out").items()
    }
    code = "from glip_lightning.weights.load import load_detector\n"
    code += "print(load_detector('user/raccoons').name)"
    variables = {
        "HF_ENDPOINT": hub.url,
        "HF_HUB_CACHE": str(tmp_path / "other"),
        "HF_HUB_OFFLINE": "0",
    }
    result = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | variables,
        capture_output=True,
        text=True,
        check=True,
    )
    assert result.stdout.strip() == "user/raccoons"
    assert (
        tmp_path / "other" / "models--user--raccoons" / "snapshots" / COMMIT / "vocab.txt"
    ).is_file()
