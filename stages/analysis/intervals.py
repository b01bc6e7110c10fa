"""95 % intervals over facts: Wilson for shares, bootstrap for everything else.

Every function takes one row a scheme, one column a fact, and gives (estimate, low, high), one entry a scheme.
All schemes share the resampled facts, and each call starts the generator anew from the seed: an interval
depends on its own numbers and the facts, not on which other schemes or prompts are in the table.

Percentile intervals, not BCa. Measured on simulated tables of 120 facts (400 tables each): on recovered
fractions both cover equally (.95 against .95 for log-probability); on the skewed mean rank BCa covers .94
against .93. But BCa has no value for a scheme on which all facts agree, nor for a fifth of the median ranks,
and a second method for those would make bars of one panel incomparable. No bootstrap knows of rare failures
that the facts at hand do not show: where 3 % of the facts fail badly, both covered about .8.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Float
from scipy.stats import bootstrap, norm

Schemes = Float[np.ndarray, "schemes"]
Values = Float[np.ndarray, "schemes facts"]
OneScheme = Float[np.ndarray, "facts"]
Interval = tuple[Schemes, Schemes, Schemes]

Z = float(norm.ppf(0.975))
# Resampled numbers held at once (64 MiB): bounds the memory at 1,000 facts and 2,000 resamples.
BATCH_FLOATS = 2**23
ROUNDING = 1e-12  # two means of the same facts summed in another order differ by less, two results by more


def wilson_interval(shares: Values) -> Interval:
    """Wilson score interval of a mean share, n = number of facts; also at 0 and 1 it has a width.

    Exact form for one template a fact (values 0 or 1). Where a fact's value is the mean over its templates it
    is conservative: the variance of such a value is at most p (1 - p), that of a single yes or no. scipy's
    binomtest has the same formula (a test compares them) but takes whole successes only.
    """
    n = shares.shape[1]
    share = shares.mean(axis=1)
    centre = (share + Z**2 / (2 * n)) / (1 + Z**2 / n)
    half = Z / (1 + Z**2 / n) * np.sqrt(share * (1 - share) / n + Z**2 / (4 * n**2))
    # At 0 and 1 the formula gives the bound itself, up to rounding: keep the estimate inside its interval.
    return (
        share,
        np.minimum(np.maximum(centre - half, 0), share),
        np.maximum(np.minimum(centre + half, 1), share),
    )


def mean_interval(values: Values, *, resamples: int, seed: int) -> Interval:
    """Mean over facts with its percentile bootstrap interval."""
    return values.mean(axis=1), *_bootstrap((values,), np.mean, resamples, seed).confidence_interval


def median_interval(values: Values, *, resamples: int, seed: int) -> Interval:
    """Median over facts with its percentile bootstrap interval."""
    return np.median(values, axis=1), *_bootstrap((values,), np.median, resamples, seed).confidence_interval


def median_difference_interval(a: Values, b: Values, *, resamples: int, seed: int) -> Interval:
    """median(a) - median(b) over the same facts, paired."""
    resampled = _bootstrap((a, b), _median_difference, resamples, seed)
    return _median_difference(a, b), *resampled.confidence_interval


def ratio_interval(numerator: Values, gap: OneScheme, *, resamples: int, seed: int) -> Interval:
    """mean(numerator) / mean(gap) over the same facts, paired; gap = SFT - PRE per fact. Never clipped.

    Where SFT and PRE are not told apart - their mean difference is 0, or changes sign over the resamples -
    the ratio has no bounded interval (Fieller's theorem): low, high are -inf, inf, and the estimate is NaN
    where the mean difference is exactly 0. That is a result ("finetuning changed nothing here"), not an error
    of the input: it must not stop the other prompts.
    """
    gaps = np.broadcast_to(gap, numerator.shape)
    estimate = np.full(len(numerator), np.nan)
    if abs(gap.mean()) > ROUNDING:
        estimate = _ratio(numerator, gaps) + 0.0  # + 0.0: no "-0"
    resampled_gap = _bootstrap((gap[None],), np.mean, resamples, seed).bootstrap_distribution
    if resampled_gap.min() <= ROUNDING and resampled_gap.max() >= -ROUNDING:
        return estimate, np.full_like(estimate, -np.inf), np.full_like(estimate, np.inf)
    return estimate, *_bootstrap((numerator, gaps), _ratio, resamples, seed).confidence_interval


def widen_constant(interval: Interval, lowest: float, highest: float, n: int) -> Interval:
    """Give a width to the intervals that have none; `lowest` and `highest` bound the metric.

    Where all n facts agree a bootstrap interval has no width. But facts that differ may make up to w of all
    facts (w = Wilson's upper bound for 0 of n), and each can be as far off as the bounds allow: the reasoning
    that gives Wilson's interval at 0 and 1, carried over to differences and ratios of shares.
    """
    estimate, low, high = interval
    w = Z**2 / (n + Z**2)
    flat = np.isclose(low, high, rtol=0, atol=ROUNDING)
    return (
        estimate,
        np.where(flat, estimate - w * (estimate - lowest), low),
        np.where(flat, estimate + w * (highest - estimate), high),
    )


def _bootstrap(data: tuple[np.ndarray, ...], statistic: Callable, resamples: int, seed: int) -> Any:
    """Resample facts (the last axis), the same ones for all schemes and arrays: scipy's BootstrapResult."""
    return bootstrap(
        data,
        statistic,
        n_resamples=resamples,
        batch=max(1, BATCH_FLOATS // data[0].size),
        vectorized=True,
        paired=True,
        axis=-1,
        confidence_level=0.95,
        method="percentile",
        rng=np.random.default_rng(seed),
    )


def _ratio(numerator: np.ndarray, gap: np.ndarray, axis: int = -1) -> np.ndarray:
    return numerator.mean(axis=axis) / gap.mean(axis=axis)


def _median_difference(a: np.ndarray, b: np.ndarray, axis: int = -1) -> np.ndarray:
    return np.median(a, axis=axis) - np.median(b, axis=axis)
