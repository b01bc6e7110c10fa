"""Adapters' folders that are changed in one drawn way: a change that makes file, config and base disagree is refused in one line;
one that does not is accepted, and the number is what peft makes of the same folder in a plain forward pass."""

import json
import random
from collections.abc import Callable
from typing import Any

import pytest
import torch
from checkpoints import ADAPTER, TOLERANCE, Weights, answer, copied, edited, plain, reweighted, with_adapters
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tiny_models import VOCAB

CONFIG = "adapter_config.json"
DRAWS = st.randoms(use_true_random=False)
KINDS = ("qv", "linear", "dora", "ranked", "saved", "pattern", "layers")
Change = Callable[[Weights, random.Random], Weights | None]


def search(examples: int):
    return settings(
        max_examples=examples,
        derandomize=True,
        deadline=None,
        database=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
    )


def some(rng: random.Random, names: Any) -> list[str]:
    """A part of the names, at least one, drawn."""
    names = sorted(names)
    return rng.sample(names, rng.randint(1, len(names)))


def lost(weights: Weights, rng: random.Random) -> None:
    for name in some(rng, weights):
        del weights[name]


def renamed(weights: Weights, rng: random.Random) -> Weights:
    """Other prefixes, other layers, other halves of the pair, an adapter's name left in."""
    old, new = rng.choice([
        ("model.model.layers", "model.model.language_model.layers"),
        ("base_model.model.", ""),
        ("base_model.model.", "base_model.model.model."),
        ("base_model.model.", "model."),
        ("base_model.model.", "base_model.model._orig_mod."),
        (".layers.2.", ".layers.7."),
        (".layers.", ".h."),
        (".lora_A.weight", ".lora_A.default.weight"),
        (".lora_A.weight", ".lora_a.weight"),
        (".lora_magnitude_vector", ".lora_magnitude_vector.default.weight"),
        (".lora_B", ".lora_up"),
    ])  # fmt: skip
    fit = [name for name in weights if old in name] or [*weights]
    moved = some(rng, fit)
    return {(name.replace(old, new, 1) if old in name else f"{name}.old") if name in moved else name: weight
            for name, weight in weights.items()}  # fmt: skip


def hollow(weights: Weights, rng: random.Random) -> None:
    for name in some(rng, weights):
        weights[name] = torch.zeros(0)


def cut(weights: Weights, rng: random.Random) -> None:
    for name in some(rng, weights):
        kept = rng.randrange(weights[name].shape[0])
        weights[name] = weights[name][:kept] if rng.random() < 0.5 else torch.cat([weights[name]] * 2)


def flattened(weights: Weights, rng: random.Random) -> None:
    name = rng.choice([name for name in weights if weights[name].dim() == 2])
    weights[name] = weights[name].flatten()


def more(weights: Weights, rng: random.Random) -> None:
    at = "base_model.model.model.layers"
    name, shape = rng.choice([
        (f"{at}.3.self_attn.q_proj.lora_A.weight", (2, 24)),
        (f"{at}.0.self_attn.q_norm.lora_A.weight", (2, 24)),
        (f"{at}.1.self_attn.q_proj.lora_C.weight", (2, 24)),
        (f"{at}.1.self_attn.q_proj.lora_embedding_A", (2, 24)),
        (f"{at}.0.self_attn.k_proj.bias", (12,)),
        ("base_model.model.model.embed_tokens.token_adapter.trainable_tokens_delta", (1, 24)),
        ("base_model.model.model.embed_tokens.weight", (VOCAB + 1, 24)),
        ("base_model.model.lm_head.weight", (VOCAB + 3, 24)),
        ("base_model.model.score.weight", (2, 24)),
        ("prompt_embeddings", (8, 24)),
    ])  # fmt: skip
    weights[name] = torch.randn(shape)


