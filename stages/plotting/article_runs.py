"""Figure of make beyond's articles: each pathway in the model that read articles, and in the one that read short texts."""

from collections.abc import Mapping
from typing import Any

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from stages.analysis.over_runs import PATHWAYS
from stages.analysis.replication import LEAST_RUNS
from stages.plotting.layout import AXIS_LABELS, grid, head_columns, legend, reference_entry
from stages.plotting.needs import QUESTIONS
from stages.plotting.results import KNOWN
from stages.plotting.runs import KNOWS, METRIC, REACH, facts_asked, known_runs, look_of, over_runs

TWIN = "short"
SHIFT = 0.18  # of the two models of a row: articles above, the twin below
SFT_LOOK: dict[str, Any] = {"color": "#333333", "marker": "D", "markersize": 3.5, "linestyle": "none"}


def look(scheme: str, point: str, colours: Mapping[str, str]) -> dict[str, Any]:
    """The pathway's colour and marker, SFT's in black; hollow for the twin."""
    own = SFT_LOOK if scheme == "SFT" else look_of(scheme, colours) | {"linestyle": "none"}
    return {**own, "markerfacecolor": "white" if point == TWIN else own["color"]}


def articles_figure(table: pd.DataFrame, colours: Mapping[str, str]) -> Figure:
    """A row a prompt, a column a model; a line a pathway: mean over runs with its interval, and each run as a dot. Pathways are
    drawn where enough runs know the facts.

    table: rows of over_runs.COLUMNS, points `articles` and `short`.
    """
    models = list(table["model"].unique())
    prompts = [name for name in QUESTIONS if name in set(table["prompt"])]
    names = ["SFT", *PATHWAYS]
    figure, panels = grid(len(prompts), len(models), heights=1.6, margins=1.5)
    for line, prompt in zip(panels, prompts, strict=True):
        for axes, model in zip(line, models, strict=True):
            of_model = table[(table["model"] == model) & (table["prompt"] == prompt)]
            knowing = known_runs(of_model)
            for place, scheme in enumerate(names):
                asked, metric = (of_model, "top5_accuracy") if scheme == "SFT" else (knowing, METRIC)
                rows = asked[(asked["scheme"] == scheme) & (asked["metric"] == metric)]
                for row in over_runs(rows).itertuples():
                    style = look(scheme, row.point, colours)
                    at = place + (SHIFT if row.point == TWIN else -SHIFT)
                    axes.plot([row.low, row.high], [at, at], color=style["color"], linewidth=1.1)
                    runs = rows[rows["point"] == row.point]["estimate"]
                    axes.plot(runs, [at] * len(runs), ".", color=style["color"], markersize=2.2, zorder=2)
                    axes.plot(row.estimate, at, zorder=3, **style)
            axes.set_xlim(*REACH)
            axes.axvline(0, color="black", linewidth=0.7, zorder=0)
            axes.axvline(1, color="black", linewidth=0.7, linestyle="--", zorder=0)
            axes.xaxis.grid(True)
            axes.set_yticks(range(len(names)), ["SFT, top-5", *PATHWAYS])
            axes.set_ylim(len(names) - 0.5, -0.5)
        line[0].set_ylabel(prompt)
    for axes in panels[-1]:
        axes.set_xlabel(f"{AXIS_LABELS[METRIC]}")
    head_columns(panels[0], models, facts_asked(table))
    runs_each = table.groupby("model")["seed"].nunique()
    many = " to ".join(dict.fromkeys(str(number) for number in (runs_each.min(), runs_each.max())))
    interval = (
        f"mean and 95 % interval over {many} runs; small dots: the runs"
        if runs_each.max() > 1
        else "95 % interval over facts"
    )
    entries = [
        Line2D(
            [],
            [],
            **look("FE", "articles", {**colours, "FE": "#333333"}),
            label="articles without a template",
        ),
        Line2D(
            [],
            [],
            **look("FE", TWIN, {**colours, "FE": "#333333"}),
            label="short texts: as many tokens and updates",
        ),
        Line2D([], [], **SFT_LOOK, label=KNOWS),
        Line2D([], [], color="black", marker="_", linestyle="none", label=interval),
        Line2D(
            [],
            [],
            linestyle="none",
            label=f"pathways: where at least {LEAST_RUNS} runs know\nthe facts (SFT's at least {KNOWN}), over these",
        ),
    ]
    legend(figure, len(models), [*entries, *reference_entry(METRIC)])
    return figure
