"""A model's structure over the same tensors."""

import copy
from typing import Any

from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel


def shallow_clone(model: PreTrainedModel, what: str = "recipient") -> PreTrainedModel:
    """A model with modules, one config and buffers of its own that shares all parameters with `model`.

    Replacing its modules or parameters, changing its config or its requires_grad flags leaves `model` as it is;
    writing into its parameters would not. Buffers are small, and a forward pass may write into them (the
    frequencies of rotary embeddings that grow with the prompt; they are those of before they grew).
    Each place has a module of its own, and all modules read the model's config, also those that were copied and brought
    a copy of it (check_one_config holds them to say the same): what is changed at one place or in the config must be
    changed there alone, and for all. Raises ValueError, which calls the model `what`, where a module cannot be copied.
    """
    shared: dict[int, object] = {
        id(parameter): nn.Parameter(parameter.detach(), requires_grad=False)
        for parameter in model.parameters()
    }
    config = copy.deepcopy(model.config)
    shared |= {
        id(module.config): config
        for module in model.modules()
        if isinstance(getattr(module, "config", None), PreTrainedConfig)
    }
    try:
        cloned = copy.deepcopy(model, shared | {id(buffer): buffer.clone() for buffer in model.buffers()})
    # What copies and pickles say of locks, generators and tensors with a history.
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(
            f"{what}: copy.deepcopy cannot copy this {type(model).__name__} ({' '.join(str(error).split())}): grafting runs a copy "
            "of its modules; hang nothing on them that cannot be copied"
        ) from error
    _set_apart(cloned, set(), {id(kept): kept for kept in (config, *cloned.parameters())})
    for module in cloned.modules():
        if getattr(module, "rope_type", None) == "dynamic" and hasattr(module, "original_inv_freq"):
            module.inv_freq = module.original_inv_freq
            module.max_seq_len_cached = module.original_max_seq_len
    return cloned


def _set_apart(module: nn.Module, seen: set[int], shared: dict[int, Any]) -> None:
    """Give each place below a module a module of its own, where one stands in several."""
    for name, child in module._modules.items():
        if child is not None and id(child) in seen:
            module._modules[name] = child = copy.deepcopy(child, dict(shared))
        if child is not None:
            seen.add(id(child))
            _set_apart(child, seen, shared)
