"""What the tests of the engine share: a pair of models, prompts for them, and few threads (the models are tiny)."""

import pytest
import torch
from tiny_models import tiny_model
from transformers import PreTrainedModel

from stages.grafting import GraftedModel, Prompt


@pytest.fixture(autouse=True, scope="session")
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


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
