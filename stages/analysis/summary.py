"""From per-fact tables to summaries: every metric of every scheme with its 95 % interval."""

from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from stages.analysis.intervals import (
    Interval,
    OneScheme,
    Values,
    mean_interval,
    median_difference_interval,
    median_interval,
    ratio_interval,
    widen_constant,
    wilson_interval,
)
from stages.analysis.metrics import ANSWERED, FLAT_GUESS, GUESSED, METRICS
from stages.analysis.significance import TESTED, differs_from_pre
from stages.analysis.tables import GROUP, check_scores, values_per_fact
from weightgraft.errors import UserError

# What `dvc metrics show` lists: experiment -> scheme -> metrics, for each of its prompts that is one of
# HEADLINE_PROMPTS. An experiment that is not here has no headline: a map is a picture, not a number.
HEADLINE_PROMPTS = ("headline", "qa")
ENDS = {"PRE": ("top5_accuracy",), "SFT": ("top1_accuracy", "top5_accuracy")}
# Of some prompts only the target's first token is scored; not every experiment watches tokens.
PARTLY_MEASURED = ("exact_match", "watched_mass")
THREE = ("recovered_logprob", "recovered_logit_difference", "recovered_top5")
EIGHT = {**ENDS, **dict.fromkeys(("FE", "LT", "FE+LT", "(FE+LT)^C"), THREE)}
HEADLINE: dict[str, dict[str, tuple[str, ...]]] = {
    "positions": EIGHT,
    "pretraining": EIGHT,
    "components": {
        **ENDS,
        **dict.fromkeys((f"{part}@LT[second_half]" for part in ("ATTN+O+FFN", "O+FFN", "FFN")), THREE),
    },
    "hybrid": {**ENDS, **dict.fromkeys(("NO FE", "FE ATTN", "FE FFN", "FE FULL"), THREE)},
    "patching": {**ENDS, **dict.fromkeys(("LT", "patch LT[late]", "patch FE+LT[all]"), THREE)},
}


def summarize(
    scores: pd.DataFrame,
    *,
    resamples: int,
    seed: int,
    maps: Mapping[str, Sequence[str]] | None = None,
    answers: Sequence[str] = (),
) -> pd.DataFrame:
    """Summarize a per-fact table: one row a (group, scheme, metric).

    Columns: GROUP, scheme, metric, n, estimate, low, high, p, p_holm. A group is a (model, seed, setup,
    dataset, experiment, prompt, template_split, direction); n is its number of facts, a fact's draws and
    templates averaged first. Shares (top-k) carry Wilson intervals, all else percentile bootstrap intervals
    over facts (see intervals.py). Recovered fraction = (graft - PRE) / (SFT - PRE), a ratio of means over the
    same facts, never clipped; PRE is 0 and SFT is 1 by definition, with no width; the others are widened
    where all facts agree. NaN with an unbounded interval where SFT and PRE have the same mean. Units:
    log-probabilities in nats, ranks from 1, the rest as fractions.

    maps: experiments of hundreds of schemes, and the metrics they are summarized by (the others: all). In
    these every scheme is tested against PRE (see significance.py): p and p_holm are on its rows of
    recovered_logprob, empty everywhere else. Other experiments have a row of the flat guess (GUESSED): what a guess recovers of
    the log-probability that knows only how often each first token begins an answer to these facts.

    answers: experiments that also have a row for each kind of answer (ANSWERED), the share of the facts that are answered so.

    Raises:
        UserError: the table is incomplete (see check_scores).
    """
    check_scores(scores)
    maps = maps or {}
    tables = []
    tokens = {} if {*scores["experiment"]} <= {*maps} else first_tokens(scores)
    for key, rows in values_per_fact(scores).groupby(GROUP, sort=False):
        experiment = key[GROUP.index("experiment")]
        asked = maps.get(experiment, METRICS)
        metrics = {metric: METRICS[metric] for metric in METRICS if metric in asked}
        metrics |= ANSWERED if experiment in answers else {}  # of a map too
        schemes, values = _arrays(rows, metrics)
        for metric, (value, kind) in metrics.items():
            if value in PARTLY_MEASURED and np.isnan(values[value]).any():
                continue
            estimate, low, high = SUMMARIES[kind](values[value], schemes, resamples=resamples, seed=seed)
            columns = {"n": values[value].shape[1], "estimate": estimate, "low": low, "high": high}
            columns |= {"p": np.nan, "p_holm": np.nan}
            if experiment in maps and metric == TESTED:
                columns |= dict(
                    zip(("p", "p_holm"), differs_from_pre(values["logprob"], schemes), strict=True)
                )
            table = pd.DataFrame({"scheme": schemes, "metric": metric, **columns})
            tables.append(pd.DataFrame([key], columns=GROUP).merge(table, how="cross"))
        if experiment not in maps and TESTED in metrics:
            asked = (key[GROUP.index("dataset")], key[GROUP.index("direction")])
            facts = sorted(rows["fact_id"].unique())
            told = guess_logprob([tokens.get((*asked, fact), fact) for fact in facts])
            pre, sft = (values["logprob"][schemes.index(name)] for name in ("PRE", "SFT"))
            ends = ratio_interval((told - pre)[None], sft - pre, resamples=resamples, seed=seed)
            columns = dict(zip(("estimate", "low", "high"), (float(end[0]) for end in ends), strict=True))
            row = {
                "scheme": FLAT_GUESS,
                "metric": GUESSED,
                "n": len(facts),
                **columns,
                "p": np.nan,
                "p_holm": np.nan,
            }
            tables.append(pd.DataFrame([dict(zip(GROUP, key, strict=True)) | row]))
    return pd.concat(tables, ignore_index=True)


