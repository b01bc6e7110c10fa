"""Is a directory the model that it should be? Told from names, sizes and headers, before torch is imported or a weight is read."""

import filecmp
import os
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from weightgraft.engine.words import shown
from weightgraft.errors import UserError
from weightgraft.loading.adapter_configs import check_adapter_config
from weightgraft.loading.families import checked_family, text_settings
from weightgraft.loading.files import (
    ADAPTER_CONFIG,
    ADAPTER_WEIGHTS,
    CONFIG,
    INDEX,
    TOKENIZER_FILES,
    TOKENIZER_SETTINGS,
    WEIGHTS,
    check_readable,
    check_there,
    is_adapter,
    listing,
    read_json,
)
from weightgraft.loading.headers import (
    adapter_key,
    check_gathered,
    check_plain,
    is_old_buffer,
    whole_header,
)
from weightgraft.notes import note

GENERATION = "generation_config.json"


def stacked(folder: Path) -> tuple[Path, ...]:
    """The folders of adapters that stand on each other, as `DIR+DIR` writes them. A folder that exists as it is written is
    one folder, whatever its name, alone and in a stack: of several readings, that of the longest names counts."""
    parts = str(folder).split("+")
    return tuple(map(Path, _existing(parts) or parts))


def _existing(parts: list[str]) -> list[str]:
    """The parts of a name, joined again to names of what exists; none where they cannot be."""
    for stop in range(len(parts), 0, -1):
        first, rest = "+".join(parts[:stop]), parts[stop:]
        if first and os.path.exists(first):
            if not rest:
                return [first]
            if more := _existing(rest):
                return [first, *more]
    return []


def has_tokenizer(folder: Path) -> bool:
    return any((folder / name).exists() for name in TOKENIZER_FILES)


def local_config(folder: str) -> dict[str, Any] | None:
    """What a local model's config.json says; None where there is none."""
    path = Path(folder) / CONFIG
    return read_json(folder, path) if path.is_file() else None


def check_model(option: str, folder: Path, adapters: bool) -> str | None:
    """The family (model_type) of a whole model, or of the text model in an image-text model; None for an adapter, which
    names none.

    Raises:
        UserError: it cannot be read, or something in it would not be; names the file and what to do.
    """
    if len(stacked(folder)) > 1:
        _check_stack(option, folder, adapters)
        return None
    check_readable(option, folder)
    if is_adapter(folder) and (adapters or not (folder / CONFIG).exists()):
        if not adapters:
            raise UserError(f"{option}: an adapter; the recipient must be a whole model (the adapter's base)")
        check_adapter_config(option, read_json(option, folder / ADAPTER_CONFIG))
        adapter_header(option, folder)
        if (folder / CONFIG).exists():
            note(
                f"{option}: holds an adapter and a whole model; the adapter was read, on the recipient's weights"
            )
        return None
    if not (folder / CONFIG).exists():
        if (folder / ADAPTER_WEIGHTS).exists():
            raise UserError(
                f"{option}: {ADAPTER_WEIGHTS} without {ADAPTER_CONFIG}; copy it from where it was trained"
            )
        raise UserError(f"{option}: no model ({CONFIG} is missing); there is {listing(folder)}")
    config = read_json(option, folder / CONFIG)
    family = checked_family(option, config)
    _check_named_weights(option, folder, config)
    weights = len(model_header(option, folder))
    for key in ("num_hidden_layers", "n_layer"):
        layers = text_settings(config).get(key)
        if isinstance(layers, int) and layers > weights:  # before as many are built
            raise UserError(
                f"{option}: weights are missing: {CONFIG} asks for {layers} layers ({key}), its files hold {weights} weights in all"
            )
    if (folder / ADAPTER_CONFIG).exists():
        which = "the adapter beside it" if is_adapter(folder) else f"{ADAPTER_CONFIG}, which has no weights,"
        note(f"{option}: the whole model was read; {which} was not")
    return family


def _check_named_weights(option: str, folder: Path, config: Mapping[str, Any]) -> None:
    """That config.json does not send transformers to other weights than those that are read here."""
    named, read = config.get("transformers_weights"), WEIGHTS if (folder / WEIGHTS).exists() else INDEX
    if named not in (None, read):
        raise UserError(
            f"{option}: {CONFIG}: transformers_weights is {shown(named)}, and transformers would read that in the place of {read}; "
            f"call the file that is meant {read}, and remove that entry"
        )


def _check_stack(option: str, folder: Path, adapters: bool) -> None:
    if not adapters:
        raise UserError(f"{option}: no such directory; models are read from local directories only")
    for part in stacked(folder):
        if not os.path.exists(part) or part == Path():
            raise UserError(
                f"{option}: no such directory: {shown(str(part))} ('+' stands between adapters on each other)"
            )
        if check_model(f"{option}: {part}", part, adapters) is not None:
            raise UserError(f"{option}: {part} is a whole model; '+' stands between adapters on each other")


def adapter_header(option: str, folder: Path) -> dict[str, Any]:
    """What the file of an adapter's weights holds, name by name: dtype, shape.

    Raises:
        UserError: it is missing, not whole, or not plain.
    """
    check_there(option, folder, ADAPTER_WEIGHTS)
    header = whole_header(option, folder / ADAPTER_WEIGHTS)
    check_plain(option, ADAPTER_WEIGHTS, header)
    known: dict[str, str] = {}
    for key in header:
        if (name := adapter_key(key)) in known:
            raise UserError(
                f"{option}: {known[name]} and {key} are both {name}; remove the one that is not meant"
            )
        known[name] = key
    return {name: header[key] for name, key in known.items()}


