"""Figures of make beyond: a training's points one after the other, mean over runs; and the two tables trained or frozen."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from stages.analysis.over_runs import PATHWAYS, mean_over_runs
from stages.analysis.replication import LEAST_RUNS
from stages.plotting.layout import AXIS_LABELS, grid, head_columns, legend, reference_entry, value_axis
from stages.plotting.needs import QUESTIONS
from stages.plotting.results import KNOWN
from stages.plotting.style import bar_look

METRIC = "recovered_logprob"
# Study -> what is drawn beside SFT's top-5 accuracy, and the axis along which its points lie.
SERIES = {
    "trajectory": ("FE | layers", "LT | layers", "FE+LT | layers"),
    "texts": ("FE", "LT", "FE+LT", "FE | layers"),
}
AXES = {"trajectory": "share of the updates", "texts": "sentence forms a direction"}
KNOWS = "SFT's top-5 accuracy"
MARKERS = {"FE": "o", "LT": "s", "FE+LT": "^", "(FE+LT)^C": "v"}
REACH = (-0.3, 1.3)  # of the value axis: early on, fractions of a small gain reach further


def over_runs(rows: pd.DataFrame) -> pd.DataFrame:
    """One row a point: mean over runs and its t-interval; of a single run its interval over facts.

    A point is there where every run has a bounded interval over facts: elsewhere SFT and PRE are not told apart.
    """
    found = []
    for point, of_point in rows.groupby("point", sort=True):
        if np.isfinite(of_point[["low", "high"]].to_numpy(float)).all():
            alone = len(of_point) == 1
            ends = (
                of_point[["estimate", "low", "high"]].iloc[0]
                if alone
                else mean_over_runs(of_point["estimate"])
            )
            found.append((point, *ends))
    return pd.DataFrame(found, columns=["point", "estimate", "low", "high"])


def facts_asked(table: pd.DataFrame) -> dict[str, str]:
    """The line below a model's name: how many facts it was asked, at least."""
    return {model: f"n = {least}" for model, least in table.groupby("model")["n"].min().items()}


def known_runs(rows: pd.DataFrame) -> pd.DataFrame:
    """Of each point the runs whose SFT knows the facts, if there are enough of them: a share of a gain that is hardly one says
    nothing. rows: of one model and prompt."""
    sft = rows[(rows["scheme"] == "SFT") & (rows["metric"] == "top5_accuracy") & (rows["estimate"] >= KNOWN)]
    enough = sft[sft.groupby("point")["seed"].transform("nunique") >= LEAST_RUNS]
    return rows.merge(enough[["seed", "point"]], on=["seed", "point"])


def look_of(scheme: str, colours: Mapping[str, str]) -> dict[str, Any]:
    """Its pathway's colour and marker; hollow and dotted where it is by layers only."""
    place = scheme.removesuffix(" | layers")
    colour = bar_look(place, dict(colours))["edgecolor"]
    filled = "white" if place != scheme else colour
    return {
        **{"color": colour, "marker": MARKERS[place], "markerfacecolor": filled, "markersize": 3.5},
        "linestyle": ":" if place != scheme else "-",
    }


def _line(axes: Axes, rows: pd.DataFrame, shift: float, look: dict[str, Any], study: str) -> None:
    shown = over_runs(rows)
    at = shown["point"].to_numpy(float)
    at = at * (1 + shift) if study == "texts" else at + shift * 0.2
    ends = [shown["estimate"] - shown["low"], shown["high"] - shown["estimate"]]
    axes.errorbar(at, shown["estimate"], ends, linewidth=1.0, elinewidth=0.8, zorder=3, **look)


