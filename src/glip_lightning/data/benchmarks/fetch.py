"""One large file over HTTP: goes on after a break or a kill, and never takes something else for the file.

What has arrived stands in ``<file>.part``, and in ``<file>.part.json`` of which state of the file it is a part.
"""

import http.client
import json
import logging
import shutil
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path
from typing import NamedTuple

from glip_lightning import __version__
from glip_lightning.common.files import regular_file, write_text
from glip_lightning.common.schema import parse_json

log = logging.getLogger(__name__)

TRIES = 5  # in a row that bring nothing new
TIMEOUT = 60.0  # seconds without a byte
LONGEST_WAIT = 60.0  # seconds between tries, whatever the server asks for
CHUNK = 1 << 20
ZIP_START = (b"PK\x03\x04", b"PK\x05\x06")  # of a zip file, of an empty one
TEMPORARY = {408, 425, 429, 500, 502, 503, 504}
REFUSED = {
    401: "it wants a token: set HF_TOKEN to one that may read it, or name a mirror",
    403: "access is refused: set HF_TOKEN to a token that may read it, check your proxy, or name a mirror",
    404: "there is no such file: check the mirror's address, which has to be that of the folder with the zip files",
}


Report = Callable[[int, int | None], None]
"""Takes the bytes that are there, and of how many if that is known."""


class Broken(Exception):
    """A try failed in a way that another may not; ``wait`` seconds are asked for before it."""

    def __init__(self, reason: object, wait: float = 0.0) -> None:
        super().__init__(str(reason) or type(reason).__name__)
        self.wait = wait


class State(NamedTuple):
    """Which state of a file on a server a part belongs to."""

    url: str
    validator: str | None  # ETag or Last-Modified; without one a part cannot be continued
    total: int | None  # bytes, if the server says so


class Part:
    """The beginning of a file, and the note of what it is the beginning of."""

    def __init__(self, target: Path) -> None:
        self.path = target.with_name(target.name + ".part")
        self._note = target.with_name(target.name + ".part.json")

    @property
    def size(self) -> int:
        return self.path.stat().st_size if self.path.exists() else 0

    def state(self) -> State | None:
        """None if nothing can be continued."""
        try:
            content = parse_json(regular_file(self._note).read_text(encoding="utf-8"), str(self._note))
            state = State(**content)
        except (OSError, ValueError, TypeError):  # none, or not ours
            return None
        if not isinstance(state.url, str) or type(state.total) not in (int, type(None)):
            return None
        return state if state.validator and self.size and self.size <= (state.total or self.size) else None

    def begin(self, state: State) -> None:
        self.remove()
        write_text(self._note, json.dumps(state._asdict()))

    def complete(self, url: str) -> bool:
        state = self.state()
        return state is not None and state.url == url and state.total == self.size

    def remove(self) -> None:
        self._note.unlink(missing_ok=True)
        self.path.unlink(missing_ok=True)


def fetch_zip(
    url: str, target: Path, token: str | None = None, report: Report = lambda done, total: None, pause: float = 1.0
) -> Part:
    """Get the zip file at ``url`` as the part of ``target``, continuing what is there; all of it has arrived then.

    A broken connection, a timeout or a fault of the server is tried again after ``pause`` seconds, then twice as
    many, and so on, until :data:`TRIES` tries in a row brought nothing new.

    Raises:
        ConnectionError: that many tries failed; what arrived stays.
        ValueError: the address gives no zip file.
        OSError: the server refuses, or there is not enough room.
    """
    part = Part(target)
    furthest, failures = part.size if part.state() else 0, 0
    while not part.complete(url):
        try:
            _attempt(url, part, token, report)
            break
        except Broken as broken:
            failures = 1 if part.size > furthest else failures + 1
            furthest = max(furthest, part.size)
            if failures == TRIES:
                raise ConnectionError(
                    f"{url}: {broken} ({TRIES} tries without progress); the {part.size} bytes that arrived are kept: "
                    "run the same command later to go on, or name another mirror"
                ) from broken
            wait = min(max(pause * 2 ** (failures - 1), broken.wait), LONGEST_WAIT)
            log.warning("%s: %s; trying again in %.0f s", url, broken, wait)
            time.sleep(wait)
    return part


