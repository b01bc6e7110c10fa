"""General text for the gentle recipe (E6), from the hub or from a local file; CounterFact is read the same way.

The hub is read with `datasets`, the project's extra `real`; it is imported only when a hub dataset is asked for.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from weightgraft.errors import UserError


def records_of(source: Mapping[str, Any]) -> Iterable[Mapping[str, Any]]:
    """The records of {file: path} or {dataset: hub id, revision: commit, config: name or null, split: name}.

    A file is a JSON list (.json), one JSON object a line (.jsonl), or text, whose lines become {"text": line}.

    Raises:
        UserError: the file is missing or damaged, `datasets` is not installed, or it cannot load the dataset.
    """
    if "file" in source:
        return records_of_file(Path(source["file"]))
    name, config, split = source["dataset"], source.get("config"), source["split"]
    try:
        from datasets import load_dataset
    except ImportError as error:
        raise UserError(
            f"{name}: `datasets`, which reads it from the hub, is not installed: pip install '.[real]', or give a local file"
        ) from error
    try:
        return load_dataset(name, config, split=split, revision=source["revision"])
    except (OSError, ValueError) as error:  # not found, no network; unknown config or split
        raise UserError(
            f"{name} (config {config}, split {split}): not loaded: {' '.join(str(error).split())}"
        ) from error


def records_of_file(path: Path) -> list[dict[str, Any]]:
    """The records of a local file; see records_of."""
    if not path.is_file():
        raise UserError(f"{path}: no such file")
    try:
        text = path.read_text(encoding="utf-8")
        lines = [line for line in text.split("\n") if line.strip()]
        if path.suffix not in (".json", ".jsonl"):
            return [{"text": line} for line in lines]
        records = json.loads(text) if path.suffix == ".json" else [json.loads(line) for line in lines]
    except ValueError as error:  # of JSON, or of UTF-8
        raise UserError(f"{path}: damaged: {error}") from error
    if not isinstance(records, list) or not all(isinstance(record, dict) for record in records):
        raise UserError(f"{path}: a list of JSON objects is needed")
    return records


def first_of(source: Mapping[str, Any], found: Iterator, count: int, what: str) -> list:
    """The first `count`; UserError if there are fewer."""
    first = list(islice(found, count))
    if len(first) < count:
        raise UserError(f"{source.get('file') or source['dataset']}: {len(first)} {what}; {count} are needed")
    return first


def value_at(record: Mapping[str, Any], number: int, *keys: str) -> Any:
    """A value inside nested records; UserError that names the record where there is none."""
    node: Any = record
    for key in keys:
        if not isinstance(node, Mapping) or key not in node:
            raise UserError(f"record {number} has no {'.'.join(keys)}; it has {', '.join(record)}")
        node = node[key]
    return node


def general_texts(source: Mapping[str, Any], count: int) -> list[str]:
    """The first `count` texts: the records' `text`, without empty ones and wikitext's headings (= Title =).

    Raises:
        UserError: as records_of; or a record without text, or too few.
    """
    texts = (
        str(value_at(record, number, "text")).strip() for number, record in enumerate(records_of(source), 1)
    )
    return first_of(source, (text for text in texts if text and not text.startswith("=")), count, "texts")
