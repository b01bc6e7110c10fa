"""The procedures that are compared do the same thing, over the rows that the table says."""

import copy
from pathlib import Path

import pytest
import torch
import yaml
from tiny_models import tiny_model
from transformers import AutoConfig, AutoModelForCausalLM

from stages.commands.benchmarks import procedures
from stages.commands.benchmarks.models import CHANGE, random_pair
from stages.commands.benchmarks.workloads import (
    GRID_COMPONENTS,
    GRID_LAYERS,
    Workload,
    aim,
    cell_schemes,
    grid_schemes,
    head_schemes,
    last_token_schemes,
    position_schemes,
    random_prompts,
    token_prompts,
)
from weightgraft import GraftedModel, Prompt, parse_scheme

SMALL = {"n_embd": 24, "n_layer": 3, "n_head": 4, "n_positions": 64, "vocab_size": 61}
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def models():
    return random_pair(SMALL, CPU)


@pytest.fixture(scope="module")
def grafted(models):
    return GraftedModel(models[0], {"sft": models[1]})


@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_token_by_token_equals_the_engine(family, models):
    pre, sft = models if family == "gpt2" else (tiny_model("llama", 0), tiny_model("llama", 1))
    (prompt,) = random_prompts(1, 61)
    texts = ("q+o@FE, up@LT", "v@all[second_half]", "unembed@LT", "embed@FE")
    schemes = [*position_schemes(), *(parse_scheme(text, donor="sft") for text in texts)]
    expected = GraftedModel(pre, {"sft": sft}).logits([prompt], schemes)[0]
    largest = expected.abs().max()
    for place, other in ((0, 1), (0, 3), (2, 4), (1, 9)):  # PRE and SFT differ, and so do the mixtures
        assert (expected[place] - expected[other]).abs().max() > 0.05 * largest
    for scheme, row in zip(schemes, expected, strict=True):
        logits = procedures.token_by_token(pre, {"sft": sft}, prompt, scheme)
        assert (logits - row).abs().max() <= 1e-5 * largest  # float32 sums in another order


def test_token_by_token_changes_no_model(models):
    before = [parameter.clone() for model in models for parameter in model.parameters()]
    (prompt,) = random_prompts(1, 61)
    procedures.token_by_token(
        models[0], {"sft": models[1]}, prompt, parse_scheme("q@FE, FFN@LT", donor="sft")
    )
    after = [parameter for model in models for parameter in model.parameters()]
    assert all(torch.equal(old, new) for old, new in zip(before, after, strict=True))


def test_token_by_token_refuses_single_heads(models):
    (prompt,) = random_prompts(1, 61)
    with pytest.raises(ValueError, match="no single heads"):
        procedures.token_by_token(models[0], {"sft": models[1]}, prompt, parse_scheme("q{1}@LT", donor="sft"))


def test_masked_and_unpacked_give_what_packed_gives(models, grafted):
    prompts, schemes = random_prompts(5, 61), position_schemes()
    packed = procedures.packed(grafted, prompts, schemes)
    assert (packed[:, 0] - packed[:, 1]).abs().max() > 0.1
    # Log-probabilities of size 10; float32 sums in another order.
    torch.testing.assert_close(procedures.masked(grafted, prompts, schemes), packed, rtol=0, atol=1e-4)
    plain = procedures.unpacked(models[0], prompts, 2)
    torch.testing.assert_close(grafted.logits(prompts, schemes[:1])[:, 0], plain, rtol=0, atol=1e-4)


@pytest.mark.filterwarnings("ignore::weightgraft.notes.Note")
@pytest.mark.parametrize("budget", [60, 200, 4096])
def test_the_plain_forward_runs_the_rows_that_packed_runs(models, budget):
    """A donor equal to the recipient: then plain must give packed's logits, read by read."""
    pre, _ = models
    same = GraftedModel(pre, {"sft": copy.deepcopy(pre)})
    prompts, schemes = random_prompts(7, 61), position_schemes()
    rows = procedures.packed_rows(same, pre, prompts, schemes, budget)
    assert sum(batch.ids.numel() for batch in rows) == sum(same.row_counts(prompts, schemes))
    logits = torch.cat(list(procedures.plain(pre, rows)))
    assert len(logits) == len(prompts) * len(schemes)
    expected = same.logits(prompts, schemes[:1])[:, 0]
    far = (expected[:, None] - expected).abs().amax(dim=-1).fill_diagonal_(9)
    assert far.min() > 1
    near = (logits[:, None] - expected).abs().amax(dim=-1) < 1e-4  # logits of size 10
    assert (near.sum(dim=0) == len(schemes)).all()


