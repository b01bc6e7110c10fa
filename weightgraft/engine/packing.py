"""Packing: some prompts under all their schemes as one row of tokens, which splits between layers.

The nodes of a batch are laid out as one long row, ordered by who serves them, so that what one model multiplies lies together and
no leaf has to gather or scatter. Between layers at which schemes part, rows are copied and put into the order of the layers
that follow: the layers up to the next such place are a *segment*. Only attention goes back to prompts, in tiles of (query, key)
with the mask "is an ancestor". Position id = depth. layout.py builds it.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from .routes import Serving


@dataclass(frozen=True)
class Groups:
    """Rows in the order of their servings: `sizes[i]` rows are served by `servings[i]`."""

    servings: tuple[Serving, ...]
    sizes: tuple[int, ...]

    def between(self, start: int, stop: int) -> "Groups":
        """The groups of rows start to stop."""
        servings, sizes, first = [], [], 0
        for serving, size in zip(self.servings, self.sizes, strict=True):
            size_inside = min(first + size, stop) - max(first, start)
            if size_inside > 0:
                servings.append(serving)
                sizes.append(size_inside)
            first += size
        return Groups(tuple(servings), tuple(sizes))

    def of(self, rows: Int[np.ndarray, " _"]) -> "Groups":
        """The groups of some rows, which are given in order."""
        ends = np.searchsorted(rows, np.cumsum(self.sizes))
        sizes = np.diff(ends, prepend=0).tolist()
        there = [(serving, size) for serving, size in zip(self.servings, sizes, strict=True) if size]
        return Groups(tuple(serving for serving, _ in there), tuple(size for _, size in there))


@dataclass(frozen=True)
class Tiles:
    """Rows as a grid of tiles: (tile, query) that attend to (tile, key). Padding repeats a node of the tile.

    queries, keys: for each place of the grid, its row; keys None: the same grid; both None: the rows are the grid.
    to_rows: for each row, or for each that is computed, its place among the queries. shape: tiles, queries, keys.
    kinds: of each tile, which of the distinct ones it is. allowed, query_depths, key_depths: of the distinct ones. cuts: for the
    layers in which attention is cut, what a query does not see of what it attends to otherwise.
    """

    queries: Int[Tensor, " place"] | None
    keys: Int[Tensor, " key_place"] | None
    to_rows: Int[Tensor, " row"] | None
    shape: tuple[int, int, int]
    kinds: Int[Tensor, " tile"]
    allowed: Bool[Tensor, "kind query key"]
    query_depths: Int[Tensor, "kind query"]
    key_depths: Int[Tensor, "kind key"]
    cuts: Mapping[int, Bool[Tensor, "kind query key"]]

    def near(self, window: int | None, layer: int) -> Bool[Tensor, "kind query key"]:
        """Whether a query attends to a key: an ancestor, nearer than `window` tokens, and not cut from it in this layer."""
        seen = self.allowed if layer not in self.cuts else self.allowed & ~self.cuts[layer]
        if window is None:
            return seen
        return seen & (self.query_depths[:, :, None] - self.key_depths[:, None, :] < window)

    def mask(
        self, window: int | None, layer: int, dtype: torch.dtype
    ) -> Float[Tensor, "mask_tile 1 query key"]:
        """What to add to attention scores: 0 where a query attends to a key, else -inf. Where all tiles are of one kind, one mask
        serves them all; it is broadcast."""
        blocked = torch.zeros(self.allowed.shape, dtype=dtype, device=self.allowed.device)
        mask = blocked.masked_fill_(~self.near(window, layer), torch.finfo(dtype).min).unsqueeze(1)
        return mask if len(mask) == 1 else mask.index_select(0, self.kinds)


@dataclass(frozen=True)
class Segment:
    """Layers with the same rows, from layer `start` on.

    groups: who serves them; a serving tells the truth about these layers only. lower: for each row, the row of the segment before
    that it comes from; origin: the same of the first segment. Both None where they are the rows themselves.
    """

    start: int
    groups: Groups
    tiles: Tiles
    lower: Int[Tensor, " row"] | None
    origin: Int[Tensor, " row"] | None


@dataclass(frozen=True)
class LastRows:
    """The rows that are read, each once, in the order of rows. Once the last layer has its keys and values, nothing
    looks at any other row: the rest of it, from queries to FFN, is computed for these only."""

    rows: Int[Tensor, " seen"]
    groups: Groups
    tiles: Tiles


@dataclass(frozen=True)
class Batch:
    """Some packed prompts. Indices live on the device of the pass. input_ids, position_ids: of the first segment's rows.

    read_rows: the rows of the last segment that are read, in readout order; read_prompts, read_steps: what for.
    reads: for some prompts that have the same trie, and for each of them, scheme and step, the number of its read.
    last: what the last layer is computed for.
    """

    input_ids: Int[Tensor, "1 row"]
    position_ids: Int[Tensor, "1 row"]
    segments: tuple[Segment, ...]
    last: LastRows
    readout: Groups
    read_rows: Int[Tensor, " read"]
    read_prompts: Int[Tensor, " read"]
    read_steps: Int[Tensor, " read"]
    reads: tuple[tuple[Int[Tensor, " _"], Int[Tensor, "_ scheme _"]], ...]
