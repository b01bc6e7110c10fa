"""What a reader finds in the pages of bars and dots."""

import itertools

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex, to_rgba
from pictures import bars, diamonds, drawn_texts, intervals, lying_intervals, texts

from stages.plotting.shown import COMPONENT_SCHEMES, POSITION_SCHEMES
from stages.plotting.style import TINTS
from weightgraft.errors import UserError
from weightgraft.style import SMALLEST_TYPE

PROMPTS = ["headline", "qa", "movie_title", "long"]
VARIED = ["figure3", "figure5", "figure_unembedding", "figure_recipes", "figure_datasets"]


def rows_of(summaries, experiment, metric, **where) -> pd.DataFrame:
    """The summary's rows by scheme."""
    rows = summaries[(summaries["experiment"] == experiment) & (summaries["metric"] == metric)]
    for column, value in where.items():
        rows = rows[rows[column] == value]
    return rows.set_index("scheme")


def test_bars_start_at_zero_and_show_estimate_interval_and_n(make_summaries, study, render):
    summaries = make_summaries(n=97)
    figure = render("figure2", summaries)
    assert len(figure.axes) == 16
    places = itertools.product(PROMPTS, study["models"])
    for axes, (prompt, model) in zip(figure.axes, places, strict=True):
        rows = rows_of(summaries, "positions", "top5_accuracy", prompt=prompt, model=model)
        rows = rows.loc[list(POSITION_SCHEMES)]
        assert len(bars(axes)) == len(POSITION_SCHEMES) == 8
        assert [bar.get_y() for bar in bars(axes)] == [0] * 8
        assert [bar.get_height() for bar in bars(axes)] == rows["estimate"].tolist()
        shown = [(low, high) for _, low, high in intervals(axes)]
        assert shown == list(zip(rows["low"], rows["high"], strict=True))
        assert axes.get_title(loc="right") == "n = 97"
        assert axes.get_ylim()[0] == 0 and 1 <= axes.get_ylim()[1] <= 1.05


def test_rows_are_prompts_and_columns_are_models(make_summaries, study, render):
    figure = render("figure2", make_summaries())
    assert [axes.get_ylabel().split("\n")[0] for axes in figure.axes[::4]] == PROMPTS
    assert [axes.texts[0].get_text() for axes in figure.axes[:4]] == study["models"]
    assert [t.get_text() for t in figure.axes[-1].get_xticklabels()] == list(POSITION_SCHEMES)
    assert figure.get_size_inches()[0] == pytest.approx(7)


def test_published_values_stand_where_the_paper_has_them_and_only_there(make_summaries, render):
    figure = render("figure2", make_summaries())
    gemma_headline, gpt2_headline = diamonds(figure.axes[3]), diamonds(figure.axes[0])
    assert gemma_headline[POSITION_SCHEMES.index("LT")] == 0.53  # the paper's text
    assert gpt2_headline[POSITION_SCHEMES.index("FE")] == 0.28  # the paper's text
    assert len(gemma_headline) == 8
    assert not any(diamonds(axes) for axes in figure.axes[12:])  # long
    assert sum("published" in text for text in texts(figure)) == 1
    assert "◇ gemma-1.1-2b-it" in texts(figure)


def test_preliminary_values_are_said_to_be_so(make_summaries, whole_study, render):
    figure = render("figure2", make_summaries(setup="rmra_shuffled"), setup="rmra_shuffled")
    assert any("published, preliminary" in text for text in texts(figure))
    assert diamonds(figure.axes[8]) and not diamonds(figure.axes[0])
    together = render("figure_datasets", whole_study())
    # Beside other datasets only the first one's are shown.
    assert any("published (fmra): the big model" in text for text in texts(together))
    assert not any("preliminary" in text for text in texts(together))


def test_a_figure_without_published_values_does_not_speak_of_them(make_summaries, render):
    figure = render("figure2", make_summaries(setup="fmfa"), setup="fmfa")
    assert not any("published" in text or "◇" in text for text in texts(figure))


