"""What a reader finds in the figures."""

import itertools
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import LineCollection
from matplotlib.colors import to_hex, to_rgba
from matplotlib.figure import Figure
from matplotlib.text import Text

from stages.params import UserError
from stages.plotting.figures import POSITION_SCHEMES, draw
from stages.plotting.results import read_published
from stages.plotting.style import RC, SMALLEST_TYPE

PUBLISHED = read_published(Path(__file__).parents[2] / "data" / "published")
PROMPTS = ["headline", "qa", "movie_title", "long"]
WANTED = {
    "figure2": {"draws": "positions", "recipe": "fmra", "metric": "top5_accuracy"},
    "figure2_logprob": {"draws": "positions", "recipe": "fmra", "metric": "recovered_logprob"},
    "figure_title": {"draws": "title", "recipe": "fmra", "metric": "top5_accuracy"},
    "figure_paraphrases": {"draws": "paraphrases", "recipe": "fmra", "metric": "top5_accuracy"},
}


@pytest.fixture(autouse=True)
def style():
    with matplotlib.rc_context(RC):
        yield


def intervals(axes) -> list[tuple[float, float, float]]:
    """(place, low, high) of every interval in a panel of upright bars."""
    lines = [c for c in axes.collections if isinstance(c, LineCollection)]
    segments = [segment for line in lines for segment in line.get_segments()]
    return [(float(s[0, 0]), float(s[0, 1]), float(s[1, 1])) for s in segments]


def diamonds(axes) -> dict[int, float]:
    """Published value by the place of its bar."""
    marks = [line for line in axes.lines if line.get_marker() == "D"]
    return {int(np.floor(m.get_xdata()[0])): float(m.get_ydata()[0]) for m in marks}


def texts(figure: Figure) -> list[str]:
    return [t.get_text() for t in figure.findobj(Text) if t.get_visible() and t.get_text()]


def drawn_texts(figure: Figure) -> list[Text]:
    """The texts that end up on paper: not the labels a shared axis hides, nor those beyond its limits."""
    figure.draw_without_rendering()
    hidden = set()
    for axis in (axis for axes in figure.axes for axis in (axes.xaxis, axes.yaxis)):
        low, high = sorted(axis.get_view_interval())
        for tick in axis.get_major_ticks():
            for label in (tick.label1, tick.label2):
                if not (label.get_visible() and low <= tick.get_loc() <= high):
                    hidden.add(id(label))
    found = [t for t in figure.findobj(Text) if t.get_visible() and t.get_text().strip()]
    return [t for t in found if id(t) not in hidden]


def test_bars_start_at_zero_and_show_interval_and_n(make_summaries, study, section):
    summaries = make_summaries(n=97)
    figure = draw("figure2", WANTED["figure2"], summaries, PUBLISHED, study, section)
    assert len(figure.axes) == 16
    places = itertools.product(PROMPTS, study["models"])
    for axes, (prompt, model) in zip(figure.axes, places, strict=True):
        rows = summaries[
            (summaries["prompt"] == prompt)
            & (summaries["model"] == model)
            & (summaries["metric"] == "top5_accuracy")
            & (summaries["experiment"] == "positions")
        ]
        rows = rows.set_index("scheme").loc[list(POSITION_SCHEMES)]
        assert len(axes.patches) == len(POSITION_SCHEMES) == 8
        assert [bar.get_y() for bar in axes.patches] == [0] * 8
        assert [bar.get_height() for bar in axes.patches] == rows["estimate"].tolist()
        shown = [(low, high) for _, low, high in intervals(axes)]
        assert shown == list(zip(rows["low"], rows["high"], strict=True))
        assert axes.get_title(loc="right") == "n = 97"
        assert axes.get_ylim()[0] == 0 and 1 <= axes.get_ylim()[1] <= 1.05


def test_rows_are_prompts_and_columns_are_models(make_summaries, study, section):
    figure = draw("figure2", WANTED["figure2"], make_summaries(), PUBLISHED, study, section)
    assert [axes.get_ylabel().split("\n")[0] for axes in figure.axes[::4]] == PROMPTS
    assert [axes.texts[0].get_text() for axes in figure.axes[:4]] == study["models"]
    assert [t.get_text() for t in figure.axes[-1].get_xticklabels()] == list(POSITION_SCHEMES)
    assert figure.get_size_inches()[0] == pytest.approx(7)


def test_published_values_stand_where_the_paper_has_them_and_only_there(make_summaries, study, section):
    figure = draw("figure2", WANTED["figure2"], make_summaries(), PUBLISHED, study, section)
    gemma_headline, gpt2_headline = diamonds(figure.axes[3]), diamonds(figure.axes[0])
    assert gemma_headline[POSITION_SCHEMES.index("LT")] == 0.53  # the paper's text
    assert gpt2_headline[POSITION_SCHEMES.index("FE")] == 0.28  # the paper's text
    assert len(gemma_headline) == 8
    assert not any(diamonds(axes) for axes in figure.axes[12:])  # long
    assert sum("published" in text for text in texts(figure)) == 1
    assert "◇ gemma-1.1-2b-it" in texts(figure)


