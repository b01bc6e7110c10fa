"""Where a file comes from, read off dvc.lock: its hash, the stage that made it, and all stages before that one."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from stages.study.params import read_yaml
from weightgraft.errors import UserError

CODE = ("stages/", "weightgraft/")
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


def recorded(lock: Mapping[str, Mapping], path: str) -> tuple[str, str] | None:
    """(the output that a path is, or is in, its md5 as dvc.lock has it); None where it is in none."""
    name = producer(lock, path)
    outs = lock[name]["outs"] if name else {}
    return next(((out, md5) for out, md5 in outs.items() if path == out or path.startswith(f"{out}/")), None)


def upstream(lock: Mapping[str, Mapping], path: str) -> Iterator[str]:
    """The stages that wrote a path, or what is in it, then those that wrote what these read, and so on; each once, nearest
    first."""
    waiting, seen = [path], set()
    while waiting:
        read = waiting.pop(0)
        inside = (
            name for name, stage in lock.items() if any(out.startswith(f"{read}/") for out in stage["outs"])
        )
        for name in (producer(lock, read), *inside):
            if name is None or name in seen:
                continue
            seen.add(name)
            yield name
            waiting += [dep for dep in lock[name]["deps"] if not dep.startswith((*CODE, SETTINGS))]


def file_md5(path: Path) -> str:
    return hashlib.md5(path.read_bytes()).hexdigest()


def folder_md5(path: Path) -> str:
    """A folder's md5 as DVC makes it: of the list of its files and their md5s."""
    files = {file.relative_to(path).as_posix(): file for file in path.rglob("*") if file.is_file()}
    listed = [{"md5": file_md5(files[name]), "relpath": name} for name in sorted(files)]
    return hashlib.md5(json.dumps(listed, sort_keys=True).encode()).hexdigest() + ".dir"


def digest(values: Any) -> str:
    """One md5 for any plain values, whatever the order of their keys."""
    text = json.dumps(values, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.md5(text.encode()).hexdigest()


def state(lock: Mapping[str, Mapping], path: Path) -> str:
    """A file's md5 in dvc.lock, or that of the folder it was written with, and whether what is here is that."""
    found = recorded(lock, path.as_posix())
    if found is None:
        return "not in dvc.lock: run dvc repro"
    out, md5 = found
    what = "" if out == path.as_posix() else f"in {out}, "
    if not path.is_file():
        return f"{what}md5 {md5} (not here: dvc repro makes it)"
    here = folder_md5(Path(out)) if what else file_md5(path)
    return f"{what}md5 {md5}" + ("" if here == md5 else f" in dvc.lock, BUT {here} here: run dvc repro")
