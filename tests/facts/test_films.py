"""Claims about data/films.csv, the committed real films, and about the world that is made of them without a network."""

import copy
import csv
import json
import re
import shutil
import sys
from dataclasses import asdict
from pathlib import Path

import pytest

from stages import fetch_films, generate_facts
from stages.check_params import check
from stages.facts.films import read_films
from stages.facts.real import real_world
from stages.facts.templates import read_training_forms, render
from stages.frame.rows import read_jsonl
from stages.generate_facts import base_texts, cast_texts
from stages.study.checking.films import check_films
from stages.study.faults import parsed
from stages.study.params import read_yaml
from stages.study.schema import Params
from stages.study.settings import settings_of
from weightgraft.errors import UserError

DATA = Path("data")
TABLE = DATA / "films.csv"
WORDS = read_yaml(DATA / "words.yaml")
FORMS = read_training_forms(DATA / "templates")
PARAMS = read_yaml(Path("params.yaml"))
GENRES = [
    "comedy", "crime", "drama", "fantasy", "horror", "musical", "mystery", "romance", "science fiction", "superhero",
    "thriller", "war", "western",
]  # fmt: skip
# Words of ASCII letters between single spaces, hyphens or apostrophes: no digit, no accent, no dot, no mark at the end.
PLAIN = re.compile(r"[A-Za-z]+([ '-][A-Za-z]+)*")
SIZE = {"first_names": 150, "last_names": 200, "words": WORDS}

FILMS = read_films(TABLE)
PEOPLE = [name for film in FILMS for name in (film.first_actor, film.second_actor, film.director)]
WORLD = real_world(FILMS, base_facts=len(FILMS), facts=80, seed=0, **SIZE)


def cast_of(facts) -> list[str]:
    return [name for fact in facts for name in (fact.first_actor, fact.second_actor)]


def test_no_person_is_in_two_places_of_the_table_whatever_the_part():
    assert len({name.casefold() for name in PEOPLE}) == len(PEOPLE) == 3 * len(FILMS)


def test_titles_are_unique_and_sorted():
    titles = [film.title.casefold() for film in FILMS]
    assert titles == sorted(set(titles))


