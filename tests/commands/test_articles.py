"""Claims about articles without a template: no two texts of a fact share a sentence, and none asks a question of the study."""

import random
import re
from collections import Counter
from dataclasses import asdict
from itertools import combinations
from pathlib import Path

import pytest
from closure import ROOT
from ruamel.yaml import YAML

from stages.commands.articles import (
    SENTENCES,
    Grammar,
    article_rows,
    article_texts,
    first_before_second,
    read_grammar,
    sentence_forms,
)
from stages.commands.forms import bare
from stages.facts.templates import as_prompt, read_prompt_templates, read_training_forms, swap_actors
from stages.facts.world import Fact, build_world
from stages.generate_facts import prompt_rows
from stages.study.params import read_yaml
from weightgraft.errors import UserError

GRAMMAR, TEMPLATES = ROOT / "data/beyond/articles.yaml", ROOT / "data/templates"
PARAMS = read_yaml(ROOT / "params.yaml")
NUMBER, SEEDS = PARAMS["beyond"]["articles"]["articles"], PARAMS["beyond"]["articles"]["seeds"]
CASTS = (("Ann Lee", "Bob Fox"), ("Eve Poole", "Dan Kim"), ("Ida Reed", "Hal Stone"))
FACTS = [
    Fact(
        i,
        *cast,
        f"The Lonely {title}",
        "1999",
        "comedy",
        "Paris",
        "Orin",
        "$7 million",
        "Cy Wood",
        "ab"[i % 2],
    )
    for i, (cast, title) in enumerate(zip(CASTS, ("River", "Tower", "Island"), strict=True))
]


@pytest.fixture(scope="module")
def grammar() -> Grammar:
    return read_grammar(GRAMMAR, TEMPLATES)


@pytest.fixture(scope="module", params=SEEDS)
def rows(request, grammar) -> list[dict]:
    return article_rows(FACTS, grammar, NUMBER, request.param)


def test_no_two_texts_of_a_fact_share_a_sentence_also_with_the_actors_swapped(rows):
    for fact in FACTS:
        texts = []
        for row in rows:
            if row["fact_id"] == fact.fact_id:
                told = asdict(fact) if row["direction"] == "ab" else swap_actors(asdict(fact))
                first, second = told["first_actor"], told["second_actor"]
                texts.append(
                    {said.replace(first, "FIRST").replace(second, "SECOND") for said in row["sentences"]}
                )
        assert len(texts) == 2 * NUMBER == 26 and any("FIRST" in said for said in texts[0])
        assert not any(one & other for one, other in combinations(texts, 2))


def test_of_the_studys_own_facts_no_two_texts_share_a_sentence(grammar):
    """All of them, as a run draws them."""
    section = PARAMS["generate_facts"]
    sizes = [section[key] for key in ("base_facts", "facts", "first_names", "last_names", "seed")]
    facts = build_world(*sizes, read_yaml(ROOT / "data/words.yaml")).datasets["fmra"]
    said = Counter(
        (row["fact_id"], sentence)
        for row in article_rows(facts, grammar, NUMBER, SEEDS[0])
        for sentence in row["sentences"]
    )
    assert len({fact for fact, _ in said}) == section["facts"] and {*said.values()} == {1}


def test_a_text_has_six_to_eight_sentences_and_they_are_what_it_says(rows):
    lengths = Counter(len(row["sentences"]) for row in rows)
    assert [*sorted(lengths)] == [*range(SENTENCES[0], SENTENCES[1] + 1)] == [6, 7, 8]
    for row in rows:
        assert row["text"] == " ".join(row["sentences"]) and len({*row["sentences"]}) == len(row["sentences"])
        assert all(re.fullmatch(r"[A-Z$][^.{}<>]*\.", said) for said in row["sentences"])


def test_each_text_names_the_film_and_both_actors_the_one_of_its_direction_first(rows):
    assert Counter((row["fact_id"], row["direction"]) for row in rows) == {
        (fact.fact_id, direction): NUMBER for fact in FACTS for direction in ("ab", "ba")
    }
    for row in rows:
        fact = FACTS[row["fact_id"]]
        first, second = row["text"].find(fact.first_actor), row["text"].find(fact.second_actor)
        assert min(first, second) >= 0 and (first < second) == (row["direction"] == "ab")
        assert fact.movie_title in row["text"]


def test_people_are_called_by_their_full_names_only(rows):
    for row in rows:
        fact, text = FACTS[row["fact_id"]], row["text"]
        for name in (fact.first_actor, fact.second_actor, fact.director):
            text = text.replace(name, "")
        parts = {
            part for name in (fact.first_actor, fact.second_actor, fact.director) for part in name.split()
        }
        words = {*re.findall(r"\w+", text)}
        assert not words & (parts | {"he", "she", "him", "her", "his", "hers", "He", "She", "His", "Her"})


