"""What a safetensors file says of itself: names, types, shapes and places of its weights, read before any weight is.

Layout: length of the header (8 bytes, little endian), header (JSON), the weights' bytes without gaps.
"""

import json
import math
import re
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from weightgraft.errors import UserError

BYTES = {
    "BOOL": 1, "U8": 1, "I8": 1, "F8_E5M2": 1, "F8_E4M3": 1, "F8_E8M0": 1, "F8_E5M2FNUZ": 1, "F8_E4M3FNUZ": 1,
    "I16": 2, "U16": 2, "F16": 2, "BF16": 2, "I32": 4, "U32": 4, "F32": 4, "I64": 8, "U64": 8, "F64": 8, "C64": 8,
}  # fmt: skip
PLAIN = frozenset({"F16", "BF16", "F32", "F64"})  # a weight is its numbers, and needs no scale
# What formats of quantized weights keep beside the numbers.
SCALES = re.compile(
    r"(_scale_inv|\.(weight_scale(_2)?|input_scale|scales|zeros|qzeros|qweight|g_idx|absmax|nested_absmax|quant_map|SCB"
    r"|nested_quant_map|quant_state(\.\w+)?|weight_format|weight_packed|weight_shape|weight_zero_point|perm))$"
)
# What old files have beside weights: masks, frequencies and numbers of positions that transformers computes itself.
MASK = re.compile(r"(^|\.)(attn|attention)\.(bias|masked_bias)$")
FREQUENCIES = re.compile(r"(^|\.)rotary_emb\.(inv_freq|cos_cached|sin_cached)$")
POSITIONS = re.compile(r"(^|\.)position_ids$")
# Types in which no format keeps weights, unless there are scales beside them.
WHOLE = frozenset({"BOOL", "I16", "U16", "I32", "U32", "I64", "U64"})
FLAT = re.compile(r"(^|\.)_?flat_param(_\d+)?$")  # the name of FSDP's parts
POINTER = b"version https://git-lfs"
HOLLOW = (
    "it was saved in parts that nobody gathered (ZeRO-3, FSDP): gather its parameters, then save it again"
)
DEQUANTIZE = "grafting needs plain weights (float32, bfloat16 or float16): load it where it can run, dequantize, save it again"


def whole_header(option: str, path: Path) -> dict[str, Any]:
    """What a safetensors file says of each of its weights (dtype, shape, data_offsets), once it is known to be as long as
    its header says, and the header to say what and where every weight is.

    Raises:
        UserError: it is not, or the header is no table of weights.
    """
    size, (header, length) = path.stat().st_size, _read_header(path)
    if not isinstance(header, dict):
        with path.open("rb") as file:
            pointer = file.read(len(POINTER)) == POINTER
        if pointer:
            raise UserError(
                f"{option}: {path.name} is a pointer of Git LFS, {size} bytes, and not the file itself; "
                "`git lfs pull` in its repository gets it"
            )
        raise UserError(
            f"{option}: {path.name} is cut short or no safetensors file: {size} bytes without a whole header; "
            "copy it again"
        )
    entries = {key: entry for key, entry in header.items() if key != "__metadata__"}
    spans = {key: _span_of(entry) for key, entry in entries.items()}
    for key, span in spans.items():
        if span is None:
            raise UserError(
                f"{option}: {path.name} is damaged: its header does not say what and where {key} is"
            )
    expected = 0
    for key, span in sorted(spans.items(), key=lambda item: item[1] or (0, 0)):
        assert span is not None
        if span[0] != expected:
            raise UserError(
                f"{option}: {path.name} is damaged: {key} does not begin where the one before ends"
            )
        expected = span[1]
    expected += 8 + length
    if size != expected:
        what = "is cut short" if size < expected else "is longer than it should be"
        raise UserError(
            f"{option}: {path.name} {what}: {size} bytes, its header says {expected}; copy it again"
        )
    return entries


def header_of(path: Path) -> dict[str, Any]:
    """What a whole safetensors file says of each of its weights: dtype, shape, data_offsets."""
    header, _ = _read_header(path)
    return {key: entry for key, entry in header.items() if key != "__metadata__"}


def is_old_buffer(key: str, shape: Sequence[int]) -> bool:
    """Whether an entry is what transformers once saved beside weights: a mask (1, 1, n, n), a number, rotary frequencies, numbers
    of positions."""
    if MASK.search(key):
        return len(shape) in (0, 4)
    return bool(FREQUENCIES.search(key) or POSITIONS.search(key))


def adapter_key(key: str) -> str:
    """peft's name for a tensor in an adapter's file: it reads magnitudes of DoRA with and without `.weight` behind them."""
    return key.removesuffix(".weight") if key.endswith(".lora_magnitude_vector.weight") else key


def check_plain(option: str, name: str, header: Mapping[str, Any]) -> None:
    """That the weights of a file are plain numbers, and no part of a quantized model. name: of the file.

    Raises:
        UserError: names the first that is not, with its type, and the scales beside it.
    """
    scales = [key for key in header if SCALES.search(key)]
    beside = f", beside it {len(scales)} scales and the like, the first {scales[0]}" if scales else ""
    for key, entry in header.items():
        kind = entry["dtype"]
        if key in scales or kind in PLAIN or is_old_buffer(key, entry["shape"]):
            continue
        if kind in WHOLE and not scales:
            raise UserError(
                f"{option}: {name} has whole numbers in the place of a weight: {key} is {kind}; save the model again in float32, "
                "bfloat16 or float16"
            )
        raise UserError(f"{option}: {name} is quantized: {key} is {kind}{beside}; {DEQUANTIZE}")
    if scales:
        raise UserError(
            f"{option}: {name} is quantized: it has {len(scales)} scales and the like beside its weights, the first "
            f"{scales[0]}; {DEQUANTIZE}"
        )


def check_gathered(option: str, name: str, header: Mapping[str, Any]) -> None:
    """That a whole model's file holds weights, and not what ZeRO-3 or FSDP leave where nobody gathers them. name: of the file.

    Raises:
        UserError: names the first that is empty, or a part.
    """
    for key, entry in header.items():
        if 0 in entry["shape"] or FLAT.search(key):
            raise UserError(
                f"{option}: {name} has no whole weights: {key} has shape {tuple(entry['shape'])}; {HOLLOW}"
            )


def _read_header(path: Path) -> tuple[Any, int]:
    """(header, its length in bytes); None for the header where there is no whole one."""
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(8)
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
        if 0 < length <= size - 8:
            try:
                return json.loads(file.read(length)), length
            except (ValueError, RecursionError):  # neither text nor JSON
                pass
    return None, length


def _span_of(entry: Any) -> tuple[int, int] | None:
    """Where a weight begins and ends in the weights' bytes; None where its entry does not say it, or not for its shape."""
    if not isinstance(entry, dict):
        return None
    offsets: Any = entry.get("data_offsets")
    shape: Any = entry.get("shape")
    kind = entry.get("dtype")
    for numbers in (offsets, shape):
        if not isinstance(numbers, list) or any(type(number) is not int or number < 0 for number in numbers):
            return None
    if len(offsets) != 2 or not isinstance(kind, str):
        return None
    size = offsets[1] - offsets[0]
    known = BYTES.get(kind)
    return (
        None
        if size < 0 or (known is not None and size != known * math.prod(shape))
        else (offsets[0], offsets[1])
    )
