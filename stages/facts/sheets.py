"""Files that people write by hand or in a spreadsheet: csv and YAML, whose faults end in one line."""

import csv
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ruamel.yaml import YAMLError

from stages.study.params import read_yaml
from weightgraft.errors import UserError

LEAST = 2  # facts: an interval needs two, and a foil is another fact's target


@dataclass(frozen=True)
class Fact:
    """A row of facts.csv: its cells by column, and the line of the file that it ends in."""

    line: int
    cells: dict[str, str]


def text_of(path: Path) -> str:
    """A file's text; a byte order mark, which spreadsheets write, is left out.

    Raises:
        UserError: there is no such file, or it is not UTF-8; names the line.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such file")
    data = path.read_bytes()
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise UserError(
            f"{path}, line {line}: byte 0x{data[error.start]:02x} is not UTF-8; save the file as UTF-8"
        ) from error


def yaml_of(path: Path) -> Any:
    """What a YAML file holds; UserError where it cannot be read."""
    text_of(path)
    try:
        return read_yaml(path)
    except YAMLError as error:
        raise UserError(f"{path} is not YAML: {' '.join(str(error).split())}") from error


def read_csv(path: Path) -> tuple[list[str], list[Fact]]:
    """The header, and a fact a row; blank lines are none.

    Raises:
        UserError: no header, a column without a name or named twice, a row of another length, or too few facts.
    """
    reader = csv.reader(io.StringIO(text_of(path), newline=""), strict=True)
    try:
        rows = [(reader.line_num, row) for row in reader if row]
    except csv.Error as error:
        raise UserError(f"{path}, line {reader.line_num}: {error}") from error
    if not rows:
        raise UserError(f"{path}: no header: its first line must name the columns")
    (_, header), *rows = rows
    for number, column in enumerate(header, 1):
        if not column.strip():
            raise UserError(f"{path}: no header: column {number} of the first line has no name")
        if header.count(column) > 1:
            raise UserError(f"{path}: column {column!r} is there {header.count(column)} times")
    for line, row in rows:
        if len(row) != len(header):
            raise UserError(
                f"{path}, line {line}: {len(row)} cells; the header has {len(header)}: {', '.join(header)}"
            )
    if len(rows) < LEAST:
        raise UserError(f"{path}: too few facts, {len(rows)}; at least {LEAST} are needed")
    return header, [Fact(line, dict(zip(header, row, strict=True))) for line, row in rows]