def points_figure(study: str, table: pd.DataFrame, colours: Mapping[str, str]) -> Figure:
    """A column a model, a row a prompt; SFT's top-5 accuracy and what the pathways recover at every point.

    study: trajectory or texts. table: rows of over_runs.COLUMNS.
    """
    models, prompts = (
        list(table["model"].unique()),
        [name for name in QUESTIONS if name in set(table["prompt"])],
    )
    figure, panels = grid(len(prompts), len(models), heights=1.9, margins=1.2)
    runs = {model: rows["seed"].nunique() for model, rows in table.groupby("model")}
    knows: dict[str, Any] = {"color": "#333333", "linestyle": "--", "marker": "", "markersize": 0}
    for line, prompt in zip(panels, prompts, strict=True):
        for axes, model in zip(line, models, strict=True):
            rows = table[(table["model"] == model) & (table["prompt"] == prompt)]
            _line(axes, rows[(rows["scheme"] == "SFT")], 0, knows, study)
            rows = known_runs(rows) if study == "texts" else rows
            for order, scheme in enumerate(SERIES[study]):
                chosen = rows[(rows["scheme"] == scheme) & (rows["metric"] == METRIC)]
                _line(axes, chosen, 0.05 * (order - 1), look_of(scheme, colours), study)
            axes.set_ylim(*REACH)
            axes.axhline(0, color="black", linewidth=0.7, zorder=2)
            axes.yaxis.grid(True)
            if study == "texts":
                axes.set_xscale("log", base=2)
                points = sorted(table["point"].unique())
                axes.set_xticks(points, [f"{point:g}" for point in points])
                axes.minorticks_off()
        line[0].set_ylabel(f"{prompt}\n{AXIS_LABELS[METRIC]}")
    for axes in panels[-1]:
        axes.set_xlabel(AXES[study])
    head_columns(panels[0], models, facts_asked(table))
    entries = [Line2D([], [], **knows, label=KNOWS)]
    entries += [Line2D([], [], **look_of(scheme, colours), label=scheme) for scheme in SERIES[study]]
    least, most = min(runs.values()), max(runs.values())
    many = str(least) if least == most else f"{least} to {most}"
    words = f"mean and 95 % interval over {many} runs" if most > 1 else "95 % interval over facts (one run)"
    entries.append(Line2D([], [], color="black", marker="|", linestyle="none", markersize=8, label=words))
    if study == "texts":
        words = (
            f"pathways: where at least {LEAST_RUNS} runs know\nthe facts (SFT's at least {KNOWN}), over these"
        )
        entries.append(Line2D([], [], linestyle="none", label=words))
    legend(figure, len(models), entries)
    return figure


def frozen_figure(table: pd.DataFrame, colours: Mapping[str, str]) -> Figure:
    """A row a prompt, a column a model; each recipe's pathways, whole and by layers only.

    table: rows of over_runs.COLUMNS with `recipe` for `point`.
    """
    models, recipes = list(table["model"].unique()), list(table["recipe"].unique())
    prompts = [name for name in QUESTIONS if name in set(table["prompt"])]
    places = [(recipe, form) for recipe in recipes for form in ("", " | layers")]
    figure, panels = grid(len(prompts), len(models), heights=1.5, margins=1.1)
    for line, prompt in zip(panels, prompts, strict=True):
        for axes, model in zip(line, models, strict=True):
            rows = table[
                (table["model"] == model) & (table["prompt"] == prompt) & (table["metric"] == METRIC)
            ]
            rows = rows.set_index(["recipe", "scheme"])
            for place, (recipe, form) in enumerate(places):
                for order, pathway in enumerate(PATHWAYS):
                    row = rows.loc[(recipe, pathway + form)]
                    look = look_of(pathway + form, colours) | {"linestyle": "none"}
                    at = place + (order - 1.5) * 0.17
                    axes.plot([row["low"], row["high"]], [at, at], color=look["color"], linewidth=1.1)
                    axes.plot(row["estimate"], at, **look)
        line[0].set_yticks(range(len(places)), [f"{recipe}{form}" for recipe, form in places])
        line[0].set_ylabel(prompt)
    value_axis(list(panels.flat), table[table["metric"] == METRIC], METRIC, upright=False)
    for axes in panels.flat:  # every one: the words beside the first are of all in its row
        axes.set_ylim(len(places) - 0.5, -0.5)
    for axes in panels[-1]:
        axes.set_xlabel(AXIS_LABELS[METRIC])
    head_columns(panels[0], models, facts_asked(table))
    entries = [
        Line2D([], [], **(look_of(pathway, colours) | {"linestyle": "none"}), label=pathway)
        for pathway in PATHWAYS
    ]
    interval = Line2D([], [], color="black", marker="_", linestyle="none", label="95 % interval over facts")
    hollow = Line2D(
        [], [], color="black", marker="o", markerfacecolor="white", linestyle="none", markersize=3.5
    )
    hollow.set_label("by layers only")
    legend(figure, len(models), [*entries, hollow, interval, *reference_entry(METRIC)])
    return figure
