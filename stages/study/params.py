"""Read the study's numbers."""

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from weightgraft.errors import UserError


def read_yaml(path: Path) -> Any:
    """Read one YAML file with DVC's own parser, so that 1e-3 is the same number here and there."""
    return YAML(typ="safe").load(path.read_text(encoding="utf-8"))


def change(values: Any, changes: Mapping[str, Any]) -> None:
    """Put other values in some places of params.yaml's, by dotted key.

    Raises:
        UserError: a key names no section that is there.
    """
    for key, value in changes.items():
        *sections, last = key.split(".")
        node = values
        for section in sections:
            node = node.get(section) if isinstance(node, dict) else None
        if not isinstance(node, dict):
            raise UserError(f"{key!r}: no section {'.'.join(sections)!r}")
        node[last] = value


def with_changes(values: Any, changes: Mapping[str, Any]) -> Any:
    """A changed copy; see change."""
    values = copy.deepcopy(values)
    change(values, changes)
    return values


def load_section(key: str, path: Path = Path("params.yaml")) -> Any:
    """One section of params.yaml by its dotted key, for the tools beside the pipeline; a stage reads its settings.

    Raises:
        UserError: the key is not there.
    """
    node = read_yaml(path)
    for part in key.split("."):
        if not isinstance(node, dict) or part not in node:
            raise UserError(f"{path}: no section {key!r}: {part!r} is missing")
        node = node[part]
    return node
