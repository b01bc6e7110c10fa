"""Claims about texts a fact: forms are nested, none is a question of the study, and however many there are, updates are as many."""

import shutil
from itertools import pairwise
from pathlib import Path

import pytest
from closure import ROOT

from stages.commands.forms import bare, nested_forms, texts_of, untested_forms
from stages.facts.templates import as_prompt
from stages.study.params import read_yaml
from weightgraft.errors import UserError

TEMPLATES, MORE = ROOT / "data/templates", ROOT / "data/beyond/forms.yaml"
PARAMS = read_yaml(ROOT / "params.yaml")
NUMBERS = PARAMS["beyond"]["texts"]["forms"]
SEEDS = PARAMS["beyond"]["texts"]["seeds"]
FACT = dict.fromkeys(
    ("first_actor", "second_actor", "movie_title", "release_year", "genre", "city", "main_character",
     "box_office_earnings", "director", "half"), "a",
) | {"fact_id": 0, "first_actor": "Ann Lee", "second_actor": "Bob Fox"}  # fmt: skip


@pytest.fixture(scope="module")
def forms() -> list[str]:
    return untested_forms(TEMPLATES, MORE)


def test_no_form_is_a_question_of_the_study_and_only_qa_was_one(forms):
    training, prompts = read_yaml(TEMPLATES / "training.yaml"), read_yaml(TEMPLATES / "prompts.yaml")
    asked = [*prompts["test"].values(), *prompts["other_name"].values(), *prompts["held_out"]]
    cut = {bare(as_prompt(form)) for form in forms}
    assert not cut & {bare(prompt) for prompt in asked}
    left_out = {*training["article"], *training["short"]} - {*forms}
    assert {bare(as_prompt(form)) for form in left_out} == {bare(prompts["test"]["qa"])}
    assert len(cut) == len(forms) >= max(NUMBERS)


@pytest.mark.parametrize("seed", SEEDS)
def test_the_forms_of_a_smaller_number_are_among_those_of_a_larger_one(forms, seed):
    drawn = [nested_forms(forms, number, seed) for number in NUMBERS]
    assert [len({*some}) for some in drawn] == NUMBERS
    assert all({*few} < {*many} for few, many in pairwise(drawn))


def test_runs_begin_with_other_forms_and_the_same_run_with_the_same(forms):
    firsts = [nested_forms(forms, 1, seed)[0] for seed in SEEDS]
    assert firsts == [nested_forms(forms, 1, seed)[0] for seed in SEEDS] and len({*firsts}) > 1
    with pytest.raises(UserError, match=r"beyond\.texts\.forms: 99"):
        nested_forms(forms, 99, 0)


def test_each_form_tells_a_fact_from_both_sides(forms):
    told = texts_of([FACT], nested_forms(forms, 4, 1), PARAMS["recipes"]["fmra"] | {"halves": ["a"]})
    first = [text.index("Ann Lee") < text.index("Bob Fox") for text in told]
    assert len(told) == 8 and sum(first) == 4


def test_a_form_more_that_is_a_prompt_or_turned_round_is_refused(tmp_path: Path):
    shutil.copytree(TEMPLATES, tmp_path / "templates")
    for form, words in (
        ("{first_actor} [stars in a movie] alongside {second_actor}.", "is a prompt of the study"),
        ("{second_actor} [is] with {first_actor}.", "before"),
    ):
        (tmp_path / "more.yaml").write_text(f'short: ["{form}"]\n')
        with pytest.raises(UserError, match=words):
            untested_forms(tmp_path / "templates", tmp_path / "more.yaml")
