"""What a reader finds in the heat maps."""

import numpy as np
import pandas as pd
import pytest
from pictures import lightness, texts

from stages.plotting.maps import COMPONENT_MAPS, POSITION_MAPS, cells_of
from stages.plotting.results import bars_of
from weightgraft.errors import UserError
from weightgraft.style import DIVERGING, percent

MAPS = ["figure_components", "figure_layers", "figure_new_form"]


def images(figure) -> list:
    return [axes.images[0] for axes in figure.axes if axes.images and axes.get_label() != "<colorbar>"]


def numbers(axes) -> dict[tuple[int, int], str]:
    """What is written in each cell: (row, column) -> text."""
    cells = [text for text in axes.texts if all(value == int(value) for value in text.get_position())]
    return {
        (int(t.get_position()[1]), int(t.get_position()[0])): t.get_text()
        for t in cells
        if t.get_ha() == "center"
    }


@pytest.mark.parametrize("name", MAPS)
def test_all_maps_of_a_page_share_one_scale_that_is_symmetric_around_zero(whole_study, render, name):
    figure = render(name, whole_study())
    scales = {(image.norm.vmin, image.norm.vmax) for image in images(figure)}
    assert len(images(figure)) >= 4 and len(scales) == 1
    low, high = scales.pop()
    assert low == -high and lightness(DIVERGING(0.5)[:3]) > 99
    largest = max(np.abs(image.get_array()).max() for image in images(figure))
    assert largest <= high < largest + 0.05 + 1e-9


def test_values_beyond_one_do_not_stretch_the_scale(whole_study, render):
    summaries = whole_study()
    summaries.loc[summaries["scheme"] == "LT[3]", "estimate"] = -7.0
    limits = {image.norm.vmax for image in images(render("figure_layers", summaries))}
    assert max(limits) == 1.0 and len(limits) == 2  # heads have a scale of their own


