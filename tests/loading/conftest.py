"""Tiny models and adapters on disk, the same for all tests of loading."""

from pathlib import Path

import pytest
import torch
from peft import PeftModel
from tiny_models import VOCAB, tiny_lora, tiny_model
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import nn
from transformers import PreTrainedTokenizerFast
from transformers.utils import logging

QV = {"r": 2, "lora_alpha": 4, "target_modules": ["q_proj", "v_proj"]}
# Adapters on the llama: what its config asks for.
ADAPTERS: dict[str, dict] = {
    "qv": QV,
    "linear": {"r": 4},
    "dora": QV | {"use_dora": True},
    "ranked": {
        "r": 4,
        "use_rslora": True,
        "rank_pattern": {".*mlp.*": 2, "q_proj": 3},
        "alpha_pattern": {".*mlp.*": 6, "q_proj": 5},
    },
    "saved": QV | {"modules_to_save": ["lm_head", "norm"]},
    "pattern": {"r": 2, "target_modules": r".*layers\.[12]\..*(k|o)_proj"},
    "layers": {"r": 2, "target_modules": ["down_proj"], "layers_to_transform": [0, 2]},
}


def trained(model: PeftModel, seed: int) -> PeftModel:
    """As after training: magnitudes and saved modules moved too."""
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in model.named_parameters():
        if "modules_to_save" in name:
            nn.init.normal_(parameter, mean=0.5, std=0.5, generator=generator)
        if "magnitude" in name:
            parameter.data *= 1 + 0.3 * torch.rand(parameter.shape, generator=generator)
    return model


@pytest.fixture(scope="session", autouse=True)
def quiet():
    logging.disable_progress_bar()
    yield
    logging.enable_progress_bar()


@pytest.fixture(scope="session")
def folder(tmp_path_factory) -> Path:
    """base, sft: llamas; every adapter of ADAPTERS on base, by its name; other families as NAME and NAME-sft."""
    path = tmp_path_factory.mktemp("loading")
    backend = Tokenizer(models.WordLevel({f"w{number}": number for number in range(VOCAB)}, unk_token="w0"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="w0")
    for name, family, seed in (
        ("base", "llama", 0),
        ("sft", "llama", 1),
        ("gpt2", "gpt2", 0),
        ("gpt2-sft", "gpt2", 1),
        ("gpt_neox", "gpt_neox", 0),
        ("gpt_neox-sft", "gpt_neox", 1),
        ("gemma3_text", "gemma3_text", 0),
        ("gemma3_text-sft", "gemma3_text", 1),
        ("qwen2", "qwen2", 0),
        ("qwen2-sft", "qwen2", 1),
    ):
        tiny_model(family, seed).save_pretrained(path / name)
        tokenizer.save_pretrained(path / name)
    base = tiny_model("llama", 0)
    for name, options in ADAPTERS.items():
        trained(tiny_lora(base, 3, **options), 4).save_pretrained(path / name)
    return path
