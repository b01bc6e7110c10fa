"""Bars by name: the rows of the summaries that a sentence is about."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import pandas as pd

from stages.plotting.needs import setups_of
from stages.reporting.phrases import NotMeasuredError


class View(NamedTuple):
    """What a figure shows: the summaries of its setups, tested on A->B, with its models and its metric."""

    summaries: pd.DataFrame
    models: Sequence[str]
    setups: Sequence[str]
    metric: str


Writer = Callable[[View], str]


def view_of(
    figure: Mapping[str, Any], summaries: pd.DataFrame, models: Sequence[str], seeds: Sequence[int]
) -> View:
    """The view of an entry of params.yaml's render_figures.figures; models and seeds are the study's main ones."""
    setups = setups_of(figure)
    wanted = (
        (summaries["direction"] == "ab") & summaries["seed"].isin(seeds) & summaries["setup"].isin(setups)
    )
    return View(summaries[wanted], models, setups, figure.get("metric") or "recovered_logprob")


def look(
    view: View,
    scheme: str | None,
    experiment: str,
    *,
    prompt: str = "headline",
    setup: str | None = None,
    metric: str | None = None,
    split: str | None = None,
    models: Sequence[str] | None = None,
) -> pd.DataFrame:
    """The rows of one bar, one a (model, seed), in the order of the models; of all schemes if `scheme` is None.

    The setup is the first of the view's that has such rows, unless it is said.

    Raises:
        NotMeasuredError: there are none.
    """
    wanted = {"experiment": experiment, "prompt": prompt, "metric": metric or view.metric}
    wanted |= {"scheme": scheme} if scheme is not None else {}
    wanted |= {"template_split": split} if split is not None else {}
    place = {model: i for i, model in enumerate(models or view.models)}
    chosen = view.summaries["model"].isin(place)
    for column, value in wanted.items():
        chosen &= view.summaries[column] == value
    rows = view.summaries[chosen]
    for name in [setup] if setup else view.setups:
        found = rows[rows["setup"] == name]
        if not found.empty:
            found = found.assign(place=found["model"].map(place))
            return found.sort_values(["place", "seed"], kind="stable").drop(columns="place")
    raise NotMeasuredError
