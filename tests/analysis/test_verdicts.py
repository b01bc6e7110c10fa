"""Verdicts follow from intervals by the stated rules, and the intervals are those of the paired bootstrap."""

import numpy as np
import pandas as pd
import pytest
from made_up_scores import BOOTSTRAP, FE_LEAST, interval, judged, noisy, table_of

from stages.analysis.summary import summarize
from stages.analysis.verdicts import cross_table, verdict
from weightgraft.errors import UserError

ABOVE = {"rule": "above", "threshold": 0}


@pytest.mark.parametrize(
    ("rule", "threshold", "holds", "fails", "undecided"),
    [
        ("at_least", 0.9, [(0.9, 1.0), (0.95, 1.1)], [(0.5, 0.8999)], [(0.89, 0.9), (0.5, 1.2)]),
        ("at_most", 0.1, [(-0.2, 0.1), (0.0, 0.05)], [(0.11, 0.3)], [(0.1, 0.2), (0.0, 0.11)]),
        ("above", 0.0, [(0.001, 0.2)], [(-0.2, 0.0), (-0.3, -0.1)], [(0.0, 0.2), (-0.1, 0.1)]),
        ("below", 0.0, [(-0.2, -0.001)], [(0.0, 0.2), (0.1, 0.3)], [(-0.2, 0.0), (-0.1, 0.1)]),
        ("not_above", 0.0, [(-0.2, 0.0), (-0.3, -0.1)], [(0.001, 0.2)], []),
        ("about", 0.1, [(-0.1, 0.1), (0.05, 0.09)], [(0.11, 0.3), (-0.3, -0.11)], [(0.05, 0.2), (-0.2, 0.2)]),
    ],
)
def test_every_rule_holds_fails_and_is_undecided_as_stated(rule, threshold, holds, fails, undecided):
    for word, intervals in (("holds", holds), ("fails", fails), ("undecided", undecided)):
        for low, high in intervals:
            assert verdict(rule, threshold, low, high) == word, (rule, low, high)
    for low, high in ((-np.inf, np.inf), (np.nan, np.nan)):
        assert verdict(rule, threshold, low, high) == "undecided"


def test_not_above_without_evidence_is_not_shown():
    assert {verdict("not_above", 0.0, *ends) for ends in ((0.0, 0.2), (-0.1, 0.1))} == {"not shown"}
    table = table_of({"FE": noisy(0.5, 0), "LT": noisy(0.5, 1)})
    part = {"scheme": "LT", "than": "FE", "rule": "not_above", "threshold": 0}
    assert judged(part, tables={"fmra": table}).loc["all", "verdict"] == "not shown"
    both = judged(part, FE_LEAST | {"threshold": 0.2}, tables={"fmra": table})
    assert both["verdict"].tolist() == ["not shown", "holds", "not shown"]
    assert judged(part, FE_LEAST, tables={"fmra": table}).loc["all", "verdict"] == "undecided"


def test_a_claim_holds_fails_or_is_undecided_by_its_tables():
    for mean, word in ((0.9, "holds"), (0.1, "fails"), (0.5, "undecided")):
        found = judged(FE_LEAST, tables={"fmra": table_of({"FE": noisy(mean, 0)})})
        assert found.loc["headline", "verdict"] == found.loc["all", "verdict"] == word
        assert found.loc["headline", "estimate"] == pytest.approx(mean)


@pytest.mark.parametrize(
    ("means", "word"),
    [
        ((0.9, 0.9), "holds"),
        ((0.9, 0.1), "fails"),
        ((0.5, 0.1), "fails"),
        ((0.9, 0.5), "undecided"),
    ],
)
def test_a_claim_holds_only_if_all_parts_hold_and_fails_if_any_fails(means, word):
    table = table_of({"FE": noisy(means[0], 0), "LT": noisy(means[1], 1)})
    found = judged(FE_LEAST, FE_LEAST | {"scheme": "LT"}, tables={"fmra": table})
    assert found.loc["all", "verdict"] == word and len(found) == 3


