"""Folders of whole models that are changed in one drawn way: where files, index and config no longer agree they are refused in one
line; where they do, the number is what transformers makes of the same folder in a plain forward pass."""

import random
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from checkpoints import TOLERANCE, WEIGHTS, Weights, answer, copied, edited, loaded, plain, reweighted
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file
from test_drawn_adapters import DRAWS, no_number, search, some
from tiny_models import tiny_model

INDEX = f"{WEIGHTS}.index.json"
FAMILIES = ("base", "gpt2", "gpt_neox", "gemma3_text", "qwen2")
MASKS = {"gpt2": ("transformer.h", "attn"), "gpt_neox": ("gpt_neox.layers", "attention")}
Change = Callable[[Weights, random.Random], Weights | None]


def lost(weights: Weights, rng: random.Random) -> None:
    for name in some(rng, weights):
        del weights[name]


def renamed(weights: Weights, rng: random.Random) -> Weights:
    change = rng.choice([
        lambda name: f"_orig_mod.{name}",
        lambda name: f"module.{name}",
        lambda name: f"base_model.model.{name}",
        lambda name: f"{name}_old",
        lambda name: name.replace("weight", "weights"),
        lambda name: name.replace("norm", "norms").replace("embed", "embeds").replace("proj", "project").replace("h.", "g."),
    ])  # fmt: skip
    moved = some(rng, weights)
    return {change(name) if name in moved else name: weight for name, weight in weights.items()}


def cut(weights: Weights, rng: random.Random) -> None:
    for name in some(rng, weights):
        weights[name] = (
            weights[name][:-1] if rng.random() < 0.5 else torch.cat([weights[name], weights[name][:1]])
        )


def more(weights: Weights, rng: random.Random) -> None:
    layer = next(name for name in weights if ".0." in name)
    name, shape = rng.choice([
        (layer.replace(".0.", ".3."), (24, 24)),
        (layer.rpartition(".")[0] + ".side.weight", (24,)),
        ("model.layers.0.self_attn.qkv_proj.bias", (48,)),
        ("model.layers.0.self_attn.attn.bias", (24,)),
        ("vision_tower.embeddings.weight", (16, 16)),
        ("model.layers.0.self_attn.q_proj.lora_A.weight", (2, 24)),
        ("value_head.weight", (1, 24)),
        ("score.weight", (2, 24)),
    ])  # fmt: skip
    weights[name] = torch.randn(shape)


def packed(weights: Weights, rng: random.Random) -> None:
    kind = rng.choice(
        [torch.int8, torch.uint8, torch.float8_e4m3fn, torch.float8_e5m2, torch.int32, torch.int64]
    )
    names = some(rng, weights)
    for name in names:
        weights[name] = weights[name].to(kind)
    if rng.random() < 0.5:
        weights[names[0] + "_scale_inv"] = torch.ones(1)


def hollow(weights: Weights, rng: random.Random) -> None:
    """As ZeRO-3 and FSDP leave them: empty, flat, or in one."""
    for name in some(rng, [name for name in weights if weights[name].dim() == 2]):
        weights[name] = rng.choice([torch.zeros(0), weights[name].flatten()])
    if rng.random() < 0.5:
        weights["model.layers.0._flat_param"] = torch.ones(99)


def scaled(weights: Weights, rng: random.Random) -> None:
    end = rng.choice(
        [
            ".weight_scale",
            ".scales",
            ".qzeros",
            ".absmax",
            ".weight_scale_inv",
            ".SCB",
            ".quant_state.bitsandbytes__nf4",
        ]
    )
    for name in some(rng, [name for name in weights if name.endswith("weight")]):
        weights[name.removesuffix(".weight") + end] = torch.ones(1)


def twice(weights: Weights, rng: random.Random) -> None:
    """One weight under two of the names that transformers knows for it."""
    name = rng.choice([name for name in weights if "." in name and not name.startswith("lm_head")])
    weights[name.partition(".")[2]] = weights[name] + 1


