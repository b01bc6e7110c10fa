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

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float
from scipy.stats import DegenerateDataWarning, bootstrap, norm

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
    resampled = _bootstrap(_means_of(values), values.shape[1:], resamples, seed)
    return values.mean(axis=1), *resampled.confidence_interval


def median_interval(values: Values, *, resamples: int, seed: int) -> Interval:
    """Median over facts with its percentile bootstrap interval."""
    resampled = _bootstrap(_medians_of(values), values.shape[1:], resamples, seed, values.size)
    return np.median(values, axis=1), *resampled.confidence_interval


def median_difference_interval(a: Values, b: Values, *, resamples: int, seed: int) -> Interval:
    """median(a) - median(b) over the same facts, paired."""
    of_a, of_b = _medians_of(a), _medians_of(b)
    resampled = _bootstrap(
        lambda facts, axis=-1: of_a(facts) - of_b(facts), a.shape[1:], resamples, seed, a.size
    )
    return np.median(a, axis=1) - np.median(b, axis=1), *resampled.confidence_interval


def ratio_interval(numerator: Values, gap: OneScheme, *, resamples: int, seed: int) -> Interval:
    """mean(numerator) / mean(gap) over the same facts, paired; gap = SFT - PRE per fact. Never clipped.

    Where SFT and PRE are not told apart - the 95 % interval of their mean difference does not exclude 0 - or the ratio is not
    defined in a resample, it has no bounded interval (Fieller's theorem): low, high are -inf, inf, and the estimate is NaN
    where the mean difference is exactly 0. That is a result ("finetuning changed nothing here"), not an error
    of the input: it must not stop the other prompts.
    """
    estimate = np.full(len(numerator), np.nan)
    if abs(gap.mean()) > ROUNDING:
        estimate = numerator.mean(axis=1) / gap.mean() + 0.0  # + 0.0: no "-0"
    unbounded = np.full_like(estimate, -np.inf), np.full_like(estimate, np.inf)
    ends = _bootstrap(_means_of(gap[None]), gap.shape, resamples, seed).confidence_interval
    if not excludes_zero(float(ends.low[0]), float(ends.high[0])):
        return estimate, *unbounded
    means = _means_of(np.vstack([numerator, gap]))

    def ratios(facts: np.ndarray, axis: int = -1) -> np.ndarray:
        found = means(facts)
        return found[:-1] / np.where(np.abs(found[-1]) > ROUNDING, found[-1], np.nan)

    low, high = _bootstrap(ratios, gap.shape, resamples, seed).confidence_interval
    return (estimate, *unbounded) if np.isnan(low).any() else (estimate, low, high)


def statistic_interval(
    statistic: Callable[..., np.ndarray], tables: Sequence[Values], *, resamples: int, seed: int
) -> tuple[float, float, float, np.ndarray]:
    """Any statistic of means over facts: (estimate, low, high, its value in every resample).

    tables: one a dataset; rows of values, one column a fact. Rows of one table share the resampled facts
    (paired); two tables are resampled independently, for their facts are different ones. statistic gets the
    means of every table, each (rows, samples), and gives one number a sample.
    """
    means = [_means_of(table) for table in tables]

    def of_facts(*facts: np.ndarray, axis: int = -1) -> np.ndarray:
        return statistic(*(mean(chosen) for mean, chosen in zip(means, facts, strict=True)))

    sizes = tuple(table.shape[1] for table in tables)
    estimate = of_facts(*(np.arange(n) for n in sizes))
    resampled = _bootstrap(of_facts, sizes, resamples, seed)
    low, high = resampled.confidence_interval
    return float(estimate[0]), float(low), float(high), resampled.bootstrap_distribution


def excludes_zero(low: float, high: float) -> bool:
    """Whether an interval lies on one side of 0. Of a mean difference the 95 % interval is asked, which does not depend on the
    number of resamples; whether all resamples have one sign does."""
    return low > ROUNDING or high < -ROUNDING


def flat_p(distance: float, reach: float, n: int) -> float:
    """Two-sided p of a number on which all n facts agree: how far its interval would have to reach to take in a threshold
    `distance` away, where facts that were not seen can move it by `reach` at most. The inverse of widen_constant."""
    if distance >= reach:
        return 0.0
    return float(2 * norm.sf(np.sqrt(n * distance / (reach - distance))))


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


def _bootstrap(
    statistic: Callable, facts: tuple[int, ...], resamples: int, seed: int, numbers: int = 1
) -> Any:
    """scipy's bootstrap over the numbers of the facts: its BootstrapResult.

    statistic gets the chosen facts, (samples, facts) for each entry of `facts`, and gives (..., samples): all
    schemes share the facts of a sample. numbers: how many the statistic holds for one sample; bounds the memory.
    """
    with warnings.catch_warnings():
        # A statistic that some resample leaves undefined has no interval: NaN says so.
        warnings.simplefilter("ignore", DegenerateDataWarning)
        return bootstrap(
            tuple(np.arange(n) for n in facts),
            statistic,
            n_resamples=resamples,
            batch=max(1, min(resamples, BATCH_FLOATS // numbers)),
            vectorized=True,
            axis=-1,
            confidence_level=0.95,
            method="percentile",
            rng=np.random.default_rng(seed),
        )


def _means_of(values: Values) -> Callable[..., np.ndarray]:
    """Means of resampled facts. How often each fact was drawn, times its value: one product for all schemes, so
    that a map of hundreds of schemes takes no longer than a handful."""

    def means(facts: np.ndarray, axis: int = -1) -> np.ndarray:
        samples, n = facts.reshape(-1, values.shape[1]).shape
        cells = facts.reshape(samples, n) + n * np.arange(samples)[:, None]
        times_drawn = np.bincount(cells.ravel(), minlength=samples * n).reshape(samples, n)
        return values @ times_drawn.T.astype(float) / n

    return means


def _medians_of(values: Values) -> Callable[..., np.ndarray]:
    def medians(facts: np.ndarray, axis: int = -1) -> np.ndarray:
        return np.median(values[:, facts], axis=-1)

    return medians
