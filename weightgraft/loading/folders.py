"""Is a directory the model that it should be? Told from names, sizes and headers, before torch is imported or a weight is read."""

import json
import struct
from pathlib import Path
from typing import Any

from weightgraft.engine.families import family_of
from weightgraft.errors import UserError

LISTED = 10  # names that an error lists
WEIGHTS, ADAPTER_WEIGHTS = "model.safetensors", "adapter_model.safetensors"
INDEX = "model.safetensors.index.json"
CONFIG, ADAPTER_CONFIG = "config.json", "adapter_config.json"
TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "vocab.json")
TOKENIZER_SETTINGS = ("tokenizer_config.json", "special_tokens_map.json", "added_tokens.json")
PICKLED = (".bin", ".pt", ".pth")
CONVERT = (
    "python -c \"from transformers import AutoModelForCausalLM as M; M.from_pretrained('{old}')"
    ".save_pretrained('{new}')\" (only if you trust their origin), then copy the tokenizer's files"
)


def is_adapter(folder: Path) -> bool:
    return (folder / ADAPTER_CONFIG).exists()


def has_tokenizer(folder: Path) -> bool:
    return any((folder / name).exists() for name in TOKENIZER_FILES)


def local_config(folder: str) -> dict[str, Any] | None:
    """What a local model's config.json says; None where there is none."""
    path = Path(folder) / CONFIG
    return _read_json(folder, path) if path.is_file() else None


def check_model(option: str, folder: Path, adapters: bool) -> str | None:
    """The model_type of a whole model; None for an adapter, which names none."""
    if not folder.exists():
        raise UserError(f"{option}: no such directory; models are read from local directories only")
    if not folder.is_dir():
        raise UserError(f"{option}: a file; give the directory that holds the model")
    if is_adapter(folder):
        if not adapters:
            raise UserError(f"{option}: an adapter; the recipient must be a whole model (the adapter's base)")
        _check_weights(option, folder, ADAPTER_WEIGHTS)
        return None
    if not (folder / CONFIG).exists():
        raise UserError(f"{option}: no model ({CONFIG} is missing); there is {listing(folder)}")
    config = _read_json(option, folder / CONFIG)
    if config.get("quantization_config") is not None:
        raise UserError(f"{option}: a quantized model; grafting needs plain weights")
    try:
        family_of(str(config.get("model_type")))
    except ValueError as error:
        raise UserError(f"{option}: {error}") from None
    _check_weights(option, folder, WEIGHTS)
    return config["model_type"]


def _check_weights(option: str, folder: Path, name: str) -> None:
    files = [name]
    if not (folder / name).exists() and name == WEIGHTS and (folder / INDEX).exists():
        shards = _read_json(option, folder / INDEX).get("weight_map")
        if not isinstance(shards, dict) or not all(isinstance(file, str) for file in shards.values()):
            raise UserError(f"{option}: {INDEX} has no weight_map from weights to files")
        files = sorted(set(shards.values()))
    missing = [file for file in files if not (folder / file).is_file()]
    if missing or not files:
        wanted = missing[0] if missing else f"a weight_map in {INDEX}"
        pickled = [file.name for file in sorted(folder.iterdir()) if file.suffix in PICKLED]
        if pickled and name == WEIGHTS and missing == [WEIGHTS]:
            convert = CONVERT.format(old=folder, new=f"{folder}-safetensors")
            raise UserError(
                f"{option}: weights in {pickled[0]} only, but safetensors are needed; convert: {convert}"
            )
        raise UserError(f"{option}: {wanted} is missing; there is {listing(folder)}")
    for file in files:
        check_whole(option, folder / file)


def check_whole(option: str, path: Path) -> None:
    """That a safetensors file is as long as its header says. Layout: length of the header (8 bytes, little endian), header
    (JSON), tensors.

    Raises:
        UserError: it is not, or the header is no table of weights.
    """
    size, (header, length) = path.stat().st_size, _read_header(path)
    if not isinstance(header, dict):
        raise UserError(
            f"{option}: {path.name} is cut short or no safetensors file: {size} bytes without a whole header"
        )
    entries = [entry for key, entry in header.items() if key != "__metadata__"]
    ends = [end for entry in entries if (end := _end_of(entry)) is not None]
    if len(ends) < len(entries):
        raise UserError(f"{option}: {path.name} is damaged: its header does not say where every weight lies")
    expected = 8 + length + max(ends, default=0)
    if size != expected:
        what = "is cut short" if size < expected else "is longer than it should be"
        raise UserError(
            f"{option}: {path.name} {what}: {size} bytes, its header says {expected}; copy it again"
        )


def header_of(path: Path) -> dict[str, Any]:
    """What a whole safetensors file says of each of its weights: dtype, shape, data_offsets."""
    header, _ = _read_header(path)
    return {key: entry for key, entry in header.items() if key != "__metadata__"}


def _read_header(path: Path) -> tuple[Any, int]:
    """(header, its length in bytes); None for the header where there is no whole one."""
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(8)
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
        if 0 < length <= size - 8:
            try:
                return json.loads(file.read(length)), length
            except ValueError:  # neither text nor JSON
                pass
    return None, length


def _end_of(entry: Any) -> int | None:
    """Where a weight ends in the tensors' bytes; None where its entry does not say it."""
    offsets = entry.get("data_offsets") if isinstance(entry, dict) else None
    if not isinstance(offsets, list) or [type(number) for number in offsets] != [int, int]:
        return None
    return offsets[1] if 0 <= offsets[0] <= offsets[1] else None


def check_tokenizer(option: str, folder: Path) -> None:
    """That the tokenizer's files can be read, and that the model has a row for each token of the vocabulary in its
    tokenizer.json. Tokens that were added to it may have none: whoever asks for one is told.

    Raises:
        UserError: they cannot, or it is the tokenizer of a larger vocabulary.
    """
    from tokenizers import Tokenizer

    for name in TOKENIZER_SETTINGS:
        if (folder / name).is_file():
            _read_json(option, folder / name)
    path = folder / TOKENIZER_FILES[0]
    if not path.is_file():
        return
    _read_json(option, path)
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # tokenizers raises nothing narrower
        raise UserError(f"{option}: {path.name} is no tokenizer: {' '.join(str(error).split())}") from error
    largest = max(tokenizer.get_vocab(with_added_tokens=False).values(), default=-1)
    rows = _read_json(option, folder / CONFIG).get("vocab_size")
    if isinstance(rows, int) and largest >= rows:
        raise UserError(
            f"{option}: {path.name} is another model's: its tokens go up to {largest}, {CONFIG} says vocab_size {rows}"
        )


def _read_json(option: str, path: Path) -> dict[str, Any]:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{option}: {path.name} is no JSON: {error}") from None
    if not isinstance(values, dict):
        raise UserError(f"{option}: {path.name} holds no settings but a {type(values).__name__}")
    return values


def listing(folder: Path) -> str:
    """What is in a directory, in one line; models among its directories are told first."""
    entries = sorted(folder.iterdir())
    models = [entry for entry in entries if (entry / CONFIG).exists() or is_adapter(entry)]
    if models:
        which = "give that one" if len(models) == 1 else "give one of these"
        return f"a model in {', '.join(str(model) for model in models[:LISTED])}: {which}"
    names = [entry.name + "/" * entry.is_dir() for entry in entries]
    more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return ", ".join(names[:LISTED]) + more if names else "nothing"
