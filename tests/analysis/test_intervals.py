"""What the intervals promise: coverage, a width where there is doubt, and no NaN on degenerate data."""

import numpy as np
import pytest
from scipy.stats import binomtest

from stages.analysis import intervals
from stages.analysis.intervals import (
    mean_interval,
    median_difference_interval,
    median_interval,
    ratio_interval,
    widen_constant,
    wilson_interval,
)

BOOTSTRAP = {"resamples": 500, "seed": 0}


def share_covered(interval: tuple, truth: float) -> float:
    return float(np.mean((interval[1] <= truth) & (truth <= interval[2])))


@pytest.mark.parametrize("successes", [0, 1, 7, 29, 30])
def test_wilson_interval_is_scipys_on_whole_successes(successes):
    ours = wilson_interval((np.arange(30) < successes).astype(float)[None])
    theirs = binomtest(successes, 30).proportion_ci(method="wilson")
    assert ours[0][0] == pytest.approx(successes / 30)
    assert (ours[1][0], ours[2][0]) == pytest.approx((theirs.low, theirs.high), abs=1e-12)


def test_wilson_interval_has_a_width_at_zero_and_one_and_holds_the_share():
    for n in range(2, 200):  # the bound itself comes out of the formula with another rounding for every n
        share, low, high = wilson_interval(np.stack([np.zeros(n), np.ones(n)]))
        assert low[0] == 0 and high[0] > 1 / n
        assert high[1] == 1 and low[1] < 1 - 1 / n
        assert (low <= share).all() and (share <= high).all()


@pytest.mark.parametrize("truth", [0.03, 0.3, 0.97])
def test_wilson_interval_covers_the_true_share(truth):
    tables = (np.random.default_rng(0).random((4000, 60)) < truth).astype(float)
    # The nominal .95, less what a discrete share costs at n = 60.
    assert share_covered(wilson_interval(tables), truth) >= 0.93


def test_wilson_interval_is_conservative_for_means_over_templates():
    rng = np.random.default_rng(0)
    per_fact = rng.beta(0.6, 1.4, (4000, 60, 1))  # facts differ, the six templates of a fact are alike
    tables = (rng.random((4000, 60, 6)) < per_fact).mean(axis=2)
    assert share_covered(wilson_interval(tables), 0.3) >= 0.96


def test_bootstrap_interval_covers_a_skewed_mean():
    ranks = np.exp(np.random.default_rng(0).normal(3, 1, (600, 120)))
    # Two-sided band: an interval that is far too wide is as wrong as one too narrow.
    assert 0.91 <= share_covered(mean_interval(ranks, **BOOTSTRAP), np.exp(3.5)) <= 0.97


def test_bootstrap_interval_covers_a_recovered_fraction():
    rng = np.random.default_rng(0)
    gap = np.full(120, 6.0)
    numerators = np.where(rng.random((600, 120)) < 0.3, 6.0, rng.normal(0, 1, (600, 120)))
    assert 0.92 <= share_covered(ratio_interval(numerators, gap, **BOOTSTRAP), 0.3) <= 0.98


def test_no_interval_is_nan_where_all_facts_agree():
    same = np.full((2, 20), 3.0)
    for interval in (
        mean_interval(same, **BOOTSTRAP),
        median_interval(same, **BOOTSTRAP),
        median_difference_interval(same, same, **BOOTSTRAP),
        ratio_interval(same, np.full(20, 3.0), **BOOTSTRAP),
        wilson_interval(np.ones((2, 20))),
    ):
        assert all(np.isfinite(end).all() for end in interval)


def test_an_interval_does_not_depend_on_the_other_rows():
    rows = np.random.default_rng(0).normal(size=(5, 40))
    together, alone = mean_interval(rows, **BOOTSTRAP), mean_interval(rows[3:4], **BOOTSTRAP)
    # numpy sums rows of another memory layout in another order: rounding of the last digit.
    assert np.allclose([end[3] for end in together], [end[0] for end in alone], rtol=1e-12, atol=0)


def test_an_interval_does_not_depend_on_the_batch(monkeypatch):
    rows = np.random.default_rng(0).normal(size=(5, 40))
    whole = mean_interval(rows, **BOOTSTRAP)
    monkeypatch.setattr(intervals, "BATCH_FLOATS", rows.size * 7)
    assert np.array_equal(whole, mean_interval(rows, **BOOTSTRAP))


def test_another_seed_gives_other_resamples():
    rows = np.random.default_rng(0).normal(size=(1, 40))
    assert mean_interval(rows, resamples=500, seed=0)[1] != mean_interval(rows, resamples=500, seed=1)[1]


def test_a_ratio_of_paired_facts_is_tighter_than_its_parts():
    rng = np.random.default_rng(0)
    gap = rng.gamma(2, 3, 100)  # facts differ widely, but the graft follows SFT on each
    numerator = gap * 0.5 + rng.normal(0, 0.1, 100)
    _, low, high = ratio_interval(numerator[None], gap, **BOOTSTRAP)
    _, part_low, part_high = mean_interval(numerator[None] / gap.mean(), **BOOTSTRAP)
    assert (high - low)[0] < 0.2 * (part_high - part_low)[0]


def test_a_ratio_over_no_difference_is_undefined_and_unbounded():
    gap = np.array([1.0, -1.0, 2.0, -2.0])
    estimate, low, high = ratio_interval(np.ones((1, 4)), gap, **BOOTSTRAP)
    assert np.isnan(estimate[0]) and low[0] == -np.inf and high[0] == np.inf


def test_a_ratio_over_a_doubtful_difference_has_an_estimate_but_no_bounds():
    gap = np.array([1.0, -1.0, 2.0, -1.0])
    estimate, low, high = ratio_interval(np.ones((1, 4)), gap, **BOOTSTRAP)
    assert estimate[0] == 4.0 and low[0] == -np.inf and high[0] == np.inf


def test_widening_agreement_gives_wilsons_interval_and_leaves_others_alone():
    flat_one, spread = (np.array([1.0]),) * 3, (np.array([0.5]), np.array([0.4]), np.array([0.6]))
    wilson = wilson_interval(np.ones((1, 50)))
    assert np.allclose(widen_constant(flat_one, 0.0, 1.0, 50), wilson, atol=1e-12)
    assert np.array_equal(widen_constant(spread, 0.0, 1.0, 50), spread)
