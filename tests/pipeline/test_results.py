"""Claims about the committed results: what the study rests on."""

import json
from itertools import product

import pandas as pd
import pytest
from closure import ROOT

from stages.study.items import summary_items
from stages.study.params import read_yaml

PARAMS = read_yaml(ROOT / "params.yaml")
STUDY = PARAMS["study"]
MODELS = [*STUDY["models"], *STUDY["new_form"]["models"]]
ITEMS = summary_items(STUDY)
ON_BASES = [
    item for item in ITEMS if item[2] in STUDY["recipes"]
]  # finetuned models grafted onto their bases


def summary_of(model: str, seed: int, setup: str) -> pd.DataFrame:
    return pd.read_csv(ROOT / f"results/summary/{model}-{seed}/{setup}.csv")


@pytest.mark.parametrize("model", MODELS)
def test_every_base_knows_its_world_and_did_not_know_it_early_in_training(model):
    metrics = json.loads((ROOT / f"results/metrics/pretrain/{model}.json").read_text())
    assert metrics["own_casts_recalled"] >= 0.98 and metrics["own_casts_recalled_early"] <= 0.15


@pytest.mark.parametrize(("model", "seed", "setup"), ON_BASES)
def test_every_model_learnt_its_facts_and_its_base_did_not_know_them(model, seed, setup):
    summary = summary_of(model, seed, setup).set_index(["experiment", "prompt", "scheme", "metric"])
    estimate = summary.loc["positions", "estimate"]
    # Gentle finetuning and a form of question that the base has never read are learnt a little less well.
    hard = setup == "gentle" or model in STUDY["new_form"]["models"]
    assert estimate["qa", "SFT", "top1_accuracy"] >= (0.95 if hard else 0.98)
    assert estimate["headline", "SFT", "top5_accuracy"] >= 0.99
    for prompt in ("qa", "headline"):
        assert estimate[prompt, "PRE", "top5_accuracy"] <= 0.15


@pytest.mark.parametrize(("model", "seed", "setup"), ITEMS)
def test_every_fact_is_behind_every_number(model, seed, setup):
    settings, facts = PARAMS["setups"][setup], PARAMS["generate_facts"]
    asked = facts["base_facts"] if settings["dataset"] == "base" else facts["facts"]
    summary = summary_of(model, seed, setup)
    asked = asked * len(settings["halves"]) // 2
    for name in settings["experiments"]:
        shown = summary[summary["experiment"] == name]
        half_known = settings.get("facts") == "half_known"
        assert set(shown["n"]) == {
            round(asked * PARAMS["graft"]["half_known_share"]) if half_known else asked
        }
        prompts = set(PARAMS["experiments"][name]["prompts"]) - set(settings["leave_out"])
        assert set(shown["prompt"]) == prompts and {"PRE", "SFT"} <= set(shown["scheme"])


@pytest.mark.parametrize(("model", "seed"), [*product(STUDY["models"], STUDY["seeds"])])
def test_every_claim_has_a_verdict_in_every_model_that_it_is_about(model, seed):
    claims = read_yaml(ROOT / "data/claims.yaml")["claims"]
    family = PARAMS["models"][model]["family"]
    about = [
        claim["id"]
        for claim in claims
        if any(family in part.get("families", [family]) for part in claim["parts"])
    ]
    verdicts = pd.read_csv(ROOT / f"results/verdicts/{model}-{seed}.csv")
    assert verdicts.loc[verdicts["prompt"] == "all", "claim"].tolist() == about
