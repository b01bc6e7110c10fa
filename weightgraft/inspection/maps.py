"""The map by itself: a cell a layer and token, drawn into any axes. The command's picture has it, and plot_map in a notebook."""

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import matplotlib
import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.font_manager import findfont
from matplotlib.ft2font import FT2Font
from matplotlib.transforms import ScaledTranslation
from transformers import PreTrainedTokenizerBase

from weightgraft.inspection.document import warning
from weightgraft.inspection.measure import CellMap
from weightgraft.inspection.tokens import token_text, visible
from weightgraft.style import DIVERGING, RC, SMALLEST_TYPE, percent, shared_scale

LETTER = 0.062  # inches: a letter of the smallest type, and a little
LINE = 0.135  # inches: a line of it
LONGEST_LABEL = 18  # letters of a token
MARGIN = 1.9  # inches: beside the map, left and right
PAGE = 7.0  # inches: a page's text width; only prompts of many tokens are wider


class CellSize(NamedTuple):
    """Of a cell of the map, in inches. longest: token's label. upright: whether the labels stand on end."""

    width: float
    height: float
    longest: float
    upright: bool


def plot_map(
    found: CellMap,
    tokenizer: PreTrainedTokenizerBase,
    axes: Axes | None = None,
    *,
    limit: float | None = None,
) -> Axes:
    """Draw what every single cell recovers of the target's log-probability: tokens to the right, layers upwards, position sets
    above.

    Cells are (cell - PRE) / (SFT - PRE), in percent where they are large enough for a number. Where SFT is less than 0.1 nats
    above PRE these would mean nothing: changes against PRE are drawn, in nats. A cross: not finite.

    found: of weightgraft.score_map. tokenizer: the recipient's, for the tokens' texts. axes: where to draw, a bar of colours below
    them; None: a new figure as large as the map needs. limit: where the colours end, as a fraction or in nats, for maps that are
    to be compared; None: at the largest cell. Returns the axes, for a title and more. Raises ValueError for a limit of 0 or less.
    """
    labels = token_labels([token_text(tokenizer, token) for token in found.prompt.tokens])
    size, brackets = cell_size(len(found.rows), labels), levels(found.prompt.positions)
    values, unit = (
        (found.recovered, "fraction")
        if warning(found.pre, found.sft) is None
        else (found.cells - found.pre, "nats")
    )
    drawn = values.double().numpy()
    if limit is not None and limit <= 0:
        raise ValueError(f"limit {limit}: colours end above 0; leave it out for the largest cell")
    scale = scale_of(drawn, unit) if limit is None else Normalize(-limit, limit)
    if axes is None:
        # Not within rc_context: the first figure of a notebook sets how figures are shown, which must stay. And only here: whoever
        # brings axes may do without pyplot.
        import matplotlib.pyplot as plt

        width, height = max(3.2, len(labels) * size.width) + 0.9, len(found.rows) * size.height
        below = LINE * 8 + (size.longest if size.upright else LINE)
        _, axes = plt.subplots(figsize=(width, height + below), layout="constrained")
    else:
        box = axes.get_window_extent().transformed(axes.figure.dpi_scale_trans.inverted())
        cell = float(box.width) / len(labels)
        size = CellSize(cell, float(box.height) / len(found.rows), size.longest, cell < size.longest + 0.06)
    with matplotlib.rc_context(RC):
        numbers = draw_map(axes, drawn, scale, unit, found.rows, labels, size)
        draw_names(axes, brackets)
        draw_scale([axes], drawn, scale, scale_label(unit, numbers), aspect=40)
    axes.tick_params(labelsize=SMALLEST_TYPE)
    for axis in (axes.xaxis, axes.yaxis):
        axis.label.set_fontsize(SMALLEST_TYPE)
    return axes