def test_preliminary_values_are_said_to_be_so(make_summaries, study, section):
    wanted = WANTED["figure2"] | {"recipe": "rmra_shuffled"}
    figure = draw("f", wanted, make_summaries(recipe="rmra_shuffled"), PUBLISHED, study, section)
    assert any("published, preliminary" in text for text in texts(figure))
    assert diamonds(figure.axes[8]) and not diamonds(figure.axes[0])


def test_a_figure_without_published_values_does_not_speak_of_them(make_summaries, study, section):
    wanted = WANTED["figure2"] | {"recipe": "fmfa"}
    figure = draw("f", wanted, make_summaries(recipe="fmfa"), PUBLISHED, study, section)
    assert not any("published" in text or "◇" in text for text in texts(figure))


def test_a_model_without_counterpart_has_no_diamonds(make_summaries, study, section):
    section["counterparts"] = {"tiny-gpt2": "gpt2-xl"}
    figure = draw("figure2", WANTED["figure2"], make_summaries(), PUBLISHED, study, section)
    assert diamonds(figure.axes[0]) and not diamonds(figure.axes[1])


def test_bars_have_the_colours_of_params_and_complements_are_hatched(make_summaries, study, section):
    section["colours"]["FE"] = "#123456"
    figure = draw("figure2", WANTED["figure2"], make_summaries(), PUBLISHED, study, section)
    looks = dict(zip(POSITION_SCHEMES, figure.axes[0].patches, strict=True))
    assert to_hex(looks["FE"].get_facecolor()) == to_hex(looks["FE^C"].get_facecolor()) == "#123456"
    assert to_hex(looks["FE+LT"].get_facecolor()) == section["colours"]["FE+LT"].lower()
    assert {scheme for scheme, bar in looks.items() if bar.get_hatch()} == {"(FE+LT)^C", "FE^C", "LT^C"}
    assert looks["FE^C"].get_hatchcolor() == to_rgba("white")


def test_recovered_fractions_have_lines_for_pre_and_sft_and_are_never_cut_off(make_summaries, study, section):
    summaries = make_summaries()
    summaries.loc[summaries["scheme"] == "FE", ["estimate", "low", "high"]] = [-0.8, -1.3, -0.6]
    summaries.loc[summaries["scheme"] == "LT", ["estimate", "low", "high"]] = [1.2, 1.1, 1.4]
    figure = draw("figure2_logprob", WANTED["figure2_logprob"], summaries, PUBLISHED, study, section)
    for axes in figure.axes:
        levels = {line.get_ydata()[0] for line in axes.lines if len(line.get_ydata()) == 2}
        assert levels == {0, 1}
        assert len(axes.patches) == 6  # PRE and SFT are the lines
        assert axes.get_ylim()[0] < -1.3 and axes.get_ylim()[1] > 1.4
        assert all(bar.get_y() == 0 for bar in axes.patches)


@pytest.mark.parametrize("draws", ["positions", "title", "paraphrases"])
def test_an_undefined_fraction_is_said_to_be_undefined(make_summaries, study, section, draws):
    summaries = make_summaries()
    summaries.loc[summaries["scheme"] == "FE", ["estimate", "low", "high"]] = [np.nan, -np.inf, np.inf]
    summaries.loc[summaries["scheme"] == "LT", ["low", "high"]] = [-np.inf, np.inf]
    wanted = {"draws": draws, "recipe": "fmra", "metric": "recovered_logprob"}
    figure = draw("f", wanted, summaries, PUBLISHED, study, section)
    panels_and_dots = {"positions": 16, "title": 8, "paraphrases": 8}[draws]
    assert texts(figure).count("undefined") == 2 * panels_and_dots
    assert min(t.get_fontsize() for t in drawn_texts(figure)) >= SMALLEST_TYPE
    assert all(
        np.isfinite(axes.get_ylim()).all() and np.isfinite(axes.get_xlim()).all() for axes in figure.axes
    )


def test_title_figure_groups_all_schemes_and_starts_bars_at_zero(make_summaries, study, section):
    figure = draw("figure_title", WANTED["figure_title"], make_summaries(), PUBLISHED, study, section)
    assert len(figure.axes) == 8
    for axes in figure.axes:
        assert len(axes.patches) == 15
        assert {bar.get_x() for bar in axes.patches} == {0}
        assert axes.get_title(loc="right") == "n = 120"
    labels = [t.get_text() for t in figure.axes[0].get_yticklabels()]
    assert labels.index("reference") < labels.index("LT") < labels.index("movie title") < labels.index("M+LT")
    assert labels.index("(FE+M+LT)^C") < labels.index("relation words") < labels.index("FE+R+LT")
    # from top to bottom: the axis is turned over
    assert figure.axes[0].get_ylim()[0] > figure.axes[0].get_ylim()[1]


