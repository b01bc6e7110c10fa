"""How pictures look: type, lines, the colours of a map and its numbers. The study's figures share it."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from jaxtyping import Float
from matplotlib import font_manager
from matplotlib.colors import LinearSegmentedColormap, Normalize

SMALLEST_TYPE = 7  # points at print size; nothing in a figure is smaller
# Around 0: orange below, white, blue above; both ends are as dark, so the cells also say their number.
DIVERGING = LinearSegmentedColormap.from_list(
    "recovered", ["#A34700", "#F2B48A", "#FFFFFF", "#8FC1E8", "#005A96"]
)
SFT_LINE: dict[str, Any] = {"color": "black", "linewidth": 0.7, "linestyle": "--", "zorder": 2.5}

# A machine may have this font in another version, and of two fonts with one name matplotlib takes any: its own get a name of
# their own, so that the glyphs, and with them the bytes, are the same on every machine.
LETTERS = "DejaVu Sans of matplotlib"
for _file in sorted(Path(matplotlib.get_data_path(), "fonts/ttf").glob("DejaVuSans*.ttf")):
    _entry = font_manager.ttfFontProperty(font_manager.get_font(_file))
    if _entry.name == "DejaVu Sans":
        font_manager.fontManager.ttflist.append(replace(_entry, name=LETTERS))

# Any: matplotlib types the keys of rc_context as a list of literals.
RC: Any = {
    "font.family": LETTERS,
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


def shared_scale(values: Float[np.ndarray, " cell"]) -> Normalize:
    """-x to x, x the largest finite value, rounded up to .05 (.01 where it is less) and at most 1."""
    sizes = np.abs(values[np.isfinite(values)])
    most = float(sizes.max(initial=0))
    step = 0.05 if most > 0.05 else 0.01
    limit = min(1.0, max(step, math.ceil(round(most / step, 6)) * step))
    return Normalize(-limit, limit)


def percent(value: float) -> str:
    """Hundredths, tenths of one where there is less than one: 12, .3, 0; with a true minus and without "-0"."""
    size = abs(100 * value)
    text = f"{size:.0f}" if size >= 0.95 else f"{size:.1f}".removeprefix("0")
    return "0" if text == ".0" else text if value > 0 else f"\N{MINUS SIGN}{text}"
