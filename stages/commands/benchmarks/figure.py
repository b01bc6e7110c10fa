"""The picture of the tables: a row a size and device, a panel an experiment."""

from typing import Any

import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, NullFormatter, NullLocator

from weightgraft.style import SMALLEST_TYPE

from .experiments import HEADLINE
from .table import PER_PAIR, TOKENS

# Okabe-Ito hues, and a marker each: no two procedures are told apart by colour alone.
LOOKS: dict[str, dict[str, Any]] = {
    "token_by_token": {"color": "#D55E00", "marker": "s", "label": "token by token, a copy per token"},
    "masked": {"color": "#E69F00", "marker": "^", "label": "one masked pass per scheme"},
    "unpacked": {"color": "#888888", "marker": "v", "label": "plain, prompts once per scheme"},
    "packed": {"color": "#0072B2", "marker": "o", "label": "packed: all schemes in one pass"},
    "plain": {"color": "#000000", "marker": "D", "label": "plain, over packed's rows"},
}
PARTED = ("single cells", "grid of E3", "heads")
PANELS = {  # experiment: (what is on the x axis, its column)
    "prompt length": ("tokens of a prompt", "prompt_tokens"),
    "position schemes": ("position schemes", "schemes"),
    "schemes at LT": ("schemes at LT", "schemes"),
    "layers": ("layers", "layers"),
}


def draw(table: pd.DataFrame) -> Figure:
    """The figure of some runs. Left: time per (prompt, scheme) of each procedure, float32 filled and bfloat16
    open. Right: how it grows, in float32, where there are sweeps. These axes are logarithmic. Last row: what schemes that part
    between layers cost, as a share of what they cost where rows are the same in all layers."""
    parted = table[(table["dtype"] == "float32") & table["experiment"].isin(PARTED)]
    runs, parted_runs = (
        list(rows[["size", "device"]].drop_duplicates().itertuples(index=False, name=None))
        for rows in (table, parted)
    )
    below = 1.2 * bool(parted_runs)
    figure = Figure(figsize=(7.2, 1.75 * len(runs) + 0.75 + below), layout="constrained")
    ratios = [1.75] * len(runs) + ([below] if parted_runs else [])
    lines = figure.add_gridspec(len(ratios), 1, height_ratios=ratios)
    last_line = lines[-1].subgridspec(1, max(1, len(parted_runs)))
    for place, (size, device) in enumerate(parted_runs):
        axes = figure.add_subplot(last_line[place])
        _parted(axes, parted[(parted["size"] == size) & (parted["device"] == device)], f"{size}, {device}")
    for number, (size, device) in enumerate(runs):
        rows = table[(table["size"] == size) & (table["device"] == device)]
        cells = lines[number].subgridspec(1, 1 + len(PANELS), width_ratios=[1.5] + [1] * len(PANELS))
        axes_row = [figure.add_subplot(cells[place]) for place in range(1 + len(PANELS))]
        _headline(axes_row[0], rows, f"{size}, {device}")
        for axes, (experiment, (label, column)) in zip(axes_row[1:], PANELS.items(), strict=True):
            points = rows[(rows["experiment"] == experiment) & (rows["unit"] == PER_PAIR)]
            if points[column].nunique() < 2:  # nothing to see growing
                axes.set_axis_off()
                continue
            _growth(axes, points, column)
            axes.set_xlabel(label)
        _share_values([axes for axes in axes_row[1:] if axes.axison])
    entries: list[Artist] = [
        Line2D([], [], linestyle="none", markersize=4, **look) for look in LOOKS.values()
    ]
    open_look: dict[str, Any] = {
        "linestyle": "none",
        "marker": "o",
        "markersize": 4,
        "markerfacecolor": "white",
        "color": "#0072B2",
    }
    if "bfloat16" in set(table["dtype"]):
        entries.append(Line2D([], [], **open_look, label="open: bfloat16"))
    entries.append(Patch(visible=False, label="numbers: median ratio within a round"))
    entries.append(Patch(visible=False, label="n: rounds; lines and bands: quartiles"))
    figure.legend(handles=entries, loc="outside lower center", ncols=3)
    return figure


