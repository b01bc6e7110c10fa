"""The study's claims judged over runs of the whole study, each with a world, a base and a finetuning of its own (make runs).

A single run's interval is over facts and leaves out the noise of training. Here a part's number in each run is one observation:
the interval of their mean is Student's t. Beside it stands the nested bootstrap, and how often each of the two covers the truth.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from scipy.stats import norm, ttest_1samp

from stages.analysis.claims import Claim
from stages.analysis.over_runs import mean_over_runs
from stages.analysis.verdicts import (
    ALL,
    FAILS,
    HOLDS,
    LEFT_OUT,
    SIGNIFICANT,
    UNDECIDED,
    verdict,
    whole_verdicts,
)

LEAST_RUNS = 3  # with fewer runs that speak, a part is undecided
COLUMNS = [
    *("claim", "model", "setup", "prompt", "comparison", "metric", "runs", "n", "estimate", "low", "high"),
    *("nested_low", "nested_high", "spread", "threshold", "published", "p_holm", "held", "failed"),
    *("verdict", "top5_verdict"),
]
OF_PART = ("claim", "model", "setup", "prompt", "comparison", "metric", "threshold", "published")
CHUNK = 200  # simulated studies at once


def rules_of(claims: Sequence[Claim], family: str) -> dict[tuple[str, str, str, str], str]:
    """(claim, prompt, comparison, metric), as a verdict's row names a part -> its rule."""
    return {
        (
            claim.id,
            f"{prompt} ({part.split})" if part.split else prompt,
            part.words(metric),
            metric,
        ): part.rule
        for claim in claims
        for part in claim.parts_about(family)
        for metric in part.metrics
        for prompt in part.prompts
    }


def nested_interval(
    estimates: Sequence[float], errors: Sequence[float], *, resamples: int, seed: int
) -> tuple[float, float]:
    """The 95 % interval of the nested bootstrap: runs are drawn anew, and within each of them its facts.

    errors: the standard error over facts of each run, from its own bootstrap; the inner draw is normal with it.
    """
    values, spreads = np.asarray(estimates, dtype=float), np.asarray(errors, dtype=float)
    generator = np.random.default_rng(seed)
    drawn = generator.integers(len(values), size=(resamples, len(values)))
    means = (values[drawn] + spreads[drawn] * generator.standard_normal(drawn.shape)).mean(axis=1)
    low, high = np.quantile(means, [0.025, 0.975])
    return float(low), float(high)


def judge_replication(
    claims: Sequence[Claim], family: str, verdicts: pd.DataFrame, *, resamples: int, seed: int
) -> pd.DataFrame:
    """Verdicts of one model over its runs: a row a part, prompt and metric, then one with prompt "all" a claim.

    verdicts: the stage judge_claims' tables of all runs (verdicts.COLUMNS), told apart by their seed. Columns: COLUMNS. runs: those
    in which the part speaks, where SFT knows the facts, or in which the claim was judged; n: facts in each; estimate, low, high:
    the mean over these with its t-interval; spread: the deviation between runs in standard errors over facts; held, failed: in how
    many runs the part, or the claim, held and failed by itself. The rules are those of single runs.
    """
    rules = rules_of(claims, family)
    rows = []
    for claim, of_claim in verdicts.groupby("claim", sort=False):
        parts = [
            _judged(rules[(str(claim), *key)], group, resamples=resamples, seed=seed)
            for key, group in of_claim[of_claim["prompt"] != ALL].groupby(
                ["prompt", "comparison", "metric"], sort=False
            )
            if (str(claim), *key) in rules
        ]
        rows += [*parts, _whole(of_claim[of_claim["prompt"] == ALL], parts)]
    return pd.DataFrame(rows, columns=COLUMNS)


