"""The explorer in a real browser, as a person uses it, at desk and phone widths, in light and dark (`make browser`).

python tests/explorer/browser.py [--shots FOLDER] [--recipient DIR --donor sft=DIR --prompt TEXT --target TEXT --span FE=TEXT]

Without models of your own it makes two tiny random ones. No test of the suite: a clean machine has no browser.
"""

import argparse
import base64
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from reporting.chromium import Browser

WIDTHS = {"desk": 1200, "phone": 390}  # CSS pixels
SECONDS = 300.0  # for an answer, on a machine that does other work
ROOT = Path(__file__).resolve().parents[2]
TEXT, TARGET, ENTITY = "Ann Lee starred in Night River together with", " Bob Ray", "Ann Lee"
# What is wrong with the page as it stands, as a list of strings.
FAULTS = """(() => {
  const faults = [], page = document.documentElement;
  if (page.scrollWidth > window.innerWidth) faults.push(`the page is ${page.scrollWidth} wide, the window ${window.innerWidth}`);
  const rgb = text => text.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => [r, g, b].map(c => c / 255).map(c => c <= .04045 ? c / 12.92 : ((c + .055) / 1.055) ** 2.4)
    .reduce((sum, c, i) => sum + c * [.2126, .7152, .0722][i], 0);
  const back = node => { for (; node; node = node.parentElement) {
    const colour = rgb(getComputedStyle(node).backgroundColor);
    if (colour.length === 3 || colour[3] > 0) return colour;
  } return [255, 255, 255]; };
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const node = walker.currentNode.parentElement, style = getComputedStyle(node), size = parseFloat(style.fontSize);
    if (!walker.currentNode.data.trim() || !node.getClientRects().length || size === 0) continue;
    const what = walker.currentNode.data.trim().slice(0, 40);
    if (size < (node.classList.contains('gridcell') ? 11 : 12)) faults.push(`type of ${style.fontSize}: ${what}`);
    if (rgb(style.color)[3] === 0) continue;
    const [a, b] = [light(rgb(style.color)), light(back(node))].sort((x, y) => y - x);
    if ((a + .05) / (b + .05) < 4.5) faults.push(`contrast ${((a + .05) / (b + .05)).toFixed(2)}: ${what}`);
  }
  for (const field of document.querySelectorAll('input, textarea, button, progress, [role=gridcell], [role=grid]')) {
    const name = field.getAttribute('aria-label') || field.getAttribute('aria-labelledby') || field.textContent.trim()
      || (field.labels && field.labels.length);
    if (!name) faults.push(`no name for a screen reader: ${field.outerHTML.slice(0, 80)}`);
    const box = field.getBoundingClientRect();
    const touched = ['BUTTON', 'INPUT'].includes(field.tagName) && field.type !== 'checkbox';
    if (box.width && touched && box.height < 23.9) faults.push(`too small to touch: ${field.outerHTML.slice(0, 80)}`);
  }
  if (document.querySelectorAll('[role=grid] [tabindex="0"]').length > 1) faults.push('the grid has two places for the tab key');
  return [...new Set(faults)];
})()"""


@contextmanager
def explorer(options: list[str]) -> Iterator[str]:
    """The address of an explorer that runs while the block does."""
    command = [sys.executable, "-m", "weightgraft", "explore", "--port", "0", *options]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            line = server.stdout.readline()
            if not line.startswith("explorer: http://127.0.0.1:"):
                sys.exit(f"the explorer did not start: {line}")
            yield line.split()[1]
        finally:
            server.terminate()


def tiny_models(folder: Path) -> list[str]:
    """Options for two tiny random models in a folder."""
    from tiny_models import tiny_model

    from stages.modeling.models import save_model
    from stages.modeling.tokens import train_tokenizer

    tokenizer = train_tokenizer([TEXT + TARGET, TEXT + " Jim Fox"] * 4, 330, bos=True)
    for seed, name in enumerate(("sft", "base")):  # so drawn, SFT beats PRE on this target
        save_model(
            tiny_model("llama", seed=seed, num_hidden_layers=8, vocab_size=len(tokenizer)),
            tokenizer,
            folder / name,
        )
    return ["--recipient", str(folder / "base"), "--donor", f"sft={folder / 'sft'}"]


