"""Checkpoints of the paper's models with random weights: the hub's layout and names, at full width or shrunk, written to disk."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import save_torch_state_dict
from made_up_tokenizers import KINDS
from transformers import AutoConfig, AutoModelForCausalLM, GenerationConfig, PretrainedConfig, PreTrainedModel

from stages.modeling.models import load_model

TOKENIZERS = {"gpt2": "gpt2", "gpt_neox": "pythia", "llama": "llama3", "gemma": "gemma"}
MERGES = 1000  # of a tokenizer: fewer tokens than the model's vocabulary, which is as large as the real one
LAYERS = {"gpt2": "n_layer"}  # the key for the number of layers, where it is not num_hidden_layers
# What the published configurations say beside params.yaml's architecture, as far as it shapes the computation.
PUBLISHED: dict[str, dict[str, Any]] = {
    "gpt2": {"n_positions": 1024},
    "gpt_neox": {
        "max_position_embeddings": 2048,
        "tie_word_embeddings": False,
        "rope_parameters": {"rope_type": "default", "rope_theta": 10000, "partial_rotary_factor": 0.25},
    },
    "llama": {
        "max_position_embeddings": 131072,
        "rms_norm_eps": 1e-5,
        "tie_word_embeddings": True,
        "rope_parameters": {
            **{"rope_type": "llama3", "rope_theta": 500000.0, "factor": 32.0},
            **{"low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8192},
        },
    },
    "gemma": {"max_position_embeddings": 8192},
}
SHRUNK = {
    **{"n_embd": 32, "n_head": 4, "hidden_size": 32, "num_attention_heads": 4, "num_key_value_heads": 2},
    **{"head_dim": 8, "intermediate_size": 64, "vocab_size": 2048},
}


def shrunk(architecture: Mapping[str, Any]) -> dict[str, Any]:
    """The same keys at a width that costs nothing; one key/value head stays one, the layers stay as many."""
    return {key: min(value, SHRUNK.get(key, value)) for key, value in architecture.items()}


def config_of(family: str, architecture: Mapping[str, Any], **more: Any) -> PretrainedConfig:
    return AutoConfig.for_model(family, **(PUBLISHED[family] | {**architecture}), **more)


def write_checkpoint(
    folder: Path, family: str, architecture: Mapping[str, Any], texts: Sequence[str], dtype: str
) -> None:
    """Random weights, config.json, generation_config.json and the family's kind of tokenizer, trained on the texts."""
    tokenizer = KINDS[TOKENIZERS[family]].make(list(texts), MERGES)
    ends = {f"{end}_token_id": getattr(tokenizer, f"{end}_token_id") for end in ("bos", "eos", "pad")}
    config = config_of(family, architecture, **ends, dtype=dtype)
    assert len(tokenizer) <= config.vocab_size, (len(tokenizer), config.vocab_size)
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config, dtype=getattr(torch, dtype))
    config.architectures = [type(model).__name__]
    write_weights(folder, model)
    config.save_pretrained(folder)
    GenerationConfig.from_model_config(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def write_weights(folder: Path, model: PreTrainedModel) -> None:
    """Under the names that the hub's files have, a tied tensor once; Gemma's are in two files, with an index."""
    folder.mkdir(parents=True, exist_ok=True)
    family, weights = model.config.model_type, model.state_dict()
    if model.config.tie_word_embeddings:
        weights.pop("lm_head.weight")
    if family == "gpt2":
        weights = {name.removeprefix("transformer."): tensor for name, tensor in weights.items()}
    weights |= old_buffers(model.config)
    size = sum(tensor.nbytes for tensor in weights.values())
    save_torch_state_dict(
        weights, folder, max_shard_size=math.ceil(size * (0.75 if family == "gemma" else 2))
    )


def old_buffers(config: PretrainedConfig) -> dict[str, torch.Tensor]:
    """What the hub's files of GPT-2 and GPT-NeoX have beside weights: masks and frequencies that transformers now computes."""
    if config.model_type not in ("gpt2", "gpt_neox"):
        return {}
    length = min(config.max_position_embeddings, 64)  # in the real files the whole context
    buffers: dict[str, torch.Tensor] = {}
    for layer in range(config.num_hidden_layers):
        mask = torch.ones(1, 1, length, length).tril()
        if config.model_type == "gpt2":
            buffers[f"h.{layer}.attn.bias"] = mask
        else:
            at = f"gpt_neox.layers.{layer}.attention"
            buffers[f"{at}.bias"] = mask.bool()
            buffers[f"{at}.masked_bias"] = torch.tensor(-1e9)
            buffers[f"{at}.rotary_emb.inv_freq"] = torch.ones(2)
    return buffers


def write_neighbour(folder: Path, other: Path, noise: float, dtype: str) -> None:
    """A second checkpoint beside the first: every weight with a little noise, as large a share of the tensor's own spread."""
    model, tokenizer = load_model(folder, dtype)
    torch.manual_seed(1)
    with torch.no_grad():
        for tensor in model.parameters():
            spread = tensor.float().std().item() if tensor.numel() > 1 else 0.0
            tensor.add_(torch.randn_like(tensor), alpha=noise * spread)
    write_weights(other, model)
    model.config.save_pretrained(other)
    tokenizer.save_pretrained(other)


def architectures(
    params: Mapping[str, Any], names: Sequence[str], layers: int | None, small: bool
) -> dict[str, dict]:
    """What params.yaml says of the models, but for the number of layers (None: all) and, if small, the width."""
    made = {}
    for name in names:
        model = params["models"][name]
        cut = {LAYERS.get(model["family"], "num_hidden_layers"): layers} if layers else {}
        architecture = {**model["architecture"], **cut}
        made[name] = shrunk(architecture) if small else architecture
    return made