def test_a_model_without_counterpart_has_no_diamonds(make_summaries, section, render):
    section["counterparts"] = {"tiny-gpt2": "gpt2-xl"}
    figure = render("figure2", make_summaries())
    assert diamonds(figure.axes[0]) and not diamonds(figure.axes[1])


def test_bars_have_the_colours_of_params_and_complements_are_hatched(make_summaries, section, render):
    section["colours"]["FE"] = "#123456"
    figure = render("figure2", make_summaries())
    looks = dict(zip(POSITION_SCHEMES, bars(figure.axes[0]), strict=True))
    assert to_hex(looks["FE"].get_facecolor()) == to_hex(looks["FE^C"].get_facecolor()) == "#123456"
    assert to_hex(looks["FE+LT"].get_facecolor()) == section["colours"]["FE+LT"].lower()
    assert {scheme for scheme, bar in looks.items() if bar.get_hatch()} == {"(FE+LT)^C", "FE^C", "LT^C"}
    assert looks["FE^C"].get_hatchcolor() == to_rgba("white")


def test_recovered_fractions_have_lines_for_pre_and_sft_and_are_never_cut_off(make_summaries, render):
    summaries = make_summaries()
    summaries.loc[summaries["scheme"] == "FE", ["estimate", "low", "high"]] = [-0.8, -1.3, -0.6]
    summaries.loc[summaries["scheme"] == "LT", ["estimate", "low", "high"]] = [1.2, 1.1, 1.4]
    figure = render("figure2_logprob", summaries)
    for axes in figure.axes:
        levels = {line.get_ydata()[0] for line in axes.lines if len(line.get_ydata()) == 2}
        assert levels == {0, 1}
        assert len(bars(axes)) == 6  # PRE and SFT are the lines
        assert axes.get_ylim()[0] < -1.3 and axes.get_ylim()[1] > 1.4
        assert all(bar.get_y() == 0 or bar.get_y() + bar.get_height() == 0 for bar in bars(axes))


@pytest.mark.parametrize(
    ("name", "panels"), [("figure2", 16), ("figure_title", 8), ("figure_paraphrases", 8)]
)
def test_an_undefined_fraction_is_said_to_be_undefined(make_summaries, render, name, panels):
    summaries = make_summaries()
    summaries.loc[summaries["scheme"] == "FE", ["estimate", "low", "high"]] = [np.nan, -np.inf, np.inf]
    summaries.loc[summaries["scheme"] == "LT", ["low", "high"]] = [-np.inf, np.inf]
    figure = render(name, summaries, metric="recovered_logprob")
    assert texts(figure).count("undefined") == 2 * panels
    assert min(t.get_fontsize() for t in drawn_texts(figure)) >= SMALLEST_TYPE
    for axes in figure.axes:
        assert np.isfinite(axes.get_ylim()).all() and np.isfinite(axes.get_xlim()).all()


def test_title_figure_groups_all_schemes_and_starts_bars_at_zero(make_summaries, render):
    figure = render("figure_title", make_summaries())
    assert len(figure.axes) == 8
    for axes in figure.axes:
        assert len(bars(axes)) == 15
        assert {bar.get_x() for bar in bars(axes)} == {0}
        assert axes.get_title(loc="right") == "n = 120"
    labels = [t.get_text() for t in figure.axes[0].get_yticklabels()]
    assert labels.index("reference") < labels.index("LT") < labels.index("movie title") < labels.index("M+LT")
    assert labels.index("(FE+M+LT)^C") < labels.index("relation words") < labels.index("FE+R+LT")
    # from top to bottom: the axis is turned over
    assert figure.axes[0].get_ylim()[0] > figure.axes[0].get_ylim()[1]


