"""Claims about evaluating a setup: one command, one complete table, whatever the setup."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from stages.analysis.tables import check_scores
from stages.evaluation.prompts import asked, encode_rows
from stages.evaluation.setups import COLUMNS
from stages.modeling.models import load_model
from stages.study.checking.setups import scheme_names
from stages.study.params import read_yaml
from stages.study.schema import Params
from weightgraft import GraftedModel, parse_scheme
from weightgraft.engine.families import family_of
from weightgraft.engine.parts import anatomy_of
from weightgraft.engine.portions import portions, together
from weightgraft.errors import UserError

PARAMS = read_yaml(Path("params.yaml"))
# Of the synthetic world's facts; facts of one's own go through the same stage in tests/pipeline.
LISTED = {*PARAMS["study"]["recipes"], *PARAMS["study"]["setups"]}
SETUPS = {name: PARAMS["setups"][name] for name in PARAMS["setups"] if name in LISTED}


def values(table: pd.DataFrame, scheme: str, experiment: str) -> np.ndarray:
    """Log-probabilities of a scheme, in the order of facts and templates."""
    rows = table[(table["scheme"] == scheme) & (table["experiment"] == experiment)]
    return rows.sort_values(["template", "fact_id", "draw"])["target_logprob"].to_numpy()


@pytest.mark.parametrize("setup", SETUPS)
def test_every_setups_table_is_complete_and_holds_what_params_say(setup, table, folder):
    table = table(setup)
    check_scores(table)
    assert list(table.columns) == COLUMNS
    assert set(table["setup"]) == {setup} and set(table["dataset"]) == {SETUPS[setup]["dataset"]}
    model, _ = load_model(folder / "base")
    anatomy = anatomy_of(model, family_of("llama"))
    params = Params.model_construct(
        experiments={name: Settings(values) for name, values in PARAMS["experiments"].items()},
        graft=Settings(PARAMS["graft"]),
    )
    for name in SETUPS[setup]["experiments"]:
        shown = table[table["experiment"] == name]
        assert set(shown["scheme"]) == set(
            scheme_names(name, next(iter(SETUPS[setup]["donors"])), anatomy, params)
        )
        asked = set(PARAMS["experiments"][name]["prompts"]) - set(SETUPS[setup]["leave_out"])
        assert set(shown["prompt"]) == asked
        assert not (values(table, "PRE", name) == values(table, "SFT", name)).any()


class Settings:
    """A section of params.yaml that is known to be valid (test_check_params.py says so)."""

    def __init__(self, values: dict):
        self.__dict__.update(values)
        self.values = values

    def model_dump(self) -> dict:
        return self.values


def test_only_the_facts_of_a_setups_halves_are_asked(table, rows):
    half = {row["fact_id"]: row["half"] for row in rows}
    assert {half[fact] for fact in table("hybrid")["fact_id"]} == {"b"}
    both = table("maps")
    assert {half[fact] for fact in both["fact_id"]} == {"a", "b"} and both["fact_id"].nunique() == len(half)


def test_sft_of_the_hybrid_is_the_relation_model_and_the_task_model_counts(table):
    swapped, relation_alone = table("hybrid", half_b="sft1", half_a="sft0"), table("fmra")
    table = table("hybrid")
    half_b = relation_alone[relation_alone["fact_id"].isin(table["fact_id"].unique())]
    ours = values(table[table["prompt"] == "qa"], "SFT", "hybrid")
    theirs = values(half_b[half_b["prompt"] == "qa"], "SFT", "positions")
    assert np.allclose(ours, theirs, atol=1e-5)
    for scheme in ("SFT", "NO FE", "FE FULL", "relation"):
        assert not np.allclose(values(table, scheme, "hybrid"), values(swapped, scheme, "hybrid"), atol=1e-3)
    assert not np.allclose(values(table, "NO FE", "hybrid"), values(table, "relation", "hybrid"), atol=1e-3)


def test_a_lora_adapter_scores_as_the_model_it_merges_into(table):
    low_rank, merged = table("lora"), table("lora", lora="merged")
    assert np.abs(values(merged, "SFT", "positions") - values(merged, "PRE", "positions")).max() > 0.1
    keys = ["experiment", "template", "fact_id", "scheme"]
    assert (low_rank[keys] == merged[keys]).all(axis=None)
    for column in ("target_logprob", "target_logit", "foil_logit"):
        # Merging rounds W + BA once, grafting rounds W x and B (A x) separately: float32, 3 layers.
        assert np.allclose(low_rank[column], merged[column], atol=1e-4)


def test_the_unembedding_is_the_one_that_the_name_says(table):
    table = table("fmra")

    def of(scheme: str) -> np.ndarray:
        return values(table, scheme, "unembedding")

    for scheme, default, other in (("FE+LT", "SFT", "PRE"), ("FE", "PRE", "SFT")):
        assert np.allclose(of(scheme), of(f"{scheme} | {default} unembed"), atol=1e-6)
        assert not np.allclose(of(scheme), of(f"{scheme} | {other} unembed"), atol=1e-3)


def test_a_whole_target_is_scored_for_the_prompts_that_ask_for_it_and_nothing_else_changes(table):
    table = table("fmra")
    known = table["exact_match"].notna()
    wanted = (table["experiment"] == "positions") & table["prompt"].isin(["headline", "qa"])
    assert (known == wanted).all() and known.any()
    cut = table[(table["experiment"] == "unembedding") & (table["prompt"] == "qa")]
    whole = table[(table["experiment"] == "positions") & (table["prompt"] == "qa")]
    for scheme in ("PRE", "SFT", "FE+LT"):
        assert np.allclose(values(cut, scheme, "unembedding"), values(whole, scheme, "positions"), atol=1e-5)


def test_schemes_scored_some_at_a_time_score_as_they_do_together(folder, tokenizer, rows, monkeypatch):
    monkeypatch.setattr("weightgraft.engine.portions.ROWS_AT_ONCE", 60)
    pre, sft = (load_model(folder / name)[0] for name in ("base", "sft0"))
    grafted = GraftedModel(pre, {"sft": sft})
    prompts = encode_rows(tokenizer, asked(rows, ["headline", "qa"], ["ab"], ["a", "b"]))
    texts = [
        "PRE",
        "SFT",
        *(f"{name}@{at}[{layer}]" for at in ("LT", "FE") for name in "qkvo" for layer in range(3)),
    ]
    schemes = [parse_scheme(text, donor="sft") for text in texts]
    longest = max(prompts, key=lambda prompt: len(prompt.tokens))
    some = list(portions(grafted, schemes, longest))
    assert len(some) > 1 and [scheme for part in some for scheme in part] == schemes
    at_once = grafted.score(prompts, schemes)
    apart = together([grafted.score(prompts, part, token_budget=500) for part in some])
    assert at_once.target_logprob.std(dim=1).min() > 1e-3
    assert torch.allclose(apart.target_logprob, at_once.target_logprob, atol=1e-5)
    assert torch.equal(apart.target_rank, at_once.target_rank)


def test_two_runs_give_the_same_bytes(evaluate):
    one, two = (evaluate("reversal", name) for name in ("one", "two"))
    assert one.read_bytes() == two.read_bytes()


def test_a_random_control_has_all_its_draws(table):
    table = table("fmra")
    table = table[table["experiment"] == "random_positions"]
    draws = set(range(1, PARAMS["graft"]["draws"] + 1))
    for scheme in ("FE_random", "LT_random"):
        by_fact = table[table["scheme"] == scheme].groupby(["template", "fact_id"])["draw"].agg(set)
        assert all(found == draws for found in by_fact)
    assert set(table.loc[~table["scheme"].str.endswith("_random"), "draw"]) == {0}


@pytest.mark.parametrize(
    ("setup", "models", "parts"),
    [
        ("hybrid", {"half_a": ""}, ["half_a", "no model", "'half_a'"]),
        ("fmra", {"fmra": "nowhere"}, ["fmra: no model", "'fmra'"]),
        ("fmra", {"base": "lora"}, ["recipient", "lora", "whole model"]),
        ("patching", {"fmra": "lora"}, ["setups.patching", "lora", "whole model"]),
    ],
)
def test_what_cannot_be_evaluated_is_said_in_one_line(evaluate, setup, models, parts):
    with pytest.raises(UserError) as raised:
        evaluate(setup, "none", **models)
    message = str(raised.value)
    assert all(part in message for part in parts) and "\n" not in message, message


def test_against_the_bases_own_answer_the_foil_is_what_pre_says_and_no_other_score_changes(table):
    found = table("fmra")
    keys = ["prompt", "fact_id", "scheme"]
    against, plain = (
        found[
            (found["experiment"] == name)
            & found["prompt"].isin(["headline", "qa"])
            & found["scheme"].isin(["PRE", "FE"])
        ]
        .set_index(keys)
        .sort_index()
        for name in ("base_answer", "positions")
    )
    assert np.allclose(against["target_logit"], plain["target_logit"], atol=1e-5)
    pre = against.xs("PRE", level="scheme")
    wrong = pre["target_rank"] > 1
    assert wrong.any() and (pre.loc[wrong, "foil_logit"] > pre.loc[wrong, "target_logit"]).all()
    other = plain.xs("PRE", level="scheme")
    assert (pre.loc[wrong, "foil_logit"] > other.loc[wrong, "foil_logit"] - 1e-5).all()  # PRE's own top token
    assert not np.allclose(against["foil_logit"], plain["foil_logit"])
