"""Made-up summaries in the summaries' own form, and params for them."""

import copy
from collections.abc import Callable
from pathlib import Path

import matplotlib
import pandas as pd
import pytest
from made_up import METRICS, RECIPES, SETUPS, made_up_summary

from stages.plotting.figures import draw
from stages.plotting.results import read_published
from stages.study.items import summary_items
from stages.study.params import read_yaml
from weightgraft.style import RC

REPOSITORY = Path(__file__).parents[2]
SECTION = read_yaml(REPOSITORY / "params.yaml")["render_figures"]
MODELS = ["tiny-gpt2", "tiny-pythia", "tiny-llama", "tiny-gemma"]


@pytest.fixture(autouse=True)
def style():
    with matplotlib.rc_context(RC):
        yield


@pytest.fixture(scope="session")
def published() -> dict[str, pd.DataFrame]:
    return read_published(REPOSITORY / "data" / "published")


@pytest.fixture
def section() -> dict:
    """The section render_figures of the repository's params.yaml."""
    return copy.deepcopy(SECTION)


@pytest.fixture
def study() -> dict:
    """Four models in one seed, one of them in a second, two in the new form; every setup."""
    return {
        "models": MODELS,
        "seeds": [0],
        "recipes": [*RECIPES],
        "setups": [*SETUPS],
        "own": ["own"],
        "repeats": {"models": ["tiny-gpt2"], "seeds": [1], "recipes": ["fmra"]},
        "new_form": {
            "models": ["tiny-gpt2-new", "tiny-gemma-new"],
            "recipes": ["fmra"],
            "setups": ["hybrid", "maps"],
        },
    }


@pytest.fixture(scope="session")
def made() -> Callable[..., pd.DataFrame]:
    """Made-up summaries, each made once: (model, seed, setup, n, metrics) -> table."""
    kept: dict[tuple, pd.DataFrame] = {}

    def make(model: str, seed: int, setup: str, n: int = 120, holm: bool = False) -> pd.DataFrame:
        key = (model, seed, setup, n, holm)
        if key not in kept:
            kept[key] = made_up_summary(model, seed, setup, n=n, metrics=METRICS, holm=holm)
        return kept[key]

    return make


@pytest.fixture
def make_summaries(made) -> Callable[..., pd.DataFrame]:
    """Summaries of one setup, or of all that a study lists: a fresh table that a test may change."""

    def make(
        models: list[str] = MODELS, setup: str = "fmra", seed: int = 0, n: int = 120, holm: bool = False
    ) -> pd.DataFrame:
        return pd.concat([made(model, seed, setup, n, holm) for model in models], ignore_index=True)

    return make


@pytest.fixture
def whole_study(made, study) -> Callable[..., pd.DataFrame]:
    """The summaries of everything the study lists, as the study is when this is called."""

    def make(n: int = 120, holm: bool = False) -> pd.DataFrame:
        return pd.concat([made(*item, n, holm) for item in summary_items(study)], ignore_index=True)

    return make


@pytest.fixture
def render(published, study, section):
    """Draw a figure of params.yaml by its name, or with other wishes, from the summaries given."""

    def drawn(name: str, summaries: pd.DataFrame, **wishes):
        wanted = section["figures"].get(name, {}) | wishes
        return draw(name, wanted, summaries, published, study, section)

    return drawn
