"""What can be told of models that are given as Python objects: each is a whole causal language model as transformers builds it,
its weights plain finite numbers on one device."""

import os
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from weightgraft.notes import note

from .compatibility import check_donor
from .families import FAMILIES, family_of
from .surroundings import check_by_class, check_same_between
from .words import shown

PLAIN = (torch.float32, torch.bfloat16, torch.float16, torch.float64)
COMPILED = "a compiled model (torch.compile); give model._orig_mod, what was compiled"
ANEW = "load the base anew with from_pretrained and give that"
LOAD = "give what AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32) loads"
WHOLE = "load it whole onto one device in one type: AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)"


def is_real() -> bool:
    """Whether numbers are wanted: not under torch.device("meta"), where models are built without any."""
    return torch.get_default_device().type != "meta"


def check_recipient(recipient: object) -> None:
    """Raises ValueError where the recipient cannot serve as it is; says what to do."""
    check_model_object("recipient", recipient)
    assert isinstance(recipient, PreTrainedModel)
    if hasattr(recipient, "peft_config"):
        raise ValueError(f"recipient: a model with adapters of peft in it; {ANEW}")
    if is_real():
        check_numbers("recipient", dict(recipient.named_parameters()))


def check_dense_donor(name: str, donor: object, recipient: PreTrainedModel) -> PreTrainedModel:
    """The donor, a whole model. Raises ValueError where it cannot serve, or not on this recipient; a note where it is the
    recipient over again."""
    what = f"donor {name!r}"
    check_model_object(what, donor)
    assert isinstance(donor, PreTrainedModel)
    check_type(what, donor, recipient)
    check_donor(name, donor, recipient)
    check_same_between(what, donor, recipient)
    if is_real():
        check_numbers(what, dict(donor.named_parameters()))
        tell_equal(what, donor, recipient)
    return donor


def check_type(what: str, donor: PreTrainedModel, recipient: PreTrainedModel) -> None:
    """Raises ValueError where a donor, or the base of its adapter, is in another type than the recipient."""
    if donor.dtype != recipient.dtype:
        raise ValueError(
            f"{what} differs from the recipient in the type of its weights: {donor.dtype}, recipient {recipient.dtype}; load both "
            "in one type: from_pretrained(folder, dtype=torch.float32)"
        )


def check_model_object(what: str, model: object) -> None:
    """Raises ValueError, with what to do, where a model is wrapped, compiled, changed by peft, without its head, quantized, or
    not on one device. what: the recipient, or a donor with its name."""
    if hasattr(model, "_orig_mod"):
        raise ValueError(f"{what}: {COMPILED}")
    if not isinstance(model, PreTrainedModel) and hasattr(model, "peft_config"):
        raise ValueError(
            f"{what}: a {type(model).__name__}; peft has put it around its base, which it changed in place: {ANEW}, "
            "and the peft model, or its adapter's folder, as a donor"
        )
    if isinstance(model, nn.Module) and not isinstance(model, PreTrainedModel) and hasattr(model, "module"):
        raise ValueError(f"{what}: a {type(model).__name__} around a model; give model.module")
    if not isinstance(model, PreTrainedModel):
        raise ValueError(
            f"{what} is {_named(model)}, neither a transformers model nor a LoRA adapter; {_cure(model)}"
        )
    if hasattr(model.config, "text_config") and model.config.model_type not in FAMILIES:
        family = model.config.get_text_config().model_type
        raise ValueError(
            f"{what}: a {type(model).__name__} around a text model ({family}); give its folder to weightgraft inspect, which takes "
            "the text model out of it, or give the text model by itself: AutoModelForCausalLM.from_config(config.text_config) with "
            "the weights of model.get_decoder() and model.lm_head"
        )
    try:
        family_of(model.config.model_type)
    except ValueError as error:
        raise ValueError(f"{what}: {error}") from None
    for path, module in model.named_modules():
        at = f"{path or 'it'} is a {type(module).__module__}.{type(module).__name__}"
        if type(module).__module__.startswith("peft."):
            raise ValueError(
                f"{what}: {at}: peft has changed the model in place (get_peft_model and PeftModel.from_pretrained do); {ANEW}"
            )
        if hasattr(module, "_hf_hook"):
            raise ValueError(
                f"{what}: {at} with a hook of accelerate (device_map over devices, or offloading); {WHOLE}"
            )
        if getattr(module, "_compiled_call_impl", None) is not None:
            raise ValueError(
                f"{what}: {at} and compiled (module.compile()); load the model anew and do not compile it"
            )
    check_by_class(what, model)
    if getattr(model, "is_quantized", False) or getattr(model.config, "quantization_config", None):
        raise ValueError(f"{what}: a quantized model; grafting needs plain weights: {WHOLE}")
    if model.get_output_embeddings() is None:
        raise ValueError(
            f"{what}: a {type(model).__name__}, which has no unembedding; load it with AutoModelForCausalLM, not AutoModel"
        )
    for name, weight in model.named_parameters():
        if weight.dtype not in PLAIN or weight.layout is not torch.strided:
            kind = weight.dtype if weight.layout is torch.strided else weight.layout
            raise ValueError(f"{what}: {name} is {kind}; grafting needs plain weights: {WHOLE}")
        if weight.dtype != model.dtype:
            raise ValueError(f"{what}: {name} is {weight.dtype}, other weights {model.dtype}; {WHOLE}")
        if weight.device != model.device:
            raise ValueError(
                f"{what}: {name} is on {weight.device}, other weights on {model.device}; {WHOLE}"
            )


