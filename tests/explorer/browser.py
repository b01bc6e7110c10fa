"""The explorer in a real browser, as a person uses it, at desk and phone widths, in light and dark (`make browser`).

python tests/explorer/browser.py [--shots FOLDER] [--recipient DIR --donor sft=DIR --prompt TEXT --target TEXT --span FE=TEXT]

Without models of your own it makes two tiny random ones. No test of the suite: a clean machine has no browser.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from reporting.chromium import CONTRAST, Browser, Tab

WIDTHS = {"desk": 1200, "phone": 390}  # CSS pixels
SECONDS = 300.0  # for an answer, on a machine that does other work
ROOT = Path(__file__).resolve().parents[2]
TEXT, TARGET, ENTITY = "Ann Lee starred in Night River together with", " Bob Ray", "Ann Lee"
# What is wrong with the page as it stands, as a list of strings.
FAULTS = (
    f"""(() => {{{CONTRAST}"""
    + """
  const faults = [], page = document.documentElement;
  const out = [...document.querySelectorAll('body *')].filter(part => part.getBoundingClientRect().right > page.clientWidth + .1);
  if (page.scrollWidth > page.clientWidth) faults.push(`the page is ${page.scrollWidth} wide, the window ${page.clientWidth}: `
    + out.map(part => `${part.tagName} ${part.id} ${part.className}`).slice(0, 4));
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const node = walker.currentNode.parentElement, style = getComputedStyle(node), size = parseFloat(style.fontSize);
    if (!walker.currentNode.data.trim() || !node.getClientRects().length || size === 0) continue;
    const what = walker.currentNode.data.trim().slice(0, 40);
    if (size < (node.classList.contains('gridcell') ? 11 : 12)) faults.push(`type of ${style.fontSize}: ${what}`);
    if (rgb(style.color)[3] === 0) continue;
    if (contrast(node) < 4.5) faults.push(`contrast ${contrast(node).toFixed(2)}: ${what}`);
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
)


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


class Person(Tab):
    """Somebody at a tab of the explorer: looks, types, clicks, drags, presses keys."""

    def __init__(self, browser: Browser, address: str, width: int, dark: bool):
        super().__init__(browser, address, width, dark=dark, offline=False)

    def wait(self, expression: str) -> None:
        """Until an expression is true; asked at every frame, on the page."""
        done = self.value(
            f"new Promise(done => {{ const end = performance.now() + {1000 * SECONDS}; const look = () => "
            f"({expression}) ? done(true) : performance.now() > end ? done(false) : requestAnimationFrame(look); look(); }})"
        )
        if not done:
            sys.exit(
                f"in vain waited for: {expression}; the page says {self.value('document.body.innerText')}"
            )

    def go(self, address: str) -> None:
        self.call("Page.navigate", url="about:blank")
        self.call("Page.navigate", url=address)
        self.wait("document.readyState === 'complete' && document.querySelector('#brushes button')")

    def middle(self, selector: str) -> dict[str, float]:
        place = self.value(
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
        self.value(
            f"(() => {{ const node = document.querySelector({json.dumps(selector)}); node.focus(); node.select(); }})()"
        )
        self.call("Input.insertText", text=text)

    def picture(self, path: Path | None) -> None:
        """The whole page from its top, where a path is given."""
        if path is not None:
            self.value("window.scrollTo(0, 0)")
            self.shot(path, whole=True)


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
        if (seen := person.value(expression)) != expected:
            faults.append(f"{what}: {seen!r}, not {expected!r}")

    person.go(address)
    faults += person.value(FAULTS)
    # The question is typed, and the entity marked by selecting it.
    person.type("#prompt", prompt)
    person.type("#target", target)
    start = prompt.index(entity)
    person.value(
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
    rows = person.value("document.querySelectorAll('.rowheader').length")
    claim("its notation is written", SCHEME, f"T2[{rows - 4}]")
    claim(
        "the address has it", "new URLSearchParams(location.hash.slice(1)).get('scheme')", f"T2[{rows - 4}]"
    )
    # The same by keys: up one and right one, a block of four, and space.
    person.value(f"document.querySelector({json.dumps(cell(3, 2))}).focus()")
    person.press("ArrowRight")
    person.press("ArrowRight", "ArrowUp", shift=True)
    person.press(" ")
    person.wait("document.querySelectorAll('.gridcell.lit').length === 5")
    claim("the focus is seen", "getComputedStyle(document.activeElement).outlineStyle !== 'none'")
    claim("the focus is kept", "document.activeElement.getAttribute('role')", "gridcell")
    # Back is undo.
    person.value("history.back()")
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
    faults += person.value(FAULTS)
    person.picture(picture("graft"))
    # A mistake is told, and the answer stays.
    person.type("#scheme", "FE+NOBODY")
    person.press("Enter")
    person.wait("!document.querySelector('#error').hidden")
    claim("the mistake is named", "document.querySelector('#error').textContent.includes('NOBODY')")
    faults += person.value(FAULTS)
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
    faults += person.value(FAULTS)
    person.picture(picture("map"))
    # A link shows the same in a fresh tab.
    link = person.value("location.href")
    person.go(link)
    person.wait(f"{STILL} && {SCHEME} === 'FE' && document.querySelector('.mapped')")
    person.wait("document.querySelector('#progress').hidden")
    claim(
        "the link's map is whole",
        "[...document.querySelectorAll('.gridcell')].every(box => box.textContent !== '')",
    )
    claim("the link's target", "document.querySelector('#target').value", target)
    return faults + person.complaints("422")  # the wrong notation that is typed on purpose


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

                        person = Person(browser, address, width, dark)
                        faults += [f"{look}: {fault}" for fault in use(person, address, texts, picture)]
                        person.close()
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
