"""What a GGUF file says of itself, read without torch, and whether transformers reads all of it.

The format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

import mmap
import shutil
import struct
from dataclasses import dataclass
from importlib.util import find_spec
from math import prod
from pathlib import Path
from typing import Any, BinaryIO

from weightgraft.errors import UserError

VERSIONS = (2, 3)
# Metadata: type of a value -> how it is packed. Strings and arrays have a length before them.
PACKED = {0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q", 11: "<q", 12: "<d"}  # fmt: skip
STRING, ARRAY, UINT32 = 8, 9, 4
VOCABULARY = tuple(f"tokenizer.ggml.{what}" for what in ("tokens", "scores", "token_type", "merges"))
CHUNK = 1 << 24  # bytes
# Type of a tensor -> (numbers, bytes) of its blocks: F32, F16, BF16, and the quantized types.
BLOCKS = {
    0: (1, 4), 1: (1, 2), 30: (1, 2), 2: (32, 18), 3: (32, 20), 6: (32, 22), 7: (32, 24), 8: (32, 34), 10: (256, 84),
    11: (256, 110), 12: (256, 144), 13: (256, 176), 14: (256, 210), 16: (256, 66), 17: (256, 74), 18: (256, 98), 19: (256, 50),
    20: (32, 18), 21: (256, 110), 22: (256, 82), 23: (256, 136), 29: (256, 56),
}  # fmt: skip
# Architecture of a GGUF -> family of transformers: those of which tests show that what is read computes what was written.
FAMILIES = {"llama": "llama", "qwen2": "qwen2", "qwen3": "qwen3", "gemma3": "gemma3_text"}
# How the text is cut before byte-level BPE: what transformers knows, and what stages/modeling/gguf.py adds.
SPLITTINGS = frozenset({
    "gpt-2", "smollm", "llama3", "llama-v3", "llama-bpe", "falcon3", "falcon-h1", "pixtral", "midm-2.0", "lfm2", "jina-v5-nano",
    "dbrx", "smaug-bpe", "tekken", "qwen2", "deepseek-r1-qwen", "kormo", "f2llmv2", "megrez", "qwen35", "gpt-4o", "llama4",
    "kanana2", "talkie", "minimax-m2",
})  # fmt: skip
# A configuration's entry -> where the metadata have it, below the architecture's name; the first that is there.
SIZES = {
    "hidden_size": ("embedding_length",),
    "num_hidden_layers": ("block_count",),
    "num_attention_heads": ("attention.head_count",),
    "num_key_value_heads": ("attention.head_count_kv", "attention.head_count"),
    "head_dim": ("attention.key_length",),
    "intermediate_size": ("feed_forward_length",),
    "max_position_embeddings": ("context_length",),
    "vocab_size": ("vocab_size",),
}
INSTEAD = "give a folder with its safetensors as source.model"
EXTRA = "the package gguf, which reads it, is not installed: pip install '.[gguf]'"


@dataclass(frozen=True)
class Header:
    """metadata: of an array of strings its length. shapes: of every tensor, by name, as torch has it. entries, table, data: where
    in the file each entry of the metadata lies and the table of tensors, [start, end), and where their numbers start."""

    metadata: dict[str, Any]
    shapes: dict[str, tuple[int, ...]]
    entries: dict[str, tuple[int, int]]
    table: tuple[int, int]
    data: int

    @property
    def architecture(self) -> str:
        return str(self.metadata["general.architecture"])

    @property
    def numbers(self) -> int:
        return sum(prod(shape) for shape in self.shapes.values())

    def said(self, key: str) -> Any:
        """What stands below the architecture's name, or None."""
        return self.metadata.get(f"{self.architecture}.{key}")


def reader_is_missing() -> bool:
    return find_spec("gguf") is None


def read_header(name: str, path: Path) -> Header:
    """The header of a GGUF file. name: what a message calls it.

    Raises:
        UserError: it is none, of another version, of unknown types, or cut short.
    """
    if not path.is_file():
        raise UserError(f"{name}: no such file")
    with path.open("rb") as file:
        if file.read(4) != b"GGUF":
            raise UserError(f"{name}: no GGUF file (it does not begin with GGUF)")
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            try:
                return _read(name, data)
            except (struct.error, IndexError, OverflowError) as error:
                raise UserError(f"{name}: cut short or damaged; get it again") from error
            except UnicodeDecodeError as error:
                raise UserError(f"{name}: damaged: a name in it is no text; get it again") from error


