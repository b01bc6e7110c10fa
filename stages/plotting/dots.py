"""Pages of dots with intervals: held-out paraphrases, patching layer by layer, all families on one axis, every metric."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from stages.plotting.layout import (
    AXIS_LABELS,
    big_models,
    complement_entry,
    grid,
    head_columns,
    interval_entry,
    legend,
    published_entry,
    reference_entry,
    value_axis,
    without_references,
)
from stages.plotting.needs import QUESTIONS
from stages.plotting.panels import bars, dot, dots, say_n, undefined
from stages.plotting.results import Material, bars_of, panel_of, published_of
from stages.plotting.shown import POSITION_SCHEMES, PROMPTS
from stages.plotting.style import bar_look, figure_width
from weightgraft.style import SMALLEST_TYPE

PARAPHRASE_SCHEMES = ("SFT", "FE", "LT", "FE+LT", "(FE+LT)^C")
SPLITS = {"seen": "seen paraphrases", "held_out": "held-out paraphrases"}
FAMILY_SCHEMES = ("FE", "LT", "FE+LT", "(FE+LT)^C")
PATCHED = ("FE", "LT", "FE+LT")
FEW = 8  # layers whose numbers fit below a panel
METRICS_PAGE = (
    *(f"top{k}_accuracy" for k in (1, 5, 10, 20, 100)),
    "mean_probability",
    "mean_rank",
)
LINE_MARKERS = {"FE": "o", "LT": "s", "FE+LT": "^"}


def paraphrase_figure(material: Material, setups: Sequence[str], metric: str) -> Figure:
    """Paraphrases that the finetuning texts use, and held-out ones: a column a model, two dots a scheme."""
    study, section = material.study, material.section
    rows = bars_of(material.summaries, study["seeds"], setup=setups[0], experiment="positions", metric=metric)
    schemes = without_references(PARAPHRASE_SCHEMES, metric)
    figure, panels = grid(1, len(study["models"]), heights=1.6, margins=1.1)
    for axes, model in zip(panels[0], study["models"], strict=True):
        tables = [
            panel_of(rows, schemes, model=model, prompt="paraphrases", template_split=split)
            for split in SPLITS
        ]
        dots(axes, tables, schemes, section["colours"])
    panels[0][0].set_ylabel(AXIS_LABELS[metric])
    shown = rows[(rows["prompt"] == "paraphrases") & rows["scheme"].isin(schemes)]
    value_axis(panels[0], shown, metric)
    head_columns(panels[0], study["models"])
    legend(figure, len(study["models"]), [*_open_and_filled([*SPLITS.values()]), interval_entry(shown)])
    return figure


def family_figure(material: Material, setups: Sequence[str], metric: str) -> Figure:
    """All families and all their finetuning seeds on one axis a prompt: FE, LT, FE+LT, (FE+LT)^C."""
    study, colours = material.study, material.section["colours"]
    table = material.summaries[material.summaries["setup"] == setups[0]]
    runs = {
        model: sorted(int(seed) for seed in table.loc[table["model"] == model, "seed"].unique())
        for model in study["models"]
    }
    seeds = sorted({seed for of_model in runs.values() for seed in of_model})
    by_seed = {
        seed: bars_of(table, [seed], setup=setups[0], experiment="positions", metric=metric) for seed in seeds
    }
    # As wide as a page with a column a family.
    columns = min(4, max(2, len(runs)))
    figure, panels = grid(len(QUESTIONS), 1, heights=2.1, margins=0.8)
    figure.set_figwidth(figure_width(columns))
    for axes, prompt in zip(panels[:, 0], QUESTIONS, strict=True):
        start, places = 0.0, []
        for model, of_model in runs.items():
            width = 0.36 * len(of_model)
            for order, seed in enumerate(of_model):
                panel = panel_of(by_seed[seed], FAMILY_SCHEMES, model=model, prompt=prompt)
                for place, scheme in enumerate(FAMILY_SCHEMES):
                    at = start + place * (width + 0.3) + order * 0.36
                    colour = bar_look(scheme, colours)["edgecolor"]
                    dot(axes, at, panel.loc[scheme], colour, seeds.index(seed), size=2.6, caps=0.1)
                    if order == 0:
                        places.append((at + (len(of_model) - 1) * 0.18, scheme))
            end = start + 4 * (width + 0.3)
            axes.annotate(
                f"n = {panel['n'].iloc[0]}",
                ((start + end - 0.66) / 2, 1),
                xycoords=("data", "axes fraction"),
                xytext=(0, 3),
                textcoords="offset points",
                ha="center",
            )
            if prompt == QUESTIONS[0]:
                axes.annotate(
                    model,
                    ((start + end - 0.66) / 2, 1),
                    xycoords=("data", "axes fraction"),
                    xytext=(0, 5 + SMALLEST_TYPE),
                    textcoords="offset points",
                    ha="center",
                    fontsize=SMALLEST_TYPE + 1,
                    fontweight="bold",
                )
            start = end + 0.5
        axes.set_xticks([at for at, _ in places], [name for _, name in places], rotation=90)
        axes.set_xlim(-0.5, start - 0.8)
        axes.set_ylabel(f"{prompt}\n{AXIS_LABELS[metric]}")
    rows = pd.concat(by_seed.values())
    rows = rows[rows["prompt"].isin(QUESTIONS) & rows["scheme"].isin(FAMILY_SCHEMES)]
    value_axis(list(panels[:, 0]), rows, metric)
    entries = _open_and_filled([f"finetuning seed {seed}" for seed in seeds]) if len(seeds) > 1 else []
    legend(figure, columns, [*entries, *reference_entry(metric), interval_entry(rows)])
    return figure


def patched_layers(rows: pd.DataFrame) -> list[int]:
    """The layers behind which a model's states were patched, one at a time."""
    blocks = rows["scheme"].str.extract(r"^patch LT\[(\d+)\]$")[0].dropna().astype(int)
    return sorted(blocks.unique().tolist())


