"""Sentences under figures: they say the summaries' numbers and nothing else, and only what intervals support."""

import re

import numpy as np
import pandas as pd
import pytest
from made_up_study import FIGURES, REPOSITORY, STUDY, made_up_summary

from stages.plotting.needs import DRAWN_FROM, setups_of
from stages.reporting.kinds import KINDS, caption, sentences
from stages.reporting.phrases import NotMeasuredError, compared, estimate, number, spread
from stages.study.items import summary_items
from stages.study.params import read_yaml

TRIPLE = re.compile(r"-?\d+\.\d+ \[-?\d+\.\d+, -?\d+\.\d+\]")


@pytest.fixture(scope="module")
def summaries() -> pd.DataFrame:
    return pd.concat([made_up_summary(*item) for item in summary_items(STUDY)], ignore_index=True)


@pytest.fixture(scope="module")
def told(summaries) -> pd.Series:
    """How every row of the summaries would be told."""
    columns = (summaries[name] for name in ("estimate", "low", "high", "metric"))
    return pd.Series([estimate(*values) for values in zip(*columns, strict=True)], summaries.index)


@pytest.mark.parametrize("name", FIGURES)
def test_every_number_in_a_sentence_is_one_of_the_figures_summaries(name, summaries, told):
    figure = FIGURES[name]
    rows = summaries[summaries["setup"].isin(setups_of(figure))]
    known = set(told[rows.index])
    said = " ".join(sentences(figure, summaries, STUDY))
    assert set(TRIPLE.findall(said)) <= known
    # What is left of numbers: no decimals but those in schemes' names (strengths of donors), n, layers, top-k, tiny-gpt2, seeds.
    rest, named = TRIPLE.sub("", said), " ".join(rows["scheme"].unique())
    assert set(re.findall(r"\d+\.\d+", rest)) <= set(re.findall(r"\d+\.\d+", named)), rest
    assert {int(n) for n in re.findall(r"n = (\d+)", rest)} <= set(rows["n"])


@pytest.mark.parametrize("name", sorted(set(FIGURES) - {"figure1"}))
def test_every_figure_has_sentences_with_numbers(name, summaries):
    said = sentences(FIGURES[name], summaries, STUDY)
    assert 2 <= len(said) <= (3 if FIGURES[name]["draws"] == "controls" else 2)
    assert TRIPLE.search(said[0]) or TRIPLE.search(said[1])
    assert all(sentence[0].isupper() or sentence[0] == "(" for sentence in said)
    assert all(sentence.endswith(".") for sentence in said)


def test_every_kind_of_drawing_has_a_caption_here():
    assert set(DRAWN_FROM) <= set(KINDS)


def test_every_figure_of_the_study_has_two_sentences(summaries):
    figures = read_yaml(REPOSITORY / "params.yaml")["render_figures"]["figures"]
    for name, figure in figures.items():
        assert len(sentences(figure, summaries, STUDY)) >= 2 or figure["draws"] == "schematic", name
        assert caption(figure).endswith("."), name


def test_a_number_that_changes_changes_its_sentence(summaries):
    figure = FIGURES["figure2"]
    where = (
        (summaries["setup"] == "fmra")
        & (summaries["experiment"] == "positions")
        & (summaries["prompt"] == "headline")
    )
    where &= (
        (summaries["metric"] == "top5_accuracy") & (summaries["scheme"] == "FE+LT") & (summaries["seed"] == 0)
    )
    changed = summaries.copy()
    changed.loc[where & (changed["model"] == "tiny-llama"), ["estimate", "low", "high"]] = [5.25, 5.125, 5.5]
    assert "5.25 [5.12, 5.50] (tiny-llama)" in sentences(figure, changed, STUDY)[0]
    assert "5.25" not in sentences(figure, summaries, STUDY)[0]


def test_what_was_not_measured_is_not_written(summaries):
    without = summaries[summaries["scheme"] != "(FE+LT)^C"]
    said = sentences(FIGURES["figure2"], without, STUDY)
    assert len(said) == 1 and said[0].startswith("Alone, LT")
    assert sentences(FIGURES["figure4"], summaries[summaries["setup"] != "reversal"], STUDY) == []
    assert sentences({"draws": "something new"}, summaries, STUDY) == []


def rows(**values: tuple[float, float, float]) -> pd.DataFrame:
    """model=(low, estimate, high), underscores for hyphens."""
    return pd.DataFrame(
        [
            (model.replace("_", "-"), 0, "top5_accuracy", "headline", 120, *ends)
            for model, ends in values.items()
        ],
        columns=["model", "seed", "metric", "prompt", "n", "low", "estimate", "high"],
    )


