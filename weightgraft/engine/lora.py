"""LoRA donors: a peft model, an adapter's directory, or several that stand on each other; kept low-rank."""

import os
import re
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from weightgraft.errors import UserError
from weightgraft.loading.adapter_configs import AGAIN, MERGE, NULL, check_adapter_config
from weightgraft.loading.files import ADAPTER_CONFIG, check_readable, read_json
from weightgraft.loading.fit import check_adapter_fits
from weightgraft.loading.folders import adapter_header
from weightgraft.notes import note

from .adapted import leaf_of
from .clone import shallow_clone
from .compatibility import base_differences, check_make
from .leaves import LowRank
from .objects import COMPILED, LOAD, check_numbers, check_type, is_real
from .precision import PREFIX, load_numbers
from .surroundings import check_by_class, check_same_between
from .words import brief

Leaves = dict[str, LowRank | nn.Module]
OTHER_BASE = (
    "give as recipient the very weights that the adapter stands on, loaded anew (merging and unmerging changes them a little), or "
    "merge it (merge_and_unload) and give the whole model as donor"
)
BIASES = f"its config says that biases were trained (bias), which cannot be grafted: {MERGE}"
SAID = 300  # letters of what peft says
# What peft raises where a config, a file and a base do not fit; most of it is known before peft is asked.
OF_PEFT = (
    ValueError, TypeError, KeyError, AttributeError, RuntimeError, NotImplementedError, ImportError, ArithmeticError, re.error,
)  # fmt: skip


def is_lora(donor: object) -> bool:
    """Whether a donor is an adapter's directory, a list of them, or a peft model (told by its shape: peft stays optional)."""
    return isinstance(donor, (str, os.PathLike, list, tuple)) or hasattr(donor, "peft_config")


def lora_leaves(name: str, donor: Any, recipient: PreTrainedModel, paths: Sequence[str]) -> Leaves:
    """What a LoRA donor has at each module path: a low-rank update, or a whole module (`modules_to_save`, merged DoRA).

    donor: a peft model (or a transformers model with adapters), whose base must have the recipient's weights and
    of which only the adapter is kept; or the path of an adapter's directory, or a list of them. paths: where components live.
    Raises ValueError for a donor that is not LoRA, or does more than add B(A x) to linear modules and replace
    modules, or is merged, or stands on another base, or whose file does not hold just what it should; it names where.
    """
    what = f"donor {name!r}"
    if not isinstance(donor, (str, os.PathLike, list, tuple)):
        leaves = _leaves(name, donor, recipient, paths)
    else:
        folders = _folders(what, donor if isinstance(donor, list | tuple) else [donor])
        found = []
        for folder in folders:
            model = load_adapter(f"{what}: {folder}", folder, recipient)
            found.append(_leaves(name, model, recipient, paths))
        leaves = found[0] if len(found) == 1 else _added(what, found)
        _tell_base(what, folders[0], recipient)
    if is_real():
        for path, leaf in leaves.items():
            tensors = (
                {"A": leaf.a, "B": leaf.b} if isinstance(leaf, LowRank) else dict(leaf.named_parameters())
            )
            check_numbers(what, {f"{path}, its {key}": tensor for key, tensor in tensors.items()})
        if leaves and all(isinstance(leaf, LowRank) and not leaf.b.any() for leaf in leaves.values()):
            note(f"{what}: its adapter adds nothing (every B is 0, as before training), so SFT is PRE")
    return leaves


def _folders(what: str, stack: Sequence[Any]) -> list[Path]:
    """The folders of adapters that stand on each other."""
    if not stack:
        raise ValueError(f"{what}: an empty list of adapters")
    if odd := [type(folder).__name__ for folder in stack if not isinstance(folder, str | os.PathLike)]:
        raise ValueError(
            f"{what}: a list that holds a {odd[0]}; a list is of adapters' folders, a model is given by itself"
        )
    return [Path(folder) for folder in stack]


