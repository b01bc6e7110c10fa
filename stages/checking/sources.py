"""Can the study's pretrained models be had? Asked before any work: folders and the hub's cache first, the hub only if need be."""

import shutil
from pathlib import Path

from stages.checking.folders import check_model, check_tokenizer, has_tokenizer, listing
from stages.params import UserError
from stages.schema import Model, Source

PATIENCE = 3.0  # seconds that the hub has to answer


def check_kind(name: str, model: Model) -> None:
    """A model is trained here, from an architecture, or it has a source; not both.

    Raises:
        UserError: names the key that is missing or too much.
    """
    key = f"models.{name}"
    given = {"tokenizer": model.tokenizer, "pretrain": model.pretrain}
    if model.source is None:
        for part, value in ({"architecture": model.architecture or None} | given).items():
            if value is None:
                raise UserError(f"missing key '{key}.{part}': a model without a source is trained here")
    else:
        for part, value in given.items():
            if value is not None:
                raise UserError(f"{key} has a source and {part}: a model with a source is not trained here")


def check_source(name: str, model: Model, cache: Path) -> None:
    """The model's files are here and whole, or the hub has them for us and there is room for them.

    cache: where the finished pipeline keeps weights, for the room that is left on that disk.

    Raises:
        UserError: one line that says what to do.
    """
    source = model.source
    if source is None:
        return
    key = f"models.{name}.source"
    folder = Path(source.model)
    if folder.is_dir():
        family = check_model(f"{key}: {folder}", folder, adapters=False)
        if family != model.family:
            raise UserError(f"{key}: {folder} is a {family} model; models.{name}.family is {model.family!r}")
        if not has_tokenizer(folder):
            raise UserError(f"{key}: {folder} has no tokenizer; there is {listing(folder)}")
        check_tokenizer(f"{key}: {folder}", folder)
        if source.early != "untrained":
            check_model(f"{key}: early: {source.early}", Path(source.early), adapters=False)
        size = sum(file.stat().st_size for file in folder.glob("*.safetensors"))
    elif source.model.startswith((".", "/", "~")) or source.model.count("/") != 1:
        raise UserError(f"{key}.model is {source.model!r}: no such folder, and no hub id (owner/name)")
    elif source.revision is None:
        raise UserError(f"{key}.revision is missing: a hub model needs one, the 40 digits of a commit")
    else:
        size = size_on_hub(key, source)
    room = shutil.disk_usage(cache).free
    if size > room:
        raise UserError(
            f"{key}: {source.model} has {size / 1e9:.1f} GB of weights; {room / 1e9:.1f} GB are free at {cache}"
        )


def size_on_hub(key: str, source: Source) -> int:
    """Bytes of weights that are yet to be downloaded: 0 if they are in the hub's cache.

    Raises:
        UserError: gated, unknown, without safetensors, or out of reach.
    """
    from huggingface_hub import HfApi, try_to_load_from_cache
    from huggingface_hub.errors import (
        GatedRepoError,
        HTTPError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    name, revision = source.model, source.revision
    for file in ("model.safetensors", "model.safetensors.index.json"):
        if isinstance(try_to_load_from_cache(name, file, revision=revision), str):
            return 0
    try:
        info = HfApi().model_info(name, revision=revision, timeout=PATIENCE, files_metadata=True)
    except GatedRepoError as error:
        raise UserError(
            f"{key}: {name} is gated; accept its terms on its page on the hub, then `hf auth login` or set HF_TOKEN"
        ) from error
    except RevisionNotFoundError as error:
        raise UserError(f"{key}: {name} has no revision {revision}") from error
    except RepositoryNotFoundError as error:
        raise UserError(
            f"{key}: the hub has no model {name!r} that this account may see; is a token missing (`hf auth login`)?"
        ) from error
    except (HTTPError, OSError) as error:
        raise UserError(
            f"{key}: {name} is not in the hub's cache, and the hub cannot be reached; "
            "download it elsewhere and give its folder as source.model"
        ) from error
    weights = [file for file in info.siblings or [] if file.rfilename.endswith(".safetensors")]
    if not weights:
        raise UserError(f"{key}: {name} has no safetensors at this revision; convert it to a local folder")
    return sum(file.size or 0 for file in weights if "/" not in file.rfilename)
