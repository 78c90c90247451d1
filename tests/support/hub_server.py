"""A small Hub on 127.0.0.1: what huggingface_hub asks of the real one, with faults on demand.

Per file the client sends HEAD ``/<repo>/resolve/<revision>/<name>``, reads ETag, X-Repo-Commit and
the size from the headers, then GETs the same address; after a broken connection it goes on with a
Range. Large files lie elsewhere: the answer is a redirection whose X-Linked-ETag and X-Linked-Size
say what is there. Under any other path the server is one of plain files.

A push creates the repository, has the card's head validated, asks which files are there and which
are large, sends the large ones by the Git LFS protocol and ends with one commit. The server knows
one token.
"""

import base64
import hashlib
import io
import json
import zipfile
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread
from typing import Any, NamedTuple

COMMIT = "0123456789abcdef0123456789abcdef01234567"
TOKEN = "hf_of_the_test"
PAGE = b"<!DOCTYPE html><html>please log in</html>"


class Request(NamedTuple):
    method: str
    path: str
    range: str | None
    authorization: str | None


@dataclass
class Hub:
    """Files by ``<repo>/<name>``, everything that was asked for, and what is to go wrong.

    A fault stands until it is taken back; those in a deque are used up, one per request.
    """

    url: str
    files: dict[str, bytes] = field(default_factory=dict)
    requests: list[Request] = field(default_factory=list)
    answers: deque[int] = field(default_factory=deque)  # statuses of the next answers
    # bytes of the next GETs, then the connection closes
    break_after: deque[int] = field(default_factory=deque)
    cut_to: int | None = None  # every GET sends a shorter file, as if it were complete
    hold_after: int | None = None  # bytes of a GET, then it waits for ``go_on``
    held: Event = field(default_factory=Event)
    go_on: Event = field(default_factory=Event)
    ranges: bool = True  # else it always sends the whole file
    digests: bool = True  # else the ETag is not the SHA-256
    elsewhere: str | None = None  # address of the server to which all GETs are redirected
    web_page: bool = False  # a proxy answers in the Hub's place
    private: dict[str, bool] = field(default_factory=dict)  # repositories that were created
    large: dict[str, bytes] = field(default_factory=dict)  # contents by their SHA-256
    refused: int | None = None  # status of every answer to a push

    def count(self, method: str) -> int:
        return sum(request.method == method for request in self.requests)

    def asked(self) -> list[str | None]:
        """Return the Range of each GET."""
        return [request.range for request in self.requests if request.method == "GET"]


