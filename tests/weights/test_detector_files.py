"""What a name of a detector means: a name, a path of this machine, or a Hub repository."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import constants

from glip_lightning.common.errors import GLIPError
from glip_lightning.weights.detector_files import (
    check_detector,
    is_repository,
    load_tokenizer,
    own_settings,
)
from glip_lightning.weights.hub_files import DownloadError
from glip_lightning.weights.load import load_detector
from hub_server import Hub, running_hub


@pytest.fixture(autouse=True)
def working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("raccoon_3", "raccoon_10", "kites", ".hidden"):
        (tmp_path / "runs" / name).mkdir(parents=True)
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with running_hub() as hub:
        template = hub.url + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "ENDPOINT", hub.url)
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        yield hub


@pytest.mark.parametrize(
    "detector",
    [
        "runs/mistyped",
        "./x",
        "../x",
        "/nowhere/x",
        "~/nowhere/x",
        "runs/a/b",
        "nowhere/a/b",
        "OWNER/NAME/",
        "empty/x",
    ],
)
def test_a_path_of_this_machine_is_refused_without_asking_the_hub(hub: Hub, detector: str) -> None:
    assert not is_repository(detector)
    for read in (check_detector, load_tokenizer, load_detector):
        with pytest.raises(GLIPError) as caught:
            read(detector)
        assert caught.value.code == "unknown-detector"
        assert repr(detector) in str(caught.value)
    assert hub.requests == []


@pytest.mark.parametrize("detector", ["runs/racoon_3", "./runs/racoon_3", "runs/racoon_3/"])
def test_near_names_in_the_folder_are_told(detector: str) -> None:
    with pytest.raises(GLIPError) as caught:
        check_detector(detector)
    assert f"did you mean {Path('runs', 'raccoon_3')}" in str(caught.value)
    assert "kites" not in str(caught.value)


def test_the_folder_s_names_are_told_where_none_is_near() -> None:
    with pytest.raises(GLIPError) as caught:
        check_detector("runs/mistyped")
    message = str(caught.value)
    assert [name in message for name in ("raccoon_3", "raccoon_10", "kites")] == [True] * 3
    assert ".hidden" not in message


def test_the_first_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(GLIPError) as caught:
        check_detector("runs/gone/deep/x")
    assert str(Path("runs", "gone")) in str(caught.value)
    assert "deep" not in str(caught.value).replace("runs/gone/deep/x", "")


def test_owner_and_name_ask_the_hub(hub: Hub) -> None:
    check_detector("owner/name")
    assert is_repository("owner/name")
    for read in (load_tokenizer, load_detector, own_settings):
        with pytest.raises(DownloadError) as caught:
            read("owner/name")
        assert caught.value.code == "download-failed"
    assert {request.path for request in hub.requests} == {"/owner/name/resolve/main/config.json"}
