"""What the README says in words is what the summaries and verdicts say."""

import re

import pandas as pd
import pytest
from made_up_study import REPOSITORY, STUDY, made_up_summary, made_up_verdicts

from stages.analysis.claims import read_claims, side_by_side
from stages.reporting.tables import verdict_table
from stages.reporting.words import (
    WRITERS,
    Found,
    balance,
    both_and_the_rest,
    findings,
    ranged,
    task_attention,
    words,
)
from stages.study.items import summary_items
from stages.study.params import read_yaml
from stages.write_report import of_real

CLAIMS = read_yaml(REPOSITORY / "data/claims.yaml")["claims"]
PUBLISHED = pd.read_csv(REPOSITORY / "data/published/position_grafting.csv")


@pytest.fixture(scope="module")
def found() -> Found:
    items = summary_items(STUDY)
    summaries = pd.concat([made_up_summary(*item) for item in items], ignore_index=True)
    runs = dict.fromkeys((model, seed) for model, seed, _ in items)
    verdicts = pd.concat([made_up_verdicts(*run, CLAIMS) for run in runs], ignore_index=True)
    claims = side_by_side(read_claims(REPOSITORY / "data/claims.yaml").claims)
    table = verdict_table(verdicts, {claim.id: claim for claim in claims})
    return Found(summaries, verdicts, table, STUDY, PUBLISHED)


def changed(found: Found, scheme: str, value: float) -> Found:
    """One scheme of one model on one prompt with another estimate."""
    table = found.summaries.copy()
    cell = (table["scheme"] == scheme) & (table["model"] == "tiny-llama") & (table["prompt"] == "qa")
    cell &= (table["setup"] == "fmra") & (table["experiment"] == "positions")
    table.loc[cell & (table["metric"] == "recovered_logprob"), "estimate"] = value
    return found._replace(summaries=table)


def test_a_study_without_results_says_nothing(found):
    empty = found._replace(summaries=found.summaries.head(0), verdicts=found.verdicts.head(0))
    assert words([("nothing", empty)]) == "<!-- words -->\n\n<!-- /words -->"


def test_the_ends_of_a_range_are_those_of_all_models_and_prompts(found):
    told = both_and_the_rest(changed(changed(found, "FE+LT", 1.23), "(FE+LT)^C", 7.5))
    assert "to 1.23 of the log-probability" in told and "at most 7.50 and" in told
    assert (
        ranged(pd.Series([0.999, 1.001])) == "1.00" and ranged(pd.Series([0.5, -0.1, 0.2])) == "-0.10 to 0.50"
    )


def test_a_finetuning_repeated_with_another_seed_is_no_run_of_the_study(found):
    table = found.summaries
    again = table[(table["model"] == "tiny-gpt2") & (table["setup"] == "fmra")].assign(seed=1, estimate=7.0)
    every = found._replace(summaries=pd.concat([table[table["seed"] == 0], again]))
    assert both_and_the_rest(every) == both_and_the_rest(found)


def test_what_the_task_model_adds_is_paired_by_model_and_question(found):
    """Of the run that the numbers are said to be of, whatever the verdicts are of."""
    places = [
        ("tiny-gpt2", "headline"),
        ("tiny-gpt2", "qa"),
        ("tiny-llama", "headline"),
        ("tiny-llama", "qa"),
    ]
    of_hybrid = {"experiment": "hybrid", "setup": "hybrid", "seed": 0, "direction": "ab"}
    rows = [
        of_hybrid | {"metric": metric, "scheme": scheme, "model": model, "prompt": prompt}
        | {"estimate": place + (scheme == "FE ATTN") * (place + 1) / 10}
        for metric in ("recovered_logprob", "recovered_logit_difference")
        for scheme, order in (("FE ATTN", 1), ("NO FE", -1))
        for place, (model, prompt) in [*enumerate(places)][::order]
    ]  # fmt: skip
    told = task_attention(found._replace(summaries=pd.DataFrame(rows)))
    assert (
        "it recovers 0.10 to 0.40 of the log-probability and 0.10 to 0.40 of the logit difference more"
        in told
    )


