"""Attention over packed prompts, as an attention implementation that transformers' own models call."""

import sys
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, cast

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers import PreTrainedConfig
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS, AttentionInterface

from .packing import Batch, Segment, Tiles
from .routing import Routing

PACKED = "packed_grafting"
_current: ContextVar["Pass"] = ContextVar("the packed pass that runs")


class Pass:
    """A pass over a packed batch: which segment it is in, and what is kept while it is.

    routing: of the leaves of all layers, told who serves each segment's rows. contained: whether numbers that are not finite are
    kept from tokens that do not look at them (they get there as 0 x NaN), which takes time.
    """

    def __init__(self, batch: Batch, routing: Routing, contained: bool):
        self.batch, self.routing, self.contained = batch, routing, contained
        self._starts = {segment.start: segment for segment in batch.segments}
        self.read: Tensor | None = None
        self._enter(self._starts[0])

    def _enter(self, segment: Segment) -> None:
        self.segment = segment
        self.routing.start(segment.groups, self.batch.input_ids.device)
        self._masks: dict[Hashable, Tensor] = {}
        self._moved: dict[int, tuple[Tensor, Tensor]] = {}

    def before_layer(
        self, layer: int, given: tuple, named: dict[str, Any]
    ) -> tuple[tuple, dict[str, Any]] | None:
        """What a decoder layer is called with, as the rows of its segment. Hidden states have those of the layer before;
        what a model computes once for all its layers (positions, rotary embeddings) those of the first segment."""
        entered = layer > 0 and layer in self._starts
        if entered:
            self._enter(self._starts[layer])
        if self.segment.lower is None:
            return None
        states = given[0] if given else named["hidden_states"]
        if entered:
            states = states.index_select(1, self.segment.lower)
        others = self._of_segment(given[1:]), self._of_segment(named)
        if given:
            return (states, *others[0]), others[1]
        return (), others[1] | {"hidden_states": states}

    def _of_segment(self, thing: Any) -> Any:
        """Tensors with a place for every row of the first segment, with one for every row of this one."""
        if isinstance(thing, (tuple, list)):
            return type(thing)(self._of_segment(part) for part in thing)
        if isinstance(thing, dict):
            return {name: self._of_segment(part) for name, part in thing.items()}
        n_rows, origin = self.batch.input_ids.shape[1], self.segment.origin
        if not isinstance(thing, Tensor) or thing.dim() < 2 or thing.shape[1] != n_rows or origin is None:
            return thing
        if id(thing) not in self._moved:  # with the tensor itself, so that no other one gets its id meanwhile
            self._moved[id(thing)] = thing, thing.index_select(1, origin)
        return self._moved[id(thing)][1]

    def mask(self, tiles: Tiles, window: int | None, layer: int, dtype: torch.dtype) -> Tensor:
        """The tiles' mask, made once in a segment, and once more for each layer in which attention is cut."""
        known = id(tiles), window, layer if layer in tiles.cuts else None
        if known not in self._masks:
            self._masks[known] = tiles.mask(window, layer, dtype)
        return self._masks[known]


def register_packed_attention() -> None:
    """Make `packed_attention` known to transformers under the name PACKED (it changes no model)."""
    AttentionInterface.register(PACKED, packed_attention)


@contextmanager
def passing(batch: Batch, routing: Routing, contained: bool) -> Iterator[Pass]:
    """A pass over a packed batch. Not every model hands what its forward gets down to its attention, so this does. The routing
    holds its indices while it runs, and drops them also when it fails."""
    token = _current.set(Pass(batch, routing, contained))
    try:
        yield _current.get()
    finally:
        _current.reset(token)
        routing.clear()


def split_rows(layers: Sequence[nn.Module]) -> None:
    """Make decoder layers split their rows where a pass says so. By hooks, since models read attributes of their layers."""
    for number, layer in enumerate(layers):

        def before(_: nn.Module, given: tuple, named: dict[str, Any], layer: int = number) -> Any:
            return _current.get().before_layer(layer, given, named)

        layer.register_forward_pre_hook(before, with_kwargs=True)


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
    """Regroup the rows of a batch as tiles, let every node attend to its ancestors, and put the rows back.

    The signature is transformers' attention interface. A sliding window counts tokens of the prompt (depth), not nodes.
    In the last layer only the rows that are read get an output; the others get zeros, which nothing reads.
    """
    now, n_rows = _current.get(), query.shape[2]
    layer = cast(int, module.layer_idx)
    last = layer == cast(PreTrainedConfig, module.config).num_hidden_layers - 1
    tiles = now.batch.last.tiles if last else now.segment.tiles
    n_tiles, n_queries, n_keys = tiles.shape
    mask = now.mask(tiles, sliding_window, layer, query.dtype)
    if tiles.keys is None:
        query, key, value = _all_to_grid(query, key, value, tiles.queries, (n_tiles, n_queries))
    else:
        query = _to_grid(query, tiles.queries, (n_tiles, n_queries))
        key, value = (_to_grid(states, tiles.keys, (n_tiles, n_keys)) for states in (key, value))
    spoiled = None
    if now.contained:
        bad = ~(key.isfinite().all(3) & value.isfinite().all(3)).all(1)
        key, value = (states.masked_fill(bad[:, None, :, None], 0) for states in (key, value))
        spoiled = (tiles.near(sliding_window, layer)[tiles.kinds] & bad[:, None]).any(2)
    if softcap is None:
        states, _ = ALL_ATTENTION_FUNCTIONS["sdpa"](
            module, query, key, value, mask, scaling=scaling, is_causal=False
        )
    else:  # sdpa cannot cap scores; every modeling file has its own eager attention
        states, _ = _eager_of(module)(module, query, key, value, mask, scaling=scaling, softcap=softcap)
    if spoiled is not None:
        states = states.masked_fill(spoiled[:, :, None, None], torch.nan)
    states = states.flatten(0, 1)
    if tiles.to_rows is not None:
        states = states.index_select(0, tiles.to_rows)
    if last:
        rows = states.new_zeros(n_rows, *states.shape[1:])
        states = rows.index_copy_(0, now.batch.last.rows, states)
    return states[None], None


def _eager_of(module: nn.Module) -> Callable[..., tuple[Tensor, Tensor]]:
    """Eager attention of the file that a module's class was written in; for a class of one's own, of the first of those that it is
    made of, or Gemma 2's."""
    for part in type(module).__mro__:
        if hasattr(file := sys.modules.get(part.__module__), "eager_attention_forward"):
            return cast(Any, file).eager_attention_forward
    # Seldom needed, and it takes a while.
    from transformers.models.gemma2 import modeling_gemma2

    return modeling_gemma2.eager_attention_forward


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
        rows = _current.get().batch.last.rows
        served = self.module(states.index_select(1, rows))
        return served.new_zeros(1, states.shape[1], served.shape[2]).index_copy_(1, rows, served)


class Readings(nn.Module):
    """In the place of a backbone's final norm: keeps the rows that are read in the pass. What it returns has the shape that the
    backbone expects, that of the first segment's rows, and is read by nobody."""

    def forward(self, states: Float[Tensor, "1 row width"]) -> Float[Tensor, "1 first_row width"]:
        now = _current.get()
        now.read = states[0].index_select(0, now.batch.read_rows)
        return states.new_zeros(()).expand(1, now.batch.input_ids.shape[1], states.shape[2])


def looks_back_only(config: object) -> bool:
    """Whether a config asks for attention that looks back only."""
    return not getattr(config, "use_bidirectional_attention", False) and getattr(config, "is_causal", True)
