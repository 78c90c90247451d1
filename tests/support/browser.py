"""A real browser without a window, spoken to over its DevTools pipe: no port, no driver, no
package.

``python tests/support/browser.py PAGE PICTURE WIDTH [dark] [ANCHOR]`` takes a picture of a page to
look at.
"""

import base64
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
QUIET = (
    *(
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-quic",
        "--no-first-run",
        "--disable-extensions",
    ),
    *(
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--hide-scrollbars",
    ),
    *("--disable-dev-shm-usage", "--remote-debugging-pipe"),
)


def find_browser() -> str | None:
    return next((found for name in NAMES if (found := shutil.which(name))), None)


class Page:
    """One tab. ``events`` are all that the browser has told so far."""

    def __init__(self, to: int, answers: int) -> None:
        self._to, self._from = os.fdopen(to, "wb", 0), os.fdopen(answers, "rb")
        self._number, self._session = 0, ""
        self.events: list[dict[str, Any]] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)[
            "sessionId"
        ]
        for domain in ("Page", "Network", "Log", "Runtime"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        self._send(message | ({"sessionId": self._session} if self._session else {}))
        while True:
            answer = self._read()
            if answer.get("id") == self._number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']}")
                return answer["result"]
            self.events.append(answer)

    def open(self, address: str, width: int, dark: bool = False) -> None:
        """Load ``address`` as a screen of ``width`` pixels would, and wait until all of it is
        there.
        """
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=1000,
            deviceScaleFactor=1,
            mobile=width < 600,
        )
        self.events.clear()
        self.call("Page.navigate", url=address)
        while not any(event.get("method") == "Page.loadEventFired" for event in self.events):
            self.events.append(self._read())

    def value(self, script: str) -> Any:
        """What an expression is in the page; the page's own policy does not bind the debugger."""
        answer = self.call("Runtime.evaluate", expression=script, returnByValue=True)
        if "exceptionDetails" in answer:
            raise RuntimeError(str(answer["exceptionDetails"]))
        return answer["result"].get("value")

    def picture(self, top: float = 0, height: float = 2000) -> bytes:
        """PNG of the page from ``top`` on."""
        width = self.value("window.innerWidth")
        clip = {"x": 0, "y": top, "width": width, "height": height, "scale": 1}
        answer = self.call("Page.captureScreenshot", clip=clip, captureBeyondViewport=True)
        return base64.b64decode(answer["data"])

    def requests(self) -> list[str]:
        """Addresses that the page asked for, data within the page left out."""
        sent = [
            e["params"]["request"]["url"]
            for e in self.events
            if e.get("method") == "Network.requestWillBeSent"
        ]
        return [url for url in sent if not url.startswith("data:")]

    def complaints(self) -> list[str]:
        """Errors and warnings of the console, of scripts and of the page's policy."""
        kinds = ("Log.entryAdded", "Runtime.exceptionThrown", "Runtime.consoleAPICalled")
        return [
            json.dumps(event["params"]) for event in self.events if event.get("method") in kinds
        ]

    def _send(self, message: dict[str, Any]) -> None:
        self._to.write(json.dumps(message).encode() + b"\0")

    def _read(self) -> dict[str, Any]:
        found = bytearray()
        while (letter := self._from.read(1)) != b"\0":
            if not letter:
                raise RuntimeError("the browser has gone")
            found += letter
        return json.loads(found)


@contextmanager
def browser() -> Iterator[Page]:
    """A browser with a new profile, which is ended and removed afterwards."""
    program = find_browser()
    assert program is not None
    (commands, to), (answers, out) = os.pipe(), os.pipe()

    def connect() -> None:  # DevTools reads from 3 and writes to 4
        here, there = os.dup(commands), os.dup(out)
        os.dup2(here, 3)
        os.dup2(there, 4)

    profile = tempfile.mkdtemp()
    command = [program, *QUIET, f"--user-data-dir={profile}"]
    process = subprocess.Popen(
        command, preexec_fn=connect, close_fds=False, stderr=subprocess.DEVNULL
    )
    try:
        os.close(commands)
        os.close(out)
        yield Page(to, answers)
    finally:
        process.terminate()
        process.wait(20)
        shutil.rmtree(profile, ignore_errors=True)


if __name__ == "__main__":
    page_file, picture, wide, *more = sys.argv[1:]
    with browser() as shown:
        shown.open(Path(page_file).resolve().as_uri(), int(wide), "dark" in more)
        anchor = next((word for word in more if word != "dark"), "")
        place = (
            f"document.getElementById({json.dumps(anchor)}).getBoundingClientRect().top + scrollY"
            if anchor
            else "0"
        )
        Path(picture).write_bytes(shown.picture(shown.value(place), 2400))
        print(
            shown.requests(),
            shown.complaints(),
            shown.value("document.documentElement.scrollWidth"),
        )
