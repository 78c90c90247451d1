"""One file from a server that breaks off, lies, changes its mind, or is none."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from glip_lightning.data.benchmarks import fetch
from glip_lightning.data.benchmarks.fetch import TRIES, Part, fetch_zip
from zip_server import Server, running_server, zip_of

CONTENT = zip_of({"noise": np.random.default_rng(0).bytes(300_000)})
OTHER = zip_of({"noise": np.random.default_rng(1).bytes(300_000)})


@pytest.fixture
def server() -> Iterator[Server]:
    with running_server() as running:
        running.files["/a.zip"] = CONTENT
        yield running


def get(server: Server, folder: Path, name: str = "a.zip", token: str | None = None) -> Part:
    return fetch_zip(f"{server.url}/{name}", folder / name, token, pause=0.0)


def ranges(server: Server) -> list[str | None]:
    return [request.range for request in server.requests]


def test_a_file(server: Server, tmp_path: Path) -> None:
    seen: list[tuple[int, int | None]] = []
    part = fetch_zip(f"{server.url}/a.zip", tmp_path / "a.zip", report=lambda *numbers: seen.append(numbers))
    assert part.path == tmp_path / "a.zip.part"
    assert part.path.read_bytes() == CONTENT
    assert seen[-1] == (len(CONTENT), len(CONTENT))
    assert ranges(server) == [None]
    get(server, tmp_path)  # all of it is there
    assert ranges(server) == [None]


def test_goes_on_after_breaks(server: Server, tmp_path: Path) -> None:
    """More of them than tries, for each brought something."""
    server.break_after.extend([30_000] * (TRIES + 3))
    assert get(server, tmp_path).path.read_bytes() == CONTENT
    assert ranges(server) == [None, *(f"bytes={30_000 * k}-" for k in range(1, TRIES + 4))]
    assert {request.if_range for request in server.requests[1:]} != {None}


def test_breaks_without_progress_end_and_what_arrived_is_kept(server: Server, tmp_path: Path) -> None:
    server.break_after.extend([1000] + [0] * TRIES)
    with pytest.raises(ConnectionError, match=rf"broke after 1000 of {len(CONTENT)} bytes .*the 1000 bytes that arr"):
        get(server, tmp_path)
    assert (tmp_path / "a.zip.part").read_bytes() == CONTENT[:1000]
    server.break_after.clear()
    assert get(server, tmp_path).path.read_bytes() == CONTENT
    assert ranges(server)[-1] == "bytes=1000-"


def test_nobody_answers(tmp_path: Path) -> None:
    with running_server() as server:
        url = f"{server.url}/a.zip"
    with pytest.raises(ConnectionError, match=r"refused.* \(5 tries without progress\)"):
        fetch_zip(url, tmp_path / "a.zip", pause=0.0)


def test_silence_is_a_break(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch, "TIMEOUT", 0.2)
    server.hold_after = len(CONTENT) - 100
    assert get(server, tmp_path).path.read_bytes() == CONTENT  # the last 100 bytes on their own are sent at once
    assert ranges(server) == [None, f"bytes={len(CONTENT) - 100}-"]


def test_a_server_that_cannot_go_on_starts_anew(server: Server, tmp_path: Path) -> None:
    server.ranges = False
    server.break_after.append(1000)
    assert get(server, tmp_path).path.read_bytes() == CONTENT
    assert ranges(server) == [None, "bytes=1000-"]


@pytest.mark.parametrize("if_range", [True, False])
@pytest.mark.parametrize("other", [OTHER, OTHER + b"longer", zip_of({"short": b"x"})])
def test_a_file_that_changes_in_between(server: Server, tmp_path: Path, if_range: bool, other: bytes) -> None:
    server.if_range = if_range
    server.break_after.extend([1000] + [0] * TRIES)
    with pytest.raises(ConnectionError):
        get(server, tmp_path)
    server.break_after.clear()
    server.files["/a.zip"] = other
    assert get(server, tmp_path).path.read_bytes() == other


def test_without_a_validator_nothing_is_pieced_together(server: Server, tmp_path: Path) -> None:
    server.validators = False
    server.break_after.append(1000)
    assert get(server, tmp_path).path.read_bytes() == CONTENT
    assert ranges(server) == [None, None]


@pytest.mark.parametrize("etag", ['W/"weak"', ""])
def test_a_weak_etag_is_no_validator(server: Server, tmp_path: Path, etag: str) -> None:
    server.validators = False
    server.headers = {"ETag": etag, "Last-Modified": "Mon, 01 Jan 2024 00:00:00 GMT"}
    server.if_range = False
    server.break_after.append(1000)
    assert get(server, tmp_path).path.read_bytes() == CONTENT
    assert server.requests[1].if_range == "Mon, 01 Jan 2024 00:00:00 GMT"


def test_unknown_length(server: Server, tmp_path: Path) -> None:
    server.chunked = True
    assert get(server, tmp_path).path.read_bytes() == CONTENT


def test_more_declared_than_sent(server: Server, tmp_path: Path) -> None:
    server.declare = 50
    with pytest.raises(ConnectionError, match=f"broke after {len(CONTENT)} of {len(CONTENT) + 50} bytes"):
        get(server, tmp_path)
    assert len(server.requests) < 3 * TRIES


def test_another_part_is_not_continued(server: Server, tmp_path: Path) -> None:
    """Of another address, without its note, with a broken note."""
    server.files["/b.zip"] = OTHER
    server.break_after.extend([1000] + [0] * TRIES)
    with pytest.raises(ConnectionError):
        get(server, tmp_path)
    server.break_after.clear()
    assert fetch_zip(f"{server.url}/b.zip", tmp_path / "a.zip").path.read_bytes() == OTHER
    odd = {"url": f"{server.url}/a.zip", "validator": '"1"', "total": "many"}
    for note in (None, "{", "[1]", "[" * 100_000, '{"url": 1}', json.dumps(odd)):
        Part(tmp_path / "a.zip").remove()
        (tmp_path / "a.zip.part").write_bytes(b"something")
        if note:
            (tmp_path / "a.zip.part.json").write_text(note)
        assert get(server, tmp_path).path.read_bytes() == CONTENT


@pytest.mark.parametrize("resumed", [False, True])
def test_a_web_page_is_no_zip_file(server: Server, tmp_path: Path, resumed: bool) -> None:
    if resumed:
        server.break_after.extend([1000] + [0] * TRIES)
        with pytest.raises(ConnectionError):
            get(server, tmp_path)
        server.break_after.clear()
    server.web_page = True
    with pytest.raises(ValueError, match=r"/a\.zip: not a zip file but text/html, .*'<!DOCTYPE html> <html><title>Pl"):
        get(server, tmp_path)
    assert Part(tmp_path / "a.zip").size == (1000 if resumed else 0)
    server.web_page = False
    assert get(server, tmp_path).path.read_bytes() == CONTENT


@pytest.mark.parametrize(
    "status, advice", [(401, "wants a token"), (403, "access is refused"), (404, "no such file"), (410, "check the")]
)
def test_refusals_are_not_tried_again(server: Server, tmp_path: Path, status: int, advice: str) -> None:
    server.answers.append(status)
    with pytest.raises(OSError, match=rf"/a\.zip: the server answers {status} .*{advice}"):
        get(server, tmp_path)
    assert len(server.requests) == 1


@pytest.mark.parametrize("status", [429, 500, 503])
def test_faults_of_the_server_are_tried_again(server: Server, tmp_path: Path, status: int) -> None:
    server.answers.extend([status] * (TRIES - 1))
    assert get(server, tmp_path).path.read_bytes() == CONTENT
    server.answers.extend([status] * TRIES)
    with pytest.raises(ConnectionError, match=f"the server answers {status} "):
        get(server, tmp_path, "other.zip")


def test_waits(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []
    monkeypatch.setattr(fetch.time, "sleep", waits.append)
    server.answers.extend([500, 500, 500])
    fetch_zip(f"{server.url}/a.zip", tmp_path / "a.zip", pause=1.5)
    assert waits == [1.5, 3, 6]
    server.headers["Retry-After"] = "7"
    server.answers.append(503)
    fetch_zip(f"{server.url}/a.zip", tmp_path / "b.zip")
    assert waits.pop() == 7
    server.headers["Retry-After"] = "86400"
    server.answers.append(503)
    fetch_zip(f"{server.url}/a.zip", tmp_path / "c.zip")
    assert waits.pop() == fetch.LONGEST_WAIT


def test_a_redirection_does_not_get_the_token(server: Server, tmp_path: Path) -> None:
    with running_server() as elsewhere:
        elsewhere.files["/stored"] = CONTENT
        server.answers.append(302)
        server.headers["X-Elsewhere"] = f"{elsewhere.url}/stored"
        assert get(server, tmp_path, token="secret").path.read_bytes() == CONTENT
        assert server.requests[0].authorization == "Bearer secret"
        assert elsewhere.requests[0].authorization is None


def test_no_room(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch.shutil, "disk_usage", lambda _: type("Usage", (), {"free": len(CONTENT)}))
    with pytest.raises(OSError, match=r"0\.0 GB are free, but .* needs 0\.0 GB .*choose another --root"):
        get(server, tmp_path)
    assert list(tmp_path.iterdir()) == []
