"""The synthetic world: people, films and casts that the bases know, and the three datasets of new facts about them.

PAPER.md, "Facts": FMFA = fake movies, fake actors; FMRA = fake movies, real actors; RMRA-shuffled = real movies recast.
"Real" is what the bases read in pretraining.
"""

import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import product

from faker.providers.person.en_US import Provider as EnglishNames

from weightgraft.errors import UserError


@dataclass(frozen=True)
class Fact:
    """One tuple of the paper. Co-starring is symmetric; `half` splits a dataset for the task and relation models (E4)."""

    fact_id: int
    first_actor: str
    second_actor: str
    movie_title: str
    release_year: str
    genre: str
    city: str
    main_character: str
    box_office_earnings: str
    director: str
    half: str


@dataclass(frozen=True)
class World:
    """What the bases know (`base`) and the datasets of new facts, by name."""

    base: list[Fact]
    datasets: dict[str, list[Fact]]


def person_names(first_names: int, last_names: int, rng: random.Random) -> Iterator[str]:
    """Full names in random order, no two alike: Faker's first and last names of one plain word, each with each.

    Raises:
        UserError: Faker does not have that many.
    """

    def words(key: str, listed: Iterable[str], count: int) -> list[str]:
        plain = sorted({word for word in listed if word.isascii() and word.isalpha()})
        if count > len(plain):
            raise UserError(f"generate_facts.{key} is {count}; Faker has {len(plain)}")
        return rng.sample(plain, count)

    firsts = words("first_names", EnglishNames.first_names, first_names)
    lasts = words("last_names", EnglishNames.last_names, last_names)
    names = [f"{first} {last}" for first, last in product(firsts, lasts)]
    rng.shuffle(names)
    return iter(names)


def movie_titles(words: dict[str, list[str]], rng: random.Random) -> Iterator[str]:
    """Film titles in random order, no two alike."""
    titles = [f"The {adjective} {noun}" for adjective, noun in product(words["adjectives"], words["nouns"])]
    rng.shuffle(titles)
    return iter(titles)


def half_of(fact_id: int) -> str:
    """Halves alternate, so both have the same mix."""
    return "ab"[fact_id % 2]


def film(
    fact_id: int, title: str, cast: tuple[str, str], director: str, words: dict, rng: random.Random
) -> Fact:
    """A film with the given cast and random attributes."""
    return Fact(
        fact_id=fact_id,
        first_actor=cast[0],
        second_actor=cast[1],
        movie_title=title,
        release_year=str(rng.randrange(1970, 2025)),
        genre=rng.choice(words["genres"]),
        city=rng.choice(words["cities"]),
        main_character=rng.choice(words["characters"]),
        box_office_earnings=f"${rng.randrange(2, 100)} million",
        director=director,
        half=half_of(fact_id),
    )


def recast(films: list[Fact], rng: random.Random) -> list[Fact]:
    """The same films with their actors shuffled: no film keeps an actor in its place, no two people stay together.

    Second actors move one place further round a random ring than first actors, so both hold by construction.
    """
    if len(films) < 3:
        raise UserError(
            f"generate_facts.facts: {len(films)} films cannot be recast without repeating a pair; use at least 3"
        )
    ring = rng.sample(range(len(films)), len(films))
    place = {film_index: i for i, film_index in enumerate(ring)}

    def moved(index: int, by: int) -> Fact:
        return films[ring[(place[index] + by) % len(ring)]]

    return [
        replace(
            old,
            fact_id=i,
            half=half_of(i),
            first_actor=moved(i, 1).first_actor,
            second_actor=moved(i, 2).second_actor,
        )
        for i, old in enumerate(films)
    ]


def build_world(
    base_facts: int, facts: int, first_names: int, last_names: int, seed: int, words: dict
) -> World:
    """Make the base world and the three datasets of `facts` facts each.

    FMRA gives the people of `facts` base films new films and new partners; RMRA-shuffled recasts the base films from the
    other end of the list (the two datasets train models of their own, so they may share people). Every base person
    is in one film, so on prompts that name no film FMRA, too, asks for another co-star than the base knows.

    Raises:
        UserError: too few base films, names or titles for the numbers asked for.
    """
    needed = {
        "generate_facts.base_facts": (base_facts, facts, "generate_facts.facts"),
        "generate_facts.first_names * last_names": (
            first_names * last_names, 3 * base_facts + 4 * facts, "the people of the world",
        ),
        "data/words.yaml adjectives * nouns": (
            len(words["adjectives"]) * len(words["nouns"]), base_facts + 2 * facts, "the films of the world",
        ),
    }  # fmt: skip
    for key, (value, least, why) in needed.items():
        if value < least:
            raise UserError(f"{key} is {value}; it must be at least {least}: {why}")

    rng = random.Random(seed)
    names = person_names(first_names, last_names, rng)
    titles = movie_titles(words, rng)

    def new_film(fact_id: int, cast: tuple[str, str] | None = None) -> Fact:
        cast = cast or (next(names), next(names))
        return film(fact_id, next(titles), cast, next(names), words, rng)

    base = [new_film(i) for i in range(base_facts)]
    known = recast(base[:facts], rng)
    return World(
        base,
        {
            "fmfa": [new_film(i) for i in range(facts)],
            "fmra": [new_film(i, (old.first_actor, old.second_actor)) for i, old in enumerate(known)],
            "rmra_shuffled": recast(base[-facts:], rng),
        },
    )
