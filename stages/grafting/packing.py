"""Packing: all schemes of a prompt as one trie of route prefixes, and batches of tries as one row of tokens.

Under causal attention a token's state depends on the servings of the tokens up to it and on nothing else. So
schemes that agree on a prefix share its states: each node of the trie is one token computed once. The nodes of a
batch are laid out as one long row, ordered by who serves them, so that what one model multiplies lies together and
no leaf has to gather or scatter. Only attention goes back to prompts: (batch, node, node) with the mask "is an
ancestor". Position id = depth.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from .routes import Serving


class Registry:
    """Numbers distinct servings in the order they are first seen."""

    def __init__(self) -> None:
        self.servings: list[Serving] = []
        self._numbers: dict[Serving, int] = {}

    def number(self, serving: Serving) -> int:
        if serving not in self._numbers:
            self._numbers[serving] = len(self.servings)
            self.servings.append(serving)
        return self._numbers[serving]

    def ranks(self) -> Int[Tensor, " serving"]:
        """The place of each serving in an order that keeps alike servings together."""
        order = sorted(range(len(self.servings)), key=lambda number: _sortable(self.servings[number]))
        ranks = torch.empty(len(order), dtype=torch.long)
        ranks[torch.tensor(order, dtype=torch.long)] = torch.arange(len(order))
        return ranks


def _sortable(serving: Serving) -> tuple[tuple[int, ...], ...]:
    return tuple(owner if isinstance(owner, tuple) else (owner,) for owner in serving)


@dataclass(frozen=True)
class Trie:
    """The distinct route prefixes of all schemes of a prompt. Nodes are numbered, parents before children.

    depths, servings: of each node. ancestors[i, j]: whether node j is i or before it.
    read_nodes, read_servings: where logits are read, and who serves the readout there; distinct pairs.
    read_steps: which of the read tokens, from 0. reads[s, t]: the read of step t under scheme s.
    """

    depths: Int[Tensor, " node"]
    servings: Int[Tensor, " node"]
    ancestors: Bool[Tensor, "node node"]
    read_nodes: Int[Tensor, " read"]
    read_servings: Int[Tensor, " read"]
    read_steps: Int[Tensor, " read"]
    reads: Int[Tensor, "scheme step"]


def build_trie(routes: Sequence[Sequence[tuple[int, int]]], n_steps: int) -> Trie:
    """The trie of some routes of one length, the last n_steps tokens of which are read.

    routes: for each scheme, for each token, the numbers of its (trunk, readout) servings. Two tokens are one
    node when their trunk servings and those of all tokens before them agree.
    """
    children: dict[tuple[int, int], int] = {}
    parents: list[int] = []
    depths: list[int] = []
    servings: list[int] = []
    read_numbers: dict[tuple[int, int], int] = {}
    reads = []
    for route in routes:
        node, scheme_reads = -1, []
        for depth, (trunk, readout) in enumerate(route):
            child = children.setdefault((node, trunk), len(parents))
            if child == len(parents):
                parents.append(node)
                depths.append(depth)
                servings.append(trunk)
            node = child
            if depth >= len(route) - n_steps:
                scheme_reads.append(read_numbers.setdefault((node, readout), len(read_numbers)))
        reads.append(scheme_reads)
    return Trie(
        depths=torch.tensor(depths),
        servings=torch.tensor(servings),
        ancestors=_ancestors(parents, max(depths)),
        read_nodes=torch.tensor([node for node, _ in read_numbers]),
        read_servings=torch.tensor([readout for _, readout in read_numbers]),
        read_steps=torch.tensor([depths[node] for node, _ in read_numbers]) - (len(routes[0]) - n_steps),
        reads=torch.tensor(reads),
    )


def _ancestors(parents: Sequence[int], deepest: int) -> Bool[Tensor, "node node"]:
    """Whether node j is node i or one before it. All nodes climb together; a root, whose parent is -1, stays."""
    nodes = torch.arange(len(parents))
    above = torch.where(torch.tensor(parents) < 0, nodes, torch.tensor(parents))
    reached, ancestors = nodes, torch.eye(len(parents), dtype=torch.bool)
    for _ in range(deepest):
        reached = above[reached]
        ancestors[nodes, reached] = True
    return ancestors


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


@dataclass(frozen=True)
class Batch:
    """Some packed prompts as one row of tokens. Indices live on the device of the pass.

    to_padded: for each place of the padded (batch, node) grid, its row; to_rows: for each row, its place in
    the grid; both None where the row already is the grid. read_rows: the rows that are read, in readout
    order; read_prompts, read_steps: what for. reads[b]: for scheme and step of prompt b, the number of its read.
    """

    input_ids: Int[Tensor, "1 row"]
    position_ids: Int[Tensor, "1 row"]
    trunk: Groups
    readout: Groups
    n_prompts: int
    n_nodes: int
    to_padded: Int[Tensor, " place"] | None
    to_rows: Int[Tensor, " row"] | None
    allowed: Bool[Tensor, "mask_batch node node"]
    distances: Int[Tensor, "mask_batch node node"]
    read_rows: Int[Tensor, " read"]
    read_prompts: Int[Tensor, " read"]
    read_steps: Int[Tensor, " read"]
    reads: tuple[Int[Tensor, "scheme _"], ...]
    masks: dict[Hashable, Tensor] = field(default_factory=dict)

    def mask(self, window: int | None, dtype: torch.dtype) -> Float[Tensor, "mask_batch 1 node node"]:
        """What to add to attention scores: 0 for an ancestor (nearer than `window` tokens), else -inf."""
        if window not in self.masks:
            allowed = self.allowed if window is None else self.allowed & (self.distances < window)
            blocked = torch.zeros(allowed.shape, dtype=dtype, device=allowed.device)
            self.masks[window] = blocked.masked_fill_(~allowed, torch.finfo(dtype).min).unsqueeze(1)
        return self.masks[window]


def build_batch(
    tries: Sequence[Trie],
    tokens: Sequence[Int[Tensor, " _"]],
    trunks: Registry,
    readouts: Registry,
    device: torch.device,
) -> Batch:
    """Lay out packed prompts as one row. tokens: for each prompt, its token at every depth."""
    n_prompts, n_nodes = len(tries), max(len(trie.depths) for trie in tries)
    servings = torch.cat([trie.servings for trie in tries])
    order = torch.argsort(trunks.ranks()[servings], stable=True)
    places = torch.cat([torch.arange(len(trie.depths)) + b * n_nodes for b, trie in enumerate(tries)])[order]
    rows = torch.zeros(n_prompts * n_nodes, dtype=torch.long)  # a place without a node reads row 0, in vain
    rows[places] = torch.arange(len(places))
    aligned = len(places) == n_prompts * n_nodes and torch.equal(places, torch.arange(len(places)))

    read_servings = torch.cat([trie.read_servings for trie in tries])
    read_order = torch.argsort(readouts.ranks()[read_servings], stable=True)
    read_places = torch.cat([trie.read_nodes + b * n_nodes for b, trie in enumerate(tries)])[read_order]
    read_numbers = torch.empty_like(read_order)
    read_numbers[read_order] = torch.arange(len(read_order))
    n_reads = torch.tensor([len(trie.read_nodes) for trie in tries])
    starts = (n_reads.cumsum(0) - n_reads).tolist()

    # One mask serves all prompts of one shape; it is broadcast over the batch.
    shapes = tries[:1] if all(trie is tries[0] for trie in tries) else tries
    allowed = torch.eye(n_nodes, dtype=torch.bool).repeat(len(shapes), 1, 1)
    depths = torch.zeros(len(shapes), n_nodes, dtype=torch.long)
    for b, trie in enumerate(shapes):
        allowed[b, : len(trie.depths), : len(trie.depths)] = trie.ancestors
        depths[b, : len(trie.depths)] = trie.depths

    return Batch(
        input_ids=torch.cat([ids[trie.depths] for ids, trie in zip(tokens, tries, strict=True)])[order][
            None
        ].to(device),
        position_ids=torch.cat([trie.depths for trie in tries])[order][None].to(device),
        trunk=_groups(servings[order], trunks),
        readout=_groups(read_servings[read_order], readouts),
        n_prompts=n_prompts,
        n_nodes=n_nodes,
        to_padded=None if aligned else rows.to(device),
        to_rows=None if aligned else places.to(device),
        allowed=allowed.to(device),
        distances=(depths[:, :, None] - depths[:, None, :]).to(device),
        read_rows=rows[read_places].to(device),
        read_prompts=torch.arange(n_prompts).repeat_interleave(n_reads)[read_order],
        read_steps=torch.cat([trie.read_steps for trie in tries])[read_order],
        reads=tuple(read_numbers[trie.reads + start] for trie, start in zip(tries, starts, strict=True)),
    )


def _groups(ordered: Int[Tensor, " row"], registry: Registry) -> Groups:
    numbers, sizes = torch.unique_consecutive(ordered, return_counts=True)
    return Groups(tuple(registry.servings[number] for number in numbers.tolist()), tuple(sizes.tolist()))
