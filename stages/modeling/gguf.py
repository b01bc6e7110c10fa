"""A GGUF file made once into a plain model in the hub's layout: safetensors, config, tokenizer.

transformers and the package gguf read it. Quantized weights come out as numbers again, those of the levels they were rounded to: a
whole, ordinary model, a little worse than the original.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from tokenizers import pre_tokenizers
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    GgufConfig,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
    modeling_gguf_pytorch_utils,
)

from stages.modeling.gguf_header import (
    EXTRA,
    INSTEAD,
    Header,
    check_gguf,
    reader_is_missing,
    write_without_vocabulary,
)
from stages.modeling.models import save_model
from stages.modeling.packages import checked_sum, emptied
from weightgraft.errors import UserError
from weightgraft.progress import bar

FILE = "model.gguf"
LONGEST = 300  # letters of an error of transformers
DAMAGED = (ValueError, KeyError, IndexError, TypeError, RuntimeError, NotImplementedError, OSError)
STEPS = 4
SAMPLES = (
    "In 1997, Ada O'Neill stars in  2 films alongside",
    "\n 12 naïve Ünïcode?\n\n",
    "Q: Who? A: An actor named",
)


def converted(name: str, file: Path, sha256: str | None, dtype: str, downloads: Path) -> Path:
    """The folder with the model of a GGUF file, made where it is not there yet: whole or not at all.

    Args:
        name: what messages call the file.
        sha256: that the file must have; None: any.
        dtype: of the weights in the folder.
        downloads: where the folder is kept, under the file's sum, dtype and the versions of what reads it.

    Raises:
        UserError: the package gguf is missing, the sum is another, or the file is not read whole; says what to do.
    """
    if reader_is_missing():
        raise UserError(f"{name}: {EXTRA}")
    found = checked_sum(name, file, sha256)
    header = check_gguf(name, file)
    versions = f"transformers{version('transformers')}-gguf{version('gguf')}"
    folder = downloads / f"{found}-{dtype}-{versions}"
    if not (folder / "config.json").is_file():
        with bar(f"convert {name}", STEPS, "steps", patience=1.0) as shown:
            config, model = _read_model(name, file, header, dtype, downloads, shown)
            tokenizer = _read_tokenizer(name, file, header)
            _check_kept(name, config, tokenizer)
            shown.update()
            save_model(_plain(config, model), tokenizer, folder)
            shown.update()
    return folder


def _where(folder: Path) -> dict[str, Any]:
    """transformers' arguments for FILE in a folder where nothing else lies that it would read."""
    return {
        "pretrained_model_name_or_path": str(folder),
        "gguf_file": FILE,
        "local_files_only": True,
        "trust_remote_code": False,
    }


@contextmanager
def _hastened() -> Iterator[None]:
    """transformers asks the package gguf for its table of names once for every module of the model, which takes most of the time:
    the table is made once. And its bar is not shown: ours counts the steps around it."""
    import gguf

    made, bars = gguf.get_tensor_name_map, modeling_gguf_pytorch_utils.tqdm
    gguf.get_tensor_name_map = cache(made)
    modeling_gguf_pytorch_utils.tqdm = lambda tensors, **options: tensors
    try:
        yield
    finally:
        gguf.get_tensor_name_map, modeling_gguf_pytorch_utils.tqdm = made, bars


def _read_model(
    name: str, file: Path, header: Header, dtype: str, downloads: Path, shown: Any
) -> tuple[PretrainedConfig, PreTrainedModel]:
    """The configuration, and the model with every weight of the file, all finite."""
    try:
        with emptied(downloads / "convert") as folder, _hastened():
            write_without_vocabulary(file, header, folder / FILE)
            config = AutoConfig.from_pretrained(**_where(folder))
            shown.update()
            model, loaded = _with_loading_info(
                **_where(folder),
                config=config,
                dtype=dtype,
                quantization_config=GgufConfig(dequantize=True),
                ignore_mismatched_sizes=True,
            )
            taken = _taken(model, header)
            shown.update()
    except DAMAGED as error:
        raise UserError(
            f"{name}: cannot be read ({' '.join(str(error).split())[:LONGEST]}); get it again, or {INSTEAD}"
        ) from error
    for what in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        if keys := sorted(map(str, loaded[what])):
            raise UserError(f"{name}: {what.replace('_', ' ')}: {keys[0]}; {INSTEAD}")
    if unread := sorted({*header.shapes} - {*taken}):
        raise UserError(
            f"{name}: {unread[0]} is in it and is not read, so that the model would be another; {INSTEAD}"
        )
    for key, tensor in model.state_dict().items():
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise UserError(f"{name}: {key} has entries that are NaN or infinite")
    return config, model


def _with_loading_info(**options: Any) -> tuple[PreTrainedModel, dict[str, Any]]:
    loaded: Any = AutoModelForCausalLM.from_pretrained(output_loading_info=True, **options)
    return loaded


def _taken(model: PreTrainedModel, header: Header) -> dict[str, str]:
    """Name in the file -> the weight that takes it, of every tensor that the reader puts into the model."""
    processors = modeling_gguf_pytorch_utils.TENSOR_PROCESSORS
    processor = processors.get(header.architecture, modeling_gguf_pytorch_utils.TensorProcessor)
    return modeling_gguf_pytorch_utils.get_gguf_hf_weights_map(
        model, processor(config=model.config.to_dict())
    )


def _plain(config: PretrainedConfig, model: PreTrainedModel) -> PreTrainedModel:
    """The weights in a new model of the same configuration, which knows nothing of a GGUF; tied ones are tied."""
    with torch.device("meta"):
        plain = AutoModelForCausalLM.from_config(config, dtype=model.dtype)
    plain.load_state_dict(model.state_dict(), assign=True)
    plain.tie_weights()
    return plain


def _read_tokenizer(name: str, file: Path, header: Header) -> PreTrainedTokenizerBase:
    try:
        with TemporaryDirectory() as folder:
            (Path(folder) / FILE).symlink_to(file.resolve())
            tokenizer = PreTrainedTokenizerFast.from_pretrained(**_where(Path(folder)))
    except DAMAGED as error:
        raise UserError(
            f"{name}: its tokenizer cannot be read ({' '.join(str(error).split())[:LONGEST]}); {INSTEAD}"
        ) from error
    if header.metadata.get("tokenizer.ggml.pre") == "smollm":
        # GPT-2's way, but every digit is cut off first; transformers reads it as GPT-2's alone.
        tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
        )
    return tokenizer


def _check_kept(name: str, config: PretrainedConfig, tokenizer: PreTrainedTokenizerBase) -> None:
    """Raises UserError where the tokenizer, saved and loaded, is another: for some families transformers has a class of its own."""
    with TemporaryDirectory() as folder:
        config.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        again = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    for text in SAMPLES:
        if (cut := again(text)["input_ids"]) != (as_read := tokenizer(text)["input_ids"]):
            raise UserError(
                f"{name}: transformers cuts {text!r} into {len(cut)} tokens, the file into {len(as_read)}; {INSTEAD}"
            )
