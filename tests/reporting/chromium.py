"""Chromium without a window, behind two pipes.

It speaks its DevTools protocol over file descriptors 3 and 4 (JSON, each message ended by a zero byte), so nothing beyond
Python is needed.
"""

import base64
import fcntl
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome")
KEYS = {  # number, text
    **{"Enter": (13, "\r"), "Escape": (27, ""), " ": (32, " ")},
    **{"ArrowUp": (38, ""), "ArrowRight": (39, ""), "ArrowDown": (40, "")},
}


# For a page's script: how well text is told from what lies behind it (1 to 21).
CONTRAST = """
  const rgb = text => text.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => [r, g, b].map(c => c / 255).map(c => c <= .04045 ? c / 12.92 : ((c + .055) / 1.055) ** 2.4)
    .reduce((sum, c, i) => sum + c * [.2126, .7152, .0722][i], 0);
  const back = node => { for (; node; node = node.parentElement) {
    const colour = rgb(getComputedStyle(node).backgroundColor);
    if (colour.length === 3 || colour[3] > 0) return colour;
  } return [255, 255, 255]; };
  const contrast = node => {
    const [a, b] = [light(rgb(getComputedStyle(node).color)), light(back(node))].sort((x, y) => y - x);
    return (a + .05) / (b + .05);
  };
"""


def find_chromium() -> str:
    """The browser's path; ends with one line that says how to get it."""
    for name in NAMES:
        if path := shutil.which(name):
            return path
    sys.exit("make browser needs Chromium, which is no Python package: on Debian, apt-get install chromium")


