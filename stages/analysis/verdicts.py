"""Verdicts: claims about schemes, judged on per-fact tables by 95 % intervals over facts.

The rules are stated at the head of data/claims.yaml and are RULES here: a part holds if its whole interval is on the
claim's side of the threshold, fails if none of it is, and is undecided otherwise; "not above" without evidence either way is
"not shown". A claim holds if all its parts hold, fails if one fails by Holm's correction over all of them, and is undecided
otherwise. Parts on shares (top-5 accuracy) count apart: they give a second verdict.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pandas as pd

from stages.analysis.claims import Claim, Claims, Part
from stages.analysis.comparisons import (
    Cells,
    Evidence,
    cells_of,
    compared,
    evidence_of,
    interval_of,
    knows,
    sides_of,
)
from stages.analysis.intervals import ROUNDING, flat_p
from stages.analysis.metrics import METRICS, SECOND
from stages.analysis.significance import holm_corrected
from weightgraft.errors import UserError

COLUMNS = [
    *("claim", "model", "seed", "setup", "prompt", "comparison", "metric", "n"),
    *("estimate", "low", "high", "threshold", "published", "p_holm", "verdict", "top5_verdict"),
]
HOLDS, FAILS, UNDECIDED = "holds", "fails", "undecided"
NOT_SHOWN = "not shown"  # "not above", and no evidence for either
LEFT_OUT = "left out"  # a part that does not speak of this case
VERDICTS = (HOLDS, FAILS, UNDECIDED, NOT_SHOWN)  # of claims
SIGNIFICANT = 0.05
ALL = "all"  # the prompt of the row that gives a claim's verdict
# Our metrics -> those of data/published; the two that the paper has of every experiment.
PUBLISHED_METRIC = {"recovered_top5": "top5_accuracy", "top5_accuracy": "top5_accuracy"}

# (holds, fails) of an interval from low to high and a threshold t; undecided, or not shown, where neither.
RULES: dict[str, Callable[[float, float, float], tuple[bool, bool]]] = {
    "at_least": lambda low, high, t: (low >= t, high < t),
    "at_most": lambda low, high, t: (high <= t, low > t),
    "above": lambda low, high, t: (low > t, high <= t),
    "below": lambda low, high, t: (high < t, low >= t),
    "not_above": lambda low, high, t: (high <= t, low > t),
    "about": lambda low, high, t: (-t <= low and high <= t, low > t or high < -t),
}


def verdict(rule: str, threshold: float, low: float, high: float) -> str:
    """holds, fails, undecided or not shown; an interval without bounds decides nothing."""
    if not (np.isfinite(low) and np.isfinite(high)):
        return UNDECIDED
    holds, fails = RULES[rule](low, high, threshold)
    return HOLDS if holds else FAILS if fails else NOT_SHOWN if rule == "not_above" else UNDECIDED


def p_of(rule: str, threshold: float, found: Evidence) -> float:
    """Two-sided p of a part that fails: twice the share of the resamples on which it would not. At most SIGNIFICANT, so that a
    part alone fails as its interval says; never below 2 of the resamples, so that a claim of m parts needs 40 m of them."""
    estimate, (lowest, highest) = found.estimate, found.bounds or (-np.inf, np.inf)
    if found.bounds and np.ptp(found.resampled) <= ROUNDING:
        edge = np.copysign(threshold, estimate) if rule == "about" else threshold
        reach = highest - estimate if edge > estimate else estimate - lowest
        return min(SIGNIFICANT, flat_p(abs(edge - estimate), reach, found.n))
    against = np.sum([not RULES[rule](value, value, threshold)[1] for value in found.resampled])
    return min(SIGNIFICANT, 2 * (1 + against) / (1 + len(found.resampled)))


def whole_verdict(verdicts: list[str], p: list[float]) -> tuple[str, list[float]]:
    """(a claim's verdict from its parts', Holm's p of each). p: of the parts that fail; of the others it does not count."""
    speaking = [verdict != LEFT_OUT for verdict in verdicts]
    corrected = np.full(len(verdicts), np.nan)
    failing = [p if verdict == FAILS else 1.0 for verdict, p in zip(verdicts, p, strict=True)]
    corrected[speaking] = holm_corrected(np.array(failing)[speaking])
    words = {verdict for verdict in verdicts if verdict != LEFT_OUT}
    if (corrected[speaking] <= SIGNIFICANT).any():
        word = FAILS
    elif words == {HOLDS}:
        word = HOLDS
    else:
        word = NOT_SHOWN if NOT_SHOWN in words and words <= {HOLDS, NOT_SHOWN} else UNDECIDED
    return word, [q if verdict == FAILS else np.nan for q, verdict in zip(corrected, verdicts, strict=True)]


def whole_verdicts(parts: Sequence[dict]) -> dict[str, str | None]:
    """A claim's two verdicts: of the parts whose metric leads, and of those on shares; where there are only such, these lead.

    parts: rows with `metric`, `verdict` and p as yet uncorrected under `p_holm`, where Holm's correction, within each of the two
    groups, is written.
    """
    words: list[str | None] = []
    for second in (False, True):
        group = [part for part in parts if (part["metric"] in SECOND) == second]
        word, corrected = whole_verdict(
            [part["verdict"] for part in group], [part["p_holm"] for part in group]
        )
        for part, p in zip(group, corrected, strict=True):
            part["p_holm"] = p
        words.append(word if group else None)
    leading, shares = words
    return {"verdict": leading or shares, "top5_verdict": shares if leading else None}


def judge(
    claims: Claims,
    tables: Mapping[str, pd.DataFrame],
    *,
    family: str,
    published: Mapping[str, pd.DataFrame],
    counterpart: str | None,
    resamples: int,
    seed: int,
) -> pd.DataFrame:
    """Verdicts of one model and seed: a row a part, prompt and metric, then one with prompt "all" a claim.

    tables: the per-fact table of each setup. A claim that names a setup which is not among them, or that says
    nothing about this family, gets no row. published: the paper's tables by experiment; counterpart: the
    model's name in them, None if it has none. Columns: COLUMNS. n: facts (of two datasets: the fewer).
    estimate, low, high: of r(scheme) - times * r(than), of r(scheme) alone, or of a rank correlation;
    published: the same number in the counterpart, NaN where it was not published. p_holm: of parts that fail; by it they fail
    the claim or not. verdict of a claim: from the parts on log-probability and logits, or where there are none from all;
    top5_verdict: from those on top-5 accuracy, on the rows of claims that have both.

    Raises:
        UserError: a table is incomplete, or lacks what a claim names; before any claim is judged.
    """
    judged = [
        claim
        for claim in claims.claims
        if claim.parts_about(family) and all(setup in tables for part in claim.parts for setup in part.setups)
    ]
    cells = cells_of(tables)
    for claim in judged:
        for part in claim.parts_about(family):
            _check_part(claim.id, part, cells)
    rows = []
    for claim in judged:
        parts: list[dict] = []
        for part in claim.parts_about(family):
            for metric in part.metrics:
                for prompt in part.prompts:
                    row = judged_part(part, prompt, metric, cells, resamples=resamples, seed=seed)
                    value = published_value(claims, part, prompt, metric, published, counterpart)
                    parts.append({"claim": claim.id, **row, "published": value})
        rows += [*parts, _whole(claim, parts)]
    first = next(iter(tables.values())).iloc[0]
    return pd.DataFrame(rows, columns=COLUMNS).assign(model=first["model"], seed=first["seed"])


def judged_part(part: Part, prompt: str, metric: str, cells: Cells, *, resamples: int, seed: int) -> dict:
    """The row of one part on one prompt and metric. It is left out where SFT does not know the facts, or `where` fails.

    Its p is there under p_holm, as yet uncorrected."""
    evidence = evidence_of(part, prompt, metric, cells, resamples=resamples, seed=seed)
    estimate, low, high, n, *_ = evidence
    decided = verdict(part.rule, part.threshold, low, high)
    if METRICS[metric][1].startswith("recovered") and not knows(part, prompt, cells):
        decided = LEFT_OUT
    elif part.where:
        alone = {"scheme": part.where.scheme, "than": None, "than_setup": None, "times": 1.0}
        condition = part.model_copy(update=alone)
        _, *ends, _ = interval_of(condition, prompt, metric, cells, resamples=resamples, seed=seed)
        met = verdict(part.where.rule, part.where.threshold, *ends)
        decided = {HOLDS: decided, FAILS: LEFT_OUT}.get(met, UNDECIDED)
    return {
        "setup": " ".join(part.setups),
        "prompt": f"{prompt} ({part.split})" if part.split else prompt,
        "comparison": part.words(metric),
        "metric": metric,
        **{"n": n, "estimate": estimate, "low": low, "high": high},
        "threshold": part.threshold,
        "p_holm": p_of(part.rule, part.threshold, evidence) if decided == FAILS else np.nan,
        "verdict": decided,
    }


def _whole(claim: Claim, parts: list[dict]) -> dict:
    """The row of a claim."""
    return {
        "claim": claim.id,
        "setup": " ".join(dict.fromkeys(name for part in claim.parts for name in part.setups)),
        "prompt": ALL,
        "comparison": claim.comparison,
        "n": min(part["n"] for part in parts),
        **whole_verdicts(parts),
    }


def _check_part(claim: str, part: Part, cells: Cells) -> None:
    for prompt in part.prompts:
        try:
            sides_of(cells, part, prompt)
        except UserError as error:
            raise UserError(f"claim {claim}: {error}") from error


def published_value(
    claims: Claims,
    part: Part,
    prompt: str,
    metric: str,
    published: Mapping[str, pd.DataFrame],
    counterpart: str | None,
) -> float:
    """The compared number from the paper's values of the counterpart; NaN where one of them was not published.

    PRE counts as 0 and SFT as 1 where the file has none (E3, E4).
    """
    source = claims.published.get(part.experiment)
    if source is None or metric not in PUBLISHED_METRIC or not {*part.setups} <= {*source.datasets}:
        return np.nan
    table = published[part.experiment]
    table = table[(table["model"] == counterpart) & (table["prompt"] == prompt)]
    table = table[table["metric"] == PUBLISHED_METRIC[metric]]
    sides = []
    for setup, schemes in ((part.setup, part.compared), (part.setups[-1], part.references)):
        rows = table[table["dataset"] == source.datasets[setup]].set_index("scheme")["value"]
        ends = [rows.get("PRE", 0.0), rows.get("SFT", 1.0)]
        values = [rows.get(scheme.removesuffix(source.suffix), np.nan) for scheme in schemes]
        sides.append(np.array([*values, *ends], dtype=float)[:, None])
    if np.isnan(np.vstack(sides)).any():
        return np.nan
    return float(compared(part, METRICS[metric][1], *sides)[0])


def cross_table(verdicts: pd.DataFrame) -> pd.DataFrame:
    """Claims x models: one row a (claim, model, seed), in the order of the verdicts.

    Columns: claim, model, seed, comparison, verdict, top5_verdict, and of the part that decided the first: part, prompt, metric,
    n, estimate, low, high, published. That part is the first one with the claim's verdict, on log-probability
    before others; so of a claim that holds it is the first part, of one that fails the first that fails it.
    parts, held, failed: of those behind the verdict, how many speak, hold, and fail by themselves.
    """
    rows = []
    for (claim, model, seed), group in verdicts.groupby(["claim", "model", "seed"], sort=False):
        whole = group[group["prompt"] == ALL].iloc[0]
        parts = group[group["prompt"] != ALL].sort_values("metric", key=lambda m: m.map(_rank), kind="stable")
        if not (leading := parts[~parts["metric"].isin(SECOND)]).empty:
            parts = leading
        words = parts["verdict"]
        deciding = parts.loc[_decides(parts, whole["verdict"]).idxmax()]
        rows.append(
            {
                **{"claim": claim, "model": model, "seed": seed, "comparison": whole["comparison"]},
                **{
                    "verdict": whole["verdict"],
                    "top5_verdict": whole["top5_verdict"],
                    "part": deciding["comparison"],
                },
                **deciding[["prompt", "metric", "n", "estimate", "low", "high", "published"]],
                "parts": int((words != LEFT_OUT).sum()),
                "held": int((words == HOLDS).sum()),
                "failed": int((words == FAILS).sum()),
            }
        )
    return pd.DataFrame(rows)


def _decides(parts: pd.DataFrame, word: str) -> pd.Series:
    """Which parts a claim's verdict rests on; of an undecided claim also those that fail, but not by Holm's correction."""
    if word == FAILS:
        return (parts["verdict"] == word) & (parts["p_holm"] <= SIGNIFICANT)
    same = parts["verdict"] == word
    return same if same.any() else parts["verdict"] != HOLDS


def _rank(metric: str) -> int:
    return int(metric != "recovered_logprob")
