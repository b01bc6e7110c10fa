"""Small random models of every family, with weights large enough that any wrong one shows."""

import copy

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

VOCAB = 61
_COMMON = {
    "vocab_size": VOCAB,
    "hidden_size": 24,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 40,
    "max_position_embeddings": 64,
    "pad_token_id": None,
    "bos_token_id": None,
    "eos_token_id": None,
}
_GROUPED = {**_COMMON, "num_key_value_heads": 2}
_WIDE = {**_GROUPED, "head_dim": 8}  # heads that together are wider than the model
_WINDOW = {"sliding_window": 4}  # shorter than most test prompts
_MIXED = ["sliding_attention", "full_attention", "sliding_attention"]
_ROTARY = {"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 1.0}
_GPT2 = {"n_embd": 24, "n_layer": 3, "n_head": 4, "n_positions": 64}
_CONFIGS: dict[str, dict] = {
    "gpt2": {"vocab_size": VOCAB, **_GPT2, "bos_token_id": None, "eos_token_id": None},
    "gpt_neox": {**_COMMON, "rotary_pct": 0.5},
    "llama": _GROUPED,
    "mistral": {**_WIDE, **_WINDOW},
    "qwen2": _GROUPED,
    "qwen3": _WIDE,
    "stablelm": {**_GROUPED, "use_qkv_bias": True, "rope_parameters": _ROTARY},
    "gemma": {**_WIDE, "num_key_value_heads": 1},
    "gemma2": {**_WIDE, **_WINDOW, "query_pre_attn_scalar": 8, "attn_logit_softcapping": 2.0},
    "gemma3_text": {
        **_WIDE,
        **_WINDOW,
        "query_pre_attn_scalar": 8,
        "layer_types": _MIXED,
    },
    "olmo2": _GROUPED,
    "olmo3": {**_GROUPED, **_WINDOW, "layer_types": _MIXED},
    "phi": {**_WIDE, "rope_parameters": _ROTARY | {"partial_rotary_factor": 0.5}},
    "phi3": {**_GROUPED, **_WINDOW},
    "starcoder2": {**_GROUPED, **_WINDOW},
    "granite": {
        **_GROUPED,
        "attention_multiplier": 0.3,
        "embedding_multiplier": 1.5,
        "residual_multiplier": 0.7,
        "logits_scaling": 3.0,
    },
    "smollm3": {**_GROUPED, "no_rope_layers": [1, 0, 1]},
    "glm4": {
        **_WIDE,
        "attention_bias": True,
        "rope_parameters": _ROTARY | {"partial_rotary_factor": 0.5},
    },
    "cohere2": {**_WIDE, **_WINDOW, "logit_scale": 0.5, "layer_types": _MIXED},
}
FAMILY_NAMES = tuple(_CONFIGS)


def tiny_model(family: str, seed: int, **changes: object) -> PreTrainedModel:
    """A random model of a family in evaluation mode. Every parameter is drawn, norms and biases included.

    changes: config entries that differ from the family's tiny config.
    """
    config = AutoConfig.for_model(family, **{**_CONFIGS[family], **changes})
    model = AutoModelForCausalLM.from_config(config)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            if parameter.dim() == 1:
                parameter.add_(0.3 * noise)
            else:
                # Embeddings of size 1, and matrices that keep the size of what they multiply.
                parameter.copy_(noise * (1.0 if parameter.shape[0] == VOCAB else parameter.shape[-1] ** -0.5))
    return model.eval()


def tiny_lora(base: PreTrainedModel, seed: int, **changes: object) -> PeftModel:
    """A peft model on a copy of `base` with random LoRA factors on every linear module but the unembedding."""
    options = {"r": 4, "lora_alpha": 8, "target_modules": "all-linear"} | changes
    if base.config.model_type == "gpt2":
        options["fan_in_fan_out"] = True
    model = get_peft_model(copy.deepcopy(base), LoraConfig(task_type="CAUSAL_LM", **options))
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in model.named_parameters():
        if "lora_" in name:
            nn.init.normal_(parameter, std=0.25, generator=generator)
    return model.eval()
