"""A figure that cannot be drawn is an error in one line before any work."""

import copy
from pathlib import Path

import pytest

from stages.study.checking.figures import check_figures
from stages.study.faults import parsed
from stages.study.params import read_yaml
from stages.study.schema import Params
from weightgraft.errors import UserError

REPOSITORY = Path(__file__).parents[2]
PARAMS = read_yaml(REPOSITORY / "params.yaml")
PUBLISHED = REPOSITORY / "data/published/position_grafting.csv"


def changed(*changes: tuple[str, object]) -> Params:
    """The params with values changed by dotted key; None removes the key."""
    values = copy.deepcopy(PARAMS)
    for key, value in changes:
        *sections, last = key.split(".")
        node = values
        for section in sections:
            node = node[section]
        if value is None:
            del node[last]
        else:
            node[last] = value
    return parsed(Params, values)


def test_the_committed_figures_can_be_drawn():
    check_figures(changed(), PUBLISHED)


@pytest.mark.parametrize(
    ("key", "value", "parts"),
    [
        ("figures.figure2.setup", "fmrb", ["figure2.setup", "'fmrb'", "did you mean 'fmra'", "hybrid"]),
        ("figures.figure2.setup", ["fmra", "fmfa"], ["figure2.setup", "positions", "one setup"]),
        ("figures.figure2.setup", 3, ["figure2.setup is 3", "name"]),
        ("figures.figure2.setup", None, ["figure2.setup", "'positions'", "fmfa, fmra"]),
        ("figures.figure2.metric", None, ["missing key", "figure2.metric"]),
        (
            "figures.figure2.metric",
            "top6_accuracy",
            ["figure2.metric", "top6_accuracy", "did you mean", "recovered_top5"],
        ),
        (
            "figures.figure2.draws",
            "title_page",
            ["figure2.draws", "title_page", "did you mean 'title'", "patching"],
        ),
        ("figures.figure2.draws", "patching", ["figure2.setup", "'fmra'", "patching"]),
        ("figures.figure1.metric", "top5_accuracy", ["figure1.metric", "schematic", "none"]),
        ("figures.figure1.setup", "fmra", ["figure1.setup", "'fmra'", "no data"]),
        ("figures.figure_recipes.setup", ["fmra"], ["figure_recipes.setup", "2 to 3"]),
        ("figures.figure_recipes.setup", ["fmra", "fmra"], ["figure_recipes.setup", "once"]),
        ("figures.figure_recipes.setup", ["fmra", "maps"], ["figure_recipes.setup", "'maps'", "positions"]),
        (
            "figures.figure_paraphrases.setup",
            "fmfa",
            ["figure_paraphrases", "fmfa", "'paraphrases'", "headline"],
        ),
        (
            "figures.figure_layers.metric",
            "top1_accuracy",
            ["figure_layers.metric", "top1_accuracy", "recovered_logprob"],
        ),
        ("figures.figure2.model", "smollm2-135m", ["figure2.model", "component_map and position_map"]),
        ("figures.figure_layers.model", "tiny-gpt2", ["figure_layers.model", "source", "'tiny-gpt2'"]),
        ("figures.figure_controls.setup", ["fmra"], ["figure_controls.setup", "'pretraining'"]),
        ("figures.figure2.recipe", "fmra", ["unknown key", "figure2.recipe", "setup"]),
        ("colours", {"FE+TL": "#123456"}, ["render_figures.colours", "FE+TL", "'TL'", "LT"]),
        ("colours", {"(FE": "#123456"}, ["render_figures.colours", "(FE"]),
        ("counterparts", {"tiny-gpt2": "gpt2-xxl"}, ["counterparts", "gpt2-xxl", "did you mean 'gpt2-xl'"]),
        ("counterparts", {"tiny-gpt3": "gpt2-xl"}, ["counterparts", "tiny-gpt3", "tiny-gpt2"]),
    ],
)
def test_a_figure_that_cannot_be_drawn_is_named(key, value, parts):
    with pytest.raises(UserError) as caught:
        check_figures(changed((f"render_figures.{key}", value)), PUBLISHED)
    message = str(caught.value)
    assert "\n" not in message
    for part in parts:
        assert part in message


def test_a_study_that_no_figure_shows_is_refused():
    only = ("render_figures.figures", {"figure3": PARAMS["render_figures"]["figures"]["figure3"]})
    with pytest.raises(UserError, match="fmfa"):
        check_figures(changed(only, ("study.recipes", ["fmfa"]), ("study.setups", [])), PUBLISHED)


def test_figures_of_the_other_direction_are_refused():
    with pytest.raises(UserError, match=r"graft\.directions"):
        check_figures(changed(("graft.directions", ["ba"])), PUBLISHED)
