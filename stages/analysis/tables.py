"""Per-fact tables: what they must hold, and the values per fact that every summary starts from."""

from pathlib import Path

import numpy as np
import pandas as pd

from stages.analysis.metrics import ANSWERED, ANSWERS, TOP
from weightgraft.errors import UserError

# One panel of a figure: within it schemes are compared on the same facts.
GROUP = ["model", "seed", "setup", "dataset", "experiment", "prompt", "template_split", "direction"]
KEYS = [*GROUP, "template", "scheme", "fact_id", "draw"]
SCORES = ["target_rank", "target_logprob", "target_logit", "foil_logit"]
VALUES = [
    *(f"top{k}" for k in TOP),
    *("exact_match", "rank", "probability", "logprob", "logit_difference", "watched_mass"),
]


def write_csv(table: pd.DataFrame, path: Path) -> None:
    """Write a table with six digits. Means of ranks often lie right between two of them, and the order of a sum, which differs with
    the number of cores, would decide to which side they go: ten decimals first.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    table.round(10).to_csv(path, index=False, float_format="%.6g", lineterminator="\n")


def read_scores(path: Path) -> pd.DataFrame:
    """Read a per-fact table (parquet); UserError if there is none."""
    if not path.is_file():
        raise UserError(f"{path}: no such per-fact table; run the graft stage first")
    try:
        return pd.read_parquet(path)
    except ValueError as error:  # pyarrow's word for a damaged or foreign file
        raise UserError(f"{path}: not a parquet table") from error


def check_scores(scores: pd.DataFrame) -> None:
    """Raise UserError (one line, naming the first culprit) unless a per-fact table is complete.

    Complete: all columns of KEYS and SCORES; no empty key, no score that is not finite, no rank below 1; one
    row per key; PRE and SFT in every experiment; and in every experiment the same fact ids under every
    (prompt, template, scheme, draw). The authors' code dropped facts silently, so that n differed between bars; here
    that is an error.
    """
    if absent := [column for column in [*KEYS, *SCORES] if column not in scores.columns]:
        raise UserError(f"per-fact table: no column {', '.join(absent)}")
    if scores.empty:
        raise UserError("per-fact table: no rows")
    for column in KEYS:
        if (bad := scores[column].isna()).any():
            raise UserError(
                f"per-fact table: {bad.sum()} rows without {column}, the first is row {bad.argmax()}"
            )
    for column in SCORES:
        values = scores[column].to_numpy(float)
        bad = ~np.isfinite(values) | ((values < 1) & (column == "target_rank"))
        if bad.any():
            first = scores.iloc[int(bad.argmax())]
            raise UserError(f"{column} is {first[column]} in {bad.sum()} rows, first: {_name(first)}")
    if (bad := scores.duplicated(KEYS)).any():
        raise UserError(f"{bad.sum()} duplicate rows, first: {_name(scores.iloc[int(bad.argmax())])}")
    for _, one_run in scores.groupby(["model", "seed", "setup", "dataset", "direction"], sort=False):
        facts = list(one_run["fact_id"].unique())
        if len(facts) < 2:
            raise UserError(f"an interval needs at least 2 facts, the table has {len(facts)}")
        for experiment, rows in one_run.groupby("experiment", sort=False):
            for scheme in ("PRE", "SFT"):
                if scheme not in set(rows["scheme"]):
                    raise UserError(f"experiment {experiment}: no rows of scheme {scheme}")
            _check_every_fact_everywhere(rows, facts)


def _check_every_fact_everywhere(rows: pd.DataFrame, facts: list) -> None:
    """Raise UserError unless every (prompt, template) has every scheme and draw of the experiment on every fact."""
    keys = ["prompt", "template_split", "template", "scheme", "draw", "fact_id"]
    found = rows[keys]
    every = rows[keys[:3]].drop_duplicates().merge(rows[["scheme", "draw"]].drop_duplicates(), how="cross")
    if len(found) == len(every) * len(facts):  # no duplicates here, so equal counts mean equal sets
        return
    every = every.merge(pd.DataFrame({"fact_id": facts}), how="cross")
    every = every.merge(found, how="left", on=keys, indicator=True)
    missing = every[every["_merge"] == "left_only"]
    raise UserError(f"{len(missing)} rows missing, first: {_name(missing.iloc[0])}")


def _name(row: pd.Series) -> str:
    return ", ".join(f"{key} {row[key]}" for key in ("scheme", "fact_id", "prompt", "template"))


def values_per_fact(scores: pd.DataFrame) -> pd.DataFrame:
    """One row a (group, scheme, fact), the columns VALUES and those of ANSWERED; a fact's draws and templates are averaged here.

    top-k columns are the share of the fact's templates with target rank <= k; probability =
    exp(log-probability); logit_difference = target logit - foil logit. Draws of a random control are averaged
    within their template first, then the templates of one split. Averaging first makes the fact the unit of
    every interval: the six paraphrases of one fact are not six independent observations. So the bootstrap
    resamples facts, each with all its templates: the templates are the ones we chose to ask, no sample of a
    larger set that the intervals should speak about. Order: groups and schemes as they first appear.
    """
    rank = scores["target_rank"].to_numpy(float)
    logprob = scores["target_logprob"].to_numpy(float)
    keys = [*GROUP, "scheme", "fact_id"]
    table = scores[[*keys, "template"]].assign(
        **{f"top{k}": (rank <= k).astype(float) for k in TOP},
        exact_match=scores["exact_match"].astype(float) if "exact_match" in scores else np.nan,
        rank=rank,
        probability=np.exp(logprob),
        logprob=logprob,
        logit_difference=scores["target_logit"].to_numpy(float) - scores["foil_logit"].to_numpy(float),
        watched_mass=scores["watched_mass"].astype(float) if "watched_mass" in scores else np.nan,
    )
    values = [*VALUES]
    if "answer" in scores:
        for name, kind in zip(ANSWERED, ANSWERS, strict=True):
            table[name] = (scores["answer"] == kind).to_numpy(float)
        values += ANSWERED
    if (scores["draw"] != scores["draw"].iloc[0]).any():
        table = table.groupby([*keys, "template"], sort=False)[values].mean().reset_index()
    return table.groupby(keys, sort=False)[values].mean().reset_index()
