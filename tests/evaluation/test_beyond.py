"""Claims about the experiments that ask more than the paper: they fail when one is miswired."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from made_up_setups import MODELS

from stages.analysis.metrics import ANSWERS
from stages.evaluation.answers import (
    KINDS,
    Names,
    bystanders,
    kinds_of,
    names_in,
    people_of,
    person_of,
    watching,
)
from stages.evaluation.prompts import asked, encode_rows
from stages.facts.templates import read_training_forms
from stages.finetune import chosen
from stages.frame.rows import read_jsonl
from stages.generate_facts import cast_texts
from stages.modeling.models import load_model, save_model
from stages.plotting.shown import KINDS as SHOWN_KINDS
from stages.study.params import read_yaml
from weightgraft import GraftedModel, Prompt, parse_scheme
from weightgraft.errors import UserError

PARAMS = read_yaml(Path("params.yaml"))
EXACT = 1e-5  # float32, three layers
CELLS = ["ATTN@FE", "O@LT", "FFN@FE", "O+FFN@LT", "O+FFN+UNEMBED@LT", "all@LT", "all@FE", "EMBED@FE"]


def logprobs(table: pd.DataFrame, scheme: str, experiment: str, column: str = "target_logprob") -> np.ndarray:
    rows = table[(table["scheme"] == scheme) & (table["experiment"] == experiment)]
    assert len(rows), scheme
    return rows.sort_values(["prompt", "fact_id"])[column].to_numpy()


@pytest.mark.parametrize("cell", CELLS)
def test_sft_except_a_component_is_the_recipients_component_grafted_onto_sft(
    cell, table, folder, tokenizer, rows
):
    """The same mixture told from the other side: SFT is the recipient, and the component comes from PRE."""
    pre, sft = (load_model(folder / name)[0] for name in ("base", "sft0"))
    picked = sorted(
        asked(rows, ["headline", "qa"], ["ab"], "ab"), key=lambda row: (row["prompt"], row["fact_id"])
    )
    prompts = [replace(prompt, target=prompt.target[:1]) for prompt in encode_rows(tokenizer, picked)]
    scheme = parse_scheme(cell, donor="pre")
    expected = GraftedModel(sft, {"pre": pre}).score(prompts, [scheme]).target_logprob[:, 0].numpy()
    found = logprobs(table("fmra"), f"SFT except {cell}[all]", "necessity")
    assert np.abs(found - expected).max() < EXACT
    assert np.abs(found - logprobs(table("fmra"), "SFT", "necessity")).max() > 1e-3


def test_sft_except_everything_somewhere_is_its_complement(table):
    for place in ("FE", "LT"):
        left_out = logprobs(table("fmra"), f"SFT except all@{place}[all]", "necessity")
        assert np.abs(left_out - logprobs(table("fmra"), f"{place}^C", "necessity")).max() < EXACT
        half = logprobs(table("fmra"), f"SFT except all@{place}[second_half]", "necessity")
        assert np.abs(left_out - half).max() > 1e-3


def test_within_fe_what_is_left_out_is_the_recipients(table):
    table = table("fmra")
    for whole in ("FE", "FE[1/1]"):
        full, without = (
            logprobs(table, name, "necessity") for name in (whole, f"{whole} except FFN@FE[all]")
        )
        assert np.abs(full - without).max() > 1e-3
    assert np.abs(logprobs(table, "FE", "necessity") - logprobs(table, "FE[1/1]", "necessity")).max() > 1e-3


def test_by_layers_only_no_table_is_grafted(table, folder, tokenizer):
    """With a donor that differs from the base in embedding, final norm and unembedding alone, they are PRE; the others are not."""
    donor, _ = load_model(folder / "base")
    other, _ = load_model(folder / "sft0")
    donor.model.embed_tokens, donor.model.norm, donor.lm_head = (
        other.model.embed_tokens,
        other.model.norm,
        other.lm_head,
    )
    save_model(donor, tokenizer, folder / "tables")
    for setup, recipe in (("collateral", "fmfa"), ("other_facts", "half_a"), ("fmra", "fmra")):
        found = table(setup, **{recipe: "tables"})
        experiment = "necessity" if setup == "fmra" else setup
        names = set(found.loc[found["experiment"] == experiment, "scheme"])
        layers = {name for name in names if name.endswith("| layers") or "[1/1]" in name}
        before = logprobs(found, "PRE", experiment)
        assert (
            layers
            and max(np.abs(logprobs(found, name, experiment) - before).max() for name in layers) < EXACT
        )
        whole = {name.removesuffix(" | layers").replace("[1/1]", "") for name in layers} & names
        assert whole
        for name in whole - {"FE except EMBED@FE[all]", "FE^C"}:
            if "FE" in name or "LT" in name:
                assert np.abs(logprobs(found, name, experiment) - before).max() > 1e-3, name


def test_the_two_donors_of_another_models_facts_change_places_when_they_are_swapped(table):
    ours, swapped = table("other_facts"), table("other_facts", half_b="sft1", half_a="sft0")
    for mine, theirs in (
        ("SFT", "other all"),
        ("FE", "other FE"),
        ("LT", "other LT"),
        ("FE+LT", "other FE+LT"),
    ):
        for one, two in ((mine, theirs), (theirs, mine)):
            first, second = (logprobs(t, name, "other_facts") for t, name in ((ours, one), (swapped, two)))
            assert np.abs(first - second).max() < EXACT
        assert (
            np.abs(logprobs(ours, mine, "other_facts") - logprobs(ours, theirs, "other_facts")).max() > 1e-3
        )


def test_sft_of_another_models_facts_is_the_model_that_learnt_the_facts_asked(table, rows):
    setup, recipes = PARAMS["setups"]["other_facts"], PARAMS["recipes"]
    learnt, other = (recipes[model] for model in setup["donors"].values())
    assert [*setup["donors"]] == ["sft", "other"] and setup["recipient"] == "base"
    assert learnt["halves"] == setup["halves"] and not {*learnt["halves"]} & {*other["halves"]}
    half = {row["fact_id"]: row["half"] for row in rows}
    assert {half[fact] for fact in table("other_facts")["fact_id"]} == {*setup["halves"]}
    assert PARAMS["experiments"]["other_facts"]["watched"]["halves"] == other["halves"]


def test_the_model_of_other_facts_has_read_of_nobody_who_is_asked_about(world, rows):
    setup = PARAMS["setups"]["other_facts"]
    forms = read_training_forms(Path("data/templates"))
    texts = cast_texts(world.datasets["fmra"], forms["article"] + forms["short"])
    read = chosen(texts, PARAMS["recipes"][setup["donors"]["other"]])
    people = people_of(asked(rows, ["headline"], ["ab"], setup["halves"]))
    told = " ".join(row["text"] for row in read)
    assert read and people and not [name for name in people if name in told]
    learnt = chosen(texts, PARAMS["recipes"][setup["donors"]["sft"]])
    assert all(name in " ".join(row["text"] for row in learnt) for name in people)


def test_known_casts_are_of_people_in_no_new_fact(table, folder):
    setup = PARAMS["setups"]["collateral"]
    dataset = PARAMS["recipes"][setup["donors"]["sft"]]["dataset"]
    assert setup["unnamed_in"] == dataset == PARAMS["experiments"]["collateral"]["watched"]["dataset"]
    new = people_of(read_jsonl(folder / f"facts/prompts/{dataset}.jsonl"))
    base = read_jsonl(folder / f"facts/prompts/{setup['dataset']}.jsonl")
    asked_about = [row for row in base if row["fact_id"] in set(table("collateral")["fact_id"])]
    assert asked_about and not people_of(asked_about) & new


def test_a_cast_with_one_person_in_a_new_fact_is_left_out(folder):
    base = read_jsonl(folder / "facts/prompts/base.jsonl")
    casts = [row for row in base if row["prompt"] == "headline"]
    first = casts[0]
    for person in (person_of(first), first["target"].strip()):
        new = [{"text": "Nobody stars", "spans": {"FE": [[0, 6]]}, "target": f" {person}"}]
        left = bystanders(casts, new)
        assert {row["fact_id"] for row in left} == {row["fact_id"] for row in casts} - {first["fact_id"]}
    with pytest.raises(UserError, match=r"raise generate_facts\.base_facts"):
        bystanders(casts, read_jsonl(folder / "facts/prompts/fmra.jsonl"))


def test_at_least_a_hundred_known_casts_are_asked_about():
    sizes = PARAMS["generate_facts"]
    assert PARAMS["setups"]["collateral"]["unnamed_in"] == "fmfa" and sizes["base_facts"] >= 100


def test_watched_tokens_are_of_other_facts_answers_alone():
    prompts = [Prompt(tokens=[1, 2], target=[target]) for target in (5, 6)]
    watched = watching(prompts, [7, 8], of=[5, 7, 8, 9], asked=[5, 6])
    assert [prompt.watched for prompt in watched] == [(8, 9), (7, 9)]
    assert [prompt.watched for prompt in watching(prompts, [9, 8], of=[5, 9], asked=[5, 6])] == [(), (9,)]
    with pytest.raises(UserError, match="watched"):
        watching(prompts, [9, 9], of=[5, 9], asked=[5, 6])


def test_the_watched_mass_is_what_the_logits_say(folder, tokenizer, rows):
    pre, sft = (load_model(folder / name)[0] for name in ("base", "sft0"))
    grafted = GraftedModel(pre, {"sft": sft})
    schemes = [parse_scheme(name, donor="sft") for name in ("PRE", "LT", "SFT")]
    prompts = encode_rows(tokenizer, asked(rows, ["headline"], ["ab"], "ab"))
    prompts = [replace(prompt, watched=(3, 50 + i, 200)) for i, prompt in enumerate(prompts)]
    prompts[1] = replace(prompts[1], watched=())
    shares = grafted.logits(prompts, schemes).softmax(dim=-1)
    found = grafted.score(prompts, schemes).watched_mass
    assert found[1].isnan().all()
    for i, prompt in enumerate(prompts):
        if prompt.watched:
            expected = shares[i][:, list(prompt.watched)].sum(dim=-1)
            assert torch.allclose(found[i], expected, rtol=1e-4, atol=0)  # float32, logits of size 10


def test_only_experiments_that_watch_have_a_mass(table):
    assert table("other_facts")["watched_mass"].between(0, 1).all()
    assert table("collateral")["watched_mass"].between(0, 1).all()
    assert table("hybrid")["watched_mass"].isna().all()


def test_an_answer_is_the_first_kind_that_it_is():
    said = np.array([[10, 1, 2, 3, 4, 5, 9], [1, 10, 2, 3, 4, 5, 9]])
    columns = [("PRE", 0), *((f"s{i}", 0) for i in range(6))]
    rows = [
        {"text": f"{name} stars", "spans": {"FE": [[0, len(name)]]}, "target": " Bo"}
        for name in ("Ann", "Cy")
    ]
    prompts = [Prompt(tokens=[0], target=[1]), Prompt(tokens=[0], target=[10])]
    names = Names({"Ann": 2, "Cy": 2}, {1, 2, 3, 4, 10}, {1, 2, 3, 4, 5, 10})
    found = kinds_of(said, columns, rows, prompts, names).reshape(2, -1)
    first = ["base_answer", "target", "own_name", "co_star", "co_star", "name", "other"]
    assert found[0].tolist() == first
    assert found[1].tolist() == ["base_answer", "target", "own_name", "co_star", "co_star", "name", "other"]


def test_kinds_of_answers_have_one_list_of_names():
    assert KINDS == ANSWERS == (*SHOWN_KINDS,)


def test_answers_are_told_by_the_tokens_of_the_tables(table, folder, tokenizer):
    found = table("fmra")
    right = found["answer"] == "target"
    assert (right == (found["target_rank"] == 1)).mean() > 0.99  # ties apart
    said = found[(found["scheme"] == "PRE") & (found["answer"] != "target") & (found["answer"] != "own_name")]
    assert set(said["answer"]) == {"base_answer"}
    rows = read_jsonl(folder / "facts/prompts/fmra.jsonl")
    names = names_in(folder / "facts/prompts", rows, ["ab"], tokenizer)
    targets = {row["target"].strip() for row in rows if row["direction"] == "ab"}
    assert {names.own[name] for name in targets} == names.co_stars < names.people


def test_the_random_models_of_these_tests_differ():
    assert MODELS["half_a"] != MODELS["half_b"] and MODELS["fmfa"] != MODELS["base"]