class Person:
    """Somebody at a tab: looks, types, clicks, presses keys."""

    def __init__(self, browser: Browser, width: int, dark: bool):
        self.browser, self.width = browser, width
        browser.events.clear()
        self.target = browser.call("Target.createTarget", url="about:blank")["targetId"]
        self.session = browser.call("Target.attachToTarget", targetId=self.target, flatten=True)["sessionId"]
        for domain in ("Page", "Network", "Runtime", "Log"):
            self.call(f"{domain}.enable")
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=900,
            deviceScaleFactor=1,
            mobile=width < 500,
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])

    def call(self, method: str, **params: Any) -> Any:
        return self.browser.call(method, self.session, **params)

    def see(self, expression: str) -> Any:
        """What an expression is on the page."""
        told = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in told:
            sys.exit(f"{expression}: {told['exceptionDetails']}")
        return told["result"].get("value")

    def wait(self, expression: str) -> None:
        """Until an expression is true; asked at every frame, on the page."""
        done = self.see(
            f"new Promise(done => {{ const end = performance.now() + {1000 * SECONDS}; const look = () => "
            f"({expression}) ? done(true) : performance.now() > end ? done(false) : requestAnimationFrame(look); look(); }})"
        )
        if not done:
            sys.exit(f"in vain waited for: {expression}; the page says {self.see('document.body.innerText')}")

    def go(self, address: str) -> None:
        self.call("Page.navigate", url="about:blank")
        self.call("Page.navigate", url=address)
        self.wait("document.readyState === 'complete' && document.querySelector('#brushes button')")

    def middle(self, selector: str) -> dict[str, float]:
        place = self.see(
            f"(() => {{ const node = document.querySelector({json.dumps(selector)}); node.scrollIntoView({{block: 'center'}}); "
            "const box = node.getBoundingClientRect(); return [box.x + box.width / 2, box.y + box.height / 2]; })()"
        )
        return {"x": place[0], "y": place[1]}

    def click(self, selector: str, to: str | None = None, modifiers: int = 0) -> None:
        """With the mouse; `to`: dragged there."""
        place = self.middle(selector)
        mouse: dict[str, Any] = {"button": "left", "buttons": 1, "clickCount": 1, "modifiers": modifiers}
        self.call("Input.dispatchMouseEvent", type="mouseMoved", **place)
        self.call("Input.dispatchMouseEvent", type="mousePressed", **place, **mouse)
        if to:
            place = self.middle(to)
            self.call("Input.dispatchMouseEvent", type="mouseMoved", **place, button="left", buttons=1)
        self.call("Input.dispatchMouseEvent", type="mouseReleased", **place, **mouse)

    def type(self, selector: str, text: str) -> None:
        """In place of what is in a field."""
        self.see(
            f"(() => {{ const node = document.querySelector({json.dumps(selector)}); node.focus(); node.select(); }})()"
        )
        self.call("Input.insertText", text=text)

    def press(self, *keys: str, shift: bool = False) -> None:
        for key in keys:
            named = {"key": key, "code": "Space" if key == " " else key, "modifiers": 8 if shift else 0}
            text = {" ": " ", "Enter": "\r"}.get(key)
            self.call("Input.dispatchKeyEvent", type="keyDown", **named, **({"text": text} if text else {}))
            self.call("Input.dispatchKeyEvent", type="keyUp", **named)

    def shot(self, path: Path | None) -> None:
        """A picture of the whole page."""
        if path is None:
            return
        self.see("window.scrollTo(0, 0)")
        height = self.call("Page.getLayoutMetrics")["cssContentSize"]["height"]
        clip = {"x": 0, "y": 0, "width": self.width, "height": height, "scale": 1}
        data = self.call("Page.captureScreenshot", clip=clip, captureBeyondViewport=True)["data"]
        path.write_bytes(base64.b64decode(data))

    def complaints(self, address: str) -> list[str]:
        """What the browser itself complained about, and every request to somewhere else."""
        found, own = [], address.partition("#")[0]
        for event in self.browser.events:
            params = event.get("params", {})
            if event.get("method") == "Network.requestWillBeSent":
                url = params["request"]["url"]
                if not url.startswith((own, "data:", "blob:", "about:")):
                    found.append(f"it asks for {url[:100]}")
            elif event.get("method") == "Runtime.exceptionThrown":
                found.append(
                    f"exception: {params['exceptionDetails'].get('exception', {}).get('description')}"
                )
            elif event.get("method") in ("Log.entryAdded", "Runtime.consoleAPICalled"):
                told = json.dumps(params)
                if "422" not in told:  # the wrong notation that is typed on purpose
                    found.append(f"console: {told[:300]}")
        return found