def _named(thing: object) -> str:
    """What was given in a model's place, in few words."""
    if isinstance(thing, str | bytes | os.PathLike):
        return f"a path ({shown(str(thing))})"
    return f"the class {thing.__name__}" if isinstance(thing, type) else f"a {type(thing).__name__}"


def _cure(thing: Any) -> str:
    """What to give for it."""
    if isinstance(thing, Mapping):
        return f"build the model and fill it with these weights: model.load_state_dict(weights), or {LOAD}"
    if not isinstance(thing, type):
        for part in ("pretrained_model", "model"):  # of a model with a value head; of a pipeline or a trainer
            if isinstance(getattr(thing, part, None), nn.Module):
                return f"give its .{part}"
    return LOAD


def check_numbers(what: str, weights: Mapping[str, Tensor]) -> None:
    """Raises ValueError that names the first weight without numbers (on meta) or with one that is not finite."""
    for name, weight in weights.items():
        if weight.is_meta:
            raise ValueError(
                f"{what}: {name} has no numbers (it is on the device meta, or offloaded); {WHOLE}"
            )
        # One pass without a table of booleans; NaN and infinity both reach an end.
        if weight.numel() and not torch.stack(torch.aminmax(weight.detach())).isfinite().all():
            raise ValueError(f"{what}: {name} holds NaN or infinite numbers (as {weight.dtype})")


def tell_equal(what: str, donor: PreTrainedModel, recipient: PreTrainedModel) -> None:
    """A note where a donor has the recipient's weights: every scheme gives what PRE gives. The small ones are compared first.

    Raises ValueError where both are one object, which is how a base that was changed in place looks.
    """
    if donor is recipient:
        raise ValueError(
            f"{what}: it and the recipient are one object (merge_and_unload and get_base_model change their base in place and give "
            f"it back); {ANEW} as the recipient"
        )
    ours = dict(recipient.named_parameters())
    for name, theirs in sorted(donor.named_parameters(), key=lambda item: item[1].numel()):
        own = ours.get(name)
        if own is None or (own.data_ptr() != theirs.data_ptr() and not torch.equal(own, theirs)):
            return
    note(
        f"{what} has exactly the recipient's weights, so SFT is PRE; is it the right one? merge_and_unload changes a base in "
        "place: load that anew"
    )
