"""The one style of all figures: sizes, type, how a scheme's bar looks, how a figure is written."""

from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

SMALLEST_TYPE = 7  # points at print size; nothing in a figure is smaller
HATCH = "/////"
COMPLEMENT = "^C"
OTHER = "#888888"  # a scheme that render_figures.colours does not name: drawn all the same, in grey

# Any: matplotlib types the keys of rc_context as a list of literals.
RC: Any = {
    "font.family": "DejaVu Sans",  # ships with matplotlib: the same glyphs on every machine
    "font.size": SMALLEST_TYPE,
    "axes.titlesize": SMALLEST_TYPE,
    "axes.labelsize": SMALLEST_TYPE,
    "xtick.labelsize": SMALLEST_TYPE,
    "ytick.labelsize": SMALLEST_TYPE,
    "legend.fontsize": SMALLEST_TYPE,
    "figure.titlesize": SMALLEST_TYPE + 1,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.titlepad": 3,
    "axes.labelpad": 3,
    "grid.color": "#E4E4E4",
    "grid.linewidth": 0.5,
    "xtick.major.size": 0,
    "ytick.major.size": 2,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.pad": 2,
    "ytick.major.pad": 2,
    "hatch.linewidth": 1.1,
    "legend.frameon": False,
    "legend.handlelength": 1.6,
    "legend.columnspacing": 1.4,
    "savefig.dpi": 200,
    "svg.fonttype": "path",  # letters as outlines: a reader without our font sees the same picture
    "svg.hashsalt": "weight-grafting-study",  # element ids, and so the bytes, are the same in every run
    "path.simplify": False,
}


def figure_width(columns: int) -> float:
    """Width in inches: 7 (the text width of a page) for four families, narrower for fewer."""
    return 2.2 + 1.2 * columns


def bar_look(scheme: str, colours: dict[str, str]) -> dict[str, Any]:
    """Matplotlib keywords for a scheme's bar: its colour; a complement X^C is X's colour striped white."""
    complement = scheme.endswith(COMPLEMENT)
    base = scheme.removesuffix(COMPLEMENT).strip("()") if complement else scheme
    colour = colours.get(base, OTHER)
    stripes = {"hatch": HATCH, "hatchcolor": "white"} if complement else {}
    return {"facecolor": colour, "edgecolor": colour, "linewidth": 0.6, **stripes}


def save_figure(figure: Figure, stem: Path) -> None:
    """Write stem.png and stem.svg without dates or versions, so that the same numbers give the same bytes."""
    stem.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(f"{stem}.png", metadata={"Software": None})
    figure.savefig(f"{stem}.svg", metadata={"Date": None, "Creator": None})
