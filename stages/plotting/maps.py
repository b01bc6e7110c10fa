"""Heat maps: where single layers, components, heads and positions recover what; diverging scales, centred at 0."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle

from stages.plotting.layout import AXIS_LABELS, grid, head_columns, legend
from stages.plotting.results import Material, bars_of
from weightgraft.errors import UserError
from weightgraft.style import DIVERGING, percent, shared_scale

CELL = re.compile(r"^(?P<what>[^@\[]+)(@(?P<at>\w+))?\[(?P<first>\d+)(-(?P<last>\d+))?\]$")
COMPONENTS = ("ATTN_NORM", "Q", "K", "V", "O", "MLP_NORM", "GATE", "UP", "DOWN")
POSITIONS = ("FE", "LT", "R", "(FE+LT)^C")
SIGNIFICANT = 0.05
CELL_WIDTH, BESIDE = 0.22, 1.1  # inches: a cell with its number at least; beside the maps
EMPTY = "#E4E4E4"


class Map(NamedTuple):
    """One heat map: which schemes are its cells. A scheme is `what@at[first-last]` or `what[first-last]`."""

    title: str  # of its row
    at: str | None  # LT, FE; None where the positions are what is compared
    names: Callable[[str], str | None]  # what -> the row it stands in, or None if it is no part of the map
    column: Callable[[int, int, int], int | None]  # (first, last, number of layers) -> column
    xlabel: str


def one_layer(first: int, last: int, layers: int) -> int | None:
    return first if first == last else None


def two_layers(first: int, last: int, layers: int) -> int | None:
    return first if last == first + 1 else None


def layers_up_to(first: int, last: int, layers: int) -> int | None:
    return last if first == 0 else None


def layers_from(first: int, last: int, layers: int) -> int | None:
    return first if last == layers - 1 else None


def component(what: str) -> str | None:
    return what if what in COMPONENTS else None


def head(what: str) -> str | None:
    found = re.fullmatch(r"O\{(\d+)\}", what)
    return f"head {found.group(1)}" if found else None


def position(what: str) -> str | None:
    return "rest" if what == POSITIONS[-1] else what if what in POSITIONS else None


class Scaled(NamedTuple):
    """Maps that share a colour scale: their panels, and the cells in them."""

    panels: Sequence[Axes]
    scale: Normalize
    tables: Sequence[pd.DataFrame]


ONE = "layer (0 = first)"
TWO = "first of two layers"
COMPONENT_MAPS = (
    Map("LT, one layer", "LT", component, one_layer, ONE),
    Map("LT, two layers", "LT", component, two_layers, TWO),
    Map("FE, one layer", "FE", component, one_layer, ONE),
    Map("FE, two layers", "FE", component, two_layers, TWO),
)
HEAD_MAPS = (Map("heads of O at LT", "LT", head, one_layer, ONE),)
POSITION_MAPS = (
    Map("whole layer", None, position, one_layer, ONE),
    Map("layers 0 to x", None, position, layers_up_to, "last grafted layer"),
    Map("layers x to last", None, position, layers_from, "first grafted layer"),
)
PROMPT = "headline"


def component_map_figure(material: Material, setups: Sequence[str], metric: str) -> Figure:
    """Which component in which layer recovers what, at LT and at FE, in single layers and in windows of two."""
    return _map_page(material, setups[0], metric, {"layer_component": COMPONENT_MAPS})


def position_map_figure(material: Material, setups: Sequence[str], metric: str) -> Figure:
    """Heads of O at LT, and whole layers by position: single, from the first on, up to the last."""
    return _map_page(material, setups[0], metric, {"heads": HEAD_MAPS, "position_layer": POSITION_MAPS})


def _map_page(material: Material, setup: str, metric: str, maps: Mapping[str, Sequence[Map]]) -> Figure:
    """The maps of each experiment on a scale of their own: a head does little beside a whole layer."""
    models = material.study["models"]
    found: list[list[tuple[Map, pd.DataFrame]]] = []
    for experiment, of_experiment in maps.items():
        rows = bars_of(
            material.summaries, material.study["seeds"], setup=setup, experiment=experiment, metric=metric
        )
        rows = rows[rows["prompt"] == PROMPT]
        found.append(
            [(drawn, table) for drawn in of_experiment if not (table := cells_of(rows, drawn)).empty]
        )
    cells = [cell for group in found for cell in group]
    heights = [0.42 + 0.148 * table["row"].nunique() for _, table in cells]
    margins = 0.4 + 0.5 * len(found)
    columns = max(table["column"].nunique() for _, table in cells)
    width = BESIDE + CELL_WIDTH * columns * len(models)
    figure, panels = grid(
        len(cells), len(models), heights=heights, margins=margins, width=width, same_x=False
    )
    lines, groups = iter(panels), []
    for group in found:
        tables = [table for _, table in group]
        scale, drawn_on = shared_scale(estimates_of(tables)), []
        for drawn, table in group:
            line = next(lines)
            for axes, model in zip(line, models, strict=True):
                heat_map(axes, table, model, scale)
                axes.set_xlabel(drawn.xlabel)
            line[0].set_ylabel(drawn.title)
            drawn_on += [*line]
        groups.append(Scaled(drawn_on, scale, tables))
    head_columns(panels[0], models)
    finish_maps(figure, groups, metric, len(models))
    return figure


def cells_of(rows: pd.DataFrame, drawn: Map) -> pd.DataFrame:
    """The rows that are cells of a map, with columns `row` (its name), `column` (a number)."""
    parts = rows["scheme"].str.extract(CELL)
    first = pd.to_numeric(parts["first"])
    last = pd.to_numeric(parts["last"]).fillna(first)
    layers = last.groupby(rows["model"]).transform("max") + 1  # each model has its own number of them
    names, columns = [], []
    for what, at, low, high, depth in zip(parts["what"], parts["at"], first, last, layers, strict=True):
        fits = isinstance(what, str) and (at if isinstance(at, str) else None) == drawn.at
        names.append(drawn.names(what) if fits else None)
        columns.append(drawn.column(int(low), int(high), int(depth)) if names[-1] else None)
    found = rows.assign(row=names, column=columns).dropna(subset=["row", "column"])
    return found.drop_duplicates(["model", "prompt", "row", "column"])


def estimates_of(tables: Sequence[pd.DataFrame]) -> np.ndarray:
    return np.concatenate([table["estimate"].to_numpy(float) for table in tables])


def heat_map(axes: Axes, table: pd.DataFrame, model: str, scale: Normalize) -> None:
    """One model's cells: colour and number (percent) are the estimate, a frame marks a significant one."""
    rows = row_order(table["row"].unique())
    cells = table[table["model"] == model]
    if cells.empty:
        raise UserError(f"no summary of {model} has the cells of a heat map")
    columns = sorted(int(column) for column in cells["column"].unique())
    sizes = {*cells["n"], *cells["n_largest"]}
    if len(sizes) > 1:
        raise UserError(f"summaries of {model}: n differs between schemes: {sorted(sizes)}")
    values = np.full((len(rows), len(columns)), np.nan)
    marks, limit = significant(cells), float(scale.vmax or 1)
    for (_, cell), marked in zip(cells.iterrows(), marks, strict=True):
        y, x = rows.index(cell["row"]), columns.index(int(cell["column"]))
        bounded = np.isfinite([cell["estimate"], cell["low"], cell["high"]]).all()
        values[y, x] = cell["estimate"] if bounded else np.nan
        dark = bounded and abs(cell["estimate"]) > 0.76 * limit
        text = percent(cell["estimate"]) if bounded else "n/a"
        axes.text(
            x, y, text, ha="center", va="center_baseline", color="white" if dark else "black", clip_on=True
        )
        if marked:
            axes.add_patch(
                Rectangle((x - 0.45, y - 0.43), 0.9, 0.86, fill=False, edgecolor="black", linewidth=0.7)
            )
    axes.imshow(
        np.ma.masked_invalid(values), cmap=DIVERGING, norm=scale, aspect="auto", interpolation="nearest"
    )
    axes.set_facecolor(EMPTY)
    axes.set_xticks(range(len(columns)), [str(column) for column in columns])
    axes.set_yticks(range(len(rows)), rows)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.set_title(f"n = {cells['n'].iloc[0]}", loc="right", y=1)