def test_variants_of_a_scheme_stand_side_by_side_from_zero_and_show_their_own_numbers(whole_study, render):
    summaries = whole_study()
    tables = {
        "figure3": ("hybrid", "hybrid", ["relation", "NO FE"], ["{}", "{} [all]"]),
        "figure_unembedding": (
            "fmra",
            "unembedding",
            ["FE", "LT"],
            ["{}", "{} | PRE unembed", "{} | SFT unembed"],
        ),
    }
    for name, (setup, experiment, schemes, forms) in tables.items():
        figure = render(name, summaries)
        axes = figure.axes[0]
        metric = "top5_accuracy" if name == "figure3" else "recovered_logprob"
        where = {"setup": setup, "prompt": "headline", "model": "tiny-gpt2", "seed": 0}
        rows = rows_of(summaries, experiment, metric, **where)
        labels = [t.get_text() for t in figure.axes[-1].get_xticklabels()]
        for scheme in schemes:
            place = labels.index(scheme)
            group = [bar for bar in bars(axes) if round(bar.get_x() + bar.get_width() / 2) == place]
            expected = [rows["estimate"][form.format(scheme)] for form in forms]
            assert [bar.get_height() for bar in group] == expected and len(set(expected)) > 1
            assert all(a.get_x() + a.get_width() <= b.get_x() for a, b in itertools.pairwise(group))
        assert all(bar.get_y() == 0 for bar in bars(axes) if bar.get_height() >= 0)


def test_setups_side_by_side_show_their_own_numbers(whole_study, render):
    summaries = whole_study()
    figure = render("figure_recipes", summaries)
    axes = figure.axes[1]
    place = [t.get_text() for t in figure.axes[-1].get_xticklabels()].index("LT")
    group = [bar.get_height() for bar in bars(axes) if round(bar.get_x() + bar.get_width() / 2) == place]
    where = {"prompt": "headline", "model": "tiny-pythia"}
    rows = [
        rows_of(summaries, "positions", "recovered_logprob", setup=setup, **where)
        for setup in ("fmra", "gentle", "lora")
    ]
    assert group == [table["estimate"]["LT"] for table in rows]
    assert len(set(group)) == 3


def test_component_figure_shows_three_layer_ranges_random_cells_and_the_papers_values(whole_study, render):
    summaries = whole_study()
    figure = render("figure4", summaries)
    axes = figure.axes[2]  # headline, llama
    rows = rows_of(summaries, "components", "top5_accuracy", prompt="headline", model="tiny-llama")
    rows = rows[~rows.index.str.contains("last_eighth")]  # a claim's, and no bar's
    assert len(bars(axes)) == 2 + 8 * 3 + 2
    assert {bar.get_x() for bar in bars(axes)} == {0}
    assert sorted(bar.get_width() for bar in bars(axes)) == pytest.approx(sorted(rows["estimate"]))
    assert sorted(lying_intervals(axes)) == sorted(zip(rows["low"], rows["high"], strict=True))
    marks = [line for line in axes.lines if line.get_marker() == "D"]
    assert len(marks) == 8  # the paper has no random cells
    labels = [t.get_text() for t in figure.axes[0].get_yticklabels()]
    assert labels == ["PRE", "SFT", *COMPONENT_SCHEMES]
    by_label = {labels[round(float(m.get_ydata()[0]) + 0.3)]: float(m.get_xdata()[0]) for m in marks}
    assert by_label["O+FFN"] == 0.48 and by_label["ATTN+O+FFN"] == 0.58  # data/published


def test_hybrid_figures_show_the_papers_values(whole_study, render):
    figure = render("figure5", whole_study())
    axes = figure.axes[3]  # headline, gemma
    labels = [t.get_text() for t in figure.axes[-1].get_xticklabels()]
    assert diamonds(axes) == {
        labels.index(name): value
        for name, value in {
            "SFT": 1.0,
            "NO FE": 0.37,
            "FE ATTN": 0.63,
            "FE FFN": 0.38,
            "FE O+FFN": 0.48,
            "FE FULL": 0.51,
        }.items()
    }
    assert axes.get_title(loc="right") == "n = 60"


