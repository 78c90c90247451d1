"""Files on the Hub: how soon a machine without internet hears of it, and what it can do."""

import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import constants

from glip_lightning.common import registry
from glip_lightning.weights.hub_files import OFFICIAL_VOCAB, DownloadError, hub_file
from glip_lightning.weights.load import load_detector
from hub_server import Hub, running_hub


@pytest.fixture(autouse=True)
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)


def use(monkeypatch: pytest.MonkeyPatch, endpoint: str) -> None:
    template = endpoint + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "ENDPOINT", endpoint)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with running_hub() as hub:
        hub.files[f"{OFFICIAL_VOCAB.repo}/{OFFICIAL_VOCAB.name}"] = b"[PAD]\n"
        use(monkeypatch, hub.url)
        yield hub


def closed_port() -> str:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{listener.getsockname()[1]}"


@pytest.mark.parametrize("place", ["closed port", "unknown host"])
def test_no_connection_is_an_error_within_seconds(
    place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(monkeypatch, closed_port() if place == "closed port" else "http://no-such-host.invalid")
    start = time.monotonic()
    with pytest.raises(DownloadError) as caught:
        load_detector("glip-tiny")
    assert time.monotonic() - start < 5
    assert caught.value.code == "download-failed"
    message = str(caught.value)
    shipped = registry.detector_weights.names()
    assert "glip-nano-c" in shipped
    assert [name for name in shipped if name not in message] == []
    assert "glip_tiny_model_o365_goldg_cc_sbu.pth" in message  # what to get another way


def test_a_server_that_is_busy_for_a_while_is_asked_again(hub: Hub) -> None:
    hub.answers.extend([503, 503, 503])
    assert hub_file(OFFICIAL_VOCAB).read_bytes() == b"[PAD]\n"
    assert hub.count("GET") == 1