def packed(weights: Weights, rng: random.Random) -> None:
    kind = rng.choice(
        [torch.int8, torch.uint8, torch.float8_e4m3fn, torch.float8_e5m2, torch.int32, torch.bool]
    )
    for name in some(rng, weights):
        weights[name] = weights[name].to(kind)


def scaled(weights: Weights, rng: random.Random) -> None:
    for name in some(rng, weights):
        weights[
            name.removesuffix(".weight") + rng.choice([".weight_scale", ".absmax", ".weight_scale_inv"])
        ] = torch.ones(1)


def no_number(weights: Weights, rng: random.Random) -> None:
    name = rng.choice(sorted(weights))
    weights[name].view(-1)[rng.randrange(weights[name].numel())] = rng.choice(
        [torch.nan, torch.inf, -torch.inf]
    )


DAMAGES: tuple[Change, ...] = (
    lost, renamed, renamed, hollow, cut, flattened, more, more, packed, scaled, no_number,
)  # fmt: skip


@search(110)
@given(kind=st.sampled_from(KINDS), damage=st.sampled_from(DAMAGES), rng=DRAWS)
def test_an_adapter_whose_file_is_not_what_its_config_asks_for_is_refused(
    folder, tmp_path_factory, kind, damage, rng
):
    spoilt = copied(folder / kind, tmp_path_factory.mktemp("spoilt") / kind)
    reweighted(spoilt, lambda weights: damage(weights, rng), ADAPTER)
    line = answer(folder / "base", spoilt).line
    assert line.startswith(f"--donor sft={spoilt}: "), line


# Entries of adapter_config.json that no file of these adapters goes with, or that are more than LoRA.
WRONG: tuple[dict[str, Any], ...] = (
    {"r": 7}, {"r": 0}, {"r": -1}, {"r": "2"}, {"r": 2.0}, {"r": None}, {"r": [2]}, {"r": True},
    {"rank_pattern": {"v_proj|k_proj|down_proj": 9}}, {"rank_pattern": {"(": 2}}, {"rank_pattern": {"v_proj": "2"}},
    {"rank_pattern": 3}, {"alpha_pattern": {"q_proj": "5"}}, {"alpha_pattern": [1]}, {"lora_alpha": None},
    {"lora_alpha": "4"}, {"lora_alpha": float("nan")}, {"lora_alpha": [4]}, {"target_modules": "(q_proj"},
    {"target_modules": ["nonesuch"]}, {"target_modules": []}, {"target_modules": 3}, {"target_modules": ["q_proj", 3]},
    {"target_modules": ["gate_proj"]}, {"target_modules": None}, {"target_modules": {"q_proj": 1}},
    {"modules_to_save": ["embed_tokens"]}, {"modules_to_save": "(", "target_modules": ["q_proj"]}, {"modules_to_save": [4]},
    {"peft_type": "LOHA"}, {"peft_type": "NONESUCH"}, {"peft_type": None}, {"peft_type": ["LORA"]}, {"peft_type": "IA3"},
    {"peft_type": "PROMPT_TUNING"}, {"peft_type": "ADALORA"}, {"peft_type": "lora"}, {"peft_type": ""}, {"r": 10**400},
    {"r": 10**12}, {"lora_alpha": 10**400}, {"lora_alpha": float("inf")}, {"lora_alpha": {"a": 1}}, {"bias": "nonesuch"},
    {"alpha_pattern": {"q_proj": None}}, {"rank_pattern": {"q_proj": 10**400}}, {"init_lora_weights": "pissa"},
    {"init_lora_weights": "pissa_niter_16"}, {"init_lora_weights": "olora"}, {"init_lora_weights": "corda"},
    {"init_lora_weights": "loftq"}, {"init_lora_weights": "lora_ga"}, {"init_lora_weights": "PiSSA"},
    {"init_lora_weights": "mica"}, {"alora_invocation_tokens": [3, 4]}, {"layer_replication": [[0, 3], [1, 3]]},
    {"lora_bias": True}, {"trainable_token_indices": [1, 2]}, {"target_parameters": ["mlp.experts.gate_up_proj"]},
    {"use_qalora": True}, {"megatron_config": {"a": 1}}, {"use_rslora": "yes"}, {"use_dora": 1}, {"fan_in_fan_out": "no"},
    {"layers_to_transform": [1]}, {"exclude_modules": ["v_proj", "k_proj", "down_proj"]},
    {"layers_to_transform": [0, 9], "layers_pattern": "layers"},
)  # fmt: skip


