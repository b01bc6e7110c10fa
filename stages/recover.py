"""What a killed DVC may leave half-written, put right before the next run: `make repro` calls it first.

DVC writes its list of finished stages (dvc.lock) and its list of running ones (.dvc/tmp/rwlock) in place, not whole or not at
all. A kill in between leaves a file that every later DVC refuses to read. Here the stages that dvc.lock still tells whole are
kept; of the others the outputs are in DVC's cache, so a stage that had finished is fetched from there and not started again.

    python -m stages.recover
"""

import json
import os
import re
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML, YAMLError

from stages.params import run_main

LOCK = Path("dvc.lock")
RUNNING = Path(".dvc/tmp/rwlock")
HEAD = "schema: '2.0'\nstages:\n"
ENTRY = re.compile(r"^  (?=[\w\"'].*:$)", re.MULTILINE)  # where one stage of dvc.lock begins


def is_whole(stage: Any) -> bool:
    """Whether a stage's entry is as DVC writes it: every dependency and output to its last key."""
    if not isinstance(stage, dict) or not isinstance(stage.get("cmd"), str):
        return False
    files = [file for part in ("deps", "outs") for file in stage.get(part) or [None]]
    return all(isinstance(file, dict) and {"path", "hash", "md5", "size"} <= {*file} for file in files)


def parsed(text: str) -> Any:
    try:
        return YAML(typ="safe").load(text)
    except YAMLError:
        return None


def whole_stages(text: str) -> list[str]:
    """The entries of dvc.lock that are whole, as they are written."""
    _, *entries = ENTRY.split(text)
    found = []
    for entry in entries:
        read = parsed(f"  {entry}")
        if isinstance(read, dict) and len(read) == 1 and all(is_whole(stage) for stage in read.values()):
            found.append(f"  {entry.rstrip()}\n")
    return found


def recover_lock(path: Path) -> str | None:
    """Cut a half-written dvc.lock back to its whole stages; the line that says so, or None where nothing is wrong."""
    if not path.exists():
        return None
    text = path.read_text(encoding="utf-8", errors="replace")
    read = parsed(text)
    stages = read.get("stages") if isinstance(read, dict) else None
    # What ends without a newline was cut, even where it can be read: a size may have lost its last digits.
    if text.endswith("\n") and isinstance(stages, dict) and all(is_whole(stage) for stage in stages.values()):
        return None
    kept = whole_stages(text if text.endswith("\n") else text[: text.rfind("\n") + 1])
    part = path.with_name(path.name + ".part")
    part.write_text(HEAD + "".join(kept) if kept else "", encoding="utf-8")
    if kept:
        os.replace(part, path)
    else:
        part.unlink()
        path.unlink()
    return f"{path} was half-written, as a kill leaves it: {len(kept)} stages of it are whole and kept"


def recover_running(path: Path) -> str | None:
    """Remove a half-written list of running stages; the line that says so, or None where nothing is wrong."""
    if not path.exists():
        return None
    try:
        json.loads(path.read_bytes())
        return None
    except ValueError:  # neither text nor JSON
        path.unlink()
        return f"{path} was half-written, as a kill leaves it: removed"


def recover(folder: Path) -> list[str]:
    """Put right what a killed run left half-written in a DVC project. Nothing else is touched.

    Returns:
        A line for each file that was.
    """
    told = (recover_lock(folder / LOCK), recover_running(folder / RUNNING))
    return [line for line in told if line]


def main() -> None:
    for line in recover(Path.cwd()):
        print(f"recover: {line}")


if __name__ == "__main__":
    run_main(main)
