"""Words for numbers: how an estimate is written, and what may be said of two of them."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

METRIC_WORDS = {
    **{f"top{k}_accuracy": f"top-{k} accuracy" for k in (1, 5, 10, 20, 50, 100)},
    "mean_rank": "mean rank of the right name",
    "median_rank": "median rank of the right name",
    "mean_probability": "mean probability of the right name",
    "mean_logprob": "mean log-probability of the right name, nats",
    "mean_logit_difference": "mean logit difference",
    "mean_watched_mass": "mean probability of other facts' answers",
    "recovered_top5": "recovered fraction of top-5 accuracy",
    "recovered_logprob": "recovered fraction of log-probability",
    "recovered_logit_difference": "recovered fraction of the logit difference",
}
RELATIONS = ("above", "below", "overlapping", "undefined")


class NotMeasuredError(Exception):
    """A sentence asks for numbers that the summaries do not have: it is not written."""


def number(value: float, metric: str = "") -> str:
    """Two decimals, ranks one; never -0.00; an infinite end of an interval as ∞."""
    if not np.isfinite(value):
        return "undefined" if np.isnan(value) else ("∞" if value > 0 else "-∞")
    text = f"{value:.{1 if metric.endswith('rank') else 2}f}"
    return text if float(text) else text.removeprefix("-")


def estimate(value: float, low: float, high: float, metric: str = "") -> str:
    """An estimate with its interval: 0.98 [0.95, 1.00]; "undefined" where there is none."""
    if not np.isfinite(value):
        return "undefined"
    if np.isnan(low) or np.isnan(high):
        return number(value, metric)
    return f"{number(value, metric)} [{number(low, metric)}, {number(high, metric)}]"


def listed(names: Sequence[str]) -> str:
    """a; a and b; a, b and c."""
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))


def labels(rows: pd.DataFrame) -> list[str]:
    """The model of each row, with the seed where a model has several."""
    repeated = rows.groupby("model")["seed"].transform("nunique") > 1
    return [
        f"{model} seed {seed}" if several else str(model)
        for model, seed, several in zip(rows["model"], rows["seed"], repeated, strict=True)
    ]


def everywhere(names: Sequence[str], total: int) -> str:
    """in all 4 models; in tiny-gpt2 and tiny-llama."""
    if len(names) == total > 1:
        seeds = any(" seed " in name for name in names)
        return f"in {'both' if total == 2 else f'all {total}'} {'finetuned ' * seeds}models"
    return f"in {listed(names)}"


def spread(rows: pd.DataFrame) -> str:
    """The least and the largest estimate over models, each with its interval and the model it is of.

    rows: one row a (model, seed) with metric, estimate, low, high.

    Raises:
        NotMeasuredError: no row.
    """
    if rows.empty:
        raise NotMeasuredError
    finite = rows[np.isfinite(rows["estimate"])]
    if finite.empty:
        return "undefined"
    ends = [finite.loc[finite["estimate"].idxmin()], finite.loc[finite["estimate"].idxmax()]]
    first, last = (estimate(row["estimate"], row["low"], row["high"], row["metric"]) for row in ends)
    if len(finite) == 1:
        return first
    names = dict(zip(finite.index, labels(finite), strict=True))
    if first == last:  # they may still differ in a third decimal, and those between lie between
        return f"{first} {everywhere(list(names.values()), len(finite))}"
    return f"{first} ({names[ends[0].name]}) to {last} ({names[ends[1].name]})"


def relations(a: pd.DataFrame, b: pd.DataFrame) -> dict[str, list[str]]:
    """{above | below | overlapping | undefined: models}: a is above b only where its whole interval is.

    Two intervals of 95 % that do not meet are a sharper demand than a paired difference that excludes 0: where they
    overlap, nothing is said but that.

    Raises:
        NotMeasuredError: no model has both.
    """
    both = a.assign(label=labels(a)).merge(b, on=["model", "seed"], suffixes=("", "_b"))
    if both.empty:
        raise NotMeasuredError
    found: dict[str, list[str]] = {relation: [] for relation in RELATIONS}
    for _, row in both.iterrows():
        if not np.isfinite([row[end + side] for end in ("low", "high") for side in ("", "_b")]).all():
            relation = "undefined"
        elif row["low"] > row["high_b"]:
            relation = "above"
        else:
            relation = "below" if row["high"] < row["low_b"] else "overlapping"
        found[relation].append(row["label"])
    return found


def compared(name_a: str, a: pd.DataFrame, name_b: str, b: pd.DataFrame, again: str = "it") -> str:
    """LT is above FE in tiny-gpt2; their intervals overlap in tiny-llama. Only what the intervals support.

    again: the word for b after its first mention.
    """
    found = relations(a, b)
    total, overlap, undefined = (
        sum(map(len, found.values())),
        found.pop("overlapping"),
        found.pop("undefined"),
    )
    parts = [f"{relation} {{}} {everywhere(names, total)}" for relation, names in found.items() if names]
    words = [part.format(again if place else name_b) for place, part in enumerate(parts)]
    asides = [f"their intervals overlap {everywhere(overlap, total)}"] if overlap else []
    if words:
        told = f"{name_a} is {listed(words)}"
    elif asides:
        told = asides.pop().replace("their intervals", f"the intervals of {name_a} and {name_b}")
    else:
        return f"{name_a} against {name_b} is undefined {everywhere(undefined, total)}"
    asides += [f"undefined {everywhere(undefined, total)}"] if undefined else []
    return f"{told} ({'; '.join(asides)})" if asides else told


def sizes(rows: pd.DataFrame) -> str:
    """120; 60 to 120."""
    ends = dict.fromkeys([int(rows["n"].min()), int(rows["n"].max())])
    return " to ".join(str(n) for n in ends)


def place(rows: pd.DataFrame) -> str:
    """prompt headline; n = 120 facts."""
    return f"prompt {listed(list(dict.fromkeys(rows['prompt'])))}; n = {sizes(rows)} facts"


def measure(rows: pd.DataFrame) -> str:
    """top-5 accuracy."""
    return listed([METRIC_WORDS.get(metric, metric) for metric in dict.fromkeys(rows["metric"])])


def setting(rows: pd.DataFrame) -> str:
    """(top-5 accuracy; prompt headline; n = 120 facts), read off the rows."""
    return f"({measure(rows)}; {place(rows)})"