def test_paired_interval_is_that_of_brute_force():
    fe, lt = noisy(0.6, 0), noisy(0.5, 1)
    pre, sft = noisy(0, 2, spread=0.3), noisy(1, 4, spread=0.3)
    table = table_of({"FE": fe, "LT": lt, "PRE": pre, "SFT": sft})
    estimate, low, high, n = interval({"scheme": "FE", "than": "LT", "times": 0.5, **ABOVE}, {"fmra": table})
    rng, found = np.random.default_rng(BOOTSTRAP["seed"]), []
    for _ in range(BOOTSTRAP["resamples"]):
        facts = rng.integers(0, 50, 50)
        gap = sft[facts].mean() - pre[facts].mean()
        found.append(
            (fe[facts].mean() - pre[facts].mean()) / gap - 0.5 * (lt[facts].mean() - pre[facts].mean()) / gap
        )
    assert n == 50 and estimate == pytest.approx((fe.mean() - 0.5 * lt.mean()) / 1, abs=1e-6)
    assert (low, high) == pytest.approx(tuple(np.quantile(found, [0.025, 0.975])), abs=1e-6)


def test_the_greatest_of_several_schemes_is_chosen_in_every_resample():
    fe, lt, both = noisy(0.5, 0), noisy(0.5, 1), noisy(0.6, 2)
    table = table_of({"FE": fe, "LT": lt, "FE+LT": both})
    estimate, low, high, _ = interval({"scheme": "FE+LT", "than": ["FE", "LT"], **ABOVE}, {"fmra": table})
    rng, found = np.random.default_rng(BOOTSTRAP["seed"]), []
    for _ in range(BOOTSTRAP["resamples"]):
        facts = rng.integers(0, 50, 50)
        found.append(both[facts].mean() - max(fe[facts].mean(), lt[facts].mean()))
    assert estimate == pytest.approx(0.1)
    assert (low, high) == pytest.approx(tuple(np.quantile(found, [0.025, 0.975])), abs=1e-9)


@pytest.mark.parametrize("metric", ["recovered_logprob", "recovered_top5", "mean_logprob"])
def test_interval_of_one_scheme_is_the_summarys(metric):
    table = table_of({"FE": noisy(0.4, 0), "LT": np.ones(50), "PRE": noisy(0, 1)})
    summary = summarize(table, **BOOTSTRAP).set_index(["scheme", "metric"])
    for scheme in ("FE", "LT"):
        ends = interval({"scheme": scheme, **ABOVE}, {"fmra": table}, metric)[:3]
        expected = tuple(summary.loc[(scheme, metric), ["estimate", "low", "high"]])
        assert ends == pytest.approx(expected, abs=1e-9), (scheme, ends, expected)


def test_two_setups_on_the_same_facts_are_paired_and_on_two_datasets_are_not():
    facts = noisy(0.5, 0, spread=0.3)
    fmra = table_of({"FE": facts})
    gentle = table_of({"FE": facts - 0.1}, setup="gentle")
    part = {
        "setup": "gentle",
        "scheme": "FE",
        "than": "FE",
        "than_setup": "fmra",
        "rule": "below",
        "threshold": 0,
    }
    _, low, high, _ = interval(part, {"fmra": fmra, "gentle": gentle})
    assert low == pytest.approx(-0.1) and high == pytest.approx(-0.1)  # a tenth less on every fact: no doubt
    elsewhere = {"fmra": fmra, "gentle": gentle.assign(dataset="fmfa")}
    _, low, high, _ = interval(part, elsewhere)
    assert low < -0.18 and high > -0.02  # other facts: each side brings its own doubt


def test_two_setups_of_one_dataset_must_have_the_same_facts():
    part = {"setup": "gentle", "scheme": "FE", "than": "FE", "than_setup": "fmra", **ABOVE}
    tables = {
        "fmra": table_of({"FE": noisy(0.5, 0)}),
        "gentle": table_of({"FE": noisy(0.5, 0, 40)}, setup="gentle"),
    }
    with pytest.raises(UserError, match="claim C1: setups gentle and fmra: not the same facts of fmra"):
        judged(part, tables=tables)


def test_templates_are_nested_in_facts():
    share = noisy(0.5, 0)
    once = table_of({"FE": share})
    six = pd.concat([once.assign(template=f"form {i}") for i in range(6)], ignore_index=True)
    alone, repeated = (interval({"scheme": "FE", **ABOVE}, {"fmra": table}) for table in (once, six))
    assert repeated == pytest.approx(alone, abs=1e-9)  # six copies of a fact are one fact
    assert alone[2] - alone[1] > 0.05 and repeated[3] == 50