class _Handler(BaseHTTPRequestHandler):
    """Answers as the Hub does; a subclass says from which ``hub``."""

    hub: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None: ...

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        if self.path.startswith("/api/models/"):
            return self._about(self.path.partition("?")[0].removeprefix("/api/models/"))
        self._answer()

    def do_PUT(self) -> None:
        self.hub.large[self.path.rpartition("/")[2]] = self._body()
        self._send(200, b"", {})

    def do_POST(self) -> None:  # noqa: PLR0911 - an answer per address
        body = self._body()
        self.hub.requests.append(Request("POST", self.path, None, self.headers["Authorization"]))
        if self.headers["Authorization"] != f"Bearer {TOKEN}":
            return self._send(401, b"{}", {})
        if self.hub.refused:
            return self._send(self.hub.refused, b'{"error": "refused"}', {})
        if self.path == "/api/repos/create":
            return self._create(json.loads(body))
        if self.path == "/api/validate-yaml":
            return self._json({"errors": [], "warnings": []})
        if "/preupload/" in self.path:
            return self._json({"files": list(map(_upload_mode, json.loads(body)["files"]))})
        if self.path.endswith(".git/info/lfs/objects/batch"):
            return self._json(
                {"objects": [self._place(each) for each in json.loads(body)["objects"]]}
            )
        repo = self.path.removeprefix("/api/models/").removesuffix("/commit/main")
        return self._commit(repo, [json.loads(line) for line in body.splitlines()])

    def _body(self) -> bytes:
        return self.rfile.read(int(self.headers["Content-Length"] or 0))

    def _json(self, content: Any, status: int = 200) -> None:
        self._send(status, json.dumps(content).encode(), {"Content-Type": "application/json"})

    def _create(self, asked: dict[str, Any]) -> None:
        repo = f"{asked['organization']}/{asked['name']}"
        there = repo in self.hub.private
        self.hub.private.setdefault(
            repo, bool(asked.get("private") or asked.get("visibility") == "private")
        )
        self._json({"url": f"{self.hub.url}/{repo}"}, 409 if there else 200)

    def _about(self, asked: str) -> None:
        repo = "/".join(asked.split("/")[:2])
        if repo not in self.hub.private:
            return self._json({"error": "Repository not found"}, 404)
        names = [
            name.removeprefix(f"{repo}/") for name in self.hub.files if name.startswith(f"{repo}/")
        ]
        if "/tree/" in asked:
            sizes = {name: len(self.hub.files[f"{repo}/{name}"]) for name in names}
            return self._json(
                [{"type": "file", "path": k, "size": n, "oid": "0"} for k, n in sizes.items()]
            )
        files = [{"rfilename": name} for name in names]
        self._json(
            {"id": repo, "private": self.hub.private[repo], "sha": COMMIT, "siblings": files}
        )

    def _place(self, wanted: dict[str, Any]) -> dict[str, Any]:
        return wanted | {"actions": {"upload": {"href": f"{self.hub.url}/lfs/{wanted['oid']}"}}}

    def _commit(self, repo: str, lines: list[dict[str, Any]]) -> None:
        for kind, value in ((line["key"], line["value"]) for line in lines):
            if kind == "file":
                self.hub.files[f"{repo}/{value['path']}"] = base64.b64decode(value["content"])
            elif kind == "lfsFile":
                self.hub.files[f"{repo}/{value['path']}"] = self.hub.large[value["oid"]]
            elif kind == "deletedFile":
                del self.hub.files[f"{repo}/{value['path']}"]
        url = f"{self.hub.url}/{repo}/commit/{COMMIT}"
        self._json({"success": True, "commitOid": COMMIT, "commitUrl": url})

    def _answer(self) -> None:
        name = self.path.strip("/").replace("/resolve/main/", "/")
        # the client reports and asks other things, too
        if "/resolve/" not in self.path and name not in self.hub.files:
            return self._send(404, b"", {})
        self.hub.requests.append(
            Request(self.command, self.path, self.headers["Range"], self.headers["Authorization"])
        )
        status = self.hub.answers.popleft() if self.hub.answers else 200
        if status != 200:
            return self._send(status, b"fault", {})
        if self.hub.web_page:
            return self._send(200, PAGE, {})
        if name not in self.hub.files:
            return self._send(
                404, b"", {"X-Repo-Commit": COMMIT, "X-Error-Code": self._what_is_absent()}
            )
        return self._send_file(name, self.hub.files[name])

    def _send_file(self, name: str, content: bytes) -> None:
        etag = f'"{hashlib.sha256(content).hexdigest()[: 64 if self.hub.digests else 40]}"'
        headers = {"X-Repo-Commit": COMMIT, "ETag": etag, "Accept-Ranges": "bytes"}
        if self.hub.elsewhere:
            headers |= {
                "X-Linked-ETag": etag,
                "X-Linked-Size": str(len(content)),
                "ETag": '"other"',
            }
            return self._send(302, b"", headers | {"Location": f"{self.hub.elsewhere}/{name}"})
        if self.command == "HEAD":
            return self._send(200, content, headers)
        start = (
            int((self.headers["Range"] or "bytes=0-")[6:].split("-")[0]) if self.hub.ranges else 0
        )
        if start >= len(content):
            return self._send(416, b"", {"Content-Range": f"bytes */{len(content)}"})
        return self._send(206 if start else 200, content[start : self.hub.cut_to], headers)

    def _what_is_absent(self) -> str:
        repo = "/".join(self.path.split("/")[1:3])
        return (
            "EntryNotFound"
            if any(name.startswith(repo + "/") for name in self.hub.files)
            else "RepoNotFound"
        )

    def _send(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in (headers | {"Content-Length": str(len(body))}).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        if status in (200, 206):
            if self.hub.break_after:
                body = body[: self.hub.break_after.popleft()]
                self.close_connection = True
            if self.hub.hold_after is not None and len(body) > self.hub.hold_after:
                self.wfile.write(body[: self.hub.hold_after])
                body = body[self.hub.hold_after :]
                self.hub.held.set()
                self.hub.go_on.wait(30)
        self.wfile.write(body)


def _handler(hub: Hub) -> type[BaseHTTPRequestHandler]:
    return type("Handler", (_Handler,), {"hub": hub})


def _upload_mode(file: dict[str, Any]) -> dict[str, Any]:
    """Return how the client has to send a file."""
    mode = "lfs" if file["path"].endswith(".safetensors") else "regular"
    return {"path": file["path"], "uploadMode": mode, "shouldIgnore": False}


@contextmanager
def running_hub() -> Iterator[Hub]:
    hub = Hub(url="")
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(hub))
    server.handle_error = lambda *_: None  # type: ignore[method-assign]  # clients that are killed
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        hub.go_on.set()
        server.shutdown()
        server.server_close()
        thread.join()


def zip_of(files: Mapping[str, bytes]) -> bytes:
    """A stored, not deflated, archive."""
    memory = io.BytesIO()
    with zipfile.ZipFile(memory, "w") as archive:
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name), content)
    return memory.getvalue()