def patching_figure(material: Material, setups: Sequence[str], metric: str) -> Figure:
    """E7: the residual stream after one block, or after every block, patched; beside it what grafting recovers.

    A column a model, a row a prompt; along x the patched block, then all blocks, then the graft of the same
    positions.
    """
    study, colours = material.study, material.section["colours"]
    rows = bars_of(material.summaries, study["seeds"], setup=setups[0], experiment="patching", metric=metric)
    prompts = [prompt for prompt in PROMPTS if prompt in set(rows["prompt"])]
    figure, panels = grid(len(prompts), len(study["models"]), heights=1.7, margins=1.0)
    for line, prompt in zip(panels, prompts, strict=True):
        for axes, model in zip(line, study["models"], strict=True):
            layers = patched_layers(rows[rows["model"] == model])
            steps = [*map(str, layers), "all"]
            wide = max(1.0, len(layers) / 6)  # what stands beside the layers keeps its width on paper
            for order, position in enumerate(PATCHED):
                schemes = [f"patch {position}[{step}]" for step in steps]
                panel = panel_of(rows, [*schemes, position], model=model, prompt=prompt)
                look = {"color": bar_look(position, colours)["edgecolor"], "zorder": 3}
                marker = {"marker": LINE_MARKERS[position], "markersize": 3.2 if len(layers) <= FEW else 1.8}
                shift = (order - 1) * 0.16
                beside = (len(layers) + 0.6 * wide, len(layers) + 2.1 * wide)
                spots = np.array([*layers, *(spot + shift * (wide - 1) for spot in beside)]) + shift
                drawn = panel.mask(panel.apply(undefined, axis=1))
                axes.plot(
                    spots[: len(layers)], drawn["estimate"].iloc[: len(layers)], linewidth=1, **look, **marker
                )
                for spot, estimate in zip(spots[-2:], drawn["estimate"].iloc[-2:], strict=True):
                    axes.plot(spot, estimate, linestyle="none", **look, **marker)
                axes.vlines(spots, drawn["low"], drawn["high"], linewidth=1.2, **look)
            axes.axvspan(len(layers) + 1.4 * wide, len(layers) + 2.9 * wide, color="#F0F0F0", zorder=0)
            told = layers if len(layers) <= FEW else layers[:: math.ceil(len(layers) / 5)]
            axes.set_xticks(
                [*told, len(layers) + 0.6 * wide, len(layers) + 2.1 * wide], [*told, "all", "graft"]
            )
            axes.set_xlim(-0.5, len(layers) + 2.9 * wide)
            say_n(axes, [panel])
        line[0].set_ylabel(f"{prompt}\n{AXIS_LABELS[metric]}")
    for axes in panels[-1]:
        axes.set_xlabel("patched after layer (0 = first)")
    shown = rows[rows["scheme"].str.startswith("patch ") | rows["scheme"].isin(PATCHED)]
    value_axis(list(panels.flat), shown, metric)
    head_columns(panels[0], study["models"])
    entries = [
        Line2D(
            [],
            [],
            color=bar_look(name, colours)["edgecolor"],
            marker=LINE_MARKERS[name],
            markersize=3.2,
            label=name,
        )
        for name in PATCHED
    ]
    legend(figure, len(study["models"]), [*entries, *reference_entry(metric), interval_entry(shown)])
    return figure


