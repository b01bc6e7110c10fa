"""The report in a real browser (headless Chromium, no network), at the widths of a desk and of a phone: `make browser`.

python tests/reporting/browser.py results/report.html [--shots FOLDER]

Chromium speaks its DevTools protocol over two pipes (file descriptors 3 and 4: JSON, each message ended by a zero byte), so
nothing beyond Python is needed. No test of the suite: a clean machine has no browser.
"""

import argparse
import base64
import fcntl
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome")
WIDTHS = {"desk": 1280, "phone": 390, "small_phone": 360}  # CSS pixels
SECONDS = 60
# What is wrong with the page as it stands, as a list of strings.
FAULTS = """(() => {
  const faults = [];
  for (const part of document.querySelectorAll('details')) part.open = true;
  const page = document.documentElement;
  if (page.scrollWidth > window.innerWidth) faults.push(`the page is ${page.scrollWidth} wide, the window ${window.innerWidth}`);
  for (const image of document.images) {
    if (!image.complete || image.naturalWidth === 0) faults.push(`image without a picture: ${image.alt}`);
    const inches = image.naturalWidth / 200, type = 7 / 72 * image.clientWidth / inches;
    if (type < 11.9) faults.push(`type of ${type} px in image: ${image.alt}`);
  }
  const rgb = text => text.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => [r, g, b].map(c => c / 255).map(c => c <= .04045 ? c / 12.92 : ((c + .055) / 1.055) ** 2.4)
    .reduce((sum, c, i) => sum + c * [.2126, .7152, .0722][i], 0);
  const back = node => { for (; node; node = node.parentElement) {
    const colour = rgb(getComputedStyle(node).backgroundColor);
    if (colour.length === 3 || colour[3] > 0) return colour;
  } return [255, 255, 255]; };
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  let seen = 0;
  while (walker.nextNode()) {
    const node = walker.currentNode.parentElement;
    if (!walker.currentNode.data.trim() || !node.getClientRects().length) continue;
    seen += 1;
    const style = getComputedStyle(node), [a, b] = [light(rgb(style.color)), light(back(node))].sort((x, y) => y - x);
    const what = walker.currentNode.data.trim().slice(0, 40);
    if (parseFloat(style.fontSize) < 12) faults.push(`type of ${style.fontSize}: ${what}`);
    if ((a + .05) / (b + .05) < 4.5) faults.push(`contrast ${((a + .05) / (b + .05)).toFixed(2)}: ${what}`);
  }
  if (seen < 100) faults.push(`only ${seen} pieces of text are seen`);
  for (const part of document.querySelectorAll('details')) part.open = false;
  return [...new Set(faults)];
})()"""

Call = Callable[..., Any]


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


def visit(browser: Browser, page: Path, width: int, dark: bool, shot: Path | None) -> list[str]:
    """Open the page in a window of this width; everything that is wrong with it."""
    browser.events.clear()
    target = browser.call("Target.createTarget", url="about:blank")["targetId"]
    session = browser.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]

    def call(method: str, **params: Any) -> Any:
        return browser.call(method, session, **params)

    for domain in ("Page", "Network", "Runtime", "Log"):
        call(f"{domain}.enable")
    call(
        "Network.emulateNetworkConditions", offline=True, latency=0, downloadThroughput=0, uploadThroughput=0
    )
    call(
        "Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=width < 500
    )
    scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
    call("Emulation.setEmulatedMedia", features=[scheme])
    call("Page.navigate", url=page.as_uri())
    browser.wait_for("Page.loadEventFired")
    faults = list(call("Runtime.evaluate", expression=FAULTS, returnByValue=True)["result"]["value"])
    if shot:
        size = call("Page.getLayoutMetrics")["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": width, "height": min(size["height"], 16000), "scale": 1}
        data = call("Page.captureScreenshot", clip=clip, captureBeyondViewport=True)["data"]
        shot.write_bytes(base64.b64decode(data))
    for event in browser.events:
        params = event.get("params", {})
        if event.get("method") == "Network.requestWillBeSent":
            url = params["request"]["url"]
            if not url.startswith("data:") and url.partition("#")[0] != page.as_uri():
                faults.append(f"it asks for {url[:100]}")
        elif event.get("method") == "Runtime.exceptionThrown":
            faults.append(f"exception: {params['exceptionDetails']['text']}")
        elif event.get("method") in ("Log.entryAdded", "Runtime.consoleAPICalled"):
            faults.append(f"console: {json.dumps(params)[:200]}")
    browser.call("Target.closeTarget", targetId=target)
    return faults


def main() -> None:
    """Visit the page at every width, in light and dark; exit code 1 with a line a fault."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("page", type=Path)
    parser.add_argument("--shots", type=Path, help="a folder for pictures of the page")
    arguments = parser.parse_args()
    page = arguments.page.resolve()
    if not page.is_file():
        sys.exit(f"{page} is missing: run write_report first")
    if arguments.shots:
        arguments.shots.mkdir(parents=True, exist_ok=True)
    faults = []
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        browser = Browser(profile)
        try:
            for name, width in WIDTHS.items():
                for dark in (False, True):
                    look = f"{name}{'_dark' if dark else ''}"
                    shot = arguments.shots / f"{look}.png" if arguments.shots else None
                    faults += [f"{look}: {fault}" for fault in visit(browser, page, width, dark, shot)]
        finally:
            browser.process.terminate()
            browser.process.wait(SECONDS)
    if faults:
        sys.exit("\n".join(faults))
    print(
        f"{arguments.page}: no fault at {', '.join(f'{width} px' for width in WIDTHS.values())}, in light and dark"
    )


if __name__ == "__main__":
    main()
