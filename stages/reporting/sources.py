"""What the report reads beside the summaries: claims, verdicts, training metrics, pins, notes; faults in one line."""

import hashlib
import json
import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from stages.analysis.verdicts import COLUMNS, LEFT_OUT, VERDICTS
from stages.study.params import read_yaml
from weightgraft.errors import UserError

NOTES = ("questions",)  # the keys of data/report_notes.yaml


def read_verdicts(
    folder: Path, wanted: Sequence[tuple[str, int]], needed: Sequence[tuple[str, int]]
) -> pd.DataFrame:
    """The verdicts of all (model, seed) in one table, in that order.

    wanted: those that may have verdicts; needed: those of them that must.

    Raises:
        UserError: a needed file is missing, a column is, or a verdict is unknown.
    """
    tables = []
    for model, seed in wanted:
        path = folder / f"{model}-{seed}.csv"
        if not path.is_file():
            if (model, seed) in needed:
                raise UserError(f"{path} is missing: params.yaml's study lists {model}, seed {seed}")
            continue
        table = pd.read_csv(path)
        for column in COLUMNS:
            if column not in table:
                raise UserError(f"{path} has no column {column!r}; it has: {', '.join(table.columns)}")
        valid = (*VERDICTS, LEFT_OUT)
        if unknown := set(table["verdict"]) - {*valid}:
            raise UserError(f"{path}: verdict is {unknown.pop()!r}; valid: {', '.join(valid)}")
        tables.append(table)
    return pd.concat(tables, ignore_index=True)


def read_real_verdicts(folder: Path, models: Iterable[str]) -> list[pd.DataFrame]:
    """The verdicts that `make real` has left of these models, a table a model and seed; none where it has not been run."""
    found = []
    for model in models:
        ends = [path.stem.removeprefix(f"{model}-") for path in (folder / "verdicts").glob(f"{model}-*.csv")]
        # A seed: what is none is the rest of a name that begins alike.
        pairs = [(model, seed) for seed in sorted(int(end) for end in ends if end.isdigit())]
        found += [read_verdicts(folder / "verdicts", pairs, pairs)] if pairs else []
    return found


def read_training(folder: Path) -> pd.DataFrame:
    """Every number of results/metrics/pretrain and finetune: kind, item, name, value."""
    rows = [
        {"kind": kind, "item": path.stem, "name": name, "value": value}
        for kind in ("pretrain", "finetune")
        for path in sorted((folder / kind).glob("*.json"))
        for name, value in json.loads(path.read_text(encoding="utf-8")).items()
        if isinstance(value, int | float)
    ]
    return pd.DataFrame(rows, columns=["kind", "item", "name", "value"])


def read_pins(pyproject: Path) -> list[tuple[str, str]]:
    """(library, version) of every library that the study itself uses, as pyproject.toml pins it."""
    project = tomllib.loads(pyproject.read_text(encoding="utf-8"))["project"]
    pins = [*project["dependencies"], *project["optional-dependencies"]["study"]]
    return sorted(
        ((name, version) for name, _, version in (pin.partition("==") for pin in pins)),
        key=lambda pin: pin[0].lower(),
    )


def read_version(pyproject: Path) -> str:
    """The project's own version."""
    return str(tomllib.loads(pyproject.read_text(encoding="utf-8"))["project"]["version"])


def read_sections(params: Path) -> list[tuple[str, str]]:
    """(name, text) of every section of params.yaml, as written, with its comments."""
    text = params.read_text(encoding="utf-8")
    starts = [match.start() for match in re.finditer(r"^(?=[A-Za-z_]+:)", text, re.MULTILINE)]
    # Comments right above a section belong to it.
    starts = [len(text[:start]) - len(_comment_above(text[:start])) for start in starts]
    parts = [text[start:end].strip("\n") for start, end in zip(starts, [*starts[1:], len(text)], strict=True)]
    return [
        (next(line for line in part.splitlines() if line[:1].isalpha()).partition(":")[0], part)
        for part in parts
    ]


def _comment_above(text: str) -> str:
    match = re.search(r"(?:^#.*\n)+\Z", text, re.MULTILINE)
    return match[0] if match else ""


def read_notes(path: Path, claims: Mapping[str, Any]) -> dict[str, Any]:
    """The notes: {questions: [{question, claims: ids, or letters of ids}]}, which may be empty.

    Raises:
        UserError: an unknown key or claim.
    """
    notes = read_yaml(path) or {}
    for key in notes:
        if key not in NOTES:
            raise UserError(f"{path}: unknown key {key!r}; valid: {', '.join(NOTES)}")
    for entry in notes.get("questions") or []:
        for name in entry["claims"]:
            if len(name) > 1 and name not in claims:
                raise UserError(
                    f"{path}: question {entry['question']!r}: claim {name!r} is none of {', '.join(claims)}"
                )
    return {"questions": notes.get("questions") or []}


def read_run_time(path: Path) -> dict[str, Any] | None:
    """Where the seconds of the last `make repro` that trained everything went: {minutes, cores, processor, rows: {kind, starts,
    cpu_seconds, share}}; None where no run has told it (stages/commands/repro.py)."""
    if not path.read_text(encoding="utf-8").strip():
        return None
    table = pd.read_csv(path)
    first = table.iloc[0]
    return {
        "minutes": f"{int(first['wall_seconds'] / 60 + 0.5)}",
        "cores": int(first["cores"]),
        "processor": first["processor"],
        "rows": table[["kind", "starts", "cpu_seconds", "share"]].to_dict("records"),
    }


def hashes(paths: Iterable[Path]) -> list[tuple[str, str]]:
    """(path, md5) of every file, folders with all that is in them: the hashes that DVC lists for single files."""
    files = [
        file
        for path in paths
        for file in (sorted(path.rglob("*")) if path.is_dir() else [path])
        if file.is_file() and not file.name.startswith(".")
    ]
    return [
        (file.as_posix(), hashlib.md5(file.read_bytes(), usedforsecurity=False).hexdigest()) for file in files
    ]
