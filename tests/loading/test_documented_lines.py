"""Every line that a page of docs/ quotes is one that the code says."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ANYTHING = "\N{HORIZONTAL ELLIPSIS}"


def said(*folders: str) -> list[str]:
    """All texts in the code of these folders; what is put into them stands as an ellipsis."""
    texts = []
    for path in (path for folder in folders for path in (ROOT / folder).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.JoinedStr):
                parts = [part.value if isinstance(part, ast.Constant) else ANYTHING for part in node.values]
                texts.append("".join(map(str, parts)))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                texts.append(node.value)
    return [re.sub(f"{ANYTHING}+", ANYTHING, text) for text in texts]


def quoted(page: str, last: int) -> list[str]:
    """What the last column of a page's tables of `last` columns quotes."""
    rows = [line.split("|") for line in (ROOT / page).read_text(encoding="utf-8").splitlines()]
    tables = [row for row in rows if len(row) == last + 2 and not row[1].startswith((" What is", "---"))]
    return [text for row in tables for text in re.findall(r"`([^`]+)`", row[last])]


@pytest.mark.parametrize(
    ("page", "last", "least", "code"),
    [
        ("docs/checkpoints.md", 3, 31, ["weightgraft"]),
        ("docs/real_models.md", 2, 12, ["stages/modeling", "stages/study/checking"]),
    ],
)
def test_every_line_that_the_page_quotes_is_said(page, last, least, code):
    lines, texts = quoted(page, last), said(*code)
    assert len(lines) >= least
    assert [line for line in lines if not any(line in whole for whole in texts)] == []
