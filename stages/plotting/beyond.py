"""Pages on what the paper did not ask: what can be left out, what a failed graft says instead, what else finetuning changes.

A model that was not asked has no column.
"""

from collections.abc import Sequence
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from stages.plotting.layout import (
    AXIS_LABELS,
    grid,
    head_columns,
    interval_entry,
    legend,
    reference_entry,
    value_axis,
    variant_entries,
)
from stages.plotting.needs import QUESTIONS
from stages.plotting.panels import bars, say_n
from stages.plotting.results import Material, bars_of, panel_of
from stages.plotting.shown import (
    COLLATERAL_SCHEMES,
    KINDS,
    LEFT_OUT,
    POSITION_SCHEMES,
    REFERENCES,
    WITHIN_LAYERS,
)
from stages.plotting.style import INTERVAL

COLLATERAL_WORDS = {
    "mean_logprob": "known answer:\nlog-probability (nats)",
    "mean_watched_mass": "new co-stars' first\ntokens: probability",
}
PARTS = {"all": "all layers", "second_half": "their second half", "last_quarter": "their last quarter"}


def shown_models(material: Material, rows: pd.DataFrame) -> list[str]:
    """The study's models that have such rows, in its order."""
    return [model for model in material.study["models"] if model in set(rows["model"])]


def necessity_figure(material: Material, setups: Sequence[str], metric: str) -> Figure:
    """X1, headline: SFT with some components left to the recipient at FE or LT; below it FE by layers only, with as much left out.

    Three bars a row: left out in all layers, in the second half, in the last quarter.
    """
    rows = bars_of(
        material.summaries, material.study["seeds"], setup=setups[0], experiment="necessity", metric=metric
    )
    models, colours = shown_models(material, rows), material.section["colours"]
    groups = {"SFT": LEFT_OUT, "FE[1/1]": [f"{name}@FE" for name in WITHIN_LAYERS]}
    heights = [0.75 + 0.21 * len(cells) for cells in groups.values()]
    figure, panels = grid(len(heights), len(models), heights=heights, margins=1.0)
    prompt = QUESTIONS[0]
    for line, (whole, cells) in zip(panels, groups.items(), strict=True):
        for axes, model in zip(line, models, strict=True):
            _left_out(axes, rows, whole, cells, colours, model=model, prompt=prompt)
        line[0].set_ylabel(f"{prompt}\n{'SFT' if whole == 'SFT' else 'FE, layers only,'} except")
    value_axis(
        list(panels.flat),
        rows[~rows["scheme"].isin(REFERENCES) & (rows["prompt"] == prompt)],
        metric,
        upright=False,
    )
    for axes in panels[-1]:
        axes.set_xlabel(AXIS_LABELS[metric])
    head_columns(panels[0], models)
    entries = [
        *variant_entries([f"left out in {words}" for words in PARTS.values()]),
        *reference_entry(metric),
        interval_entry(rows, "_"),
    ]
    legend(figure, len(models), entries)
    return figure


def _left_out(
    axes: Axes, rows: pd.DataFrame, whole: str, cells: Sequence[str], colours: dict[str, str], **where: str
) -> None:
    """One panel: a group of bars for what is left out, one a part of the layers that was asked."""
    there = set(rows["scheme"])
    panels = []
    for part in PARTS:
        names = {cell: f"{whole} except {cell}[{part}]" for cell in cells}
        names = {cell: name for cell, name in names.items() if name in there}
        panels.append(panel_of(rows, [*names.values()], **where).set_axis([*names]))
    hues = {cell: cell.partition("@")[2] for cell in cells}
    bars(axes, panels, cells, colours, hues=hues, upright=False)
    axes.set_yticklabels([cell.replace("all@", "everything@") for cell in cells])


def answer_figure(material: Material, setups: Sequence[str], metric: str | None) -> Figure:
    """X5: what kind of answer is most likely under each position scheme, as shares of the facts, stacked."""
    tables = {
        name: bars_of(
            material.summaries,
            material.study["seeds"],
            setup=setups[0],
            experiment="positions",
            metric=f"answered_{name}",
        )
        for name in KINDS
    }
    first = tables["target"]
    models = shown_models(material, first)
    figure, panels = grid(len(QUESTIONS), len(models), heights=1.75, margins=1.2)
    for line, prompt in zip(panels, QUESTIONS, strict=True):
        for axes, model in zip(line, models, strict=True):
            _stack(
                axes,
                {
                    name: panel_of(rows, POSITION_SCHEMES, model=model, prompt=prompt)
                    for name, rows in tables.items()
                },
            )
        value_axis(line, first, "top1_accuracy")
        line[0].set_ylabel(f"{prompt}\nshare of the facts")
    head_columns(panels[0], models)
    kinds = [Patch(facecolor=colour, label=words) for words, colour in KINDS.values()]
    interval = interval_entry(first)
    interval.set_label("95 % interval of the right answer")
    legend(figure, len(models), [*kinds, interval])
    return figure


def _stack(axes: Axes, panels: dict[str, pd.DataFrame]) -> None:
    """Shares of the kinds of answer on top of one another, a column a scheme; the interval is that of the lowest."""
    under = pd.Series(0.0, index=POSITION_SCHEMES)
    places = range(len(POSITION_SCHEMES))
    for name, panel in panels.items():
        share = panel["estimate"]
        look: dict[str, Any] = {"facecolor": KINDS[name][1], "edgecolor": "white", "linewidth": 0.4}
        axes.bar(places, share, 0.78, bottom=under, **look)
        under = under + share
    target = panels["target"]
    axes.vlines(places, target["low"], target["high"], **INTERVAL)
    axes.set_xticks(places, POSITION_SCHEMES, rotation=90)
    axes.set_xlim(-0.6, len(POSITION_SCHEMES) - 0.4)
    say_n(axes, [target])


def collateral_figure(material: Material, setups: Sequence[str], metric: str | None) -> Figure:
    """X4: known casts of people in no new fact: the known answer's log-probability, and the probability of new co-stars' names."""
    rows = {
        name: bars_of(
            material.summaries, material.study["seeds"], setup=setups[0], experiment="collateral", metric=name
        )
        for name in ("mean_logprob", "mean_watched_mass")
    }
    models = shown_models(material, rows["mean_logprob"])
    figure, panels = grid(len(rows), len(models), heights=1.6, margins=1.4)
    names = [*COLLATERAL_SCHEMES]
    for line, (name, found) in zip(panels, rows.items(), strict=True):
        for axes, model in zip(line, models, strict=True):
            shown = [panel_of(found, names, model=model, prompt=prompt) for prompt in QUESTIONS]
            bars(axes, shown, names, material.section["colours"], hues=COLLATERAL_SCHEMES)
        reach = found[found["scheme"].isin(names)]
        least, most = min(0.0, reach["low"].min()), max(0.0, reach["high"].max())
        for axes in line:
            axes.set_ylim(least * 1.05, most * 1.05)
            axes.yaxis.grid(True)
            axes.axhline(0, color="black", linewidth=0.7, zorder=2.5)
        line[0].set_ylabel(COLLATERAL_WORDS[name])
    head_columns(panels[0], models)
    prompts = variant_entries([f"prompt {prompt}" for prompt in QUESTIONS])
    note = Patch(visible=False, label="| layers: layers only")
    legend(figure, len(models), [*prompts, interval_entry(rows["mean_logprob"]), note])
    return figure
