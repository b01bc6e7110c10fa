"""The flat guess as a line: what is recovered by who knows only which answers there are, and how often each begins alike."""

from collections.abc import Sequence
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from stages.analysis.metrics import FLAT_GUESS, GUESSED
from stages.plotting.results import bars_of, panel_of

LINE: dict[str, Any] = {"color": "#7A3E9D", "linestyle": (0, (1, 1.2)), "linewidth": 1.2, "zorder": 2.6}
MEASURED = "recovered_logprob"  # the metric that a guess is told in


def guesses(
    summaries: pd.DataFrame, seeds: Sequence[int], setups: Sequence[str], experiment: str, metric: str
) -> pd.DataFrame | None:
    """The flat guess of every model and prompt; None for another metric, where several setups stand beside each other, whose
    guesses differ, or where none was summarized."""
    if metric != MEASURED or len(setups) > 1 or GUESSED not in set(summaries["metric"]):
        return None
    return bars_of(summaries, seeds, setup=setups[0], experiment=experiment, metric=GUESSED)


def guess_line(axes: Axes, found: pd.DataFrame | None, model: str, prompt: str) -> None:
    """Across a panel of upright bars, if there is a guess. found: guesses()."""
    if found is not None:
        told = panel_of(found, [FLAT_GUESS], model=model, prompt=prompt)["estimate"].item()
        if told == told:  # a number: SFT knows what is asked there
            axes.axhline(told, **LINE)


def guess_entry(found: pd.DataFrame | None) -> list[Line2D]:
    return [] if found is None else [Line2D([], [], **LINE, label="a guess among the answers")]
