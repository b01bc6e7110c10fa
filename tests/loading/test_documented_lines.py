"""Every line that docs/checkpoints.md quotes is one that the code says."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
ANYTHING = "\N{HORIZONTAL ELLIPSIS}"


def said() -> list[str]:
    """All texts in the package's code; what is put into them stands as an ellipsis."""
    texts = []
    for path in (ROOT / "weightgraft").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.JoinedStr):
                parts = [part.value if isinstance(part, ast.Constant) else ANYTHING for part in node.values]
                texts.append("".join(map(str, parts)))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                texts.append(node.value)
    return [re.sub(f"{ANYTHING}+", ANYTHING, text) for text in texts]


def test_every_line_that_the_page_quotes_is_said():
    page = (ROOT / "docs/checkpoints.md").read_text(encoding="utf-8")
    rows = [
        line.split("|")
        for line in page.splitlines()
        if line.startswith("| ") and "What is brought" not in line
    ]
    quoted = [text for row in rows for text in re.findall(r"`([^`]+)`", row[3])]
    assert len(quoted) > 30
    texts = said()
    assert [text for text in quoted if not any(text in whole for whole in texts)] == []