def _judged(rule: str, rows: pd.DataFrame, *, resamples: int, seed: int) -> dict:
    """The row of a part, one of `rows` a run; its p is there under p_holm, as yet uncorrected."""
    bounded = np.isfinite(rows[["estimate", "low", "high"]].to_numpy(float)).all(axis=1)
    spoke = rows[bounded & (rows["verdict"] != LEFT_OUT)]
    first, threshold = rows.iloc[0], float(rows["threshold"].iloc[0])
    told = {"estimate": np.nan, "low": -np.inf, "high": np.inf, "p_holm": np.nan}
    told |= {"nested_low": np.nan, "nested_high": np.nan, "spread": np.nan}
    if len(spoke) > 1:
        errors = (spoke["high"] - spoke["low"]).to_numpy(float) / (2 * norm.ppf(0.975))
        deviation, typical = spoke["estimate"].std(ddof=1), np.sqrt((errors**2).mean())
        estimate, low, high = mean_over_runs(spoke["estimate"])
        if deviation == 0:  # shares on which all runs agree keep the doubt that each run has
            low, high = float(spoke["low"].min()), float(spoke["high"].max())
        nested = nested_interval(spoke["estimate"], errors, resamples=resamples, seed=seed)
        told |= {
            "estimate": estimate,
            "low": low,
            "high": high,
            "nested_low": nested[0],
            "nested_high": nested[1],
        }
        told["spread"] = deviation / typical if typical else np.nan
    decided = verdict(rule, threshold, told["low"], told["high"]) if len(spoke) >= LEAST_RUNS else UNDECIDED
    if (rows["verdict"] == LEFT_OUT).all():
        decided = LEFT_OUT
    if decided == FAILS:
        edge = np.copysign(threshold, told["estimate"]) if rule == "about" else threshold
        p = ttest_1samp(spoke["estimate"], edge).pvalue if spoke["estimate"].std() else 0.0
        told["p_holm"] = min(SIGNIFICANT, float(p))
    return {
        **{name: first[name] for name in OF_PART},
        **{"runs": len(spoke), "n": int(rows["n"].min())},
        **told,
        **_counts(rows),
        "verdict": decided,
    }


def _whole(rows: pd.DataFrame, parts: list[dict]) -> dict:
    """The row of a claim, from its parts' over runs, as in a single run (verdicts.py)."""
    return {
        **{name: rows[name].iloc[0] for name in ("claim", "model", "prompt", "comparison")},
        **{"runs": len(rows), "n": min(part["n"] for part in parts)},
        **_counts(rows),
        **whole_verdicts(parts),
    }


def _counts(rows: pd.DataFrame) -> dict[str, int]:
    return {"held": int((rows["verdict"] == HOLDS).sum()), "failed": int((rows["verdict"] == FAILS).sum())}


def coverage(
    runs: Sequence[int], spreads: Sequence[float], *, facts: int, studies: int, resamples: int, seed: int
) -> pd.DataFrame:
    """How often the two intervals cover the truth, in simulated studies.

    spreads: the deviation between runs, in standard errors over facts. A run's number is the mean over `facts` facts of a
    skewed (exponential) quantity, shifted by the run. Columns: runs, spread, facts, studies, t_interval, nested_bootstrap.
    """
    rows = []
    for number in runs:
        for spread in spreads:
            generator = np.random.default_rng([seed, number, round(spread * 1000)])
            covered = np.zeros(2)
            for begun in range(0, studies, CHUNK):
                many = min(CHUNK, studies - begun)
                values = generator.exponential(size=(many, number, facts)) - 1.0  # of mean 0 and deviation 1
                shifts = spread / np.sqrt(facts) * generator.standard_normal((many, number))
                estimates = values.mean(axis=2) + shifts
                errors = values.std(axis=2, ddof=1) / np.sqrt(facts)
                for one, its_errors in zip(estimates, errors, strict=True):
                    _, low, high = mean_over_runs(one)
                    nested = nested_interval(
                        one, its_errors, resamples=resamples, seed=int(generator.integers(2**32))
                    )
                    covered += [low <= 0 <= high, nested[0] <= 0 <= nested[1]]
            shares: Mapping[str, float] = dict(
                zip(("t_interval", "nested_bootstrap"), covered / studies, strict=True)
            )
            rows.append({"runs": number, "spread": spread, "facts": facts, "studies": studies, **shares})
    return pd.DataFrame(rows)
