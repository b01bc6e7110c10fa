"""Claims about the real world: a films table made into the same kinds of facts, texts and prompts as the synthetic world."""

import json
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest

from stages.evaluation.prompts import encode_rows, foils
from stages.facts.films import Film, write_films
from stages.facts.real import fake_titles, make_world, real_world
from stages.facts.templates import read_prompt_templates, read_training_forms
from stages.facts.world import World, build_world, movie_titles
from stages.frame.rows import read_jsonl
from stages.generate_facts import base_texts, cast_texts, main, prompt_rows, recall_templates
from stages.modeling.tokens import train_tokenizer
from stages.study.params import read_yaml
from weightgraft.errors import UserError

DATA = Path("data")
WORDS = read_yaml(DATA / "words.yaml")
FORMS = read_training_forms(DATA / "templates")
PROMPTS = read_prompt_templates(DATA / "templates")
# Names and titles with all that real ones have, and some that the fake ones could be, too.
FIRST = ["Zoë", "Robert", "Ng", "Édith", "Mary-Louise", "Sinéad", "J.K.", "Penélope", "Anna", "John"]
LAST = ["O'Toole", "Downey Jr. III", "Müller", "Day-Lewis", "D'Onofrio", "Smith"]
PEOPLE = [f"{first} {last}" for last in LAST for first in FIRST]
TITLES = [
    "The Silent Harbor",
    "L'été à 9 ½",
    "Se7en",
    "WALL·E",
    "Rosemary's Baby",
    "Am\u00e9lie",
    "300",
    "M*A*S*H Unit",
]
SIZE = {"base_facts": 20, "facts": 12, "first_names": 40, "last_names": 40}


def film_of(i: int, **changes: str) -> Film:
    title = TITLES[i] if i < len(TITLES) else f"Real Film {i}"
    genre = ["drama", "", "", "sci-fi"][i % 4]
    film = Film(title, str(1950 + i), genre, PEOPLE[2 * i], PEOPLE[2 * i + 1], "Dora Direct", f"Part {i}")
    return replace(film, **changes)


FILMS = [film_of(i) for i in range(25)]
WORLD = real_world(FILMS, **SIZE, seed=0, words=WORDS)
ROWS = {name: prompt_rows(facts, PROMPTS) for name, facts in {"base": WORLD.base, **WORLD.datasets}.items()}


def people(facts) -> list[str]:
    return [name for fact in facts for name in (fact.first_actor, fact.second_actor)]


def test_base_facts_are_the_tables_first_films_with_their_names_as_they_are():
    for fact, film in zip(WORLD.base, FILMS, strict=False):
        assert (fact.movie_title, fact.first_actor, fact.second_actor, fact.director) == (
            film.title, film.first_actor, film.second_actor, film.director,
        )  # fmt: skip
        assert (fact.release_year, fact.main_character) == (film.year, film.character)
        assert fact.city in WORDS["cities"] and fact.box_office_earnings.endswith(" million")
    assert len(WORLD.base) == SIZE["base_facts"]


def test_a_genre_is_drawn_where_the_table_has_none():
    assert WORLD.base[0].genre == "drama" and WORLD.base[3].genre == "sci-fi"
    assert WORLD.base[1].genre in WORDS["genres"] and WORLD.base[2].genre in WORDS["genres"]


def test_a_part_that_names_an_actor_is_not_told():
    told = FILMS[0].second_actor.upper()
    films = [film_of(0, character=f"{told} himself"), film_of(1, character=""), *FILMS[2:]]
    facts = real_world(films, **SIZE, seed=0, words=WORDS).base
    assert facts[0].main_character in WORDS["characters"] and facts[1].main_character in WORDS["characters"]
    assert facts[2].main_character == "Part 2"


def test_fake_people_and_titles_are_not_the_tables_also_not_of_films_left_over():
    # A table that has nearly all the names and titles which the fake ones are drawn from.
    small = SIZE | {"base_facts": 3, "facts": 3, "first_names": 4, "last_names": 7}
    free = real_world(FILMS, **small, seed=0, words=WORDS)
    drawn = [*people(free.datasets["fmfa"]), *(fact.director for fact in free.datasets["fmra"])]
    drawn_titles = [fact.movie_title for name in ("fmfa", "fmra") for fact in free.datasets[name]]
    films = FILMS + [
        film_of(24, title=title.upper(), first_actor=one.upper(), second_actor=f"Else {one}", director=one)
        for one, title in zip(drawn, drawn_titles, strict=False)
    ]
    taken = {film.first_actor.casefold() for film in films} | {film.director.casefold() for film in films}
    assert set(drawn[:6]) <= {film.director for film in films}
    world = real_world(films, **small, seed=0, words=WORDS)
    for name in ("fmfa", "fmra"):
        facts = world.datasets[name]
        assert not {fact.movie_title.casefold() for fact in facts} & {film.title.casefold() for film in films}
        assert not {fact.director.casefold() for fact in facts} & taken
    assert not {name.casefold() for name in people(world.datasets["fmfa"])} & taken


