"""What a killed DVC may leave half-written, put right before the next run: `make repro` calls it first.

DVC writes its list of finished stages (dvc.lock) and its list of running ones (.dvc/tmp/rwlock) in place, not whole or not at
all. A kill in between leaves a file that every later DVC refuses to read. Here the stages that dvc.lock still tells whole are
kept; of the others the outputs are in DVC's cache, so a stage that had finished is fetched from there and not started again.

    python -m stages.commands.recover
"""

import fcntl
import json
import os
import re
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML, YAMLError

from weightgraft.errors import run_main

LOCK = Path("dvc.lock")
RUNNING = Path(".dvc/tmp/rwlock")
# DVC holds these while it writes the two (flock, which ends with the process).
HELD_FOR_LOCK, HELD_FOR_RUNNING = Path(".dvc/tmp/lock"), Path(".dvc/tmp/rwlock.lock")
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


def recover_lock(path: Path) -> str | None:
    """Cut a half-written dvc.lock back to its whole stages; the line that says so, or None where nothing is wrong.

    DVC empties the file and writes it from its start, so only the end can be missing: the last stage alone is read.
    """
    if not path.exists():
        return None
    text = path.read_text(encoding="utf-8", errors="replace")
    head, *stages = ENTRY.split(text)
    last = parsed(f"  {stages[-1]}") if stages else None
    # What ends without a newline was cut, even where it can be read: a size may have lost its last digits.
    if text.endswith("\n") and isinstance(last, dict) and all(is_whole(stage) for stage in last.values()):
        return None
    kept = stages[:-1]
    if kept:
        _put(path, "  ".join([head, *kept]))
    else:
        path.unlink()
    return f"{path} was half-written, as a kill leaves it: {len(kept)} stages of it are whole and kept"


def drop_gone(path: Path, declared: Collection[str]) -> int:
    """Take the entries of stages that dvc.yaml no longer has out of dvc.lock: DVC itself never does. Gives their number."""
    if not path.exists():
        return 0
    head, *stages = ENTRY.split(path.read_text(encoding="utf-8"))
    kept = [stage for stage in stages if stage.split(":\n", 1)[0].strip("'\"") in declared]
    if len(kept) < len(stages):
        _put(path, "  ".join([head, *kept]))
    return len(stages) - len(kept)


def _put(path: Path, text: str) -> None:
    """Write a file whole or not at all."""
    part = path.with_name(path.name + ".part")
    part.write_text(text, encoding="utf-8")
    os.replace(part, path)


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


@contextmanager
def free(path: Path) -> Iterator[bool]:
    """Whether no process holds a lock file; then it is held here for the block's time."""
    if not path.exists():
        yield True
        return
    with path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True


def recover(folder: Path) -> list[str]:
    """Put right what a killed run left half-written in a DVC project. Nothing else is touched, and nothing that a living DVC
    is writing.

    Returns:
        A line for each file that was.
    """
    told = []
    for held, path, mend in (
        (HELD_FOR_LOCK, LOCK, recover_lock),
        (HELD_FOR_RUNNING, RUNNING, recover_running),
    ):
        with free(folder / held) as ours:
            told.append(mend(folder / path) if ours else None)
    return [line for line in told if line]


def main() -> None:
    for line in recover(Path.cwd()):
        print(f"recover: {line}")


if __name__ == "__main__":
    run_main(main)
