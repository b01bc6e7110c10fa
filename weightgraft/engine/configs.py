"""What of a config is read: two models are of one make if the code that runs would compute the same.

An entry is read if its name occurs in the code of the classes that the model is built of: in their modeling file, as an
attribute or a text. What a config derives from other entries when it is made (layer types from a number of layers, rotary
settings from their older spellings) is an entry of the finished config, so that two spellings of one meaning are equal here.
"""

import ast
import inspect
import sys
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.activations import ACT2FN

from .words import shown

# Entries that modeling code reads and that change no logit without dropout, each with its reason.
INERT = {
    "_attn_implementation": "the engine has its own attention, which is exact",
    "dtype": "the weights themselves are compared",
    "gradient_checkpointing": "decides what is kept for a backward pass",
    "initializer_range": "is for weights that no checkpoint brings",
    "is_decoder": "says what the class is",
    "name_or_path": "is where it came from",
    "output_attentions": "decides what is returned",
    "output_hidden_states": "decides what is returned",
    "pad_token_id": "names a row that gets no gradient",
    "pretraining_tp": "cuts products in parts of the same sum",
    "reorder_and_upcast_attn": "is an order of rounding; the engine has its own attention",
    "return_dict": "decides what is returned",
    "tie_word_embeddings": "is told by the weights: embed and unembed are separate components",
    "use_cache": "decides what is kept for the next token",
    "vocab_size": "is told by the weights: rows are compared with them",
}
DROPOUT = ("dropout", "pdrop")
# Read outside the modeling files, by what is around every model.
READ_AROUND = frozenset({"per_layer_config", "use_bidirectional_attention", "is_causal"})
POSITIONS = "max_position_embeddings"
WINDOW = "sliding_window"
ROTARY = "rope_parameters"
# Rotary frequencies that depend on the longest sequence so far, or on settings that come into play beyond a length.
GROWING = ("dynamic", "longrope")
# Where it came from, who saved it and for what: no word about them.
UNSAID = frozenset({
    "_name_or_path", "architectures", "bos_token_id", "dtype", "eos_token_id", "id2label", "initializer_range",
    "label2id", "pad_token_id", "torch_dtype", "transformers_version", "use_cache",
})  # fmt: skip
# The grid on which two activations are compared, and float32 rounding of what they compute there.
GRID, ROUNDING = (-12.0, 12.0, 4801), 1e-6
SHOWN = 5  # entries that a note lists

# What stands for an entry that a config leaves open.
DERIVED: dict[str, Callable[[PreTrainedConfig], Any]] = {
    "head_dim": lambda config: config.hidden_size // config.num_attention_heads,
    "num_key_value_heads": lambda config: config.num_attention_heads,
    "n_inner": lambda config: 4 * config.hidden_size,
    "is_causal": lambda _: True,
    "use_bidirectional_attention": lambda _: False,
}
# What causal models do to their logits behind the unembedding, and the value that does nothing, as null does.
ON_LOGITS = {"logit_scale": 1, "logits_scaling": 1, "final_logit_softcapping": None}
Difference = tuple[str, object, object]  # the entry, the donor's value, the recipient's


def differences(donor: PreTrainedModel, recipient: PreTrainedModel) -> Iterator[Difference]:
    """The entries that are read and make the two compute something else."""
    for name, left, right in _written(type(recipient), donor.config, recipient.config):
        alike = ALIKE.get(name, _same_activation)
        if not alike(donor, recipient, left, right):
            yield name, left, right


def _written(model: type, theirs: PreTrainedConfig, ours: PreTrainedConfig) -> Iterator[Difference]:
    """The entries that a model's code reads and that are written otherwise in two configs."""
    names = {*_entries(theirs), *_entries(ours)} | {
        name for name in entries_read(model) if _has(theirs, name) or _has(ours, name)
    }
    for name in sorted(names & (entries_read(model) | READ_AROUND) - INERT.keys()):
        left, right = _value(theirs, name), _value(ours, name)
        if left != right and not any(word in name for word in DROPOUT):
            yield name, left, right


