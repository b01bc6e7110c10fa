"""What the figures draw: the summaries of a study, one row a bar, and the published values beside them."""

from pathlib import Path

import pandas as pd

from stages.params import UserError

BAR = ["model", "dataset", "experiment", "prompt", "template_split", "scheme"]
OUR_WORDS = {"mean_target_probability": "mean_probability", "mean_target_rank": "mean_rank"}


def read_summaries(folder: Path, study: dict) -> pd.DataFrame:
    """All summaries of the study's models, seeds and recipes in one table; UserError if one is missing."""
    tables = []
    for model in study["models"]:
        for seed in study["seeds"]:
            for recipe in study["recipes"]:
                path = folder / f"{model}-{seed}-{recipe}.csv"
                if not path.is_file():
                    raise UserError(
                        f"{path} is missing: params.yaml's study lists {model}, seed {seed}, {recipe}"
                    )
                tables.append(pd.read_csv(path))
    return pd.concat(tables, ignore_index=True)


def read_published(folder: Path) -> pd.DataFrame:
    """The paper's position-grafting values: dataset, model, prompt, scheme, metric, value."""
    path = folder / "position_grafting.csv"
    if not path.is_file():
        raise UserError(f"{path} is missing")
    return pd.read_csv(path).replace({"metric": OUR_WORDS})


def bars_of(summaries: pd.DataFrame, *, recipe: str, experiment: str, metric: str) -> pd.DataFrame:
    """One row a bar: BAR, n, n_largest, seeds, estimate, low, high; direction A->B only.

    Several seeds become one bar: the mean of their estimates, from the lowest low to the highest high (wider
    than any interval of the mean: with a handful of seeds their spread is not estimated, only shown).

    Raises:
        UserError: no such rows.
    """
    rows = summaries[
        (summaries["recipe"] == recipe)
        & (summaries["experiment"] == experiment)
        & (summaries["metric"] == metric)
        & (summaries["direction"] == "ab")
    ]
    if rows.empty:
        raise UserError(f"no summary of {recipe} has experiment {experiment} with metric {metric}")
    return (
        rows.groupby(BAR, sort=False)
        .agg(
            n=("n", "min"),
            n_largest=("n", "max"),
            seeds=("seed", "nunique"),
            estimate=("estimate", lambda values: values.mean(skipna=False)),
            low=("low", lambda values: values.min(skipna=False)),
            high=("high", lambda values: values.max(skipna=False)),
        )
        .reset_index()
    )


def panel_of(bars: pd.DataFrame, schemes: list[str], **where: str) -> pd.DataFrame:
    """The bars of one panel in the order of `schemes`; `where` picks model, prompt, template_split.

    Raises:
        UserError: a scheme has no row or more than one, or the bars differ in n.
    """
    for column, value in where.items():
        bars = bars[bars[column] == value]
    place = ", ".join(where.values())
    panel = bars.set_index("scheme")
    for scheme in schemes:
        if (count := int((panel.index == scheme).sum())) != 1:
            raise UserError(f"summaries of {place}: {count} rows of scheme {scheme}, not one")
    panel = panel.loc[schemes]
    if len(counts := {*panel["n"], *panel["n_largest"]}) != 1:
        raise UserError(f"summaries of {place}: n differs between schemes: {sorted(counts)}")
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
