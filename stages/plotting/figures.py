"""The figures of the study by what they draw: each a function from summaries to a matplotlib Figure."""

from collections.abc import Callable, Sequence
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from stages.plotting import bars, beyond, donors, dots, maps, pages
from stages.plotting.layout import AXIS_LABELS
from stages.plotting.needs import MAPS, WITHOUT_METRIC, setups_of
from stages.plotting.results import Material
from stages.plotting.schematic import schematic_figure
from weightgraft.errors import UserError

DRAWINGS: dict[str, Callable[[Material, list[str], Any], Figure]] = {
    "schematic": schematic_figure,
    "positions": bars.position_figure,
    "own_positions": bars.own_figure,
    "setups": bars.setups_figure,
    "title": bars.title_figure,
    "unembedding": bars.unembedding_figure,
    "layers_only": bars.layers_only_figure,
    "necessity": beyond.necessity_figure,
    "collateral": beyond.collateral_figure,
    "answers": beyond.answer_figure,
    "components": bars.component_figure,
    "hybrid": bars.hybrid_figure,
    "hybrid_components": bars.hybrid_component_figure,
    "paraphrases": dots.paraphrase_figure,
    "families": dots.family_figure,
    "patching": dots.patching_figure,
    "metrics": dots.metrics_figure,
    "controls": pages.control_figure,
    "new_form": pages.new_form_figure,
    "component_map": maps.component_map_figure,
    "position_map": maps.position_map_figure,
    "strength": donors.strength_figure,
    "static": donors.static_figure,
    "knock_out": donors.knock_out_figure,
}


# A map has a column for every layer: 30 of them have no room beside six. And what is new in form is of the tiny models alone.
WITHOUT_REAL = {*MAPS, "new_form"}


def draw(
    name: str,
    wanted: dict,
    summaries: pd.DataFrame,
    published: dict[str, pd.DataFrame],
    study: dict,
    section: dict,
) -> Figure:
    """Draw the figure that params.yaml describes as `wanted`: {draws, setup, metric}, or {draws, setup, metric, model}.

    Raises:
        UserError: `draws` or `metric` is unknown, or the summaries lack what the figure shows.
    """
    draws, metric = wanted["draws"], wanted.get("metric")
    if draws not in DRAWINGS:
        raise UserError(f"render_figures.figures.{name}.draws: {draws!r} is none of {', '.join(DRAWINGS)}")
    if draws not in WITHOUT_METRIC and metric not in AXIS_LABELS:
        raise UserError(
            f"render_figures.figures.{name}.metric: {metric!r} is none of {', '.join(AXIS_LABELS)}"
        )
    setups = setups_of(wanted)
    real = [] if draws in WITHOUT_REAL else real_models(summaries, section.get("real", ()), setups)
    one = wanted.get("model")
    study = study | {"models": [one] if one else [*real, *study["models"]]}
    # What is not drawn must not stretch an axis or a colour scale; nor is it looked through for every row of panels.
    models = [*study["models"], *(study["new_form"]["models"] if draws == "new_form" else [])]
    shown = summaries[summaries["setup"].isin(setups) & summaries["model"].isin(models)]
    return DRAWINGS[draws](Material(shown, published, study, section), setups, metric)


def real_models(summaries: pd.DataFrame, real: Sequence[str], setups: Sequence[str]) -> list[str]:
    """Those of the really pretrained models that have been run in all of these setups: the first columns of a figure."""
    return [
        model
        for model in real
        if {*setups} <= {*summaries.loc[summaries["model"] == model, "setup"]} != set()
    ]