def row_order(names: Iterable[str]) -> list[str]:
    known = [*COMPONENTS, *POSITIONS[:-1], "rest"]
    return sorted(names, key=lambda name: (known.index(name) if name in known else len(known), name))


def significant(cells: pd.DataFrame) -> list[bool]:
    """Cells that differ from 0: by the Holm-corrected p if the summary has it, else by their own interval."""
    if has_holm(cells):
        return (cells["p_holm"] <= SIGNIFICANT).tolist()
    return ((cells["low"] > 0) | (cells["high"] < 0)).tolist()


def has_holm(cells: pd.DataFrame) -> bool:
    return "p_holm" in cells and bool(cells["p_holm"].notna().any())


def finish_maps(
    figure: Figure, groups: Sequence[Scaled], metric: str, columns: int, entries: Sequence[Any] = ()
) -> None:
    """A colour bar below each group of maps, and the page's legend with what the frames mean."""
    for panels, scale, found in groups:
        bar = figure.colorbar(
            ScalarMappable(scale, DIVERGING), ax=panels, location="bottom", aspect=50, pad=0.02, shrink=0.7
        )
        what = AXIS_LABELS[metric].replace("\n", " ")
        gap = ", " if columns > 2 else "\n"
        bar.set_label(f"{what}{gap}prompt {found[0]['prompt'].iloc[0]}; numbers in %")
        bar.outline.set_linewidth(0.5)
    axes = [panel for group in groups for panel in group.panels]
    tables = [table for group in groups for table in group.tables]
    holm = all(has_holm(table) for table in tables)
    label = (
        f"differs from 0 (Holm-corrected p \N{LESS-THAN OR EQUAL TO} {SIGNIFICANT:g})"
        if holm
        else "95 % interval excludes 0 (not corrected)"
    )
    frames = [Patch(fill=False, edgecolor="black", linewidth=0.7, label=label)]
    if any(np.ma.is_masked(panel.images[0].get_array()) for panel in axes):
        frames.append(Patch(facecolor=EMPTY, label="no such component"))
    if any("rest" in set(table["row"]) for table in tables):
        frames.append(Patch(visible=False, label=f"rest: {POSITIONS[-1]}"))
    legend(figure, columns, [*entries, *frames])
