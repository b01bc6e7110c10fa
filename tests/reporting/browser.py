"""The report in a real browser (headless Chromium, no network), as people use it at a desk and on a phone: `make browser`.

python tests/reporting/browser.py results/report.html [--shots FOLDER]

No test of the suite: a clean machine has no browser.
"""

import argparse
import sys
import tempfile
from pathlib import Path

from chromium import CONTRAST, Browser, Tab

WIDTHS = {"desk": 1200, "phone": 390, "small_phone": 360}  # CSS pixels
SECONDS = 60
# What is wrong with the page as it stands, as a list of strings.
FAULTS = (
    f"""(() => {{{CONTRAST}"""
    + """
  const faults = [];
  const folded = [...document.querySelectorAll('details')].filter(part => !part.open);
  for (const part of folded) part.open = true;
  const page = document.documentElement;
  if (page.scrollWidth > page.clientWidth) faults.push(`the page is ${page.scrollWidth} wide, the window ${page.clientWidth}`);
  for (const part of document.querySelectorAll('main *')) {
    if (part.closest('.scroll')) continue;
    if (part.getBoundingClientRect().right > page.clientWidth + .5) faults.push(`${part.tagName} ${part.className} sticks out`);
  }
  for (const image of document.images) {
    if (!image.complete || image.naturalWidth === 0) faults.push(`image without a picture: ${image.alt}`);
  }
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  let seen = 0;
  while (walker.nextNode()) {
    const node = walker.currentNode.parentElement;
    if (!walker.currentNode.data.trim() || !node.getClientRects().length) continue;
    seen += 1;
    const style = getComputedStyle(node);
    const what = walker.currentNode.data.trim().slice(0, 40);
    if (parseFloat(style.fontSize) < 12) faults.push(`type of ${style.fontSize}: ${what}`);
    if (contrast(node) < 4.5) faults.push(`contrast ${contrast(node).toFixed(2)}: ${what}`);
  }
  if (seen < 100) faults.push(`only ${seen} pieces of text are seen`);
  const small = [...document.querySelectorAll('a.sign')].filter(sign => sign.getBoundingClientRect().height < 24
    || sign.getBoundingClientRect().width < 24);
  if (small.length) faults.push(`${small.length} signs are smaller than a finger`);
  for (const part of folded) part.open = false;
  return [...new Set(faults)];
})()"""
)
# On a phone window.innerWidth grows with a page that is too wide, and clientWidth does not.
SIDEWAYS = "document.documentElement.scrollWidth > document.documentElement.clientWidth"
# The sign that is tried: one in the middle of the matrix. What its numbers must say: the claim, the model, and the estimate.
SIGN = "[...document.querySelectorAll('a.sign')].at({at})"
SAID = """(() => { const sign = document.querySelector('a.tried'), panel = document.getElementById('panel');
  if (!panel.open) return 'no numbers open';
  const [model, told] = sign.title.split(': '), text = panel.textContent.replace(/\\s+/g, ' ');
  const [verdict, estimate] = told.split(', '), claim = sign.getAttribute('aria-label').split(' ')[0];
  const wanted = [claim, model, verdict, ...(estimate ? [estimate.split(' ')[0]] : [])];
  const missing = wanted.filter(word => !text.includes(word));
  if (panel.scrollWidth > panel.clientWidth) missing.push('scrolls sideways');
  const box = panel.getBoundingClientRect();
  const wide = document.documentElement.clientWidth;
  if (box.left < 0 || box.right > wide || box.bottom > innerHeight) missing.push('outside the window');
  return missing.join(', '); })()"""
TYPE = """(() => { const image = document.querySelector('#enlarged img');
  return image ? 7 / 72 * image.clientWidth / (image.naturalWidth / 200) : 0; })()"""


