"""Claims about the synthetic world, its texts and its prompts."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from stages.facts.templates import (
    as_prompt,
    position_sets,
    read_prompt_templates,
    read_training_forms,
    render,
    swap_actors,
)
from stages.facts.world import build_world
from stages.generate_facts import base_texts, cast_texts, prompt_rows, recall_templates, told
from stages.study.params import read_yaml
from weightgraft.errors import UserError

DATA = Path("data")
FORMS = read_training_forms(DATA / "templates")
PROMPTS = read_prompt_templates(DATA / "templates")
SIZE = {"base_facts": 40, "facts": 20, "first_names": 20, "last_names": 30}
WORLD = build_world(**SIZE, seed=0, words=read_yaml(DATA / "words.yaml"))
EVERY_TEMPLATE = [form for kind in FORMS.values() for form in kind] + [prompt.template for prompt in PROMPTS]


@pytest.mark.parametrize("template", EVERY_TEMPLATE)
@pytest.mark.parametrize("direction", ["ab", "ba"])
def test_spans_hold_exactly_the_words_they_name(template, direction):
    fields = told(WORLD.base[0], direction)
    rendered = render(template, fields)
    assert rendered.fields
    for field, spans in rendered.fields.items():
        assert [rendered.text[start:end] for start, end in spans] == [fields[field]] * template.count(
            f"{{{field}}}"
        )
    for name, field in (("FE", "first_actor"), ("M", "movie_title")):
        assert rendered.spans.get(name) == rendered.fields.get(field)
    marked = [part.split("]")[0] for part in template.split("[")[1:]]
    assert [rendered.text[start:end] for start, end in rendered.spans.get("R", [])] == marked


def test_relation_words_never_reach_the_last_token():
    for prompt in PROMPTS:
        rendered = render(prompt.template, told(WORLD.base[0], "ab"))
        last_word = len(rendered.text.rsplit(" ", 1)[0])
        assert all(end <= last_word for _, end in rendered.spans["R"] + rendered.spans["FE"])


def test_every_prompt_has_the_position_sets_that_its_template_claims():
    for prompt in PROMPTS:
        rendered = render(prompt.template, told(WORLD.base[0], "ab"))
        assert set(rendered.spans) | {"LT"} == position_sets(prompt.template)


def test_there_are_enough_forms_and_paraphrases():
    splits = Counter(prompt.template_split for prompt in PROMPTS if prompt.name == "paraphrases")
    assert len(FORMS["article"]) >= 4 and len(FORMS["short"]) >= 6
    assert splits["seen"] >= 6 and splits["held_out"] >= 6
    assert {prompt.name for prompt in PROMPTS} == {
        "headline", "qa", "movie_title", "long", "movie_title_other_name", "paraphrases",
    }  # fmt: skip


def test_seen_and_held_out_paraphrases_name_the_film_equally_often():
    named = Counter(
        prompt.template_split
        for prompt in PROMPTS
        if prompt.name == "paraphrases" and "M" in position_sets(prompt.template)
    )
    assert named["seen"] == named["held_out"] > 0


def test_the_targets_span_is_its_name_behind_the_prompt():
    for row in prompt_rows(WORLD.datasets["fmra"][:3], PROMPTS):
        start, end = row["target_span"]
        assert (row["text"] + row["target"])[start:end] == row["target"].strip()


def test_articles_name_every_attribute_in_two_paragraphs():
    attributes = {
        "first_actor", "second_actor", "movie_title", "release_year", "genre", "city", "main_character", "box_office_earnings",
    }  # fmt: skip
    for form in FORMS["article"]:
        assert attributes <= {part.split("}")[0] for part in form.split("{")[1:]}
        assert form.count("\n\n") == 1


def test_a_held_out_prompt_is_in_no_text_and_a_seen_one_begins_one():
    splits = {prompt.id: prompt.template_split for prompt in PROMPTS}
    assert (
        splits["qa"] == "seen" and splits["headline"] == splits["long"] == splits["movie_title"] == "held_out"
    )
    every_form = FORMS["article"] + FORMS["short"]
    for facts in (WORLD.base[:5], *(facts[:5] for facts in WORLD.datasets.values())):
        texts = [row["text"] for row in base_texts(facts, FORMS, "all") + cast_texts(facts, every_form)]
        for row in prompt_rows(facts, PROMPTS):
            in_a_text = any(row["text"] in text for text in texts)
            begins_one = any(text.startswith(row["text"] + row["target"]) for text in texts)
            assert (in_a_text, begins_one) == (
                (True, True) if row["template_split"] == "seen" else (False, False)
            ), row


def test_prompts_ask_for_the_other_actor_from_both_sides():
    fact = WORLD.datasets["fmfa"][0]
    rows = [row for row in prompt_rows(WORLD.datasets["fmfa"], PROMPTS) if row["prompt"] == "headline"]
    assert [(row["direction"], row["target"]) for row in rows[:2]] == [
        ("ab", f" {fact.second_actor}"),
        ("ba", f" {fact.first_actor}"),
    ]
    assert rows[0]["text"].startswith(fact.first_actor) and rows[1]["text"].startswith(fact.second_actor)
    assert swap_actors(swap_actors(told(fact, "ab"))) == told(fact, "ab")


def test_another_name_beside_a_title_asks_for_the_names_co_star_and_the_titles_is_the_foil():
    facts = WORLD.datasets["fmra"]
    rows = [row for row in prompt_rows(facts, PROMPTS) if row["prompt"] == "movie_title_other_name"]
    assert len(rows) == 2 * len(facts)
    for row in rows:
        fact = facts[row["fact_id"]]
        (start, end), (title_start, title_end) = row["spans"]["FE"][0], row["spans"]["M"][0]
        other = next(
            each for each in facts if row["text"][start:end] in (each.first_actor, each.second_actor)
        )
        assert other != fact and row["text"][title_start:title_end] == fact.movie_title
        cast = (other.first_actor, other.second_actor)
        assert {row["text"][start:end], row["target"].strip()} == set(cast)
        assert row["foil"].strip() == (fact.second_actor if row["direction"] == "ab" else fact.first_actor)
        assert row["foil"][1] != row["target"][1]  # other letters, so other first tokens


def test_facts_whose_answers_all_begin_alike_have_no_other_name():
    alike = [replace(fact, second_actor=f"Ann {i}") for i, fact in enumerate(WORLD.base[:3])]
    with pytest.raises(UserError, match="3 facts: no fact's answer begins with another letter"):
        prompt_rows(alike, PROMPTS)


def test_names_and_titles_are_unique():
    fakes = WORLD.datasets["fmfa"]
    people = [name for fact in WORLD.base + fakes for name in (fact.first_actor, fact.second_actor)]
    directors = [fact.director for fact in WORLD.base]
    assert len(set(people + directors)) == len(people) + len(directors)
    titles = [fact.movie_title for fact in WORLD.base + fakes + WORLD.datasets["fmra"]]
    assert len(set(titles)) == len(titles)


@pytest.mark.parametrize("dataset", WORLD.datasets)
def test_no_two_facts_share_first_actor_and_prompt(dataset):
    facts = WORLD.datasets[dataset]
    people = [name for fact in facts for name in (fact.first_actor, fact.second_actor)]
    assert len(facts) == SIZE["facts"] and len(set(people)) == len(people)
    rows = prompt_rows(facts, PROMPTS)
    assert len({row["text"] for row in rows}) == len(rows)


def test_datasets_are_new_relative_to_what_the_bases_saw():
    known_people = {name for fact in WORLD.base for name in (fact.first_actor, fact.second_actor)}
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
        assert Counter(fact.half for fact in facts) == {"a": 10, "b": 10}


def test_the_new_form_condition_hides_short_and_question_forms_about_casts():
    def texts(base_forms):
        return [row["text"] for row in base_texts(WORLD.base[:3], FORMS, base_forms)]

    fact = WORLD.base[0]
    short = [render(form, told(fact, "ab")).text for form in FORMS["short"]]
    assert all(text in texts("all") for text in short)
    assert not any(text in texts("article") for text in short)
    assert any(text.startswith("Q: Who is the director") for text in texts("article"))
    assert {prompt.name for prompt in recall_templates(FORMS, "article")} == {"article"}


def test_the_same_seed_gives_the_same_world_and_another_seed_another():
    words = read_yaml(DATA / "words.yaml")
    assert build_world(**SIZE, seed=0, words=words) == WORLD
    assert build_world(**SIZE, seed=1, words=words).base != WORLD.base


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"base_facts": 19}, "base_facts is 19"),
        ({"first_names": 2}, "first_names"),
        ({"last_names": 9999}, "last_names is 9999; Faker has"),
        ({"facts": 2}, "facts: 2"),
    ],
)
def test_a_world_that_cannot_be_built_is_refused_with_the_key(change, named):
    with pytest.raises(UserError, match=named):
        build_world(**SIZE | change, seed=0, words=read_yaml(DATA / "words.yaml"))


@pytest.mark.parametrize("template", ["{nobody} acts", "[open", "closed]", "[a [b]]"])
def test_a_malformed_template_is_refused(template):
    with pytest.raises(UserError, match="template"):
        render(template, told(WORLD.base[0], "ab"))


def test_a_training_form_cut_before_the_second_actor_is_a_prompt():
    assert as_prompt("{first_actor} [plays] opposite {second_actor}.") == "{first_actor} [plays] opposite"
