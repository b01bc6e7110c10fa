"""The models of a setup: command line, recipient, and donors that are whole models or LoRA adapters."""

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from transformers import AutoTokenizer, PreTrainedModel

from stages.modeling.models import load_model
from weightgraft.engine.schemes import RECIPIENT
from weightgraft.errors import UserError


def graft_arguments(description: str | None) -> argparse.ArgumentParser:
    """The command line of the stage that grafts."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument(
        "--settings", type=Path, required=True, help="what check_params cut out of params.yaml"
    )
    parser.add_argument("--model", required=True, help="an entry of models: in params.yaml")
    parser.add_argument("--seed", type=int, required=True, help="of finetuning")
    parser.add_argument("--base", type=Path, required=True, help="folder of the base model")
    parser.add_argument("--early", type=Path, required=True, help="folder of the base early in its training")
    parser.add_argument(
        "--finetuned",
        type=Path,
        required=True,
        help="folder with a model or LoRA adapter a recipe, by its name",
    )
    parser.add_argument("--facts", type=Path, required=True, help="folder of generate_facts")
    parser.add_argument("--own", type=Path, required=True, help="folder of read_facts")
    parser.add_argument("--out", type=Path, required=True, help="folder of the per-fact tables (parquet)")
    return parser


def folders_of(args: argparse.Namespace, setup: Mapping[str, Any]) -> tuple[Path, dict[str, Path]]:
    """The folders of a setup's recipient and donors, these in the setup's order. args: the command line.

    Raises:
        UserError: the folder of a model that the setup needs holds none.
    """

    def folder_of(model: str) -> Path:
        folder: Path = {"base": args.base, "early": args.early}.get(model, args.finetuned / model)
        if not (folder / "config.json").exists() and not is_adapter(folder):
            raise UserError(f"{folder}: no model and no adapter there, where the setup needs {model!r}")
        return folder

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
        raise UserError(f"the setup's recipient, {recipient}, is an adapter; it must be a whole model")
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
