"""Attention over packed prompts, as an attention implementation that transformers' own models call."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import cast

from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers import PreTrainedConfig
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS, AttentionInterface

from .packing import Batch

PACKED = "packed_grafting"
_current: ContextVar[Batch] = ContextVar("packed batch of the pass that runs")


def register_packed_attention() -> None:
    """Make `packed_attention` known to transformers under the name PACKED (it changes no model)."""
    AttentionInterface.register(PACKED, packed_attention)


@contextmanager
def attending(batch: Batch) -> Iterator[None]:
    """A pass over a packed batch. Not every model hands what its forward gets down to its attention, so this does."""
    token = _current.set(batch)
    try:
        yield
    finally:
        _current.reset(token)


def packed_attention(
    module: nn.Module,
    query: Float[Tensor, "1 head row dim"],
    key: Float[Tensor, "1 kv_head row dim"],
    value: Float[Tensor, "1 kv_head row dim"],
    attention_mask: None,
    *,
    scaling: float | None = None,
    sliding_window: int | None = None,
    softcap: float | None = None,
    **unused: object,
) -> tuple[Float[Tensor, "1 row head dim"], None]:
    """Regroup the rows of a batch by prompt, let every node attend to its ancestors, and put the rows back.

    The signature is transformers' attention interface. A sliding window counts tokens of the prompt (depth), not nodes.
    In the last layer only the rows that are read get an output; the others get zeros, which nothing reads.
    """
    packed, n_rows = _current.get(), query.shape[2]
    last = module.layer_idx == cast(PreTrainedConfig, module.config).num_hidden_layers - 1
    grid = (packed.n_prompts, packed.n_nodes)
    if last:
        mask = packed.last_mask(sliding_window, query.dtype)
        query = _to_grid(query, packed.last.to_padded, (packed.n_prompts, mask.shape[2]))
        key, value = (_to_grid(states, packed.to_padded, grid) for states in (key, value))
    else:
        mask = packed.mask(sliding_window, query.dtype)
        query, key, value = _all_to_grid(query, key, value, packed.to_padded, grid)
    if softcap is None:
        states, _ = ALL_ATTENTION_FUNCTIONS["sdpa"](
            module, query, key, value, mask, scaling=scaling, is_causal=False
        )
    else:  # sdpa cannot cap scores; every modeling file has its own eager attention
        eager = sys.modules[type(module).__module__].eager_attention_forward
        states, _ = eager(module, query, key, value, mask, scaling=scaling, softcap=softcap)
    states = states.flatten(0, 1)
    if last:
        rows = states.new_zeros(n_rows, *states.shape[1:])
        return rows.index_copy_(0, packed.last.rows, states.index_select(0, packed.last.to_rows))[None], None
    return (states if packed.to_rows is None else states.index_select(0, packed.to_rows))[None], None


def _all_to_grid(
    query: Float[Tensor, "1 head row dim"],
    key: Float[Tensor, "1 kv_head row dim"],
    value: Float[Tensor, "1 kv_head row dim"],
    places: Int[Tensor, " place"] | None,
    grid: tuple[int, int],
) -> tuple[Float[Tensor, "batch _ node dim"], ...]:
    """Queries, keys and values as grids of prompts. Where they are neighbouring columns of one product (GPT-2's) they
    are moved together: on the CPU, that takes about two thirds of the time of three moves."""
    n_heads, n_rows, width = query.shape[1:]
    block, start, stride = n_heads * width, query.storage_offset(), query.stride()
    neighbours = (
        stride[1] == width
        and stride[3] == 1
        and stride[2] >= 3 * block
        and all(
            states.shape == query.shape
            and states.stride() == stride
            and states.untyped_storage().data_ptr() == query.untyped_storage().data_ptr()
            and states.storage_offset() == start + place * block
            for place, states in enumerate((query, key, value))
        )
    )
    if places is None or not neighbours:
        return tuple(_to_grid(states, places, grid) for states in (query, key, value))
    rows = query.as_strided((n_rows, 3 * block), (stride[2], 1), start).index_select(0, places)
    return rows.reshape(*grid, 3, n_heads, width).permute(2, 0, 3, 1, 4).unbind()


def _to_grid(
    states: Float[Tensor, "1 head row dim"], places: Int[Tensor, " place"] | None, grid: tuple[int, int]
) -> Float[Tensor, "batch head node dim"]:
    """The rows as a grid of prompts. Whichever of heads and rows comes first in memory, long runs are copied."""
    n_heads, width = states.shape[1], states.shape[3]
    if places is not None and states.is_contiguous():
        placed = states[0].index_select(1, places)
        return placed.reshape(n_heads, *grid, width).transpose(0, 1)
    rows = states[0].transpose(0, 1)
    if places is not None:
        rows = rows.reshape(-1, n_heads * width).index_select(0, places)
    return rows.reshape(*grid, n_heads, width).transpose(1, 2)


class OnlyRead(nn.Module):
    """A module of the last layer that treats each token alone, for the rows that are read; the others get zeros."""

    def __init__(self, module: nn.Module):
        super().__init__()
        self.module = module

    def forward(self, states: Float[Tensor, "1 row inputs"]) -> Float[Tensor, "1 row outputs"]:
        rows = _current.get().last.rows
        served = self.module(states.index_select(1, rows))
        return served.new_zeros(1, states.shape[1], served.shape[2]).index_copy_(1, rows, served)


def looks_back_only(config: object) -> bool:
    """Whether a config asks for attention that looks back only."""
    return not getattr(config, "use_bidirectional_attention", False) and getattr(config, "is_causal", True)
