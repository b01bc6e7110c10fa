"""What a module of a peft model computes as it stands.

Which adapters are active, switched off or merged, each module knows for itself; the model only knows what was last asked of all.
"""

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from weightgraft.loading.adapter_configs import MERGE

from .leaves import LowRank, is_linear
from .objects import is_real

SWITCH_ON = (
    "leave the disable_adapter() block, or switch it on: model.enable_adapter_layers(), of transformers' own "
    "model.enable_adapters()"
)


def leaf_of(module: Any) -> LowRank | nn.Module | None:
    """What serves in a module's place: the update of its active adapters, or a whole module (`modules_to_save`, merged DoRA); None
    where no adapter of it is active.

    Raises ValueError that says why it is more than W x + B(A x), or W' x with DoRA's weights, and what to do.
    """
    from peft.tuners.lora import LoraLayer
    from peft.utils.other import ModulesToSaveWrapper

    if isinstance(module, ModulesToSaveWrapper):
        return _saved(module)
    if not isinstance(module, LoraLayer):
        raise ValueError(f"it is a {type(module).__name__}, not LoRA")
    used = [adapter for adapter in module.active_adapters if adapter in module.lora_A]
    if problem := _more_than_low_rank(module, used):
        raise ValueError(problem)
    if not used:
        return None
    dora = any(module.lora_variant.get(adapter) is not None for adapter in used)
    return _merged(module, used) if dora else _low_rank(module, used)


def _saved(module: Any) -> nn.Module | None:
    if module.disable_adapters:
        raise ValueError(f"it is switched off; {SWITCH_ON}")
    active = module.active_adapters
    if not active or any(adapter not in module.modules_to_save for adapter in active):
        return None  # the base's own module serves
    saved, own = module.modules_to_save[active[0]], module.original_module
    if _kind(saved) != _kind(own):
        raise ValueError(
            "its saved module has another class, shape, type or device than the base's; save and load it anew"
        )
    return saved


def _kind(module: nn.Module) -> tuple[type, dict[str, tuple]]:
    return type(module), {
        name: (weight.shape, weight.dtype, weight.device) for name, weight in module.named_parameters()
    }


def _low_rank(module: Any, adapters: Sequence[str]) -> LowRank:
    """Adapters of a layer, which add up, as one update; scaling is part of B."""
    a = [module.lora_A[adapter].weight.detach() for adapter in adapters]
    b = [module.lora_B[adapter].weight.detach() * module.scaling[adapter] for adapter in adapters]
    return LowRank(torch.cat(a), torch.cat(b, dim=1))


def _merged(module: Any, adapters: Sequence[str]) -> nn.Module:
    """A layer with DoRA, which scales the whole weight, as the plain module that it amounts to."""
    own = copy.deepcopy(module)
    if is_real():
        own.merge(adapter_names=list(adapters))
    return own.get_base_layer()


def _more_than_low_rank(module: Any, adapters: Sequence[str]) -> str | None:
    """Why a LoRA layer is more than W x + B(A x), or W' x with DoRA's weights; None if it is not."""
    from peft.tuners.lora import Linear
    from peft.tuners.lora.variants import DoraLinearVariant

    if not is_linear(module.get_base_layer()):
        return f"its base is a {type(module.get_base_layer()).__name__}, not a Linear or Conv1D; {MERGE}"
    if type(module) is not Linear:
        return f"it is a {type(module).__module__}.{type(module).__name__}, not peft's own layer for a Linear; {MERGE}"
    if module.merged:
        return "it is merged into the base, which that has changed; load base and adapter anew"
    if module.disable_adapters:
        return f"it is switched off; {SWITCH_ON}"
    variants = [module.lora_variant[adapter] for adapter in adapters if adapter in module.lora_variant]
    if any(variant is not None and type(variant) is not DoraLinearVariant for variant in variants):
        return f"it is a variant of LoRA; {MERGE}"
    factors = [table[adapter] for adapter in adapters for table in (module.lora_A, module.lora_B)]
    for factor in factors:
        if type(factor) is not nn.Linear:
            return f"its A or B is a {type(factor).__name__}, not a Linear; load the adapter anew"
        if factor.bias is not None:
            return f"it has a bias; {MERGE}"
    if len(types := {str(factor.weight.dtype) for factor in factors}) > 1:
        return f"its A and B are {' and '.join(sorted(types))}; bring them to one type: model.float()"
    for adapter in adapters:
        dropout = module.lora_dropout[adapter]
        if type(dropout) not in (nn.Dropout, nn.Identity):
            return f"it has a {type(dropout).__name__} in the place of its dropout; load the adapter anew"
    return None
