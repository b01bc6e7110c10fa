"""The world `real`: what pretrained models have read about, from a films table, in place of the synthetic world's base.

Real are titles, years, casts, directors, genres and the first actor's part. The table has no cities and no earnings: these are
drawn from data/words.yaml as in the synthetic world, and so are a genre and a part where the film has none that fits.
"""

import random
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import permutations, product
from pathlib import Path
from typing import Any

from stages.facts.films import Film, read_films
from stages.facts.world import Fact, World, build_world, film, person_names, recast
from weightgraft.errors import UserError


def known_fact(fact_id: int, real: Film, words: dict, rng: random.Random) -> Fact:
    """A real film as a fact. A part named after an actor of the film is not told: it would give the co-star away."""
    cast = (real.first_actor, real.second_actor)
    drawn = film(fact_id, real.title, cast, real.director, words, rng)
    telling = any(name.casefold() in real.character.casefold() for name in cast)
    return replace(
        drawn,
        release_year=real.year,
        genre=real.genre or drawn.genre,
        main_character=(not telling and real.character) or drawn.main_character,
    )


def fake_titles(
    words: Mapping[str, Sequence[str]], taken: Collection[str], rng: random.Random
) -> Iterator[str]:
    """Titles that no real film of the table has, in random order, no two alike.

    The synthetic world's titles are too few for the paper's 1,000 facts a dataset: here are two more forms.

    taken: real titles, casefolded.
    """
    nouns = words["nouns"]
    titles = [f"The {adjective} {noun}" for adjective, noun in product(words["adjectives"], nouns)]
    titles += [f"The {noun} of {city}" for noun, city in product(nouns, words["cities"])]
    titles += [f"The {one} and the {other}" for one, other in permutations(nouns, 2)]
    free = [title for title in dict.fromkeys(titles) if title.casefold() not in taken]
    rng.shuffle(free)
    return iter(free)


def real_world(
    films: Sequence[Film],
    base_facts: int,
    facts: int,
    first_names: int,
    last_names: int,
    seed: int,
    words: dict[str, list[str]],
) -> World:
    """The base world of the table's first `base_facts` films and the three datasets of `facts` facts each.

    As in the synthetic world FMRA gives the people of the first `facts` base films new films and new partners, and RMRA-shuffled
    recasts the last `facts`; with `base_facts` equal to `facts` both are about the table's first films. No fake name is one of
    the table's, of whose films some may be left over for that. New partners have no film of the table together; whether they
    have another is not known.

    Raises:
        UserError: too few films in the table, or too few fake names or titles for the numbers asked for.
    """
    for key, value, least, why in (
        ("generate_facts.base_facts", base_facts, facts, "generate_facts.facts"),
        ("the films table's length", len(films), base_facts, "generate_facts.base_facts"),
    ):
        if value < least:
            raise UserError(f"{key} is {value}; it must be at least {least}: {why}")

    rng = random.Random(seed)
    people = {
        name.casefold() for real in films for name in (real.first_actor, real.second_actor, real.director)
    }
    names = [name for name in person_names(first_names, last_names, rng) if name.casefold() not in people]
    titles = list(fake_titles(words, {real.title.casefold() for real in films}, rng))
    for key, found, least in (
        ("generate_facts.first_names * last_names", len(names), 4 * facts),
        ("data/words.yaml: titles of its adjectives, nouns and cities", len(titles), 2 * facts),
    ):
        if found < least:
            raise UserError(
                f"{key}: {found} are no real film's; {least} are needed for generate_facts.facts = {facts}"
            )
    free_names, free_titles = iter(names), iter(titles)

    def new_film(fact_id: int, cast: tuple[str, str] | None = None) -> Fact:
        cast = cast or (next(free_names), next(free_names))
        return film(fact_id, next(free_titles), cast, next(free_names), words, rng)

    base = [known_fact(i, real, words, rng) for i, real in enumerate(films[:base_facts])]
    known = recast(base[:facts], rng)
    return World(
        base,
        {
            "fmfa": [new_film(i) for i in range(facts)],
            "fmra": [new_film(i, (old.first_actor, old.second_actor)) for i, old in enumerate(known)],
            "rmra_shuffled": recast(base[-facts:], rng),
        },
    )


SIZES = ("base_facts", "facts", "first_names", "last_names", "seed")


def make_world(settings: Mapping[str, Any], words: dict, films: Path) -> World:
    """The world that generate_facts.world names: synthetic, or real, which is made of the films table."""
    sizes = {key: settings[key] for key in SIZES}
    if settings["world"] == "real":
        return real_world(read_films(films), **sizes, words=words)
    return build_world(**sizes, words=words)
