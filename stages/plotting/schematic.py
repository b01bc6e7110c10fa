"""Figure 1, drawn by code from no data: activation patching against dynamic weight grafting, and what schemes are."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, Patch, Rectangle

from stages.plotting.results import Material
from stages.plotting.shown import POSITION_SCHEMES
from stages.plotting.style import bar_look, tinted
from weightgraft.style import SMALLEST_TYPE

TOKENS = ("Ann", "Lee", "stars", "in", "a", "movie", "alongside")
SETS = {"FE": {0, 1}, "LT": {6}}
LAYERS = 6
PATCHED_LAYER = 3
ALL = set(range(len(TOKENS)))
GRAFTED: dict[str, set[int]] = {
    "PRE": set(),
    "SFT": ALL,
    "FE": SETS["FE"],
    "LT": SETS["LT"],
    "FE+LT": SETS["FE"] | SETS["LT"],
    "(FE+LT)^C": ALL - SETS["FE"] - SETS["LT"],
    "FE^C": ALL - SETS["FE"],
    "LT^C": ALL - SETS["LT"],
}
PARTS = ("q", "k", "v", "o", "gate", "up", "down")
SECOND_HALF = range(LAYERS // 2, LAYERS)
# What a position's column of layers and components runs: (part, layer) -> model
Served = Callable[[str, int], str]
COMPONENT_SCHEMES: dict[str, dict[str, Served]] = {
    "O+FFN@LT[second_half]": {
        "LT": lambda part, layer: "SFT" if part not in "qkv" and layer in SECOND_HALF else "PRE",
    },
    "hybrid: task:ATTN@FE+LT, relation:O+FFN@LT[second_half]": {
        "FE": lambda part, layer: "task" if part in "qkv" else "PRE",
        "LT": lambda part, layer: "task" if part in "qkv" else "relation" if layer in SECOND_HALF else "PRE",
    },
}
WIDTH, HEIGHT = 7.0, 5.0  # inches; every place below is in inches from the lower left corner


def schematic_figure(material: Material, setups: Sequence[str], metric: str | None) -> Figure:
    """Paper, Figure 1: what patching copies, what grafting swaps; position schemes; component schemes."""
    colours = material.section["colours"]
    shades = {
        "PRE": colours["PRE"],
        "SFT": colours["SFT"],
        "task": colours["M"],
        "relation": colours["LT"],
    }
    figure = Figure(figsize=(WIDTH, HEIGHT))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, WIDTH), ylim=(0, HEIGHT))
    axes.set_axis_off()
    _patching(axes, shades, colours)
    _grafting(axes, shades, colours)
    _position_schemes(axes, colours)
    _component_schemes(axes, shades)
    figure.legend(
        handles=[
            Patch(facecolor=shades["PRE"], label="PRE: pretrained"),
            Patch(facecolor=shades["SFT"], label="SFT: finetuned on the facts"),
            Patch(facecolor=shades["task"], label="task model: finetuned on other facts"),
            Patch(facecolor=shades["relation"], label="relation model: on these facts"),
        ],
        loc="lower center",
        ncols=4,
        handlelength=1.0,
    )
    return figure


def _cells(
    axes: Axes,
    x: float,
    y: float,
    size: tuple[float, float],
    colour_of: Callable[[int, int], str],
    **look: Any,
) -> None:
    """A grid of tokens (columns) and layers (rows, the first at the bottom)."""
    for token in range(len(TOKENS)):
        for layer in range(LAYERS):
            place = (x + token * size[0], y + layer * size[1])
            axes.add_patch(
                Rectangle(
                    place,
                    size[0] * 0.86,
                    size[1] * 0.82,
                    facecolor=colour_of(token, layer),
                    linewidth=0,
                    **look,
                )
            )


def _words(axes: Axes, x: float, y: float, step: float) -> None:
    for token, word in enumerate(TOKENS):
        axes.text(x + (token + 0.43) * step, y, word, rotation=90, ha="center", va="top")


def _title(axes: Axes, x: float, y: float, letter: str, title: str, below: str) -> None:
    size = SMALLEST_TYPE + 1
    axes.text(x, y, f"{letter}  {title}", fontweight="bold", fontsize=size, va="top")
    axes.text(x, y - 0.19, below, va="top", linespacing=1.3)


def _patching(axes: Axes, shades: Mapping[str, str], colours: Mapping[str, str]) -> None:
    x, y, size = 0.5, 3.2, (0.165, 0.155)
    _title(
        axes,
        0.1,
        HEIGHT - 0.08,
        "a",
        "Activation patching",
        "Two runs of one prompt. SFT's residual stream after a block overwrites\n"
        "PRE's; it carries along whatever flowed into it before (framed).",
    )
    last = len(TOKENS) - 1
    right = x + 1.75
    _cells(axes, x, y, size, lambda token, layer: shades["SFT"])
    _cells(axes, right, y, size, lambda token, layer: shades["PRE"])
    width, height = len(TOKENS) * size[0], (PATCHED_LAYER + 1) * size[1]
    axes.add_patch(
        Rectangle(
            (x - 0.04, y - 0.05),
            width + 0.04,
            height + 0.06,
            fill=False,
            edgecolor=colours["FE"],
            linewidth=1.3,
        )
    )
    start = (x + last * size[0], y + PATCHED_LAYER * size[1])
    end = (right + last * size[0], y + PATCHED_LAYER * size[1])
    for place in (start, end):
        axes.add_patch(
            Rectangle(
                place,
                size[0] * 0.86,
                size[1] * 0.82,
                facecolor=colours["FE"],
                edgecolor="black",
                linewidth=0.8,
            )
        )
    axes.add_patch(
        FancyArrowPatch(
            (start[0] + size[0] * 0.5, start[1] + size[1] * 0.8),
            (end[0] + size[0] * 0.4, end[1] + size[1] * 0.85),
            connectionstyle="arc3,rad=-0.32",
            arrowstyle="-|>",
            mutation_scale=8,
            linewidth=1,
            color="black",
        )
    )
    for left, name in ((x, "SFT's run"), (right, "PRE's run")):
        axes.text(left, y + LAYERS * size[1] + 0.03, name, va="bottom")
        _words(axes, left, y - 0.08, size[0])
    axes.text(x - 0.1, y + LAYERS * size[1] / 2, "layers", rotation=90, ha="right", va="center")


def _grafting(axes: Axes, shades: Mapping[str, str], colours: Mapping[str, str]) -> None:
    x, y, size = 4.4, 3.2, (0.32, 0.155)
    _title(
        axes,
        3.85,
        HEIGHT - 0.08,
        "b",
        "Dynamic weight grafting",
        "One run. Every token runs the weights chosen for it; no state\n"
        "is overwritten. Here FE+LT: SFT's weights at both, else PRE's.",
    )

    grafted = GRAFTED["FE+LT"]
    _cells(axes, x, y, size, lambda token, layer: shades["SFT"] if token in grafted else shades["PRE"])
    for layer, bend in ((1, 0.0), (4, 0.0)):
        axes.add_patch(
            FancyArrowPatch(
                (x + 1.86 * size[0], y + (layer + 0.41) * size[1]),
                (x + 6 * size[0], y + (layer + 0.41) * size[1]),
                connectionstyle=f"arc3,rad={bend}",
                arrowstyle="-|>",
                mutation_scale=8,
                linewidth=1,
                color="black",
            )
        )
    axes.text(
        x + 3.93 * size[0],
        y + 3.0 * size[1],
        "keys, values",
        ha="center",
        va="center",
        bbox={"facecolor": "white", "edgecolor": "none", "pad": 1},
    )
    top = y + LAYERS * size[1] + 0.03
    axes.text(x + 0.93 * size[0], top, "FE: enrichment", ha="center", va="bottom", color="#7A5200")
    axes.text(x + 6.43 * size[0], top, "LT: recall", ha="center", va="bottom", color=colours["LT"])
    _words(axes, x, y - 0.08, size[0])
    axes.text(x - 0.1, y + LAYERS * size[1] / 2, "layers", rotation=90, ha="right", va="center")


def _position_schemes(axes: Axes, colours: Mapping[str, str]) -> None:
    x, y, size = 0.95, 2.03, (0.32, 0.17)
    _title(axes, 0.1, y + 0.45, "c", "Position schemes", "")
    axes.text(1.55, y + 0.435, "coloured: SFT's weights, all layers", va="top")
    for line, scheme in enumerate(POSITION_SCHEMES):
        bottom = y - line * size[1]
        axes.text(x - 0.08, bottom + size[1] * 0.4, scheme, ha="right", va="center")
        for token in range(len(TOKENS)):
            look = (
                bar_look(scheme, dict(colours))
                if token in GRAFTED[scheme]
                else {"facecolor": tinted("#000000", 0.1)}
            )
            axes.add_patch(
                Rectangle(
                    (x + token * size[0], bottom),
                    size[0] * 0.9,
                    size[1] * 0.8,
                    **{"linewidth": 0, **look, "edgecolor": "none"},
                )
            )
    _words(axes, x, y - (len(POSITION_SCHEMES) - 1) * size[1] - 0.04, size[0])


def _component_schemes(axes: Axes, shades: Mapping[str, str]) -> None:
    y, size = 0.72, (0.134, 0.155)
    _title(axes, 3.85, 2.48, "d", "Component schemes", "")
    axes.text(5.45, 2.465, "layers by components", va="top")
    x = 3.9
    for name, columns in COMPONENT_SCHEMES.items():
        middle = x + (len(columns) * (len(PARTS) * size[0] + 0.1) - 0.1) / 2
        lines = name.replace(", ", ",\n").replace("hybrid: ", "")
        axes.text(middle, y + LAYERS * size[1] + 0.17, lines, ha="center", va="bottom", linespacing=1.2)
        for position, served in columns.items():
            for column, part in enumerate(PARTS):
                for layer in range(LAYERS):
                    axes.add_patch(
                        Rectangle(
                            (x + column * size[0], y + layer * size[1]),
                            size[0] * 0.86,
                            size[1] * 0.84,
                            facecolor=shades[served(part, layer)],
                            linewidth=0,
                        )
                    )
                axes.text(x + (column + 0.43) * size[0], y - 0.04, part, rotation=90, ha="center", va="top")
            axes.text(
                x + len(PARTS) * size[0] / 2,
                y + LAYERS * size[1] + 0.02,
                f"at {position}",
                ha="center",
                va="bottom",
            )
            x += len(PARTS) * size[0] + 0.1
