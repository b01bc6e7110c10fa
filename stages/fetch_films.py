"""Stage fetch_films: real films whose facts share no actor, as a csv table: the committed ones, which need no network, or the
most-voted ones of IMDb's tables (files or URLs).

For the synthetic world there is nothing to fetch: the table is empty.
"""

import argparse
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stages.facts.download import obtain
from stages.facts.films import Film, read_films, write_films
from stages.facts.imdb import (
    TABLES,
    choose_films,
    people_of,
    read_credits,
    read_names,
    read_titles,
    read_votes,
)
from stages.frame.settings import read_settings
from stages.frame.timing import run_stage


def obtain_tables(settings: Mapping[str, Any], downloads: Path) -> dict[str, Path]:
    """Where each of IMDb's tables is on this disk; all are there and checked before the first is read."""
    paths = {}
    for name in TABLES:
        table = settings["tables"][name]
        target = downloads / f"{name.replace('_', '.')}.tsv.gz"
        paths[name], found = obtain(table["source"], table["sha256"], target, settings["timeout"])
        print(
            f"fetch_films: {name}: {paths[name]}, sha256 {found}{'' if table['sha256'] else ' (none was given)'}"
        )
    return paths


def films_of(paths: Mapping[str, Path], films: int, min_votes: int, final_marks: bool) -> list[Film]:
    """The chosen films of IMDb's tables.

    Raises:
        UserError: a table is damaged or lacks a column, or too few films fit.
    """
    dropped: Counter[str] = Counter()
    votes = read_votes(paths["title_ratings"], min_votes)
    titles = read_titles(paths["title_basics"], votes, dropped)
    credits = read_credits(paths["title_principals"], titles)
    names = read_names(paths["name_basics"], people_of(credits))
    return choose_films(votes, titles, credits, names, films, final_marks, dropped)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--settings", type=Path, required=True, help="what check_params cut out of params.yaml"
    )
    parser.add_argument(
        "--downloads", type=Path, required=True, help="folder for tables that are given as URLs"
    )
    parser.add_argument(
        "--films",
        type=Path,
        default=Path("data/films.csv"),
        help="the committed films, for source: committed",
    )
    parser.add_argument("--out", type=Path, required=True, help="the films table, a csv")
    args = parser.parse_args()
    item = read_settings(args.settings)
    if item["world"] == "synthetic":
        write_films(args.out, [])
        print(f"fetch_films: {args.out}: the world is synthetic, so no film is needed")
        return
    settings = item["fetch_films"]
    if settings["source"] == "committed":
        films = read_films(args.films)
        write_films(args.out, films)
        print(f"fetch_films: the {len(films):,} films of {args.films}, in {args.out}")
        return
    paths = obtain_tables(settings, args.downloads)
    films = films_of(paths, settings["films"], settings["min_votes"], settings["final_marks"])
    write_films(args.out, films)
    print(
        f"fetch_films: {len(films):,} films, from {films[0].votes} votes down to {films[-1].votes}, in {args.out}"
    )


if __name__ == "__main__":
    run_stage(main)
