"""Which family is the model that a config.json describes? Also that of the text model inside an image-text model."""

from collections.abc import Mapping
from typing import Any

from weightgraft.engine.families import FAMILIES, family_of
from weightgraft.engine.words import shown
from weightgraft.errors import UserError
from weightgraft.loading.files import CONFIG

EXPERTS = (
    "num_local_experts",
    "num_experts",
    "n_routed_experts",
    "moe_num_experts",
    "num_moe_experts",
    "ffn_num_experts",
)
# Image-text models whose text part, asked by text alone, computes as that part does by itself.
WRAPPERS = frozenset({
    "gemma3", "got_ocr2", "idefics3", "internvl", "llava", "llava_next", "llava_onevision", "mistral3", "smolvlm", "video_llava",
    "vipllava",
})  # fmt: skip
SAVE_TEXT_PART = (
    "save its text part as a model of its own, whose config is the wrapper's text_config (its weights are those of "
    "wrapper.get_decoder() and of wrapper.lm_head), and give that folder"
)


def text_settings(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """Of config.json, what is about the text model: all of it, or the text part of an image-text model."""
    return config["text_config"] if str(config.get("model_type")) in WRAPPERS else config


def checked_family(option: str, config: Mapping[str, Any]) -> str:
    """The model_type of the text model that a config.json describes.

    Raises:
        UserError: no family, a mixture of experts, a quantized model, an unknown wrapper.
    """
    name, text = config.get("model_type"), config.get("text_config")
    if not isinstance(name, str) or not name:
        raise UserError(
            f"{option}: {CONFIG} does not say what family the model is of (model_type is {shown(name)}); copy it again, from where "
            "the model was trained"
        )
    if config.get("quantization_config") or (isinstance(text, dict) and text.get("quantization_config")):
        raise UserError(
            f"{option}: a quantized model (config.json has quantization_config); grafting needs plain weights"
        )
    for settings in (config, text if isinstance(text, dict) else {}):
        for key in EXPERTS:
            if isinstance(count := settings.get(key), int) and count > 1:
                raise UserError(
                    f"{option}: {settings.get('model_type')} is a mixture of experts (config.json: {key} {count}), which cannot be "
                    "grafted: what serves a token is chosen by its own router; give a dense model"
                )
    if name in FAMILIES:
        return name
    if not isinstance(text, dict):
        try:
            family_of(name)
        except ValueError as error:
            raise UserError(f"{option}: {error}") from None
    assert isinstance(text, dict)
    family = str(text.get("model_type"))
    if name not in WRAPPERS:
        raise UserError(
            f"{option}: {name} is a model around a text model ({family}) and not known here "
            f"(known: {', '.join(sorted(WRAPPERS))}); {SAVE_TEXT_PART}"
        )
    if family not in FAMILIES:
        raise UserError(
            f"{option}: the text model in this {name} is of no known family: {family}; known: {', '.join(FAMILIES)}"
        )
    return family
