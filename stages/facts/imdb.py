"""IMDb's public tables: read in a stream, and the most-voted films chosen whose facts share no actor.

The tables are tab-separated without quoting, with a header; "\\N" is a missing value. IMDb gives them out daily, for personal and
non-commercial use (developer.imdb.com/non-commercial-datasets), so a sha256 belongs to one day's copy.
"""

import gzip
import io
import json
import zlib
from collections import Counter
from collections.abc import Collection, Generator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from stages.facts.films import Film, follows_a
from weightgraft.errors import UserError
from weightgraft.progress import bar

MISSING = r"\N"
TABLES = (
    "title_ratings",
    "title_basics",
    "title_principals",
    "name_basics",
)  # in the order in which they are read
ROWS_A_TICK = 100_000  # of the progress bar
CAST = ("actor", "actress")


class Title(NamedTuple):
    title: str
    year: str
    genres: str


class Credit(NamedTuple):
    ordering: int
    nconst: str
    category: str
    characters: str


def read_table(path: Path, columns: Sequence[str]) -> Generator[list[str]]:
    """The wanted columns of every row of a table (gzip or plain), a row at a time, with a progress bar.

    Close it where a row is refused: then the bar ends its line before the error is printed.

    Raises:
        UserError: a column is missing, a row has too few or too many fields, or the file is truncated or damaged.
    """
    with (
        path.open("rb") as raw,
        bar(path.name, path.stat().st_size, "bytes", scaled=True) as shown,
    ):
        zipped = raw.read(2) == b"\x1f\x8b"
        raw.seek(0)
        binary = gzip.GzipFile(fileobj=raw) if zipped else raw
        try:
            lines = io.TextIOWrapper(binary, encoding="utf-8", newline="\n")
            header = lines.readline().rstrip("\n").split("\t")
            if absent := [column for column in columns if column not in header]:
                raise UserError(f"{path}: no column {', '.join(absent)}; it has {', '.join(header)}")
            places = [header.index(column) for column in columns]
            for number, line in enumerate(lines, 2):
                row = line.rstrip("\n").split("\t")
                if len(row) != len(header):
                    raise UserError(
                        f"{path}, line {number}: {len(row)} fields; the header has {len(header)}. Is the file whole?"
                    )
                if not line.endswith("\n"):
                    raise UserError(f"{path}, line {number}: it has no end. Is the file whole?")
                yield [row[place] for place in places]
                if number % ROWS_A_TICK == 0:
                    shown.update(raw.tell() - shown.n)
        except EOFError as error:
            raise UserError(f"{path}: the gzip file is truncated; fetch it again") from error
        except (gzip.BadGzipFile, zlib.error) as error:
            raise UserError(f"{path}: the gzip file is damaged: {error}") from error
        except UnicodeDecodeError as error:
            raise UserError(f"{path}: not UTF-8 text: {error}") from error
        shown.update(shown.total - shown.n)


def whole_number(path: Path, row: str, column: str, text: str) -> int:
    if not text.isdecimal():
        raise UserError(f"{path}: {column} of {row} is {text!r}; a whole number is needed")
    return int(text)


def read_votes(path: Path, min_votes: int) -> dict[str, int]:
    """tconst -> votes, of the titles that have at least `min_votes` (title.ratings)."""
    with closing(read_table(path, ["tconst", "numVotes"])) as table:
        rows = ((key, whole_number(path, key, "numVotes", votes)) for key, votes in table)
        return {key: votes for key, votes in rows if votes >= min_votes}


def read_titles(path: Path, among: Collection[str], dropped: Counter[str]) -> dict[str, Title]:
    """tconst -> title, of those `among` that are movies, not for adults, with a title and a year (title.basics).

    What each filter drops is counted in `dropped`.
    """
    titles = {}
    listed = 0
    columns = ["tconst", "titleType", "primaryTitle", "isAdult", "startYear", "genres"]
    for key, kind, title, adult, year, genres in read_table(path, columns):
        if key not in among:
            continue
        listed += 1
        if kind != "movie":
            dropped["no movies"] += 1
        elif adult != "0":
            dropped["for adults"] += 1
        elif title in ("", MISSING) or not year.isdecimal():
            dropped["without title or year"] += 1
        else:
            titles[key] = Title(title, year, "" if genres == MISSING else genres)
    dropped["not in title.basics"] = len(among) - listed
    return titles


def read_credits(path: Path, among: Collection[str]) -> dict[str, list[Credit]]:
    """tconst -> actors and directors, in IMDb's order, of the titles `among` (title.principals)."""
    credits: dict[str, list[Credit]] = {}
    columns = ["tconst", "ordering", "nconst", "category", "characters"]
    with closing(read_table(path, columns)) as table:
        for key, ordering, person, category, characters in table:
            if key in among and (category in CAST or category == "director"):
                place = whole_number(path, key, "ordering", ordering)
                credits.setdefault(key, []).append(Credit(place, person, category, characters))
    return {key: sorted(found) for key, found in credits.items()}


