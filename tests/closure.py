"""The files of ours that a stage's module imports, directly or through others, read from the source."""

import ast
from pathlib import Path

from weightgraft import _HOMES

ROOT = Path(__file__).parent.parent
ADDRESSES = ROOT / "weightgraft/__init__.py"


def file_of(module: str) -> Path | None:
    """The source file of one of our modules, or None for a library's."""
    path = ROOT / module.replace(".", "/")
    if path.with_suffix(".py").exists():
        return path.with_suffix(".py")
    return path / "__init__.py" if (path / "__init__.py").exists() else None


def imported_modules(file: Path) -> set[str]:
    """Every module that a file names in an import, anywhere in it, with the packages above it."""
    package = ".".join(file.relative_to(ROOT).parent.parts)
    named = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            named |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package if node.level == 1 else ""
            module = ".".join(filter(None, [base, node.module]))
            named |= {module} | {f"{module}.{alias.name}" for alias in node.names}
            if module == "weightgraft":
                named |= {
                    f"weightgraft.engine.{_HOMES[alias.name]}" for alias in node.names if alias.name in _HOMES
                }
    parents = {".".join(name.split(".")[:i]) for name in named for i in range(1, name.count(".") + 1)}
    return named | parents


def import_closure(file: Path) -> set[Path]:
    """The file and all files of ours that it needs. Empty package files carry nothing and are left out, and so is the one
    that only says where the names of weightgraft are (ADDRESSES)."""
    closure: set[Path] = set()
    waiting = [file]
    while waiting:
        current = waiting.pop()
        if current in closure or current == ADDRESSES:
            continue
        closure.add(current)
        waiting += [
            found
            for name in imported_modules(current)
            if name.startswith(("stages", "weightgraft")) and (found := file_of(name))
        ]
    return {path for path in closure if path.read_text(encoding="utf-8").strip()}