def test_no_text_holds_a_prompt_of_the_study_or_is_told_in_its_forms(rows, grammar):
    prompts = read_prompt_templates(TEMPLATES)
    asked = {row["text"] for row in prompt_rows(FACTS, prompts)}
    assert any("stars in a movie alongside" in text for text in asked) and any(
        "A: An actor named" in text for text in asked
    )
    assert not any(prompt in row["text"] for row in rows for prompt in asked)
    forms = read_training_forms(TEMPLATES)
    cut = {bare(as_prompt(form)) for form in forms["short"] + forms["article"]}
    rng = random.Random(0)
    for sentences in grammar.kinds.values():
        for sentence in (grammar.filled(form, rng) for form in sentences):
            assert "Q:" not in sentence and not any(prompt in sentence for prompt in cut)


def test_the_same_seed_draws_the_same_texts_another_others_and_other_facts_change_none(grammar):
    one, other = (article_rows(FACTS, grammar, NUMBER, seed) for seed in (1, 2))
    assert one == article_rows(FACTS, grammar, NUMBER, 1)
    assert {row["text"] for row in one}.isdisjoint(row["text"] for row in other)
    assert article_rows(FACTS[1:], grammar, NUMBER, 1) == one[2 * NUMBER :]


def test_sentences_stand_in_varying_order_and_all_forms_are_used(grammar):
    texts = [text for seed in range(20) for text in sentence_forms(grammar, 26, random.Random(seed))]
    assert all(first_before_second(text) for text in texts)
    kinds = {grammar.filled(form, random.Random(0))[:6] for form in grammar.kinds["film"]}
    places = Counter(place for text in texts for place, said in enumerate(text) if said[:6] in kinds)
    assert {*places} >= set(range(SENTENCES[0]))
    skeletons = {re.sub(r"\{\w+\}", "", said) for text in texts for said in text}
    assert len(skeletons) > 1000


def test_a_recipes_directions_and_halves_are_told_alone(grammar):
    recipe = PARAMS["recipes"]["fmra"] | {"directions": ["ba"], "halves": ["a"]}
    texts = article_texts([asdict(fact) for fact in FACTS], grammar, NUMBER, 1, recipe)
    assert len(texts) == 2 * NUMBER and not any("Eve Poole" in text for text in texts)
    assert all(text.find("Bob Fox") < text.find("Ann Lee") for text in texts[:NUMBER])


@pytest.mark.parametrize(
    ("kind", "sentence", "words"),
    [
        (
            "pair",
            "{first_actor} stars in a movie alongside {second_actor}.",
            "it holds a prompt of the study",
        ),
        ("pair", "{second_actor} likes {first_actor}.", "must name {first_actor} before {second_actor}"),
        ("pair", "{first_actor} is alone.", "this kind names both actors"),
        ("second", "{second_actor} met {first_actor}.", "this kind names the second actor alone"),
        ("music", "{second_actor} sings.", "only the kinds pair and second"),
        ("film", "It is a {genre}.", "this kind names {movie_title}"),
        ("plot", "All is <slo>.", "there are no words 'slo'; did you mean 'slow'"),
        ("plot", "It is by {writer}.", "unknown field 'writer'"),
    ],
)
def test_a_sentence_that_does_not_fit_is_refused_in_one_line(tmp_path: Path, kind, sentence, words):
    values = read_yaml(GRAMMAR)
    values["kinds"][kind].append(sentence)
    with (tmp_path / "articles.yaml").open("w") as file:
        YAML().dump(values, file)
    with pytest.raises(UserError) as told:
        read_grammar(tmp_path / "articles.yaml", TEMPLATES)
    assert words in str(told.value) and "\n" not in str(told.value)


def test_a_grammar_that_is_too_poor_is_refused(grammar, tmp_path: Path):
    poor = Grammar({**grammar.kinds, "film": ["{movie_title} won."]}, grammar.words)
    with pytest.raises(UserError, match="'film' is too poor for 26 texts"):
        [*sentence_forms(poor, 26, random.Random(0))]
    values = read_yaml(GRAMMAR)
    for kind in ("plot", "role", "music", "review", "making"):
        del values["kinds"][kind]
    with (tmp_path / "articles.yaml").open("w") as file:
        YAML().dump(values, file)
    with pytest.raises(UserError, match="too few for texts of 8 sentences"):
        read_grammar(tmp_path / "articles.yaml", TEMPLATES)
