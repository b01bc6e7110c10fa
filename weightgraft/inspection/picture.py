"""The picture: what every single (token, layer) cell recovers, with whole tokens above it and whole layers beside it."""

import math
import re
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.font_manager import findfont
from matplotlib.ft2font import FT2Font
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

from weightgraft.inspection.document import NOT_FINITE, headline
from weightgraft.inspection.tokens import visible
from weightgraft.style import DIVERGING, RC, SFT_LINE, SMALLEST_TYPE, percent, shared_scale

LETTER = 0.062  # inches: a letter of the smallest type, and a little
LINE = 0.135  # inches: a line of it
LONGEST_LABEL = 18  # letters of a token
MARGIN = 1.9  # inches: beside the map, left and right
PAGE = 7.0  # inches: a page's text width; only prompts of many tokens are wider
BAR = "#5B8DB8"  # for what lies above 0; the dark end of the diverging map's other side for what lies below
BELOW = "#A34700"


def draw_inspection(found: Mapping[str, Any]) -> Figure:
    """One page from the document of document.py. Where SFT does not beat PRE, changes of log-probability are drawn instead
    of fractions, and the warning stands above them."""
    rows = found["map"]["rows"]
    labels = [glyphs(shortened(visible(token["text"]))) for token in found["tokens"]]
    n_rows, n_tokens, longest = len(rows), len(labels), max(len(label) for label in labels) * LETTER
    upright = n_tokens * (longest + 0.06) > PAGE - MARGIN
    cell_width = max(0.17, min(0.46, (PAGE - MARGIN) / n_tokens)) if upright else max(longest + 0.06, 0.3)
    cell_height = max(0.125, min(0.21, 6.0 / n_rows))
    numbers = cell_width >= 0.26 and cell_height >= 0.15
    brackets = levels(found["positions"])
    n_levels = 1 + max(level for *_, level in brackets)
    map_width = max(3.2, n_tokens * cell_width)
    heights = [0.62, LINE * n_levels + 0.04, n_rows * cell_height]
    width = map_width + MARGIN
    head = heading(found, letters=int(width / LETTER * 1.18))
    above_all = LINE * len(head) + 0.12
    height = above_all + sum(heights) + (longest if upright else LINE) + 0.95 + LINE
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
    draw_cells(cells, values, scale, unit, numbers)
    frame_cells(cells, [(rows.index(cell["row"]), cell["token"]) for cell in found.get("cells", ())])
    cells.set_xticks(range(n_tokens), labels, rotation=90 if upright else 0, parse_math=False)
    step = 1 + int(LINE / cell_height)
    shown = [i for i in range(n_rows) if i in (0, n_rows - 1) or (i - 1) % step == 0]
    shown = [i for i in shown if i in (0, n_rows - 1) or n_rows - 1 - i >= step]
    cells.set_yticks(shown, [rows[i] for i in shown])
    cells.set_ylabel("layer (0 = first)")
    cells.set_xlabel("token (\N{MIDDLE DOT} is a space)\nreadout: final norm and unembedding")
    draw_brackets(marks, brackets, n_levels)
    draw_bars(above, whole_tokens, unit, upright=True)
    above.set_ylabel("all layers\nat the token")
    draw_bars(beside, whole_rows, unit, upright=False)
    beside.set_xlabel("the layer at\nall tokens")
    bar = figure.colorbar(
        ScalarMappable(scale, DIVERGING),
        ax=[cells, beside],
        location="bottom",
        aspect=40,
        fraction=0.05,
        shrink=0.8,
        pad=0.02,
        ticks=[share * (scale.vmax or 1) for share in (-1, -0.5, 0, 0.5, 1)],
        extend="both" if np.nanmax(np.abs(values), initial=0) > (scale.vmax or 1) else "neither",
    )
    bar.outline.set_linewidth(0.5)
    bar.set_label(scale_label(unit, numbers))
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


def signed(value: float, digits: int = 2) -> str:
    """A number with a true minus and without "-0"."""
    text = f"{value:.{digits}f}"
    return true_minus(text.removeprefix("-") if float(text) == 0 else text)


def true_minus(text: str) -> str:
    return re.sub(r"-(?=\d)", "\N{MINUS SIGN}", text)


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


def scale_of(values: Float[np.ndarray, "row token"], unit: str) -> Normalize:
    """Symmetric around 0, so that white is PRE."""
    if unit == "fraction":
        return shared_scale(values.ravel())
    limit = max(0.1, math.ceil(float(np.nanmax(np.abs(values), initial=0)) * 10) / 10)
    return Normalize(-limit, limit)


def scale_label(unit: str, numbers: bool) -> str:
    if unit == "nats":
        return "one cell grafted: change of the target's log-probability\nagainst PRE (nats), in bars too"
    inside = "; numbers in %" if numbers else ""
    return f"one cell grafted: recovered fraction of log-probability\n(0 = PRE, 1 = SFT{inside})"


def draw_cells(
    axes: Axes, values: Float[np.ndarray, "row token"], scale: Normalize, unit: str, numbers: bool
) -> None:
    """The map, the first row at the bottom; what belongs to no layer is set apart by a line. What is not finite is a cross."""
    axes.imshow(values, cmap=DIVERGING, norm=scale, aspect="auto", interpolation="nearest", origin="lower")
    limit = float(scale.vmax or 1)
    for (y, x), value in np.ndenumerate(values) if numbers else ():
        if np.isnan(value):
            continue
        text = percent(value) if unit == "fraction" else signed(value, 1)
        dark = abs(value) > 0.76 * limit
        axes.text(x, y, text, ha="center", va="center_baseline", color="white" if dark else "black")
    rows, tokens = np.isnan(values).nonzero()
    axes.plot(tokens, rows, linestyle="none", marker="x", color="#777777", markersize=4)
    for y in (0.5, len(values) - 1.5):
        axes.axhline(y, color="#777777", linewidth=0.6)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(True)
    axes.spines[:].set_color("#777777")


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


def levels(positions: Mapping[str, Sequence[int]]) -> list[tuple[str, int, int, int]]:
    """(position set, first token, last token, level) of every run of neighbours; runs that touch are on other levels."""
    placed: list[tuple[str, int, int, int]] = []
    for name, members in positions.items():
        runs = np.split(np.array(members), np.flatnonzero(np.diff(members) > 1) + 1)
        for first, last in ((int(run[0]), int(run[-1])) for run in runs):
            taken = {level for _, start, end, level in placed if first <= end and start <= last}
            level = next(number for number in range(len(placed) + 1) if number not in taken)
            placed.append((name, first, last, level))
    return placed


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


def shortened(text: str) -> str:
    return text if len(text) <= LONGEST_LABEL else text[: LONGEST_LABEL - 1] + "\N{HORIZONTAL ELLIPSIS}"


def glyphs(text: str) -> str:
    """The text, what our font has no glyph for as its code."""
    font = FT2Font(findfont("DejaVu Sans"))
    return "".join(letter if font.get_char_index(ord(letter)) else f"U+{ord(letter):04X}" for letter in text)


def save_picture(found: Mapping[str, Any], path: Path) -> None:
    """Draw and write one file; its ending says which kind."""
    with matplotlib.rc_context(RC):
        figure = draw_inspection(found)
        no_date = {
            ".png": {"Software": None},
            ".svg": {"Date": None, "Creator": None},
            ".pdf": {"CreationDate": None},
        }
        figure.savefig(path, metadata=no_date[path.suffix])
