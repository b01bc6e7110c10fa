"""The picture: what every single (token, layer) cell recovers, with whole tokens above it and whole layers beside it."""

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

from weightgraft.inspection.document import NOT_FINITE, headline
from weightgraft.inspection.maps import (
    LETTER,
    LINE,
    MARGIN,
    cell_size,
    draw_map,
    draw_scale,
    glyphs,
    levels,
    scale_label,
    scale_of,
    signed,
    token_labels,
    true_minus,
)
from weightgraft.inspection.tokens import visible
from weightgraft.style import RC, SFT_LINE, SMALLEST_TYPE

BAR = "#5B8DB8"  # for what lies above 0; the dark end of the diverging map's other side for what lies below
BELOW = "#A34700"
MOST_PIXELS = 2**16 - 1  # a side; matplotlib draws no more


def draw_inspection(found: Mapping[str, Any]) -> Figure:
    """One page from the document of document.py. Where SFT does not beat PRE, changes of log-probability are drawn instead
    of fractions, and the warning stands above them."""
    rows = found["map"]["rows"]
    labels = token_labels([token["text"] for token in found["tokens"]])
    n_rows, n_tokens = len(rows), len(labels)
    size = cell_size(n_rows, labels)
    brackets = levels(found["positions"])
    n_levels = 1 + max(level for *_, level in brackets)
    map_width = max(3.2, n_tokens * size.width)
    heights = [0.62, LINE * n_levels + 0.04, n_rows * size.height]
    width = map_width + MARGIN
    head = heading(found, letters=int(width / LETTER * 1.18))
    above_all = LINE * len(head) + 0.12
    height = above_all + sum(heights) + (size.longest if size.upright else LINE) + 0.95 + LINE
    figure = Figure(figsize=(width, height))
    room = (0.005, 0, 0.99, 1 - above_all / height)
    figure.set_layout_engine("constrained", rect=room, w_pad=0.02, h_pad=0.02, wspace=0.01, hspace=0.01)
    grid = figure.add_gridspec(3, 2, height_ratios=heights, width_ratios=[map_width, 0.85])
    cells = figure.add_subplot(grid[2, 0])
    above = figure.add_subplot(grid[0, 0], sharex=cells)
    marks = figure.add_subplot(grid[1, 0], sharex=cells)
    beside = figure.add_subplot(grid[2, 1], sharey=cells)

    values, whole_tokens, whole_rows, unit = drawn_values(found)
    scale = scale_of(values, unit)
    numbers = draw_map(cells, values, scale, unit, rows, labels, size)
    frame_cells(cells, [(rows.index(cell["row"]), cell["token"]) for cell in found.get("cells", ())])
    draw_brackets(marks, brackets, n_levels)
    draw_bars(above, whole_tokens, unit, upright=True)
    above.set_ylabel("all layers\nat the token")
    draw_bars(beside, whole_rows, unit, upright=False)
    beside.set_xlabel("the layer at\nall tokens")
    draw_scale(
        [cells, beside], values, scale, scale_label(unit, numbers), aspect=40, fraction=0.05, shrink=0.8
    )
    for number, line in enumerate(head):
        place = 1 - (0.06 + LINE * number) / height
        look: dict[str, Any] = {"fontweight": "bold", "fontsize": SMALLEST_TYPE + 1} if number == 0 else {}
        figure.text(0.012, place, line, va="top", parse_math=False, **look)
    return figure


def heading(found: Mapping[str, Any], letters: int) -> list[str]:
    """Lines of the title: what is shown, whose weights, PRE's and SFT's values, the warning."""
    pre, sft = found["schemes"][:2]
    donor, n_target = found["map"]["donor"], len(found["target_tokens"])
    target = glyphs(visible(found["target"].strip(" ")).replace("\N{MIDDLE DOT}", " "))
    which = "" if n_target == 1 else f" (all {n_target} tokens; rank of the first)"
    values = " and ".join(f"{name} {told(row)}" for name, row in (("PRE", pre), ("SFT", sft)))
    names = f"PRE = {Path(found['recipient']).name}, SFT = {donor} = {Path(found['donors'][donor]).name}."
    last = (
        f"WARNING: {true_minus(found['warning'])}. What is drawn are changes of log-probability."
        if found["warning"]
        else f"{headline(found)}."
    )
    title = f"What {donor} does to" if found["warning"] else f"Where {donor} brings back"
    lines = [f"Log-probability of the target{which}: {values}.", last]
    return [
        f"{title} \N{LEFT DOUBLE QUOTATION MARK}{target}\N{RIGHT DOUBLE QUOTATION MARK}",
        *textwrap.wrap(names, letters),
        *(part for line in lines for part in textwrap.wrap(line, letters, break_on_hyphens=False)),
    ]


