"""Adapters on the unembedding, and with trained biases: as peft saves them, which is with more than A and B."""

import pytest
import torch
from checkpoints import ADAPTER, TOLERANCE, answer, copied, plain, reweighted, with_adapters
from peft import LoraConfig, get_peft_model
from tiny_models import tiny_lora, tiny_model

ON_HEAD = {"r": 2, "lora_alpha": 4, "target_modules": ["q_proj", "lm_head"]}
HEAD = "base_model.model.lm_head.base_layer.weight"


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("dora", [False, True])
def test_an_adapter_on_the_unembedding_is_grafted_as_peft_saves_it(tmp_path, tied, dora):
    """peft saves the unembedding below the adapter beside it."""
    base = tiny_model("llama", 0, tie_word_embeddings=tied)
    base.save_pretrained(tmp_path / "base")
    tiny_lora(base, 3, **ON_HEAD, use_dora=dora).save_pretrained(tmp_path / "head")
    found = answer(tmp_path / "base", tmp_path / "head")
    assert not found.line, found.line
    right = plain(with_adapters(tmp_path / "base", tmp_path / "head"))
    assert abs(found.sft - right) <= TOLERANCE < abs(found.sft - found.pre) / 10


def test_an_unembedding_below_an_adapter_that_is_not_the_recipients_is_refused(folder, tmp_path):
    base = tiny_model("llama", 0)
    tiny_lora(base, 3, **ON_HEAD).save_pretrained(tmp_path / "head")
    other = reweighted(
        copied(tmp_path / "head", tmp_path / "other"),
        lambda weights: weights | {HEAD: weights[HEAD] + 1},
        ADAPTER,
    )
    assert "its base differs from the recipient in lm_head.weight" in answer(folder / "base", other).line


@pytest.mark.parametrize("which", ["all", "lora_only"])
def test_trained_biases_are_refused_with_the_cure(tmp_path, which):
    base = tiny_model("qwen2", 0)
    base.save_pretrained(tmp_path / "base")
    model = get_peft_model(base, LoraConfig(r=2, target_modules=["q_proj"], bias=which))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.requires_grad and name.endswith("bias"):
                parameter += 0.1
    model.save_pretrained(tmp_path / "biased")
    line = answer(tmp_path / "base", tmp_path / "biased").line
    assert "biases were trained (bias), which cannot be grafted: merge it into its base" in line