@search(110)
@given(kind=st.sampled_from(KINDS), wrong=st.sampled_from(WRONG))
def test_an_adapter_whose_config_does_not_go_with_its_file_is_refused(folder, tmp_path_factory, kind, wrong):
    spoilt = copied(folder / kind, tmp_path_factory.mktemp("spoilt") / kind)
    before = json.loads((spoilt / CONFIG).read_text())
    edited(spoilt, CONFIG, **wrong)
    found = answer(folder / "base", spoilt)
    if found.line:
        assert found.line.startswith(f"--donor sft={spoilt}: "), found.line
    else:  # what one adapter cannot have, another has already, or asks nothing of
        changes = {key for key, value in wrong.items() if before.get(key) != value}
        free = {"layers_to_transform", "exclude_modules", "rank_pattern", "layers_pattern", "target_modules"}
        assert changes <= free, wrong
        assert abs(found.sft - plain(with_adapters(folder / "base", spoilt))) <= TOLERANCE


# What changes the number by what it says, or does not change it.
RIGHT: tuple[dict[str, Any], ...] = (
    {}, {"lora_alpha": 7}, {"lora_alpha": 0.5}, {"lora_alpha": -3}, {"use_rslora": True}, {"use_rslora": False},
    {"alpha_pattern": {}}, {"alpha_pattern": {"v_proj": 9, "k_proj": 1}}, {"lora_dropout": 0.5}, {"inference_mode": False},
    {"revision": "main"}, {"task_type": None}, {"task_type": "FEATURE_EXTRACTION"}, {"init_lora_weights": False},
    {"init_lora_weights": "gaussian"}, {"init_lora_weights": "eva"}, {"init_lora_weights": "orthogonal"},
    {"base_model_name_or_path": "somebody/another"}, {"base_model_name_or_path": None}, {"bias": "none"}, {"a_new_entry": 3},
    {"auto_mapping": None}, {"corda_config": None}, {"megatron_core": "megatron.core"}, {"peft_version": "0.9.0"},
    {"exclude_modules": ["nonesuch"]}, {"loftq_config": {}}, {"lora_bias": None}, {"modules_to_save": None}, {"lora_dropout": 0},
)  # fmt: skip


def kept(weights: Weights, rng: random.Random) -> None:
    pass


def halved(weights: Weights, rng: random.Random) -> None:
    """Other plain types, all the tensors or some."""
    kind = rng.choice([torch.float16, torch.bfloat16, torch.float64])
    for name in some(rng, weights):
        weights[name] = weights[name].to(kind)


def magnitudes_otherwise(weights: Weights, rng: random.Random) -> Weights:
    """DoRA's as peft reads them too."""
    names = [name for name in weights if name.endswith("lora_magnitude_vector")]
    moved = some(rng, names) if names else []
    return {f"{name}.weight" if name in moved else name: weight for name, weight in weights.items()}


def reordered(weights: Weights, rng: random.Random) -> Weights:
    return {name: weights[name] for name in rng.sample(sorted(weights), len(weights))}


