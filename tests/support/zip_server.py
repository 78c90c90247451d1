"""A server of zip files on 127.0.0.1 that can go on in the middle of a file, with every fault on demand."""

import hashlib
import io
import zipfile
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread
from typing import NamedTuple

PAGE = b"<!DOCTYPE html>\n<html><title>Please log in</title></html>"


class Request(NamedTuple):
    path: str
    range: str | None
    if_range: str | None
    authorization: str | None


@dataclass
class Server:
    """Files by path. A fault stands until it is taken back; those in a deque are used up, one per request."""

    url: str
    files: dict[str, bytes] = field(default_factory=dict)
    requests: list[Request] = field(default_factory=list)
    answers: deque[int] = field(default_factory=deque)  # statuses of the next answers
    break_after: deque[int] = field(default_factory=deque)  # bytes of the next answers, then the connection closes
    headers: dict[str, str] = field(default_factory=dict)  # in every answer
    web_page: bool = False  # a proxy answers in the server's place
    ranges: bool = True  # else it always sends the whole file
    if_range: bool = True  # else it sends the rest of a file that has changed
    validators: bool = True  # else neither ETag nor Last-Modified
    chunked: bool = False  # no Content-Length
    declare: int = 0  # bytes by which Content-Length is too large
    hold_after: int | None = None  # bytes, then it waits for ``go_on``
    held: Event = field(default_factory=Event)
    go_on: Event = field(default_factory=Event)


def _handler(server: Server) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None: ...

        def do_GET(self) -> None:
            asked, condition = self.headers["Range"], self.headers["If-Range"]
            server.requests.append(Request(self.path, asked, condition, self.headers["Authorization"]))
            content = server.files.get(self.path)
            status = server.answers.popleft() if server.answers else 200
            if status in (301, 302):
                return self._send(status, b"", {"Location": server.headers["X-Elsewhere"]})
            if status != 200:
                return self._send(status, b"fault", {})
            if server.web_page:
                return self._send(200, PAGE, {"Content-Type": "text/html; charset=utf-8"})
            if content is None:
                return self._send(404, b"no such file", {})
            self._send_file(content, asked, condition)

        def _send_file(self, content: bytes, asked: str | None, condition: str | None) -> None:
            etag = f'"{hashlib.sha256(content).hexdigest()}"'
            headers = {"ETag": etag} if server.validators else {}
            if not asked or not server.ranges or (server.if_range and condition != etag):
                return self._send(200, content, headers)
            start = int(asked.removeprefix("bytes=").removesuffix("-"))
            if start >= len(content):
                return self._send(416, b"", {"Content-Range": f"bytes */{len(content)}"})
            end = f"{start}-{len(content) - 1}/{len(content)}"
            self._send(206, content[start:], headers | {"Content-Range": f"bytes {end}"})

        def _send(self, status: int, body: bytes, headers: Mapping[str, str]) -> None:
            self.send_response(status)
            length = {"Connection": "close"} if server.chunked else {"Content-Length": str(len(body) + server.declare)}
            for name, value in (server.headers | dict(headers) | length).items():
                self.send_header(name, value)
            self.end_headers()
            self.close_connection = bool(server.break_after or server.declare or server.chunked)
            if status in (200, 206):
                body = body[: server.break_after.popleft()] if server.break_after else body
                if server.hold_after is not None and len(body) > server.hold_after:
                    self.wfile.write(body[: server.hold_after])
                    body = body[server.hold_after :]
                    server.held.set()
                    server.go_on.wait(30)
            self.wfile.write(body)

    return Handler


@contextmanager
def running_server() -> Iterator[Server]:
    server = Server(url="")
    http = ThreadingHTTPServer(("127.0.0.1", 0), _handler(server))
    http.handle_error = lambda *_: None  # clients that are killed
    server.url = f"http://127.0.0.1:{http.server_address[1]}"
    thread = Thread(target=http.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.go_on.set()
        http.shutdown()
        http.server_close()
        thread.join()


def zip_of(files: Mapping[str, bytes]) -> bytes:
    """A stored, not deflated, archive."""
    memory = io.BytesIO()
    with zipfile.ZipFile(memory, "w") as archive:
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name), content)
    return memory.getvalue()
