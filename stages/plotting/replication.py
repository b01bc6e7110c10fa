"""The figure of make runs: every run's number with its interval over facts, and the mean over runs with its t-interval."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from stages.plotting.layout import grid, head_columns, legend
from weightgraft.style import SFT_LINE

METRIC, PROMPT = "recovered_logprob", "headline"
AT_LT = "@LT[second_half]"
# What is shown -> the claim whose part it is, and what that part's words begin with.
SHOWN = {
    "r(FE+LT)": ("C1", "r(FE+LT) "),
    "r((FE+LT)^C)": ("C2", "r((FE+LT)^C) "),
    "r(FE)": ("C3", "r(FE) above 0"),
    "r(LT)": ("C3", "r(LT) above 0"),
    "r(LT) \N{MINUS SIGN} r(FE)": ("C5", "r(LT) "),
    "at LT: r(O+FFN) \N{MINUS SIGN}\nr(ATTN+O+FFN)": ("C7", f"r(O+FFN{AT_LT})"),
    "at LT: r(FFN) \N{MINUS SIGN} r(O+FFN)": ("C8", f"r(FFN{AT_LT})"),
    "at LT: r(ATTN+O)": ("C9", f"r(ATTN+O{AT_LT})"),
    "task attention at FE adds": ("C11", "r(FE ATTN)"),
}
RUN, MEAN = "#0072B2", "black"  # told apart by size and marker too
HEIGHT = 0.36  # inches a line


def parts_of(table: pd.DataFrame, model: str, claim: str, words: str) -> pd.DataFrame:
    """The rows of one part in a model: one a run, or one over runs."""
    rows = table[(table["model"] == model) & (table["claim"] == claim) & (table["metric"] == METRIC)]
    return rows[(rows["prompt"] == PROMPT) & rows["comparison"].str.startswith(words)]


def runs_figure(single: pd.DataFrame, over: pd.DataFrame) -> Figure:
    """A column a model, a line a number that claims are about.

    single: the verdicts of all runs (verdicts.COLUMNS); over: those over runs (replication.COLUMNS).
    """
    models: Sequence[str] = list(over["model"].unique())
    lows, highs = [0.0], [1.0]
    facts: list[int] = []
    figure, panels = grid(1, len(models), heights=HEIGHT * len(SHOWN), margins=1.2)
    for axes, model in zip(panels[0], models, strict=True):
        for place, (claim, words) in enumerate(SHOWN.values()):
            rows = parts_of(single, model, claim, words).sort_values("seed")
            lows, highs, facts = [*lows, *rows["low"]], [*highs, *rows["high"]], [*facts, *rows["n"]]
            steps = [0.5 * (order / max(len(rows) - 1, 1) - 0.5) + place + 0.12 for order in range(len(rows))]
            for at, row in zip(steps, rows.itertuples(), strict=True):
                axes.plot([row.low, row.high], [at, at], color=RUN, linewidth=0.8)
                axes.plot(row.estimate, at, color=RUN, marker="o", markersize=2.2)
            mean_of = parts_of(over, model, claim, words)
            lows, highs = [*lows, *mean_of["low"]], [*highs, *mean_of["high"]]
            for row in mean_of.itertuples():
                axes.plot([row.low, row.high], [place - 0.28] * 2, color=MEAN, linewidth=1.8)
                axes.plot(row.estimate, place - 0.28, color=MEAN, marker="D", markersize=3.6)
        axes.axvline(0, color="black", linewidth=0.7, zorder=0)
        axes.axvline(1, **SFT_LINE)
        axes.xaxis.grid(True)
        axes.set_xlabel("recovered fraction\n(log-probability)")
        axes.set_ylim(len(SHOWN) - 0.4, -0.6)
    ends = [end for end in (*lows, *highs) if np.isfinite(end)]
    for axes in panels[0]:
        axes.set_xlim(min(ends) - 0.05, max(ends) + 0.05)
    panels[0][0].set_yticks(range(len(SHOWN)), list(SHOWN))
    many = over[over["prompt"] == "all"].groupby("model", sort=False)["runs"].max()
    head_columns(panels[0], [f"{model}\n{many[model]} runs" for model in models])
    run = Line2D([], [], color=RUN, marker="o", markersize=2.2, linewidth=0.8)
    run.set_label(f"one run, 95 % interval over facts (n = {min(facts):.0f} to {max(facts):.0f})")
    mean = Line2D([], [], color=MEAN, marker="D", markersize=3.6, linewidth=1.8)
    mean.set_label("mean over runs, 95 % t-interval")
    legend(figure, len(models), [run, mean])
    return figure
