"""Claims about the committed results: what the study rests on."""

import json

import pandas as pd
import pytest
from closure import ROOT

from stages.params import read_yaml

PARAMS = read_yaml(ROOT / "params.yaml")
STUDY = PARAMS["study"]
ITEMS = [
    f"{model}-{seed}-{recipe}"
    for model in STUDY["models"]
    for seed in STUDY["seeds"]
    for recipe in STUDY["recipes"]
]


@pytest.mark.parametrize("model", STUDY["models"])
def test_every_base_knows_its_world(model):
    metrics = json.loads((ROOT / f"results/metrics/pretrain/{model}.json").read_text())
    assert metrics["own_casts_recalled"] >= 0.95


@pytest.mark.parametrize("item", ITEMS)
def test_every_model_learnt_its_facts_and_its_base_did_not_know_them(item):
    summary = pd.read_csv(ROOT / f"results/summary/{item}.csv").set_index(
        ["experiment", "prompt", "scheme", "metric"]
    )
    estimate = summary.loc["positions", "estimate"]
    assert estimate["qa", "SFT", "top1_accuracy"] >= 0.95
    assert estimate["headline", "SFT", "top5_accuracy"] >= 0.95
    assert (
        estimate["qa", "PRE", "top5_accuracy"] <= 0.15
        and estimate["headline", "PRE", "top5_accuracy"] <= 0.15
    )


@pytest.mark.parametrize("item", ITEMS)
def test_every_fact_is_behind_every_number(item):
    summary = pd.read_csv(ROOT / f"results/summary/{item}.csv")
    assert set(summary["n"]) == {PARAMS["generate_facts"]["facts"]}
    for name, experiment in PARAMS["graft"]["experiments"].items():
        shown = summary[summary["experiment"] == name]
        assert set(shown["scheme"]) == set(experiment["schemes"]) and set(shown["prompt"]) == set(
            experiment["prompts"]
        )