@search(110)
@given(
    name=st.sampled_from(FAMILIES),
    damage=st.sampled_from([lost, renamed, renamed, cut, more, packed, hollow, scaled, twice, no_number]),
    rng=DRAWS,
)
def test_a_model_whose_file_is_not_what_its_config_asks_for_is_refused(
    folder, tmp_path_factory, name, damage, rng
):
    spoilt = copied(folder / name, tmp_path_factory.mktemp("spoilt") / name)
    reweighted(spoilt, lambda weights: damage(weights, rng))
    as_recipient = rng.random() < 0.3
    other = folder / ("sft" if name == "base" else f"{name}-sft")
    line = (answer(spoilt, other) if as_recipient else answer(folder / name, spoilt)).line
    assert line.startswith(f"--recipient {spoilt}: " if as_recipient else f"--donor sft={spoilt}: "), line


def kept(path: Path, rng: random.Random) -> None:
    pass


def other_types(path: Path, rng: random.Random) -> None:
    kind = rng.choice([torch.float16, torch.bfloat16, torch.float64])
    reweighted(
        path,
        lambda weights: {
            key: weight.to(kind) if rng.random() < 0.7 else weight for key, weight in weights.items()
        },
    )


def without_prefix(path: Path, rng: random.Random) -> None:
    """As the backbone's own class saves it: the hub's GPT-2."""
    ends = ("transformer.", "gpt_neox.", "model.")

    def bare(key: str) -> str:
        return next((key.removeprefix(end) for end in ends if key.startswith(end)), key)

    reweighted(path, lambda weights: {bare(key): weight for key, weight in weights.items()})


