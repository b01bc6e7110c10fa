"""Claims about running out of memory: half the budget, the same scores, and one clear line where nothing is left to halve."""

import re

import numpy as np
import pandas as pd
import pytest
import torch

from stages.evaluation import chunks, setups
from stages.evaluation.budgets import within_memory
from weightgraft.engine.scores import Scores
from weightgraft.errors import UserError

FITS = 320  # tokens of a pass
EMPTY = Scores(**{name: torch.zeros(0, 0, dtype=torch.long) for name in ("target_rank", "top1_token")},
               **{name: torch.zeros(0, 0) for name in ("target_logprob", "target_logit", "foil_logit", "joint_logprob")},
               watched_mass=torch.zeros(0, 0),
               exact_match=torch.zeros(0, 0, dtype=torch.bool))  # fmt: skip


@pytest.fixture(autouse=True)
def undisturbed(request):
    """The tables to compare with are made before memory is made short."""
    request.getfixturevalue("table")("patching")


@pytest.fixture
def passes(monkeypatch) -> list[int]:
    """Tokens of every pass that was tried. More than FITS at once are out of memory, in the engine and in stock models."""
    tried, embed = [], torch.nn.functional.embedding

    def counted(tokens, weight, *rest):
        if weight.shape[0] > 200:  # of words, not of positions
            tried.append(tokens.numel())
            if tokens.numel() > FITS:
                raise torch.OutOfMemoryError(
                    "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has 1 GiB free."
                )
        return embed(tokens, weight, *rest)

    monkeypatch.setattr(torch.nn.functional, "embedding", counted)
    # The engine asks models beforehand that run somebody's own code, as that function is.
    monkeypatch.setattr("weightgraft.engine.model.probe", lambda models, limit, *rest: limit)
    return tried


def budgets_in(said: str) -> list[int]:
    return [int(tokens) for tokens in re.findall(r"token budget now (\d+)", said)]


def test_out_of_memory_halves_the_budget_and_changes_no_score(evaluate, table, passes, capfd):
    expected = table("patching")  # schemes and patches
    passes.clear()
    capfd.readouterr()
    scores = pd.read_parquet(evaluate("patching", "halved.parquet"))
    said = budgets_in(capfd.readouterr().err)
    assert said == [2048, 1024, 512, 256][: len(said)] and said[-1] <= 512
    assert len([tokens for tokens in passes if tokens > FITS]) == len(said)
    assert list(scores["scheme"]) == list(expected["scheme"])
    for column in ("target_logprob", "target_logit", "foil_logit"):
        assert np.allclose(
            scores[column], expected[column], atol=1e-5
        )  # other batches round differently: float32
    assert (scores["target_rank"] == expected["target_rank"]).all()


def test_a_halved_budget_stays_so_and_only_its_chunk_is_begun_anew(evaluate, passes, monkeypatch, capfd):
    monkeypatch.setattr(chunks, "WORK_A_CHUNK", 2**26)
    begun, score_chunk = [], setups.score_chunk

    def counted(chunk, *rest):
        begun.append(chunk)
        return score_chunk(chunk, *rest)

    monkeypatch.setattr(setups, "score_chunk", counted)
    capfd.readouterr()
    evaluate("patching", "halved in chunks.parquet")
    said = budgets_in(capfd.readouterr().err)
    assert said and said == [
        4096 // 2**time for time in range(1, len(said) + 1)
    ]  # the next chunks begin with the last one
    assert len(begun) == len({repr(chunk) for chunk in begun}) > 3


@pytest.mark.parametrize("setup", ["hybrid", "patching"])
def test_out_of_memory_with_one_prompt_is_said_in_one_line(setup, evaluate, passes, monkeypatch):
    monkeypatch.setattr(f"{__name__}.FITS", 3)
    with pytest.raises(UserError) as raised:
        evaluate(setup, "none.parquet")
    message = str(raised.value)
    assert "\n" not in message
    assert all(part in message for part in (f"{setup}: ", "out of memory", "one prompt", "bfloat16", "lora"))


def test_the_budget_is_halved_until_it_fits_and_not_beyond():
    tried = []

    def attempt(tokens: int) -> Scores:
        tried.append(tokens)
        if tokens > 100:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1 GiB.")
        return EMPTY

    assert within_memory(attempt, 1000, lambda: [40, 50], "label") == (EMPTY, 62)
    assert tried == [1000, 500, 250, 125, 62]
    tried.clear()
    with pytest.raises(UserError, match="label: out of memory with one prompt a pass, of up to 80 tokens"):
        within_memory(attempt, 1000, lambda: [70, 80], "label")
    assert tried == [1000, 500, 250, 125]  # two prompts of 70 tokens do not fit 125


def test_another_error_is_no_reason_to_try_again():
    def attempt(tokens: int) -> Scores:
        raise RuntimeError("shapes do not fit")

    with pytest.raises(RuntimeError, match="shapes do not fit"):
        within_memory(attempt, 1000, lambda: [1], "label")
