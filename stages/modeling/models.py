"""Build, save and load models in the hub's directory layout: config, safetensors weights, tokenizer."""

import copy
import ctypes
import hashlib
import json
import os
import shutil
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from safetensors import SafetensorError
from torch import distributed
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict
from torch.distributed.tensor import DTensor
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    set_seed,
)
from transformers.utils import logging

from stages.modeling.tokens import first_target_token
from weightgraft.errors import UserError

LONGEST = 400  # letters of an error of transformers, which may list every weight
PR_SET_PDEATHSIG = 1  # of Linux's prctl: the signal that a process gets when the one that started it ends


def set_up(seed: int, threads: int | None) -> None:
    """Seed every generator, fix the CPU threads and allow only deterministic algorithms: same machine, same bytes."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # without it cuBLAS is not deterministic
    set_seed(seed)
    if threads is not None:
        torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(True)
    # glibc keeps twice the largest block that was ever mapped and freed, of up to 32 MB, for the next allocations. Without such a
    # block every update of a tiny model gives its memory back and asks for fresh pages, which costs a tenth of its time.
    torch.empty(31 * 2**20, dtype=torch.uint8)
    logging.set_verbosity_error()  # of transformers' notices
    logging.disable_progress_bar()  # of loading and saving; the Trainer's own bar stays


def build_model(
    family: str, architecture: Mapping[str, Any], tokenizer: PreTrainedTokenizerBase
) -> PreTrainedModel:
    """A new model of one of transformers' own classes, with random weights (seed them before).

    Args:
        family: transformers' model_type, such as gpt2.
        architecture: the arguments of that family's configuration class.
    """
    config = AutoConfig.for_model(
        family,
        **architecture,
        vocab_size=len(tokenizer),
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return AutoModelForCausalLM.from_config(config)


@contextmanager
def whole_directory(path: Path) -> Iterator[Path]:
    """A directory that appears under its name only when the block has filled it to the end."""
    part = path.with_name(path.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    yield part
    shutil.rmtree(path, ignore_errors=True)
    os.replace(part, path)


def is_main_process() -> bool:
    """Whether this process writes and prints: the first of those that `accelerate launch` started, or the only one."""
    return os.environ.get("RANK", "0") == "0"


def end_with_launcher() -> None:
    """A launcher that is killed outright leaves its processes behind, which would go on beside the run that resumes."""
    if "TORCHELASTIC_RUN_ID" in os.environ and sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def device_of(wanted: str) -> torch.device:
    """Where one process computes. wanted: cpu, cuda, or auto (cuda where there is one)."""
    there = wanted == "cuda" or (wanted == "auto" and torch.cuda.is_available())
    return torch.device("cuda" if there else "cpu")


def _whole_state(model: PreTrainedModel | PeftModel) -> dict[str, torch.Tensor]:
    """All weights; what FSDP has sharded is gathered in the main process's memory, which takes part of every process."""
    if not any(isinstance(parameter, DTensor) for parameter in model.parameters()):
        return model.state_dict()
    lora = isinstance(model, PeftModel)  # only the adapter is saved, and only it is trained
    options = StateDictOptions(full_state_dict=True, cpu_offload=True, ignore_frozen_params=lora)
    state: dict[str, Any] = get_model_state_dict(model, options=options)
    first: dict[int, str] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        if name in state:  # tied weights were gathered twice: they become one tensor again
            state[name] = state[first.setdefault(id(parameter), name)]
    return state


def _as(dtype: str, state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The weights in another dtype; those that are one tensor (tied ones) stay one."""
    made: dict[int, torch.Tensor] = {}
    for tensor in state.values():
        if tensor.data_ptr() not in made:
            made[tensor.data_ptr()] = (
                tensor.to(getattr(torch, dtype)) if tensor.is_floating_point() else tensor
            )
    return {name: made[tensor.data_ptr()] for name, tensor in state.items()}


def save_model(
    model: PreTrainedModel | PeftModel,
    tokenizer: PreTrainedTokenizerBase,
    path: Path,
    dtype: str | None = None,
) -> None:
    """Save both in the hub's layout, whole or not at all; of a peft model the adapter alone.

    Every process calls it, since a model that FSDP has sharded is gathered from all; the main one writes, the others wait.

    Args:
        dtype: of the saved weights, such as bfloat16; None: as they are.
    """
    state = _whole_state(model)
    if is_main_process():
        with whole_directory(path) as part:
            model.save_pretrained(str(part), state_dict=state if dtype is None else _as(dtype, state))
            if dtype is not None and not isinstance(model, PeftModel):
                config = copy.deepcopy(model.config)
                config.dtype = dtype  # save_pretrained wrote that of training
                config.save_pretrained(part)
            tokenizer.save_pretrained(part)
    if distributed.is_initialized():
        distributed.barrier()


def load_model(path: Path, dtype: str = "float32") -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Load a model directory from disk: safetensors only, no remote code, no network.

    Raises:
        UserError: the weights are damaged, not this configuration's, or not finite; names the first.
    """
    options: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
    try:
        model, loaded = _with_loading_info(
            path, dtype=dtype, use_safetensors=True, ignore_mismatched_sizes=True, **options
        )
        tokenizer = AutoTokenizer.from_pretrained(path, **options)
    except (OSError, ValueError, SafetensorError) as error:
        raise UserError(f"{path}: {' '.join(str(error).split())[:LONGEST]}") from error
    for what in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        if keys := sorted(map(str, loaded[what])):
            raise UserError(
                f"{path}: weights do not fit the configuration; {what.replace('_', ' ')}: {keys[0]}"
            )
    for key, tensor in model.state_dict().items():
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise UserError(f"{path}: {key} has entries that are NaN or infinite")
    return model.eval(), tokenizer


def _with_loading_info(path: Path, **options: Any) -> tuple[PreTrainedModel, dict[str, Any]]:
    loaded: Any = AutoModelForCausalLM.from_pretrained(path, output_loading_info=True, **options)
    return loaded


def weights_digest(path: Path) -> str:
    """One hash over the weight files of a model directory."""
    digests = []
    for file in sorted(path.glob("*.safetensors")):
        with file.open("rb") as opened:  # read in pieces: a file of a big model has gigabytes
            digests.append(hashlib.file_digest(opened, "sha256").digest())
    return hashlib.sha256(b"".join(digests)).hexdigest()


def write_json(path: Path, values: Mapping[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")


@torch.no_grad()
def share_recalled(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    rows: Sequence[Mapping],
    k: int,
    batch_size: int = 128,
) -> float:
    """Share of prompts whose target's first token is among the k most likely next tokens, by a plain forward pass.

    Prompts of one length are scored together, so nothing is padded.
    """
    prompts = [first_target_token(tokenizer, row["text"], row["target"]) for row in rows]
    prompts.sort(key=lambda prompt: len(prompt[0]))
    model.eval()
    hits = 0
    for _, group in groupby(prompts, key=lambda prompt: len(prompt[0])):
        same_length = list(group)
        for start in range(0, len(same_length), batch_size):
            batch = same_length[start : start + batch_size]
            tokens = torch.tensor([tokens for tokens, _ in batch], device=model.device)
            wanted = torch.tensor([[target] for _, target in batch], device=model.device)
            logits = model(input_ids=tokens, logits_to_keep=1).logits[:, -1]
            better = (logits > logits.gather(1, wanted)).sum(dim=1)
            hits += int((better < k).sum())
    return hits / len(prompts)
