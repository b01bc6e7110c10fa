"""LoRA donors: a peft model or an adapter's directory, kept low-rank."""

import os
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from .clone import shallow_clone
from .compatibility import check_make
from .leaves import LowRank, is_linear


def is_lora(donor: object) -> bool:
    """Whether a donor is an adapter's directory or a peft model (told by its shape: peft stays optional)."""
    return isinstance(donor, (str, os.PathLike)) or hasattr(donor, "peft_config")


def lora_leaves(
    name: str, donor: Any, recipient: PreTrainedModel, paths: Sequence[str]
) -> dict[str, LowRank | nn.Module]:
    """What a LoRA donor has at each module path: a low-rank update, or a whole module (`modules_to_save`).

    donor: a peft model (or a transformers model with adapters), whose base must have the recipient's weights and
    of which only the adapter is kept; or the path of an adapter's directory. paths: where components live.
    Raises ValueError for a donor that is not LoRA, or does more than add B(A x) to linear modules and replace
    modules, or is merged, or stands on another base; it names where.
    """
    from peft.tuners.lora import LoraLayer
    from peft.tuners.tuners_utils import BaseTunerLayer
    from peft.utils.other import AuxiliaryTrainingWrapper, ModulesToSaveWrapper

    base, adapters = _base(name, donor, recipient)
    check_make(name, base, recipient)
    leaves: dict[str, LowRank | nn.Module] = {}
    for path, module in base.named_modules():
        if not isinstance(module, (BaseTunerLayer, AuxiliaryTrainingWrapper)):
            continue
        problem = None
        if path not in paths:
            problem = "it belongs to no component"
        elif isinstance(module, ModulesToSaveWrapper):
            leaves.update((path, saved) for key, saved in module.modules_to_save.items() if key in adapters)
        elif isinstance(module, LoraLayer):
            problem = _more_than_low_rank(module)
            used = [adapter for adapter in adapters if adapter in module.lora_A]
            if used and problem is None:
                leaves[path] = _low_rank(module, used)
        else:
            problem = f"it is a {type(module).__name__}, not LoRA"
        if problem:
            raise ValueError(f"donor {name!r}: cannot graft its adapter at {path}: {problem}")
    for path, difference in _base_differences(base, recipient):
        raise ValueError(f"donor {name!r}: its base differs from the recipient in {path}: {difference}")
    return leaves


def _low_rank(module: Any, adapters: Sequence[str]) -> LowRank:
    """The active adapters of a layer, which add up, as one update; scaling is part of B."""
    a = [module.lora_A[adapter].weight.detach() for adapter in adapters]
    b = [module.lora_B[adapter].weight.detach() * module.scaling[adapter] for adapter in adapters]
    return LowRank(torch.cat(a), torch.cat(b, dim=1))


def _base(name: str, donor: Any, recipient: PreTrainedModel) -> tuple[PreTrainedModel, list[str]]:
    """The model that carries the adapters, and the names of the active ones."""
    from peft import PeftConfig, PeftModel

    if isinstance(donor, (str, os.PathLike)):
        if not os.path.exists(os.path.join(donor, "adapter_config.json")):
            raise ValueError(
                f"donor {name!r}: no adapter_config.json in {donor}; load a whole model with from_pretrained and pass it"
            )
        _check_kind(name, PeftConfig.from_pretrained(os.fspath(donor)))
        # With low_cpu_mem_usage peft puts loaded tensors in the place of others and writes into none, so that
        # what it loads beside A and B (biases) shows up as a difference and does not reach the recipient.
        donor = PeftModel.from_pretrained(
            shallow_clone(recipient),
            donor,
            low_cpu_mem_usage=True,
            autocast_adapter_dtype=False,
            torch_device=str(recipient.device),
        )
    for config in donor.peft_config.values():
        _check_kind(name, config)
    if isinstance(donor, PreTrainedModel):
        return donor, donor.active_adapters()
    return donor.get_base_model(), list(donor.active_adapters)


def _check_kind(name: str, config: Any) -> None:
    kind = getattr(config, "peft_type", None)
    if getattr(kind, "value", kind) != "LORA":
        raise ValueError(
            f"donor {name!r}: a {getattr(kind, 'value', kind)} adapter; of peft's adapters, only LORA can be grafted"
        )


def _more_than_low_rank(module: Any) -> str | None:
    """Why a LoRA layer is more than W x + B(A x), or None if it is not."""
    if not is_linear(module.get_base_layer()):
        return f"its base is a {type(module.get_base_layer()).__name__}, not a Linear or Conv1D"
    if module.merged or module.disable_adapters:
        return "it is merged into the base; unmerge it" if module.merged else "it is switched off"
    if any(variant is not None for variant in module.lora_variant.values()):
        return "it is a variant of LoRA (such as DoRA)"
    if any(layer.bias is not None for layer in module.lora_B.values()):
        return "it has a bias"
    return None


def _base_differences(base: nn.Module, recipient: PreTrainedModel) -> Iterator[tuple[str, str]]:
    """Parameters of the adapter's base that are not the recipient's."""
    for path, parameter in recipient.named_parameters(remove_duplicate=False):
        module_path, _, leaf = path.rpartition(".")
        module = base.get_submodule(module_path)
        module = getattr(module, "base_layer", getattr(module, "original_module", module))
        theirs: Tensor = getattr(module, leaf)
        if theirs.shape != parameter.shape:
            yield path, f"shape {tuple(theirs.shape)}, recipient {tuple(parameter.shape)}"
        elif theirs.device != parameter.device:
            yield path, f"device {theirs.device}, recipient {parameter.device}"
        elif theirs.data_ptr() != parameter.data_ptr() and not torch.equal(theirs, parameter):
            yield path, "other weights"
