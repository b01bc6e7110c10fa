"""Pages on what is grafted from: donors between PRE and SFT and beyond, static masks, and models whose attention is cut."""

from collections.abc import Sequence
from functools import partial

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from stages.plotting.bars import variants_figure
from stages.plotting.layout import (
    AXIS_LABELS,
    grid,
    head_columns,
    interval_entry,
    legend,
    reference_entry,
    value_axis,
)
from stages.plotting.panels import say_n, undefined
from stages.plotting.results import Material, bars_of, panel_of
from stages.plotting.shown import KNOCK_OUT_NOTE, KNOCKED_OUT, PROMPTS, STATIC, STRENGTHS, WINDOWS
from stages.plotting.style import bar_look

MARKERS = {"FE": "o", "LT": "s", "FE+LT": "^", "all": "D"}
HUES = {"all": "SFT"}
APART = 0.012  # between the lines of one page, so that no interval hides another


def strength_figure(material: Material, setups: Sequence[str], metric: str) -> Figure:
    """The same positions grafted from PRE + a (SFT - PRE): along x the strength a, a line a set of positions."""
    study, colours = material.study, material.section["colours"]
    rows = bars_of(material.summaries, study["seeds"], setup=setups[0], experiment="strength", metric=metric)
    prompts = [prompt for prompt in PROMPTS if prompt in set(rows["prompt"])]
    figure, panels = grid(len(prompts), len(study["models"]), heights=1.7, margins=1.0)
    looks = {name: bar_look(HUES.get(name, name), colours)["edgecolor"] for name in MARKERS}
    for line, prompt in zip(panels, prompts, strict=True):
        for axes, model in zip(line, study["models"], strict=True):
            for order, (positions, marker) in enumerate(MARKERS.items()):
                schemes = [f"{positions} | {strength}" for strength in STRENGTHS]
                panel = panel_of(rows, schemes, model=model, prompt=prompt)
                drawn = panel.mask(panel.apply(undefined, axis=1))
                spots = np.array([float(strength) for strength in STRENGTHS]) + (order - 1.5) * APART
                look = {"color": looks[positions], "zorder": 3}
                axes.plot(spots, drawn["estimate"], linewidth=1, marker=marker, markersize=3.2, **look)
                axes.vlines(spots, drawn["low"], drawn["high"], linewidth=1.2, **look)
            axes.set_xticks([0, *map(float, STRENGTHS)], ["0", *(text.lstrip("0") for text in STRENGTHS)])
            axes.set_xlim(0, 1.32)
            say_n(axes, [panel])
        line[0].set_ylabel(f"{prompt}\n{AXIS_LABELS[metric]}")
    for axes in panels[-1]:
        axes.set_xlabel("strength a of the donor")
    shown = rows[rows["scheme"].str.contains(" | ", regex=False)]
    value_axis(list(panels.flat), shown, metric)
    head_columns(panels[0], study["models"])
    entries = [
        Line2D([], [], color=looks[name], marker=marker, markersize=3.2, label=name)
        for name, marker in MARKERS.items()
    ]
    note = Line2D([], [], linestyle="none", label="donor: PRE + a (SFT - PRE)")
    legend(figure, len(study["models"]), [*entries, *reference_entry(metric), interval_entry(shown), note])
    return figure


static_figure = partial(
    variants_figure, experiment="static", order=("FE", "LT", "FE+LT"), variants=STATIC, hues={}
)
knock_out_figure = partial(
    variants_figure,
    experiment="knock_out",
    order=WINDOWS,
    variants=KNOCKED_OUT,
    hues={},  # all grey: the colours say what is grafted, here the fills do
    note=KNOCK_OUT_NOTE,
)
