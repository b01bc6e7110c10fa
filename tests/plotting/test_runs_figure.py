"""The figure of make runs: a dot a run where that run's number is, a diamond at their mean, and nothing beyond the axis."""

import numpy as np
import pandas as pd

from stages.plotting.replication import METRIC, PROMPT, SHOWN, runs_figure

MODELS = ("tiny-gpt2", "tiny-gemma")


def table(seeds: tuple[int, ...], width: float) -> pd.DataFrame:
    """Rows of every part that is shown, and of others that are not."""
    rows = []
    for model in MODELS:
        for seed in seeds:
            for place, (claim, words) in enumerate(SHOWN.values()):
                for metric, prompt in ((METRIC, PROMPT), ("recovered_top5", PROMPT), (METRIC, "qa")):
                    value = place / 10 + seed / 100 + (metric != METRIC or prompt != PROMPT)
                    ends = {"estimate": value, "low": value - width, "high": value + 2 * width}
                    part = {
                        "claim": claim,
                        "comparison": f"{words} and more",
                        "metric": metric,
                        "prompt": prompt,
                    }
                    rows.append({"model": model, "seed": seed, "n": 100 - place, "runs": 3} | part | ends)
            rows.append(
                {"model": model, "seed": seed, "claim": "C1", "prompt": "all", "comparison": "", "runs": 3}
            )
    return pd.DataFrame(rows)


def marked(axes, marker: str) -> list[float]:
    return [line.get_xdata()[0] for line in axes.lines if line.get_marker() == marker]


def test_every_run_and_their_mean_stand_where_their_numbers_are():
    single, over = table((1, 2, 3), 0.01), table((0,), 0.3)
    figure = runs_figure(single, over)
    assert len(figure.axes) == len(MODELS)
    for axes in figure.axes:
        dots = [place / 10 + seed / 100 for place in range(len(SHOWN)) for seed in (1, 2, 3)]
        assert np.allclose(marked(axes, "o"), dots)
        assert np.allclose(marked(axes, "D"), [place / 10 for place in range(len(SHOWN))])
        low, high = axes.get_xlim()
        assert low < -0.3 and high > 0.8 + 0.6 and axes.get_ylim()[0] > axes.get_ylim()[1]
    assert [text.get_text() for text in figure.axes[0].get_yticklabels()] == [*SHOWN]
    told = [text.get_text() for text in figure.legends[0].get_texts()]
    assert any("n = 92 to 100" in text for text in told)


def test_an_interval_without_bounds_does_not_stretch_the_axis():
    single, over = table((1, 2, 3), 0.01), table((0,), 0.3)
    over.loc[0, ["low", "high"]] = -np.inf, np.inf
    assert np.isfinite(runs_figure(single, over).axes[0].get_xlim()).all()