def first_tokens(scores: pd.DataFrame) -> dict[tuple[str, str, Hashable], str]:
    """(dataset, direction, fact) -> the first token of its answer, read off where some scheme has it right; of other facts none."""
    right = scores[scores["target_rank"] == 1].drop_duplicates(["dataset", "direction", "fact_id"])
    keys = right[["dataset", "direction", "fact_id"]].itertuples(index=False, name=None)
    return dict(zip(keys, right["top1_token"], strict=True))


def guess_logprob(tokens: Sequence[Hashable]) -> OneScheme:
    """The log-probability (nats) of each fact's answer, guessed by how many of the answers begin so. tokens: of each answer."""
    counts = Counter(tokens)
    return np.log([counts[token] / len(tokens) for token in tokens])


def paired_difference(
    scores: pd.DataFrame, scheme_a: str, scheme_b: str, metric: str, *, resamples: int, seed: int
) -> pd.DataFrame:
    """Difference metric(scheme_a) - metric(scheme_b), paired by fact; a row a group that has both schemes.

    Columns: GROUP, metric, scheme_a, scheme_b, n, estimate, low, high. "Above" and "below" in the study's
    claims mean that this interval excludes 0. A recovered fraction's difference is mean(a - b) / mean(SFT -
    PRE).

    Raises:
        UserError: the table is incomplete, the metric unknown, or no experiment has both schemes.
    """
    check_scores(scores)
    if metric not in METRICS:
        raise UserError(f"metric {metric!r} is none of {', '.join(METRICS)}")
    value, kind = METRICS[metric]
    records = []
    for key, rows in values_per_fact(scores).groupby(GROUP, sort=False):
        schemes, values = _arrays(rows, METRICS)
        if scheme_a not in schemes or scheme_b not in schemes:
            continue
        by_scheme = dict(zip(schemes, values[value], strict=True))
        interval = DIFFERENCES[kind](
            by_scheme[scheme_a],
            by_scheme[scheme_b],
            by_scheme["SFT"] - by_scheme["PRE"],
            resamples=resamples,
            seed=seed,
        )
        estimate, low, high = (float(end[0]) for end in interval)
        records.append((*key, metric, scheme_a, scheme_b, values[value].shape[1], estimate, low, high))
    if not records:
        raise UserError(f"no experiment has both schemes {scheme_a} and {scheme_b}")
    return pd.DataFrame(
        records, columns=[*GROUP, "metric", "scheme_a", "scheme_b", "n", "estimate", "low", "high"]
    )