def weight_files(option: str, folder: Path) -> list[Path]:
    """The files that hold a whole model's weights: model.safetensors, else the shards of its index, as transformers reads
    them. What lies beside them and is not read is told in a note.

    Raises:
        UserError: one is missing, or the index cannot be read.
    """
    files = [WEIGHTS]
    if not (folder / WEIGHTS).exists() and (folder / INDEX).exists():
        shards = read_json(option, folder / INDEX).get("weight_map")
        if not isinstance(shards, dict) or not all(isinstance(file, str) for file in shards.values()):
            raise UserError(f"{option}: {INDEX} has no weight_map from weights to files")
        if outside := [file for file in shards.values() if Path(file).name != file or file in ("", "..")]:
            raise UserError(
                f"{option}: {INDEX} has no weight_map to files of this folder, but to {shown(outside[0])}; copy all shards into "
                "this folder, with the index that was saved with them"
            )
        files = sorted(set(shards.values()))
        if not files:
            raise UserError(f"{option}: a weight_map in {INDEX} is missing; there is {listing(folder)}")
    for file in files:
        check_there(option, folder, file)
    unread = sorted({file.name for file in folder.glob("*.safetensors")} - {*files, ADAPTER_WEIGHTS})
    if unread:
        more = f" and {len(unread) - 1} more" if len(unread) > 1 else ""
        note(f"{option}: two candidates: {files[0]} was read, {unread[0]}{more} beside it was not")
    return [folder / file for file in files]


def model_header(option: str, folder: Path) -> dict[str, Any]:
    """What the files of a whole model's weights hold, name by name: dtype, shape; index and shards say the same.

    Raises:
        UserError: a file is missing, not whole or not plain, or index and shards contradict each other.
    """
    files = weight_files(option, folder)
    headers = {path.name: whole_header(option, path) for path in files}
    for name, header in headers.items():
        check_plain(option, name, header)
        check_gathered(option, name, header)
    if [*headers] != [WEIGHTS]:
        _check_index(option, read_json(option, folder / INDEX)["weight_map"], headers)
    return {key: entry for header in headers.values() for key, entry in header.items()}


def _check_index(option: str, listed: Mapping[str, str], headers: Mapping[str, Mapping[str, Any]]) -> None:
    for key, name in listed.items():
        if key not in headers[name] and not is_old_buffer(key, ()):
            raise UserError(
                f"{option}: {INDEX} says that {key} is in {name}, which does not have it; copy both from one place"
            )
    for name, header in headers.items():
        for key, entry in header.items():
            if listed.get(key) != name and not is_old_buffer(key, entry["shape"]):
                says = f"says that it is in {listed[key]}" if key in listed else "does not list it"
                raise UserError(f"{option}: {name} has {key}, but {INDEX} {says}; copy both from one place")


def same_tokenizer(one: Path, other: Path) -> bool:
    """Whether two folders have the same tokenizer: all that lies in them beside weights and configs, byte by byte."""
    names, theirs = (
        {path.name for path in folder.iterdir() if path.is_file() and not _is_the_models(path)}
        for folder in (one, other)
    )
    try:
        return names == theirs and all(filecmp.cmp(one / name, other / name, shallow=False) for name in names)
    except OSError:  # one of them cannot be read: what the tokenizer needs is told when it is loaded
        return False


def _is_the_models(path: Path) -> bool:
    return path.suffix == ".safetensors" or path.name in (INDEX, CONFIG, ADAPTER_CONFIG, GENERATION)


def check_tokenizer(option: str, folder: Path) -> None:
    """That the tokenizer's files can be read, and that the model has a row for each token of the vocabulary in its
    tokenizer.json. Tokens that were added to it may have none: whoever asks for one is told.

    Raises:
        UserError: they cannot, or it is the tokenizer of a larger vocabulary.
    """
    for name in TOKENIZER_SETTINGS:
        if (folder / name).is_file():
            read_json(option, folder / name)
    path = folder / TOKENIZER_FILES[0]
    if not path.is_file():
        return
    try:
        largest = _largest_token(path.read_bytes())
    except Exception as error:  # tokenizers raises nothing narrower
        read_json(option, path)  # says so where it is no JSON
        raise UserError(f"{option}: {path.name} is no tokenizer: {' '.join(str(error).split())}") from error
    rows = text_settings(read_json(option, folder / CONFIG)).get("vocab_size")
    if isinstance(rows, int) and largest >= rows:
        raise UserError(
            f"{option}: {path.name} is another model's: its tokens go up to {largest}, {CONFIG} says vocab_size {rows}"
        )


@lru_cache(maxsize=1)  # donors bring the recipient's file, as a rule, and a large vocabulary takes a second
def _largest_token(content: bytes) -> int:
    """The largest id in the vocabulary of a tokenizer.json, without added tokens; -1 where it is empty."""
    from tokenizers import Tokenizer

    vocabulary = Tokenizer.from_str(content.decode()).get_vocab(with_added_tokens=False)
    return max(vocabulary.values(), default=-1)
