"""The sizes that are measured, and pairs of random models of these shapes: a PRE and an SFT that differ as if trained."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

# Logits of a tied model get this standard deviation, about that of trained models: ranks are then neither ties nor all 1.
LOGIT_SPREAD = 3.0
BIAS_SPREAD = 0.1
# SFT = PRE + this share of fresh noise in every parameter: much for a finetuning, so that every scheme has its own ranks.
CHANGE = 0.2


Pair = tuple[PreTrainedModel, PreTrainedModel]  # PRE and SFT


@dataclass(frozen=True)
class Size:
    """A shape of GPT-2, and how much is measured at it.

    architecture: arguments of GPT2Config. prompts: in one call of the engine. pairs: timings of packed and plain
    in turn; rounds: of packed, one pass per scheme and the plain passes in turn; copies: of packed and the
    token-by-token procedure in turn. The sweeps: sweep_prompts in a call, timed sweep_rounds times, for each of
    these lengths (tokens), numbers of position schemes, numbers of schemes that differ only at LT, and layers;
    copies_in_sweeps: whether the token-by-token procedure is measured there too. Schemes that part between layers:
    split_prompts in a call, split_rounds times; 0: not measured.
    """

    architecture: Mapping[str, int]
    prompts: int
    pairs: int
    rounds: int
    copies: int
    sweep_prompts: int = 1
    sweep_rounds: int = 1
    lengths: tuple[int, ...] = ()
    position_schemes: tuple[int, ...] = ()
    last_token_schemes: tuple[int, ...] = (100,)
    layers: tuple[int, ...] = ()
    copies_in_sweeps: bool = False
    split_prompts: int = 1
    split_rounds: int = 0


SIZES = {
    "tiny": Size(  # tiny-gpt2 of params.yaml
        architecture={"n_embd": 96, "n_layer": 6, "n_head": 4, "n_positions": 128, "vocab_size": 1024},
        prompts=120,
        pairs=41,
        rounds=5,
        copies=8,
        sweep_prompts=24,
        sweep_rounds=5,
        lengths=(8, 15, 30, 60),
        position_schemes=(1, 2, 4, 8),
        last_token_schemes=(1, 10, 100),
        layers=(2, 6, 12),
        copies_in_sweeps=True,
        split_prompts=24,
        split_rounds=9,
    ),
    "gpt2": Size(
        architecture={"n_embd": 768, "n_layer": 12, "n_head": 12, "n_positions": 1024, "vocab_size": 50257},
        prompts=24,
        pairs=15,
        rounds=5,
        copies=8,
        sweep_prompts=2,
        sweep_rounds=5,
        lengths=(8, 15, 30, 60),
        position_schemes=(1, 2, 4, 8),
        last_token_schemes=(1, 10, 100),
        layers=(3, 6, 12),
        split_prompts=8,
        split_rounds=5,
    ),
    "gpt2-xl": Size(
        architecture={"n_embd": 1600, "n_layer": 48, "n_head": 25, "n_positions": 1024, "vocab_size": 50257},
        prompts=8,
        pairs=3,
        rounds=1,
        copies=1,
    ),
}


def quick(size: Size) -> Size:
    """The same shape, measured just enough to see that everything runs."""
    return replace(
        size,
        prompts=4,
        pairs=2,
        rounds=1,
        copies=1,
        sweep_prompts=1,
        sweep_rounds=1,
        lengths=size.lengths[:2],
        position_schemes=size.position_schemes[-2:],
        last_token_schemes=size.last_token_schemes[:2],
        layers=size.layers[:2],
        split_prompts=1,
        split_rounds=min(1, size.split_rounds),
    )


def brief(size: Size) -> Size:
    """The same shape and prompts with fewer timings: for bfloat16, whose pace is not what the engine is about."""
    return replace(size, pairs=max(2, size.pairs // 4), rounds=1, copies=max(1, size.copies // 4))


def random_pair(architecture: Mapping[str, int], device: torch.device, seed: int = 0) -> Pair:
    """PRE and SFT in float32 and evaluation mode. Equal arguments give equal weights."""
    return random_model(architecture, device, seed), random_model(architecture, device, seed, finetuned=True)


def cast(models: Pair, dtype: torch.dtype) -> Pair:
    """The same models with their weights rounded in place."""
    for model in models:
        torch.nn.Module.to(model, dtype)
    return models


def random_model(
    architecture: Mapping[str, int], device: torch.device, seed: int, finetuned: bool = False
) -> PreTrainedModel:
    """A random model, drawn in place so that no other model is in memory beside it.

    finetuned: the model of this seed, with CHANGE of other noise added to each of its parameters.
    """
    config = AutoConfig.for_model("gpt2", **architecture, bos_token_id=None, eos_token_id=None)
    model = AutoModelForCausalLM.from_config(config)
    draws = [(1.0, torch.Generator().manual_seed(2 * seed))]
    if finetuned:
        draws.append((CHANGE, torch.Generator().manual_seed(2 * seed + 1)))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() == 1:
                spread = BIAS_SPREAD  # around the 1 of a norm's weight or the 0 of a bias
            elif "wte" in name or "wpe" in name:
                spread, _ = LOGIT_SPREAD * parameter.shape[1] ** -0.5, parameter.zero_()
            else:  # transformers' Conv1D: (inputs, outputs); what it multiplies keeps its size
                spread, _ = parameter.shape[0] ** -0.5, parameter.zero_()
            for share, generator in draws:
                noise = torch.randn(parameter.shape, generator=generator)
                parameter.add_(noise, alpha=share * spread)
    return model.eval().to(device)