def headline_metrics(summary: pd.DataFrame) -> dict[str, dict[str, float | None]]:
    """The numbers for `dvc metrics`: {prompt: {"scheme metric": estimate}}, 4 decimals, None if undefined.

    Of the first experiment that has a headline (HEADLINE); {} if none has.
    """
    experiment = next((name for name in summary["experiment"].unique() if name in HEADLINE), None)
    if experiment is None:
        return {}
    shown = summary[(summary["experiment"] == experiment) & (summary["direction"] == "ab")]
    rows = shown.set_index(["prompt", "scheme", "metric"])["estimate"]
    names = [(scheme, metric) for scheme, metrics in HEADLINE[experiment].items() for metric in metrics]
    return {
        prompt: {
            f"{scheme} {metric}": _rounded(rows[prompt, scheme, metric])
            for scheme, metric in names
            if (prompt, scheme, metric) in rows.index
        }
        for prompt in HEADLINE_PROMPTS
        if prompt in set(shown["prompt"])
    }


def _rounded(number: float) -> float | None:
    return round(float(number), 4) if np.isfinite(number) else None  # JSON has no NaN


def _arrays(
    rows: pd.DataFrame, metrics: Mapping[str, tuple[str, str]]
) -> tuple[list[str], dict[str, Values]]:
    """Schemes in order of appearance, and for each value of the metrics an array (schemes, facts sorted by id)."""
    schemes = list(rows["scheme"].unique())
    values = sorted({value for value, _ in metrics.values()})
    wide = rows.pivot(index="scheme", columns="fact_id", values=values).loc[schemes]
    # Contiguous rows: a sum's rounding must not depend on how many other schemes are in the table.
    return schemes, {value: np.ascontiguousarray(wide[value].to_numpy()) for value in values}


def _recovered(values: Values, schemes: list[str], **bootstrap: int) -> Interval:
    pre, sft = values[schemes.index("PRE")], values[schemes.index("SFT")]
    return ratio_interval(values - pre, sft - pre, **bootstrap)


def _recovered_share(values: Values, schemes: list[str], **bootstrap: int) -> Interval:
    """Recovered fraction of a share: the share lies between 0 and 1, which bounds what unseen facts do."""
    estimate, low, high = _recovered(values, schemes, **bootstrap)
    pre, sft = (values[schemes.index(name)].mean() for name in ("PRE", "SFT"))
    if np.isinf(low).any():
        return estimate, low, high
    lowest, highest = sorted([-pre / (sft - pre), (1 - pre) / (sft - pre)])
    wide = widen_constant((estimate, low, high), lowest, highest, values.shape[1])
    exact = np.isin(schemes, ["PRE", "SFT"])  # 0 and 1 by definition: nothing to widen
    return estimate, np.where(exact, low, wide[1]), np.where(exact, high, wide[2])


def _share_difference(a: OneScheme, b: OneScheme, gap: OneScheme, **bootstrap: int) -> Interval:
    return widen_constant(mean_interval((a - b)[None], **bootstrap), -1.0, 1.0, len(a))


def _recovered_share_difference(a: OneScheme, b: OneScheme, gap: OneScheme, **bootstrap: int) -> Interval:
    interval = ratio_interval((a - b)[None], gap, **bootstrap)
    if np.isinf(interval[1]).any():
        return interval
    bound = 1 / abs(gap.mean())
    return widen_constant(interval, -bound, bound, len(a))


SUMMARIES: dict[str, Callable[..., Any]] = {
    "share": lambda values, schemes, **bootstrap: wilson_interval(values),
    "mean": lambda values, schemes, **bootstrap: mean_interval(values, **bootstrap),
    "median": lambda values, schemes, **bootstrap: median_interval(values, **bootstrap),
    "recovered": _recovered,
    "recovered_share": _recovered_share,
}
DIFFERENCES: dict[str, Callable[..., Any]] = {
    "share": _share_difference,
    "mean": lambda a, b, gap, **bootstrap: mean_interval((a - b)[None], **bootstrap),
    "median": lambda a, b, gap, **bootstrap: median_difference_interval(a[None], b[None], **bootstrap),
    "recovered": lambda a, b, gap, **bootstrap: ratio_interval((a - b)[None], gap, **bootstrap),
    "recovered_share": _recovered_share_difference,
}
