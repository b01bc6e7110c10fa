"""How much memory training takes on each device at its peak, estimated before it runs, beside what is there."""

import copy
from collections.abc import Mapping
from typing import Any

import psutil
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from transformers import AutoModelForCausalLM, PretrainedConfig

FLOAT32 = 4  # bytes
UNITS = (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10))


def saved_activations(config: PretrainedConfig, texts: int, length: int, bf16: bool) -> int:
    """Bytes that a forward pass keeps for the backward one, besides the weights and what they are cast to.

    Counted, not modelled: a model of this configuration runs on tensors that have a shape and no content, so every family is
    counted as its code is, and a model of any size takes about a second and no memory.
    """
    kept: dict[int, Any] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        kept[tensor.untyped_storage()._cdata] = tensor
        return tensor

    with FakeTensorMode():
        model = AutoModelForCausalLM.from_config(copy.deepcopy(config)).train()
        weights = {parameter.shape for parameter in model.parameters()}
        weights |= {shape[::-1] for shape in weights}
        tokens = torch.zeros(texts, length, dtype=torch.long)
        with (
            torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor),
            torch.autocast("cpu", torch.bfloat16, enabled=bf16),
        ):
            model(input_ids=tokens, labels=tokens)
        return sum(
            tensor.untyped_storage().nbytes() for tensor in kept.values() if tensor.shape not in weights
        )


def peak_parts(
    config: PretrainedConfig,
    weights: int,
    trained: int,
    texts: int,
    length: int,
    *,
    bf16: bool = False,
    checkpointing: bool = False,
    processes: int = 1,
    sharded: bool = False,
) -> dict[str, int]:
    """What takes memory on one device at the peak of training: bytes by name.

    Args:
        weights: how many numbers the model has; they are float32 in training.
        trained: how many of them are trained: all, or an adapter's.
        texts: on one device at once, of `length` tokens.
        checkpointing: gradient checkpointing: only what enters a layer is kept, one layer at a time is computed again.
        processes: that train together. Each has everything, or with `sharded` (FSDP) its share of weights, gradients and
            AdamW's two moments, and the layers at work whole.
    """
    layers, width = config.num_hidden_layers, config.hidden_size
    tokens = texts * length
    logits = tokens * config.vocab_size * FLOAT32
    activations = saved_activations(config, texts, length, bf16) - logits
    if checkpointing:
        activations = activations // layers + layers * tokens * width * FLOAT32
    shards = processes if sharded else 1
    parts = {
        "weights": weights * FLOAT32 // shards,
        "gradients": trained * FLOAT32 // shards,
        "AdamW": 2 * trained * FLOAT32 // shards,
        "activations": activations,
        "logits": 3 * logits,  # their log-probabilities, and the gradients of both
    }
    if bf16 and not sharded:
        parts["bf16 weights"] = 2 * weights  # autocast keeps what it has cast until the update
    if processes > 1 and not sharded:
        parts["buckets"] = trained * FLOAT32  # DDP sums gradients in a copy
    if sharded:
        parts["layers at work"] = 3 * FLOAT32 * _largest_unit(config, weights)
    return parts


def _largest_unit(config: PretrainedConfig, weights: int) -> int:
    """Numbers of the largest part that FSDP gathers as one: the embedding, or one layer."""
    embedding = config.vocab_size * config.hidden_size
    return max(embedding, (weights - embedding) // config.num_hidden_layers)


def memory_there(device: torch.device, processes_here: int) -> int:
    """Bytes that are free for one process: of the GPU's memory, or its share of the machine's."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    return psutil.virtual_memory().available // processes_here


def readable(size: int) -> str:
    """Bytes in the largest unit of which there is one."""
    name, unit = next((unit for unit in UNITS if size >= unit[1]), UNITS[-1])
    return f"{size / unit:.1f} {name}"


def memory_lines(parts: Mapping[str, int], there: int, where: str) -> list[str]:
    """The estimate beside what is there, in one line; and a warning, if it is more, with what would need less."""
    listed = ", ".join(f"{name} {readable(size)}" for name, size in parts.items())
    total = sum(parts.values())
    lines = [f"memory: about {readable(total)} at the peak ({listed}); {readable(there)} free {where}"]
    if total > there:
        lines.append(
            "warning: that is more than is free. Less is needed with a larger gradient_accumulation_steps or a smaller "
            "batch_size, gradient_checkpointing: true, a recipe with lora, or FSDP on several GPUs (launch.train: "
            "accelerate launch --config_file data/accelerate/fsdp.yaml)"
        )
    return lines