def read_names(path: Path, among: Collection[str]) -> dict[str, str]:
    """nconst -> name, of the people `among` (name.basics)."""
    return {
        key: name
        for key, name in read_table(path, ["nconst", "primaryName"])
        if key in among and name not in ("", MISSING)
    }


def genre_of(genres: str) -> str:
    """The first of IMDb's genres, which commas part, that can follow the "a" of the templates; empty where there is none."""
    fitting = (genre for genre in genres.lower().split(",") if genre and follows_a(genre))
    return next(fitting, "")


def first_character(characters: str) -> str:
    """The first of the parts that IMDb lists as JSON (["Neo"]); empty where there is none or it is no such list."""
    try:
        parts = json.loads(characters)
    except ValueError:  # "\N", too
        return ""
    return parts[0].strip() if isinstance(parts, list) and parts and isinstance(parts[0], str) else ""


def leads(credits: Sequence[Credit]) -> tuple[list[Credit], list[Credit]]:
    """The first two actors, and the first director if there is one."""
    cast: dict[str, Credit] = {}
    for credit in credits:
        if credit.category in CAST:
            cast.setdefault(credit.nconst, credit)  # IMDb may list a person twice
    return list(cast.values())[:2], [credit for credit in credits if credit.category == "director"][:1]


def people_of(credits: Mapping[str, list[Credit]]) -> set[str]:
    """Whose names are needed."""
    return {credit.nconst for found in credits.values() for part in leads(found) for credit in part}


def fault(film: Film, taken: Collection[tuple[str, str]], final_marks: bool) -> str | None:
    """Why a film cannot be a fact beside those already chosen, if so.

    taken: the titles and actors of those. final_marks: whether a name or title may end in a mark. Some tokenizers join it
    with the mark behind it ("Jr.?" in the qa prompt is one token of Llama 3), and the entity then ends inside a token.
    """
    cast = (film.first_actor, film.second_actor)
    if len({name.casefold() for name in (*cast, film.director)}) < 3:
        return "with one person in two places"
    if not all(
        name[0].isalpha() for name in cast
    ):  # " 50 Cent" may begin with the token " ", which says nothing
        return "with an actor whose name begins with no letter"
    if not final_marks and not all(name[-1].isalnum() for name in (*cast, film.title)):
        return "with a title or an actor that ends in a mark"
    if any(name.casefold() in film.title.casefold() for name in cast):
        return "named after one of their actors"
    if ("title", film.title.casefold()) in taken:
        return "with the title of a film with more votes"
    if any(("actor", name.casefold()) in taken for name in cast):
        return "with an actor of a chosen film with more votes"
    return None


def choose_films(
    votes: Mapping[str, int],
    titles: Mapping[str, Title],
    credits: Mapping[str, list[Credit]],
    names: Mapping[str, str],
    count: int,
    final_marks: bool,
    dropped: Counter[str],
) -> list[Film]:
    """The `count` most-voted films that fit, by votes, then by tconst: no title and no actor is in two of them.

    Two people of one name count as one, since a prompt could not tell them apart. Directors may have made several films.

    Raises:
        UserError: fewer fit; names how many, and what each filter dropped.
    """
    films: list[Film] = []
    taken: set[tuple[str, str]] = set()
    for key in sorted(titles, key=lambda key: (-votes[key], key)):
        if len(films) == count:
            break
        cast, directors = leads(credits.get(key, []))
        if len(cast) < 2 or not directors:
            dropped["without two actors" if len(cast) < 2 else "without a director"] += 1
            continue
        people = [names.get(credit.nconst, "") for credit in (*cast, *directors)]
        if not all(people):
            dropped["with a person who has no name in name.basics"] += 1
            continue
        film = Film(
            title=titles[key].title,
            year=titles[key].year,
            genre=genre_of(titles[key].genres),
            first_actor=people[0],
            second_actor=people[1],
            director=people[2],
            character=first_character(cast[0].characters),
            tconst=key,
            votes=str(votes[key]),
        )
        if why := fault(film, taken, final_marks):
            dropped[why] += 1
            continue
        films.append(film)
        taken |= {("title", film.title.casefold())}
        taken |= {("actor", name.casefold()) for name in (film.first_actor, film.second_actor)}
    if len(films) < count:
        reasons = "; ".join(f"{number:,} {why}" for why, number in dropped.items() if number)
        raise UserError(
            f"fetch_films.films is {count:,}; {len(films):,} films fit, of {len(votes):,} titles that have "
            f"fetch_films.min_votes. Dropped: {reasons or 'none'}"
        )
    return films
