"""Read the study's numbers, and end bad input with one clear line instead of a traceback."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML


class UserError(Exception):
    """Something the user can mend; the message is one line that names the key, the value and the choices."""


def read_yaml(path: Path) -> Any:
    """Read one YAML file with DVC's own parser, so that 1e-3 is the same number here and there."""
    return YAML(typ="safe").load(path.read_text(encoding="utf-8"))


def load_section(key: str, path: Path = Path("params.yaml")) -> Any:
    """One section of params.yaml, by the dotted key that dvc.yaml declares for the stage.

    The whole file was validated by the first stage, check_params; the stages read plain values.

    Raises:
        UserError: the key is not there.
    """
    node = read_yaml(path)
    for part in key.split("."):
        if not isinstance(node, dict) or part not in node:
            raise UserError(f"{path}: no section {key!r}: {part!r} is missing")
        node = node[part]
    return node


def run_main(main: Callable[[], None]) -> None:
    """Run a stage's main(); a UserError becomes one line on stderr and exit code 1."""
    try:
        main()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)
