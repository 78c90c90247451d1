"""A small Hub on 127.0.0.1: enough of its protocol for hf_hub_download, with faults on demand.

Per file the client sends HEAD ``/<repo>/resolve/<revision>/<name>``, reads ETag, X-Repo-Commit and the size
from the headers, then GETs the same address; after a broken connection it goes on with a Range.
"""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import NamedTuple

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Request(NamedTuple):
    method: str
    path: str
    range: str | None


@dataclass
class Hub:
    """Files by ``<repo>/<name>``, everything that was asked for, and what is to go wrong."""

    url: str
    files: dict[str, bytes] = field(default_factory=dict)
    requests: list[Request] = field(default_factory=list)
    break_once_after: int | None = None  # bytes of the next GET, then the connection closes
    cut_to: int | None = None  # every GET sends a shorter file, as if it were complete
    web_page: bool = False  # a proxy answers in the Hub's place

    def count(self, method: str) -> int:
        return sum(request.method == method for request in self.requests)


def _handler(hub: Hub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None: ...

        def do_HEAD(self) -> None:
            self._answer(send_body=False)

        def do_GET(self) -> None:
            self._answer(send_body=True)

        def _answer(self, send_body: bool) -> None:
            if "/resolve/" not in self.path:  # the client reports and asks other things, too
                return self._send(404, b"", {}, send_body)
            hub.requests.append(Request(self.command, self.path, self.headers["Range"]))
            if hub.web_page:
                return self._send(200, b"<!DOCTYPE html><html>please log in</html>", {}, send_body)
            content = hub.files.get(self.path.strip("/").replace("/resolve/main/", "/"))
            headers = {"X-Repo-Commit": COMMIT}
            if content is None:
                return self._send(404, b"", headers | {"X-Error-Code": self._what_is_absent()}, send_body)
            headers |= {"ETag": f'"{hashlib.sha256(content).hexdigest()}"', "Accept-Ranges": "bytes"}
            if not send_body:
                return self._send(200, content, headers, send_body)
            start = int((self.headers["Range"] or "bytes=0-")[6:].split("-")[0])
            return self._send(206 if start else 200, content[start : hub.cut_to], headers, send_body)

        def _what_is_absent(self) -> str:
            repo = "/".join(self.path.split("/")[1:3])
            return "EntryNotFound" if any(name.startswith(repo + "/") for name in hub.files) else "RepoNotFound"

        def _send(self, status: int, body: bytes, headers: dict[str, str], send_body: bool) -> None:
            self.send_response(status)
            for name, value in (headers | {"Content-Length": str(len(body))}).items():
                self.send_header(name, value)
            self.end_headers()
            if send_body and hub.break_once_after is not None:
                self.wfile.write(body[: hub.break_once_after])
                hub.break_once_after = None
                self.close_connection = True
            elif send_body:
                self.wfile.write(body)

    return Handler


@contextmanager
def running_hub() -> Iterator[Hub]:
    hub = Hub(url="")
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(hub))
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
