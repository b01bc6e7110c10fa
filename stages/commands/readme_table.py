"""Put the words and the verdict table of results/verdicts.md into README.md, between its markers.

python -m stages.commands.readme_table --table results/verdicts.md --readme README.md
"""

import argparse
from pathlib import Path

from stages.reporting.words import MARKERS as WORDS
from weightgraft.errors import UserError, run_main

MARKERS = ("<!-- verdicts -->", "<!-- /verdicts -->")


def block_of(readme: str, markers: tuple[str, str] = MARKERS) -> tuple[str, str, str]:
    """The text before and with the first marker, what is between the two, and the second marker with the rest.

    Raises:
        UserError: the markers are not there once each, in this order.
    """
    start, end = markers
    if readme.count(start) != 1 or readme.count(end) != 1 or readme.index(start) > readme.index(end):
        raise UserError(f"README: needs the lines {start} and {end} once each, in this order")
    before, _, rest = readme.partition(start)
    between, _, after = rest.partition(end)
    return before + start, between, end + after


def with_table(readme: str, table: str) -> str:
    """The README with the table between its markers, and with the words, if they stand before it, between theirs."""
    if WORDS[0] in table:
        _, told, rest = block_of(table, WORDS)
        before, _, after = block_of(readme, WORDS)
        readme, table = f"{before}\n\n{told.strip()}\n\n{after}", rest.removeprefix(WORDS[1])
    before, _, after = block_of(readme)
    return f"{before}\n\n{table.strip()}\n\n{after}"


def main() -> None:
    """Read the arguments, replace the block, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--table", type=Path, required=True, help="the verdict table (Markdown)")
    parser.add_argument("--readme", type=Path, required=True, help="the README with the markers")
    arguments = parser.parse_args()
    if not arguments.table.is_file():
        raise UserError(f"{arguments.table} is missing: run write_report first")
    text = with_table(
        arguments.readme.read_text(encoding="utf-8"), arguments.table.read_text(encoding="utf-8")
    )
    arguments.readme.write_text(text, encoding="utf-8", newline="\n")
    print(f"{arguments.readme}: the table of {arguments.table} is in it")


if __name__ == "__main__":
    run_main(main)
