"""A headless Chromium, driven through its own pipe: a page is opened, looked at, and used with a mouse."""

from __future__ import annotations

import json
import os
import select
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
CHROMIUM = next(filter(None, map(shutil.which, BROWSERS)), None)
MISSING = f"no browser is here: none of {', '.join(BROWSERS)}"
SECONDS = 120
"""A browser that starts beside a test on every core takes a quarter of this."""
QUIET = ("--no-first-run", "--disable-extensions", "--disable-sync", "--disable-background-networking")
"""What a test does not need and a start waits for."""


class Browser:
    """One tab. `problems` collects exceptions, errors and what the page's policy blocked; `requests` every address."""

    def __init__(self, writer: int, reader: int, log: Path) -> None:
        self._writer, self._reader, self._log = writer, reader, log
        self._buffer = b""
        self._number = 0
        self.problems: list[str] = []
        self.requests: list[str] = []
        target = self._call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self._call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self._call(f"{domain}.enable")

    _session: str | None = None

    def open(self, page: Path, *, width: int = 1280, height: int = 900, dark: bool = False) -> None:
        """Open a file in a window of this size."""
        self._call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self._call("Emulation.setEmulatedMedia", features=[scheme])
        self._call("Page.navigate", url=page.absolute().as_uri())
        self.until("document.readyState === 'complete'")

    def value(self, expression: str) -> Any:
        """What an expression is in the page."""
        answer = self._call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def until(self, expression: str) -> None:
        """Wait until an expression is true in the page."""
        for _ in range(SECONDS * 20):
            if self.value(expression):
                return
            time.sleep(0.05)
        raise AssertionError(f"never: {expression}")

    def drag(self, start: tuple[float, float], end: tuple[float, float]) -> None:
        """Press the mouse at one point of the window and let go at another."""
        middle = ((start[0] + end[0]) / 2, (start[1] + end[1]) / 2)
        moves = [
            ("mouseMoved", start, 0),
            ("mousePressed", start, 1),
            ("mouseMoved", middle, 1),
            ("mouseMoved", end, 1),
        ]
        for kind, (x, y), buttons in [*moves, ("mouseReleased", end, 0)]:
            self._call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", buttons=buttons, clickCount=1)

    def _call(self, method: str, **parameters: Any) -> dict[str, Any]:
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._writer, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._read()
            if answer.get("id") == self._number:
                assert "error" not in answer, answer["error"]
                return answer["result"]
            self._note(answer)

    def _read(self) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._reader], [], [], SECONDS)
            read = os.read(self._reader, 1 << 20) if ready else b""
            assert read, f"the browser {'ended' if ready else 'does not answer'}: {self._log.read_text()[-2000:]}"
            self._buffer += read
        message, _, self._buffer = self._buffer.partition(b"\0")
        return json.loads(message)

    def _note(self, event: dict[str, Any]) -> None:
        method, given = event.get("method"), event.get("params", {})
        if method == "Runtime.exceptionThrown":
            self.problems.append(json.dumps(given["exceptionDetails"])[:2000])
        elif method == "Log.entryAdded" and given["entry"]["level"] == "error":
            self.problems.append(given["entry"]["text"])
        elif method == "Runtime.consoleAPICalled" and given["type"] == "error":
            self.problems.append(json.dumps(given["args"])[:2000])
        elif method == "Page.javascriptDialogOpening":
            self.problems.append(f"a dialog: {given['message']}")
            self._call("Page.handleJavaScriptDialog", accept=True)
        elif method == "Network.requestWillBeSent":
            self.requests.append(given["request"]["url"])


@contextmanager
def browser(profile: Path) -> Iterator[Browser]:
    """A browser, closed at the end."""
    assert CHROMIUM is not None
    to_read, writer = os.pipe()
    reader, to_write = os.pipe()

    def at_three_and_four() -> None:
        one, other = os.dup(to_read), os.dup(to_write)  # out of the way of what is at 3 and 4 now
        os.dup2(one, 3)
        os.dup2(other, 4)

    flags = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-proxy-server", *QUIET)
    log = profile / "stderr.txt"
    with log.open("wb") as stderr:
        process = subprocess.Popen(
            [CHROMIUM, *flags, "--remote-debugging-pipe", f"--user-data-dir={profile}"],
            preexec_fn=at_three_and_four,
            pass_fds=(3, 4),
            stdout=subprocess.DEVNULL,
            stderr=stderr,
            start_new_session=True,
        )
    os.close(to_read)
    os.close(to_write)
    try:
        yield Browser(writer, reader, log)
    finally:
        os.close(writer)
        os.close(reader)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # all of its processes, which may be too busy to end by themselves
        process.wait(timeout=SECONDS)
