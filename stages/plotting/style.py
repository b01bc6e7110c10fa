"""The one style of all figures: sizes, type, how a scheme's bar looks, how a figure is written."""

from pathlib import Path
from typing import Any

from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure
from matplotlib.patheffects import AbstractPathEffect, withStroke

HATCH = "/////"
COMPLEMENT = "^C"
OTHER = "#888888"  # a scheme that render_figures.colours does not name: drawn all the same, in grey
# Variants of one scheme stand side by side: its colour in full, half of it, white with its edge.
TINTS = (1.0, 0.45, 0.0)
# A white casing keeps an interval visible on a dark bar.
CASING: list[AbstractPathEffect] = [withStroke(linewidth=1.9, foreground="white")]
INTERVAL: dict[str, Any] = {"color": "black", "linewidth": 0.9, "path_effects": CASING, "zorder": 3}
PUBLISHED_MARK: dict[str, Any] = {
    "linestyle": "none",
    "marker": "D",
    "markersize": 3.4,
    "markerfacecolor": "white",
    "markeredgecolor": "black",
    "markeredgewidth": 0.8,
    "clip_on": False,
    "zorder": 4,
}


def figure_width(columns: int) -> float:
    """Width in inches: 7 (the text width of a page) for four families, narrower for fewer. From the sixth on a column takes its
    whole width: words beside the first are not shared among more."""
    return 2.2 + 1.2 * min(columns, 5) + 1.5 * max(0, columns - 5)


def tinted(colour: str, share: float) -> str:
    """The colour mixed with white: 1 is the colour, 0 is white."""
    red, green, blue = (1 - share + share * channel for channel in to_rgb(colour))
    return to_hex((red, green, blue))


def bar_look(hue: str, colours: dict[str, str], variant: int = 0) -> dict[str, Any]:
    """Matplotlib keywords for a bar: the colour of its hue, striped for a complement X^C, lighter for a variant.

    `hue`: a scheme that render_figures.colours names, or its complement; any other is grey.
    """
    complement = hue.endswith(COMPLEMENT)
    base = hue.removesuffix(COMPLEMENT).strip("()") if complement else hue
    colour = colours.get(base, OTHER)
    stripes = {"hatch": HATCH, "hatchcolor": "white" if TINTS[variant] else tinted(colour, 0.6)}
    return {
        "facecolor": tinted(colour, TINTS[variant]),
        "edgecolor": colour,
        "linewidth": 0.6,
        **(stripes if complement else {}),
    }


def save_figure(figure: Figure, stem: Path) -> None:
    """Write stem.png and stem.svg without dates or versions, so that the same numbers give the same bytes."""
    stem.parent.mkdir(parents=True, exist_ok=True)
    # Places are found once, not once a format: the two are the same picture, and it takes half the time. Without any engine,
    # savefig does not draw everything once more, unseen, for the engine's sake.
    if engine := figure.get_layout_engine():
        engine.execute(figure)
        figure.set_layout_engine(None)
        # Its solver's last digit differs from run to run, which would show in the svg.
        for axes in figure.axes:
            left, bottom, width, height = axes.get_position(original=True).bounds
            axes.set_position((round(left, 6), round(bottom, 6), round(width, 6), round(height, 6)))
    figure.savefig(f"{stem}.png", metadata={"Software": None})
    figure.savefig(f"{stem}.svg", metadata={"Date": None, "Creator": None})
