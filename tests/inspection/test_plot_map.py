"""Claims about what people call in a notebook: score_map without the command line, and plot_map into axes of their own."""

from dataclasses import replace

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from pictures import check_readable, texts

import weightgraft
from weightgraft import GraftedModel, Prompt, parse_scheme, plot_map, score_map
from weightgraft.inspection.picture import draw_inspection
from weightgraft.loading.models import load_grafted
from weightgraft.style import RC


@pytest.fixture(scope="module")
def engine(folder) -> GraftedModel:
    return load_grafted(folder / "base", {"sft": folder / "sft"}, torch.float32, torch.device("cpu"))


@pytest.fixture(scope="module")
def found(engine, prompt):
    return score_map(engine, prompt, "sft")


@pytest.fixture(autouse=True)
def no_figures_left():
    with matplotlib.rc_context({"backend": "agg"}):
        yield
        plt.close("all")


def values(axes) -> np.ndarray:
    return np.asarray(axes.images[0].get_array())


def test_a_map_knows_what_pre_and_sft_give_the_target(engine, prompt, found):
    scores = engine.score([prompt], [parse_scheme(text, donor="sft") for text in ("PRE", "SFT")])
    assert [found.pre, found.sft] == pytest.approx(scores.joint_logprob[0].tolist(), abs=1e-4)  # float32
    assert abs(found.sft - found.pre) > 0.1 and found.prompt == prompt
    assert found.recovered.shape == (len(found.rows), len(prompt.tokens))


def test_plot_map_draws_the_cells_of_the_commands_picture(document, found, tokenizer):
    with matplotlib.rc_context(RC):
        picture = draw_inspection(document)
    axes = plot_map(found, tokenizer)
    np.testing.assert_allclose(
        values(axes), values(picture.axes[0]), atol=1e-3
    )  # float32, a gain of some nats
    for one in ("get_xticklabels", "get_yticklabels"):
        told, theirs = ([label.get_text() for label in getattr(a, one)()] for a in (axes, picture.axes[0]))
        assert told == theirs
    assert {*found.prompt.positions} <= {*texts(axes.figure)}


def test_a_map_is_readable_in_a_figure_of_its_own_and_beside_another(found, tokenizer):
    axes = plot_map(found, tokenizer)
    axes.set_title("Where Bob Ray comes back")
    check_readable(axes.figure)
    figure = Figure(figsize=(13, 5), layout="constrained")
    both = figure.subplots(1, 2)
    for given in both:
        assert plot_map(found, tokenizer, given, limit=0.5) is given
    check_readable(figure)
    assert {given.images[0].norm.vmax for given in both} == {0.5}


def test_changes_are_drawn_where_sft_does_not_beat_pre(found, tokenizer):
    axes = plot_map(replace(found, sft=found.pre + 0.05), tokenizer)
    np.testing.assert_allclose(values(axes), (found.cells - found.pre).numpy(), atol=1e-6)
    assert "nats" in " ".join(texts(axes.figure))


def test_the_first_map_leaves_how_a_notebook_shows_figures(found, tokenizer, monkeypatch):
    """Jupyter makes pyplot interactive when the first figure is made; were that undone, no later figure would be shown."""
    made = plt.subplots

    def subplots(*args, **more):
        plt.ion()
        return made(*args, **more)

    monkeypatch.setattr(plt, "subplots", subplots)
    plt.ioff()
    size = matplotlib.rcParams["font.size"]
    plot_map(found, tokenizer)
    assert plt.isinteractive() and matplotlib.rcParams["font.size"] == size
    plt.ioff()


def test_what_cannot_be_drawn_or_asked_is_refused(engine, found, tokenizer):
    with pytest.raises(ValueError, match=r"limit 0\.0"):
        plot_map(found, tokenizer, limit=0.0)
    with pytest.raises(ValueError, match="a map needs a target"):
        score_map(engine, Prompt(tokens=(1, 2)), "sft")
    with pytest.raises(ValueError, match="other"):
        score_map(engine, found.prompt, "other")


def test_every_public_name_is_there():
    assert all(getattr(weightgraft, name) for name in weightgraft.__all__)