def test_a_cell_has_the_summarys_number_at_its_component_and_layer(whole_study, render):
    summaries = whole_study()
    figure = render("figure_components", summaries)
    table = summaries[
        (summaries["experiment"] == "layer_component") & (summaries["metric"] == "recovered_logprob")
    ]
    estimates = table.set_index(["model", "scheme"])["estimate"]
    layout = [("LT", "{x}"), ("LT", "{x}-{y}"), ("FE", "{x}"), ("FE", "{x}-{y}")]
    models = ["tiny-gpt2", "tiny-pythia", "tiny-llama", "tiny-gemma"]
    seen = 0
    for place, axes in enumerate(figure.axes[:16]):
        at, window = layout[place // 4]
        rows = [t.get_text() for t in figure.axes[place // 4 * 4].get_yticklabels()]
        for (row, column), text in numbers(axes).items():
            scheme = f"{rows[row]}@{at}[{window.format(x=column, y=column + 1)}]"
            value = estimates[models[place % 4], scheme]
            assert axes.images[0].get_array()[row, column] == value
            assert text == percent(value)
            seen += 1
    assert seen == 2 * (6 + 5) * (8 * 2 + 9 * 2)  # gate is no part of GPT-2 and Pythia


def test_percent_has_no_minus_zero():
    values = (-0.0004, 0.0004, -0.004, 0.0095, -0.03, 1.0)
    minus = "\N{MINUS SIGN}"
    assert [percent(value) for value in values] == ["0", "0", f"{minus}.4", "1", f"{minus}3", "100"]


def test_heads_and_positions_stand_in_their_rows(make_summaries, render):
    figure = render("figure_layers", make_summaries(setup="maps"))
    rows = [[t.get_text() for t in axes.get_yticklabels()] for axes in figure.axes[:16:4]]
    assert rows == [[f"head {k}" for k in range(4)], *[["FE", "LT", "R", "rest"]] * 3]
    assert any("(FE+LT)^C" in text for text in texts(figure))


def test_ranges_that_grow_start_and_end_with_the_whole_model(make_summaries):
    summaries = make_summaries(["tiny-gpt2"], setup="maps")
    rows = bars_of(summaries, [0], setup="maps", experiment="position_layer", metric="recovered_logprob")
    rows = rows[rows["prompt"] == "qa"]
    single, up_to, from_ = (cells_of(rows, drawn).set_index(["row", "column"]) for drawn in POSITION_MAPS)
    assert up_to["scheme"]["FE", 3] == "FE[0-3]" and from_["scheme"]["FE", 3] == "FE[3-5]"
    assert up_to["scheme"]["FE", 0] == single["scheme"]["FE", 0] == "FE[0]"
    assert from_["scheme"]["rest", 5] == "(FE+LT)^C[5]"
    assert up_to["scheme"]["LT", 5] == from_["scheme"]["LT", 0] == "LT[0-5]"


def frames(axes) -> set[tuple[int, int]]:
    return {
        (round(p.get_y() + p.get_height() / 2), round(p.get_x() + p.get_width() / 2)) for p in axes.patches
    }


def test_a_model_of_fewer_layers_has_its_own_columns(make_summaries, render, study):
    study["models"] = ["tiny-gpt2", "tiny-llama"]
    summaries = make_summaries(study["models"], setup="maps")
    lower = summaries["scheme"].str.contains(r"\[(?:[0-3]|0-[1-3]|[12]-[23])\]") | summaries["scheme"].isin(
        ["PRE", "SFT"]
    )
    figure = render("figure_layers", summaries[(summaries["model"] == "tiny-gpt2") | lower])
    ticks = [[int(t.get_text()) for t in axes.get_xticklabels()] for axes in figure.axes if axes.images]
    # Made of a model of six: of the ranges that end with layer 3 there are the first and the last.
    assert ticks == [[*range(6)], [*range(4)]] * 3 + [[*range(6)], [0, 3]]


@pytest.mark.parametrize("name", ["figure_layers_smollm2", "figure_components_smollm2"])
def test_a_page_of_one_really_pretrained_model_has_its_numbers_alone(
    whole_study, make_summaries, render, name
):
    own = make_summaries(["smollm2-135m"], setup="maps", n=40)
    own.loc[own["metric"] == "recovered_logprob", "estimate"] /= 2
    figure = render(name, pd.concat([whole_study(), own], ignore_index=True))
    assert all(axes.get_title(loc="right") == "n = 40" for axes in figure.axes if axes.images)
    of_own = own[(own["metric"] == "recovered_logprob") & (own["prompt"] == "headline")]
    values = of_own.set_index(["experiment", "scheme"])["estimate"]
    cell = ("layer_component", "O@LT[3]") if "components" in name else ("position_layer", "LT[3]")
    column = [t.get_text() for t in figure.axes[0].get_yticklabels()].index("O") if "comp" in name else 1
    panel = figure.axes[0] if "components" in name else figure.axes[1]
    assert panel.images[0].get_array()[column, 3] == values[cell]


def test_cells_with_a_small_holm_p_are_framed_and_no_others(whole_study, render):
    summaries = whole_study(holm=True)
    figure = render("figure_components", summaries)
    axes = figure.axes[0]
    rows = [t.get_text() for t in axes.get_yticklabels()]
    table = summaries[(summaries["experiment"] == "layer_component") & (summaries["model"] == "tiny-gpt2")]
    p = table[table["metric"] == "recovered_logprob"].set_index("scheme")["p_holm"]
    expected = {
        (row, column)
        for row, name in enumerate(rows)
        for column in range(6)
        if (scheme := f"{name}@LT[{column}]") in p.index and p[scheme] <= 0.05
    }
    assert 0 < len(expected) < 48 and frames(axes) == expected
    assert any("Holm" in text for text in texts(figure))


def test_without_holm_the_page_says_that_intervals_are_not_corrected(whole_study, render):
    figure = render("figure_layers", whole_study())
    assert not any("Holm" in text for text in texts(figure))
    assert any("not corrected" in text for text in texts(figure))


def test_an_undefined_cell_has_no_colour(whole_study, render):
    summaries = whole_study()
    chosen = summaries["scheme"] == "FE[2]"
    summaries.loc[chosen, ["estimate", "low", "high"]] = [np.nan, -np.inf, np.inf]
    figure = render("figure_layers", summaries)
    axes = figure.axes[4]
    assert axes.images[0].get_array().mask[0, 2] and numbers(axes)[0, 2] == "n/a"


def test_numbers_stand_out_from_their_cell_in_grey(whole_study, render):
    for axes in render("figure_components", whole_study()).axes[:16]:
        image = axes.images[0]
        for text in axes.texts:
            x, y = text.get_position()
            if (int(y), int(x)) in numbers(axes) and text.get_text() == numbers(axes)[int(y), int(x)]:
                cell = image.cmap(image.norm(image.get_array()[int(y), int(x)]))[:3]
                assert abs(lightness(cell) - lightness(text.get_color())) >= 40


def test_cells_that_differ_in_n_are_refused(make_summaries, render):
    summaries = make_summaries(setup="maps")
    summaries.loc[summaries["scheme"] == "Q@LT[2]", "n"] = 119
    with pytest.raises(UserError, match=r"n differs.*119, 120"):
        render("figure_components", summaries)


def test_a_model_without_cells_is_named(make_summaries, render):
    summaries = pd.concat([make_summaries(setup="maps")])
    with pytest.raises(UserError, match="tiny-llama"):
        render("figure_components", summaries[summaries["model"] != "tiny-llama"])


def test_every_generated_scheme_is_a_cell_of_some_map(make_summaries):
    summaries = make_summaries(["tiny-llama"], setup="maps")
    rows = bars_of(summaries, [0], setup="maps", experiment="layer_component", metric="recovered_logprob")
    shown = pd.concat([cells_of(rows, drawn) for drawn in COMPONENT_MAPS])["scheme"]
    assert set(shown) == set(rows["scheme"]) - {"PRE", "SFT"}