def metrics_figure(material: Material, setups: Sequence[str], metric: str | None) -> Figure:
    """E8: the eight schemes under every metric, headline prompt: a row a metric; ranks as dots on a log axis."""
    study, section = material.study, material.section
    models, prompt = study["models"], PROMPTS[0]
    figure, panels = grid(len(METRICS_PAGE), len(models), heights=1.0, margins=1.6)
    diamonds = 0
    for line, name in zip(panels, METRICS_PAGE, strict=True):
        if name == "mean_rank":  # its limits are matplotlib's, from what all of its panels show
            for axes in line[1:]:
                axes.sharey(line[0])
        rows = bars_of(
            material.summaries, study["seeds"], setup=setups[0], experiment="positions", metric=name
        )
        for axes, model in zip(line, models, strict=True):
            panel = panel_of(rows, POSITION_SCHEMES, model=model, prompt=prompt)
            values = published_of(
                material.published["position_grafting"],
                dataset=str(rows["dataset"].iloc[0]),
                model=section["counterparts"].get(model, ""),
                prompt=prompt,
                metric=name,
            )
            diamonds += len(values)
            if name == "mean_rank":
                dots(axes, [panel], POSITION_SCHEMES, section["colours"], values)
            else:
                bars(axes, [panel], POSITION_SCHEMES, section["colours"], published=[values])
        if name == "mean_rank":
            for axes in line:
                axes.set_yscale("log")
                axes.yaxis.set_major_formatter(
                    "{x:,.0f}"
                )  # powers of ten would have exponents too small to read
                axes.yaxis.grid(True)
                axes.minorticks_off()
        else:
            value_axis(line, rows, name)
        line[0].set_ylabel(AXIS_LABELS[name])
    head_columns(panels[0], models, big_models(section["counterparts"]) if diamonds else {})
    entries = [
        *published_entry([str(rows["dataset"].iloc[0])], diamonds),
        interval_entry(rows),
        complement_entry(),
    ]
    legend(figure, len(models), entries)
    return figure


def _open_and_filled(names: Sequence[str]) -> list[Line2D]:
    looks: dict[str, Any] = {"markeredgecolor": "black", "linestyle": "none", "markersize": 3.6}
    return [
        Line2D(
            [], [], marker="os^v"[order], markerfacecolor="white" if order else "black", label=name, **looks
        )
        for order, name in enumerate(names)
    ]
