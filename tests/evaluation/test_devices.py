"""Claims about dtype and device: what models are loaded as, where to, and what becomes of their logits."""

import numpy as np
import pandas as pd
import pytest
import torch

from stages.evaluation import models
from stages.evaluation.chunks import processes
from stages.evaluation.models import load_models
from weightgraft.errors import UserError


@pytest.mark.parametrize("setup", ["patching", "lora"])
def test_bfloat16_models_are_scored_from_float32_logits(setup, evaluate, table):
    """With a whole donor, with patches, and with a LoRA donor, whose float32 factors stand beside bfloat16 weights."""
    full = table(setup)
    half = pd.read_parquet(evaluate(setup, f"{setup} in bfloat16", dtype="bfloat16"))
    assert list(half["scheme"]) == list(full["scheme"])
    logprob = half["target_logprob"].to_numpy()
    rounded = torch.tensor(logprob).to(torch.bfloat16).float().numpy()
    assert (rounded != logprob).mean() > 0.9  # of bfloat16 logits they would be multiples of 2**-5 or so
    assert not np.array_equal(logprob, full["target_logprob"])
    # bfloat16 has 8 bits: logits of size 4 are right within .03, and three layers of random weights add up to some of these.
    assert np.abs(logprob - full["target_logprob"]).mean() < 0.1
    assert np.corrcoef(logprob, full["target_logprob"])[0, 1] > 0.99


def test_each_model_is_on_its_device_before_the_next_is_read(folder, monkeypatch):
    loaded, load = [], models.load_model

    def counted(path, dtype):
        assert all(model.device.type == "meta" for model in loaded)  # none is on the host any more
        model, tokenizer = load(path, dtype)
        loaded.append(model)
        return model, tokenizer

    monkeypatch.setattr(models, "load_model", counted)
    donors = {"sft": folder / "sft0", "low": folder / "lora", "task": folder / "sft1"}
    meta = torch.device("meta")  # stands for a GPU
    recipient, found, tokenizers = load_models(folder / "base", donors, "bfloat16", meta)
    assert loaded == [recipient, found["sft"], found["task"]]
    assert {(model.device.type, model.dtype) for model in loaded} == {("meta", torch.bfloat16)}
    assert found["low"] == str(folder / "lora") and set(tokenizers) >= {"recipient", "sft", "task"}


def test_a_gpu_that_is_not_there_is_said_in_one_line(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(
        UserError, match=r"models\.\*\.device is 'cuda', but .* no GPU.*; valid: cpu, cuda, auto"
    ):
        processes("cuda")
    assert processes("auto").device.type == processes("cpu").device.type == "cpu"
