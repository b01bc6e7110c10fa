"""What the tests of the engine share: a pair of models and prompts for them."""

import pytest
from tiny_models import tiny_model
from transformers import PreTrainedModel

from weightgraft import GraftedModel, Prompt


@pytest.fixture(scope="session")
def pre() -> PreTrainedModel:
    return tiny_model("llama", seed=0)


@pytest.fixture(scope="session")
def sft() -> PreTrainedModel:
    return tiny_model("llama", seed=1)


@pytest.fixture(scope="session")
def grafted(pre, sft) -> GraftedModel:
    return GraftedModel(pre, {"sft": sft})


@pytest.fixture(scope="session")
def prompts() -> list[Prompt]:
    """Three shapes, one of them twice, targets of one to three tokens."""
    return [
        Prompt(tokens=(7, 12, 45, 3, 18, 9), positions={"FE": (1, 2)}, target=(30,), foil=4),
        Prompt(tokens=(7, 50, 13, 3, 18, 9), positions={"FE": (1, 2)}, target=(31,), foil=5),
        Prompt(tokens=(22, 1, 33, 60, 2, 8, 14, 0), positions={"FE": (2, 3, 4)}, target=(11, 12), foil=6),
        Prompt(tokens=(40, 41, 42), positions={"FE": (0,)}, target=(5, 6, 7), foil=8),
    ]