def cell(row: int, token: int) -> str:
    """A cell by its row from above, from 1 (the readout), and its token."""
    return f'#grid [data-y="{row}"][data-x="{token + 1}"]'


STILL = "document.body.dataset.state === 'still'"
SCHEME = "document.querySelector('#scheme').value"


def use(
    person: Person, address: str, texts: tuple[str, str, str], picture: Callable[[str], Path | None]
) -> list[str]:
    """From an empty page to a finding and back; everything that went wrong."""
    prompt, target, entity = texts
    faults: list[str] = []

    def claim(what: str, expression: str, expected: Any = True) -> None:
        if (seen := person.see(expression)) != expected:
            faults.append(f"{what}: {seen!r}, not {expected!r}")

    person.go(address)
    faults += person.see(FAULTS)
    # The question is typed, and the entity marked by selecting it.
    person.type("#prompt", prompt)
    person.type("#target", target)
    start = prompt.index(entity)
    person.see(
        "document.querySelector('#prompt').focus(), "
        f"document.querySelector('#prompt').setSelectionRange({start}, {start + len(entity)})"
    )
    person.wait(f"document.querySelector('#span-text').value === {json.dumps(entity)}")
    person.click("#mark")
    claim("the mark is shown", "document.querySelector('#spans li').textContent.includes('FE')")
    person.click("#question .main")
    person.wait(f"{STILL} && !document.querySelector('#answer').hidden")
    claim("PRE grafts nothing", "document.querySelectorAll('.gridcell.lit').length", 0)
    claim("three answers stand side by side", "document.querySelectorAll('#columns section').length", 3)
    # One cell, by the mouse; the notation follows, and the address.
    person.click(cell(3, 2))
    person.wait(f"{SCHEME} !== 'PRE'")
    claim("a click on a cell lights it", "document.querySelectorAll('.gridcell.lit').length", 1)
    rows = person.see("document.querySelectorAll('.rowheader').length")
    claim("its notation is written", SCHEME, f"T2[{rows - 4}]")
    claim(
        "the address has it", "new URLSearchParams(location.hash.slice(1)).get('scheme')", f"T2[{rows - 4}]"
    )
    # The same by keys: up one and right one, a block of four, and space.
    person.see(f"document.querySelector({json.dumps(cell(3, 2))}).focus()")
    person.press("ArrowRight")
    person.press("ArrowRight", "ArrowUp", shift=True)
    person.press(" ")
    person.wait("document.querySelectorAll('.gridcell.lit').length === 5")
    claim("the focus is seen", "getComputedStyle(document.activeElement).outlineStyle !== 'none'")
    claim("the focus is kept", "document.activeElement.getAttribute('role')", "gridcell")
    # Back is undo.
    person.see("history.back()")
    person.wait("document.querySelectorAll('.gridcell.lit').length === 1")
    # A scheme, typed; the cells follow.
    person.type("#scheme", "FE+LT")
    person.press("Enter")
    person.wait("document.querySelectorAll('.gridcell.lit').length > 5")
    claim("typed FE+LT is kept as typed", SCHEME, "FE+LT")
    claim(
        "FE+LT lights whole tokens",
        "document.querySelectorAll('.gridcell.lit').length % document.querySelectorAll('.line:not(.head)').length",
        0,
    )
    faults += person.see(FAULTS)
    person.shot(picture("graft"))
    # A mistake is told, and the answer stays.
    person.type("#scheme", "FE+NOBODY")
    person.press("Enter")
    person.wait("!document.querySelector('#error').hidden")
    claim("the mistake is named", "document.querySelector('#error').textContent.includes('NOBODY')")
    faults += person.see(FAULTS)
    # A brush, a column, a row, a dragged block.
    person.click("#quick button")
    person.wait(f"{STILL} && {SCHEME} === 'PRE'")
    person.click("#brushes button:nth-of-type(3)")  # O
    person.click('#grid [data-y="0"][data-x="1"]')
    person.wait(f"{SCHEME} !== 'PRE'")
    claim("a component of a token", f"{SCHEME}.startsWith('O@')")
    person.click("#brushes button:nth-of-type(1)")
    person.click('#grid [data-y="4"][data-x="0"]')
    person.wait(f"{SCHEME}.includes('all[')")
    person.click("#quick button")
    person.wait(f"{STILL} && {SCHEME} === 'PRE'")
    person.click(cell(3, 1), to=cell(4, 3))
    person.wait("document.querySelectorAll('.gridcell.lit').length === 6")
    # The map, with progress.
    person.type("#scheme", "FE")
    person.press("Enter")
    person.wait(f"{STILL} && {SCHEME} === 'FE'")
    begun = time.monotonic()
    person.click("#fill")
    person.wait("new URLSearchParams(location.hash.slice(1)).get('map') === '1'")
    print(f"the map came after {time.monotonic() - begun:.1f} s")
    claim(
        "every cell has its number",
        "[...document.querySelectorAll('.gridcell')].every(box => box.textContent !== '')",
    )
    faults += person.see(FAULTS)
    person.shot(picture("map"))
    # A link shows the same in a fresh tab.
    link = person.see("location.href")
    person.go(link)
    person.wait(f"{STILL} && {SCHEME} === 'FE' && document.querySelector('.mapped')")
    person.wait("document.querySelector('#progress').hidden")
    claim(
        "the link's map is whole",
        "[...document.querySelectorAll('.gridcell')].every(box => box.textContent !== '')",
    )
    claim("the link's target", "document.querySelector('#target').value", target)
    return faults + person.complaints(address)