def told(row: Mapping[str, Any]) -> str:
    """What a scheme gives the target."""
    if row["joint_logprob"] is None:
        return NOT_FINITE
    return f"{signed(row['joint_logprob'])} (rank {row['target_rank']:,})"


def pre_of(found: Mapping[str, Any]) -> float:
    return found["schemes"][0]["joint_logprob"]


def drawn_values(
    found: Mapping[str, Any],
) -> tuple[Float[np.ndarray, "row token"], Float[np.ndarray, " token"], Float[np.ndarray, " row"], str]:
    """(cells, whole tokens, whole rows, unit): recovered fractions, or changes against PRE in nats where these mean nothing. NaN
    where a log-probability is not finite."""
    drawn = found["map"]
    parts = (drawn, drawn["whole_token"], drawn["whole_row"])
    if found["warning"]:
        cells, tokens, rows = (np.array(part["joint_logprob"], float) - pre_of(found) for part in parts)
        return cells, tokens, rows, "nats"
    cells, tokens, rows = (np.array(part["recovered"], float) for part in parts)
    return cells, tokens, rows, "fraction"


def frame_cells(axes: Axes, framed: Sequence[tuple[int, int]]) -> None:
    """A frame around cells (row, token): those that a scheme grafts, where the explorer asks for the picture."""
    for y, x in framed:
        axes.add_patch(
            Rectangle((x - 0.43, y - 0.43), 0.86, 0.86, fill=False, edgecolor="#1C1F23", linewidth=0.9)
        )


def draw_bars(axes: Axes, values: Float[np.ndarray, " place"], unit: str, upright: bool) -> None:
    """One bar a token, or a row. A line at PRE, which is 0; for fractions a dashed one at SFT, which is 1."""
    colours = [BAR if value >= 0 else BELOW for value in values]
    (axes.bar if upright else axes.barh)(np.arange(len(values)), values, 0.72, color=colours)
    fractions = unit == "fraction"
    low, high = np.nanmin(values, initial=0.0), np.nanmax(values, initial=1.0 if fractions else 0.1)
    room = 0.06 * (high - low)
    (axes.set_ylim if upright else axes.set_xlim)(low - room * (low < 0), high + room)
    line = axes.axhline if upright else axes.axvline
    line(0, color="black", linewidth=0.7)
    if fractions:
        line(1, **SFT_LINE)
        # Far beyond SFT the two names would meet.
        ends = {0: "PRE", 1: "SFT"} if high - low < (4 if upright else 1.6) else {0: "PRE"}
        (axes.set_yticks if upright else axes.set_xticks)(list(ends), list(ends.values()))
    else:
        (axes.yaxis if upright else axes.xaxis).set_major_locator(MaxNLocator(3))
    axes.tick_params(axis="x" if upright else "y", length=0, labelbottom=not upright, labelleft=upright)
    axes.spines["bottom" if upright else "left"].set_visible(False)


def draw_brackets(axes: Axes, brackets: Sequence[tuple[str, int, int, int]], n_levels: int) -> None:
    """A line over the tokens of every position set, with its name on it."""
    axes.set_ylim(-0.15, n_levels)
    for name, first, last, level in brackets:
        axes.plot(
            [first - 0.42, last + 0.42], [level, level], color="black", linewidth=1.2, solid_capstyle="butt"
        )
        axes.text(
            (first + last) / 2,
            level + 0.12,
            name,
            ha="center",
            va="bottom",
            fontweight="bold",
            parse_math=False,
        )
    axes.axis("off")


def save_picture(found: Mapping[str, Any], path: Path) -> None:
    """Draw and write one file; its ending says which kind."""
    with matplotlib.rc_context(RC):
        figure = draw_inspection(found)
        no_date = {
            ".png": {"Software": None},
            ".svg": {"Date": None, "Creator": None},
            ".pdf": {"CreationDate": None},
        }
        dpi = min(RC["savefig.dpi"], MOST_PIXELS / max(figure.get_size_inches()))
        figure.savefig(path, dpi=dpi, metadata=no_date[path.suffix.lower()])
