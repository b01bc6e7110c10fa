"""make pages: put the numbers and tables that the results hold into README.md and docs/*.md.

A page has places such as `<!-- verdicts -->` ... `<!-- /verdicts -->`, within a line or over several; what stands between
the two marks is written anew. What each place holds is in stages/commands/page_values.py.
"""

import argparse
import re
from collections.abc import Callable, Mapping
from pathlib import Path

from stages.commands.page_numbers import Results, read_results
from stages.commands.page_values import values
from weightgraft.errors import UserError, run_main

MARK = re.compile(r"<!-- (/?)([a-z0-9_]+) -->")
# GitHub takes a line that begins with a comment for HTML: it would show the marks of Markdown in it, and break the paragraph.
FIRST = re.compile(r"^[ \t]*<!-- ([a-z0-9_]+) -->(?=.*<!-- /\1 -->)", re.MULTILINE)
CLOSED = re.compile(r"<!-- ([a-z0-9_]+) -->.*?<!-- /\1 -->", re.DOTALL)


def pages_of(root: Path) -> list[Path]:
    """The pages that have such places."""
    return [root / "README.md", *sorted((root / "docs").glob("*.md"))]


def check_marks(page: str, text: str, known: Mapping[str, object]) -> None:
    """That every place is closed, has a known name, and stands within a line or around whole lines. Other comments may stand alone.

    Raises:
        UserError: one is not; it names the page and the mark.
    """
    for closing, name in MARK.findall(CLOSED.sub("", text)):
        if closing or name in known:
            raise UserError(f"{page}: <!-- {closing}{name} --> has no other mark beside it")
    for name in FIRST.findall(text):
        raise UserError(f"{page}: <!-- {name} --> begins a line; put it behind a word of its sentence")
    for name in CLOSED.findall(text):
        if name not in known:
            raise UserError(
                f"{page}: <!-- {name} -->: no such value; page_values.py has {', '.join(sorted(known))}"
            )


def filled(page: str, text: str, known: Mapping[str, Callable[[Results], str]], results: Results) -> str:
    """The page with every place filled. A value of several lines stands between empty lines.

    Raises:
        UserError: a place is not closed or has no value.
    """
    check_marks(page, text, known)

    def put(place: re.Match[str]) -> str:
        name = place[1]
        value = known[name](results).strip()
        return f"<!-- {name} -->{f'{chr(10) * 2}{value}{chr(10) * 2}' if chr(10) in value else value}<!-- /{name} -->"

    return CLOSED.sub(put, text)


def main() -> None:
    """Fill the places of all pages; say which have changed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--root", type=Path, default=Path(), help="the repository (default: here)")
    root = parser.parse_args().root
    results, known = read_results(root), values()
    changed = []
    for path in pages_of(root):
        name, text = str(path.relative_to(root)), path.read_text(encoding="utf-8")
        new = filled(name, text, known, results)
        if new != text:
            path.write_text(new, encoding="utf-8", newline="\n")
            changed.append(name)
    print(f"pages: {', '.join(changed) or 'nothing'} changed")


if __name__ == "__main__":
    run_main(main)
