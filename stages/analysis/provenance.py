"""Where a file comes from, read off dvc.lock: its hash, the stage that made it, and all stages before that one."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from stages.study.params import read_yaml
from weightgraft.errors import UserError

CODE = "stages/"
SETTINGS = "runs/settings/"


def read_lock(path: Path) -> dict[str, dict[str, Any]]:
    """The stages of dvc.lock: name -> {deps, outs: path -> md5}."""
    if not path.is_file():
        raise UserError(f"{path}: no such file; run dvc repro first, or start this in the repository's root")
    stages = read_yaml(path).get("stages", {})
    return {
        name: {
            "deps": {entry["path"]: entry["md5"] for entry in stage.get("deps", [])},
            "outs": {entry["path"]: entry["md5"] for entry in stage.get("outs", [])},
        }
        for name, stage in stages.items()
    }


def producer(lock: Mapping[str, Mapping], path: str) -> str | None:
    """The stage that wrote a file or folder, or a folder that it is in; None for what is no output."""
    for name, stage in lock.items():
        if any(path == out or path.startswith(f"{out}/") for out in stage["outs"]):
            return name
    return None


def recorded_md5(lock: Mapping[str, Mapping], path: str) -> str | None:
    """The md5 of an output as dvc.lock has it; None where it has none."""
    name = producer(lock, path)
    return lock[name]["outs"].get(path) if name else None


def upstream(lock: Mapping[str, Mapping], path: str) -> Iterator[str]:
    """The stage that wrote a path, then those that wrote what it read, and so on; each once, nearest first."""
    waiting, seen = [path], set()
    while waiting:
        name = producer(lock, waiting.pop(0))
        if name is None or name in seen:
            continue
        seen.add(name)
        yield name
        waiting += [dep for dep in lock[name]["deps"] if not dep.startswith((CODE, SETTINGS))]


def file_md5(path: Path) -> str:
    return hashlib.md5(path.read_bytes()).hexdigest()


def digest(values: Any) -> str:
    """One md5 for any plain values, whatever the order of their keys."""
    text = json.dumps(values, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.md5(text.encode()).hexdigest()


def state(lock: Mapping[str, Mapping], path: Path) -> str:
    """A file's md5 in dvc.lock, and whether the file that is here is that one."""
    recorded = recorded_md5(lock, path.as_posix())
    if recorded is None:
        return "not in dvc.lock: run dvc repro"
    if not path.is_file():
        return f"md5 {recorded} (not here: dvc repro makes it)"
    here = file_md5(path)
    return f"md5 {recorded}" + ("" if here == recorded else f" in dvc.lock, BUT {here} here: run dvc repro")
