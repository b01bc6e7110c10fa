"""Reading a matplotlib figure back: what is drawn where, and whether a reader can see it."""

import itertools

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.text import Text

from weightgraft.style import SMALLEST_TYPE


def intervals(axes: Axes) -> list[tuple[float, float, float]]:
    """(place, low, high) of every interval in a panel of upright bars or dots."""
    lines = [c for c in axes.collections if isinstance(c, LineCollection)]
    segments = [segment for line in lines for segment in line.get_segments()]
    return [(float(s[0, 0]), float(s[0, 1]), float(s[1, 1])) for s in segments if s[0, 0] == s[1, 0]]


def lying_intervals(axes: Axes) -> list[tuple[float, float]]:
    """(low, high) of every interval in a panel of lying bars."""
    lines = [c for c in axes.collections if isinstance(c, LineCollection)]
    segments = [segment for line in lines for segment in line.get_segments()]
    return [(float(s[0, 0]), float(s[1, 0])) for s in segments if s[0, 1] == s[1, 1]]


def bars(axes: Axes) -> list[Rectangle]:
    return [patch for container in axes.containers for patch in container]


def diamonds(axes: Axes) -> dict[int, float]:
    """Published value by the place of its scheme, on upright bars."""
    marks = [line for line in axes.lines if line.get_marker() == "D"]
    return {round(float(m.get_xdata()[0])): float(m.get_ydata()[0]) for m in marks}


def texts(figure: Figure) -> list[str]:
    return [t.get_text() for t in figure.findobj(Text) if t.get_visible() and t.get_text()]


def drawn_texts(figure: Figure) -> list[Text]:
    """The texts that end up on paper: not the labels a shared axis hides, nor those beyond its limits."""
    figure.draw_without_rendering()
    hidden = set()
    for axis in (axis for axes in figure.axes for axis in (axes.xaxis, axes.yaxis)):
        low, high = sorted(axis.get_view_interval())
        for tick in [*axis.get_major_ticks(), *axis.get_minor_ticks()]:
            for label in (tick.label1, tick.label2):
                if not (label.get_visible() and low <= tick.get_loc() <= high):
                    hidden.add(id(label))
    found = [t for t in figure.findobj(Text) if t.get_visible() and t.get_text().strip()]
    return [t for t in found if id(t) not in hidden]


def check_readable(figure: Figure) -> None:
    """Every text is large enough, inside the page and free of the others."""
    shown = drawn_texts(figure)
    assert len(shown) > 8
    assert min(t.get_fontsize() for t in shown) >= SMALLEST_TYPE
    assert not [t.get_text() for t in shown if "$" in t.get_text()]  # exponents are smaller than their text
    page = figure.bbox
    boxes = [(t.get_text(), t.get_window_extent()) for t in shown]
    for text, box in boxes:
        assert page.x0 <= box.x0 and box.x1 <= page.x1 and page.y0 <= box.y0 and box.y1 <= page.y1, text
    ends = np.array([[box.x0, box.x1, box.y0, box.y1] for _, box in boxes])
    # One pixel of line spacing is no collision.
    over_x = np.minimum.outer(ends[:, 1], ends[:, 1]) - np.maximum.outer(ends[:, 0], ends[:, 0]) > 1
    over_y = np.minimum.outer(ends[:, 3], ends[:, 3]) - np.maximum.outer(ends[:, 2], ends[:, 2]) > 1
    pairs = np.argwhere(np.triu(over_x & over_y, 1))
    assert not len(pairs), [(boxes[a][0], boxes[b][0]) for a, b in pairs]


def lightness(colour) -> float:
    """CIE L*, 0 to 100: what greyscale print keeps of a colour."""
    channels = np.array(to_rgb(colour))
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    luminance = float(linear @ [0.2126, 0.7152, 0.0722])
    return 116 * luminance ** (1 / 3) - 16 if luminance > 0.008856 else 903.3 * luminance


def smallest_difference(shades: list[float]) -> float:
    return min(abs(a - b) for a, b in itertools.combinations(shades, 2))