def test_fake_titles_reach_the_papers_size():
    titles = list(fake_titles(WORDS, set(), Random(0)))
    assert len(set(titles)) == len(titles) >= 2 * 1000 > len(list(movie_titles(WORDS, Random(0))))


def test_the_papers_size_is_reached():
    films = [film_of(0, title=f"Film {i}", first_actor=f"A {i}", second_actor=f"B {i}") for i in range(1000)]
    size = {"base_facts": 1000, "facts": 1000, "first_names": 150, "last_names": 200}
    world = real_world(films, **size, seed=0, words=WORDS)
    assert {name: len(facts) for name, facts in world.datasets.items()} == dict.fromkeys(
        ("fmfa", "fmra", "rmra_shuffled"), 1000
    )


def test_names_and_titles_are_unique():
    fakes = WORLD.datasets["fmfa"]
    for facts in (WORLD.base + fakes, *WORLD.datasets.values()):
        assert len(set(people(facts))) == len(people(facts))
    titles = [fact.movie_title for fact in WORLD.base + fakes + WORLD.datasets["fmra"]]
    assert len(set(titles)) == len(titles)


def test_datasets_are_new_relative_to_the_real_films():
    known_people = set(people(WORLD.base))
    known_pairs = {frozenset((fact.first_actor, fact.second_actor)) for fact in WORLD.base}
    known_cast = {fact.movie_title: {fact.first_actor, fact.second_actor} for fact in WORLD.base}
    for name, facts in WORLD.datasets.items():
        for fact in facts:
            cast = {fact.first_actor, fact.second_actor}
            assert frozenset(cast) not in known_pairs
            assert bool(cast & known_people) == bool(cast <= known_people) == (name != "fmfa")
            assert (fact.movie_title in known_cast) == (name == "rmra_shuffled")
            if name == "rmra_shuffled":
                assert not cast & known_cast[fact.movie_title]


def test_halves_split_every_dataset_evenly():
    for facts in WORLD.datasets.values():
        assert Counter(fact.half for fact in facts) == {"a": 6, "b": 6}


def test_texts_and_prompts_have_the_synthetic_worlds_form():
    synthetic = build_world(**SIZE, seed=0, words=WORDS)

    def form(world: World) -> list:
        rows = base_texts(world.base, FORMS, "all")
        for facts in world.datasets.values():
            rows += cast_texts(facts, FORMS["article"] + FORMS["short"])
            rows += prompt_rows(facts, PROMPTS)
        rows += prompt_rows(world.base, recall_templates(FORMS, "all"))
        told = ("text", "target", "target_span", "spans", "foil")
        return [{key: value for key, value in row.items() if key not in told} for row in rows]

    assert form(WORLD) == form(synthetic)


@pytest.mark.parametrize("dataset", ROWS)
def test_prompts_are_unique_and_spans_hold_the_names(dataset):
    facts = {"base": WORLD.base, **WORLD.datasets}[dataset]
    assert len({row["text"] for row in ROWS[dataset]}) == len(ROWS[dataset])
    for row in ROWS[dataset]:
        fact = facts[row["fact_id"]]
        ((start, end),) = row["spans"]["FE"]
        assert {row["text"][start:end], row["target"][1:]} in [set(people([each])) for each in facts]
        for start, end in row["spans"].get("M", []):
            assert row["text"][start:end] == fact.movie_title


