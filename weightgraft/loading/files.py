"""The files of a folder: which are read, and in one line why one cannot be: missing, a link to nowhere, a pipe, no JSON."""

import json
import os
import stat
from pathlib import Path
from typing import Any

from weightgraft.engine.words import shown
from weightgraft.errors import UserError

WEIGHTS, ADAPTER_WEIGHTS = "model.safetensors", "adapter_model.safetensors"
INDEX = "model.safetensors.index.json"
CONFIG, ADAPTER_CONFIG = "config.json", "adapter_config.json"
TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "vocab.json")
TOKENIZER_SETTINGS = ("tokenizer_config.json", "special_tokens_map.json", "added_tokens.json")
# All that is read of a folder where it is there; shards besides, by their index.
READ = (
    CONFIG, ADAPTER_CONFIG, WEIGHTS, INDEX, ADAPTER_WEIGHTS, *TOKENIZER_FILES, *TOKENIZER_SETTINGS, "merges.txt", "vocab.txt",
    "chat_template.jinja",
)  # fmt: skip
PICKLED = (".bin", ".pt", ".pth")
CONVERT = (
    "python -c \"from transformers import AutoModelForCausalLM as M; M.from_pretrained('{old}')"
    ".save_pretrained('{new}')\" (only if you trust their origin), then copy the tokenizer's files"
)
CONVERT_ADAPTER = (
    'python -c "import torch; from safetensors.torch import save_file; save_file({{k: v.contiguous() for k, v in '
    "torch.load('{old}', weights_only=True).items()}}, '{new}')\""
)
JOIN_ADAPTER = (
    'python -c "from glob import glob; from safetensors.torch import load_file, save_file; save_file({{k: v for f in '
    "glob('{old}') for k, v in load_file(f).items()}}, '{new}')\""
)
LISTED = 10  # names that an error lists


def check_readable(option: str, folder: Path) -> None:
    """That a path is a directory, and that whatever in it is read can be: nothing hangs, nothing is passed over in silence.

    Raises:
        UserError: names the file, what it is and what to do.
    """
    try:
        str(folder).encode()
    except UnicodeEncodeError:
        named = option.encode(errors="backslashreplace").decode()
        raise UserError(f"{named}: the folder's name is no UTF-8; rename it") from None
    try:
        if not folder.exists():
            raise UserError(f"{option}: no such directory; models are read from local directories only")
        if not folder.is_dir():
            raise UserError(f"{option}: a file; give the directory that holds the model")
        names = {entry.name for entry in folder.iterdir()}
    except OSError as error:
        raise UserError(
            f"{option}: cannot be looked into ({error.strerror}); give a directory that you may read"
        ) from None
    for name in READ:
        if name in names:
            check_file(option, folder / name)


def check_file(option: str, path: Path) -> None:
    """That something with this name is a file that can be opened.

    Raises:
        UserError: names what it is and what to do.
    """
    try:
        kind = path.stat().st_mode
        if stat.S_ISDIR(kind):
            raise UserError(f"{option}: {path.name} is a folder; put the file of this name in its place")
        if not stat.S_ISREG(kind):  # opening a pipe would wait for its other end
            raise UserError(f"{option}: {path.name} is a pipe or a device; copy the file itself")
        with path.open("rb"):
            pass
    except FileNotFoundError:
        at = path.readlink() if path.is_symlink() else path
        raise UserError(
            f"{option}: {path.name} is a link to a file that is not there ({at}); copy the file itself"
        ) from None
    except OSError as error:
        raise UserError(
            f"{option}: {path.name} cannot be read ({error.strerror}); copy the file itself, and see that you may read it"
        ) from None


def check_there(option: str, folder: Path, name: str) -> None:
    """That a folder has the file of weights that it needs.

    Raises:
        UserError: it has not, or not as a file that can be read; says what there is instead, and how it becomes this file.
    """
    path = folder / name
    if os.path.lexists(path):
        check_file(option, path)
        return
    shards = sorted(file.name for file in folder.glob(f"{path.stem}-*-of-*.safetensors"))
    if shards and name == WEIGHTS:
        raise UserError(
            f"{option}: {shards[0]} is a part of a model, and {INDEX}, which says what is in which part, is missing; copy it, "
            "and all parts, from where the model was saved"
        )
    if shards and name == ADAPTER_WEIGHTS:
        join = JOIN_ADAPTER.format(old=folder / "adapter_model-*.safetensors", new=path)
        raise UserError(
            f"{option}: its weights are in parts ({shards[0]}), which peft does not read; join them: {join}"
        )
    pickled = [file.name for file in sorted(folder.iterdir()) if file.suffix in PICKLED]
    if pickled and name == WEIGHTS:
        convert = CONVERT.format(old=folder, new=f"{folder}-safetensors")
        raise UserError(
            f"{option}: weights in {pickled[0]} only, but safetensors are needed; convert: {convert}"
        )
    if name == ADAPTER_WEIGHTS and (folder / "adapter_model.bin").is_file():
        convert = CONVERT_ADAPTER.format(old=folder / "adapter_model.bin", new=path)
        raise UserError(
            f"{option}: weights in adapter_model.bin only, but safetensors are needed; convert: {convert}"
        )
    raise UserError(f"{option}: {name} is missing; there is {listing(folder)}")


def read_json(option: str, path: Path) -> dict[str, Any]:
    """The settings in a file.

    Raises:
        UserError: it cannot be read, or holds something else.
    """
    check_file(option, path)
    try:
        text = path.read_text(encoding="utf-8")
        values = json.loads(text) if text.strip() else None
    except (ValueError, OSError, RecursionError) as error:
        raise UserError(
            f"{option}: {path.name} is no JSON: {' '.join(str(error).split())}; copy it again"
        ) from None
    if not text.strip():
        raise UserError(f"{option}: {path.name} is empty; copy it again")
    if not isinstance(values, dict):
        raise UserError(f"{option}: {path.name} holds no settings but {shown(values)}; copy it again")
    return values


def is_adapter(folder: Path) -> bool:
    """Whether a folder is read as an adapter: it has one's config, and its weights or no whole model beside it."""
    if not os.path.exists(folder / ADAPTER_CONFIG):
        return False
    return any(folder.glob("adapter_model[.-]*")) or not os.path.exists(folder / CONFIG)


def listing(folder: Path) -> str:
    """What is in a directory, in one line; models among its directories are told first."""
    entries = sorted(folder.iterdir())
    if snapshots := sorted((folder / "snapshots").glob("*/")):  # a folder of the hub's cache
        entries = snapshots
    models = [entry for entry in entries if os.path.exists(entry / CONFIG) or is_adapter(entry)]
    if models:
        which = "give that one" if len(models) == 1 else "give one of these"
        return f"a model in {', '.join(str(model) for model in models[:LISTED])}: {which}"
    names = [entry.name + "/" * os.path.isdir(entry) for entry in entries]
    more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return ", ".join(names[:LISTED]) + more if names else "nothing"