def try_signs(tab: Tab, shot: Path | None) -> list[str]:
    """A click on a sign, and Enter on it, open its numbers; Escape and the button close them; arrows go on."""
    faults = []
    count = tab.value("document.querySelectorAll('a.sign').length")
    for at in (0, count // 2, count - 1):
        tab.value(
            f"document.querySelector('a.tried')?.classList.remove('tried'), {SIGN.format(at=at)}.classList.add('tried')"
        )
        tab.click("a.tried")
        if said := tab.value(SAID):
            faults.append(f"sign {at}, clicked: {said}")
        if shot and at:
            tab.shot(shot)
        tab.press("Escape")
        if tab.value("document.getElementById('panel').open"):
            faults.append(f"sign {at}: Escape does not close the numbers")
        if not tab.value("document.activeElement.classList.contains('tried')"):
            faults.append(f"sign {at}: the focus does not come back to it")
        tab.press("Enter")
        if said := tab.value(SAID):
            faults.append(f"sign {at}, Enter: {said}")
        tab.click("#panel button")
        if tab.value("document.getElementById('panel').open"):
            faults.append(f"sign {at}: its button does not close the numbers")
    tab.value(f"{SIGN.format(at=0)}.focus()")
    tab.press("ArrowDown")
    if tab.value(
        f"document.activeElement === {SIGN.format(at=0)} || !document.activeElement.matches('a.sign')"
    ):
        faults.append("an arrow key does not go to the next sign")
    return faults


def try_figures(tab: Tab, shot: Path | None) -> list[str]:
    """A click on a picture, and Enter on its button, show it in full size; Escape closes it."""
    faults = []
    tab.click("figure img")
    if (size := tab.value(TYPE)) < 11.9 or not tab.value("document.getElementById('enlarged').open"):
        faults.append(f"a click on a figure: type of {size} px")
    if tab.value(SIDEWAYS):
        faults.append("the page scrolls sideways under a figure")
    if shot:
        tab.shot(shot)
    tab.press("Escape")
    if tab.value("document.getElementById('enlarged').open"):
        faults.append("Escape does not close a figure")
    tab.value("document.querySelector('figure button').focus()")
    tab.press("Enter")
    if not tab.value("document.getElementById('enlarged').open"):
        faults.append("Enter on its button does not enlarge a figure")
    tab.click("#enlarged img")
    if tab.value("document.getElementById('enlarged').open"):
        faults.append("a click does not close a figure")
    return faults


def try_contents(tab: Tab) -> list[str]:
    """Scrolled to a heading, the contents mark it, and only it."""
    faults = []
    for name in tab.value("[...document.querySelectorAll('.contents a')].map(link => link.hash.slice(1))"):
        tab.value(f"document.getElementById('{name}').scrollIntoView()")
        tab.settle()
        marked = tab.value(
            "[...document.querySelectorAll('.contents a[aria-current]')].map(link => link.hash.slice(1)).join()"
        )
        if marked != name:
            faults.append(f"at #{name} the contents mark {marked!r}")
    tab.value("window.scrollTo(0, 0)")
    tab.settle()
    return faults


def without_scripts(browser: Browser, page: Path) -> list[str]:
    """Where scripts are off, a click on a sign leads to its numbers, opened."""
    tab = Tab(browser, page.as_uri(), WIDTHS["desk"], scripts=False)
    tab.call("Emulation.setScriptExecutionDisabled", value=True)
    faults = ["a script ran"] * tab.value("document.documentElement.classList.contains('js')")
    tab.value(f"{SIGN.format(at=7)}.classList.add('tried')")
    x, y = tab.value(
        "(() => { const part = document.querySelector('a.tried'); part.scrollIntoView({block: 'center', inline: 'center'}); "
        "const box = part.getBoundingClientRect(); return [box.x + box.width / 2, box.y + box.height / 2]; })()"
    )
    for kind in ("mousePressed", "mouseReleased"):
        tab.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)
    browser.wait_for("Page.navigatedWithinDocument")
    if not tab.value("document.querySelector(location.hash).closest('details').open"):
        faults.append("a sign does not open its numbers")
    tab.close()
    return [f"without scripts: {fault}" for fault in faults]


def printed(browser: Browser, page: Path, shot: Path | None) -> list[str]:
    """On paper nothing is cut off, nothing sticks to the page, it is light, and what is folded opens, but for single parts."""
    tab = Tab(browser, page.as_uri(), 680, dark=True)  # A4 with 15 mm around
    tab.call("Emulation.setEmulatedMedia", media="print")
    tab.settle()
    faults = ["it is cut off at the right"] * tab.value(SIDEWAYS)
    faults += ["something sticks"] * tab.value(
        "[...document.querySelectorAll('body *')].some("
        "part => getComputedStyle(part).position === 'sticky' && part.getClientRects().length)"
    )
    faults += ["trainings, versions or hashes are hidden"] * tab.value(
        "[...document.querySelectorAll('.print-open table')].some("
        "table => !table.checkVisibility({contentVisibilityAuto: true}))"
    )
    back = tab.value("getComputedStyle(document.body).backgroundColor")
    faults += ["it is dark"] * (back != "rgb(255, 255, 255)")
    if shot:
        tab.print(shot)
    tab.close()
    return [f"printed: {fault}" for fault in faults]


def visit(browser: Browser, page: Path, width: int, dark: bool, shots: Path | None) -> list[str]:
    """Open the page in a window of this width and use it; everything that is wrong with it."""
    tab = Tab(browser, page.as_uri(), width, dark=dark)
    look = f"{width}{'_dark' if dark else ''}"
    names = {name: shots / f"{look}_{name}.png" if shots else None for name in ("page", "numbers", "figure")}
    if names["page"]:
        tab.shot(names["page"], whole=True)
    faults = [*tab.value(FAULTS), *try_contents(tab)]
    faults += [*try_signs(tab, names["numbers"]), *try_figures(tab, names["figure"])]
    if tab.value(SIDEWAYS):
        faults.append("after all that the page scrolls sideways")
    faults += tab.complaints()
    tab.close()
    return faults


def main() -> None:
    """Visit the page at every width, in light and dark; exit code 1 with a line a fault."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("page", type=Path)
    parser.add_argument(
        "--shots", type=Path, help="a folder for pictures of the page, and for the page as it is printed"
    )
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
                    look = f"{name}{' in the dark' if dark else ''}"
                    faults += [
                        f"{look}: {fault}" for fault in visit(browser, page, width, dark, arguments.shots)
                    ]
            faults += without_scripts(browser, page)
            faults += printed(browser, page, arguments.shots and arguments.shots / "printed.pdf")
        finally:
            browser.process.terminate()
            browser.process.wait(SECONDS)
    if faults:
        sys.exit("\n".join(faults))
    widths = ", ".join(f"{width} px" for width in WIDTHS.values())
    print(
        f"{arguments.page}: no fault at {widths}, in light and dark, used with a mouse, with keys, without scripts and printed"
    )


if __name__ == "__main__":
    main()
