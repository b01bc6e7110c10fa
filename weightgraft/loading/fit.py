"""Do names and shapes in a file fit a model, both ways? Everything in the file has a place, and every place is filled.

The places are those that transformers or peft say: transformers renames old names itself, and is asked what becomes of each.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from transformers import PreTrainedModel
from transformers.conversion_mapping import get_model_conversion_mapping
from transformers.core_model_loading import WeightConverter, WeightRenaming, rename_source_key

from weightgraft.errors import UserError
from weightgraft.loading.adapter_configs import MERGE
from weightgraft.loading.headers import HOLLOW, is_old_buffer

Shape = tuple[int, ...]
Header = Mapping[str, Mapping[str, Any]]

# What names tell about how a file was saved: (in a name, what to do).
MODEL_CURES = (
    (r"(^|\.)_orig_mod\.", "it was saved from a compiled model: save model._orig_mod"),
    (r"^module\.", "it was saved from a wrapper for several devices: save model.module"),
    (r"(^|\.)_fsdp_wrapped_module\.", "it was saved from inside FSDP: save the gathered state dict"),
    (
        r"\.lora_[AB]\.|\.base_layer\.|^base_model\.model\.",
        "it has the layers of peft in it: save model.merge_and_unload()",
    ),
)
ADAPTER_CURES = (
    *MODEL_CURES[:3],
    (
        r"\.lora_[AB]\.\w+\.weight$|\.lora_magnitude_vector\.\w+",
        "it is a state dict of peft's and no saved adapter: save with model.save_pretrained",
    ),
    (r"language_model\.|text_model\.|vision", f"it was trained inside an image-text model: {MERGE}"),
    (r"token_adapter|trainable_tokens", f"it trains rows of the embedding: {MERGE}"),
    (
        r"lora_magnitude_vector",
        "it is DoRA, but adapter_config.json does not say so (use_dora): restore that file",
    ),
)
OTHER_MODEL = "copy config.json and weights from one place"
OTHER_ROWS = f"it was trained on a base to which tokens had been added: {MERGE}"
OTHER_BASE = "an adapter fits the model that it was trained on alone: give that as the recipient, or copy the adapter again, whole"


def check_model_fits(option: str, model: PreTrainedModel, header: Header) -> None:
    """That a model takes everything that its files hold, but for buffers of old files, and finds everything that it needs.

    model: built from its config, with or without weights.

    Raises:
        UserError: names the first weight that is missing, too much, there twice, or of another shape.
    """
    state = {name: tuple(weight.shape) for name, weight in model.state_dict().items()}
    filled: dict[str, str] = {}
    left = []
    for name, (places, whole) in _places(model, header).items():
        shape = tuple(header[name]["shape"])
        if not places and not is_old_buffer(name, shape):
            left.append(name)
        for place in places:
            if whole and place in filled:
                raise UserError(
                    f"{option}: {filled[place]} and {name} are both {place}; remove the one that is not meant"
                )
            if whole and shape != state[place]:
                cure = HOLLOW if len(shape) == 1 < len(state[place]) else OTHER_MODEL
                raise UserError(
                    f"{option}: {name} has shape {shape} in the file, {state[place]} by config.json; {cure}"
                )
            filled[place] = name
    ties = [{*pair} for pair in model.all_tied_weights_keys.items()]
    missing = [
        name
        for name in state
        if name not in filled and not any(name in tie and tie & {*filled} for tie in ties)
    ]
    if missing or left:
        first = [f"{len(missing)} weights are missing, the first {missing[0]}"] if missing else []
        more = [f"{len(left)} in the files have no place by config.json, the first {left[0]}"] if left else []
        raise UserError(f"{option}: {'; '.join(first + more)}; {_cure(MODEL_CURES, left) or OTHER_MODEL}")


def _places(model: PreTrainedModel, names: Iterable[str]) -> dict[str, tuple[list[str], bool]]:
    """For each name in the files, by transformers' own rules: the entries of the model's state dict that it goes to, and
    whether it is that entry as it stands (and not a part, or a mixture, that transformers converts)."""
    state = model.state_dict()
    conversions = get_model_conversion_mapping(model)
    renamings = [entry for entry in conversions if isinstance(entry, WeightRenaming)]
    converters = [entry for entry in conversions if isinstance(entry, WeightConverter)]
    targets = {pattern: entry.target_patterns for entry in converters for pattern in entry.source_patterns}
    places = {}
    for name in names:
        renamed, source = rename_source_key(name, renamings, converters, model.base_model_prefix, state)
        if renamed not in state and name in state:
            renamed, source = name, None
        found = (
            [renamed]
            if source is None
            else [renamed.replace(targets[source][0], to) for to in targets[source]]
        )
        places[name] = ([place for place in found if place in state], source is None)
    return places


def check_adapter_fits(
    option: str, expected: Mapping[str, Shape], header: Header, base: Mapping[str, Shape]
) -> list[str]:
    """That an adapter's file holds every tensor that its config asks for on this base, in its shape, and nothing else but
    weights of the base itself (embeddings, which peft saves beside the adapter where it cannot know that they are the base's).

    expected: what peft would save of the adapter, by its names. base: shapes of the base's parameters, by peft's names.

    Returns:
        Those of the base's weights that have more rows in the file: tokens were added. Whether the others are the base's
        rows, the numbers tell.

    Raises:
        UserError: how many fit, the first that does not, the first that nothing fills.
    """
    shapes = {name: tuple(entry["shape"]) for name, entry in header.items()}
    fit = [name for name, shape in shapes.items() if expected.get(name, base.get(name)) == shape]
    odd = [name for name in shapes if name not in fit]
    missing = [name for name in expected if name not in shapes]
    grown = [
        name
        for name in odd
        if name in base and name not in expected
        if len(shapes[name]) == 2 and shapes[name][1:] == base[name][1:] and shapes[name][0] > base[name][0]
    ]
    if len(odd) == len(grown) and not missing:
        return grown
    told = [f"{len(fit)} of the {len(shapes)} tensors in adapter_model.safetensors fit the recipient"]
    if odd:
        wanted = expected.get(odd[0], base.get(odd[0]))
        why = f" of shape {shapes[odd[0]]}, it takes {wanted}" if wanted else ", for which it has no place"
        told.append(f"the first that does not: {odd[0]}{why}")
    if missing:
        told.append(f"{len(missing)} that adapter_config.json asks for are missing, the first {missing[0]}")
    rows = any(name in base and shapes[name][1:] == base[name][1:] for name in odd)
    hollow = not shapes or any(
        0 in shapes[name] or len(shapes[name]) == 1 < len(expected.get(name, ())) for name in odd
    )
    cure = HOLLOW if hollow else _cure(ADAPTER_CURES, odd) or (OTHER_ROWS if rows else OTHER_BASE)
    raise UserError(f"{option}: {'; '.join(told)}; {cure}")


def _cure(cures: Sequence[tuple[str, str]], names: Iterable[str]) -> str | None:
    """What to do about names that have no place; None where they do not tell."""
    return next((cure for name in names for pattern, cure in cures if re.search(pattern, name)), None)