@pytest.mark.parametrize(
    ("a", "b", "told"),
    [
        ((0.5, 0.6, 0.7), (0.2, 0.3, 0.4), "A is above B in m"),
        ((0.2, 0.3, 0.4), (0.5, 0.6, 0.7), "A is below B in m"),
        ((0.2, 0.3, 0.5), (0.5, 0.6, 0.7), "the intervals of A and B overlap in m"),  # they touch
        ((0.5, 0.6, 0.7), (0.2, 0.3, 0.5), "the intervals of A and B overlap in m"),
        ((0.5, 0.6, 0.7), (0.4, 0.5, 0.6), "the intervals of A and B overlap in m"),
        ((-np.inf, np.nan, np.inf), (0.5, 0.6, 0.7), "A against B is undefined in m"),
        ((np.nan, np.nan, np.nan), (0.5, 0.6, 0.7), "A against B is undefined in m"),
    ],
)
def test_above_and_below_are_said_only_where_intervals_do_not_meet(a, b, told):
    assert compared("A", rows(m=a), "B", rows(m=b)) == told


def test_models_on_which_a_comparison_differs_are_named():
    a = rows(x=(0.5, 0.6, 0.7), y=(0.5, 0.6, 0.7), z=(0.1, 0.2, 0.3), w=(-np.inf, 0.2, np.inf))
    b = rows(x=(0.1, 0.2, 0.3), y=(0.5, 0.6, 0.7), z=(0.5, 0.6, 0.7), w=(0.1, 0.2, 0.3))
    told = "A is above B in x and below it in z (their intervals overlap in y; undefined in w)"
    assert compared("A", a, "B", b) == told
    assert compared("A", a[:3], "B", a[:3]) == "the intervals of A and B overlap in all 3 models"
    assert compared("A", a, "B", a) == "the intervals of A and B overlap in x, y and z (undefined in w)"


def test_a_model_without_both_is_no_comparison():
    assert (
        compared("A", rows(x=(0.5, 0.6, 0.7), y=(0.5, 0.6, 0.7)), "B", rows(x=(0.1, 0.2, 0.3)))
        == "A is above B in x"
    )
    with pytest.raises(NotMeasuredError):
        compared("A", rows(x=(0.5, 0.6, 0.7)), "B", rows(y=(0.5, 0.6, 0.7)))


def test_a_range_goes_from_the_least_to_the_most():
    found = rows(x=(0.5, 0.6, 0.7), y=(0.8, 0.9, 1.0), z=(0.1, 0.2, 0.3))
    assert spread(found) == "0.20 [0.10, 0.30] (z) to 0.90 [0.80, 1.00] (y)"
    assert spread(found.head(1)) == "0.60 [0.50, 0.70]"
    assert spread(rows(x=(0.5, 0.6, 0.7), y=(0.5, 0.6, 0.7))) == "0.60 [0.50, 0.70] in both models"
    assert spread(rows(x=(-np.inf, np.nan, np.inf))) == "undefined"


def test_seeds_are_named_where_a_model_has_several():
    found = rows(x=(0.5, 0.6, 0.7), y=(0.1, 0.2, 0.3))
    both = pd.concat([found, found.head(1).assign(seed=1, estimate=0.65)], ignore_index=True)
    assert spread(both) == "0.20 [0.10, 0.30] (y) to 0.65 [0.50, 0.70] (x seed 1)"


def test_numbers_have_two_decimals_and_ranks_one():
    assert [number(value) for value in (0.005, -0.001, -0.126, np.nan, np.inf)] == [
        "0.01",
        "0.00",
        "-0.13",
        "undefined",
        "∞",
    ]
    assert number(3.14, "mean_rank") == "3.1"


def test_holms_correction_is_told_where_it_was_made(summaries):
    figure = FIGURES["figure_components_map"]
    tested = summaries.assign(p_holm=np.where(summaries["scheme"] == "O@LT[3]", 0.01, 0.5))
    models = len(STUDY["models"])
    assert (
        f"over all models {models} of {18 * models} differ from PRE (Holm's p at most 0.05)."
        in sentences(figure, tested, STUDY)[0]
    )
    assert "Holm" not in sentences(figure, summaries, STUDY)[0]


def test_a_page_of_one_model_names_it_and_counts_its_cells_alone(summaries):
    figure = FIGURES["figure_components_map"] | {"model": "tiny-llama"}
    assert ", in tiny-llama, a really pretrained model" in caption(figure)
    tested = summaries.assign(p_holm=np.where(summaries["scheme"] == "O@LT[3]", 0.01, 0.5))
    said = sentences(figure, tested, STUDY | {"models": ["tiny-llama"]})[0]
    assert re.search(r"; 1 of \d+ differ from PRE", said) and "tiny-gpt2" not in said


def test_the_cell_named_of_a_map_is_its_largest(summaries):
    cells = summaries[(summaries["setup"] == "maps") & (summaries["experiment"] == "heads")]
    cells = cells[(cells["prompt"] == "headline") & (cells["metric"] == "recovered_logprob")]
    cells = cells[(cells["model"] == "tiny-llama") & cells["scheme"].str.startswith("O{")]
    head, layer = re.findall(r"\d+", cells.loc[cells["estimate"].idxmax(), "scheme"])
    said = sentences(FIGURES["figure_positions_map"], summaries, STUDY)[1]
    assert f"head {head} of layer {layer} in tiny-llama, {number(cells['estimate'].max())} [" in said


def test_only_the_families_page_speaks_of_other_seeds(summaries):
    speaking = {
        name for name, figure in FIGURES.items() if "seed 1" in " ".join(sentences(figure, summaries, STUDY))
    }
    assert speaking == {"figure_families"}
