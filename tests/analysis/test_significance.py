"""Many schemes against PRE: Holm's correction, and a test that rounding does not pass."""

import numpy as np
import pandas as pd
import pytest
from made_up_scores import table_of
from scipy.stats import ttest_rel

from stages.analysis.significance import differs_from_pre, holm_corrected
from stages.analysis.summary import summarize

BOOTSTRAP = {"resamples": 200, "seed": 0}


def test_holm_corrects_as_computed_by_hand():
    # Sorted .005, .01, .03, .04, times 4, 3, 2, 1: .02, .03, .06, .04; the last may not be below the one before.
    assert holm_corrected(np.array([0.01, 0.04, 0.03, 0.005])) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm_corrected(np.array([0.4, 0.9])) == pytest.approx([0.8, 0.9])
    assert holm_corrected(np.array([0.6, 0.7])) == pytest.approx([1, 1])


def test_holm_keeps_false_alarms_of_a_whole_map_at_five_in_a_hundred():
    rng = np.random.default_rng(0)
    maps = rng.random((2000, 50))  # p-values of maps in which no cell differs
    alarms = np.mean([holm_corrected(p).min() <= 0.05 for p in maps])
    assert 0.03 < alarms < 0.065
    assert np.mean(maps.min(axis=1) <= 0.05) > 0.9  # uncorrected nearly every map would have one


def test_p_is_that_of_the_paired_test_over_facts():
    rng = np.random.default_rng(0)
    pre, cell = rng.normal(-9, 3, 40), rng.normal(0.1, 0.2, 40)
    p, _ = differs_from_pre(np.stack([pre, pre + 5, pre + cell]), ["PRE", "SFT", "cell"])
    assert p[2] == pytest.approx(ttest_rel(pre + cell, pre).pvalue)
    assert np.isnan(p[:2]).all()
    assert p[2] < 0.05  # unpaired, the facts' own spread would hide it
    assert p[2] < 1e-3 * ttest_rel(rng.permutation(pre + cell), pre).pvalue


def test_rounding_that_has_one_sign_on_every_fact_is_no_difference():
    pre = np.random.default_rng(0).normal(-9, 3, 40)
    cells = np.stack([pre, pre + 1, pre + 3e-7, pre + 0.5])
    p, holm = differs_from_pre(cells, ["PRE", "SFT", "rounding", "all alike"])
    assert p[2] == holm[2] == 1 and p[3] == holm[3] == 0


def test_only_maps_have_p_values_beside_the_tested_metric():
    rng = np.random.default_rng(0)
    schemes = {"up@LT": rng.normal(0.3, 0.1, 30), "k@LT": rng.normal(0, 0.1, 30)}
    scores = pd.concat([table_of(schemes, experiment="heads"), table_of(schemes, experiment="positions")])
    summary = summarize(scores, **BOOTSTRAP, maps={"heads": ["recovered_logprob", "top5_accuracy"]})
    tested = summary[summary["p"].notna()]
    assert set(tested["experiment"]) == {"heads"} and set(tested["metric"]) == {"recovered_logprob"}
    assert tested["scheme"].tolist() == ["up@LT", "k@LT"]
    assert tested["p_holm"].iloc[0] < 1e-6 and tested["p_holm"].iloc[1] > 0.05
    assert summary[summary["experiment"] == "heads"]["metric"].nunique() == 2
    assert summary[summary["experiment"] == "positions"]["metric"].nunique() == 15  # and the guess
