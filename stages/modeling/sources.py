"""Pretrained models that are not trained here: from the hub at a pinned revision, a local folder, packages, or a GGUF file."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from huggingface_hub import snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    HTTPError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from transformers import AutoModelForCausalLM, PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

from stages.modeling.gguf import converted
from stages.modeling.models import load_model
from stages.modeling.packages import DOWNLOADS, alone_in, packaged, parts_of, pin_of
from weightgraft.errors import UserError

WANTED = ["*.json", "*.safetensors", "*.model", "*.txt"]  # config, weights, tokenizer; never pickles
ELSEWHERE = ["*/*"]  # other formats of the same weights
UNTRAINED = "untrained"


def name_of(source: Mapping[str, Any]) -> str:
    """What messages call a source of params.yaml: the hub's id, the folder, the file, or the package's pin."""
    if "model" in source or "gguf" in source:
        return str(source["model"] if "model" in source else source["gguf"])
    first, *more = parts_of(source)
    return pin_of(first) + (f" and {len(more)} more" if more else "")


def folder_of(source: Mapping[str, Any], dtype: str, downloads: Path = DOWNLOADS) -> Path:
    """The folder with the model of a source of params.yaml, in the hub's layout.

    Raises:
        UserError: it cannot be had; says what to do.
    """
    if "model" in source:
        return hub_folder(source["model"], source["revision"])
    with alone_in(downloads):
        file = Path(source["gguf"]) if "gguf" in source else packaged(source, downloads)
        return converted(name_of(source), file, source["sha256"], dtype, downloads)


def hub_folder(model: str, revision: str | None) -> Path:
    """Where the model's files are: the local folder itself, or the hub's cache, filled from the hub where they are not there.

    Raises:
        UserError: no such model or revision, gated, or not in the cache and no network; says what to do.
    """
    if Path(model).is_dir():
        return Path(model)
    try:
        return Path(
            snapshot_download(model, revision=revision, allow_patterns=WANTED, ignore_patterns=ELSEWHERE)
        )
    except GatedRepoError as error:
        raise UserError(
            f"{model}: gated; accept its terms on its page on the hub, then `hf auth login` or set HF_TOKEN"
        ) from error
    except RevisionNotFoundError as error:
        raise UserError(f"{model}: the hub has no revision {revision}") from error
    except RepositoryNotFoundError as error:
        raise UserError(f"{model}: no such local folder, and the hub has no such model") from error
    except LocalEntryNotFoundError as error:
        raise UserError(
            f"{model}: not in the hub's cache, and the hub cannot be reached; download it on another machine and give its folder"
        ) from error
    except (HTTPError, OSError) as error:  # in the middle of it: the network, the disk
        raise UserError(
            f"{model}: the download broke off ({str(error).splitlines()[0][:200]}); run again, it goes on where it stopped"
        ) from error


def obtain(
    source: Mapping[str, Any], family: str, architecture: Mapping[str, Any], dtype: str
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """The model and its tokenizer, which gets <eos> as padding where it has none.

    Args:
        source: of params.yaml: {model, revision}, {package, version, file, wheel_sha256, sha256}, {packages, sha256} or
            {gguf, sha256}, each with early.
        family: the model_type that its configuration must have.
        architecture: what else it must say.

    Raises:
        UserError: see folder_of; or its configuration is another.
    """
    model, tokenizer = load_model(folder_of(source, dtype), dtype)
    if model.config.model_type != family:
        raise UserError(
            f"{name_of(source)}: is a {model.config.model_type} model; its entry's family is {family!r}"
        )
    check_config(name_of(source), model.config, architecture)
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return model, tokenizer


def obtain_early(source: Mapping[str, Any], model: PreTrainedModel) -> PreTrainedModel:
    """What stands for the model early in its training: a local folder, another revision, or new random weights (seed before)."""
    if source["early"] == UNTRAINED:
        untrained = AutoModelForCausalLM.from_config(model.config)
        return untrained.to(model.dtype).eval()
    dtype = str(model.dtype).removeprefix("torch.")
    local = Path(source["early"]).is_dir()
    folder = Path(source["early"]) if local else hub_folder(source["model"], source["early"])
    return load_model(folder, dtype)[0]


def check_config(name: str, config: PretrainedConfig, architecture: Mapping[str, Any]) -> None:
    """Raises UserError that names the first entry of the configuration that is not as params.yaml has it."""
    for key, value in architecture.items():
        found = getattr(config, key, None)
        if found != value:
            raise UserError(
                f"{name}: its config says {key} = {found!r}; params.yaml's architecture {value!r}"
            )
