"""IMDb's four tables, made up, and the stage that reads them."""

import gzip
import hashlib
import json
import sys

from stages.facts.films import read_films
from stages.facts.imdb import TABLES
from stages.fetch_films import main
from stages.study.faults import parsed
from stages.study.schema import FetchFilms

HEADERS = {
    "title_ratings": ["tconst", "averageRating", "numVotes"],
    "title_basics": [
        "tconst", "titleType", "primaryTitle", "originalTitle", "isAdult", "startYear", "endYear", "runtimeMinutes", "genres",
    ],
    "title_principals": ["tconst", "ordering", "nconst", "category", "job", "characters"],
    "name_basics": ["nconst", "primaryName", "birthYear", "deathYear", "primaryProfession", "knownForTitles"],
}  # fmt: skip
WANTED = {"films": 2, "min_votes": 100, "final_marks": False}


class Imdb:
    """IMDb's four tables as lists of rows, to which a test adds films."""

    def __init__(self):
        self.rows = {name: [] for name in TABLES}
        self.people = {}

    def person(self, name):
        """The id of a person; a name with # has an id of its own and is written without."""
        if name not in self.people:
            self.people[name] = f"nm{len(self.people):07}"
            self.rows["name_basics"].append(
                [self.people[name], name.split("#")[0], r"\N", r"\N", "actor", r"\N"]
            )
        return self.people[name]

    def add(
        self, tconst, title, votes, cast, director="Dora Direct", kind="movie", adult="0", year="1999",
        genres="Action,Drama", characters=r'["Neo"]',
    ):  # fmt: skip
        """A film. cast: names, or (name, category), in IMDb's order."""
        self.rows["title_ratings"].append([tconst, "7.5", str(votes)])
        self.rows["title_basics"].append([tconst, kind, title, title, adult, year, r"\N", "100", genres])
        credits = [(one, "actor") if isinstance(one, str) else one for one in cast]
        if director:
            credits.append((director, "director"))
        for ordering, (name, category) in enumerate(credits, 1):
            row = [tconst, str(ordering), self.person(name), category, r"\N", characters]
            self.rows["title_principals"].append(row)

    def write(self, folder, zipped=True):
        """The tables as files; the order of their rows must not matter, so it is turned round."""
        paths = {}
        for name, rows in self.rows.items():
            lines = ["\t".join(row) + "\n" for row in [HEADERS[name], *rows[::-1]]]
            data = "".join(lines).encode()
            paths[name] = folder / f"{name}.tsv{'.gz' if zipped else ''}"
            paths[name].write_bytes(gzip.compress(data) if zipped else data)
        return paths


def settings_file(folder, sources, **changes):
    hashes = changes.pop("hashes", {})
    tables = {name: {"source": str(source), "sha256": hashes.get(name)} for name, source in sources.items()}
    settings = WANTED | {"source": "imdb", "timeout": 5.0, "tables": tables} | changes
    parsed(FetchFilms, settings, ("fetch_films",))  # what the tests hand over is valid
    path = folder / "settings.json"
    path.write_text(json.dumps({"world": "real", "fetch_films": settings}))
    return path


def run(monkeypatch, folder, sources, **changes):
    """The stage as a command; returns the films it wrote."""
    settings = settings_file(folder, sources, **changes)
    out = folder / "real/films.csv"
    arguments = ["--settings", settings, "--downloads", folder / "downloads", "--out", out]
    monkeypatch.setattr(sys, "argv", ["fetch_films", *map(str, arguments)])
    main()
    return read_films(out)


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()
