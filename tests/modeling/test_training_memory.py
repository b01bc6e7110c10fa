"""Claims about the estimate of peak memory: near what is measured, for every family, and it says what to change."""

import ctypes
import multiprocessing
from pathlib import Path

import psutil
import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoConfig, PreTrainedModel

from stages.commands.benchmarks.memory import peak_bytes
from stages.modeling import training
from stages.modeling.memory import memory_lines, peak_parts, readable, saved_activations
from stages.modeling.models import build_model, set_up
from stages.modeling.tokens import train_tokenizer

LAYERS = {"n_layer": 8, "n_head": 4, "n_positions": 128}
TEXT = " ".join("abcdefghijklmnopqrstuvwxyz" * 4)  # 104 tokens and more
# What a layer's backward pass needs for a moment, and torch's own buffers, are not counted; the largest difference seen: an eighth.
FACTOR = 1.25
M_MMAP_THRESHOLD = -3  # of glibc's mallopt


def measured(queue, width: int, texts: int, lora: bool, settings: dict, folder: Path) -> None:
    """In a process of its own: put (bytes by which training raised this process's peak, estimated parts)."""
    ctypes.CDLL(None).mallopt(
        M_MMAP_THRESHOLD, 2**16
    )  # what torch frees goes back to the system, as on a GPU to torch's pool
    set_up(0, threads=1)
    tokenizer = train_tokenizer([TEXT], 300, bos=False)
    run = {"num_train_epochs": 1, "batch_size": texts, "learning_rate": 1e-3, **settings}

    def built(width: int) -> PreTrainedModel:
        return build_model("gpt2", {**LAYERS, "n_embd": width}, tokenizer)

    # Of the libraries' code only what has run is in memory: that is no part of the peak, so some of everything runs before.
    short = {**run, "batch_size": 2, "gradient_accumulation_steps": 1}
    training.train(built(8), tokenizer, [TEXT] * 2, short, "cpu", 0, folder / "short", "x")
    seen = {}
    told = training.peak_parts

    def noted(*args, **kwargs):
        seen["parts"] = told(*args, **kwargs)
        seen["before"] = psutil.Process().memory_info().rss
        return seen["parts"]

    training.peak_parts = noted  # this process ends with this function
    model = built(width)
    if lora:
        model = get_peft_model(model, LoraConfig(target_modules="all-linear", r=4, lora_alpha=8))
    weights = sum(parameter.nbytes for parameter in model.parameters())
    training.train(model, tokenizer, [TEXT] * 2 * texts, run, "cpu", 0, folder / "ckpt", "x")
    queue.put((peak_bytes(torch.device("cpu")) - seen["before"] + weights, seen["parts"]))


@pytest.mark.parametrize(
    ("width", "texts", "lora", "settings", "most"),
    [
        (512, 1, False, {}, ("weights", "gradients", "AdamW")),
        (128, 24, False, {"gradient_accumulation_steps": 2}, ("activations",)),
        (128, 32, False, {"gradient_checkpointing": True}, ("activations",)),
        (256, 4, True, {}, ("weights", "activations")),
    ],
)
def test_the_estimate_is_near_the_measured_peak(tmp_path, width, texts, lora, settings, most):
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["test_training_memory", "training_jobs"])
    queue = context.Queue()
    process = context.Process(target=measured, args=(queue, width, texts, lora, settings, tmp_path))
    process.start()
    peak, parts = queue.get(timeout=120)
    process.join()
    estimate = sum(parts.values())
    assert sum(parts[name] for name in most) > 0.5 * estimate  # what this case is about
    assert estimate / FACTOR < peak < estimate * FACTOR


FAMILIES = {
    "gpt2": {"n_embd": 64, "n_layer": 4, "n_head": 4},
    **{
        family: {
            "hidden_size": 64,
            "num_hidden_layers": 4,
            "num_attention_heads": 4,
            "num_key_value_heads": 4,
            "intermediate_size": 128,
        }
        for family in ("gpt_neox", "llama", "stablelm", "gemma")
    },
}


@pytest.mark.parametrize("family", FAMILIES)
def test_activations_grow_with_texts_and_checkpointing_saves_most_of_them(family):
    config = AutoConfig.for_model(family, **FAMILIES[family], vocab_size=300)
    state = torch.get_rng_state()
    one, four = (saved_activations(config, texts, 64, bf16=False) for texts in (4, 16))
    assert 3.5 * one < four < 4.5 * one
    assert saved_activations(config, 16, 64, bf16=True) < 1.1 * four
    assert torch.equal(torch.get_rng_state(), state)  # an estimate changes no training
    whole = peak_parts(config, 10**6, 10**6, 16, 64)
    less = peak_parts(config, 10**6, 10**6, 16, 64, checkpointing=True)
    assert less["activations"] < 0.5 * whole["activations"]
    assert {name: size for name, size in less.items() if name != "activations"}.items() <= whole.items()


def test_what_is_held_is_weights_gradients_and_two_moments_of_what_is_trained():
    config = AutoConfig.for_model("gpt2", **FAMILIES["gpt2"], vocab_size=300)

    def held(trained: int, **how) -> list[int]:
        parts = peak_parts(config, 1000, trained, 2, 16, **how)
        return [parts.get(name, 0) for name in ("weights", "gradients", "AdamW", "buckets", "bf16 weights")]

    assert held(1000) == [4000, 4000, 8000, 0, 0]
    assert held(10) == [4000, 40, 80, 0, 0]  # an adapter
    assert held(1000, processes=4) == [4000, 4000, 8000, 4000, 0]
    assert held(1000, processes=4, sharded=True) == [1000, 1000, 2000, 0, 0]
    assert held(1000, bf16=True) == [4000, 4000, 8000, 0, 2000]
    assert peak_parts(config, 1000, 1000, 2, 16)["logits"] == 3 * 2 * 16 * 300 * 4


def test_the_estimate_stands_beside_what_is_there_and_warns_only_when_it_is_more():
    (line,) = memory_lines({"weights": 3 * 2**30, "logits": 2**29}, 4 * 2**30, "on cuda")
    assert (
        line == "memory: about 3.5 GiB at the peak (weights 3.0 GiB, logits 512.0 MiB); 4.0 GiB free on cuda"
    )
    _, warning = memory_lines({"weights": 5 * 2**30}, 4 * 2**30, "on cuda")
    assert warning.startswith("warning: ")
    for choice in (
        "gradient_accumulation_steps",
        "batch_size",
        "gradient_checkpointing",
        "lora",
        "fsdp.yaml",
    ):
        assert choice in warning


@pytest.mark.parametrize(("size", "text"), [(5, "0.0 KiB"), (2**20, "1.0 MiB"), (3 * 2**39, "1536.0 GiB")])
def test_bytes_are_told_in_a_unit_that_fits(size, text):
    assert readable(size) == text