def main() -> None:
    """Use the page at every width, in light and dark; exit code 1 with a line a fault."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for option in ("--recipient", "--donor", "--prompt", "--target", "--span"):
        parser.add_argument(option)
    parser.add_argument("--shots", type=Path, help="a folder for pictures of the page")
    args = parser.parse_args()
    if args.shots:
        args.shots.mkdir(parents=True, exist_ok=True)
    faults: list[str] = []
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        if args.recipient:
            options = ["--recipient", args.recipient, "--donor", args.donor]
            texts = args.prompt, args.target, args.span.removeprefix("FE=")
        else:
            options, texts = tiny_models(Path(folder)), (TEXT, TARGET, ENTITY)
        with explorer(options) as address:
            browser = Browser(f"{folder}/profile")
            try:
                for name, width in WIDTHS.items():
                    for dark in (False, True):
                        look = f"{name}{'_dark' if dark else ''}"

                        def picture(what: str, look: str = look) -> Path | None:
                            return args.shots / f"{look}_{what}.png" if args.shots else None

                        person = Person(browser, width, dark)
                        faults += [f"{look}: {fault}" for fault in use(person, address, texts, picture)]
                        browser.call("Target.closeTarget", targetId=person.target)
            finally:
                browser.process.terminate()
                browser.process.wait(60)
    if faults:
        sys.exit("\n".join(faults))
    print(
        f"the explorer: no fault at {', '.join(f'{width} px' for width in WIDTHS.values())}, in light and dark"
    )


if __name__ == "__main__":
    main()