def old_buffers(path: Path, rng: random.Random) -> None:
    def add(weights: Weights) -> Weights:
        new: Weights = {}
        if path.name in MASKS:
            layers, attention = MASKS[path.name]
            new |= {
                f"{layers}.{i}.{attention}.bias": torch.ones(1, 1, 64, 64, dtype=torch.bool).tril()
                for i in range(3)
            }
            new |= {f"{layers}.{i}.{attention}.masked_bias": torch.tensor(-1e9) for i in range(3)}
        new["model.embeddings.position_ids"] = torch.arange(64)[None]
        return weights | new | {"model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(3)}

    reweighted(path, add)


def in_shards(path: Path, rng: random.Random) -> None:
    model = loaded(path)
    (path / WEIGHTS).unlink()
    model.save_pretrained(path, max_shard_size=f"{rng.choice([5, 20, 40])}KB")


def tie_spelled_out(path: Path, rng: random.Random) -> None:
    """The tied unembedding is in the file too; the same numbers, or others, which is then untied."""

    def add(weights: Weights) -> Weights | None:
        embeddings = [key for key in weights if "embed_tokens" in key or "wte" in key]
        if "lm_head.weight" in weights or "embed_out.weight" in weights:
            return None
        rows = weights[embeddings[0]]
        return weights | {
            "lm_head.weight": rows.clone() if rng.random() < 0.5 else rows + 0.3 * torch.randn(rows.shape)
        }

    reweighted(path, add)


def types_in_other_words(path: Path, rng: random.Random) -> None:
    """transformers builds a config of torch's own words alone; the files say their types themselves."""
    words = ["bf16", "torch.bfloat16", "auto", "fp32", None, 3, ["float32"]]
    edited(path, **{rng.choice(["dtype", "torch_dtype"]): rng.choice(words)})


def unread_beside(path: Path, rng: random.Random) -> None:
    save_file({"a": torch.ones(1)}, path / rng.choice(["consolidated.safetensors", "model.fp16.safetensors"]))


CHANGES = [
    kept, other_types, without_prefix, old_buffers, in_shards, tie_spelled_out, unread_beside, types_in_other_words,
]  # fmt: skip


@cache
def base_number(folder: Path) -> float:
    return plain(loaded(folder))


@search(55)
@given(name=st.sampled_from(FAMILIES), change=st.sampled_from(CHANGES), rng=DRAWS)
def test_what_a_models_folder_says_is_what_is_grafted(folder, tmp_path_factory, name, change, rng):
    torch.manual_seed(rng.randrange(2**31))
    source = "sft" if name == "base" else f"{name}-sft"
    given_folder = copied(folder / source, tmp_path_factory.mktemp("right") / name)
    change(given_folder, rng)
    found = answer(folder / name, given_folder)
    assert not found.line, found.line
    if change is types_in_other_words:
        edited(given_folder, dtype="float32")
    assert abs(found.sft - plain(loaded(given_folder))) <= TOLERANCE
    assert (
        abs(found.pre - base_number(folder / name)) <= TOLERANCE
        and abs(found.sft - found.pre) > 10 * TOLERANCE
    )
    assert ["two candidates" in note for note in found.notes] == [True] * (change is unread_beside)


# Entries of config.json with which transformers builds no model, or another than the files hold.
WRONG: tuple[dict[str, Any], ...] = (
    {"num_hidden_layers": "3"}, {"num_hidden_layers": 4}, {"num_hidden_layers": 2}, {"num_hidden_layers": 10**9},
    {"num_hidden_layers": -1}, {"num_hidden_layers": 0}, {"num_hidden_layers": None}, {"hidden_size": 24.0},
    {"hidden_size": 0}, {"hidden_size": 32}, {"hidden_size": -24}, {"hidden_size": None}, {"rms_norm_eps": 0},
    {"rms_norm_eps": "1e-6"}, {"rms_norm_eps": None}, {"num_attention_heads": 0}, {"num_attention_heads": 5},
    {"num_attention_heads": None}, {"num_attention_heads": "4"}, {"num_key_value_heads": 0}, {"num_key_value_heads": 3},
    {"num_key_value_heads": 4}, {"intermediate_size": 41}, {"intermediate_size": -1}, {"vocab_size": 62}, {"vocab_size": 60},
    {"vocab_size": 0}, {"vocab_size": None}, {"vocab_size": "61"}, {"head_dim": 0}, {"head_dim": 7}, {"attention_bias": True},
    {"mlp_bias": True}, {"model_type": "nonesuch"}, {"model_type": None}, {"model_type": ["llama"]}, {"model_type": "bert"},
    {"model_type": "mixtral", "num_local_experts": 8}, {"num_local_experts": 8},
    {"model_type": "qwen2_moe", "num_experts": 60}, {"model_type": "gpt2"},
    {"quantization_config": {"quant_method": "gptq", "bits": 4}}, {"quantization_config": {"load_in_4bit": True}},
    {"hidden_act": "nonesuch"}, {"hidden_act": 3}, {"rope_parameters": "yarn"}, {"text_config": 3, "model_type": "gemma3"},
    {"text_config": {"model_type": "llama"}, "model_type": "nonesuch"},
    {"text_config": {"model_type": "mamba"}, "model_type": "llava"}, {"transformers_weights": "other.safetensors"},
    {"transformers_weights": "../base/model.safetensors"}, {"transformers_weights": ["model.safetensors"]},
)  # fmt: skip


@search(55)
@given(wrong=st.sampled_from(WRONG), as_recipient=st.booleans())
def test_a_config_that_does_not_go_with_its_files_is_refused(folder, tmp_path_factory, wrong, as_recipient):
    spoilt = edited(copied(folder / "sft", tmp_path_factory.mktemp("config") / "sft"), **wrong)
    line = (answer(spoilt, folder / "base") if as_recipient else answer(folder / "base", spoilt)).line
    assert line.startswith(f"--recipient {spoilt}: " if as_recipient else f"--donor sft={spoilt}: "), (
        wrong,
        line,
    )


def test_an_adapter_beside_a_whole_model_is_read_by_one_rule(folder, tmp_path):
    both = copied(folder / "sft", tmp_path / "both")
    for file in ("adapter_config.json", "adapter_model.safetensors"):
        (both / file).write_bytes((folder / "qv" / file).read_bytes())
    as_donor, alone = answer(folder / "base", both), answer(folder / "base", folder / "qv")
    assert as_donor.sft == alone.sft and "the adapter was read" in as_donor.notes[0]
    as_recipient = answer(both, folder / "base")
    assert abs(as_recipient.pre - plain(loaded(folder / "sft"))) <= TOLERANCE
    assert "the whole model was read; the adapter beside it was not" in as_recipient.notes[0]
    (both / "adapter_model.safetensors").unlink()
    left_over = answer(folder / "base", both)
    assert abs(left_over.sft - plain(loaded(folder / "sft"))) <= TOLERANCE
    assert "adapter_config.json, which has no weights, was not" in left_over.notes[0]


@pytest.mark.parametrize("family", ["llama", "gemma3_text", "gpt2"])
def test_a_donor_with_the_recipients_weights_is_told(tmp_path, family):
    model = tiny_model(family, 0)
    for name in ("one", "two"):
        model.save_pretrained(tmp_path / name)
    found = answer(tmp_path / "one", tmp_path / "two")
    assert abs(found.pre - found.sft) <= TOLERANCE and "so SFT is PRE" in found.notes[0]
