"""What a model computes beside its weights. Between the weights the recipient's modules serve every donor, so a donor must have the
same ones there; and nobody's may have been changed by hand, since grafting runs weights and not what was hung on them."""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules import module as everywhere
from torch.nn.utils import parametrize
from transformers import PreTrainedModel

from .as_built import as_configured, check_as_built, plain_attributes
from .configs import check_one_config, grows
from .families import Family
from .leaves import is_linear

ANEW = "save it and load it anew with from_pretrained"
NOTHING: tuple[type, dict[str, Any]] = (object, {})  # known of a module that the config does not build
UNPARAMETRIZE = "torch.nn.utils.parametrize.remove_parametrizations"
# What torch.nn.utils computes a weight with before every pass, by the file of its hook, and what makes a plain weight of it.
REMOVERS = {
    "torch.nn.utils.prune": "torch.nn.utils.prune.remove",
    "torch.nn.utils.spectral_norm": "torch.nn.utils.remove_spectral_norm",
    "torch.nn.utils.weight_norm": "torch.nn.utils.remove_weight_norm",
}


def check_by_class(what: str, model: nn.Module) -> None:
    """Raises ValueError where a module does not run as its class says: it has a hook, another forward, a weight that is computed
    of others, or a config of its own that says something else. What transformers hangs on modules itself (to keep states, to train
    inputs) changes no number, nor what torch.utils does (to count, to record)."""
    for hook in (*everywhere._global_forward_pre_hooks.values(), *everywhere._global_forward_hooks.values()):
        if _is_anothers(hook):
            raise ValueError(
                f"{what}: all modules of torch have a forward hook, {_named(hook)}, which would run on other rows than alone: "
                "remove it (handle.remove())"
            )
    for path, module in model.named_modules():
        at = f"{what}: {path or 'the model'} ({type(module).__name__})"
        if parametrize.is_parametrized(module):
            weight = next(iter(module.parametrizations))
            raise ValueError(_computed(at, weight, "a parametrization", UNPARAMETRIZE))
        for hook in (*module._forward_pre_hooks.values(), *module._forward_hooks.values()):
            remover = REMOVERS.get(type(hook).__module__)
            if remover is not None:
                weight = str(getattr(hook, "_tensor_name", None) or getattr(hook, "name", "weight"))
                raise ValueError(_computed(at, weight, f"torch.nn.utils.{type(hook).__name__}", remover))
            if _is_anothers(hook):
                raise ValueError(
                    f"{at} has a forward hook, {_named(hook)}, which grafting does not run: "
                    f"remove it (handle.remove()), or {ANEW}"
                )
        if "forward" in vars(module):
            raise ValueError(
                f"{at} has another forward than its class (a patch, or training in mixed precision, has put it there): {ANEW}"
            )
        if isinstance(vars(module).get("weight"), Tensor):
            raise ValueError(
                f"{at} has a weight that is no parameter: it was computed of others, which are still there; give it a plain one: "
                "module.weight = torch.nn.Parameter(...)"
            )
    if isinstance(model, PreTrainedModel):
        check_one_config(what, model)


def _computed(at: str, weight: str, by: str, remover: str) -> str:
    return (
        f"{at} has a {weight} that {by} computes in every pass; make it plain: {remover}(module, {weight!r})"
    )


def _source(hook: Callable) -> str:
    return getattr(hook, "__module__", None) or type(hook).__module__


def _named(hook: Callable) -> str:
    return f"{_source(hook)}.{getattr(hook, '__qualname__', type(hook).__name__)}"


def _is_anothers(hook: Callable) -> bool:
    return not f"{_source(hook)}.".startswith(("transformers.", "torch.utils."))


