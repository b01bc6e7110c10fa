"""Can the study's pretrained models be had, and is there room for what is made of them? Asked before any work: folders, files and
the hub's cache first, the hub only if need be."""

import math
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from stages.study.checking.early import check_early
from stages.study.checking.packages import check_file, config_of_file, file_of
from stages.study.schema import Launch, Model
from stages.study.source_schema import AnySource, GgufSource, Source
from weightgraft.errors import UserError
from weightgraft.loading.families import SAVE_TEXT_PART
from weightgraft.loading.files import listing
from weightgraft.loading.folders import check_model, check_tokenizer, has_tokenizer, local_config
from weightgraft.loading.headers import header_of

PATIENCE = 3.0  # seconds that the hub has to answer
CHECKPOINT = 12  # bytes a trained number: itself and AdamW's two moments, in float32
TRAINED = 16  # bytes a trained number in memory: the same, and its gradient


@dataclass(frozen=True)
class Found:
    """numbers: the model's parameters. download: bytes that are not here yet."""

    numbers: int
    download: int


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


def check_source(name: str, model: Model, trained: int, launch: Launch, root: Path) -> None:
    """The model's files are here and whole, or the hub has them for us; and disk and memory suffice for what is made of them.

    trained: how many whole models the study finetunes from it. root: where the finished pipeline keeps weights.

    Raises:
        UserError: one line that says what to do.
    """
    if model.source is None:
        return
    key = f"models.{name}.source"
    found = found_at(key, model, model.source, root, root / "runs/pretrain" / name)
    check_disk(name, model, found, trained, root)
    if trained and "fsdp" not in launch.train:
        check_memory(name, model, found)


def found_at(key: str, model: Model, source: AnySource, root: Path, obtained: Path) -> Found:
    """Where the model is and how large: a local folder, what an earlier run obtained, a GGUF file, packages, the hub's cache,
    or the hub."""
    there = (obtained / "config.json").is_file()
    if not isinstance(source, Source):
        if there:
            check_early(f"{key}.early", source.early, commits=False)
            return Found(numbers_in(obtained.glob("*.safetensors")), 0)
        return Found(*check_file(key, model, source, root))
    folder = Path(source.model)
    if folder.is_dir():
        family = check_model(f"{key}: {folder}", folder, adapters=False)
        if (local_config(str(folder)) or {}).get("model_type") != family:
            raise UserError(f"{key}: {folder} is an image-text model; {SAVE_TEXT_PART}")
        if family != model.family:
            raise UserError(f"{key}: {folder} is a {family} model; its entry's family is {model.family!r}")
        if not has_tokenizer(folder):
            raise UserError(f"{key}: {folder} has no tokenizer; there is {listing(folder)}")
        check_tokenizer(f"{key}: {folder}", folder)
        check_early(f"{key}.early", source.early, commits=True)
        return Found(numbers_in(folder.glob("*.safetensors")), 0)
    check_id(key, source)
    check_early(f"{key}.early", source.early, commits=True)
    if there:
        return Found(numbers_in(obtained.glob("*.safetensors")), 0)
    return found_on_hub(key, source)


def check_id(key: str, source: Source) -> None:
    """A model that is no local folder is one of the hub's at a commit."""
    if source.model.startswith((".", "/", "~")) or source.model.count("/") != 1:
        raise UserError(f"{key}.model is {source.model!r}: no such folder, and no hub id (owner/name)")
    if source.revision is None:
        raise UserError(f"{key}.revision is missing: a hub model needs one, the 40 digits of a commit")


def is_here(source: AnySource, root: Path) -> bool:
    """Whether what the model is made of can be read on this disk, in a folder or a file that its source names."""
    return Path(source.model).is_dir() if isinstance(source, Source) else file_of(source, root).is_file()


def config_of(name: str, source: AnySource, root: Path) -> dict[str, Any]:
    """What the model's config.json says: the local folder's, the file's, that of what an earlier run obtained, or the hub's.

    Raises:
        UserError: there is none to be had.
    """
    key = f"models.{name}.source"
    if not isinstance(source, Source):
        if is_here(source, root):
            return config_of_file(key, source, root)
        if obtained := local_config(str(root / "runs/pretrain" / name)):
            return obtained
        if isinstance(source, GgufSource):
            raise UserError(f"{key}.gguf is {source.gguf!r}: no such file")
        raise UserError(
            f"{key}: its packages are not here yet, and models.{name}.architecture does not say what the model is made of: state "
            "hidden_size, num_hidden_layers and num_attention_heads there"
        )
    if Path(source.model).is_dir():
        check_model(f"{key}: {source.model}", Path(source.model), adapters=False)
        return local_config(source.model) or {}
    check_id(key, source)
    if obtained := local_config(str(root / "runs/pretrain" / name)):
        return obtained
    from huggingface_hub import hf_hub_download

    with hub_errors(key, source):
        path = hf_hub_download(source.model, "config.json", revision=source.revision, etag_timeout=PATIENCE)
    return local_config(str(Path(path).parent)) or {}


