"""What people give in the place of prompts, positions, schemes and donors: whole numbers whoever holds them, all else refused in
one line, and nothing takes the time or the memory of what is written there."""

import inspect
import time

import numpy as np
import pytest
import torch

from weightgraft import Cut, Graft, GraftedModel, NotationError, Prompt, Scheme, parse_scheme
from weightgraft.engine.notation import contains, layer_numbers, parse_positions

TOKENS = (7, 12, 45, 3)
MASK = [False, True, True, False]


@pytest.mark.parametrize(
    "make", [list, tuple, torch.tensor, np.array, lambda ids: ids, lambda ids: [torch.tensor(i) for i in ids]]
)
def test_whole_numbers_are_taken_whoever_holds_them(make):
    ids = make(range(1, 3))
    prompt = Prompt(tokens=ids, positions={"FE": make(range(1))}, target=ids, foil=ids[0], watched=ids)
    assert prompt == Prompt(tokens=(1, 2), positions={"FE": (0,)}, target=(1, 2), foil=1, watched=(1, 2))
    assert all(type(number) is int for number in (*prompt.tokens, *prompt.target, prompt.foil))
    named = {"components": {"q": 1}.keys(), "layers": ("0-1", *ids)}
    assert Graft(positions="FE", donor="sft", **named).layers == "0-1,1,2"
    assert Graft(positions="FE", layers=ids, heads=ids, components="q", donor="sft").heads == (1, 2)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"positions": {"FE": MASK}}, "position set 'FE': False is no whole number; .*of a mask, the places"),
        ({"positions": {"FE": torch.tensor(MASK)}}, "False is no whole number"),
        ({"positions": {"FE": np.array(MASK)}}, "False is no whole number"),
        ({"positions": {"FE": [torch.tensor(True)]}}, "True is no whole number"),
        ({"positions": {"FE": (1, 2.5)}}, "2.5 is no whole number"),
        ({"positions": {"FE": torch.tensor([1.0])}}, "1.0 is no whole number"),
        ({"positions": {"FE": 1}}, "1 is no list of whole numbers"),
        ({"positions": {"FE": "12"}}, "'12' is no list"),
        ({"positions": {"FE": None}}, "None is no list"),
        ({"positions": {"FE": (-1,)}}, "outside the prompt's tokens 0 to 3"),
        ({"positions": {"FE": range(300_000_000)}}, "more than 1048576 numbers"),
        ({"positions": {"FE": range(100_000)}}, "outside the prompt's tokens 0 to 3"),
        ({"positions": {3: (1,)}}, "position set 3: a name is letters"),
        ({"positions": [1, 2]}, r"positions are \[1, 2\]; give token numbers by names"),
        ({"tokens": [7, 12.5]}, "a prompt's tokens: 12.5 is no whole number; give token ids"),
        ({"tokens": torch.tensor([[7, 12]])}, r"\[7, 12\] is no whole number; .*of one prompt"),
        ({"tokens": "See Ada"}, "'See Ada' is no list of whole numbers"),
        ({"tokens": {"input_ids": [1]}}, "is no list of whole numbers; give token ids"),
        ({"tokens": range(300_000_000)}, "more than 1048576 numbers"),
        ({"target": (True,)}, "a prompt's target: True is no whole number"),
        ({"target": 5}, "a prompt's target: 5 is no list"),
        ({"foil": 2.5}, "a prompt's foil: 2.5 is no whole number"),
        ({"foil": False}, "a prompt's foil: False is no whole number"),
        ({"watched": ["1"]}, "watched tokens: '1' is no whole number"),
    ],
)
def test_a_prompt_of_anything_but_whole_numbers_is_refused(fields, said):
    started = time.process_time()
    with pytest.raises(ValueError, match=said) as caught:
        Prompt(**{"tokens": TOKENS} | fields)
    assert time.process_time() - started < 2 and len(str(caught.value)) < 400