def test_draws_and_templates_are_averaged():
    shares = {
        "one": [0.0, 0.9],
        "two": [0.3, 0.6],
    }
    base = table_of({"FE": noisy(0.5, 0)})
    tables = [base, base.assign(template="two")]
    tables += [
        table_of({"FE_random": np.full(50, share)})
        .query("scheme == 'FE_random'")
        .assign(template=template, draw=draw)
        for template, draws in shares.items()
        for draw, share in enumerate(draws, start=1)
    ]
    scores = pd.concat(tables, ignore_index=True)
    assert interval({"scheme": "FE_random", **ABOVE}, {"fmra": scores})[0] == pytest.approx(0.45)
    row = (
        summarize(scores, **BOOTSTRAP)
        .query("scheme == 'FE_random' and metric == 'recovered_logprob'")
        .iloc[0]
    )
    assert row["estimate"] == pytest.approx(0.45) and row["n"] == 50


@pytest.mark.parametrize("gap", [0.0, 0.02])  # exactly none, and one whose sign changes over the resamples
def test_where_sft_is_not_told_from_pre_nothing_is_decided(gap):
    table = table_of({"FE": noisy(0.9, 0), "SFT": noisy(gap, 1, spread=1)})
    table.loc[table["scheme"] == "SFT", "target_rank"] = 1
    row = judged(FE_LEAST, tables={"fmra": table}).loc["headline"]
    assert row["low"] == -np.inf and row["high"] == np.inf and row["verdict"] == "undecided"


@pytest.mark.parametrize(
    ("patched", "last", "word"),
    [
        ((0.95, 0.95), (0.2, 0.9), "holds"),  # on qa the condition is not met: only headline speaks
        ((0.95, 0.1), (0.2, 0.9), "holds"),
        ((0.1, 0.95), (0.2, 0.9), "fails"),
        ((0.95, 0.95), (0.9, 0.9), "undecided"),  # no prompt speaks
        ((0.95, 0.95), (0.2, 0.5), "undecided"),  # whether qa speaks is open
    ],
)
def test_a_condition_leaves_out_the_cases_it_does_not_speak_of(patched, last, word):
    tables = [
        table_of({"patch": noisy(p, 0, spread=0.05), "LT": noisy(mean, 1)}, prompts=(prompt,))
        for p, mean, prompt in zip(patched, last, ("headline", "qa"), strict=True)
    ]
    part = {
        **{"scheme": "patch", "rule": "at_least", "threshold": 0.9, "prompts": ["headline", "qa"]},
        "where": {"scheme": "LT", "rule": "below", "threshold": 0.5},
    }
    found = judged(part, tables={"fmra": pd.concat(tables, ignore_index=True)})
    assert found.loc["all", "verdict"] == word
    if last[1] == 0.9:
        assert found.loc["qa", "verdict"] == "left out"


def test_a_prompt_that_sft_does_not_know_is_left_out():
    table = table_of({"FE": noisy(0.9, 0, spread=0.05)}, prompts=("headline", "qa"))
    asked = FE_LEAST | {"prompts": ["headline", "qa"], "threshold": 0.95, "metrics": ["recovered_logprob"]}
    assert judged(asked, tables={"fmra": table})["verdict"].tolist() == ["fails"] * 3
    unknown = (table["scheme"] == "SFT") & (table["prompt"] == "qa") & (table["fact_id"] < 6)
    table.loc[unknown, "target_rank"] = 6  # 88 % of the facts are in the top 5
    assert judged(asked, tables={"fmra": table})["verdict"].tolist() == ["fails", "left out", "fails"]
    table.loc[table["scheme"] == "SFT", "target_rank"] = 6
    found = judged(asked, tables={"fmra": table})
    assert found["verdict"].tolist() == ["left out", "left out", "undecided"]
    means = judged(asked | {"metrics": ["mean_logit_difference"]}, tables={"fmra": table})
    assert "left out" not in set(means["verdict"])  # a mean is no share of what SFT gained


