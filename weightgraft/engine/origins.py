"""Whose code a model runs: torch's, transformers' and peft's, which grafting knows, or somebody's own. A class, a function that was
put in the place of one of theirs, an implementation of attention or of masks that was registered."""

import functools
import sys
from collections.abc import Iterator
from types import FunctionType, MethodType, ModuleType
from typing import Any

from torch import nn
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

KNOWN = frozenset({"peft", "torch", "transformers"})
# Files whose functions models call, beside their own modeling file.
CALLED = (
    "torch.nn.functional", "transformers.activations", "transformers.integrations.sdpa_attention",
    "transformers.masking_utils", "transformers.modeling_rope_utils",
)  # fmt: skip


def own_code(model: nn.Module) -> str | None:
    """What of a model's code is neither torch's nor transformers' nor peft's, the first that is found: where it is, and what."""
    return next(_found(model), None)


def is_known(name: str) -> bool:
    """Whether a module of Python belongs to torch, transformers, peft or Python itself."""
    root = name.partition(".")[0]
    return root in KNOWN or (root in sys.stdlib_module_names and root != "__main__")


def own_function(thing: object) -> str | None:
    """The name of a function that somebody else wrote, also where it is in a known one's place and clothes."""
    for function in _layers_of(thing):
        home = function.__globals__.get("__name__", "?")
        if not is_known(home):
            return f"{home}.{function.__qualname__}"
    return None


def _layers_of(thing: Any) -> Iterator[FunctionType]:
    """The functions that run where a thing is called: itself, and what it is wrapped around."""
    while thing is not None:
        if isinstance(thing, (staticmethod, classmethod, MethodType)):
            thing = thing.__func__
        elif isinstance(thing, property):
            thing = thing.fget
        elif isinstance(thing, functools.partial):
            thing = thing.func
        elif isinstance(thing, FunctionType):
            yield thing
            thing = getattr(thing, "__wrapped__", None)
        else:
            return


def _found(model: nn.Module) -> Iterator[str]:
    """Modules first, then what their classes hold, then what their files call, then what was registered."""
    classes: dict[type, None] = {}
    for path, module in model.named_modules():
        at = path or "the model"
        if not is_known(type(module).__module__):
            yield f"{at} is a {type(module).__module__}.{type(module).__qualname__}"
        for name, value in vars(module).items():
            if hasattr(type(module), name) and (own := own_function(value)):
                yield f"{at} has {own} for its {name}"
        classes |= dict.fromkeys(type(module).__mro__)
    files = {part.__module__ for part in classes if part.__module__.startswith("transformers.models.")}
    for part in classes:
        if not is_known(part.__module__):
            yield f"{part.__qualname__} is of {part.__module__}"
        for name, value in vars(part).items():
            if own := own_function(value):
                yield f"{part.__qualname__}.{name} is {own}"
    for file in (*sorted(files), *CALLED):
        yield from _in_file(sys.modules[file])
    yield from _registered(model)


def _in_file(file: ModuleType) -> Iterator[str]:
    for name, value in vars(file).items():
        if own := own_function(value):
            yield f"{file.__name__}.{name} is {own}"
        if isinstance(value, type) and not is_known(value.__module__):
            yield f"{file.__name__}.{name} is {value.__module__}.{value.__qualname__}"


def _registered(model: nn.Module) -> Iterator[str]:
    """What runs for the implementations of attention that a model's configs ask for."""
    configs = {id(module.config): module.config for module in model.modules() if hasattr(module, "config")}
    for config in configs.values():
        asked = getattr(config, "_attn_implementation", None)
        for known, what in ((ALL_ATTENTION_FUNCTIONS, "attention"), (ALL_MASK_ATTENTION_FUNCTIONS, "masks")):
            if asked in known and (own := own_function(known[asked]) or _own_object(known[asked])):
                yield f"{what} of the implementation {asked!r} is {own}"


def _own_object(thing: object) -> str | None:
    """The class of a thing that can be called and is no function, where it is somebody's own."""
    kind = type(thing)
    return None if is_known(kind.__module__) else f"a {kind.__module__}.{kind.__qualname__}"