def _headline(axes: Axes, rows: pd.DataFrame, title: str) -> None:
    rows = rows[rows["experiment"] == HEADLINE]
    times = rows[rows["unit"] == PER_PAIR]
    for y, (name, look) in enumerate(LOOKS.items()):
        for dtype, face in (("float32", look["color"]), ("bfloat16", "white")):
            for _, row in times[(times["quantity"] == name) & (times["dtype"] == dtype)].iterrows():
                at = y + (0.22 if dtype == "bfloat16" else -0.1)
                style = {"color": look["color"], "markerfacecolor": face, "markersize": 4.2}
                axes.hlines(at, row["low"], row["high"], color=look["color"], linewidth=1)
                axes.plot(row["value"], at, marker=look["marker"], linestyle="none", **style)
    for y, name in enumerate(LOOKS):
        _say_ratio(axes, rows[rows["dtype"] == "float32"], y, name)
    axes.set_xscale("log")
    axes.set_yticks(range(len(LOOKS)), [name.replace("_", " ") for name in LOOKS])
    axes.set_ylim(len(LOOKS) - 0.5, -0.6)
    axes.margins(x=0.12)
    axes.xaxis.grid(True)
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(_plain_number))
    axes.set_xlabel("ms per prompt and scheme")
    shown = rows[rows["dtype"] == "float32"] if "float32" in set(rows["dtype"]) else rows
    n = dict(zip(shown["quantity"], shown["n"], strict=True))
    axes.set_title(title, loc="left", fontsize=SMALLEST_TYPE + 1, fontweight="bold")
    axes.set_title(f"n = {min(n.values())} to {n['packed / plain']}", loc="right")


def _say_ratio(axes: Axes, rows: pd.DataFrame, y: int, name: str) -> None:
    """Write a procedure's time as a multiple of packed's beside its marker, and packed's as one of plain's."""
    ratio = rows.loc[
        rows["quantity"] == (f"{name} / packed" if name != "packed" else "packed / plain"), "value"
    ]
    if ratio.empty:
        return
    time = rows.loc[(rows["quantity"] == name) & (rows["unit"] == PER_PAIR), "value"].iloc[0]
    left = name == "token_by_token"
    text = f"{ratio.iloc[0]:.2f} x plain" if name == "packed" else f"{ratio.iloc[0]:.3g} x packed"
    axes.annotate(
        text,
        (time, y - 0.1),
        xytext=(-5 if left else 5, 0),
        textcoords="offset points",
        ha="right" if left else "left",
        va="center",
    )


def _parted(axes: Axes, rows: pd.DataFrame, title: str) -> None:
    """Time and tokens computed, packed as a share of whole rows."""
    look = {"color": LOOKS["packed"]["color"], "linestyle": "none", "markersize": 4.2}
    for y, name in enumerate(PARTED):
        own = rows[rows["experiment"] == name]
        tokens = own[own["unit"] == TOKENS].set_index("quantity")["value"]
        share = tokens["packed"] / tokens["whole_rows"]
        (ratio,) = own[own["quantity"] == "packed / whole_rows"].to_dict("records")
        axes.hlines(y, ratio["low"], ratio["high"], color=look["color"], linewidth=1)
        axes.plot(ratio["value"], y, marker="o", label="time" if y == 0 else None, **look)
        axes.plot(
            share, y, marker="|", label="tokens computed" if y == 0 else None, **look | {"markersize": 9}
        )
        axes.text(1.06, y, f"{ratio['value']:.2f} of the time,\n{share:.2f} of the tokens", va="center")
    axes.axvline(1, color="black", linewidth=0.7)
    axes.set_yticks(range(len(PARTED)), PARTED)
    axes.set_ylim(len(PARTED) - 0.5, -0.6)
    axes.set_xlim(0, 1.9)
    axes.set_xticks([0, 0.5, 1])
    axes.set_xlabel("packed / rows that are the same in all layers")
    axes.set_title(title, loc="left", fontsize=SMALLEST_TYPE + 1, fontweight="bold")
    axes.set_title(f"n = {rows.loc[rows['quantity'] == 'packed / whole_rows', 'n'].min()}", loc="right")


def _growth(axes: Axes, points: pd.DataFrame, column: str) -> None:
    for name, look in LOOKS.items():
        line = points[points["quantity"] == name].sort_values(column)
        if len(line):
            style = {"color": look["color"], "marker": look["marker"], "markersize": 3.2, "linewidth": 0.9}
            axes.fill_between(
                line[column], line["low"], line["high"], color=look["color"], alpha=0.2, linewidth=0
            )
            axes.plot(line[column], line["value"], **style)
    axes.set_xscale("log")
    axes.set_yscale("log")
    ticks = sorted(points[column].unique())
    axes.set_xticks(ticks, [str(tick) for tick in ticks])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(_plain_number))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.grid(True)
    axes.set_title(f"n = {points['n'].min()}", loc="right")


def _share_values(panels: list[Axes]) -> None:
    """The same limits on all, numbers and label on the first only."""
    limits = [axes.get_ylim() for axes in panels]
    for axes in panels:
        axes.set_ylim(min(low for low, _ in limits), max(high for _, high in limits))
        if axes is panels[0]:
            axes.set_ylabel("ms per prompt and scheme")
        else:
            axes.tick_params(axis="y", labelleft=False)


def _plain_number(value: float, _: int) -> str:
    return f"{value:,g}"
