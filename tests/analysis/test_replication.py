"""Claims about verdicts over runs of the whole study: runs, not facts, are what is counted, and their interval covers the truth."""

import numpy as np
import pandas as pd
import pytest
from closure import ROOT
from scipy.stats import ttest_1samp

from stages.analysis.claims import Claim
from stages.analysis.replication import coverage, judge_replication, nested_interval

BOOTSTRAP = {"resamples": 1000, "seed": 0}
METRICS = ["recovered_logprob", "recovered_logit_difference", "recovered_top5"]


def claim(rule: str = "at_least", threshold: float = 0.9, **changes) -> Claim:
    part = {
        "setup": "fmra", "experiment": "positions", "scheme": "FE+LT", "rule": rule, "threshold": threshold,
        "prompts": ["headline", "qa"], "metrics": METRICS,
    }  # fmt: skip
    return Claim(id="C1", text="a", comparison="b", parts=[part | changes])


def run(
    made: Claim, seed: int, value: float, verdict: str = "holds", half: float = 0.01, **changes
) -> pd.DataFrame:
    """What judge_claims says of one run: the same number in every part."""
    part = made.parts[0]
    rows = [
        {
            **{
                "claim": made.id,
                "setup": "fmra",
                "prompt": prompt,
                "comparison": part.words(metric),
                "metric": metric,
            },
            **{"estimate": value, "low": value - half, "high": value + half, "verdict": verdict},
            **{"threshold": part.threshold},
        }
        | changes.get(metric, {})
        for metric in part.metrics
        for prompt in part.prompts
    ]
    whole = {"claim": made.id, "prompt": "all", "comparison": made.comparison, "verdict": verdict}
    table = pd.DataFrame([*rows, whole]).assign(model="tiny-gpt2", seed=seed, n=100)
    return table.assign(published=np.nan, p_holm=np.nan, top5_verdict=None)


def judged(made: Claim, *runs: pd.DataFrame) -> tuple[pd.DataFrame, pd.Series]:
    table = judge_replication([made], "gpt2", pd.concat(runs, ignore_index=True), **BOOTSTRAP)
    return table[table["prompt"] != "all"], table[table["prompt"] == "all"].iloc[0]


def test_a_part_is_judged_by_students_t_over_runs_and_not_by_its_intervals_over_facts():
    numbers = [0.93, 0.99, 0.95]
    parts, whole = judged(claim(), *(run(claim(), seed, number) for seed, number in enumerate(numbers, 1)))
    wanted = ttest_1samp(numbers, 0).confidence_interval()
    first = parts.iloc[0]
    assert (first["estimate"], first["low"], first["high"]) == pytest.approx((np.mean(numbers), *wanted))
    # Every run holds by itself, and the mean's interval reaches below .9 all the same.
    assert first["low"] < 0.9 and (whole["verdict"], whole["held"], whole["failed"], whole["runs"]) == (
        "undecided",
        3,
        0,
        3,
    )
    assert first["spread"] == pytest.approx(np.std(numbers, ddof=1) / (0.01 / 1.959964))


def test_runs_that_agree_decide_what_each_leaves_undecided():
    runs = [
        run(claim(), seed, value, "undecided", half=0.2) for seed, value in ((1, 0.95), (2, 0.955), (3, 0.96))
    ]
    _, whole = judged(claim(), *runs)
    assert (whole["verdict"], whole["top5_verdict"], whole["held"]) == ("holds", "holds", 0)


def test_runs_in_which_a_part_does_not_speak_do_not_count_and_two_are_too_few():
    silent = {"recovered_logprob": {"verdict": "left out"}}
    runs = [run(claim(), 1, 0.95), run(claim(), 2, 0.96), run(claim(), 3, -9.0, "holds", **silent)]
    parts, whole = judged(claim(), *runs)
    of = parts.set_index("metric")
    assert (of.loc["recovered_logprob", "runs"] == 2).all() and (
        of.loc["recovered_logprob", "verdict"] == "undecided"
    ).all()
    assert of.loc["recovered_logprob", "estimate"].iloc[0] == pytest.approx(0.955)
    unbounded = {"recovered_logprob": {"low": -np.inf, "high": np.inf}}
    parts, _ = judged(claim(), *runs[:2], run(claim(), 3, 9.0, **unbounded))
    assert (parts.set_index("metric").loc["recovered_logprob", "runs"] == 2).all()
    parts, whole = judged(claim(), *(run(claim(), seed, 0.1, "left out") for seed in (1, 2, 3)))
    assert {*parts["verdict"]} == {"left out"} and whole["verdict"] == "undecided"


def test_a_claim_fails_by_holm_over_runs_and_its_counts_are_of_single_runs():
    verdicts = ["fails", "holds", "fails"]
    runs = [run(claim(), seed, 0.5 + seed / 100, verdict) for seed, verdict in enumerate(verdicts)]
    parts, whole = judged(claim(), *runs)
    assert (whole["verdict"], whole["held"], whole["failed"], whole["runs"]) == ("fails", 1, 2, 3)
    p = ttest_1samp([0.5, 0.51, 0.52], 0.9).pvalue
    assert parts["p_holm"].tolist()[:1] == pytest.approx([4 * p])


def test_about_fails_where_all_runs_are_off_to_one_side():
    made = claim("about", 0.1, than="LT")
    parts, whole = judged(made, *(run(made, seed, -0.3 - seed / 1000) for seed in (1, 2, 3)))
    assert whole["verdict"] == "fails"
    assert parts["p_holm"].iloc[0] == pytest.approx(4 * ttest_1samp([-0.301, -0.302, -0.303], -0.1).pvalue)


def test_shares_on_which_all_runs_agree_keep_the_doubt_of_a_single_run():
    parts, _ = judged(claim(), *(run(claim(), seed, 1.0, half=0.04) for seed in (1, 2, 3)))
    assert (parts["low"] == 0.96).all() and (parts["high"] == 1.04).all()


def test_the_nested_bootstrap_draws_runs_and_facts_within_them():
    still = nested_interval([1.0, 1.0, 1.0], [0.0, 0.0, 0.0], **BOOTSTRAP)
    assert still == (1.0, 1.0)
    facts = nested_interval([1.0] * 4, [0.2] * 4, resamples=20_000, seed=0)
    assert facts == pytest.approx((1 - 1.96 * 0.1, 1 + 1.96 * 0.1), abs=0.01)
    runs = nested_interval([0.0, 1.0] * 50, [0.0] * 100, resamples=20_000, seed=0)
    assert runs == pytest.approx((0.5 - 1.96 * 0.05, 0.5 + 1.96 * 0.05), abs=0.011)


def test_the_interval_over_runs_covers_the_truth_and_the_nested_bootstrap_of_few_runs_does_not():
    table = coverage([3, 8], [1, 4], facts=50, studies=600, resamples=200, seed=1).set_index(
        ["runs", "spread"]
    )
    assert (table["t_interval"] >= 0.93).all()  # 600 studies: .95 within .017 in 95 of 100
    assert table.loc[(3, 4), "nested_bootstrap"] < 0.85


def test_the_committed_intervals_cover_what_they_should():
    table = pd.read_csv(ROOT / "results/runs/coverage.csv")
    assert {*table["spread"]} == {1, 2, 4} and (table["t_interval"] >= 0.93).all()