def test_the_largest_difference_is_over_schemes_in_every_resample():
    names = ["A", "B"]
    a, b = noisy(0.5, 0), noisy(0.8, 1)
    x, y = noisy(0.55, 2), noisy(0.6, 3)
    table = table_of({"A": a, "B": b, "X": x, "Y": y})
    part = {"each": names, "than": ["X", "Y"], "rule": "at_most", "threshold": 0.1}
    estimate, low, high, _ = interval(part, {"fmra": table})
    rng, found = np.random.default_rng(BOOTSTRAP["seed"]), []
    for _ in range(BOOTSTRAP["resamples"]):
        facts = rng.integers(0, 50, 50)
        found.append(max(abs(a[facts].mean() - x[facts].mean()), abs(b[facts].mean() - y[facts].mean())))
    assert estimate == pytest.approx(0.2)
    assert (low, high) == pytest.approx(tuple(np.quantile(found, [0.025, 0.975])), abs=1e-9)
    assert judged(part, tables={"fmra": table}).loc["all", "verdict"] == "fails"
    assert judged(part | {"threshold": 0.4}, tables={"fmra": table}).loc["all", "verdict"] == "holds"


def test_logit_differences_are_recovered_like_log_probabilities():
    table = table_of({"FE": noisy(0.4, 0)})
    table["foil_logit"] = np.where(table["scheme"] == "SFT", 2.0, 5.0)  # SFT: 10 - 2; PRE: 0 - 5
    estimate, *_ = interval({"scheme": "FE", **ABOVE}, {"fmra": table}, "recovered_logit_difference")
    assert estimate == pytest.approx((4 - 5 + 5) / 13)


def test_a_claim_about_other_setups_or_families_gets_no_row():
    tables = {"fmra": table_of({"FE": noisy(0.9, 0)})}
    assert judged(FE_LEAST | {"families": ["llama"]}, tables=tables).empty
    assert len(judged(FE_LEAST | {"families": ["llama"]}, tables=tables, family="llama")) == 2
    assert judged(FE_LEAST, FE_LEAST | {"setup": "gentle"}, tables=tables).empty


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            lambda t: t[(t["scheme"] != "FE") | (t["fact_id"] != 7)],
            ["setup fmra", "1 rows missing", "fact_id 7"],
        ),
        (lambda t: t[t["scheme"] != "FE"], ["claim C1", "no rows of scheme 'FE'"]),
        (lambda t: t.assign(prompt="qa"), ["claim C1", "prompt 'headline' was not asked; valid: qa"]),
        (
            lambda t: t.assign(experiment="title"),
            ["claim C1", "experiment positions of setup fmra", "was not run"],
        ),
        (lambda t: t.drop(columns="draw"), ["setup fmra", "no column draw"]),
    ],
)
def test_an_incomplete_table_is_refused_in_one_line(change, words):
    table = table_of({"FE": noisy(0.9, 0), "LT": noisy(0.9, 1)})
    with pytest.raises(UserError) as caught:
        judged(FE_LEAST, tables={"fmra": change(table)})
    assert "\n" not in str(caught.value) and all(word in str(caught.value) for word in words), caught.value


def verdicts_of(*rows: tuple) -> pd.DataFrame:
    columns = ["claim", "model", "seed", "prompt", "metric", "verdict", "estimate"]
    blank = {"comparison": "", "n": 9, "low": 0.0, "high": 1.0, "published": np.nan, "top5_verdict": None}
    return pd.DataFrame(rows, columns=columns).assign(**blank, p_holm=0.01)


def test_cross_table_names_the_part_that_decided():
    table = verdicts_of(
        ("C1", "m", 0, "qa", "recovered_top5", "fails", 0.1),
        ("C1", "m", 0, "headline", "recovered_logprob", "holds", 0.9),
        ("C1", "m", 0, "qa", "recovered_logprob", "fails", 0.2),
        ("C1", "m", 0, "all", None, "fails", np.nan),
        ("C1", "k", 0, "headline", "recovered_logprob", "holds", 0.7),
        ("C1", "k", 0, "all", None, "holds", np.nan),
    )
    rows = cross_table(table).set_index("model")
    assert rows.loc["m", ["verdict", "prompt", "metric", "estimate"]].tolist() == [
        "fails",
        "qa",
        "recovered_logprob",
        0.2,
    ]
    assert rows.loc["m", ["parts", "held", "failed"]].tolist() == [2, 1, 1]  # top-5 counts apart
    assert rows.loc["k", ["verdict", "estimate"]].tolist() == ["holds", 0.7]
