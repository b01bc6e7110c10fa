"""Verdicts: claims about schemes, judged on per-fact tables by 95 % intervals over facts.

The rules are stated at the head of data/claims.yaml and are RULES here: a part holds if its whole interval is on the
claim's side of the threshold, fails if none of it is, and is undecided otherwise; "not above" is the negation of "above"
and so never undecided. A claim holds if all its parts hold, fails if any fails, and is undecided otherwise.
"""

from collections.abc import Callable, Mapping

import numpy as np
import pandas as pd

from stages.analysis.claims import Claim, Claims, Part
from stages.analysis.comparisons import Cells, cells_of, compared, interval_of, sides_of
from stages.analysis.metrics import METRICS
from weightgraft.errors import UserError

COLUMNS = [
    *("claim", "model", "seed", "setup", "prompt", "comparison", "metric", "n"),
    *("estimate", "low", "high", "threshold", "published", "verdict"),
]
ALL = "all"  # the prompt of the row that gives a claim's verdict
# Our metrics -> those of data/published; the two that the paper has of every experiment.
PUBLISHED_METRIC = {"recovered_top5": "top5_accuracy", "top5_accuracy": "top5_accuracy"}

# (holds, fails) of an interval from low to high and a threshold t; undecided where neither.
RULES: dict[str, Callable[[float, float, float], tuple[bool, bool]]] = {
    "at_least": lambda low, high, t: (low >= t, high < t),
    "at_most": lambda low, high, t: (high <= t, low > t),
    "above": lambda low, high, t: (low > t, high <= t),
    "below": lambda low, high, t: (high < t, low >= t),
    "not_above": lambda low, high, t: (low <= t, low > t),
    "about": lambda low, high, t: (-t <= low and high <= t, low > t or high < -t),
}


def verdict(rule: str, threshold: float, low: float, high: float) -> str:
    """holds, fails or undecided; an interval without bounds decides nothing."""
    if not (np.isfinite(low) and np.isfinite(high)):
        return "undecided"
    holds, fails = RULES[rule](low, high, threshold)
    return "holds" if holds else "fails" if fails else "undecided"


def whole_verdict(verdicts: list[str]) -> str:
    """A claim's verdict from its parts'."""
    if "fails" in verdicts:
        return "fails"
    return "holds" if set(verdicts) == {"holds"} else "undecided"


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
    published: the same number in the counterpart, NaN where it was not published.

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
        found: list[dict] = []
        outside: list[dict] = []
        for part in claim.parts_about(family):
            for metric in part.metrics:
                for prompt in part.prompts:
                    row, speaks = judged_part(part, prompt, metric, cells, resamples=resamples, seed=seed)
                    value = published_value(claims, part, prompt, metric, published, counterpart)
                    (found if speaks else outside).append({"claim": claim.id, **row, "published": value})
        rows += found + outside
        rows.append(_whole(claim, found or outside))
    first = next(iter(tables.values())).iloc[0]
    return pd.DataFrame(rows, columns=COLUMNS).assign(model=first["model"], seed=first["seed"])


def judged_part(
    part: Part, prompt: str, metric: str, cells: Cells, *, resamples: int, seed: int
) -> tuple[dict, bool]:
    """The row of one part on one prompt and metric, and whether the part speaks of this case at all."""
    estimate, low, high, n = interval_of(part, prompt, metric, cells, resamples=resamples, seed=seed)
    decided, speaks = verdict(part.rule, part.threshold, low, high), True
    if part.where:
        alone = {"scheme": part.where.scheme, "than": None, "than_setup": None, "times": 1.0}
        condition = part.model_copy(update=alone)
        _, *ends, _ = interval_of(condition, prompt, metric, cells, resamples=resamples, seed=seed)
        met = verdict(part.where.rule, part.where.threshold, *ends)
        decided, speaks = decided if met == "holds" else "undecided", met != "fails"
    row = {
        "setup": " ".join(part.setups),
        "prompt": f"{prompt} ({part.split})" if part.split else prompt,
        "comparison": part.words(metric),
        "metric": metric,
        **{"n": n, "estimate": estimate, "low": low, "high": high},
        "threshold": part.threshold,
        "verdict": decided,
    }
    return row, speaks


def _whole(claim: Claim, parts: list[dict]) -> dict:
    """The row of a claim: its verdict, from the parts that speak."""
    return {
        "claim": claim.id,
        "setup": " ".join(dict.fromkeys(name for part in claim.parts for name in part.setups)),
        "prompt": ALL,
        "comparison": claim.comparison,
        "n": min(part["n"] for part in parts),
        "verdict": whole_verdict([part["verdict"] for part in parts]),
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

    Columns: claim, model, seed, comparison, verdict, and of the part that decided it: part, prompt, metric, n,
    estimate, low, high, published. That part is the first one with the claim's verdict, on log-probability
    before top-5; so of a claim that holds it is the first part, of one that fails the first that fails.
    parts, held, failed: how many parts there are, hold and fail.
    """
    rows = []
    for (claim, model, seed), group in verdicts.groupby(["claim", "model", "seed"], sort=False):
        whole = group[group["prompt"] == ALL].iloc[0]
        parts = group[group["prompt"] != ALL].sort_values("metric", key=lambda m: m.map(_rank), kind="stable")
        deciding = parts[parts["verdict"] == whole["verdict"]].iloc[0]
        rows.append(
            {
                **{"claim": claim, "model": model, "seed": seed, "comparison": whole["comparison"]},
                **{"verdict": whole["verdict"], "part": deciding["comparison"]},
                **deciding[["prompt", "metric", "n", "estimate", "low", "high", "published"]],
                "parts": len(parts),
                "held": int((parts["verdict"] == "holds").sum()),
                "failed": int((parts["verdict"] == "fails").sum()),
            }
        )
    return pd.DataFrame(rows)


def _rank(metric: str) -> int:
    return ["recovered_logprob", "recovered_top5"].index(metric) if metric.startswith("recovered") else 2


def fragile(one: pd.DataFrame, other: pd.DataFrame) -> pd.DataFrame:
    """Claims that hold in one table of verdicts and fail in the other (another world or finetuning seed).

    Both of a model's finetuning seeds are compared, each with the same seed. Columns: claim, model, seed, comparison,
    verdict, other_verdict; no rows if none changed sides. To or from undecided is no change of sides.

    Raises:
        UserError: the tables have no (claim, model, seed) in common.
    """
    keys = ["claim", "model", "seed"]
    wholes = [table.loc[table["prompt"] == ALL, [*keys, "comparison", "verdict"]] for table in (one, other)]
    both = wholes[0].merge(
        wholes[1][[*keys, "verdict"]].rename(columns={"verdict": "other_verdict"}), on=keys
    )
    if both.empty:
        raise UserError("the two tables of verdicts have no claim of one model in common")
    sides = both["verdict"] + " " + both["other_verdict"]
    return both[sides.isin(["holds fails", "fails holds"])].reset_index(drop=True)
