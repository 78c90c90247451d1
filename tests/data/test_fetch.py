"""One file from a server that breaks off, lies, changes its mind, or is none."""

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from huggingface_hub import constants, file_download

from glip_lightning.common.errors import GLIPError
from glip_lightning.data.benchmarks.fetch import fetch
from hub_server import Hub, running_hub

CONTENT = np.random.default_rng(0).bytes(300_000)
DIGEST = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture(autouse=True)
def _small_and_fast(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the client from waiting a second before each try, and from writing 10 MB at once.

    Of an answer that breaks off, it loses what is less than it writes at once.
    """
    monkeypatch.setattr(file_download.time, "sleep", lambda _: None)
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 1000)


@pytest.fixture
def server() -> Iterator[Hub]:
    with running_hub() as running:
        running.files["files/a.zip"] = CONTENT
        yield running


def get(
    server: Hub, folder: Path, sha256: str | None = DIGEST, headers: dict[str, str] | None = None
) -> str:
    return fetch(f"{server.url}/files/a.zip", folder / "a.zip", len(CONTENT), sha256, headers)


def refused(server: Hub, folder: Path, sha256: str | None = DIGEST) -> GLIPError:
    with pytest.raises(GLIPError) as caught:
        get(server, folder, sha256)
    assert not (folder / "a.zip").exists()
    return caught.value


def parts(folder: Path) -> list[int]:
    return [path.stat().st_size for path in folder.glob("a.zip.*")]


@pytest.mark.parametrize("sha256", [DIGEST, None])
def test_a_file(server: Hub, tmp_path: Path, sha256: str | None) -> None:
    assert get(server, tmp_path, sha256) == DIGEST
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [CONTENT]
    assert server.asked() == [None]


def test_goes_on_after_breaks(server: Hub, tmp_path: Path) -> None:
    """More of them than tries, for each brought something."""
    server.break_after.extend([30_000] * 8)
    assert get(server, tmp_path) == DIGEST
    assert server.asked() == [None, *(f"bytes={30_000 * k}-" for k in range(1, 9))]


def test_breaks_without_progress_end_and_what_arrived_is_kept(server: Hub, tmp_path: Path) -> None:
    server.break_after.extend([1000] + [0] * 20)
    error = refused(server, tmp_path)
    assert error.code == "download-failed"
    # bytes that are there, of how many
    assert {"1000", str(len(CONTENT))} <= {*re.findall(r"\d+", str(error))}
    assert parts(tmp_path) == [1000]
    assert len(server.requests) < 10
    server.break_after.clear()
    assert get(server, tmp_path) == DIGEST
    assert server.asked()[-1] == "bytes=1000-"
    assert parts(tmp_path) == []


def test_a_complete_part_is_not_fetched_again(server: Hub, tmp_path: Path) -> None:
    """A process was killed after the last byte."""
    (tmp_path / f"a.zip.{DIGEST[:16]}.part").write_bytes(CONTENT)
    assert get(server, tmp_path) == DIGEST
    assert server.requests == []


@pytest.mark.parametrize("part", [CONTENT[:-2] + b"longer", b"x" * 1000])
def test_a_part_of_something_else_does_not_stay(server: Hub, tmp_path: Path, part: bytes) -> None:
    (tmp_path / f"a.zip.{DIGEST[:16]}.part").write_bytes(part)
    if len(part) < len(CONTENT):
        assert refused(server, tmp_path).code == "wrong-digest"
        assert parts(tmp_path) == []
    assert get(server, tmp_path) == DIGEST


def test_a_part_of_another_state_is_not_continued(server: Hub, tmp_path: Path) -> None:
    server.break_after.extend([1000] + [0] * 20)
    assert refused(server, tmp_path, "0" * 64).code == "download-failed"
    server.break_after.clear()
    assert get(server, tmp_path) == DIGEST
    assert server.asked()[-1] is None


def test_without_a_digest_no_part_is_continued(server: Hub, tmp_path: Path) -> None:
    server.break_after.extend([1000] + [0] * 20)
    refused(server, tmp_path, None)
    server.break_after.clear()
    assert get(server, tmp_path, None) == DIGEST
    assert server.asked()[-1] is None


def test_a_server_that_cannot_go_on_starts_anew(server: Hub, tmp_path: Path) -> None:
    server.ranges = False
    server.break_after.append(1000)
    assert get(server, tmp_path) == DIGEST
    assert server.asked() == [None, "bytes=1000-"]


def test_another_file_is_removed(server: Hub, tmp_path: Path) -> None:
    server.files["files/a.zip"] = CONTENT[::-1]
    assert refused(server, tmp_path).code == "wrong-digest"
    assert parts(tmp_path) == []


def test_a_file_that_is_too_short(server: Hub, tmp_path: Path) -> None:
    server.cut_to = 1000
    assert refused(server, tmp_path).code == "download-failed"
    server.cut_to = None
    assert get(server, tmp_path) == DIGEST


def test_a_web_page_is_not_the_file(server: Hub, tmp_path: Path) -> None:
    server.web_page = True
    assert refused(server, tmp_path).code == "download-failed"


def test_a_server_that_does_not_answer(server: Hub, tmp_path: Path) -> None:
    with running_hub() as gone:
        pass
    error = refused(gone, tmp_path)
    assert error.code == "download-failed"
    assert f"{gone.url}/files/a.zip" in str(error)


@pytest.mark.parametrize("status", [401, 403, 404, 500])
def test_refusals(server: Hub, tmp_path: Path, status: int) -> None:
    server.answers.append(status)
    error = refused(server, tmp_path)
    assert error.code == "download-failed"
    assert str(status) in str(error)
    assert len(server.requests) == 1


def test_a_redirection_does_not_get_the_token(server: Hub, tmp_path: Path) -> None:
    with running_hub() as elsewhere:
        elsewhere.files["files/a.zip"] = CONTENT
        server.elsewhere = elsewhere.url.replace("127.0.0.1", "localhost")
        assert get(server, tmp_path, headers={"Authorization": "Bearer secret"}) == DIGEST
        assert server.requests[0].authorization == "Bearer secret"
        assert elsewhere.requests[0].authorization is None
