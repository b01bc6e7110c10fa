"""Which entry of a config.json is at fault where transformers can build no model of it: the one without which it can."""

import copy
from collections.abc import Mapping
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError
from transformers import (
    MODEL_FOR_CAUSAL_LM_MAPPING,
    MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING,
    AutoConfig,
    PretrainedConfig,
    PreTrainedModel,
)

from weightgraft.engine.words import shown
from weightgraft.loading.families import WRAPPERS

# A config may be wrong in any way, and transformers computes with it wherever it builds a module.
OF_TRANSFORMERS = (
    ArithmeticError, AssertionError, AttributeError, ImportError, LookupError, NotImplementedError, OSError, RuntimeError,
    SafetensorError, StrictDataclassError, TypeError, ValueError,
)  # fmt: skip
LAYERS = ("num_hidden_layers", "n_layer")
PER_LAYER = ("layer_types", "no_rope_layers")


def class_of(config: PretrainedConfig) -> Any:
    """transformers' own class for a causal language model, or for an image-text model around one."""
    if config.model_type in WRAPPERS:
        return MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING[type(config)]
    return MODEL_FOR_CAUSAL_LM_MAPPING[type(config)]


def built(values: Mapping[str, Any]) -> PreTrainedModel:
    """A model without weights of the entries of a config.json."""
    entries = copy.deepcopy(dict(values))  # configurations complete their nested settings in place
    entries["dtype"] = torch.float32  # whatever they say of it, as when a folder is read
    config = AutoConfig.for_model(entries.pop("model_type"), **entries)
    with torch.device("meta"):
        return class_of(config)._from_config(config, dtype=torch.float32)


def culprit(values: Mapping[str, Any], reason: str) -> str | None:
    """The entry without which a config.json describes a model, with its value; None where no single one is at fault.

    reason: what was said of the whole; entries that it names, or whose value it names, are tried first.
    """
    words = reason.replace("'", " ").replace("`", " ").split()
    suspects = sorted(
        (entry for entry in values if entry != "model_type"),
        key=lambda entry: (entry not in reason, str(values[entry]) not in words),
    )
    for entry in suspects:
        rest = {name: value for name, value in values.items() if name != entry}
        if not any(name in rest for name in PER_LAYER):  # one layer tells as much as all
            rest |= {name: 1 for name in LAYERS if isinstance(rest.get(name), int)}
        try:
            built(rest)
        except OF_TRANSFORMERS:
            continue
        return f"{entry} {shown(values[entry])}"
    return None
