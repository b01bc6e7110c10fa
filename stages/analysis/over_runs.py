"""Several trainings of a kind (make beyond): summaries of their points, and claims judged over runs.

A run is one training, or one finetuning seed's trainings. It gives one number; the interval of the mean over runs is Student's t,
which takes in what a bootstrap over facts leaves out: the noise of training.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd
from scipy.stats import t, ttest_1samp

from stages.analysis.claims import RunClaim, RunPart
from stages.analysis.comparisons import KNOWN
from stages.analysis.summary import summarize
from stages.analysis.verdicts import ALL, FAILS, SIGNIFICANT, UNDECIDED, verdict, whole_verdicts

COLUMNS = ["model", "seed", "point", "prompt", "scheme", "metric", "n", "estimate", "low", "high"]
VERDICT_COLUMNS = [
    *(
        "claim",
        "model",
        "prompt",
        "comparison",
        "metric",
        "runs",
        "n",
        "estimate",
        "low",
        "high",
        "threshold",
    ),
    *("p_holm", "verdict", "top5_verdict"),
]
PATHWAYS = ("FE", "LT", "FE+LT", "(FE+LT)^C")
SCHEMES = ["PRE", "SFT", *PATHWAYS, *(f"{name} | layers" for name in (*PATHWAYS, "all"))]
METRICS = ("top5_accuracy", "recovered_logprob", "recovered_logit_difference", "recovered_top5")
FIRST = 0.5  # SFT knows some facts: its top-5 accuracy is above this by its interval
LEAST_POINTS = 3  # of a slope


def summarize_points(
    scores: pd.DataFrame, *, resamples: int, seed: int, shares: Sequence[str] = ()
) -> pd.DataFrame:
    """Per-fact tables of some points, each a model of its own, -> rows of COLUMNS: SCHEMES by METRICS, with intervals over facts.

    scores: per-fact rows of one experiment, with a column `point`; direction A->B is shown. top5_accuracy is kept of SFT alone, and
    recovered fractions of all but PRE and SFT, where they are 0 and 1. shares: accuracies that are kept of every scheme.

    Raises:
        UserError: a table is incomplete (check_scores).
    """
    tables = []
    asked = scores[scores["scheme"].isin(SCHEMES) & (scores["direction"] == "ab")]
    for point, rows in asked.groupby("point", sort=True):
        # Only these metrics.
        maps = {name: (*METRICS, *shares) for name in rows["experiment"].unique()}
        tables.append(summarize(rows, resamples=resamples, seed=seed, maps=maps).assign(point=point))
    table = pd.concat(tables, ignore_index=True)
    of_sft = table["scheme"] == "SFT"
    is_share = table["metric"].isin(["top5_accuracy", *shares])
    kept = (of_sft | table["metric"].isin(shares)) & is_share
    kept |= ~is_share & ~table["scheme"].isin(["PRE", "SFT"])
    return table[kept][COLUMNS].reset_index(drop=True)


def mean_over_runs(numbers: Sequence[float]) -> tuple[float, float, float]:
    """(mean, low, high): the 95 % t-interval; without bounds for fewer than two runs."""
    values = np.asarray(numbers, dtype=float)
    if len(values) < 2:
        return (float(values.mean()) if len(values) else np.nan), -np.inf, np.inf
    half = t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values))
    return float(values.mean()), float(values.mean() - half), float(values.mean() + half)


def number_of(part: RunPart, metric: str, rows: pd.DataFrame) -> float | None:
    """What one run says to a part; None if nothing: SFT never knows the facts, or at too few points, or not at one of the part's.

    rows: COLUMNS of the run, on one prompt. The points are in order of their value, not of their rows. Recovered fractions of
    one point have the same denominator, so the difference of two is that of the paired comparison.
    """
    rows = rows.sort_values("point", kind="stable")
    sft = rows[(rows["scheme"] == "SFT") & (rows["metric"] == "top5_accuracy")].set_index("point")

    def values(scheme: str) -> pd.Series:
        return rows[(rows["scheme"] == scheme) & (rows["metric"] == metric)].set_index("point")["estimate"]

    if part.measure == "first_known":
        known = sft.index[sft["low"] > FIRST]
        if known.empty:
            return None
        difference = values(part.scheme)[known[0]] - (values(part.than)[known[0]] if part.than else 0.0)
        return float(difference)
    known = sft.index[sft["estimate"] >= KNOWN]
    if part.measure == "known":
        points = [point for point in (part.point, part.than_point) if point]
        if not {*points} <= {*known}:
            return None
        estimates = [float(values(part.scheme)[point]) for point in points]
        return estimates[0] - sum(estimates[1:])
    if len(known) < LEAST_POINTS:
        return None
    return float(np.polyfit(np.log(known.to_numpy(float)), values(part.scheme)[known].to_numpy(), 1)[0])


def judge_over_runs(claims: Sequence[RunClaim], study: str, table: pd.DataFrame) -> pd.DataFrame:
    """Verdicts of the claims about a study, over its runs: a row a (model, part, prompt, metric), then one with prompt "all".

    table: COLUMNS of all runs (summarize_points). Columns: VERDICT_COLUMNS; runs: how many gave a number; n: facts behind each;
    estimate, low, high: the mean over runs with its t-interval. The rules are those of verdicts.py, over runs for over facts.
    """
    rows = []
    for model, of_model in table.groupby("model", sort=False):
        for claim in claims:
            parts = [
                row
                for part in claim.parts
                if part.study == study
                for row in _judged(part, str(model), of_model)
            ]
            if parts:
                rows += [{"claim": claim.id, **row} for row in [*parts, _whole(claim, str(model), parts)]]
    return pd.DataFrame(rows, columns=VERDICT_COLUMNS)


def _judged(part: RunPart, model: str, table: pd.DataFrame) -> Iterator[dict]:
    for metric in part.metrics:
        for prompt in part.prompts:
            asked = table[table["prompt"] == prompt]
            told = [number_of(part, metric, rows) for _, rows in asked.groupby("seed", sort=True)]
            numbers = [number for number in told if number is not None]
            estimate, low, high = mean_over_runs(numbers)
            enough = len(numbers) >= part.least_runs
            decided = verdict(part.rule, part.threshold, low, high) if enough else UNDECIDED
            p = ttest_1samp(numbers, part.threshold).pvalue if len(numbers) > 1 else np.nan
            yield {
                **{"model": model, "prompt": prompt, "comparison": part.words(metric), "metric": metric},
                **{"runs": len(numbers), "n": int(asked["n"].min()), "threshold": part.threshold},
                **{"estimate": estimate, "low": low, "high": high},
                **{
                    "p_holm": min(SIGNIFICANT, float(p)) if decided == FAILS else np.nan,
                    "verdict": decided,
                },
            }


def _whole(claim: RunClaim, model: str, parts: list[dict]) -> dict:
    """The row of a claim."""
    return {
        **{"model": model, "prompt": ALL, "comparison": claim.comparison},
        **whole_verdicts(parts),
        **{name: min(part[name] for part in parts) for name in ("n", "runs")},
    }
