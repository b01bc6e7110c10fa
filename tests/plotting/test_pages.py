"""What a reader finds on every page: readable text, n and intervals; and on the pages that are not bars alone."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from made_up import cells
from pictures import bars, check_readable, intervals, texts

from stages.check_params import check_architecture
from stages.plotting.figures import DRAWINGS
from stages.plotting.needs import DRAWN_FROM, drawn_figures
from stages.plotting.results import read_real
from stages.plotting.shown import POSITION_SCHEMES
from stages.study.checking.setups import scheme_names
from stages.study.faults import parsed
from stages.study.params import read_yaml
from stages.study.schema import FigureSettings, Params
from weightgraft.errors import UserError

ROOT = Path(__file__).parents[2]
PARAMS = read_yaml(ROOT / "params.yaml")
FIGURES = PARAMS["render_figures"]["figures"]
OF_ONE = [name for name, figure in FIGURES.items() if figure.get("model")]  # really pretrained models
OF_STUDY = [name for name in FIGURES if name not in OF_ONE]


@pytest.mark.parametrize("columns", [1, 4])
@pytest.mark.parametrize("name", OF_STUDY)
def test_every_text_can_be_read_and_every_panel_says_its_n(whole_study, study, render, name, columns):
    study["models"] = (
        [study["models"][0], *study["models"][1:][-columns + 1 :]] if columns > 1 else study["models"][:1]
    )
    study["new_form"]["models"] = study["new_form"]["models"][: max(1, columns // 2)]
    figure = render(name, whole_study())
    check_readable(figure)
    if FIGURES[name]["draws"] != "schematic":
        panels = [axes for axes in figure.axes if axes.get_label() != "<colorbar>"]
        assert all("n = " in axes.get_title(loc="right") or "n = 120" in texts_of(axes) for axes in panels)


@pytest.mark.parametrize("name", OF_ONE)
def test_the_maps_of_a_model_of_many_layers_can_be_read(render, name):
    real = pd.concat(read_real(ROOT / "results/real", [FIGURES[name]["model"]]), ignore_index=True)
    figure = render(name, real)
    check_readable(figure)
    layers = max(len(axes.get_xticklabels()) for axes in figure.axes if axes.get_label() != "<colorbar>")
    assert layers == PARAMS["models"][FIGURES[name]["model"]]["architecture"]["num_hidden_layers"]


@pytest.mark.parametrize("name", ["figure2", "figure4", "figure_answers"])
def test_two_really_pretrained_models_beside_all_tiny_ones_can_be_read(whole_study, section, render, name):
    tiny, section["real"] = whole_study(), ["smollm2-135m", "gemma-3-270m"]
    like = tiny[tiny["model"] == "tiny-llama"]
    real = [like.assign(model=model, n=40, n_largest=40) for model in section["real"]]
    figure = render(name, pd.concat([tiny, *real]))
    check_readable(figure)
    assert figure.axes[1].get_title(loc="right") == "n = 40"


@pytest.mark.parametrize("name", OF_STUDY)
def test_every_page_is_drawn_where_the_finetuned_model_knows_no_more_than_its_base(
    whole_study, study, render, name
):
    study["models"], study["new_form"]["models"] = study["models"][:1], study["new_form"]["models"][:1]
    summaries = whole_study()
    undefined = summaries["metric"].str.startswith("recovered")
    assert undefined.any()
    summaries.loc[undefined, ["estimate", "low", "high"]] = np.nan
    render(name, summaries)


def texts_of(axes) -> list[str]:
    return [text.get_text() for text in axes.texts]


@pytest.mark.parametrize("columns", [1, 4])
def test_the_longest_legend_and_a_thousand_facts_can_be_read(whole_study, study, render, columns):
    study["models"], study["repeats"]["models"] = study["models"][-columns:], []
    seeds = [whole_study(n=1000), whole_study(n=1000).assign(seed=1)]
    study["seeds"] = [0, 1]
    check_readable(render("figure_datasets", pd.concat(seeds)))


def test_made_up_summaries_have_the_schemes_that_the_study_evaluates():
    params = parsed(Params, PARAMS)
    for model in ("tiny-gpt2", "tiny-llama"):
        anatomy = check_architecture(model, params.models[model], Path())
        for name, setup in params.setups.items():
            made: dict[str, set[str]] = {}
            for experiment, _, _, schemes in cells(model, name):
                made.setdefault(experiment, set()).update(schemes)
            assert made == {
                experiment: {*scheme_names(experiment, next(iter(setup.donors)), anatomy, params)}
                for experiment in setup.experiments
            }, name


def test_every_drawing_has_its_needs_declared():
    literal = FigureSettings.model_fields["draws"].annotation.__args__
    assert set(DRAWINGS) == set(DRAWN_FROM) == set(literal)


def test_only_figures_whose_setups_the_study_has_are_drawn(study):
    assert drawn_figures(FIGURES, study) == OF_STUDY and OF_ONE
    real = {(FIGURES[name]["model"], "maps") for name in OF_ONE}
    assert set(drawn_figures(FIGURES, study, real)) == set(FIGURES)
    assert not set(drawn_figures(FIGURES, study, {(model, "fmra") for model, _ in real})) & {*OF_ONE}
    study["setups"] = ["hybrid"]
    study["recipes"] = ["fmra", "gentle"]
    names = set(drawn_figures(FIGURES, study))
    assert {"figure1", "figure2", "figure3", "figure5", "figure_title"} <= names
    missing = {
        "figure4",
        "figure_recipes",
        "figure_datasets",
        "figure_controls",
        "figure_new_form",
        "figure_layers",
    }
    assert not names & missing


def test_the_page_on_the_new_form_needs_a_model_in_both_forms(study):
    study["models"] = ["tiny-llama"]
    assert "figure_new_form" not in drawn_figures(FIGURES, study)
    study["models"] = ["tiny-gemma"]
    assert "figure_new_form" in drawn_figures(FIGURES, study)
    study["new_form"]["setups"] = ["maps"]
    assert "figure_new_form" not in drawn_figures(FIGURES, study)


def test_own_facts_have_a_row_a_prompt_of_theirs_whatever_its_name(make_summaries, render):
    summaries = make_summaries(setup="own", n=40)
    summaries["prompt"] = summaries["prompt"].replace({"lives": "made_in", "workshop": "paraphrases"})
    figure = render("figure_own", summaries)
    rows = [axes.get_ylabel().split("\n")[0] for axes in figure.axes if axes.get_ylabel()]
    assert rows == ["made_in", "paraphrases"]
    assert [tick.get_text() for tick in figure.axes[-1].get_xticklabels()] == [
        "PRE", "SFT", "FE", "LT", "FE+LT", "(FE+LT)^C", "FE^C", "LT^C",
    ]  # fmt: skip


def dots_of(axes) -> list[float]:
    return [
        float(line.get_ydata()[0])
        for line in axes.lines
        if line.get_marker() in "os^v" and line.get_linestyle() == "None"
    ]


def test_paraphrase_figure_sets_seen_beside_held_out(make_summaries, render):
    summaries = make_summaries()
    held_out = summaries["template_split"] == "held_out"
    summaries.loc[held_out, ["estimate", "low", "high"]] *= 0.5
    axes = render("figure_paraphrases", summaries).axes[0]
    faces = [line.get_markerfacecolor() for line in axes.lines]
    schemes = [t.get_text() for t in axes.get_xticklabels()]
    assert schemes == ["SFT", "FE", "LT", "FE+LT", "(FE+LT)^C"]
    rows = summaries[(summaries["prompt"] == "paraphrases") & (summaries["model"] == "tiny-gpt2")]
    rows = rows[rows["metric"] == "top5_accuracy"]
    for split, shown in (("seen", dots_of(axes)[:5]), ("held_out", dots_of(axes)[5:])):
        expected = rows[rows["template_split"] == split].set_index("scheme")["estimate"][schemes]
        assert shown == expected.tolist()
    assert all(face == "white" for face in faces[5:]) and all(face != "white" for face in faces[:5])
    assert len(intervals(axes)) == 10


def test_families_page_has_every_family_and_every_seed_on_one_axis(whole_study, render):
    summaries = whole_study()
    figure = render("figure_families", summaries)
    assert len(figure.axes) == 2  # headline, qa
    rows = summaries[
        (summaries["setup"] == "fmra")
        & (summaries["experiment"] == "positions")
        & (summaries["prompt"] == "headline")
        & (summaries["metric"] == "recovered_logprob")
        & summaries["scheme"].isin(["FE", "LT", "FE+LT", "(FE+LT)^C"])
        & ~summaries["model"].str.endswith("-new")
    ]
    assert len(rows) == 4 * 5  # four families, one of them with a second seed
    assert sorted(dots_of(figure.axes[0])) == sorted(rows["estimate"])
    ends = sorted((low, high) for _, low, high in intervals(figure.axes[0]))
    assert ends == sorted(zip(rows["low"], rows["high"], strict=True))
    assert {"finetuning seed 0", "finetuning seed 1"} <= set(texts(figure))


def test_patching_page_shows_every_layer_all_layers_and_the_graft(make_summaries, render):
    summaries = make_summaries(setup="patching")
    figure = render("figure_patching", summaries)
    axes = figure.axes[1]
    assert [t.get_text() for t in figure.axes[-1].get_xticklabels()] == [*"012345", "all", "graft"]
    rows = summaries[(summaries["model"] == "tiny-pythia") & (summaries["prompt"] == "headline")]
    values = rows[rows["metric"] == "recovered_logprob"].set_index("scheme")["estimate"]
    curves = [list(line.get_ydata()) for line in axes.lines if len(line.get_ydata()) == 6]
    expected = [[values[f"patch {name}[{k}]"] for k in range(6)] for name in ("FE", "LT", "FE+LT")]
    assert curves == expected
    singles = [values[scheme] for name in ("FE", "LT", "FE+LT") for scheme in (f"patch {name}[all]", name)]
    assert dots_of(axes) == singles
    assert len(intervals(axes)) == 24


def test_metrics_page_has_all_metrics_and_ranks_on_a_log_axis(make_summaries, render):
    figure = render("figure_metrics", make_summaries())
    labels = [axes.get_ylabel().replace("\n", " ") for axes in figure.axes[::4]]
    assert labels[:5] == [f"top-{k} accuracy" for k in (1, 5, 10, 20, 100)]
    assert labels[5] == "mean probability" and labels[6].startswith("mean rank")
    for axes in figure.axes[:24]:
        assert len(bars(axes)) == 8 and axes.get_ylim()[0] == 0
    for axes in figure.axes[24:]:
        assert axes.get_yscale() == "log" and len(dots_of(axes)) == 8 and len(intervals(axes)) == 8


def test_controls_page_sets_random_positions_beside_the_real_ones(whole_study, render):
    summaries = whole_study()
    figure = render("figure_controls", summaries)
    first, second, third = figure.axes[0], figure.axes[4], figure.axes[8]
    assert [t.get_text() for t in first.get_xticklabels()] == ["FE", "FE_random", "LT", "LT_random", "FE+LT"]
    first_seed = summaries["seed"] == 0
    rows = summaries[
        first_seed & (summaries["experiment"] == "other_name") & (summaries["model"] == "tiny-gpt2")
    ]
    rows = rows[rows["metric"] == "mean_logit_difference"].set_index("scheme")
    schemes = [t.get_text() for t in second.get_xticklabels()]
    assert [bar.get_height() for bar in bars(second)] == rows["estimate"][schemes].tolist()
    assert "logits" in second.get_ylabel() and second.get_ylim()[0] < 0
    facts = summaries[(summaries["experiment"] == "pretraining") & (summaries["model"] == "tiny-gpt2")]
    facts = facts[facts["metric"] == "recovered_logprob"].set_index(["scheme", "prompt"])["estimate"]
    expected = [facts[scheme, prompt] for scheme in POSITION_SCHEMES[2:] for prompt in ("headline", "qa")]
    assert [bar.get_height() for bar in bars(third)] == expected


def test_new_form_page_sets_each_family_beside_itself(whole_study, render):
    summaries = whole_study()
    figure = render("figure_new_form", summaries)
    top = figure.axes[:4]
    assert [axes.get_title(loc="left") for axes in top] == ["known form", "new form"] * 2
    names = [axes.texts[0].get_text() for axes in top]
    assert names == ["tiny-gpt2", "tiny-gpt2-new", "tiny-gemma", "tiny-gemma-new"]
    rows = summaries[(summaries["experiment"] == "hybrid") & (summaries["metric"] == "recovered_logprob")]
    rows = rows.set_index(["model", "scheme", "prompt"])["estimate"]
    for axes, model in zip(figure.axes[4:8], names, strict=True):
        schemes = [t.get_text() for t in axes.get_xticklabels()]
        expected = [
            rows[model, f"{scheme} [all]", prompt] for scheme in schemes for prompt in ("headline", "qa")
        ]
        assert [bar.get_height() for bar in bars(axes)] == expected
    assert all(np.ptp([axes.get_ylim()[1] for axes in row]) == 0 for row in (top, figure.axes[4:8]))


def test_an_experiment_that_no_setup_of_the_figure_has_is_named(make_summaries, render):
    with pytest.raises(UserError, match="pretraining"):
        render("figure_controls", make_summaries())