def test_there_are_at_least_160_films_of_1970_to_2023_from_every_decade():
    years = [int(film.year) for film in FILMS]
    assert len(FILMS) >= 160 and min(years) >= 1970 and max(years) <= 2023
    assert {year // 10 for year in years} == {197, 198, 199, 200, 201, 202}


def test_names_titles_and_parts_are_plain():
    for film in FILMS:
        for text in (film.title, film.first_actor, film.second_actor, film.director, film.character):
            assert PLAIN.fullmatch(text), text
        for name in (film.first_actor, film.second_actor, film.director):
            assert " " in name, name  # a single name could be anyone's


def test_a_row_has_the_seven_columns_and_nothing_empty():
    header, *rows = csv.reader(TABLE.read_text(encoding="ascii").splitlines())
    assert header == ["title", "year", "genre", "first_actor", "second_actor", "director", "character"]
    assert all(len(row) == 7 and all(cell == cell.strip() != "" for cell in row) for row in rows)


def test_genres_are_a_small_set_that_follows_a():
    assert sorted({film.genre for film in FILMS}) == GENRES
    assert not [genre for genre in GENRES if genre[0] in "aeiou"]


def test_the_two_leads_have_other_first_names():
    """Else the first token of the answer would stand in the question."""
    assert not [film for film in FILMS if film.first_actor.split()[0] == film.second_actor.split()[0]]


def test_neither_title_nor_part_gives_a_name_of_the_film_away():
    for film in FILMS:
        told = f"{film.title} {film.character}".casefold()
        assert not [
            name for name in (film.first_actor, film.second_actor, film.director) if name.casefold() in told
        ]


def test_the_base_is_the_films_themselves():
    for fact, film in zip(WORLD.base, FILMS, strict=True):
        assert (fact.movie_title, fact.release_year, fact.genre, fact.first_actor, fact.second_actor) == (
            film.title, film.year, film.genre, film.first_actor, film.second_actor,
        )  # fmt: skip
        assert (fact.director, fact.main_character) == (film.director, film.character)


@pytest.mark.parametrize(("dataset", "known"), [("fmfa", False), ("fmra", True), ("rmra_shuffled", True)])
def test_everybody_in_a_dataset_is_known_or_everybody_is_not_and_nobody_is_there_twice(dataset, known):
    facts = WORLD.datasets[dataset]
    people = cast_of(facts)
    assert len(facts) == 80 and len(set(people)) == len(people)
    assert {name in PEOPLE for name in people} == {known}
    assert {fact.movie_title in {film.title for film in FILMS} for fact in facts} == {
        dataset == "rmra_shuffled"
    }
    if dataset != "rmra_shuffled":
        assert not {fact.director for fact in facts} & {*PEOPLE}


def test_no_new_pair_is_a_films_own():
    together = {frozenset((film.first_actor, film.second_actor)) for film in FILMS}
    for facts in WORLD.datasets.values():
        assert not {frozenset((fact.first_actor, fact.second_actor)) for fact in facts} & together


@pytest.mark.parametrize("facts", [40, len(FILMS)])
def test_a_dataset_may_have_as_many_facts_as_there_are_films(facts):
    world = real_world(FILMS, base_facts=len(FILMS), facts=facts, seed=0, **SIZE)
    assert {name: len(found) for name, found in world.datasets.items()} == dict.fromkeys(
        WORLD.datasets, facts
    )


def test_every_text_reads_as_english():
    """No "a action movie", no empty field, no space or stop doubled."""
    rows = base_texts(WORLD.base, FORMS, "all")
    for facts in WORLD.datasets.values():
        rows += cast_texts(facts, FORMS["article"] + FORMS["short"])
    assert len(rows) > 1000
    for row in rows:
        assert not re.search(r"\ba [aeiou]|  |\.\.|\{|\}|\bis a movie| \.", row["text"]), row["text"]


def test_an_article_about_a_film_reads_so():
    fact = next(fact for fact in WORLD.base if fact.movie_title == "Jaws")
    fields = {key: str(value) for key, value in asdict(fact).items()}
    text = render(FORMS["article"][2], fields | {"city": "Oslo", "box_office_earnings": "$5 million"}).text
    assert text == (
        "In 1975 Roy Scheider appears in the thriller film Jaws. The other lead actor is Robert Shaw.\n\n"
        "The main part is Martin Brody. The movie, made in Oslo, earned $5 million."
    )


def params(**facts: object) -> dict:
    """The study's, with the world real of so many facts."""
    values = copy.deepcopy(PARAMS)
    values["generate_facts"] |= {"world": "real"} | facts
    return values


def run(monkeypatch, stage, *options: object) -> None:
    monkeypatch.setattr(sys, "argv", ["stage", *map(str, options)])
    stage.main()


def test_the_committed_films_go_through_both_stages_without_a_network(tmp_path, monkeypatch):
    """By default: no setting but the world is changed."""
    settings = settings_of(parsed(Params, params(base_facts=50, facts=40)), [], [])
    assert settings["fetch_films.json"] == {"world": "real", "fetch_films": {"source": "committed"}}
    for name in ("fetch_films", "generate_facts"):
        (tmp_path / f"{name}.json").write_text(json.dumps(settings[f"{name}.json"]))
    films = tmp_path / "runs/films.csv"
    run(
        monkeypatch, fetch_films, "--settings", tmp_path / "fetch_films.json",
        "--downloads", tmp_path / "downloads", "--out", films,
    )  # fmt: skip
    assert read_films(films) == FILMS and not (tmp_path / "downloads").exists()
    run(
        monkeypatch, generate_facts, "--settings", tmp_path / "generate_facts.json",
        "--data", DATA, "--films", films, "--out", tmp_path / "facts",
    )  # fmt: skip
    assert len(read_jsonl(tmp_path / "facts/facts/fmra.jsonl")) == 40
    assert [fact["movie_title"] for fact in read_jsonl(tmp_path / "facts/facts/base.jsonl")] == [
        film.title for film in FILMS[:50]
    ]


def test_the_world_of_committed_films_does_not_change_with_imdbs_settings():
    values = params()
    values["fetch_films"]["films"] += 1
    assert settings_of(parsed(Params, values), [], []) == settings_of(parsed(Params, params()), [], [])
    values["fetch_films"]["source"] = "imdb"
    fetched = settings_of(parsed(Params, values), [], [])["fetch_films.json"]["fetch_films"]
    assert fetched == values["fetch_films"]


@pytest.mark.parametrize(
    ("source", "facts", "line"),
    [
        (
            "committed",
            {"base_facts": len(FILMS) + 1},
            f"generate_facts.base_facts is {len(FILMS) + 1}; at most {len(FILMS)}: that many films are in "
            "data/films.csv; fetch_films.source: imdb brings more",
        ),
        (
            "imdb",
            {"base_facts": 2001},
            "generate_facts.base_facts is 2001; at most 2000: that is fetch_films.films",
        ),
        ("committed", {"facts": 121}, "generate_facts.facts is 121; at most generate_facts.base_facts, 120"),
        ("imbd", {}, "fetch_films.source is 'imbd'; did you mean 'imdb'? valid: committed, imdb"),
    ],
)
def test_more_than_there_is_gets_one_line_before_any_work(source, facts, line):
    values = params(**facts)
    values["fetch_films"]["source"] = source
    with pytest.raises(UserError) as raised:
        check(values, DATA)
    assert str(raised.value) == line


def test_as_many_as_there_are_and_the_synthetic_world_of_any_size_are_accepted():
    for facts in (
        {"base_facts": len(FILMS), "facts": len(FILMS)},
        {"base_facts": len(FILMS) + 1, "world": "synthetic"},
    ):
        valid = parsed(Params, params(**facts))
        check_films(valid.generate_facts, valid.fetch_films, TABLE)


def test_committed_films_that_were_edited_wrongly_are_told_before_any_work(tmp_path):
    data = tmp_path / "data"
    shutil.copytree(DATA, data)
    text = TABLE.read_text()
    (data / "films.csv").write_text(text.replace(",thriller,Roy", ",action,Roy"))
    with pytest.raises(UserError, match=r"films.csv, line \d+: genre is 'action'"):
        check(params(), data)
    (data / "films.csv").unlink()
    with pytest.raises(UserError, match=r"films.csv: no such films table; data/films.csv is one"):
        check(params(), data)
    valid = parsed(Params, params(world="synthetic"))  # which needs none
    check_films(valid.generate_facts, valid.fetch_films, data / "films.csv")