def found_on_hub(key: str, source: Source) -> Found:
    """The model in the hub's cache or on the hub, which is asked whether it would give us the files.

    Raises:
        UserError: gated, unknown, without safetensors, or out of reach.
    """
    from huggingface_hub import HfApi, get_hf_file_metadata, hf_hub_url, try_to_load_from_cache

    name, revision = source.model, source.revision
    for file in ("model.safetensors", "model.safetensors.index.json"):
        if isinstance(there := try_to_load_from_cache(name, file, revision=revision), str):
            return Found(numbers_in(Path(there).parent.glob("*.safetensors")), 0)
    with hub_errors(key, source):
        info = HfApi().model_info(name, revision=revision, timeout=PATIENCE, files_metadata=True)
        # Of a gated model everybody may see the list of files; asking for one of them says whether we may have it.
        get_hf_file_metadata(hf_hub_url(name, "config.json", revision=revision), timeout=PATIENCE)
    weights = [file for file in info.siblings or [] if file.rfilename.endswith(".safetensors")]
    if not weights:
        raise UserError(f"{key}: {name} has no safetensors at this revision; convert it to a local folder")
    size = sum(file.size or 0 for file in weights if "/" not in file.rfilename)
    known = getattr(info.safetensors, "total", None)
    return Found(known or size // 4, size)  # where the hub does not count them, no more than 4 bytes each


@contextmanager
def hub_errors(key: str, source: Source) -> Iterator[None]:
    """What the hub refuses, as one line that says what to do."""
    from huggingface_hub.errors import (
        GatedRepoError,
        HTTPError,
        RemoteEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    name, revision = source.model, source.revision
    try:
        yield
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
    except RemoteEntryNotFoundError as error:
        raise UserError(f"{key}: {name} has no config.json at this revision") from error
    except (HTTPError, OSError) as error:
        raise UserError(
            f"{key}: {name} is not in the hub's cache, and the hub cannot be reached; "
            "download it elsewhere and give its folder as source.model"
        ) from error


def check_disk(name: str, model: Model, found: Found, trained: int, root: Path) -> None:
    """There is room for the download, the base, the early and all finetuned models, and a training's last two checkpoints.

    What is in runs/ already needs no more room. The hub's cache may be on another disk: then less is needed here.

    Raises:
        UserError: names both numbers.
    """
    kept = found.numbers * (4 if model.dtype == "float32" else 2) * (2 + trained)
    needed = found.download + kept + (2 * CHECKPOINT * found.numbers if trained else 0)
    made = [
        file
        for pattern in (f"pretrain/{name}", f"early/{name}", f"finetune/{name}-[0-9]*")
        for folder in (root / "runs").glob(pattern)
        for file in folder.glob("*.safetensors")
    ]
    needed -= sum(file.stat().st_size for file in made)
    room = shutil.disk_usage(root).free
    if needed > room:
        raise UserError(
            f"models.{name}: the study needs {needed / 1e9:.1f} GB of disk for it ({2 + trained} models, two checkpoints of a "
            f"training); {room / 1e9:.1f} GB are free at {root}"
        )


def check_memory(name: str, model: Model, found: Found) -> None:
    """The device has room for a training's weights, gradients and moments: the least of what finetuning all weights takes.

    Raises:
        UserError: it has not; says what needs less.
    """
    gpus = gpu_memory() if model.device != "cpu" else []
    where, there = ("its GPU", max(gpus)) if gpus else ("this machine", psutil.virtual_memory().total)
    needed = TRAINED * found.numbers
    if needed > there:
        raise UserError(
            f"models.{name}: finetuning all its weights takes more than {needed / 1e9:.1f} GB, {where} has {there / 1e9:.1f}; "
            "valid: FSDP on several GPUs (launch.train: accelerate launch --config_file data/accelerate/fsdp.yaml), or a "
            "study of recipes with lora alone"
        )


def gpu_memory() -> list[int]:
    """Bytes of every GPU's memory, as the driver's own tool tells them: torch takes seconds to import."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return []
    asked = [tool, "--query-gpu=memory.total", "--format=csv,noheader,nounits"]
    told = subprocess.run(asked, capture_output=True, text=True, check=False).stdout
    return [int(line) * 2**20 for line in told.split() if line.isdecimal()]


def numbers_in(files: Iterable[Path]) -> int:
    """How many numbers safetensors files hold, from their headers."""
    return sum(math.prod(entry["shape"]) for file in files for entry in header_of(file).values())
