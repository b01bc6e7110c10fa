"""What a summary says about a per-fact table."""

import numpy as np
import pandas as pd
import pytest

from stages.analysis.metrics import ANSWERED, ANSWERS, GUESSED
from stages.analysis.summary import METRICS, headline_metrics, paired_difference, summarize
from weightgraft.errors import UserError

BOOTSTRAP = {"resamples": 300, "seed": 0}


def rows_of(table: pd.DataFrame, **where: str) -> pd.DataFrame:
    for column, value in where.items():
        table = table[table[column] == value]
    assert len(table), where
    return table


def row_of(table: pd.DataFrame, **where: str) -> pd.Series:
    rows = rows_of(table, **where)
    assert len(rows) == 1, where
    return rows.iloc[0]


def copied(scores: pd.DataFrame, source: str, target: str) -> pd.DataFrame:
    """The table with the scores of scheme `target` replaced by those of `source`."""
    others = scores[scores["scheme"] != target]
    return pd.concat([others, scores[scores["scheme"] == source].assign(scheme=target)], ignore_index=True)


def test_recovered_fraction_of_sft_is_one_and_of_pre_is_zero_without_width(make_scores):
    summary = summarize(make_scores(), **BOOTSTRAP)
    for metric in ("recovered_top5", "recovered_logprob"):
        for scheme, value in (("SFT", 1), ("PRE", 0)):
            ends = rows_of(summary, metric=metric, scheme=scheme)[["estimate", "low", "high"]]
            # Two orders of the same sum: rounding of the last digit.
            assert np.allclose(ends, value, rtol=0, atol=1e-12)


def test_recovered_fraction_is_a_ratio_of_means_and_never_clipped(make_scores):
    scores = make_scores()
    rows = scores["prompt"] == "headline"
    for scheme, logprobs in (("PRE", -8.0), ("SFT", -2.0), ("FE", -14.0), ("LT", 0.0)):
        scores.loc[rows & (scores["scheme"] == scheme), "target_logprob"] = logprobs
    first = scores.index[rows & (scores["scheme"] == "PRE")][0]
    scores.loc[
        first, "target_logprob"
    ] = -38.0  # PRE's mean is now -9, the mean of the ratios is another number
    summary = summarize(scores, **BOOTSTRAP)
    for scheme, value in (("FE", (-14 + 9) / 7), ("LT", 9 / 7)):
        row = row_of(summary, prompt="headline", scheme=scheme, metric="recovered_logprob")
        assert row["estimate"] == pytest.approx(value)
        assert row["low"] < row["estimate"] < row["high"]


def test_every_metric_is_what_its_name_says(make_scores):
    scores = make_scores()
    summary = summarize(scores, **BOOTSTRAP)
    facts = rows_of(scores, prompt="qa", scheme="LT")
    rank, logprob = facts["target_rank"], facts["target_logprob"].astype(float)
    expected = {f"top{k}_accuracy": (rank <= k).mean() for k in (1, 5, 10, 20, 50, 100)} | {
        "exact_match": facts["exact_match"].mean(),
        "mean_rank": rank.mean(),
        "median_rank": rank.median(),
        "mean_probability": np.exp(logprob).mean(),
        "mean_logprob": logprob.mean(),
        "mean_logit_difference": (
            facts["target_logit"].astype(float) - facts["foil_logit"].astype(float)
        ).mean(),
    }
    pre, sft = (rows_of(scores, prompt="qa", scheme=name) for name in ("PRE", "SFT"))
    for name, of in (
        ("top5", lambda t: (t["target_rank"] <= 5).mean()),
        ("logprob", lambda t: t["target_logprob"].astype(float).mean()),
        (
            "logit_difference",
            lambda t: (t["target_logit"].astype(float) - t["foil_logit"].astype(float)).mean(),
        ),
    ):
        expected[f"recovered_{name}"] = (of(facts) - of(pre)) / (of(sft) - of(pre))
    assert set(expected) == set(METRICS) - {"mean_watched_mass"}  # of tables that watch tokens
    for metric, value in expected.items():
        row = row_of(summary, prompt="qa", scheme="LT", metric=metric)
        assert row["estimate"] == pytest.approx(value), metric
        assert row["low"] <= row["estimate"] <= row["high"], metric
        assert row["low"] < row["high"], metric


def test_exact_match_is_summarized_where_the_whole_target_was_scored(make_scores):
    scores = make_scores()
    scores["exact_match"] = scores["exact_match"].astype("boolean").mask(scores["prompt"] == "headline")
    summary = summarize(scores, **BOOTSTRAP)
    assert set(summary.loc[summary["metric"] == "exact_match", "prompt"]) == {*scores["prompt"]} - {
        "headline"
    }


