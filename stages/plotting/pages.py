"""Pages whose rows are different experiments: the controls; a base that has never read the form of the question."""

from collections.abc import Sequence

import pandas as pd
from matplotlib.figure import Figure

from stages.plotting.dots import QUESTIONS
from stages.plotting.layout import (
    AXIS_LABELS,
    complement_entry,
    grid,
    head_columns,
    interval_entry,
    legend,
    reference_entry,
    value_axis,
    variant_entries,
    without_references,
)
from stages.plotting.maps import POSITION_MAPS, Scaled, cells_of, estimates_of, finish_maps, heat_map
from stages.plotting.needs import form_pairs
from stages.plotting.panels import bars
from stages.plotting.results import Material, bars_of, panel_of
from stages.plotting.shown import HYBRID_COMPONENTS, HYBRID_HUES, POSITION_SCHEMES
from weightgraft.errors import UserError
from weightgraft.style import shared_scale

OTHER_NAME = "movie_title_other_name"
NAMED = "mean_logit_difference"
RANDOM_PROMPTS = ("qa", "long")
RANDOM_SCHEMES = ("FE", "FE_random", "LT", "LT_random", "FE+LT")
NAME_SCHEMES = ("PRE", "SFT", "FE", "LT", "FE+LT", "M", "M+LT")
RELATION_ALL = " [all]"  # the hybrids with the relation model's O+FFN in all layers
HYBRID_SHOWN = ("relation", *HYBRID_COMPONENTS[1:])


def control_figure(material: Material, setups: Sequence[str], metric: str) -> Figure:
    """Controls: random positions of the same number; another fact's name beside the title; facts of pretraining, and those
    of them that the early checkpoint finds most likely.

    The second row's value is the logit of the named actor's co-star less that of the title's: above 0 the
    answer follows the name.
    """
    rows = [
        (table("random_positions", material, setups, metric), RANDOM_SCHEMES, RANDOM_PROMPTS, metric),
        (table("other_name", material, setups, NAMED), NAME_SCHEMES, (OTHER_NAME,), NAMED),
        (table("pretraining", material, setups, metric), POSITION_SCHEMES, QUESTIONS, metric),
        (table("half_known", material, setups, metric), POSITION_SCHEMES, QUESTIONS, metric),
    ]
    names = (
        f"random positions\n{AXIS_LABELS[metric]}",
        "another fact's actor\nwith the title: logit of\nthe actor's co-star\nless the title's (logits)",
        f"facts of pretraining\n{AXIS_LABELS[metric]}",
        f"the third of these that the\nearly model finds likeliest\n{AXIS_LABELS[metric]}",
    )
    models = material.study["models"]
    figure, panels = grid(len(rows), len(models), heights=1.95, margins=0.8, same_x=False)
    for line, name, (found, schemes, prompts, value) in zip(panels, names, rows, strict=True):
        for axes, model in zip(line, models, strict=True):
            _panel(axes, found, model, prompts, schemes, value, material)
        used = found[found["prompt"].isin(prompts) & found["scheme"].isin(without_references(schemes, value))]
        value_axis(line, used, value)
        line[0].set_ylabel(name)
    head_columns(panels[0], models)
    entries = [
        # Random positions are asked on other prompts: headline has too few tokens outside FE and LT.
        *variant_entries(
            [
                f"prompt {asked} (first row: {random})"
                for asked, random in zip(QUESTIONS, RANDOM_PROMPTS, strict=True)
            ]
        ),
        *reference_entry(metric),
        interval_entry(rows[0][0]),
        complement_entry(),
    ]
    legend(figure, len(models), entries)
    return figure


def new_form_figure(material: Material, setups: Sequence[str], metric: str) -> Figure:
    """Each family twice: a base that knows the form of the question, and one that has never read it.

    Rows: E1; E4 with the relation model's O+FFN in all layers; whole layers by position (prompt qa).
    """
    pairs = form_pairs(material.study)
    if not pairs:
        raise UserError("study.new_form.models: none of them has its known form in study.models")
    models = [model for pair in pairs for model in pair]
    forms = {model: ("known form", "new form")[place % 2] for place, model in enumerate(models)}
    positions = table("positions", material, setups, metric)
    hybrid = table("hybrid", material, setups, metric)
    layers = table("position_layer", material, setups, metric)
    layers = layers[(layers["prompt"] == QUESTIONS[1]) & layers["model"].isin(models)]
    figure, panels = grid(3, len(models), heights=[2.1, 2.0, 1.3], margins=1.0, same_x=False)
    rows = (
        (panels[0], positions, POSITION_SCHEMES, "", "E1: positions"),
        (panels[1], hybrid, HYBRID_SHOWN, RELATION_ALL, "E4, relation in all layers"),
    )
    for line, found, schemes, suffix, name in rows:
        for axes, model in zip(line, models, strict=True):
            _panel(axes, found, model, QUESTIONS, schemes, metric, material, suffix)
        used = without_references([scheme + suffix for scheme in schemes], metric)
        shown = found[
            found["prompt"].isin(QUESTIONS) & found["scheme"].isin(used) & found["model"].isin(models)
        ]
        value_axis(line, shown, metric)
        line[0].set_ylabel(f"{name}\n{AXIS_LABELS[metric]}")
    cells = cells_of(layers, POSITION_MAPS[0])
    scale = shared_scale(estimates_of([cells]))
    for axes, model in zip(panels[2], models, strict=True):
        heat_map(axes, cells, model, scale)
        axes.set_xlabel(POSITION_MAPS[0].xlabel)
    panels[2][0].set_ylabel("whole layer")
    head_columns(panels[0], models, forms)
    entries = [
        *variant_entries([f"prompt {prompt}" for prompt in QUESTIONS]),
        *reference_entry(metric),
        interval_entry(positions),
        complement_entry(),
    ]
    finish_maps(figure, [Scaled([*panels[2]], scale, [cells])], metric, len(models), entries)
    return figure


def table(experiment: str, material: Material, setups: Sequence[str], metric: str) -> pd.DataFrame:
    """The bars of an experiment, from the one of the figure's setups that has it.

    Raises:
        UserError: none has.
    """
    summaries = material.summaries
    has = set(summaries.loc[summaries["experiment"] == experiment, "setup"])
    for setup in setups:
        if setup in has:
            return bars_of(
                summaries, material.study["seeds"], setup=setup, experiment=experiment, metric=metric
            )
    raise UserError(f"no summary of {', '.join(setups)} has experiment {experiment}")


def _panel(
    axes,
    found: pd.DataFrame,
    model: str,
    prompts: Sequence[str],
    schemes: Sequence[str],
    metric: str,
    material: Material,
    suffix: str = "",
) -> None:
    """Bars of one experiment, a variant a prompt; `suffix`: what the schemes' names end with in the summaries."""
    names = without_references(schemes, metric)
    panels = [
        panel_of(found, [name + suffix for name in names], model=model, prompt=prompt).set_axis(names)
        for prompt in prompts
    ]
    bars(axes, panels, names, material.section["colours"], hues=HYBRID_HUES)
