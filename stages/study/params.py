"""Read the study's numbers."""

import json
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from weightgraft.errors import UserError


def read_yaml(path: Path) -> Any:
    """Read one YAML file with DVC's own parser, so that 1e-3 is the same number here and there."""
    return YAML(typ="safe").load(path.read_text(encoding="utf-8"))


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


def read_settings(path: Path) -> dict[str, Any]:
    """The settings of one item of the pipeline, which check_params cut out of params.yaml (settings.py).

    Raises:
        UserError: there is no such file.
    """
    if not path.is_file():
        raise UserError(
            f"{path} is missing: `dvc repro check_params` writes it, if params.yaml's study lists this item"
        )
    return json.loads(path.read_text(encoding="utf-8"))