def load_adapter(option: str, folder: Path, recipient: PreTrainedModel) -> Any:
    """A peft model of a directory's adapter on a clone of the recipient, of which it changes nothing.

    What the file holds is held against what the config asks for on this recipient before a number is read.

    Raises:
        ValueError: it is no adapter, not LoRA, or file, config and recipient do not fit; names the entry and what to do.
    """
    from peft import PeftConfig, PeftModel
    from peft.utils.save_and_load import get_peft_model_state_dict

    odd: list[str] = []
    try:
        check_readable(option, folder)
        if not (folder / ADAPTER_CONFIG).exists():
            raise UserError(f"{option}: no {ADAPTER_CONFIG} there; for a whole model {LOAD}")
        settings = read_json(option, folder / ADAPTER_CONFIG)
        check_adapter_config(option, settings)
        header = adapter_header(option, folder)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what peft warns of is an error or a note here
            config = PeftConfig.from_pretrained(str(folder))
            config.init_lora_weights = False  # what is loaded needs no start
            config.lora_dropout = 0.0  # is for training
            for key, meant in NULL.items():
                if getattr(config, key) is None:
                    setattr(config, key, meant)
            # On meta, so that what is not loaded has no numbers; and peft then puts loaded tensors in the place of others and
            # writes into none, so that what it loads beside A and B (biases) does not reach the recipient.
            model = PeftModel(
                shallow_clone(recipient), config, low_cpu_mem_usage=True, autocast_adapter_dtype=False
            )
            asked = get_peft_model_state_dict(model, save_embedding_layers=False)
            # The base's own weights, also by the names that they have below an adapter.
            base = {PREFIX + key: tuple(weight.shape) for key, weight in recipient.state_dict().items()} | {
                key: tuple(weight.shape)
                for key, weight in model.state_dict().items()
                if ".base_layer." in key
            }
            grown = check_adapter_fits(
                option, {key: tuple(weight.shape) for key, weight in asked.items()}, header, base
            )
            if is_real():
                odd = load_numbers(option, model, folder, grown, recipient)
    except UserError as error:
        raise ValueError(str(error)) from None
    except OF_PEFT as error:
        told = brief(str(error), SAID)
        raise ValueError(
            f"{option}: {ADAPTER_CONFIG}: peft cannot build this adapter; correct that file, or {AGAIN}: {told}"
        ) from error
    for line in odd:
        note(line)
    unknown = [
        key
        for key, value in settings.items()
        if value and not hasattr(config, key) and key != "runtime_config"
    ]
    if unknown:
        note(
            f"{option}: {ADAPTER_CONFIG} has entries that this version of peft does not know, left out: {', '.join(unknown)}"
        )
    return model.eval()


def _leaves(name: str, donor: Any, recipient: PreTrainedModel, paths: Sequence[str]) -> Leaves:
    """What the active adapters of a peft model have at each path."""
    from peft.tuners.tuners_utils import BaseTunerLayer
    from peft.utils.other import AuxiliaryTrainingWrapper
    from peft.utils.save_and_load import get_peft_model_state_dict

    base = _base(name, donor)
    check_by_class(f"donor {name!r}", donor)
    around = {path: module for path, module in base.named_modules() if isinstance(module, BaseTunerLayer)}
    active = {path: list(module.active_adapters) for path, module in around.items()}
    if is_real():
        for adapter in sorted({adapter for adapters in active.values() for adapter in adapters}):
            saved = get_peft_model_state_dict(donor, adapter_name=adapter, save_embedding_layers=False)
            check_numbers(f"donor {name!r}", saved)
    check_make(name, base, recipient)
    check_type(f"donor {name!r}", base, recipient)
    leaves: Leaves = {}
    for path, module in base.named_modules():
        if not isinstance(module, (BaseTunerLayer, AuxiliaryTrainingWrapper)):
            continue
        try:
            if path not in paths:
                raise ValueError(f"it belongs to no component; {MERGE}")
            leaf = leaf_of(module)
        except ValueError as error:
            raise ValueError(f"donor {name!r}: cannot graft its adapter at {path}: {error}") from None
        if leaf is not None:
            leaves[path] = leaf
    for path, difference in base_differences(base, recipient):
        biases = path.endswith(".bias") and any(
            config.bias != "none" for config in donor.peft_config.values()
        )
        cure = BIASES if biases else OTHER_BASE
        raise ValueError(
            f"donor {name!r}: its base differs from the recipient in {path}: {difference}; {cure}"
        )
    check_same_between(f"donor {name!r}", base, recipient)
    _tell_active(name, active)
    return leaves