def check_same_between(what: str, donor: PreTrainedModel, recipient: PreTrainedModel) -> None:
    """Raises ValueError for the first module without weights that is another in the donor than in the recipient, where their
    configs do not say so: what configs say is compared by its meaning (configs.py). Buffers are compared by their numbers. Also
    where the donor is no longer what its config builds."""
    for path, key, theirs, ours in _differences(donor, recipient):
        if isinstance(theirs, Tensor):
            raise ValueError(
                f"{what} differs from the recipient in {path}.{key}, numbers that transformers computes when it loads a model; "
                "load both in one way: from_pretrained(folder, dtype=torch.float32), and no .to(dtype) behind it"
            )
        donors_kind, donors_attributes = (as_configured(what, donor) or {}).get(path, NOTHING)
        own_kind, own_attributes = (as_configured("recipient", recipient) or {}).get(path, NOTHING)
        said: tuple[Any, Any]
        if key == "class":
            said = donors_kind.__name__, own_kind.__name__
        elif own_kind is type(recipient.get_submodule(path)) and key not in own_attributes:
            continue  # what others hang on transformers' modules
        else:
            said = donors_attributes.get(key), own_attributes.get(key)
        if (theirs, ours) != said:
            raise ValueError(
                f"{what} differs from the recipient in {path or 'the model'}, its {key}: {theirs}, recipient {ours}; their configs "
                "do not say so: one was changed after it was built; load both anew with from_pretrained"
            )
    check_as_built(what, donor)


def check_in_order(recipient: PreTrainedModel, family: Family) -> None:
    """Raises ValueError where a recipient is no longer what its config builds, or its layers are not as many as the config says,
    or do not have the numbers of their places."""
    layers = dict(recipient.named_modules()).get(family.layers)
    asked = recipient.config.num_hidden_layers
    if layers is None or len(layers._modules) != asked:
        found = "none" if layers is None else str(len(layers._modules))
        raise ValueError(
            f"recipient: config.num_hidden_layers is {asked}, but {family.layers} has {found}; set the entry to what is there, and "
            f"layer_types beside it where the config has it, then {ANEW}"
        )
    for place, layer in enumerate(layers._modules.values()):  # one that is there twice, twice
        assert layer is not None
        numbers = {getattr(module, "layer_idx", place) for module in layer.modules()}
        if numbers != {place}:
            built = min(numbers - {place})
            raise ValueError(
                f"recipient: the layer in place {place} was built as layer {built}: layers were moved or shared; {ANEW}"
            )
    check_as_built("recipient", recipient)


def _differences(donor: PreTrainedModel, recipient: PreTrainedModel) -> Iterator[tuple[str, str, Any, Any]]:
    """(module, attribute or buffer, the donor's, the recipient's) of modules that have no weights of their own."""
    theirs = dict(donor.named_modules(remove_duplicate=False))
    for path, module in recipient.named_modules(remove_duplicate=False):
        if path not in theirs:
            continue
        other = theirs[path]
        weights = bool([*module.parameters(recurse=False)])
        # The model's own class is compared by its make (compatibility.py), and somebody's own by its numbers (probing.py).
        same = not path or type(other) is type(module) or _is_pefts(other)
        if not same and (not weights or is_linear(module)):
            yield path, "class", *_told_apart(type(other), type(module))
        if not path or weights:
            continue
        left, right = plain_attributes(other), plain_attributes(module)
        for key in sorted(left.keys() | right.keys()):
            if left.get(key) != right.get(key):
                yield path, key, left.get(key), right.get(key)
        for key, buffer in module.named_buffers(recurse=False):
            held = dict(other.named_buffers(recurse=False)).get(key)
            if held is None or buffer.is_meta or held.is_meta or grows(recipient.config):
                continue
            if held.dtype != buffer.dtype or held.shape != buffer.shape or not torch.equal(held, buffer):
                yield path, key, held, buffer


def _is_pefts(module: nn.Module) -> bool:
    return type(module).__module__.startswith("peft.")


def _told_apart(*kinds: type) -> list[str]:
    """The names of classes; where two have one name, with where they come from and which they are."""
    names = [kind.__name__ for kind in kinds]
    if len(set(names)) == len(names):
        return names
    return [f"{kind.__module__}.{kind.__qualname__} ({id(kind):#x})" for kind in kinds]
