"""What one panel is made of: bars from zero, dots, intervals, the published marker, n."""

import math
from collections.abc import Hashable, Mapping, Sequence
from typing import Any, TypeAlias

import pandas as pd
from matplotlib.axes import Axes

from stages.plotting.results import NO_VALUES
from stages.plotting.style import INTERVAL, PUBLISHED_MARK, bar_look

GROUP_WIDTH = 0.78  # of the bars of one scheme together; the rest parts it from the next scheme
# Of a bar: interval and published marker stand side by side, so that neither hides the other; on the thin bars of
# variants the marker moves more, so that no interval leaves its bar.
SHIFTS = {False: (0.26, 0.26), True: (0.1, 0.3)}
GREY = "#555555"
Row: TypeAlias = Mapping[str, Any] | pd.Series  # of a panel: estimate, low, high


def bars(
    axes: Axes,
    panels: Sequence[pd.DataFrame],
    schemes: Sequence[str],
    colours: Mapping[str, str],
    *,
    published: Sequence[pd.Series] = (),
    hues: Mapping[str, str] | None = None,
    upright: bool = True,
) -> None:
    """For each scheme a group of bars from zero, one a variant, each with its interval.

    `panels`: one a variant; index scheme, columns estimate, low, high, n; a scheme that a variant lacks leaves
    no gap. `published`: for each variant the values by scheme, drawn as diamonds. `hues`: the colour's name by
    scheme where that is not the scheme itself. Upright from left to right, else lying from top to bottom.
    """
    thin = len(panels) > 1
    rows: list[dict[Hashable, Any]] = [panel.to_dict("index") for panel in panels]
    intervals, undefined_at = [], []
    for place, scheme in enumerate(schemes):
        there = [variant for variant, of_variant in enumerate(rows) if scheme in of_variant]
        width = GROUP_WIDTH / max(len(there), 1)
        for order, variant in enumerate(there):
            at = place + (order - (len(there) - 1) / 2) * width
            row = rows[variant][scheme]
            if undefined(row):
                undefined_at.append(at)
                continue
            look = bar_look((hues or {}).get(scheme, scheme), dict(colours), variant)
            (axes.bar if upright else axes.barh)(at, row["estimate"], width * 0.94, **look)
            value = published[variant].get(scheme) if published else None
            away, aside = (0.0, 0.0) if value is None else (shift * width for shift in SHIFTS[thin])
            side = 1 if upright else -1  # the marker to the right, or above
            intervals.append((at - side * away, row["low"], row["high"]))
            if value is not None:
                mark = PUBLISHED_MARK | ({"markersize": 2.8} if thin else {})
                axes.plot(*((at + side * aside, value) if upright else (value, at + side * aside)), **mark)
    if intervals:
        (axes.vlines if upright else axes.hlines)(*zip(*intervals, strict=True), **INTERVAL)
    for at in undefined_at:
        if upright:
            axes.text(at, 0.02, "undefined", rotation=90, ha="center", va="bottom", color=GREY)
        else:
            axes.text(0.02, at, "undefined", va="center", color=GREY)
    _name_places(axes, schemes, upright)
    say_n(axes, panels)


def dots(
    axes: Axes,
    panels: Sequence[pd.DataFrame],
    schemes: Sequence[str],
    colours: Mapping[str, str],
    published: pd.Series = NO_VALUES,
) -> None:
    """For each scheme one dot a variant, side by side with intervals: the first filled, the second open."""
    for variant, panel in enumerate(panels):
        for place, scheme in enumerate(schemes):
            at = place + (variant - (len(panels) - 1) / 2) * 0.34
            look = bar_look(scheme, dict(colours))
            dot(axes, at, panel.loc[scheme], look["edgecolor"], variant)
            if variant == 0 and scheme in published.index:
                axes.plot(at + 0.28, published[scheme], **PUBLISHED_MARK)
    _name_places(axes, schemes, upright=True)
    axes.tick_params(axis="x", pad=4)  # a dot at 0 hangs over the axis
    say_n(axes, panels)


def dot(
    axes: Axes,
    at: float,
    row: Row,
    colour: str,
    variant: int = 0,
    *,
    size: float = 3.6,
    caps: float = 0.0,
) -> None:
    """One estimate with its interval; the second variant is an open square; caps: half their width, in places."""
    if undefined(row):
        axes.text(at, 0.02, "undefined", rotation=90, ha="center", va="bottom", color=GREY)
        return
    axes.vlines(at, row["low"], row["high"], color=colour, linewidth=1.4, zorder=2)
    if caps:
        axes.hlines([row["low"], row["high"]], at - caps, at + caps, color=colour, linewidth=0.9, zorder=2)
    axes.plot(
        at,
        row["estimate"],
        marker="os^v"[variant],
        markersize=size,
        markerfacecolor="white" if variant else colour,
        markeredgecolor=colour,
        markeredgewidth=1,
        linestyle="none",
        clip_on=False,
        zorder=3,
    )


def undefined(row: Row) -> bool:
    """A recovered fraction without a bounded interval: SFT and PRE are not told apart there."""
    return not all(math.isfinite(row[name]) for name in ("estimate", "low", "high"))


def say_n(axes: Axes, panels: Sequence[pd.DataFrame]) -> None:
    """n over the panel's right end: one number, or one a variant where they differ."""
    sizes = [str(panel["n"].iloc[0]) for panel in panels if len(panel)]
    # y=1 is where it would be: matplotlib need not look whether ticks or words above the panel are in its way.
    axes.set_title("n = " + " | ".join(dict.fromkeys(sizes)), loc="right", y=1)


def _name_places(axes: Axes, schemes: Sequence[str], upright: bool) -> None:
    if upright:
        axes.set_xticks(range(len(schemes)), list(schemes), rotation=90)
        axes.set_xlim(-0.6, len(schemes) - 0.4)
    else:
        axes.set_yticks(range(len(schemes)), list(schemes))
        axes.tick_params(axis="y", length=0)
        axes.set_ylim(len(schemes) - 0.4, -0.6)
