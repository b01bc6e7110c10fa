"""Small checkpoints on disk to be changed, what is read from a pair of them, and the right number from a plain forward pass."""

import json
import shutil
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import AutoModelForCausalLM, PreTrainedModel

from weightgraft import Prompt, parse_scheme
from weightgraft.errors import UserError
from weightgraft.loading import models
from weightgraft.loading.folders import check_model
from weightgraft.notes import gathered

WEIGHTS, ADAPTER = "model.safetensors", "adapter_model.safetensors"
PROMPT = Prompt(tokens=(7, 12, 45, 3, 18, 9), positions={"FE": (1, 2)}, target=(30, 11))
SCHEMES = [parse_scheme(text, donor="sft") for text in ("PRE", "SFT")]
PATIENCE = 5.0  # seconds of computing that nobody should wait for an answer about a tiny model
TOLERANCE = (
    1e-4  # of log-probabilities of size 10 in float32: W x + B(A x) against (W + BA) x, packed against plain
)

Weights = dict[str, Tensor]


@dataclass(frozen=True)
class Answer:
    """What came of a pair of folders: one line of refusal, or the target's log-probability under PRE and SFT, and notes."""

    line: str = ""
    pre: float = 0.0
    sft: float = 0.0
    notes: tuple[str, ...] = ()


def answer(recipient: Path, donor: Path | str) -> Answer:
    """What `weightgraft inspect` would make of two folders, without tokenizers and pictures. Anything but a number or one line
    passes through as the exception that it is."""
    started, donors = time.process_time(), {"sft": Path(donor)}
    try:
        with gathered() as notes:
            check_model(f"--recipient {recipient}", recipient, adapters=False)
            check_model(f"--donor sft={donor}", donors["sft"], adapters=True)
            models.rehearse(recipient, donors, PROMPT, SCHEMES)
            grafted = models.load_grafted(recipient, donors, torch.float32, torch.device("cpu"))
        pre, sft = grafted.score([PROMPT], SCHEMES).joint_logprob[0].tolist()
        found = Answer(pre=pre, sft=sft, notes=tuple(notes))
    except UserError as error:
        found = Answer(line=str(error))
        assert found.line and "\n" not in found.line and found.line.startswith("--"), found.line
    assert time.process_time() - started < PATIENCE
    return found


@torch.no_grad()
def plain(model: torch.nn.Module) -> float:
    """The log-probability of the prompt's target by a plain forward pass."""
    tokens = [*PROMPT.tokens, *PROMPT.target]
    logs = model.eval()(input_ids=torch.tensor([tokens])).logits[0].float().log_softmax(-1)
    return sum(logs[i - 1, tokens[i]].item() for i in range(len(PROMPT.tokens), len(tokens)))


def loaded(folder: Path) -> PreTrainedModel:
    """As transformers loads it."""
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, local_files_only=True)


def with_adapters(base: Path, *adapters: Path) -> torch.nn.Module:
    """As peft loads adapters, each on the one before it, merged."""
    model: Any = loaded(base)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for adapter in adapters[:-1]:
            model = PeftModel.from_pretrained(model, adapter, torch_device="cpu").merge_and_unload()
        return PeftModel.from_pretrained(model, adapters[-1], torch_device="cpu")


def copied(folder: Path, to: Path) -> Path:
    return Path(shutil.copytree(folder, to))


def edited(folder: Path, file: str = "config.json", **values: Any) -> Path:
    """The folder with entries of one of its JSON files changed."""
    path = folder / file
    path.write_text(json.dumps(json.loads(path.read_text()) | values))
    return folder


def reweighted(folder: Path, change: Callable[[Weights], Weights | None], file: str = WEIGHTS) -> Path:
    """The folder with the weights in one of its files changed, which is a whole safetensors file all the same."""
    weights = load_file(folder / file)
    weights = change(weights) or weights
    save_file(
        {key: weight.contiguous() for key, weight in weights.items()},
        folder / file,
        metadata={"format": "pt"},
    )
    return folder