def test_verdicts_are_counted_over_models(found):
    whole = found.verdicts[(found.verdicts["prompt"] == "all") & (found.verdicts["claim"] == "C1")]
    whole = whole[
        whole["model"].isin(STUDY["models"])
    ]  # those that the ranges are of: none that has not read the form
    counts = whole["verdict"].value_counts()
    told = re.search(r"\(C1: ([^;]*);", both_and_the_rest(found))
    assert told and {*told[1].split(", ")} == {f"{number} {word}" for word, number in counts.items()}


def test_a_model_leans_on_a_pathway_only_where_both_prompts_say_so(found):
    rows = [
        ("C5", "r(LT) above r(FE)"),
        ("K10", "r(LT | PRE unembed) above r(FE | PRE unembed)"),
        ("K10", "r(LT | SFT unembed) above r(FE | SFT unembed)"),
        ("K17", "r(LT | layers) above r(FE | layers)"),
    ]
    ends = {
        "tiny-gpt2": (0.1, 0.2),
        "tiny-llama": (-0.2, -0.1),
        "tiny-gemma": (0.1, -0.1),
    }  # low on headline, and on qa
    parts = [
        {
            "claim": claim,
            "comparison": words,
            "model": model,
            "seed": 0,
            "metric": "recovered_logprob",
            "prompt": prompt,
        }
        | {"low": low, "high": low + 0.05}
        for claim, words in rows
        for model, lows in ends.items()
        for prompt, low in zip(("headline", "qa"), lows, strict=True)
    ]
    told = balance(found._replace(verdicts=pd.DataFrame(parts)))
    assert "over runs" not in told
    assert "over runs" in balance(found._replace(verdicts=pd.DataFrame(parts).assign(runs=8)))
    balances = "as grafted, with PRE's unembedding for all, with SFT's and by layers only"
    assert f"{balances}, LT in tiny-gpt2, FE in tiny-llama, neither in tiny-gemma" in told


def test_every_sentence_is_written_of_a_whole_study(found):
    verdicts = found.verdicts.copy()
    for claim, scheme in (
        ("C5", "LT"),
        ("K10", "LT | PRE unembed"),
        ("K17", "LT | layers"),
        ("C11", "FE ATTN"),
    ):
        assert verdicts.loc[verdicts["claim"] == claim, "comparison"].str.startswith(f"r({scheme})").any()
    summaries = pd.concat(
        [
            found.summaries,
            *(found.summaries.query("setup == 'fmra'").assign(setup=name) for name in ("gentle", "lora")),
        ]
    )
    logits = verdicts[verdicts["claim"] == "K36"].assign(metric="recovered_logit_difference")
    every = found._replace(summaries=summaries, verdicts=pd.concat([verdicts, logits]))
    written = [write(every) for write in WRITERS]
    assert len({*written}) == len(WRITERS) and all(re.search(r"\d\.\d\d", line) for line in written[:3])
    assert words([("one", every), ("two", every)]).count("\n- ") == 2 * len(WRITERS)


def test_only_what_was_measured_in_a_model_is_told_of_it(found):
    """A really pretrained model that was finetuned with LoRA and not gently, and one that was not judged."""
    lora = found.summaries.query("setup == 'fmra'").assign(setup="lora")
    summaries = pd.concat([found.summaries, lora]).query("model == 'tiny-llama' and setup != 'gentle'")
    summaries, verdicts = (rows.assign(model="mine") for rows in (summaries, found.verdicts))
    held = {"mine": {"verdict": "holds"}}
    table = {
        **found.table,
        "models": ["mine"],
        "rows": [{**row, "cells": held} for row in found.table["rows"]],
    }
    summaries = summaries.assign(seed=3)  # its own, not the tiny study's
    mine = of_real(found._replace(table=table), "mine", [summaries], [verdicts])
    assert mine is not None and mine.study["models"] == ["mine"]
    told = dict(findings(mine))["Gentle finetuning and LoRA"]
    assert told.startswith("After LoRA too, FE and LT") and "gentle" not in told
    assert of_real(found, "other", [summaries], [verdicts]) is None
