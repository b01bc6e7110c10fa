"""What the figures draw: the summaries of a study, one row a bar, and the published values beside them."""

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from stages.analysis.metrics import GUESSED
from stages.study.items import Item
from weightgraft.errors import UserError

BAR = ["model", "setup", "dataset", "experiment", "prompt", "template_split", "scheme"]
OUR_WORDS = {"mean_target_probability": "mean_probability", "mean_target_rank": "mean_rank"}
# What SFT's top-5 accuracy is at least where it knows what is asked: the verdicts' (analysis/comparisons.py). Below it a fraction
# of what SFT gains is one of next to nothing, and a single such bar would stretch the axis of the whole page.
KNOWN = 0.9
PUBLISHED = ("position_grafting", "component_grafting", "hybrid_grafting")
NO_VALUES = pd.Series(dtype=float)


class Material(NamedTuple):
    """All that a figure is drawn from."""

    summaries: pd.DataFrame
    published: dict[str, pd.DataFrame]  # by the name of the file
    study: dict[str, Any]  # the section of params.yaml
    section: dict[str, Any]  # render_figures of params.yaml


def read_summaries(folder: Path, items: Sequence[Item]) -> pd.DataFrame:
    """The summaries of all items in one table; UserError if one is missing."""
    tables = []
    for model, seed, setup in items:
        path = folder / f"{model}-{seed}" / f"{setup}.csv"
        if not path.is_file():
            raise UserError(f"{path} is missing: params.yaml's study lists {model}, seed {seed}, {setup}")
        tables.append(pd.read_csv(path))
    return pd.concat(tables, ignore_index=True)


def read_real(folder: Path, models: Iterable[str]) -> list[pd.DataFrame]:
    """The summaries that `make real` has left of these models, a table a setup; none where it has not been run."""
    return [
        pd.read_csv(path)
        for model in models
        for path in sorted((folder / "summary").glob(f"{model}-*/*.csv"))
        if path.parent.name.removeprefix(f"{model}-").isdigit()  # a seed: not a model whose name begins alike
    ]


def real_setups(summaries: pd.DataFrame, models: Iterable[str]) -> set[tuple[str, str]]:
    """(model, setup) of what there is of these really pretrained models."""
    rows = summaries.loc[summaries["model"].isin([*models]), ["model", "setup"]]
    return {*rows.drop_duplicates().itertuples(index=False, name=None)}


def read_published(folder: Path) -> dict[str, pd.DataFrame]:
    """The paper's values by file: dataset, model, prompt, scheme, metric, value."""
    tables = {}
    for name in PUBLISHED:
        path = folder / f"{name}.csv"
        if not path.is_file():
            raise UserError(f"{path} is missing")
        tables[name] = pd.read_csv(path).replace({"metric": OUR_WORDS})
    return tables


def bars_of(
    summaries: pd.DataFrame, seeds: Sequence[int], *, setup: str, experiment: str, metric: str
) -> pd.DataFrame:
    """One row a bar: BAR, n, n_largest, seeds, estimate, low, high, p_holm if the summaries have it; A->B only.

    Several seeds become one bar: the mean of their estimates, from the lowest low to the highest high (wider
    than any interval of the mean: with a handful of seeds their spread is not estimated, only shown), and the
    largest p. A recovered fraction is not a number where SFT does not know what is asked.

    Raises:
        UserError: no such rows.
    """
    rows = summaries[
        (summaries["setup"] == setup)
        & (summaries["experiment"] == experiment)
        & (summaries["metric"] == metric)
        & (summaries["direction"] == "ab")
        & summaries["seed"].isin(seeds)
    ]
    if rows.empty:
        raise UserError(f"no summary of {setup} has experiment {experiment} with metric {metric}")
    # Panels pick single bars out of these few rows, hundreds of times: that is slow on Arrow's strings.
    rows = rows.astype({name: object for name in BAR})
    if metric.startswith("recovered") or metric == GUESSED:
        known = _known(rows, summaries).to_numpy()
        rows = rows.assign(**{name: rows[name].where(known) for name in ("estimate", "low", "high")})
    groups = rows.groupby(BAR, sort=False)
    bars = groups.agg(n=("n", "min"), n_largest=("n", "max"), seeds=("seed", "nunique"))
    bars["estimate"] = groups["estimate"].mean(skipna=False)
    bars["low"] = groups["low"].min(skipna=False)
    bars["high"] = groups["high"].max(skipna=False)
    if "p_holm" in rows:
        bars["p_holm"] = groups["p_holm"].max(skipna=False)
    return bars.reset_index()


def _known(rows: pd.DataFrame, summaries: pd.DataFrame) -> pd.Series:
    """For each row whether SFT knows what is asked there; it is taken to where no top-5 accuracy was summarized (maps)."""
    asked = [name for name in (*BAR, "seed", "direction") if name != "scheme"]
    sft = summaries[(summaries["scheme"] == "SFT") & (summaries["metric"] == "top5_accuracy")]
    found = rows[asked].merge(sft[[*asked, "estimate"]], on=asked, how="left")["estimate"]
    return found.isna() | (found >= KNOWN)


def panel_of(bars: pd.DataFrame, schemes: Sequence[str], **where: str) -> pd.DataFrame:
    """The bars of one panel in the order of `schemes`; `where` picks model, prompt, template_split.

    Raises:
        UserError: a scheme has no row or more than one, or the bars differ in n.
    """
    found = bars[np.logical_and.reduce([bars[column] == value for column, value in where.items()])]
    place = ", ".join(where.values())
    counts = Counter(found["scheme"])
    for scheme in schemes:
        if counts[scheme] != 1:
            raise UserError(f"summaries of {place}: {counts[scheme]} rows of scheme {scheme}, not one")
    panel = found.set_index("scheme").loc[list(schemes)]
    if len(sizes := {*panel["n"], *panel["n_largest"]}) > 1:
        raise UserError(f"summaries of {place}: n differs between schemes: {sorted(sizes)}")
    return panel


def published_of(published: pd.DataFrame, *, dataset: str, model: str, prompt: str, metric: str) -> pd.Series:
    """Published values by scheme for one panel; empty where the paper shows none."""
    rows = published[
        (published["dataset"] == dataset)
        & (published["model"] == model)
        & (published["prompt"] == prompt)
        & (published["metric"] == metric)
    ]
    return rows.set_index("scheme")["value"]
