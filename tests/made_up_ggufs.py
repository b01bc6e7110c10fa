"""GGUF files that the tests write with the package gguf, from tiny models of ours; and wheels that carry them."""

import hashlib
import json
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import gguf
import numpy as np
from gguf import GGMLQuantizationType, GGUFWriter
from tiny_models import tiny_model
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from stages.modeling.tokens import train_tokenizer

TEXTS = ["Kate Winslet stars in a film of 1997 with Leonardo", "Tim Roth stars in 2 films with Amanda"] * 4
ARCHITECTURES = {"llama": "llama", "qwen2": "qwen2", "qwen3": "qwen3", "gemma3_text": "gemma3"}
# A width of whole blocks of 32, and what of a configuration no GGUF says as it is in every model of the family.
SHAPES: dict[str, dict] = {
    "llama": {},
    "qwen2": {},
    "qwen3": {"head_dim": 128},
    "gemma3_text": {
        "num_hidden_layers": 6,
        "head_dim": 32,
        "query_pre_attn_scalar": 256,
        "layer_types": None,
    },
}
CONTROL, NORMAL = 3, 1


def tokenizer_of(bos: bool) -> PreTrainedTokenizerBase:
    return train_tokenizer(TEXTS, 320, bos)


def model_for_gguf(
    family: str, tokenizer: PreTrainedTokenizerBase, seed: int = 0, **changes: object
) -> PreTrainedModel:
    ids = {name: getattr(tokenizer, name) for name in ("bos_token_id", "eos_token_id", "pad_token_id")}
    size = {"vocab_size": len(tokenizer), "hidden_size": 64, "intermediate_size": 96, **ids}
    return tiny_model(family, seed, **(size | SHAPES[family] | changes))


def tensor_for(name: str, weights: np.ndarray, model: PreTrainedModel) -> np.ndarray:
    """A weight as llama.cpp writes it: Llama's rotary halves interleaved, 1 added to Gemma's norms."""
    config = model.config
    heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}
    module = name.split(".")[-2]
    if config.model_type == "llama" and module in heads:
        halves = weights.reshape(heads[module], 2, -1, weights.shape[1])
        return np.ascontiguousarray(halves.swapaxes(1, 2)).reshape(weights.shape)
    if config.model_type == "gemma3_text" and module.endswith("norm"):
        return weights + 1
    return weights


def write_gguf(
    path: Path,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    quantized: str | None = None,
    pre: str = "gpt-2",
    pieces: Sequence[str] | None = None,
    more: Mapping[str, object] | None = None,
    tensors: Mapping[str, np.ndarray | None] | None = None,
) -> Path:
    """quantized: a type such as Q8_0 for the matrices. pieces: a sentencepiece vocabulary in place of the tokenizer's. more:
    further text and numbers of the metadata. tensors: others instead or beside; None: left out."""
    config = model.config
    writer = GGUFWriter(path, ARCHITECTURES[config.model_type])
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    theta = config.rope_parameters
    writer.add_rope_freq_base((theta.get("full_attention") or theta)["rope_theta"])
    if config.model_type == "llama":
        writer.add_rope_dimension_count(config.head_dim)
    elif config.model_type != "qwen2":
        writer.add_key_length(config.head_dim)
    if config.model_type == "gemma3_text":
        writer.add_sliding_window(config.sliding_window)
    if pieces is None:
        _add_byte_level(writer, tokenizer, pre)
    else:
        writer.add_tokenizer_model("llama")
        writer.add_tokenizer_pre("default")
        writer.add_token_list(pieces)
        writer.add_token_scores([-1000.0] * len(pieces))
        writer.add_token_types(
            [CONTROL if piece in ("<pad>", "<eos>", "<bos>") else NORMAL for piece in pieces]
        )
        writer.add_pad_token_id(pieces.index("<pad>"))
        writer.add_bos_token_id(pieces.index("<bos>"))
        writer.add_eos_token_id(pieces.index("<eos>"))
        writer.add_add_bos_token(True)
    for key, value in (more or {}).items():
        add = writer.add_string if isinstance(value, str) else writer.add_uint32
        (writer.add_float32 if isinstance(value, float) else add)(key, value)
    written = dict(_tensors(model)) | dict(tensors or {})
    for name, weights in written.items():
        if weights is None:
            continue
        if quantized and weights.ndim == 2:
            kind = GGMLQuantizationType[quantized]
            writer.add_tensor(name, gguf.quants.quantize(weights, kind), raw_dtype=kind)
        else:
            writer.add_tensor(name, weights)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _add_byte_level(writer: GGUFWriter, tokenizer: PreTrainedTokenizerBase, pre: str) -> None:
    backend = tokenizer.backend_tokenizer
    vocabulary = backend.get_vocab()
    tokens = sorted(vocabulary, key=vocabulary.__getitem__)
    special = {*tokenizer.all_special_tokens}
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(pre)
    writer.add_token_list(tokens)
    writer.add_token_types([CONTROL if token in special else NORMAL for token in tokens])
    writer.add_token_merges([" ".join(pair) for pair in json.loads(backend.to_str())["model"]["merges"]])
    writer.add_bos_token_id(tokenizer.bos_token_id)
    writer.add_eos_token_id(tokenizer.eos_token_id)
    writer.add_add_bos_token(tokenizer("a")["input_ids"][0] == tokenizer.bos_token_id)


def _tensors(model: PreTrainedModel) -> Iterator[tuple[str, np.ndarray]]:
    config = model.config
    arch = next(
        key for key, name in gguf.MODEL_ARCH_NAMES.items() if name == ARCHITECTURES[config.model_type]
    )
    names = gguf.get_tensor_name_map(arch, config.num_hidden_layers)
    for name, weights in model.state_dict().items():
        if name == "lm_head.weight" and config.tie_word_embeddings:
            continue
        base, _, kind = name.rpartition(".")
        yield f"{names.get_name(base)}.{kind}", tensor_for(name, weights.numpy(), model)


def write_wheel(folder: Path, package: str, version: str, files: Mapping[str, bytes]) -> tuple[Path, str]:
    """A wheel with these files, and its sha256."""
    name = package.replace("-", "_")
    about = f"{name}-{version}.dist-info"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as wheel:
        for file, content in files.items():
            wheel.writestr(zipfile.ZipInfo(file), content)
        wheel.writestr(f"{about}/METADATA", f"Metadata-Version: 2.1\nName: {package}\nVersion: {version}\n")
        wheel.writestr(
            f"{about}/WHEEL",
            "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        )
        wheel.writestr(f"{about}/RECORD", "")
    return path, hashlib.sha256(path.read_bytes()).hexdigest()