def test_paraphrase_figure_sets_seen_beside_held_out(make_summaries, study, section):
    summaries = make_summaries()
    held_out = summaries["template_split"] == "held_out"
    summaries.loc[held_out, ["estimate", "low", "high"]] *= 0.5
    figure = draw("figure_paraphrases", WANTED["figure_paraphrases"], summaries, PUBLISHED, study, section)
    axes = figure.axes[0]
    dots = [(line.get_ydata()[0], line.get_markerfacecolor()) for line in axes.lines]
    schemes = [t.get_text() for t in axes.get_xticklabels()]
    assert schemes == ["SFT", "FE", "LT", "FE+LT", "(FE+LT)^C"]
    seen, other = dots[:5], dots[5:]
    assert [value for value, _ in other] == pytest.approx([value / 2 for value, _ in seen])
    assert all(face == "white" for _, face in other) and all(face != "white" for _, face in seen)
    assert len(intervals(axes)) == 10


def test_several_seeds_become_one_bar_within_their_widest_interval(make_summaries, study, section):
    second = make_summaries(seed=1)
    second[["estimate", "low", "high"]] += 0.1
    study["seeds"] = [0, 1]
    summaries = pd.concat([make_summaries(), second])
    figure = draw("figure2", WANTED["figure2"], summaries, PUBLISHED, study, section)
    bar, (_, low, high) = figure.axes[0].patches[0], intervals(figure.axes[0])[0]
    assert (bar.get_height(), low, high) == pytest.approx((0.15, 0.05, 0.24))
    assert any("2 seeds" in text for text in texts(figure))


def test_a_new_scheme_is_drawn_after_the_known_ones(make_summaries, study, section):
    summaries = make_summaries()
    new = summaries[summaries["scheme"] == "LT"].assign(scheme="random")
    figure = draw("figure2", WANTED["figure2"], pd.concat([new, summaries]), PUBLISHED, study, section)
    assert [t.get_text() for t in figure.axes[-1].get_xticklabels()] == [*POSITION_SCHEMES, "random"]
    assert len(figure.axes[0].patches) == 9


def test_bars_that_differ_in_n_are_refused(make_summaries, study, section):
    summaries = make_summaries()
    chosen = (summaries[["scheme", "model", "prompt"]] == ["LT", "tiny-llama", "qa"]).all(axis=1)
    assert chosen.any()
    summaries.loc[chosen, "n"] = 119
    with pytest.raises(UserError, match=r"tiny-llama, qa: n differs.*119, 120"):
        draw("figure2", WANTED["figure2"], summaries, PUBLISHED, study, section)


def test_a_bar_that_is_missing_is_named(make_summaries, study, section):
    summaries = make_summaries()
    chosen = (summaries[["scheme", "model", "prompt"]] == ["LT", "tiny-llama", "qa"]).all(axis=1)
    assert chosen.any()
    with pytest.raises(UserError, match="tiny-llama, qa: 0 rows of scheme LT"):
        draw("figure2", WANTED["figure2"], summaries[~chosen], PUBLISHED, study, section)


@pytest.mark.parametrize(("key", "value"), [("draws", "pie"), ("metric", "mean_rank"), ("recipe", "fmfa")])
def test_a_wish_that_cannot_be_met_is_named(make_summaries, study, section, key, value):
    with pytest.raises(UserError, match=value):
        draw("figure2", WANTED["figure2"] | {key: value}, make_summaries(), PUBLISHED, study, section)


def check_readable(figure: Figure) -> None:
    """Every text is large enough, inside the page and free of the others."""
    shown = drawn_texts(figure)
    assert len(shown) > 8
    assert min(t.get_fontsize() for t in shown) >= SMALLEST_TYPE
    page = figure.bbox
    boxes = [(t.get_text(), t.get_window_extent()) for t in shown]
    for text, box in boxes:
        assert page.x0 <= box.x0 and box.x1 <= page.x1 and page.y0 <= box.y0 and box.y1 <= page.y1, text
    for (a, box), (b, other) in itertools.combinations(boxes, 2):
        overlap_x = min(box.x1, other.x1) - max(box.x0, other.x0)
        overlap_y = min(box.y1, other.y1) - max(box.y0, other.y0)
        # One pixel of line spacing is no collision.
        assert overlap_x <= 1 or overlap_y <= 1, (a, b)


@pytest.mark.parametrize("columns", [1, 2, 4])
@pytest.mark.parametrize("name", WANTED)
def test_every_text_can_be_read(make_summaries, study, section, name, columns):
    study["models"] = study["models"][-columns:]
    check_readable(draw(name, WANTED[name], make_summaries(study["models"]), PUBLISHED, study, section))


@pytest.mark.parametrize("columns", [1, 4])
def test_the_longest_legend_and_a_thousand_facts_can_be_read(make_summaries, study, section, columns):
    study["models"], recipe = study["models"][-columns:], "rmra_shuffled"
    seeds = [make_summaries(study["models"], recipe, seed, n=1000) for seed in (0, 1)]
    wanted = WANTED["figure2"] | {"recipe": recipe}
    check_readable(draw("figure2", wanted, pd.concat(seeds), PUBLISHED, study, section))