def _tell_active(name: str, active: Mapping[str, Sequence[str]]) -> None:
    """A note where not all layers have the same adapters active, or none has any. active: of each layer."""
    first = {str(adapters): path for path, adapters in reversed(list(active.items()))}
    if len(first) > 1:
        told = "; ".join(f"{path} {adapters}" for adapters, path in list(first.items())[-2:])
        note(
            f"donor {name!r}: its layers have different adapters active ({told}); each is grafted as it stands"
        )
    elif not any(active.values()):
        note(
            f"donor {name!r}: none of its adapters is active, so SFT is PRE; choose one: model.set_adapter(NAME)"
        )


def _added(what: str, stack: Sequence[Leaves]) -> Leaves:
    """Adapters that were trained on one another, each with the ones before it merged, as one: plain updates add up."""
    leaves: Leaves = {}
    for found in stack:
        for path, leaf in found.items():
            below = leaves.get(path)
            if below is None:
                leaves[path] = leaf
            elif isinstance(below, LowRank) and isinstance(leaf, LowRank):
                leaves[path] = LowRank(torch.cat([below.a, leaf.a]), torch.cat([below.b, leaf.b], dim=1))
            else:
                raise ValueError(
                    f"{what}: cannot add up its adapters at {path}: one of them has DoRA or a saved module there; {MERGE}"
                )
    return leaves


def _base(name: str, donor: Any) -> PreTrainedModel:
    """The model that carries the adapters."""
    from peft import PeftModel

    for config in donor.peft_config.values():
        kind = getattr(config, "peft_type", None)
        settings = config.to_dict() | {"peft_type": getattr(kind, "value", kind)}
        try:
            check_adapter_config(f"donor {name!r}", settings)
        except UserError as error:
            raise ValueError(str(error)) from None
    if hasattr(donor, "_orig_mod"):
        raise ValueError(f"donor {name!r}: {COMPILED}")
    if isinstance(donor, PreTrainedModel):
        try:
            donor.active_adapters()
        except ValueError:
            raise ValueError(
                f"donor {name!r}: peft has changed it in place and holds the adapter elsewhere; give the peft model itself"
            ) from None
        return donor
    if not isinstance(donor, PeftModel):
        raise ValueError(
            f"donor {name!r}: a {type(donor).__name__} of peft; give the PeftModel around it, or the whole model that its "
            "merge_and_unload() gives"
        )
    base: Any = donor.get_base_model()
    return base


def _tell_base(what: str, folder: Path, recipient: PreTrainedModel) -> None:
    """A note where an adapter's config names another base than the recipient. Names are compared, not weights."""
    settings: Mapping[str, Any] = read_json(what, folder / ADAPTER_CONFIG)
    theirs, ours = settings.get("base_model_name_or_path"), recipient.config._name_or_path
    if not isinstance(theirs, str) or not theirs or not ours:
        return
    parts = {*Path(ours).absolute().parts, *Path(ours).resolve().parts}  # of the hub's cache too
    if not parts & {Path(theirs).name, "models--" + theirs.replace("/", "--")}:
        note(
            f"{what}: {folder}: its {ADAPTER_CONFIG} names {theirs} as its base, the recipient is {ours}; the numbers are "
            "those of the adapter on the recipient"
        )