def test_watched_mass_is_summarized_where_tokens_were_watched(make_scores):
    scores = make_scores()
    watching = scores["experiment"] == "title"
    scores["watched_mass"] = np.where(watching, scores["fact_id"].rank() / 10**4, np.nan)
    summary = summarize(scores, **BOOTSTRAP)
    rows = summary[summary["metric"] == "mean_watched_mass"]
    assert set(rows["experiment"]) == {"title"}
    row = row_of(summary, prompt="movie_title", scheme="M", metric="mean_watched_mass")
    assert row["estimate"] == pytest.approx(
        rows_of(scores, prompt="movie_title", scheme="M")["watched_mass"].mean()
    )
    assert row["low"] < row["estimate"] < row["high"]


def test_kinds_of_answers_are_counted_in_the_experiments_that_ask_for_it_and_make_one(make_scores):
    scores = make_scores()
    scores["answer"] = np.random.default_rng(0).choice(ANSWERS, len(scores))
    without = summarize(scores, **BOOTSTRAP)
    summary = summarize(scores, **BOOTSTRAP, answers=["title"])
    counted = summary[summary["metric"].isin(ANSWERED)]
    assert not without["metric"].isin(ANSWERED).any() and set(counted["experiment"]) == {"title"}
    told = summary[~summary["metric"].isin(ANSWERED)].reset_index(drop=True)
    pd.testing.assert_frame_equal(told, without)
    for _, rows in counted.groupby("scheme"):
        assert len(rows) == len(ANSWERS) and rows["estimate"].sum() == pytest.approx(1)
    row = row_of(summary, prompt="movie_title", scheme="M", metric="answered_co_star")
    facts = rows_of(scores, prompt="movie_title", scheme="M")
    assert row["estimate"] == pytest.approx((facts["answer"] == "co_star").mean())
    assert 0 <= row["low"] < row["estimate"] < row["high"] <= 1


def test_templates_are_averaged_before_facts_and_splits_stay_apart(make_scores):
    scores = make_scores()
    summary = summarize(scores, **BOOTSTRAP)
    for split in ("seen", "held_out"):
        facts = rows_of(scores, prompt="paraphrases", scheme="FE", template_split=split)
        per_fact = facts.groupby("fact_id")["target_rank"].mean()
        assert per_fact.median() != facts["target_rank"].median()  # else this test could not tell
        row = row_of(summary, prompt="paraphrases", scheme="FE", template_split=split, metric="median_rank")
        assert row["estimate"] == per_fact.median()
        assert row["n"] == len(per_fact) == 30


def test_n_is_the_number_of_facts_in_every_row(make_scores):
    summary = summarize(make_scores(facts=17), **BOOTSTRAP)
    assert set(summary["n"]) == {17}


def test_schemes_keep_the_order_of_the_table(make_scores):
    scores = make_scores()
    rows = rows_of(summarize(scores, **BOOTSTRAP), prompt="qa", metric="mean_rank")
    assert rows["scheme"].tolist() == scores.loc[scores["prompt"] == "qa", "scheme"].unique().tolist()


def test_adding_a_scheme_changes_no_other_row(make_scores):
    scores = make_scores()
    more = pd.concat([scores, scores[scores["scheme"] == "LT"].assign(scheme="new", target_logprob=-1.0)])
    longer = summarize(more, **BOOTSTRAP)
    kept = longer[longer["scheme"] != "new"].reset_index(drop=True)
    assert len(longer) > len(kept)
    # numpy may sum a wider table in another order: rounding of the last digit.
    pd.testing.assert_frame_equal(kept, summarize(scores, **BOOTSTRAP), rtol=1e-12)


def test_the_order_of_the_facts_changes_nothing(make_scores):
    scores = make_scores()
    by_fact = scores.sort_values("fact_id", ascending=False, kind="stable")
    a, b = (summarize(table, **BOOTSTRAP) for table in (scores, by_fact))
    keys = ["experiment", "prompt", "template_split", "scheme", "metric"]
    pd.testing.assert_frame_equal(a.set_index(keys).sort_index(), b.set_index(keys).sort_index(), rtol=1e-12)


def test_a_graft_that_agrees_with_sft_on_every_fact_keeps_a_doubt(make_scores):
    scores = copied(make_scores(), "SFT", "FE+LT")
    row = row_of(summarize(scores, **BOOTSTRAP), prompt="qa", scheme="FE+LT", metric="recovered_top5")
    assert row["estimate"] == pytest.approx(1)
    # Wilson's bound for 0 of 30 differing facts is .114.
    assert 0.85 < row["low"] < 0.9 and 1 <= row["high"] < 1.05