GRAFT = {"positions": "LT", "donor": "sft"}


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: parse_scheme(b"FE", "sft"), "a scheme is b'FE', a bytes and no text"),
        (lambda: parse_scheme(None, "sft"), "a scheme is None"),
        (lambda: parse_scheme(3, "sft"), "a scheme is 3"),
        (lambda: parse_scheme(["FE"], "sft"), "a scheme is .'FE'., a list"),
        (lambda: parse_scheme("FE", ["sft"]), "a scheme's donor is"),
        (lambda: parse_scheme("FE", "sft", 3), "a scheme's name is 3"),
        (lambda: parse_scheme("FE\ud800", "sft"), "has no meaning here"),
        (lambda: Graft(**GRAFT | {"positions": None}), "a graft's positions is None"),
        (lambda: Graft(**GRAFT | {"positions": ["FE"]}), "a graft's positions is"),
        (lambda: Graft(**GRAFT | {"donor": None}), "a graft's donor is None"),
        (lambda: Graft(**GRAFT, components=None), "a graft's component is None"),
        (lambda: Graft(**GRAFT, components=["o", 1]), "a graft's component is 1"),
        (lambda: Graft(**GRAFT, layers=3), "layers: 3 is no list of whole numbers"),
        (lambda: Graft(**GRAFT, layers=(0.5,)), "layers: 0.5 is no whole number"),
        (lambda: Graft(**GRAFT, layers=range(300_000_000)), "layers: more than"),
        (lambda: Graft(**GRAFT, components="q", heads=(1.5,)), "heads: 1.5 is no whole number"),
        (lambda: Graft(**GRAFT, components="q", heads=2), "heads: 2 is no list"),
        (lambda: Cut(queries=None, keys="FE"), "a cut's positions is None"),
        (lambda: Scheme("x", Graft(**GRAFT)), "its grafts are .*; give a tuple of Grafts"),
        (lambda: Scheme("x", ["FE"]), "its grafts are .*read it with parse_scheme"),
        (lambda: Scheme(None), "a scheme's name is None"),
    ],
)
def test_a_scheme_of_anything_but_texts_and_whole_numbers_is_refused(make, said):
    started = time.process_time()
    with pytest.raises(ValueError, match=said):
        make()
    assert time.process_time() - started < 2


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("(" * 2000 + "FE" + ")" * 2000, "expected at most 100 brackets in one another"),
        ("O@LT[0-300000000]", "found '300000000', expected a layer below 10000"),
        ("O@LT[300000000]", "expected a layer below 10000"),
        ("O@LT[0-" + "9" * 5000 + "]", "a number of 5000 digits; numbers have up to 9"),
        ("q{" + "1" * 5000 + "}@LT", "a number of 5000 digits"),
        ("+".join(["FE"] * 50_000) + "+", "expected a position set"),
        ("x" * 100_000 + "@LT", "expected a component"),
    ],
)
def test_a_notation_too_large_for_any_model_is_refused_at_once_and_shown_in_part(text, said):
    started = time.process_time()
    with pytest.raises(NotationError, match=said) as caught:
        parse_scheme(text, donor="sft")
    assert time.process_time() - started < 2 and len(str(caught.value)) < 700


def test_what_is_within_the_limits_means_what_it_says():
    deep = "(" * 100 + "FE" + ")" * 100
    assert parse_positions(deep) == parse_positions("FE") and parse_positions(deep + "^C" * 3001) == (
        "not",
        ("set", "FE"),
    )
    assert not contains(parse_positions("FE" + "^C" * 3001), frozenset({"FE"}))
    assert list(layer_numbers("7000/10000", 10_000)) == [6999]
    assert layer_numbers("9999") == (9999,)


def test_a_list_of_prompts_and_schemes_is_asked_for(grafted, prompts):
    schemes = [parse_scheme("PRE")]
    for given, said in (
        ((prompts[0], schemes), "prompts: Prompt.* is no list; give a list of what encode_prompt"),
        ((["See Ada"], schemes), r"prompt 0 is 'See Ada'; encode_prompt\(tokenizer"),
        (("See Ada", schemes), "prompts: 'See Ada' is no list"),
        ((prompts, "PRE"), "schemes: 'PRE' is no list; give a list of what parse_scheme"),
        ((prompts, ["PRE"]), r"scheme 0 is 'PRE'; parse_scheme\(text"),
        ((prompts, schemes[0]), "schemes: Scheme.* is no list"),
        ((None, schemes), "prompts: None is no list"),
        ((prompts, []), "no schemes to score"),
    ):
        for ask in (GraftedModel.score, GraftedModel.plan):
            with pytest.raises(ValueError, match=said):
                inspect.unwrap(ask)(grafted, *given)  # without the tests' own checks of types


def test_donors_without_names_are_refused(pre, sft):
    for donors, said in (
        (sft, "donors: a LlamaForCausalLM; give them by names"),
        ([sft], "donors: a list"),
        ({1: sft}, "donor 1: a name is letters"),
        (None, "donors: a NoneType"),
    ):
        with pytest.raises(ValueError, match=said):
            inspect.unwrap(GraftedModel.__init__)(GraftedModel.__new__(GraftedModel), pre, donors)