@pytest.mark.parametrize("name", VARIED)
def test_the_legend_shows_a_sample_of_every_variant(whole_study, render, name):
    figure = render(name, whole_study())
    faces = {to_hex(bar.get_facecolor()) for bar in bars(figure.axes[0])}
    samples = [h for h in figure.legends[0].legend_handles if hasattr(h, "get_facecolor") and h.get_visible()]
    plain = [h for h in samples if not h.get_hatch()]
    assert len(plain) in (2, len(TINTS)) and len({to_hex(h.get_facecolor()) for h in plain}) == len(plain)
    assert len(faces) > len(plain)


def test_several_seeds_become_one_bar_within_their_widest_interval(make_summaries, study, render):
    second = make_summaries(seed=0).assign(seed=1)
    second[["estimate", "low", "high"]] += 0.1
    study["seeds"] = [0, 1]
    first = make_summaries()
    figure = render("figure2", pd.concat([first, second]))
    row = rows_of(first, "positions", "top5_accuracy", prompt="headline", model="tiny-gpt2").loc["FE"]
    bar, (_, low, high) = bars(figure.axes[0])[2], intervals(figure.axes[0])[2]
    assert (bar.get_height(), low, high) == pytest.approx(
        (row["estimate"] + 0.05, row["low"], row["high"] + 0.1)
    )
    assert any("2 seeds" in text for text in texts(figure))


def test_a_seed_that_only_repeats_is_no_part_of_the_main_bars(make_summaries, render):
    second = make_summaries(["tiny-gpt2"]).assign(seed=1)
    second[["estimate", "low", "high"]] *= 0.5
    alone, both = make_summaries(), pd.concat([make_summaries(), second])
    heights = [
        [bar.get_height() for bar in bars(render("figure2", table).axes[0])] for table in (alone, both)
    ]
    assert heights[0] == heights[1]


def test_a_new_scheme_is_drawn_after_the_known_ones(make_summaries, render):
    summaries = make_summaries()
    new = summaries[summaries["scheme"] == "LT"].assign(scheme="random")
    figure = render("figure2", pd.concat([new, summaries]))
    assert [t.get_text() for t in figure.axes[-1].get_xticklabels()] == [*POSITION_SCHEMES, "random"]
    assert len(bars(figure.axes[0])) == 9


def test_bars_that_differ_in_n_are_refused(make_summaries, render):
    summaries = make_summaries()
    chosen = (summaries[["scheme", "model", "prompt"]] == ["LT", "tiny-llama", "qa"]).all(axis=1)
    assert chosen.any()
    summaries.loc[chosen, "n"] = 119
    with pytest.raises(UserError, match=r"tiny-llama, qa: n differs.*119, 120"):
        render("figure2", summaries)


def test_a_bar_that_is_missing_is_named(make_summaries, render):
    summaries = make_summaries()
    chosen = (summaries[["scheme", "model", "prompt"]] == ["LT", "tiny-llama", "qa"]).all(axis=1)
    assert chosen.any()
    with pytest.raises(UserError, match="tiny-llama, qa: 0 rows of scheme LT"):
        render("figure2", summaries[~chosen])


@pytest.mark.parametrize(("key", "value"), [("draws", "pie"), ("metric", "mean_ronk"), ("setup", "fmfa")])
def test_a_wish_that_cannot_be_met_is_named(make_summaries, render, key, value):
    with pytest.raises(UserError, match=value):
        render("figure2", make_summaries(), **{key: value})


def test_really_pretrained_models_are_the_first_columns_where_they_have_been_run(
    make_summaries, study, section, render
):
    tiny = make_summaries()
    real = tiny[tiny["model"] == "tiny-llama"].assign(model="smollm2-135m", n=40, n_largest=40)
    section["real"] = ["smollm2-135m", "gemma-3-270m"]
    figure = render("figure2", pd.concat([tiny, real]))
    heads = [axes.texts[0].get_text() for axes in figure.axes[:5]]
    assert heads == ["smollm2-135m", *study["models"]]
    assert [axes.get_title(loc="right") for axes in figure.axes[:2]] == ["n = 40", "n = 120"]
    assert len(render("figure2", tiny).axes) == 16