def _attempt(url: str, part: Part, token: str | None, report: Report) -> None:
    known = part.state()
    if known is not None and known.url != url:
        known = None
    with _open(url, known, part, token) as response:
        start = _start(response, known, part)
        state = _state(url, response, start)
        chunks = _chunks(response)
        first = next(chunks, b"")
        if start == 0:
            if known is not None:
                log.warning("%s: changed, or the server cannot go on in the middle; from the beginning again", url)
            _check_zip(url, response, first)
            _check_space(url, part.path.parent, state.total)
            part.begin(state)
        done = start
        with part.path.open("ab") as file:
            for chunk in chain([first], chunks):
                done += file.write(chunk)
                report(done, state.total)
    if state.total is not None and done != state.total:
        raise Broken(f"the connection broke after {done} of {state.total} bytes")


def _open(url: str, known: State | None, part: Part, token: str | None) -> http.client.HTTPResponse:
    """Ask for the file, or for the rest of it if it is still the same."""
    request = urllib.request.Request(url, headers={"User-Agent": f"glip-lightning/{__version__}"})
    request.add_header("Accept-Encoding", "identity")
    if token:  # not sent on to where the Hub redirects
        request.add_unredirected_header("Authorization", f"Bearer {token}")
    if known is not None and known.validator:
        request.add_header("Range", f"bytes={part.size}-")
        request.add_header("If-Range", known.validator)
    try:
        return urllib.request.urlopen(request, timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        raise _refusal(url, error, part) from error
    except (OSError, http.client.HTTPException) as error:  # URLError, timeouts, resets
        raise Broken(getattr(error, "reason", error)) from error


def _refusal(url: str, error: urllib.error.HTTPError, part: Part) -> Exception:
    with error:
        if error.code == 416:  # the part is longer than the file
            part.remove()
            return Broken("the file on the server has become shorter")
        if error.code in TEMPORARY:
            asked = error.headers.get("Retry-After") or ""
            return Broken(f"the server answers {error.code} {error.reason}", float(asked) if asked.isdigit() else 0.0)
        advice = REFUSED.get(error.code, "the server does not give it: check the address, or name another mirror")
        return OSError(f"{url}: the server answers {error.code} {error.reason}; {advice}")


def _start(response: http.client.HTTPResponse, known: State | None, part: Part) -> int:
    """Where the answer begins: at the end of the part, or at 0 if the server starts anew."""
    if response.status != 206:
        return 0
    unit, _, content = response.headers.get("Content-Range", "").partition(" ")
    first, total = content.split("-")[0], content.rpartition("/")[2]
    same = known is not None and _validator(response) in (None, known.validator)
    if unit == "bytes" and first == str(part.size) and same and total in (str(known.total), "*"):
        return part.size
    part.remove()
    raise Broken("the file has changed on the server; starting anew")


def _state(url: str, response: http.client.HTTPResponse, start: int) -> State:
    length = response.headers.get("Content-Length", "")
    return State(url, _validator(response), start + int(length) if length.isdigit() else None)


def _validator(response: http.client.HTTPResponse) -> str | None:
    """What If-Range takes: weak ETags do not promise equal bytes (RFC 9110, 13.1.5)."""
    etag = response.headers.get("ETag")
    return etag if etag and not etag.startswith("W/") else response.headers.get("Last-Modified")


def _chunks(response: http.client.HTTPResponse) -> Iterator[bytes]:
    """The body as it arrives, so that a kill loses next to nothing."""
    try:
        while chunk := response.read1(CHUNK):
            yield chunk
    except (OSError, http.client.HTTPException) as error:
        raise Broken(f"the connection broke ({error or type(error).__name__})") from error


def _check_zip(url: str, response: http.client.HTTPResponse, first: bytes) -> None:
    """Proxies, log-in pages and wrong addresses answer 200 with a page."""
    if not first:
        raise Broken("the server sent nothing")
    if not first.startswith(ZIP_START):
        words = " ".join(first[:400].decode("utf-8", "replace").split())[:80]
        kind = response.headers.get_content_type()
        raise ValueError(
            f"{url}: not a zip file but {kind}, which begins {words!r}; open the address in a browser: "
            "a proxy or a log-in may stand in between, or the mirror's address is wrong"
        )


def _check_space(url: str, folder: Path, total: int | None) -> None:
    free = shutil.disk_usage(folder).free
    if total is not None and free < 2 * total:  # the unpacked pictures are as large as the zip, or more
        raise OSError(
            f"{folder}: {free / 1e9:.1f} GB are free, but {url} needs {2 * total / 1e9:.1f} GB for the zip file "
            "and what is in it; make room or choose another --root"
        )