@search(60)
@given(
    kind=st.sampled_from(KINDS),
    right=st.sampled_from(RIGHT),
    change=st.sampled_from([kept, halved, reordered, magnitudes_otherwise]),
    rng=DRAWS,
)
def test_what_an_adapters_folder_says_is_what_is_grafted(folder, tmp_path_factory, kind, right, change, rng):
    given_folder = copied(folder / kind, tmp_path_factory.mktemp("right") / kind)
    reweighted(given_folder, lambda weights: change(weights, rng), ADAPTER)
    edited(given_folder, CONFIG, **right)
    found = answer(folder / "base", given_folder)
    assert not found.line, found.line
    assert abs(found.sft - found.pre) > 10 * TOLERANCE
    assert abs(found.sft - plain(with_adapters(folder / "base", given_folder))) <= TOLERANCE
    odd = ("base_model_name_or_path" in right and right["base_model_name_or_path"]) or "a_new_entry" in right
    assert len(found.notes) == bool(odd), found.notes


@pytest.mark.parametrize("seed", range(6))
def test_adapters_on_each_other_add_up(folder, tmp_path, seed):
    """As SFT and then DPO are trained: the second on the merged first."""
    rng = random.Random(seed)
    stack = rng.sample(["qv", "linear", "ranked", "pattern", "layers"], rng.choice([2, 3]))
    found = answer(folder / "base", "+".join(str(folder / name) for name in stack))
    assert not found.line, found.line
    single = answer(folder / "base", folder / stack[0]).sft
    assert abs(found.sft - single) > 10 * TOLERANCE
    assert (
        abs(found.sft - plain(with_adapters(folder / "base", *(folder / name for name in stack))))
        <= TOLERANCE
    )


def test_a_stack_is_refused_where_it_is_no_sum_and_a_plus_in_a_name_is_a_plus(folder, tmp_path):
    for stack, words in (
        (["qv", "dora"], "cannot add up its adapters at model.layers.0.self_attn.q_proj"),
        (["qv", "sft"], "is a whole model; '+' stands between adapters"),
        (["qv", "nowhere"], "no such directory"),
    ):
        assert words in answer(folder / "base", "+".join(str(folder / name) for name in stack)).line
    odd = copied(folder / "qv", tmp_path / "lora+v2")
    assert answer(folder / "base", odd) == answer(folder / "base", folder / "qv")


def test_an_embedding_beside_the_adapter_is_taken_where_it_is_the_bases(folder, tmp_path):
    """peft saves it where it cannot know whether the vocabulary has grown."""
    name = "base_model.model.model.embed_tokens.weight"
    from safetensors.torch import load_file

    rows = load_file(folder / "base" / "model.safetensors")["model.embed_tokens.weight"]
    same = reweighted(
        copied(folder / "qv", tmp_path / "same"), lambda weights: weights | {name: rows}, ADAPTER
    )
    assert answer(folder / "base", same).sft == answer(folder / "base", folder / "qv").sft
    other = reweighted(
        copied(folder / "qv", tmp_path / "other"), lambda weights: weights | {name: rows + 1}, ADAPTER
    )
    assert (
        "its base differs from the recipient in model.embed_tokens.weight"
        in answer(folder / "base", other).line
    )
    grown = torch.cat([rows, rows[:1]])
    more_rows = reweighted(
        copied(folder / "qv", tmp_path / "grown"), lambda weights: weights | {name: grown}, ADAPTER
    )
    found = answer(folder / "base", more_rows)
    assert found.sft == answer(folder / "base", folder / "qv").sft
    (told,) = found.notes
    assert f"{len(grown)} rows, of which the first {len(rows)} are the recipient's" in told
    trained = torch.cat([rows + 0.01, rows[:1]])
    changed = reweighted(
        copied(folder / "qv", tmp_path / "changed"), lambda weights: weights | {name: trained}, ADAPTER
    )
    assert "to which tokens had been added" in answer(folder / "base", changed).line


def test_an_adapter_that_was_never_trained_is_told(folder, tmp_path):
    idle = copied(folder / "qv", tmp_path / "idle")
    reweighted(idle, lambda weights: {k: w * 0 if "lora_B" in k else w for k, w in weights.items()}, ADAPTER)
    (note,) = answer(folder / "base", idle).notes
    assert "adds nothing" in note