def check_one_config(what: str, model: PreTrainedModel) -> None:
    """Raises ValueError where a module reads another config than the model's own that says something else: layers of another
    model do, and a copied layer whose model's config was changed behind it."""
    seen = {id(model.config), *map(id, vars(model.config).values())}  # with those of a wrapper's parts
    for path, module in model.named_modules():
        config = getattr(module, "config", None)
        if not isinstance(config, PreTrainedConfig) or id(config) in seen:
            continue
        seen.add(id(config))
        attention = "_attn_implementation"  # masks are made for the model's
        asked = (attention, getattr(config, attention), getattr(model.config, attention))
        for entry, theirs, ours in (asked, *_written(type(model), config, model.config)):
            if theirs == ours:
                continue
            raise ValueError(
                f"{what}: {path} reads a config of its own, which differs from the model's in {entry}: {shown(theirs)}, the "
                f"model's {shown(ours)}: the module was copied or comes from another model; build it from the model's config, "
                "or save the model and load it anew with from_pretrained"
            )


def idle_differences(donor: PreTrainedModel, recipient: PreTrainedModel) -> list[str]:
    """What of the two configs differs and changes no number, for a note: `entry value (recipient value)`."""
    theirs, ours = donor.config.to_dict(), recipient.config.to_dict()
    told = [
        f"{name} {shown(theirs.get(name))} (recipient {shown(ours.get(name))})"
        for name in sorted((theirs.keys() | ours.keys()) - UNSAID - {"vocab_size"})
        if theirs.get(name) != ours.get(name)
    ]
    return [*told[:SHOWN], *([f"and {len(told) - SHOWN} more"] if len(told) > SHOWN else [])]


def longest_prompt(*models: PreTrainedModel) -> int:
    """How many tokens a prompt may have, so that every model computes what it would alone.

    Rotary embeddings that change with the longest sequence of a batch would make a prompt's result depend on the others:
    they are held to the length before the change. Where sliding windows differ, no prompt may fill the smaller one.
    """
    limits, windows = [], set()
    for model in models:
        config = model.config
        limits.append(getattr(config, POSITIONS))
        for rope in _rotary_settings(config):
            if rope.get("rope_type") in GROWING:
                limits.append(rope.get("original_max_position_embeddings") or getattr(config, POSITIONS))
        windows.add(_window(config) if WINDOW in entries_read(type(model)) else None)
    return min(limits + [window for window in windows if window is not None and len(windows) > 1])


def entries_read(model: type) -> frozenset[str]:
    """Every name that the code of a model's classes could read from a config: attributes and texts of the functions and
    classes of its modeling file, but for heads of other tasks."""
    return frozenset().union(*(_names_in(part.__module__, part.__name__) for part in _written_in(model)))


def _written_in(model: type) -> list[type]:
    """A model's class and, where that is somebody's own, those that it is made of, up to the first of transformers' own."""
    made_of = [part for part in model.__mro__ if issubclass(part, PreTrainedModel)]
    theirs = [
        place for place, part in enumerate(made_of) if part.__module__.startswith("transformers.models.")
    ]
    return made_of[: theirs[0] + 1] if theirs else made_of[:1]


