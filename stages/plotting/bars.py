"""Pages of bars: a row a prompt, a column a model, in each panel the schemes of one experiment."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from stages.plotting.guess import guess_entry, guess_line, guesses
from stages.plotting.layout import (
    AXIS_LABELS,
    big_models,
    complement_entry,
    grid,
    head_columns,
    in_order,
    interval_entry,
    legend,
    published_entry,
    reference_entry,
    value_axis,
    variant_entries,
    without_references,
)
from stages.plotting.panels import bars
from stages.plotting.results import NO_VALUES, Material, bars_of, panel_of, published_of
from stages.plotting.shown import (
    COMPONENT_NOTE,
    COMPONENT_PROMPTS,
    COMPONENT_SCHEMES,
    HYBRID_COMPONENTS,
    HYBRID_HUES,
    HYBRID_NOTE,
    HYBRID_SCHEMES,
    LAYERS_ONLY_SCHEMES,
    POSITION_NOTE,
    POSITION_SCHEMES,
    PROMPTS,
    RANGES,
    RECIPES,
    REFERENCES,
    RELATIONS,
    TITLE_GROUPS,
    TITLE_NOTE,
    UNEMBEDDING_SCHEMES,
    UNEMBEDDINGS,
    WITH_TABLES,
)
from stages.plotting.style import OTHER

# (model, prompt) -> the panels of one place, a variant each, and their published values
Finder = Callable[[str, str], tuple[list[pd.DataFrame], list[pd.Series]]]


def position_figure(material: Material, setups: Sequence[str], metric: str) -> Figure:
    """E1 (paper, Figure 2): a bar a scheme with its interval.

    A diamond marks the published value of the model's counterpart where the paper has one. Accuracies run
    from 0 to 1. For a recovered fraction PRE and SFT are lines at 0 and 1 and have no bars: they are so by
    definition.
    """
    return _setup_bars(material, setups, metric, PROMPTS, "positions")


def setups_figure(material: Material, setups: Sequence[str], metric: str) -> Figure:
    """E1 of several setups beside each other (datasets, recipes): for each scheme one bar a setup; diamonds to the first."""
    return _setup_bars(material, setups, metric, PROMPTS[:3], "positions")


def _setup_bars(
    material: Material, setups: Sequence[str], metric: str, shown: Sequence[str] | None, experiment: str
) -> Figure:
    """`shown`: the prompts that may be drawn, in their order; None: all that there are."""
    seeds = material.study["seeds"]
    tables = [
        bars_of(material.summaries, seeds, setup=setup, experiment=experiment, metric=metric)
        for setup in setups
    ]
    rows = pd.concat(tables)
    schemes = in_order(rows, POSITION_SCHEMES, metric)

    def find(model: str, prompt: str) -> tuple[list[pd.DataFrame], list[pd.Series]]:
        panels = [panel_of(table, schemes, model=model, prompt=prompt) for table in tables]
        dataset = str(tables[0]["dataset"].iloc[0])
        values = _published(material, "position_grafting", dataset, model, prompt, metric)
        return panels, [values, *[NO_VALUES] * (len(panels) - 1)]

    there = [*rows["prompt"].unique()]
    prompts = there if shown is None else [prompt for prompt in shown if prompt in there]
    same = rows["dataset"].nunique() == 1  # then it is the recipes that are compared
    names = [RECIPES.get(setup, setup) if same else setup for setup in setups] if len(setups) > 1 else []
    return page(
        material,
        rows,
        find,
        prompts,
        schemes,
        metric,
        variants=names,
        note="" if names else POSITION_NOTE,
        heights=1.32,
        guess=guesses(material.summaries, seeds, setups, experiment, metric),
    )


# E1 of facts of one's own: a row a prompt of their file, in its order.
own_figure = partial(_setup_bars, shown=None, experiment="own_positions")


def variants_figure(
    material: Material,
    setups: Sequence[str],
    metric: str,
    *,
    experiment: str,
    order: Sequence[str],
    variants: Mapping[str, str],
    hues: Mapping[str, str],
    prompts: Sequence[str] = PROMPTS,
    published: str = "",
    note: str = "",
    swatch: str = "",
    upright: bool = True,
    heights: float = 1.45,
) -> Figure:
    """One experiment whose schemes come in variants, each by its notation: E3, E4, E5.

    `order`: the schemes; `variants`: name -> notation of a scheme in that variant; `published`: the file of
    values of the first variant; `note`: words in the legend; `swatch`: whose colour its samples of the variants
    have. PRE and SFT have no variants. `prompts`: those to show, where they were asked.
    """
    rows = bars_of(
        material.summaries, material.study["seeds"], setup=setups[0], experiment=experiment, metric=metric
    )
    measured = set(rows["scheme"])
    notations = [
        {
            scheme: scheme if scheme in REFERENCES else form.format(scheme)
            for scheme in order
            if place == 0 or scheme not in REFERENCES
        }
        for place, form in enumerate(variants.values())
    ]
    notations = [{name: full for name, full in forms.items() if full in measured} for forms in notations]
    schemes = without_references(
        [name for name in order if any(name in forms for forms in notations)], metric
    )

    def find(model: str, prompt: str) -> tuple[list[pd.DataFrame], list[pd.Series]]:
        panels = []
        for forms in notations:
            shown = [scheme for scheme in schemes if scheme in forms]
            panel = panel_of(rows, [forms[scheme] for scheme in shown], model=model, prompt=prompt)
            panels.append(panel.set_axis(shown, axis="index"))
        dataset = {"hybrid_grafting": "fmra_b"}.get(published, str(rows["dataset"].iloc[0]))
        values = _published(material, published, dataset, model, prompt, metric) if published else NO_VALUES
        return panels, [values, *[NO_VALUES] * (len(panels) - 1)]

    there = [prompt for prompt in PROMPTS if prompt in set(rows["prompt"])]
    prompts = [prompt for prompt in prompts if prompt in there] or there
    used = rows[rows["scheme"].isin({full for forms in notations for full in forms.values()})]
    return page(
        material,
        used,
        find,
        prompts,
        schemes,
        metric,
        variants=[name for name, forms in zip(variants, notations, strict=True) if forms],
        hues=hues,
        note=note,
        swatch=swatch,
        heights=heights,
        upright=upright,
    )


component_figure = partial(
    variants_figure,
    experiment="components",
    order=(*REFERENCES, *COMPONENT_SCHEMES),
    variants=RANGES,
    hues={scheme: "LT" for scheme in COMPONENT_SCHEMES[:-2]},
    prompts=COMPONENT_PROMPTS,
    published="component_grafting",
    note=COMPONENT_NOTE,
    swatch="LT",
    upright=False,
    heights=3.3,
)
_hybrid = partial(
    variants_figure,
    experiment="hybrid",
    variants=RELATIONS,
    hues=HYBRID_HUES,
    published="hybrid_grafting",
    note=HYBRID_NOTE,
)
hybrid_figure = partial(_hybrid, order=HYBRID_SCHEMES)
hybrid_component_figure = partial(_hybrid, order=HYBRID_COMPONENTS)
unembedding_figure = partial(
    variants_figure, experiment="unembedding", order=UNEMBEDDING_SCHEMES, variants=UNEMBEDDINGS, hues={}
)
layers_only_figure = partial(
    variants_figure,
    experiment="layers_only",
    order=LAYERS_ONLY_SCHEMES,
    variants=WITH_TABLES,
    hues={"all": "SFT", "EMBED@FE": "FE", "UNEMBED@LT": "LT"},
)


def title_figure(material: Material, setups: Sequence[str], metric: str) -> Figure:
    """E2: the movie title and the relation words as positions.

    Bars lie, since fifteen names do not fit under a panel. Three groups: reference, movie title, relation
    words. The paper publishes no values for these schemes.
    """
    rows = bars_of(
        material.summaries, material.study["seeds"], setup=setups[0], experiment="title", metric=metric
    )
    known = [scheme for group in TITLE_GROUPS.values() for scheme in group]
    schemes = in_order(rows, known, metric)
    groups = {name: [s for s in group if s in schemes] for name, group in TITLE_GROUPS.items()}
    groups["others"] = [scheme for scheme in schemes if scheme not in known]
    lines = [line for name, group in groups.items() if group for line in (name, *group)]

    def find(model: str, prompt: str) -> tuple[list[pd.DataFrame], list[pd.Series]]:
        return [panel_of(rows, schemes, model=model, prompt=prompt)], [NO_VALUES]

    prompts = [prompt for prompt in PROMPTS if prompt in set(rows["prompt"])]
    figure = page(material, rows, find, prompts, lines, metric, note=TITLE_NOTE, heights=2.7, upright=False)
    for axes in figure.axes:
        for tick, line in zip(axes.yaxis.get_major_ticks(), lines, strict=True):
            tick.label1.set_fontstyle("italic" if line in groups else "normal")
    return figure


def page(
    material: Material,
    rows: pd.DataFrame,
    find: Finder,
    prompts: Sequence[str],
    schemes: Sequence[str],
    metric: str,
    *,
    variants: Sequence[str] = (),
    hues: Mapping[str, str] | None = None,
    note: str = "",
    swatch: str = "",
    heights: float,
    upright: bool = True,
    guess: pd.DataFrame | None = None,
) -> Figure:
    """A page of bars, a row a prompt, a column a model; what stands in a panel is what `find` gives. guess: guesses()."""
    section, models = material.section, material.study["models"]
    figure, panels = grid(len(prompts), len(models), heights=heights, margins=1.5 if upright else 1.0)
    diamonds = 0
    for line, prompt in zip(panels, prompts, strict=True):
        for axes, model in zip(line, models, strict=True):
            tables, values = find(model, prompt)
            values = [value[value.index.isin(schemes)] for value in values]
            diamonds += sum(map(len, values))
            bars(axes, tables, schemes, section["colours"], published=values, hues=hues, upright=upright)
            guess_line(axes, guess, model, prompt)
        line[0].set_ylabel(f"{prompt}\n{AXIS_LABELS[metric]}" if upright else prompt)
    if not upright:
        for axes in panels[-1]:
            axes.set_xlabel(AXIS_LABELS[metric])
    shown = rows[rows["prompt"].isin(prompts)]
    drawn = shown[~shown["scheme"].isin(_left_out(metric))]
    value_axis(list(panels.flat), drawn, metric, upright=upright)
    head_columns(panels[0], models, big_models(section["counterparts"]) if diamonds else {})
    complements = [complement_entry()] if any(scheme.endswith("^C") for scheme in schemes) else []
    entries = [
        *variant_entries(variants, section["colours"].get(swatch, OTHER)),
        *published_entry([*rows["dataset"].unique()], diamonds),
        *reference_entry(metric),
        *guess_entry(guess),
        interval_entry(shown, "|" if upright else "_"),
        *complements,
        *([Patch(visible=False, label=note)] if note else []),
    ]
    legend(figure, len(models), entries)
    return figure


def _left_out(metric: str) -> list[str]:
    return [scheme for scheme in REFERENCES if not without_references([scheme], metric)]


def _published(
    material: Material, file: str, dataset: str, model: str, prompt: str, metric: str
) -> pd.Series:
    big = material.section["counterparts"].get(model, "")
    return published_of(material.published[file], dataset=dataset, model=big, prompt=prompt, metric=metric)
