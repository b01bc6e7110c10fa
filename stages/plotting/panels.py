"""What one panel is made of: bars, intervals, dots, the published marker, n."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.patheffects import AbstractPathEffect, withStroke

from stages.plotting.style import bar_look

# A white casing keeps an interval visible on a dark bar.
CASING: list[AbstractPathEffect] = [withStroke(linewidth=1.9, foreground="white")]
INTERVAL: dict[str, Any] = {"color": "black", "linewidth": 0.9, "path_effects": CASING, "zorder": 3}
PUBLISHED: dict[str, Any] = {
    "linestyle": "none",
    "marker": "D",
    "markersize": 3.4,
    "markerfacecolor": "white",
    "markeredgecolor": "black",
    "markeredgewidth": 0.8,
    "clip_on": False,
    "zorder": 4,
}
BAR_WIDTH = 0.74
MARKER_SHIFT = 0.2  # interval and published marker stand side by side, so that neither hides the other


def vertical_bars(axes: Axes, panel: pd.DataFrame, colours: dict[str, str], published: pd.Series) -> None:
    """One bar a scheme from zero, its interval, and a diamond where there is a published value.

    `panel`: index scheme, columns estimate, low, high, n. `published`: value by scheme, may be empty.
    """
    shift = MARKER_SHIFT if len(published) else 0
    for x, (scheme, row) in enumerate(panel.iterrows()):
        if _undefined(row):
            axes.text(x, 0.02, "undefined", rotation=90, ha="center", va="bottom", color="#555555")
            continue
        axes.bar(x, row["estimate"], BAR_WIDTH, **bar_look(str(scheme), colours))
        axes.vlines(x - shift, row["low"], row["high"], **INTERVAL)
        if scheme in published.index:
            axes.plot(x + shift, published[scheme], **PUBLISHED)
    axes.set_xticks(range(len(panel)), list(panel.index), rotation=90)
    axes.set_xlim(-0.6, len(panel) - 0.4)
    _say_n(axes, panel)


def horizontal_bars(
    axes: Axes, panel: pd.DataFrame, colours: dict[str, str], groups: dict[str, list[str]]
) -> None:
    """Bars from zero to the right, one line a scheme, each group under its name (the first group on top)."""
    lines = [line for name, schemes in groups.items() for line in (name, *schemes)]
    for y, scheme in enumerate(lines):
        if scheme in groups:
            continue
        row = panel.loc[scheme]
        if _undefined(row):
            axes.text(0.02, y, "undefined", va="center", color="#555555")
            continue
        axes.barh(y, row["estimate"], BAR_WIDTH, **bar_look(scheme, colours))
        axes.hlines(y, row["low"], row["high"], **INTERVAL)
    axes.set_yticks(range(len(lines)), lines)
    for tick, line in zip(axes.yaxis.get_major_ticks(), lines, strict=True):
        tick.label1.set_fontstyle("italic" if line in groups else "normal")
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(len(lines) - 0.4, -0.5)
    _say_n(axes, panel)


def paired_dots(axes: Axes, panels: dict[str, pd.DataFrame], colours: dict[str, str]) -> None:
    """For each scheme one dot a panel, side by side with intervals: the first filled, the second open."""
    for place, panel in enumerate(panels.values()):
        for x, (scheme, row) in enumerate(panel.iterrows()):
            at = x + (place - 0.5) * 0.34
            if _undefined(row):
                axes.text(at, 0.02, "undefined", rotation=90, ha="center", va="bottom", color="#555555")
                continue
            edge = bar_look(str(scheme), colours)["facecolor"]
            axes.vlines(at, row["low"], row["high"], color=edge, linewidth=1.4, zorder=2)
            face = "white" if place else edge
            axes.plot(
                at,
                row["estimate"],
                marker=("o", "s")[place],
                markersize=3.6,
                markerfacecolor=face,
                markeredgecolor=edge,
                markeredgewidth=1,
                clip_on=False,
                zorder=3,
            )
    first = next(iter(panels.values()))
    axes.set_xticks(range(len(first)), list(first.index), rotation=90)
    axes.set_xlim(-0.6, len(first) - 0.4)
    _say_n(axes, first)


def _undefined(row: pd.Series) -> bool:
    """A recovered fraction without a bounded interval: SFT and PRE are not told apart there."""
    return not np.isfinite(row[["estimate", "low", "high"]].to_numpy(float)).all()


def _say_n(axes: Axes, panel: pd.DataFrame) -> None:
    axes.set_title(f"n = {panel['n'].iloc[0]}", loc="right")
