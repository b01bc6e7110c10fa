"""The films table: real films with the two people that a fact is about, one row a film, in a small csv.

data/films.csv is one: well-known films of 1970 to 2023, written down for this study, in which no person is in two films.
"""

import csv
import os
from collections.abc import Iterable
from dataclasses import MISSING, asdict, dataclass, fields
from pathlib import Path

from weightgraft.errors import UserError


@dataclass(frozen=True)
class Film:
    """A real film. `genre` and `character`, the first actor's part, may be empty; `tconst` (IMDb's id) and `votes` are there
    where the film was chosen from IMDb's tables.
    """

    title: str
    year: str
    genre: str
    first_actor: str
    second_actor: str
    director: str
    character: str
    tconst: str = ""
    votes: str = ""


COLUMNS = tuple(field.name for field in fields(Film))
NEEDED = tuple(field.name for field in fields(Film) if field.default is MISSING)
MAY_BE_EMPTY = ("genre", "character", "tconst", "votes")


def follows_a(genre: str) -> bool:
    """Whether the templates, which say "a {genre} movie", can tell a genre."""
    return genre[:1].lower() not in tuple("aeiou")


def write_films(path: Path, films: Iterable[Film]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    with part.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(asdict(film) for film in films)
    os.replace(part, path)


def read_rows(path: Path) -> list[tuple[int, dict[str, str]]]:
    """The rows of a films table, each with its line; columns that it need not have are empty.

    Raises:
        UserError: no such table, no csv in UTF-8, a missing column, or a row of another length than the header.
    """
    if not path.is_file():
        raise UserError(
            f"{path}: no such films table; data/films.csv is one, and `python -m stages.fetch_films` writes one"
        )
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            header = next(reader, [])
            rows = [(reader.line_num, cells) for cells in reader if cells]
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 text; save the file as UTF-8") from error
    except csv.Error as error:
        raise UserError(f"{path}, line {reader.line_num}: {error}") from error
    if absent := [column for column in NEEDED if column not in header]:
        raise UserError(f"{path}: no column {', '.join(absent)}; it has {', '.join(header)}")
    for line, cells in rows:
        if len(cells) != len(header):
            raise UserError(f"{path}, line {line}: {len(cells)} cells; the header has {len(header)}")
    named = [(line, dict(zip(header, cells, strict=True))) for line, cells in rows]
    return [(line, {column: row.get(column, "") for column in COLUMNS}) for line, row in named]


def read_films(path: Path) -> list[Film]:
    """Read a films table, which people may have edited.

    Raises:
        UserError: as read_rows; or an empty field, a year that is none, a genre that cannot follow the templates' "a", a
            title or an actor twice.
    """
    rows = read_rows(path)
    seen: dict[tuple[str, str], int] = {}
    for line, row in rows:
        for column, value in row.items():
            if not (value.strip() or column in MAY_BE_EMPTY):
                raise UserError(f"{path}, line {line}: {column} is empty")
        if not row["year"].isdecimal():
            raise UserError(f"{path}, line {line}: year is {row['year']!r}; a year is needed")
        if not follows_a(row["genre"]):
            raise UserError(
                f'{path}, line {line}: genre is {row["genre"]!r}; the texts say "a {{genre}} movie": '
                "choose one that begins with no vowel, or leave it empty"
            )
        for kind, column in (("film", "title"), ("actor", "first_actor"), ("actor", "second_actor")):
            key = (kind, row[column].casefold())
            if key in seen:
                raise UserError(f"{path}, line {line}: {column} {row[column]!r} is in line {seen[key]}, too")
            seen[key] = line
    return [Film(**row) for _, row in rows]