@cache
def _names_in(module: str, model: str) -> frozenset[str]:
    try:
        tree = ast.parse(inspect.getsource(sys.modules[module]))
    except (OSError, TypeError, KeyError, SyntaxError):
        return frozenset()  # typed into a shell: what it reads is seen by asking it (probing.py)
    classes = {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}
    reached, waiting = set(), [model]
    functions = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
    while waiting:
        name = waiting.pop()
        if name in classes and name not in reached:
            reached.add(name)
            waiting += [node.id for node in ast.walk(classes[name]) if isinstance(node, ast.Name)]
    nodes = [node for part in (*functions, *(classes[name] for name in reached)) for node in ast.walk(part)]
    attributes = {node.attr for node in nodes if isinstance(node, ast.Attribute)}
    texts = {node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    return frozenset(attributes | texts)


def check_window(model: PreTrainedModel) -> None:
    """Raises ValueError for a sliding window that lets a token see nothing, not even itself: what comes of it differs
    from one implementation of attention to another."""
    window = _window(model.config) if WINDOW in entries_read(type(model)) else None
    if window is not None and window < 1:
        raise ValueError(
            f"recipient: config.{WINDOW} is {window}: no token would see anything; null means no window, and a window counts tokens"
        )


def _entries(config: PreTrainedConfig) -> Iterator[str]:
    return (name for name in config.to_dict() if not name.startswith("_"))


def _has(config: PreTrainedConfig, name: str) -> bool:
    return hasattr(config, name) and not callable(getattr(config, name))


def _value(config: PreTrainedConfig, name: str) -> Any:
    if name == WINDOW:
        return _window(config)
    value = getattr(config, name, None)
    if name == "use_sliding_window":
        return bool(value) and _window(config) is not None
    if value is None and name in DERIVED:
        return DERIVED[name](config)
    return list(value) if isinstance(value, tuple) else value


def _window(config: PreTrainedConfig) -> int | None:
    """The sliding window, where some layer has one."""
    kinds = getattr(config, "layer_types", None)
    return getattr(config, WINDOW, None) if kinds is None or "sliding_attention" in kinds else None


def _rotary_settings(config: PreTrainedConfig) -> list[dict[str, Any]]:
    """The rotary settings, one for each kind of layer where they are told apart."""
    rope = getattr(config, ROTARY, None) or {}
    return [entry for entry in rope.values() if isinstance(entry, dict)] or [rope]


def grows(config: PreTrainedConfig) -> bool:
    """Whether rotary frequencies depend on the longest sequence so far."""
    return any(rope.get("rope_type") in GROWING for rope in _rotary_settings(config))


def _same_rotation(donor: PreTrainedModel, recipient: PreTrainedModel, *_: object) -> bool:
    """Whether two models turn queries and keys by the same angles, whatever is written."""
    configs = (donor.config, recipient.config)
    if any(grows(config) for config in configs):
        return False
    left, right = _angles(donor), _angles(recipient)
    return left.keys() == right.keys() and all(_equal(left[name], right[name]) for name in left)


def _angles(model: PreTrainedModel) -> dict[str, Any]:
    """What a model's rotary embeddings multiply by: their frequencies and factors."""
    found: dict[str, Any] = {}
    for path, module in model.named_modules():
        if hasattr(module, "rope_type"):
            if any(buffer.is_meta for buffer in module.buffers()):
                with torch.device("cpu"):
                    module = type(module)(config=module.config)
            factors = {
                name: value for name, value in vars(module).items() if name.endswith("attention_scaling")
            }
            kept = {name: value for name, value in module.named_buffers() if "original" not in name}
            found |= {f"{path}.{name}": value for name, value in (factors | kept).items()}
    return found


def _equal(left: Any, right: Any) -> bool:
    if isinstance(left, Tensor) and isinstance(right, Tensor):
        return left.shape == right.shape and torch.equal(left.cpu().float(), right.cpu().float())
    return left == right


def _longer(donor: PreTrainedModel, recipient: PreTrainedModel, *_: object) -> bool:
    """Whether a limit of positions is only a limit: rotary positions have no table, and angles are compared."""
    return bool(_angles(recipient)) and _same_rotation(donor, recipient)


def _wider(_: PreTrainedModel, __: PreTrainedModel, left: object, right: object) -> bool:
    """Windows of two sizes, or one and none: the same for prompts that fit into the smaller (longest_prompt)."""
    return all(window is None or (isinstance(window, int) and window > 0) for window in (left, right))


def _same_activation(_: PreTrainedModel, __: PreTrainedModel, left: object, right: object) -> bool:
    """Whether two names of activations stand for one function."""
    if not (isinstance(left, str) and isinstance(right, str) and left in ACT2FN and right in ACT2FN):
        return False
    with torch.device("cpu"):
        grid = torch.linspace(*GRID)
        return bool((ACT2FN[left](grid) - ACT2FN[right](grid)).abs().max() <= ROUNDING)


ALIKE: dict[str, Callable[..., bool]] = {
    ROTARY: _same_rotation,
    POSITIONS: _longer,
    "original_max_position_embeddings": _longer,
    WINDOW: _wider,
}


def logit_scale(model: PreTrainedModel) -> float:
    """What logits are multiplied by behind the unembedding, where the family does (Granite, Cohere)."""
    scale, divisor = _read(model, "logit_scale"), _read(model, "logits_scaling")
    if divisor is not None:
        return 1 / divisor if divisor else float("inf")
    return 1.0 if scale is None else scale


def logit_cap(model: PreTrainedModel) -> float | None:
    """Between what logits are capped behind the unembedding, where the family does (Gemma 2)."""
    return _read(model, "final_logit_softcapping")


def _read(model: PreTrainedModel, entry: str) -> Any:
    """An entry of the config where the model's code reads it; a config may say more than that."""
    return getattr(model.config, entry, None) if entry in entries_read(type(model)) else None
