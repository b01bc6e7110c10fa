"""What a model computes beside its weights. Between the weights the recipient's modules serve every donor, so a donor must have the
same ones there; and nobody's may have been changed by hand, since grafting runs weights and not what was hung on them."""

import copy
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from .configs import grows
from .leaves import is_linear

# Attributes of modules that change no number here: dropout, what is kept for a backward pass, where a model came from.
IDLE = frozenset({"training", "gradient_checkpointing", "name_or_path"})
ANEW = "save it and load it anew with from_pretrained"


def check_by_class(what: str, model: nn.Module) -> None:
    """Raises ValueError where a module does not run as its class says: it has a hook, or another forward. What transformers hangs
    on modules itself (to keep states, to train inputs) changes no number."""
    for path, module in model.named_modules():
        at = f"{what}: {path or 'the model'} ({type(module).__name__})"
        for hook in (*module._forward_pre_hooks.values(), *module._forward_hooks.values()):
            source = getattr(hook, "__module__", None) or type(hook).__module__
            if source.partition(".")[0] != "transformers":
                named = getattr(hook, "__qualname__", type(hook).__name__)
                raise ValueError(
                    f"{at} has a forward hook, {source}.{named}, which grafting does not run: "
                    f"remove it (handle.remove()), or {ANEW}"
                )
        if "forward" in vars(module):
            raise ValueError(
                f"{at} has another forward than its class (a patch, or training in mixed precision, has put it there): {ANEW}"
            )


def check_same_between(what: str, donor: PreTrainedModel, recipient: PreTrainedModel) -> None:
    """Raises ValueError for the first module without weights that is another in the donor than in the recipient, where their
    configs do not say so: what configs say is compared by its meaning (configs.py). Buffers are compared by their numbers."""
    built: list[PreTrainedModel] = []
    for path, key, theirs, ours in _differences(donor, recipient):
        if isinstance(theirs, Tensor):
            raise ValueError(
                f"{what} differs from the recipient in {path}.{key}, numbers that transformers computes when it loads a model; "
                "load both in one way: from_pretrained(folder, dtype=torch.float32), and no .to(dtype) behind it"
            )
        built = built or [_as_configured(model) for model in (donor, recipient)]
        if [theirs, ours] != [_kept(model, path).get(key) for model in built]:
            raise ValueError(
                f"{what} differs from the recipient in {path}, its {key}: {theirs}, recipient {ours}; their configs do not say so: "
                "one was changed after it was built; load both anew with from_pretrained"
            )


def check_in_order(layers: nn.Module) -> None:
    """Raises ValueError where a recipient's layers do not have the numbers of their places."""
    for place, layer in enumerate(layers._modules.values()):  # one that is there twice, twice
        assert layer is not None
        numbers = {getattr(module, "layer_idx", place) for module in layer.modules()}
        if numbers != {place}:
            built = min(numbers - {place})
            raise ValueError(
                f"recipient: the layer in place {place} was built as layer {built}: layers were moved or shared; {ANEW}"
            )


def _differences(donor: PreTrainedModel, recipient: PreTrainedModel) -> Iterator[tuple[str, str, Any, Any]]:
    """(module, attribute or buffer, the donor's, the recipient's) of modules that have no weights of their own."""
    theirs = dict(donor.named_modules(remove_duplicate=False))
    for path, module in recipient.named_modules(remove_duplicate=False):
        if not path or path not in theirs:
            continue
        if [*module.parameters(recurse=False)]:
            if is_linear(module) and type(theirs[path]) is not type(module) and not _is_pefts(theirs[path]):
                yield path, "class", type(theirs[path]).__name__, type(module).__name__
            continue
        left, right = _attributes(theirs[path]), _attributes(module)
        for key in sorted(left.keys() | right.keys()):
            if left.get(key) != right.get(key):
                yield path, key, left.get(key), right.get(key)
        for key, buffer in module.named_buffers(recurse=False):
            other = dict(theirs[path].named_buffers(recurse=False)).get(key)
            if other is None or buffer.is_meta or other.is_meta or grows(recipient.config):
                continue
            if other.dtype != buffer.dtype or other.shape != buffer.shape or not torch.equal(other, buffer):
                yield path, key, other, buffer


def _is_pefts(module: nn.Module) -> bool:
    return type(module).__module__.startswith("peft.")


def _attributes(module: nn.Module) -> dict[str, Any]:
    """The class of a module, and its plain attributes."""
    plain = {
        name: value
        for name, value in vars(module).items()
        if name not in IDLE and not name.startswith("_") and isinstance(value, int | float | str)
    }
    return {"class": type(module).__name__} | plain


def _as_configured(model: PreTrainedModel) -> PreTrainedModel:
    with torch.device("meta"):
        return type(model)(copy.deepcopy(model.config))


def _kept(model: PreTrainedModel, path: str) -> dict[str, Any]:
    return _attributes(model.get_submodule(path))
