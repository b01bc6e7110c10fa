"""What surrounds the panels of a page: the grid of axes, the value axis, models over columns, the legend."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from stages.plotting.style import CASING, HATCH, OTHER, PUBLISHED_MARK, TINTS, figure_width, tinted
from weightgraft.style import SFT_LINE, SMALLEST_TYPE

AXIS_LABELS = {
    **{f"top{k}_accuracy": f"top-{k} accuracy" for k in (1, 5, 10, 20, 50, 100)},
    "mean_probability": "mean probability",
    "mean_rank": "mean rank\n(1 = best)",
    "mean_logit_difference": "logit difference\n(logits)",
    "recovered_top5": "recovered fraction\n(top-5 accuracy)",
    "recovered_logprob": "recovered fraction\n(log-probability)",
    "recovered_logit_difference": "recovered fraction\n(logit difference)",
}
# The authors' early run (data/published/README.md): shown, and said to be that.
PRELIMINARY = ("rmra_shuffled",)
# Letters: width of an entry's sample; of a legend's line, for each column of the page, and at most.
HANDLE, LINE, LONGEST = 6, 33, 175


def grid(
    rows: int,
    columns: int,
    *,
    heights: float | Sequence[float],
    margins: float,
    width: float = 0,
    same_x: bool = True,
    same_y: bool = True,
) -> tuple[Figure, np.ndarray]:
    """An empty page with an array (rows, columns) of axes; heights of rows and of all margins, and the least width, in inches.

    same_x: the panels of a column have the same x axis, with its words below the last; same_y: those of a row. Every panel is
    given its limits and ticks all the same: with matplotlib's sharex each would be set again for each change of another.
    """
    tall = [heights] * rows if isinstance(heights, float) else list(heights)
    # The layout engine measures labels of several lines a little too narrow: leave them a hundredth.
    layout = ConstrainedLayoutEngine(rect=(0.01, 0, 0.985, 1))
    figure = Figure(figsize=(max(figure_width(columns), width), sum(tall) + margins), layout=layout)
    panels = figure.subplots(rows, columns, squeeze=False, height_ratios=tall)
    for axes in panels[:-1].flat if same_x else ():
        axes.tick_params(axis="x", which="both", labelbottom=False)
        axes.xaxis.offsetText.set_visible(False)
    for axes in panels[:, 1:].flat if same_y else ():
        axes.tick_params(axis="y", which="both", labelleft=False)
        axes.yaxis.offsetText.set_visible(False)
    return figure, panels


def is_recovered(metric: str) -> bool:
    return metric.startswith("recovered")


def without_references(schemes: Sequence[str], metric: str) -> list[str]:
    """The schemes to draw: not PRE and SFT for a recovered fraction, 0 and 1 by definition."""
    return [scheme for scheme in schemes if not is_recovered(metric) or scheme not in ("PRE", "SFT")]


def in_order(rows: pd.DataFrame, order: Sequence[str], metric: str) -> list[str]:
    """The schemes to draw: those of the summaries, the known ones in their order, then any others."""
    there = without_references([*rows["scheme"].unique()], metric)
    return [s for s in order if s in there] + [s for s in there if s not in order]


def value_axis(panels: Iterable[Axes], rows: pd.DataFrame, metric: str, *, upright: bool = True) -> None:
    """The same value axis on all panels: 0 to 1, or as far as the intervals of `rows` reach."""
    bounded = metric.endswith("accuracy") or metric == "mean_probability"
    ends = rows[["low", "high"]].to_numpy(float)
    ends = np.array([0.0]) if bounded else ends[np.isfinite(ends)]
    low, high = min([0.0, *ends]), max([1.0, *ends])  # where no interval is finite, 0 to 1
    room = 0.04 * (high - low)  # an interval that ends at 1 is seen to end there
    for axes in panels:
        limits = (low - room if low < 0 else 0, high + room)
        (axes.set_ylim if upright else axes.set_xlim)(limits)
        (axes.yaxis if upright else axes.xaxis).grid(True)
        if bounded:
            (axes.set_yticks if upright else axes.set_xticks)(
                [0, 0.25, 0.5, 0.75, 1], ["0", "", ".5", "", "1"]
            )
            continue
        line = axes.axhline if upright else axes.axvline
        line(0, color="black", linewidth=0.7, zorder=2.5)
        if is_recovered(metric):
            line(1, **SFT_LINE)


LONG = 12  # letters of a name beside which a panel's n has just room


def head_columns(axes: Iterable[Axes], names: Sequence[str], second: Mapping[str, str] | None = None) -> None:
    """A name over each column, with a second line below it where there is one."""
    for panel, name in zip(axes, names, strict=True):
        below = (second or {}).get(name)
        panel.annotate(
            name,
            (0, 1),
            xytext=(0, 3 + (SMALLEST_TYPE + 2 if below else 0)),
            xycoords="axes fraction",
            textcoords="offset points",
            va="bottom",
            fontsize=SMALLEST_TYPE + (len(name) < LONG),
            fontweight="bold",
        )
        if below:
            panel.set_title(below, loc="left", y=1)


def big_models(counterparts: Mapping[str, str]) -> dict[str, str]:
    """The line below a model's name: whose published values the diamonds are."""
    return {model: f"◇ {big}" for model, big in counterparts.items()}


def published_entry(datasets: Sequence[str], diamonds: int) -> list[Line2D]:
    """What the diamonds are: of the first dataset, which is named where there are several. No diamonds, no entry."""
    if not diamonds:
        return []
    kind = "published, preliminary" if datasets[0] in PRELIMINARY else "published"
    kind += f" ({datasets[0]})" if len(datasets) > 1 else ""
    return [Line2D([], [], **PUBLISHED_MARK, label=f"{kind}: the big model named above")]


def reference_entry(metric: str) -> list[Line2D]:
    return [Line2D([], [], **SFT_LINE, label="SFT (PRE is 0)")] if is_recovered(metric) else []


def interval_entry(rows: pd.DataFrame, marker: str = "|") -> Line2D:
    seeds = int(rows["seeds"].max())
    label = f"mean, widest 95 % interval of {seeds} seeds" if seeds > 1 else "95 % interval over facts"
    entry = Line2D([], [], color="black", markeredgewidth=0.9, marker=marker, linestyle="none", markersize=8)
    entry.set_label(label)
    entry.set_path_effects(CASING)
    return entry


def complement_entry() -> Patch:
    return Patch(
        facecolor="#777777",
        edgecolor="#777777",
        hatch=HATCH,
        hatchcolor="white",
        label="X^C: every position but X",
    )


def variant_entries(names: Sequence[str], colour: str = OTHER) -> list[Patch]:
    """A sample of each variant's fill: grey, or in the one colour that all its bars have."""
    return [
        Patch(facecolor=tinted(colour, share), edgecolor=colour, linewidth=0.8, label=name)
        for share, name in zip(TINTS, names, strict=False)
    ]


def legend(figure: Figure, columns: int, entries: Sequence[Any]) -> None:
    """Below everything: in one line on a page of several columns, two if it is long; else one entry a line."""
    length = sum(len(entry.get_label()) + HANDLE for entry in entries)
    per_line = len(entries) if length <= min(LINE * columns, LONGEST) else -(-len(entries) // 2)
    figure.legend(handles=list(entries), loc="outside lower center", ncols=per_line if columns > 2 else 1)