def draw_names(axes: Axes, brackets: Sequence[tuple[str, int, int, int]]) -> None:
    """The position sets above a map: a line over the tokens of each, with its name on it. A title goes above them."""
    top = axes.secondary_xaxis("top")
    top.set_xticks(
        [(first + last) / 2 for _, first, last, _ in brackets],
        [name + "\n" * level for name, *_, level in brackets],
        fontweight="bold",
        fontsize=SMALLEST_TYPE,
        parse_math=False,
    )
    top.tick_params(length=0, pad=4)
    for _, first, last, level in brackets:
        up = ScaledTranslation(0, 0.03 + LINE * level, axes.figure.dpi_scale_trans)
        axes.plot(
            [first - 0.42, last + 0.42],
            [1, 1],
            color="black",
            linewidth=1.2,
            solid_capstyle="butt",
            transform=axes.get_xaxis_transform() + up,
            clip_on=False,
        )


def token_labels(texts: Sequence[str]) -> list[str]:
    """Tokens as they stand at a map: spaces as marks, long ones cut."""
    return [glyphs(shortened(visible(text))) for text in texts]


def cell_size(n_rows: int, labels: Sequence[str]) -> CellSize:
    """As large as a page allows."""
    n_tokens, longest = len(labels), max(len(label) for label in labels) * LETTER
    upright = n_tokens * (longest + 0.06) > PAGE - MARGIN
    width = max(0.17, min(0.46, (PAGE - MARGIN) / n_tokens)) if upright else max(longest + 0.06, 0.3)
    return CellSize(width, max(0.125, min(0.21, 6.0 / n_rows)), longest, upright)


def draw_map(
    axes: Axes,
    values: Float[np.ndarray, "row token"],
    scale: Normalize,
    unit: str,
    rows: Sequence[str],
    labels: Sequence[str],
    size: CellSize,
) -> bool:
    """The cells with their rows and tokens. Returns whether cells are large enough for their numbers, and have them."""
    numbers = size.width >= 0.26 and size.height >= 0.15
    draw_cells(axes, values, scale, unit, numbers)
    axes.set_xticks(range(len(labels)), labels, rotation=90 if size.upright else 0, parse_math=False)
    n_rows, step = len(rows), 1 + int(LINE / size.height)
    shown = [i for i in range(n_rows) if i in (0, n_rows - 1) or (i - 1) % step == 0]
    shown = [i for i in shown if i in (0, n_rows - 1) or n_rows - 1 - i >= step]
    axes.set_yticks(shown, [rows[i] for i in shown])
    axes.set_ylabel("layer (0 = first)")
    axes.set_xlabel("token (\N{MIDDLE DOT} is a space)\nreadout: final norm and unembedding")
    return numbers


def draw_scale(
    axes: Sequence[Axes],
    values: Float[np.ndarray, "row token"],
    scale: Normalize,
    label: str,
    **shape: Any,
) -> None:
    """The bar of colours below some axes, with an arrow at its ends where values lie beyond."""
    limit = float(scale.vmax or 1)
    bar = axes[0].figure.colorbar(
        ScalarMappable(scale, DIVERGING),
        ax=axes,
        location="bottom",
        pad=0.02,
        ticks=[share * limit for share in (-1, -0.5, 0, 0.5, 1)],
        extend="both" if np.nanmax(np.abs(values), initial=0) > limit else "neither",
        **shape,
    )
    bar.outline.set_linewidth(0.5)
    bar.set_label(label)


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


def shortened(text: str) -> str:
    return text if len(text) <= LONGEST_LABEL else text[: LONGEST_LABEL - 1] + "\N{HORIZONTAL ELLIPSIS}"


def glyphs(text: str) -> str:
    """The text, what our font has no glyph for as its code."""
    font = FT2Font(findfont("DejaVu Sans"))
    return "".join(letter if font.get_char_index(ord(letter)) else f"U+{ord(letter):04X}" for letter in text)


def signed(value: float, digits: int = 2) -> str:
    """A number with a true minus and without "-0"."""
    text = f"{value:.{digits}f}"
    return true_minus(text.removeprefix("-") if float(text) == 0 else text)


def true_minus(text: str) -> str:
    return re.sub(r"-(?=\d)", "\N{MINUS SIGN}", text)
