"""Can what stands for a pretrained model's early checkpoint be had?"""

import re
from pathlib import Path

from weightgraft.errors import UserError
from weightgraft.loading.folders import check_model

COMMIT = r"[0-9a-f]{40}"


def check_early(key: str, early: str, commits: bool) -> None:
    """It is `untrained`, a whole local model, or a commit of the hub's. commits: whether there may be such a commit.

    Raises:
        UserError: it is none of them; names the valid ones.
    """
    if early == "untrained" or (commits and re.fullmatch(COMMIT, early)):
        return
    if Path(early).is_dir() or early.startswith((".", "/", "~")):
        check_model(f"{key}: {early}", Path(early), adapters=False)
        return
    valid = (
        "untrained, a local folder, or the 40 digits of a commit"
        if commits
        else "untrained, or a local folder"
    )
    raise UserError(f"{key} is {early!r}; valid: {valid}")