class Browser:
    """Chromium behind two pipes: call() one method and wait for its answer; events pile up in `events`."""

    def __init__(self, profile: str):
        theirs, self._write = os.pipe()
        self._read, ours = os.pipe()
        out, back = (fcntl.fcntl(end, fcntl.F_DUPFD, 10) for end in (theirs, ours))  # clear of 3 and 4
        flags = [
            *("--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--no-first-run"),
            *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
            *(
                "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1",
                "--remote-debugging-pipe",
                f"--user-data-dir={profile}",
            ),
        ]
        script = f'exec "$@" 3<&{out} 4>&{back}'  # the shell gives Chromium the two ends as 3 and 4
        self.process = subprocess.Popen(
            ["bash", "-c", script, "bash", find_chromium(), *flags, "about:blank"],
            pass_fds=(out, back),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for end in (theirs, ours, out, back):
            os.close(end)
        self.events: list[dict] = []
        self._buffer, self._calls = b"", 0

    def _message(self) -> dict:
        while b"\0" not in self._buffer:
            if not (data := os.read(self._read, 1 << 20)):
                sys.exit("Chromium ended before it answered")
            self._buffer += data
        text, _, self._buffer = self._buffer.partition(b"\0")
        return json.loads(text)

    def call(self, method: str, session: str | None = None, **params: Any) -> Any:
        """Call a method of the protocol; its result."""
        self._calls += 1
        message = {"id": self._calls, "method": method, "params": params} | (
            {"sessionId": session} if session else {}
        )
        data = json.dumps(message).encode() + b"\0"
        while data:
            data = data[os.write(self._write, data) :]
        while True:
            answer = self._message()
            if answer.get("id") == self._calls:
                if "error" in answer:
                    sys.exit(f"{method}: {answer['error']['message']}")
                return answer["result"]
            self.events.append(answer)

    def wait_for(self, method: str) -> None:
        """Read until an event of this name has come."""
        while not any(event.get("method") == method for event in self.events):
            self.events.append(self._message())


class Tab:
    """One page in a window of a width, used as a person does: with a mouse and keys. offline: it reaches no server."""

    def __init__(
        self,
        browser: Browser,
        address: str,
        width: int,
        *,
        dark: bool = False,
        scripts: bool = True,
        offline: bool = True,
    ):
        self.browser, self.own, self.width = browser, address.partition("#")[0], width
        browser.events.clear()
        self._target = browser.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = browser.call("Target.attachToTarget", targetId=self._target, flatten=True)[
            "sessionId"
        ]
        for domain in ("Page", "Network", "Runtime", "Log"):
            self.call(f"{domain}.enable")
        none = {"latency": 0, "downloadThroughput": 0, "uploadThroughput": 0}
        if offline:
            self.call("Network.emulateNetworkConditions", offline=True, **none)
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
        self.call("Emulation.setDeviceMetricsOverride", **size)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])
        self.call("Emulation.setScriptExecutionDisabled", value=not scripts)
        self.call("Page.navigate", url=address)
        browser.wait_for("Page.loadEventFired")

    def call(self, method: str, **params: Any) -> Any:
        return self.browser.call(method, self._session, **params)

    def value(self, expression: str) -> Any:
        """What an expression is on the page; a promise is waited for."""
        found = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in found:
            sys.exit(
                f"{expression[:80]}: {found['exceptionDetails'].get('exception', {}).get('description')}"
            )
        return found["result"].get("value")

    def settle(self) -> None:
        """Until the page has been drawn twice: what follows a scroll or a click has happened."""
        self.value("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")

    def click(self, selector: str) -> None:
        """Bring the first such element into view and click its middle."""
        box = self.value(
            f"(() => {{ const part = document.querySelector({json.dumps(selector)}); "
            "part.scrollIntoView({block: 'center', inline: 'center'}); const box = part.getBoundingClientRect(); "
            "return [box.x + box.width / 2, box.y + box.height / 2]; })()"
        )
        for kind in ("mousePressed", "mouseReleased"):
            x, y = box
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)
        self.settle()

    def press(self, *keys: str, shift: bool = False) -> None:
        for key in keys:
            number, text = KEYS[key]
            more = {"key": key, "code": "Space" if key == " " else key, "windowsVirtualKeyCode": number}
            more["modifiers"] = 8 if shift else 0
            self.call("Input.dispatchKeyEvent", type="keyDown", **more, **({"text": text} if text else {}))
            self.call("Input.dispatchKeyEvent", type="keyUp", **more)
        self.settle()

    def shot(self, path: Path, whole: bool = False) -> None:
        """A picture of the window, or of the whole page (at most 16,000 pixels of it)."""
        more: dict[str, Any] = {}
        if whole:
            size = self.call("Page.getLayoutMetrics")["cssContentSize"]
            clip = {"x": 0, "y": 0, "width": size["width"], "height": min(size["height"], 16000), "scale": 1}
            more = {"clip": clip, "captureBeyondViewport": True}
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot", **more)["data"]))

    def print(self, path: Path) -> None:
        """The page as it is printed (pdf, A4)."""
        paper = {
            "paperWidth": 8.27,
            "paperHeight": 11.69,
            "printBackground": False,
            "preferCSSPageSize": True,
        }
        path.write_bytes(base64.b64decode(self.call("Page.printToPDF", **paper)["data"]))

    def complaints(self, expected: str | None = None) -> list[str]:
        """What the page asked for from outside, its exceptions, and what the console said but for lines with `expected`."""
        faults = []
        for event in self.browser.events:
            params = event.get("params", {})
            if event.get("method") == "Network.requestWillBeSent":
                url = params["request"]["url"]
                if not url.startswith((self.own, "data:", "blob:", "about:")):
                    faults.append(f"it asks for {url[:100]}")
            elif event.get("method") == "Runtime.exceptionThrown":
                thrown = params["exceptionDetails"]
                faults.append(
                    f"exception: {thrown.get('exception', {}).get('description') or thrown['text']}"
                )
            elif event.get("method") in ("Log.entryAdded", "Runtime.consoleAPICalled"):
                told = json.dumps(params)
                if expected is None or expected not in told:
                    faults.append(f"console: {told[:300]}")
        return faults

    def close(self) -> None:
        self.browser.call("Target.closeTarget", targetId=self._target)
