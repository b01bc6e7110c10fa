"""The figures of the study, each a function from summaries to a matplotlib Figure."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from stages.params import UserError
from stages.plotting.panels import CASING, PUBLISHED, horizontal_bars, paired_dots, vertical_bars
from stages.plotting.results import bars_of, panel_of, published_of
from stages.plotting.style import HATCH, SMALLEST_TYPE, figure_width

PROMPTS = ("headline", "qa", "movie_title", "long")
POSITION_SCHEMES = ("PRE", "SFT", "FE", "LT", "FE+LT", "(FE+LT)^C", "FE^C", "LT^C")
TITLE_GROUPS = {
    "reference": ("PRE", "SFT", "FE", "LT", "FE+LT"),
    "movie title": ("M", "M+LT", "FE+M", "FE+M+LT", "(FE+M)^C", "(FE+M+LT)^C"),
    "relation words": ("R", "R+LT", "FE+R", "FE+R+LT"),
}
PARAPHRASE_SCHEMES = ("SFT", "FE", "LT", "FE+LT", "(FE+LT)^C")
SPLITS = {"seen": "seen paraphrases", "held_out": "held-out paraphrases"}
AXIS_LABELS = {
    **{f"top{k}_accuracy": f"top-{k} accuracy" for k in (1, 5, 10, 20, 100)},
    "mean_probability": "mean probability",
    "recovered_top5": "recovered fraction\n(top-5 accuracy)",
    "recovered_logprob": "recovered fraction\n(log-probability)",
}
# The authors' early run (data/published/README.md): shown, and said to be that.
PRELIMINARY = ("rmra_shuffled",)
SFT_LINE: dict[str, Any] = {"color": "black", "linewidth": 0.7, "linestyle": "--", "zorder": 2.5}


def position_figure(
    summaries: pd.DataFrame, published: pd.DataFrame, study: dict, section: dict, *, recipe: str, metric: str
) -> Figure:
    """E1 (paper, Figure 2): a row a prompt, a column a model, a bar a scheme with its interval.

    A diamond marks the published value of the model's counterpart where the paper has one. Accuracies run
    from 0 to 1. For a recovered fraction PRE and SFT are lines at 0 and 1 and have no bars: they are so by
    definition.
    """
    bars = bars_of(summaries, recipe=recipe, experiment="positions", metric=metric)
    schemes = _shown(bars, POSITION_SCHEMES, metric)
    prompts = [prompt for prompt in PROMPTS if prompt in set(bars["prompt"])]
    figure, grid = _grid(len(prompts), study["models"], heights=1.32, margins=1.5)
    dataset, diamonds = str(bars["dataset"].iloc[0]), 0
    for row, prompt in enumerate(prompts):
        for axes, model in zip(grid[row], study["models"], strict=True):
            big = section["counterparts"].get(model, "")
            values = published_of(published, dataset=dataset, model=big, prompt=prompt, metric=metric)
            diamonds += len(values)
            panel = panel_of(bars, schemes, model=model, prompt=prompt)
            vertical_bars(axes, panel, section["colours"], values)
        grid[row][0].set_ylabel(f"{prompt}\n{AXIS_LABELS[metric]}")
    _value_axis(
        grid, bars[bars["prompt"].isin(prompts) & bars["scheme"].isin(schemes)], metric, vertical=True
    )
    named = section["counterparts"] if diamonds else {}
    _head_columns(grid, study["models"], named)
    entries = [
        *_published_entry(dataset, diamonds),
        *_reference_entries(metric),
        _interval_entry(bars),
        _complement_entry(),
    ]
    _legend(figure, len(study["models"]), entries)
    return figure


def title_figure(
    summaries: pd.DataFrame, published: pd.DataFrame, study: dict, section: dict, *, recipe: str, metric: str
) -> Figure:
    """E2: the movie title and the relation words as positions; a row a prompt, a column a model.

    Bars lie, since fifteen names do not fit under a panel. Three groups: reference, movie title, relation
    words. The paper publishes no values for these schemes.
    """
    bars = bars_of(summaries, recipe=recipe, experiment="title", metric=metric)
    known = [scheme for group in TITLE_GROUPS.values() for scheme in group]
    schemes = _shown(bars, known, metric)
    groups = {name: [s for s in group if s in schemes] for name, group in TITLE_GROUPS.items()}
    groups["others"] = [scheme for scheme in schemes if scheme not in known]
    groups = {name: group for name, group in groups.items() if group}
    prompts = [prompt for prompt in PROMPTS if prompt in set(bars["prompt"])]
    figure, grid = _grid(len(prompts), study["models"], heights=2.7, margins=1.0)
    for row, prompt in enumerate(prompts):
        for axes, model in zip(grid[row], study["models"], strict=True):
            panel = panel_of(bars, schemes, model=model, prompt=prompt)
            horizontal_bars(axes, panel, section["colours"], groups)
        grid[row][0].set_ylabel(prompt)
    for axes in grid[-1]:
        axes.set_xlabel(AXIS_LABELS[metric])
    _value_axis(grid, bars[bars["scheme"].isin(schemes)], metric, vertical=False)
    _head_columns(grid, study["models"], {})
    _legend(
        figure,
        len(study["models"]),
        [_interval_entry(bars, "_"), *_reference_entries(metric), _complement_entry()],
    )
    return figure


def paraphrase_figure(
    summaries: pd.DataFrame, published: pd.DataFrame, study: dict, section: dict, *, recipe: str, metric: str
) -> Figure:
    """Paraphrases that the finetuning texts use, and held-out ones: a column a model, two dots a scheme."""
    bars = bars_of(summaries, recipe=recipe, experiment="positions", metric=metric)
    schemes = [scheme for scheme in _shown(bars, (), metric) if scheme in PARAPHRASE_SCHEMES]
    figure, grid = _grid(1, study["models"], heights=1.6, margins=1.1)
    for axes, model in zip(grid[0], study["models"], strict=True):
        panels = {
            split: panel_of(bars, schemes, model=model, prompt="paraphrases", template_split=split)
            for split in SPLITS
        }
        paired_dots(axes, panels, section["colours"])
    grid[0][0].set_ylabel(AXIS_LABELS[metric])
    shown = bars[(bars["prompt"] == "paraphrases") & bars["scheme"].isin(schemes)]
    _value_axis(grid, shown, metric, vertical=True)
    _head_columns(grid, study["models"], {})
    looks: dict[str, Any] = {"markeredgecolor": "black", "linestyle": "none", "markersize": 3.6}
    entries = [
        Line2D([], [], marker=marker, markerfacecolor=face, label=label, **looks)
        for marker, face, label in zip("os", ("black", "white"), SPLITS.values(), strict=True)
    ]
    _legend(figure, len(study["models"]), [*entries, _interval_entry(bars)])
    return figure


DRAWINGS: dict[str, Callable[..., Figure]] = {
    "positions": position_figure,
    "title": title_figure,
    "paraphrases": paraphrase_figure,
}


def draw(
    name: str, wanted: dict, summaries: pd.DataFrame, published: pd.DataFrame, study: dict, section: dict
) -> Figure:
    """Draw the figure that params.yaml describes as `wanted`: {draws, recipe, metric}.

    Raises:
        UserError: `draws` or `metric` is unknown, or the summaries lack what the figure shows.
    """
    for key, choices in (("draws", DRAWINGS), ("metric", AXIS_LABELS)):
        if wanted[key] not in choices:
            raise UserError(
                f"render_figures.figures.{name}.{key}: {wanted[key]!r} is none of {', '.join(choices)}"
            )
    drawing = DRAWINGS[wanted["draws"]]
    return drawing(summaries, published, study, section, recipe=wanted["recipe"], metric=wanted["metric"])


def _shown(bars: pd.DataFrame, order: Sequence[str], metric: str) -> list[str]:
    """The schemes to draw: those of the summaries, the known ones in their order, then any others."""
    there = [s for s in bars["scheme"].unique() if not _is_recovered(metric) or s not in ("PRE", "SFT")]
    return [s for s in order if s in there] + [s for s in there if s not in order]


def _is_recovered(metric: str) -> bool:
    return metric.startswith("recovered")


def _grid(rows: int, models: list[str], *, heights: float, margins: float) -> tuple[Figure, np.ndarray]:
    """An empty figure with an array (rows, models) of axes; heights of a row and of all margins in inches."""
    size = (figure_width(len(models)), rows * heights + margins)
    figure = Figure(figsize=size, layout="constrained")
    return figure, figure.subplots(rows, len(models), squeeze=False, sharex=True, sharey=True)


def _value_axis(grid: np.ndarray, bars: pd.DataFrame, metric: str, *, vertical: bool) -> None:
    """The same value axis on all panels: 0 to 1, or as far as recovered fractions reach."""
    ends = bars[["low", "high"]].to_numpy(float)
    ends = ends[np.isfinite(ends)] if _is_recovered(metric) else np.array([0.0])
    low, high = min(0.0, *ends), max(1.0, *ends)
    room = 0.04 * (high - low)  # an interval that ends at 1 is seen to end there
    for axes in grid.flat:
        limits = (low - room if low < 0 else 0, high + room)
        (axes.set_ylim if vertical else axes.set_xlim)(limits)
        (axes.yaxis if vertical else axes.xaxis).grid(True)
        if not _is_recovered(metric):
            (axes.set_yticks if vertical else axes.set_xticks)(
                [0, 0.25, 0.5, 0.75, 1], ["0", "", ".5", "", "1"]
            )
            continue
        line = axes.axhline if vertical else axes.axvline
        line(0, color="black", linewidth=0.7, zorder=2.5)
        line(1, **SFT_LINE)


def _head_columns(grid: np.ndarray, models: list[str], counterparts: dict[str, str]) -> None:
    """The model's name over each column, with the big model behind the diamonds below it."""
    for axes, model in zip(grid[0], models, strict=True):
        big = counterparts.get(model)
        axes.annotate(
            model,
            (0, 1),
            xytext=(0, 3 + (SMALLEST_TYPE + 2 if big else 0)),
            xycoords="axes fraction",
            textcoords="offset points",
            va="bottom",
            fontsize=SMALLEST_TYPE + 1,
            fontweight="bold",
        )
        if big:
            axes.set_title(f"◇ {big}", loc="left")


