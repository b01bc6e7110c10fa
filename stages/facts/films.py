"""The films table: real films with the two people that a fact is about, one row a film, in a small csv."""

import csv
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from weightgraft.errors import UserError


@dataclass(frozen=True)
class Film:
    """A real film. `genres` is IMDb's list, parted by commas, `character` the first actor's part; either may be empty."""

    tconst: str  # IMDb's id
    title: str
    year: str
    genres: str
    first_actor: str
    second_actor: str
    character: str
    director: str
    votes: str


COLUMNS = tuple(field.name for field in fields(Film))
MAY_BE_EMPTY = ("genres", "character")


def write_films(path: Path, films: Iterable[Film]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(asdict(film) for film in films)


def read_films(path: Path) -> list[Film]:
    """Read the films table, which people may have edited.

    Raises:
        UserError: no such table, a missing column, an empty field, a year that is none, a title or an actor twice.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such films table; `python -m stages.fetch_films` writes it")
    with path.open(encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file)
        if absent := [column for column in COLUMNS if column not in (reader.fieldnames or ())]:
            raise UserError(
                f"{path}: no column {', '.join(absent)}; it has {', '.join(reader.fieldnames or ())}"
            )
        rows = [(reader.line_num, {column: row[column] for column in COLUMNS}) for row in reader]
    seen: dict[tuple[str, str], int] = {}
    for line, row in rows:
        for column, value in row.items():
            if value is None or not (value.strip() or column in MAY_BE_EMPTY):
                raise UserError(f"{path}, line {line}: {column} is empty")
        if not row["year"].isdecimal():
            raise UserError(f"{path}, line {line}: year is {row['year']!r}; a year is needed")
        for kind, column in (("film", "title"), ("actor", "first_actor"), ("actor", "second_actor")):
            key = (kind, row[column].casefold())
            if key in seen:
                raise UserError(f"{path}, line {line}: {column} {row[column]!r} is in line {seen[key]}, too")
            seen[key] = line
    return [Film(**row) for _, row in rows]
