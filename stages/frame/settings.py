"""The settings of an item of the pipeline."""

import json
from pathlib import Path
from typing import Any

from weightgraft.errors import UserError


def read_settings(path: Path) -> dict[str, Any]:
    """The settings of one item of the pipeline, which check_params cut out of params.yaml (stages/study/settings.py).

    Raises:
        UserError: there is no such file.
    """
    if not path.is_file():
        raise UserError(
            f"{path} is missing: `dvc repro check_params` writes it, if params.yaml's study lists this item"
        )
    return json.loads(path.read_text(encoding="utf-8"))
