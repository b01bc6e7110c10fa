"""A model without weights from a folder's config.json; where none can be made, the entry that is at fault."""

import copy
import textwrap
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedConfig, PreTrainedModel

from weightgraft.errors import UserError

# What configurations and models raise when they are made of something else than they expect.
CANNOT_BE = (
    ArithmeticError, AssertionError, AttributeError, ImportError, LookupError, OSError, RecursionError, RuntimeError,
    StrictDataclassError, TypeError, ValueError,
)  # fmt: skip
LONGEST = 160  # letters of the reason that is told
LAYERS = ("num_hidden_layers", "n_layer")
PER_LAYER = ("layer_types", "no_rope_layers")


def skeleton(option: str, values: Mapping[str, Any]) -> PreTrainedModel:
    """The model that the entries of a config.json describe, on the meta device.

    Raises:
        UserError: it describes none; names the entry without which it would, and what transformers says.
    """
    try:
        return built(values)
    except CANNOT_BE as error:
        reason = textwrap.shorten(
            " ".join(str(error).split()) or type(error).__name__, LONGEST, placeholder=" ..."
        )
        entry = culprit(values, reason)
        if entry is None:
            raise UserError(
                f"{option}: config.json describes no model that transformers can build: {reason}"
            ) from None
        shown = textwrap.shorten(repr(values[entry]), LONGEST, placeholder=" ...")
        raise UserError(
            f"{option}: config.json: {entry} cannot be {shown}: {reason}; correct the entry, or copy config.json again"
        ) from None


def built(values: Mapping[str, Any]) -> PreTrainedModel:
    """A model without weights of the entries of a config.json."""
    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(
            config_of(values), dtype=torch.float32, trust_remote_code=False
        )


def config_of(values: Mapping[str, Any]) -> PreTrainedConfig:
    """The configuration that a config.json describes."""
    entries = copy.deepcopy(dict(values))  # configurations complete their nested settings in place
    return AutoConfig.for_model(entries.pop("model_type"), **entries)


def culprit(values: Mapping[str, Any], reason: str) -> str | None:
    """The entry without which a config.json describes a model; None where no single one is at fault."""
    for entry in _suspects(values, reason):
        rest = {name: value for name, value in values.items() if name != entry}
        if not any(name in rest for name in PER_LAYER):  # one layer tells as much as all
            rest |= {name: 1 for name in LAYERS if name in rest and isinstance(rest[name], int)}
        try:
            built(rest)
        except CANNOT_BE:
            continue
        return entry
    return None


def _suspects(values: Mapping[str, Any], reason: str) -> Iterator[str]:
    """All entries, those first whose name or value the reason names."""
    words = reason.replace("'", " ").replace("`", " ").split()
    yield from sorted(
        (entry for entry in values if entry != "model_type"),
        key=lambda entry: (entry not in reason, str(values[entry]) not in words),
    )