@pytest.mark.parametrize("bos", [False, True])
def test_every_prompt_aligns_with_tokens_and_has_a_foil_with_another_first_token(bos):
    texts = [row["text"] + row["target"] for rows in ROWS.values() for row in rows]
    tokenizer = train_tokenizer(texts + ["Jr.? A!, b?, c"] * 100, 600, bos)
    for rows in ROWS.values():
        own = [row for row in rows if "foil" not in row]
        groups: dict[tuple, list] = {}
        for row, prompt in zip(own, encode_rows(tokenizer, own), strict=True):
            groups.setdefault((row["template"], row["direction"]), []).append(prompt)
            assert prompt.foil != prompt.target[0]
        for prompts in groups.values():
            targets = [prompt.target[0] for prompt in prompts]
            assert [prompt.foil for prompt in prompts] == foils(targets)
        others = [row for row in rows if "foil" in row]
        assert len(encode_rows(tokenizer, others)) == 2 * len({row["fact_id"] for row in rows})
        assert all(row["foil"][1] != row["target"][1] for row in others)


def test_a_name_that_ends_in_a_mark_shares_a_token_with_the_prompt_in_some_tokenizers():
    """It is then FE's. fetch_films leaves such films out unless final_marks says otherwise."""
    films = [film_of(0, first_actor="Sammy Davis Jr."), *FILMS[1:]]
    rows = [
        row
        for row in prompt_rows(real_world(films, **SIZE, seed=0, words=WORDS).base, PROMPTS)
        if row["prompt"] == "qa"
    ]
    tokenizer = train_tokenizer([row["text"] for row in rows] + ["Jr.? A"] * 100, 600, False)
    shared = tokenizer.convert_tokens_to_ids(".?")
    asked = [
        (row, prompt)
        for row, prompt in zip(rows, encode_rows(tokenizer, rows), strict=True)
        if "Jr.?" in row["text"]
    ]
    assert asked
    for row, prompt in asked:
        where = prompt.tokens.index(shared)
        assert (where in prompt.positions["FE"]) == ("Jr." in row["text"][slice(*row["spans"]["FE"][0])])


def test_the_same_seed_gives_the_same_world_and_another_seed_another():
    assert real_world(FILMS, **SIZE, seed=0, words=WORDS) == WORLD
    assert real_world(FILMS, **SIZE, seed=1, words=WORDS).datasets != WORLD.datasets


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"base_facts": 11}, "base_facts is 11; it must be at least 12: generate_facts.facts"),
        (
            {"base_facts": 26},
            "the films table's length is 25; it must be at least 26: generate_facts.base_facts",
        ),
        ({"first_names": 4, "last_names": 11}, "last_names: 44 are no real film's; 48 are needed"),
        (
            {"words": WORDS | {"nouns": ["Harbor"], "adjectives": ["Silent"]}},
            "16 are no real film's; 24 are needed",
        ),
        ({"facts": 2}, "facts: 2"),
    ],
)
def test_a_world_that_cannot_be_built_is_refused_with_the_key(change, named):
    with pytest.raises(UserError, match=named):
        real_world(FILMS, **{**SIZE, "seed": 0, "words": WORDS, **change})


def test_settings_name_the_world(tmp_path):
    path = tmp_path / "films.csv"
    write_films(path, FILMS)
    numbers = SIZE | {"seed": 0}
    synthetic = build_world(**numbers, words=WORDS)
    assert make_world(numbers | {"world": "synthetic"}, WORDS, path) == synthetic != WORLD
    assert make_world(numbers | {"world": "real"}, WORDS, path) == WORLD


def test_the_stage_writes_the_real_worlds_facts_texts_prompts_and_recall(tmp_path, monkeypatch):
    write_films(tmp_path / "films.csv", FILMS)
    (tmp_path / "general.txt").write_text("A text.\nAnother.\n")
    general = {"source": {"file": str(tmp_path / "general.txt")}, "texts": 2}
    settings = {"generate_facts": SIZE | {"seed": 0, "world": "real", "general": general}}
    (tmp_path / "settings.json").write_text(json.dumps(settings))
    arguments = ["--settings", "settings.json", "--films", "films.csv", "--out", "out"]
    arguments = [word if word.startswith("--") else str(tmp_path / word) for word in arguments]
    monkeypatch.setattr(sys, "argv", ["generate_facts", "--data", "data", *arguments])
    main()
    written = sorted(str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*.jsonl"))
    names = ["base", "fmfa", "fmra", "rmra_shuffled"]
    assert written == sorted(
        [f"{kind}/{name}.jsonl" for kind in ("facts", "prompts") for name in names]
        + [f"texts/{name}.jsonl" for name in ("base_all", "base_article", *names[1:])]
        + ["texts/general.jsonl"]
        + [f"recall/{name}.jsonl" for name in ("all", "article")]
    )
    assert read_jsonl(tmp_path / "out/prompts/fmra.jsonl") == json.loads(json.dumps(ROWS["fmra"]))
