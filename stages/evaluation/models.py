"""The models of a setup: command line, recipient, and donors that are whole models or LoRA adapters."""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import AutoTokenizer, PreTrainedModel

from stages.modeling.models import load_model
from weightgraft.engine.schemes import RECIPIENT
from weightgraft.errors import UserError


def setup_arguments(description: str | None) -> argparse.ArgumentParser:
    """The command line of the stage that evaluates a setup."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument(
        "--settings", type=Path, required=True, help="what check_params cut out of params.yaml"
    )
    parser.add_argument("--model", required=True, help="an entry of models: in params.yaml")
    parser.add_argument("--seed", type=int, required=True, help="of finetuning")
    parser.add_argument("--setup", required=True, help="an entry of setups: in params.yaml")
    parser.add_argument(
        "--models",
        nargs="+",
        required=True,
        metavar="NAME=DIR",
        help="base, early, or a recipe, and the folder of that model or LoRA adapter; more than the setup needs may be given",
    )
    parser.add_argument("--facts", type=Path, required=True, help="folder of generate_facts")
    parser.add_argument("--out", type=Path, required=True, help="per-fact table (parquet)")
    return parser


def folders_of(given: Sequence[str], setup: Mapping[str, Any]) -> tuple[Path, dict[str, Path]]:
    """The folders of a setup's recipient and donors, these in the setup's order.

    Raises:
        UserError: a model that the setup needs is not among those given, or its folder holds none.
    """
    named = {name: Path(folder) for name, _, folder in (text.partition("=") for text in given)}

    def folder_of(model: str) -> Path:
        if model not in named:
            raise UserError(f"--models names {', '.join(named)}; the setup needs {model!r}")
        if not (named[model] / "config.json").exists() and not is_adapter(named[model]):
            raise UserError(f"--models {model}={named[model]}: no model and no adapter there")
        return named[model]

    return folder_of(setup["recipient"]), {
        donor: folder_of(model) for donor, model in setup["donors"].items()
    }


def is_adapter(folder: Path) -> bool:
    return (folder / "adapter_config.json").exists()


def load_models(
    recipient: Path, donors: dict[str, Path], dtype: str, device: torch.device
) -> tuple[PreTrainedModel, dict[str, PreTrainedModel | str], dict[str, Any]]:
    """(recipient, donors, tokenizers), as GraftedModel takes them. An adapter stays a folder, which the engine keeps low-rank
    beside the recipient. Each model goes to the device before the next one is read: the host never holds two for a GPU.

    Raises:
        UserError: the recipient is an adapter.
    """
    if is_adapter(recipient):
        raise UserError(
            f"--models: the setup's recipient, {recipient}, is an adapter; it must be a whole model"
        )
    model, tokenizer = load_model(recipient, dtype)
    torch.nn.Module.to(model, device)
    tokenizers = {RECIPIENT: tokenizer}
    loaded: dict[str, PreTrainedModel | str] = {}
    for name, folder in donors.items():
        if is_adapter(folder):
            loaded[name] = str(folder)
            if (folder / "tokenizer_config.json").exists():
                tokenizers[name] = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        else:
            donor, tokenizers[name] = load_model(folder, dtype)
            loaded[name] = torch.nn.Module.to(donor, device)
    return model, loaded, tokenizers