def _published_entry(dataset: str, diamonds: int) -> list[Line2D]:
    if not diamonds:
        return []
    kind = "published, preliminary" if dataset in PRELIMINARY else "published"
    return [Line2D([], [], **PUBLISHED, label=f"{kind}: the big model named above")]


def _reference_entries(metric: str) -> list[Line2D]:
    return [Line2D([], [], **SFT_LINE, label="SFT (PRE is 0)")] if _is_recovered(metric) else []


def _interval_label(bars: pd.DataFrame) -> str:
    seeds = int(bars["seeds"].max())
    return f"mean, widest 95 % interval of {seeds} seeds" if seeds > 1 else "95 % interval over facts"


def _interval_entry(bars: pd.DataFrame, marker: str = "|") -> Line2D:
    entry = Line2D([], [], color="black", markeredgewidth=0.9, marker=marker, linestyle="none", markersize=8)
    entry.set_label(_interval_label(bars))
    entry.set_path_effects(CASING)
    return entry


def _complement_entry() -> Patch:
    return Patch(
        facecolor="#777777",
        edgecolor="#777777",
        hatch=HATCH,
        hatchcolor="white",
        label="X^C: every position but X",
    )


def _legend(figure: Figure, columns: int, entries: list) -> None:
    figure.legend(handles=entries, loc="outside lower center", ncols=len(entries) if columns > 2 else 1)
