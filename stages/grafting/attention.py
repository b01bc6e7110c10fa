"""Attention over packed prompts, as an attention implementation that transformers' own models call."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from jaxtyping import Float
from torch import Tensor, nn
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
    """
    packed = _current.get()
    grid = (packed.n_prompts, packed.n_nodes)
    mask = packed.mask(sliding_window, query.dtype)
    query, key, value = (_to_grid(states, packed, grid) for states in (query, key, value))
    if softcap is None:
        states, _ = ALL_ATTENTION_FUNCTIONS["sdpa"](
            module, query, key, value, mask, scaling=scaling, is_causal=False
        )
    else:  # sdpa cannot cap scores; every modeling file has its own eager attention
        eager = sys.modules[type(module).__module__].eager_attention_forward
        states, _ = eager(module, query, key, value, mask, scaling=scaling, softcap=softcap)
    states = states.flatten(0, 1)
    return (states if packed.to_rows is None else states.index_select(0, packed.to_rows))[None], None


def _to_grid(
    states: Float[Tensor, "1 head row dim"], packed: Batch, grid: tuple[int, int]
) -> Float[Tensor, "batch head node dim"]:
    """The rows as a grid of prompts. Whichever of heads and rows comes first in memory, long runs are copied."""
    n_heads, width = states.shape[1], states.shape[3]
    if packed.to_padded is not None and states.is_contiguous():
        placed = states[0].index_select(1, packed.to_padded)
        return placed.reshape(n_heads, *grid, width).transpose(0, 1)
    rows = states[0].transpose(0, 1)
    if packed.to_padded is not None:
        rows = rows.reshape(-1, n_heads * width).index_select(0, packed.to_padded)
    return rows.reshape(*grid, n_heads, width).transpose(1, 2)


def looks_back_only(config: object) -> bool:
    """Whether a config asks for attention that looks back only."""
    return not getattr(config, "use_bidirectional_attention", False) and getattr(config, "is_causal", True)
