"""What an adapter's config asks for: LoRA that adds B(A x) to linear modules, or more than can be grafted? Plain Python."""

import re
import sys
from collections.abc import Mapping
from typing import Any

from weightgraft.engine.words import shown
from weightgraft.errors import UserError

FILE = "adapter_config.json"
MERGE = "merge it into its base (PeftModel.from_pretrained(base, DIR).merge_and_unload().save_pretrained(NEW)) and give that folder"
# Initialisations that change the base, so that A and B add up to the finetuned model on the changed base alone.
CHANGES_BASE = re.compile(r"pissa(_niter_\d+)?|olora|corda|loftq|lora_ga")
CONVERT = (
    "convert it where it was trained (model.save_pretrained(NEW, path_initial_model_for_weight_conversion=INITIAL), INITIAL being "
    "the adapter as it was saved before training) and give that folder"
)
# Entries that make an adapter more than B(A x), with what they are.
MORE = {
    "alora_invocation_tokens": "it acts only after certain tokens (aLoRA)",
    "arrow_config": "it routes tokens between adapters (Arrow)",
    "kasa_config": "it changes its base (KaSA)",
    "layer_replication": "it has more layers than its base",
    "lora_bias": "its B has a bias",
    "megatron_config": "it is one of Megatron's",
    "monteclora_config": "it draws samples (MonteCLoRA)",
    "target_parameters": "it adapts parameters that are no modules, as of mixtures of experts (target_parameters)",
    "trainable_token_indices": "it trains rows of the embedding (trainable_token_indices)",
    "use_bdlora": "its factors are blocks (BD-LoRA)",
    "use_qalora": "it stands on groups of a quantized base (QA-LoRA)",
    "velora_config": "it is a variant of LoRA (VeLoRA)",
}
# Kinds of adapters that peft cannot merge: what they add is no change of weights.
UNMERGED = frozenset({
    "ADAPTION_PROMPT", "CARTRIDGE", "CPT", "LILY", "MULTITASK_PROMPT_TUNING", "POLY", "PREFIX_TUNING", "PROMPT_TUNING", "P_TUNING",
    "SHADOW", "XLORA",
})  # fmt: skip
# What null means in entries that are not null by default: what peft takes it for, where it does not fail on it.
NULL: dict[str, Any] = {
    "alpha_pattern": {}, "bias": "none", "fan_in_fan_out": False, "rank_pattern": {}, "use_dora": False, "use_rslora": False,
}  # fmt: skip
AGAIN = f"copy {FILE} again, from where the adapter was trained"
NUMBER = (int, float)
BIASES = [None, "none", "all", "lora_only"]
MOST_RANKS = 2**31


def check_adapter_config(option: str, config: Mapping[str, Any]) -> None:
    """That an adapter is LoRA, its entries can be read, and it does nothing that grafting cannot.

    Raises:
        UserError: names the entry, what it means, and what to do.
    """
    kind = config.get("peft_type")
    if not isinstance(kind, str) or not kind:
        raise UserError(
            f"{option}: {FILE} does not say what adapter it is (peft_type is {shown(kind)}); {AGAIN}"
        )
    if kind != "LORA":
        cure = MERGE
        if kind.upper() == "LORA":
            cure = "peft writes it in capitals: correct that entry"
        elif kind.upper() in UNMERGED:
            cure = "what it adds is no change of weights, so it cannot be merged either; give a LoRA adapter or a whole model"
        raise UserError(
            f"{option}: a {shown(kind)[1:-1]} adapter ({FILE}: peft_type); of peft's adapters, only LORA can be grafted; {cure}"
        )
    for key, wanted, fits in _types(config):
        if not fits:
            raise UserError(
                f"{option}: {FILE}: {key} is {shown(config.get(key))}; it must be {wanted}; correct that entry, or {AGAIN}"
            )
    initial = config.get("init_lora_weights")
    if isinstance(initial, str) and CHANGES_BASE.fullmatch(initial.lower()):
        raise UserError(
            f"{option}: an adapter that stands on a changed base ({FILE}: init_lora_weights {initial!r}), and cannot be grafted "
            f"onto the base itself; {CONVERT}"
        )
    if initial == "mica":
        raise UserError(f"{option}: {FILE}: init_lora_weights: it is a variant of LoRA (MiCA); {MERGE}")
    for key, what in MORE.items():
        if config.get(key):
            raise UserError(f"{option}: {FILE}: {key}: {what}, which cannot be grafted; {MERGE}")


def _types(config: Mapping[str, Any]) -> list[tuple[str, str, bool]]:
    """(entry, what it must be, whether it is) of the entries that numbers depend on."""
    rank, alpha = config.get("r", 8), config.get("lora_alpha", 8)
    found = [
        ("r", "a whole number above 0", _is_rank(rank)),
        ("lora_alpha", "a number", _is_number(alpha)),
        ("bias", "none, all or lora_only", config.get("bias") in BIASES),
    ]
    for key in ("target_modules", "exclude_modules", "modules_to_save"):
        value = config.get(key)
        names = isinstance(value, list | tuple | set) and all(isinstance(name, str) for name in value)
        found.append(
            (key, "a list of names, or a regular expression", value is None or names or _is_pattern(value))
        )
    for key, fits in (("rank_pattern", _is_rank), ("alpha_pattern", _is_number)):
        value = config.get(key) or {}
        right = isinstance(value, Mapping) and all(
            _is_pattern(name) and fits(number) for name, number in value.items()
        )
        found.append((key, "numbers by names of modules", right))
    for key in ("use_rslora", "use_dora", "fan_in_fan_out"):
        found.append((key, "true or false", isinstance(config.get(key), bool | None)))
    return found


def _is_rank(value: Any) -> bool:
    return type(value) is int and 0 < value < MOST_RANKS


def _is_number(value: Any) -> bool:
    return isinstance(value, NUMBER) and not isinstance(value, bool) and abs(value) <= sys.float_info.max


def _is_pattern(value: Any) -> bool:
    if not isinstance(value, str):
        return False
    try:
        re.compile(value)
    except re.error:
        return False
    return True