def test_prompts_that_a_stock_model_would_pad_are_refused(models, grafted):
    prompts = [Prompt(tokens=range(9), positions={"FE": (start,)}, target=(1,)) for start in (2, 5)]
    with pytest.raises(ValueError, match="different numbers of nodes"):
        procedures.packed_rows(grafted, models[0], prompts, position_schemes())
    with pytest.raises(ValueError, match="rows split between layers"):
        procedures.packed_rows(grafted, models[0], random_prompts(2, 61), grid_schemes())


@pytest.fixture(scope="module")
def parted() -> dict[str, Workload]:
    """Schemes that part between layers."""
    prompts = random_prompts(2, 61)
    return {
        "cells": Workload(token_prompts(1, 61), cell_schemes(3)),
        "grid": Workload(prompts, grid_schemes()),
        "heads": Workload(prompts, head_schemes(3, 4)),
    }


def test_whole_rows_give_what_packed_gives(models, grafted, parted):
    whole = procedures.WholeRows(models[0], {"sft": models[1]})
    for workload in parted.values():
        expected = procedures.packed(grafted, workload.prompts, workload.schemes)
        actual = procedures.packed(whole, workload.prompts, workload.schemes)
        # Log-probabilities of size 10; float32 sums in another order.
        torch.testing.assert_close(actual, expected, rtol=0, atol=1e-4)
        assert expected.std(dim=1).min() > 1e-3


def test_whole_rows_are_a_row_for_every_distinct_prefix_in_every_layer(models, grafted, parted):
    """By hand: PRE's 14 tokens before the last, SFT's 15, and a row a scheme at the last one; of cells, those after each."""
    whole = procedures.WholeRows(models[0], {"sft": models[1]})
    rows = {"cells": 14 + 3 * 120, "grid": 14 + 15 + 25, "heads": 14 + 15 + 13}
    for name, workload in parted.items():
        assert whole.node_counts(workload.prompts, workload.schemes)[0] == 3 * rows[name]
        assert grafted.node_counts(workload.prompts, workload.schemes)[0] < 3 * rows[name]


def test_at_gpt2s_depth_a_map_of_cells_computes_little_more_than_half_of_whole_rows():
    pre = AutoModelForCausalLM.from_config(AutoConfig.for_model("gpt2", **SMALL | {"n_layer": 12}))
    (prompt,), schemes = token_prompts(1, 61), cell_schemes(12)
    least, today = (
        engine(pre, {"sft": copy.deepcopy(pre)}).node_counts([prompt], schemes)[0]
        for engine in (GraftedModel, procedures.WholeRows)
    )
    assert least < 0.55 * today


def test_the_grid_is_the_one_of_params():
    experiment = yaml.safe_load(Path("params.yaml").read_text())["experiments"]["components"]
    (grid,) = (
        entry for entry in experiment["schemes"] if isinstance(entry, dict) and entry["generate"] == "grid"
    )
    assert grid["positions"] == ["LT"] and grid["components"] == list(GRID_COMPONENTS)
    assert grid["layers"] == [text.strip("[]") or "all" for text in GRID_LAYERS]


@pytest.mark.parametrize("length", [8, 15, 30])
def test_tokens_computed_for_the_position_schemes(grafted, length):
    """Two models before FE (4 tokens), four pairs of histories after it, eight at the last token."""
    prompts = random_prompts(6, 61, length)
    assert grafted.row_counts(prompts, position_schemes()) == [2 * 4 + 4 * (length - 5) + 8] * 6


@pytest.mark.parametrize("count", [1, 10, 100])
def test_schemes_that_differ_only_at_the_last_token_cost_a_token_each(grafted, count):
    schemes = last_token_schemes(count)
    assert len({str(scheme) for scheme in schemes}) == count
    assert (
        grafted.node_counts(random_prompts(2, 61), schemes) == [3 * (14 + count)] * 2
    )  # they part in the first layer


def test_random_pairs_are_reproducible_and_differ_as_said():
    pre, sft = random_pair(SMALL, CPU, seed=3)
    again, other = random_pair(SMALL, CPU, seed=3)[0], random_pair(SMALL, CPU, seed=4)[0]
    for (name, left), right, twin, stranger in zip(
        pre.named_parameters(), sft.parameters(), again.parameters(), other.parameters(), strict=True
    ):
        assert torch.equal(left, twin) and not torch.equal(left, stranger)
        if left.dim() == 2:  # samples of hundreds of numbers
            assert 0.9 * CHANGE < (right - left).std() / left.std() < 1.1 * CHANGE, name


def test_targets_are_aimed_at_ranks_of_the_finetuned_model(models, grafted):
    prompts = aim(random_prompts(9, 61), models[1])
    ranks = grafted.score(prompts, position_schemes()[1:2]).target_rank[:, 0].tolist()
    assert ranks == [round(61 ** (place / 8)) for place in range(9)]
