"""Verdicts on the order of schemes, and when a part that fails fails its claim: Holm's correction, p of flat cases, top-5 apart."""

import numpy as np
import pandas as pd
import pytest
from made_up_scores import FE_LEAST, judged, noisy, table_of
from scipy.stats import norm, spearmanr

from stages.analysis.comparisons import Evidence, rank_correlation
from stages.analysis.intervals import Z, flat_p
from stages.analysis.verdicts import p_of, whole_verdict


def test_rank_correlation_is_spearmans_also_with_ties():
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 5, (8, 30)).astype(float), rng.normal(size=(8, 30))
    expected = [spearmanr(x, y).statistic for x, y in zip(a.T, b.T, strict=True)]
    assert rank_correlation(a, b) == pytest.approx(expected)
    assert rank_correlation(a + 1e-15 * rng.normal(size=a.shape), b) == pytest.approx(expected)
    assert np.isnan(rank_correlation(np.ones((8, 1)), b[:, :1]))


def test_rank_correlation_of_two_datasets_is_judged_over_facts():
    names, apart = [f"s{i}" for i in range(6)], [0.1, 0.25, 0.4, 0.55, 0.7, 0.85]
    part = {"order": names, "than_setup": "fmfa", "rule": "at_least", "threshold": 0.8}

    def tables(other: list[float], spread: float) -> dict[str, pd.DataFrame]:
        shares = [
            {
                name: noisy(mean, i + 10 * k, 50, spread)
                for i, (name, mean) in enumerate(zip(names, means, strict=True))
            }
            for k, means in enumerate((apart, other))
        ]
        return {"fmra": table_of(shares[0]), "fmfa": table_of(shares[1], setup="fmfa", dataset="fmfa")}

    assert judged(part, tables=tables(apart, 0.1)).loc["all", "verdict"] == "holds"
    assert judged(part, tables=tables(apart[::-1], 0.1)).loc["all", "verdict"] == "fails"
    assert (
        judged(part, tables=tables([0.1, 0.4, 0.25, 0.7, 0.55, 0.85], 0.9)).loc["all", "verdict"]
        == "undecided"
    )


def test_a_part_fails_a_claim_only_if_it_survives_holm():
    """Of 8 parts one fails by its own interval, barely: with so many, one does by chance."""
    shares = {f"S{i}": noisy(0.9, i) for i in range(7)}
    barely = noisy(0.43, 40, spread=0.2)
    parts = [FE_LEAST | {"scheme": name} for name in [*shares, "S7"]]
    alone = judged(parts[-1], tables={"fmra": table_of({"S7": barely})})
    assert alone["verdict"].tolist() == ["fails", "fails"] and alone["p_holm"].iloc[0] <= 0.05
    many = judged(*parts, tables={"fmra": table_of(shares | {"S7": barely})})
    assert (many["verdict"] == "fails").sum() == 1 and many.loc["all", "verdict"] == "undecided"
    assert many.loc[many["verdict"] == "fails", "p_holm"].item() > 0.05
    clear = judged(*parts, tables={"fmra": table_of(shares | {"S7": noisy(0.1, 40)})})
    assert clear.loc["all", "verdict"] == "fails"


def test_holms_p_is_the_smallest_times_the_parts_then_one_less_and_so_on():
    word, p = whole_verdict(["fails", "holds", "fails", "left out"], [0.01, np.nan, 0.02, np.nan])
    assert word == "fails" and p[0] == pytest.approx(0.03) and p[2] == pytest.approx(0.04)
    assert np.isnan([p[1], p[3]]).all()
    assert whole_verdict(["fails", "holds", "holds", "left out"], [0.02, *[np.nan] * 3])[0] == "undecided"


def test_p_is_that_of_the_resamples_and_where_all_facts_agree_that_of_the_interval():
    rng = np.random.default_rng(0)
    resampled = rng.normal(0.3, 0.1, 4000)
    found = Evidence(0.3, *np.quantile(resampled, [0.025, 0.975]), 50, resampled)
    normal = 2 * norm.sf(2.2)
    assert p_of("at_least", 0.52, found) == pytest.approx(normal, rel=0.25)
    assert p_of("about", 0.08, found) == pytest.approx(normal, rel=0.25)
    flat = Evidence(0.0, 0.0, 0.07, 50, np.zeros(400), (0.0, 1.0))
    for n, threshold in ((50, 0.9), (50, 0.1), (20, 0.2)):
        edge = Z**2 / (n + Z**2)  # where the widened interval ends
        p = p_of("at_least", threshold, flat._replace(n=n))
        assert (p < 0.05) == (threshold > edge) and p == min(0.05, flat_p(threshold, 1.0, n))
    assert flat_p(Z**2 / (50 + Z**2), 1.0, 50) == pytest.approx(0.05)


def test_top5_has_a_verdict_of_its_own_that_changes_no_other():
    share = noisy(0.7, 0, spread=0.05)  # every fact among the top 5, at seven tenths of the log-probability
    part = FE_LEAST | {"metrics": ["recovered_logprob", "recovered_top5"], "threshold": 0.9}
    whole = judged(part, tables={"fmra": table_of({"FE": share})}).loc[["all"]].iloc[0]
    assert (whole["verdict"], whole["top5_verdict"]) == ("fails", "holds")
    alone = judged(
        part | {"metrics": ["recovered_top5"], "threshold": 0.5}, tables={"fmra": table_of({"FE": share})}
    )
    assert alone.loc["all", "verdict"] == "holds" and pd.isna(alone.loc["all", "top5_verdict"])