def _read(name: str, data: mmap.mmap) -> Header:
    version, tensors, entries = struct.unpack_from("<IQQ", data, 4)
    if version not in VERSIONS:
        raise UserError(f"{name}: GGUF of version {version}; read are {' and '.join(map(str, VERSIONS))}")
    at, metadata, places = 24, {}, {}
    for _ in range(entries):
        begin = at
        key, at = _string(data, at)
        metadata[key], at = _value(data, at + 4, *struct.unpack_from("<I", data, at))
        places[key] = begin, at
    if not isinstance(metadata.get("general.architecture"), str):
        raise UserError(f"{name}: a GGUF without general.architecture: it holds no model")
    shapes, end, table = {}, 0, at
    for _ in range(tensors):
        tensor, at = _string(data, at)
        (dimensions,) = struct.unpack_from("<I", data, at)
        sizes = struct.unpack_from(f"<{dimensions}Q", data, at + 4)
        kind, offset = struct.unpack_from("<IQ", data, at + 4 + 8 * dimensions)
        at += 16 + 8 * dimensions
        if kind not in BLOCKS:
            raise UserError(f"{name}: {tensor} is of the type {kind}, which is not read; {INSTEAD}")
        numbers, size = BLOCKS[kind]
        shapes[tensor] = tuple(reversed(sizes))
        end = max(end, offset + prod(sizes) // numbers * size)
    start = aligned(at, metadata)
    if start + end > len(data):
        raise UserError(f"{name}: cut short: {len(data):,} of {start + end:,} bytes are there; get it again")
    return Header(metadata, shapes, places, (table, at), start)


def aligned(at: int, metadata: dict[str, Any]) -> int:
    """Where the tensors' numbers start behind a header that ends here."""
    alignment = metadata.get("general.alignment") or 32
    return (at + alignment - 1) // alignment * alignment


def _string(data: mmap.mmap, at: int) -> tuple[str, int]:
    (length,) = struct.unpack_from("<Q", data, at)
    at += 8
    if at + length > len(data):
        raise IndexError
    return data[at : at + length].decode("utf-8"), at + length


def _value(data: mmap.mmap, at: int, kind: int) -> tuple[Any, int]:
    """A value of the metadata and where it ends; of an array of strings its length."""
    if kind == STRING:
        return _string(data, at)
    if kind == ARRAY:
        of, count = struct.unpack_from("<IQ", data, at)
        at += 12
        if of in PACKED:
            if at + count * struct.calcsize(PACKED[of]) > len(data):
                raise IndexError
            packed = f"<{count}{PACKED[of][1]}"
            return list(struct.unpack_from(packed, data, at)), at + struct.calcsize(packed)
        for _ in range(count):
            (length,) = struct.unpack_from("<Q", data, at)
            at += 8 + length
            if at > len(data):
                raise IndexError
        return count, at
    if kind not in PACKED:
        raise IndexError
    (value,) = struct.unpack_from(PACKED[kind], data, at)
    return value, at + struct.calcsize(PACKED[kind])


def check_gguf(name: str, path: Path) -> Header:
    """The header of a GGUF file that transformers reads whole: what it would leave out, or take for something else, is refused.

    Raises:
        UserError: see read_header; or an architecture, a scaling or a tokenizer that is not read.
    """
    header = read_header(name, path)
    if header.architecture not in FAMILIES:
        raise UserError(f"{name}: a GGUF of {header.architecture}; read are {', '.join(FAMILIES)}; {INSTEAD}")
    if header.metadata.get("split.count", 1) > 1:
        raise UserError(
            f"{name}: one of {header.metadata['split.count']} files; join them (llama-gguf-split --merge)"
        )
    scaling, factor = header.said("rope.scaling.type"), header.said("rope.scaling.factor")
    if scaling not in (None, "none") or factor not in (None, 1.0):
        raise UserError(
            f"{name}: its positions are scaled ({scaling or 'linear'}, factor {factor}), which is not read from a GGUF; {INSTEAD}"
        )
    kind, splitting = header.metadata.get("tokenizer.ggml.model"), header.metadata.get("tokenizer.ggml.pre")
    if not header.metadata.get("tokenizer.ggml.tokens"):
        raise UserError(f"{name}: has no tokenizer; {INSTEAD}")
    if kind not in ("gpt2", "llama"):
        raise UserError(f"{name}: its tokenizer is of the kind {kind!r}; read are gpt2 and llama; {INSTEAD}")
    if kind == "gpt2" and splitting not in SPLITTINGS:
        raise UserError(
            f"{name}: its tokenizer cuts text in the way {splitting!r}, which is not known; {INSTEAD}"
        )
    return header


def write_without_vocabulary(path: Path, header: Header, out: Path) -> None:
    """The file without its lists of tokens, which tell nothing of the weights: the package gguf takes longer over them than over
    all else, each time that the file is opened. Their number, which is the vocabulary's size, is kept."""
    size = f"{header.architecture}.vocab_size"
    kept = [place for key, place in header.entries.items() if key not in VOCABULARY]
    with path.open("rb") as whole, out.open("wb") as file:
        pieces = [_piece(whole, *place) for place in kept]
        if size not in header.metadata:
            count = header.metadata["tokenizer.ggml.tokens"]
            pieces.append(struct.pack(f"<Q{len(size)}sII", len(size), size.encode(), UINT32, count))
        file.write(struct.pack("<4sIQQ", b"GGUF", VERSIONS[-1], len(header.shapes), len(pieces)))
        for piece in (*pieces, _piece(whole, *header.table)):
            file.write(piece)
        file.write(b"\0" * (aligned(file.tell(), header.metadata) - file.tell()))
        whole.seek(header.data)
        shutil.copyfileobj(whole, file, CHUNK)


def _piece(file: BinaryIO, start: int, end: int) -> bytes:
    file.seek(start)
    return file.read(end - start)


def config_in(header: Header) -> dict[str, Any]:
    """What the configuration of the model will say of its sizes, as config.json would."""
    config: dict[str, Any] = {"model_type": FAMILIES[header.architecture]}
    for entry, keys in SIZES.items():
        found = [value for key in keys if (value := header.said(key)) is not None]
        config |= {entry: found[0]} if found else {}
    if header.architecture == "llama" and (width := header.said("rope.dimension_count")) is not None:
        config["head_dim"] = width
    return {"vocab_size": header.metadata["tokenizer.ggml.tokens"]} | config
