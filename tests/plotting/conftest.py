"""Made-up summaries in the summaries' own form, and params for them."""

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from stages.params import read_yaml
from stages.plotting.figures import POSITION_SCHEMES, TITLE_GROUPS

REPOSITORY = Path(__file__).parents[2]
MODELS = ["tiny-gpt2", "tiny-pythia", "tiny-llama", "tiny-gemma"]
TITLE_SCHEMES = [scheme for group in TITLE_GROUPS.values() for scheme in group]
PROMPTS = ("headline", "qa", "movie_title", "long")
CELLS = (
    *(("positions", prompt, "seen", POSITION_SCHEMES) for prompt in PROMPTS),
    *(("positions", "paraphrases", split, POSITION_SCHEMES) for split in ("seen", "held_out")),
    *(("title", prompt, "seen", TITLE_SCHEMES) for prompt in ("movie_title", "long")),
)
METRICS = ("top5_accuracy", "recovered_logprob")


@pytest.fixture
def make_summaries() -> Callable[..., pd.DataFrame]:
    """A function that makes summaries; a scheme's estimate is .1, .2, ... by its place, plus .01 a model."""

    def make(models: list[str] = MODELS, recipe: str = "fmra", seed: int = 0, n: int = 120) -> pd.DataFrame:
        columns = "model seed recipe dataset experiment prompt template_split direction scheme metric n"
        rows = [
            (model, seed, recipe, recipe, experiment, prompt, split, "ab", scheme, metric, n, value)
            for m, model in enumerate(models)
            for experiment, prompt, split, schemes in CELLS
            for metric in METRICS
            for value, scheme in (((s % 9 + 1) / 10 + m / 100, scheme) for s, scheme in enumerate(schemes))
        ]
        table = pd.DataFrame(rows, columns=[*columns.split(), "estimate"])
        return table.assign(low=table["estimate"] - 0.05, high=table["estimate"] + 0.04)

    return make


@pytest.fixture
def section() -> dict:
    """The section render_figures of the repository's params.yaml."""
    return read_yaml(REPOSITORY / "params.yaml")["render_figures"]


@pytest.fixture
def study() -> dict:
    """Four models, one seed, one recipe."""
    return {"models": MODELS, "seeds": [0], "recipes": ["fmra"]}