def test_where_sft_equals_pre_the_fraction_is_undefined_and_all_else_stays(make_scores):
    scores = make_scores()
    qa = scores["prompt"] == "qa"
    scores = pd.concat([scores[~qa], copied(scores[qa], "PRE", "SFT")], ignore_index=True)
    summary = summarize(scores, **BOOTSTRAP)
    is_fraction = summary["metric"].str.startswith("recovered") | (summary["metric"] == GUESSED)
    undefined = is_fraction & (summary["prompt"] == "qa")
    assert summary.loc[undefined, "estimate"].isna().all()
    assert np.isinf(summary.loc[undefined, ["low", "high"]].to_numpy()).all()
    assert np.isfinite(summary.loc[~undefined, ["estimate", "low", "high"]].to_numpy()).all()
    assert headline_metrics(summary)["qa"]["FE recovered_logprob"] is None


def test_paired_difference_is_the_difference_of_the_estimates(make_scores):
    scores = make_scores()
    summary = summarize(scores, **BOOTSTRAP)
    for metric in set(METRICS) - {"mean_watched_mass"}:
        difference = row_of(paired_difference(scores, "FE+LT", "FE", metric, **BOOTSTRAP), prompt="headline")
        a, b = (row_of(summary, prompt="headline", scheme=s, metric=metric) for s in ("FE+LT", "FE"))
        assert difference["estimate"] == pytest.approx(a["estimate"] - b["estimate"]), metric
        assert difference["low"] <= difference["estimate"] <= difference["high"], metric
        assert difference["low"] < difference["high"], metric


def test_paired_difference_uses_that_the_facts_are_the_same(make_scores):
    scores = copied(make_scores(), "FE", "LT")
    scores.loc[scores["scheme"] == "LT", "target_logprob"] += 0.5
    row = row_of(paired_difference(scores, "LT", "FE", "mean_logprob", **BOOTSTRAP), prompt="qa")
    # Half a nat more on every fact: no doubt about the sign, though each mean alone is uncertain by more.
    assert row["low"] == pytest.approx(0.5, abs=1e-6) and row["high"] == pytest.approx(0.5, abs=1e-6)
    alone = row_of(summarize(scores, **BOOTSTRAP), prompt="qa", scheme="FE", metric="mean_logprob")
    assert alone["high"] - alone["low"] > 0.5


@pytest.mark.parametrize("metric", ["top5_accuracy", "recovered_top5"])
def test_paired_difference_of_schemes_that_agree_everywhere_keeps_a_doubt(make_scores, metric):
    scores = copied(make_scores(), "FE", "LT")
    row = row_of(paired_difference(scores, "LT", "FE", metric, **BOOTSTRAP), prompt="qa")
    assert row["estimate"] == 0 and row["low"] < -0.05 and row["high"] > 0.05


def test_paired_difference_of_an_unknown_scheme_or_metric_names_it(make_scores):
    scores = make_scores()
    with pytest.raises(UserError, match="XY"):
        paired_difference(scores, "XY", "FE", "mean_rank", **BOOTSTRAP)
    with pytest.raises(UserError, match=r"'top3'.*top5_accuracy"):
        paired_difference(scores, "LT", "FE", "top3", **BOOTSTRAP)


def test_paired_difference_covers_only_experiments_with_both_schemes(make_scores):
    difference = paired_difference(make_scores(), "M+LT", "M", "recovered_logprob", **BOOTSTRAP)
    assert difference["experiment"].tolist() == ["title"]


def test_headline_metrics_are_the_summarys_numbers_rounded(make_scores):
    summary = summarize(make_scores(), **BOOTSTRAP)
    metrics = headline_metrics(summary)
    assert list(metrics) == ["headline", "qa"]
    for prompt, numbers in metrics.items():
        for name, number in numbers.items():
            scheme, metric = name.rsplit(" ", 1)
            assert number == round(
                row_of(summary, prompt=prompt, scheme=scheme, metric=metric)["estimate"], 4
            )
    assert {
        "PRE top5_accuracy",
        "SFT top1_accuracy",
        "FE+LT recovered_logprob",
        "FE recovered_logit_difference",
    } <= set(metrics["qa"])


def test_headline_of_a_setup_without_positions_is_its_own_or_nothing(make_scores):
    scores = make_scores().query("experiment == 'positions' and prompt == 'headline'")
    hybrid = scores.assign(
        experiment="hybrid", scheme=scores["scheme"].replace({"FE": "NO FE", "LT": "FE ATTN"})
    )
    numbers = headline_metrics(summarize(hybrid, **BOOTSTRAP))
    assert {"SFT top5_accuracy", "NO FE recovered_logprob", "FE ATTN recovered_top5"} <= set(
        numbers["headline"]
    )
    assert headline_metrics(summarize(scores.assign(experiment="heads"), **BOOTSTRAP)) == {}
