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
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

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
class LastRows:
    """The rows that are read, each once, in the order of rows. Once the last layer has its keys and values, nothing
    looks at any other row: the rest of it, from queries to FFN, is computed for these only.

    groups: who serves them. nodes: the same as a grid of prompts, as nodes; padded with a node that is read anyway.
    to_padded: for each place of this grid, its row; to_rows: for each of the rows, a place of it in the grid.
    """

    rows: Int[Tensor, " seen"]
    groups: Groups
    nodes: Int[Tensor, "batch most"]
    to_padded: Int[Tensor, " place"]
    to_rows: Int[Tensor, " seen"]


@dataclass(frozen=True)
class Batch:
    """Some packed prompts as one row of tokens. Indices live on the device of the pass.

    to_padded: for each place of the padded (batch, node) grid, its row; to_rows: for each row, its place in
    the grid; both None where the row already is the grid. kinds: of each prompt, which of the distinct tries
    is its own. allowed, depths: of each distinct trie, padded. read_rows: the rows that are read, in readout order;
    read_prompts, read_steps: what for. reads: for each distinct trie, the prompts that have it, and for each of
    them, scheme and step, the number of its read. last: what the last layer is computed for.
    """

    input_ids: Int[Tensor, "1 row"]
    position_ids: Int[Tensor, "1 row"]
    trunk: Groups
    readout: Groups
    n_prompts: int
    n_nodes: int
    to_padded: Int[Tensor, " place"] | None
    to_rows: Int[Tensor, " row"] | None
    kinds: Int[Tensor, " batch"]
    allowed: Bool[Tensor, "kind node node"]
    depths: Int[Tensor, "kind node"]
    read_rows: Int[Tensor, " read"]
    read_prompts: Int[Tensor, " read"]
    read_steps: Int[Tensor, " read"]
    reads: tuple[tuple[Int[Tensor, " _"], Int[Tensor, "_ scheme _"]], ...]
    last: LastRows
    masks: dict[Hashable, Tensor] = field(default_factory=dict)

    def mask(self, window: int | None, dtype: torch.dtype) -> Float[Tensor, "mask_batch 1 node node"]:
        """What to add to attention scores: 0 for an ancestor (nearer than `window` tokens), else -inf. One mask
        serves all prompts of one trie; it is broadcast over the batch."""
        if window not in self.masks:
            allowed = self.allowed
            if window is not None:
                allowed = allowed & (self.depths[:, :, None] - self.depths[:, None, :] < window)
            blocked = torch.zeros(allowed.shape, dtype=dtype, device=allowed.device)
            mask = blocked.masked_fill_(~allowed, torch.finfo(dtype).min).unsqueeze(1)
            self.masks[window] = mask if len(mask) == 1 else mask.index_select(0, self.kinds)
        return self.masks[window]

    def last_mask(self, window: int | None, dtype: torch.dtype) -> Float[Tensor, "batch 1 most node"]:
        """The mask of the last layer: for each prompt, of the nodes that are read."""
        if ("last", window) not in self.masks:
            mask = self.mask(window, dtype).expand(self.n_prompts, 1, self.n_nodes, self.n_nodes)
            nodes = self.last.nodes[:, None, :, None].expand(-1, 1, -1, self.n_nodes)
            self.masks["last", window] = mask.gather(2, nodes)
        return self.masks["last", window]


def build_batch(
    tries: Sequence[Trie],
    tokens: Sequence[Sequence[int]],
    trunks: Registry,
    readouts: Registry,
    device: torch.device,
) -> Batch:
    """Lay out packed prompts as one row. tokens: for each prompt, its token at every depth."""
    # Each distinct trie is looked at once, then all prompts together: with a tiny model, a few tensor operations
    # for every prompt would be seen in the time of the whole pass.
    distinct = list({id(trie): trie for trie in tries}.values())
    numbers = {id(trie): number for number, trie in enumerate(distinct)}
    kinds = torch.tensor([numbers[id(trie)] for trie in tries])
    n_prompts, n_nodes = len(tries), max(len(trie.depths) for trie in distinct)

    there = _padded([torch.ones_like(trie.depths, dtype=torch.bool) for trie in distinct])[kinds]
    depths = _padded([trie.depths for trie in distinct])
    servings = _padded([trie.servings for trie in distinct])[kinds][there]
    order = torch.argsort(trunks.ranks()[servings], stable=True)
    in_order = servings[order]
    places = there.flatten().nonzero()[:, 0][order]
    rows = torch.zeros(n_prompts * n_nodes, dtype=torch.long)  # a place without a node reads row 0, in vain
    rows[places] = torch.arange(len(places))
    aligned = len(places) == n_prompts * n_nodes and torch.equal(places, torch.arange(len(places)))
    position_ids = depths[kinds].flatten()[places]
    input_ids = _padded([torch.tensor(ids) for ids in tokens])[places // n_nodes, position_ids]

    read_there = _padded([torch.ones_like(trie.read_nodes, dtype=torch.bool) for trie in distinct])[kinds]
    read_servings = _padded([trie.read_servings for trie in distinct])[kinds][read_there]
    read_nodes = _padded([trie.read_nodes for trie in distinct])[kinds]
    read_steps = _padded([trie.read_steps for trie in distinct])[kinds][read_there]
    read_prompts = read_there.nonzero()[:, 0]
    read_order = torch.argsort(readouts.ranks()[read_servings], stable=True)
    read_numbers = torch.empty_like(read_order)
    read_numbers[read_order] = torch.arange(len(read_order))
    read_rows = rows[(read_prompts * n_nodes + read_nodes[read_there])[read_order]]
    n_reads = read_there.sum(1)
    starts = n_reads.cumsum(0) - n_reads
    alike = [(kinds == number).nonzero()[:, 0] for number in range(len(distinct))]

    allowed = torch.eye(n_nodes, dtype=torch.bool).repeat(len(distinct), 1, 1)
    for number, trie in enumerate(distinct):
        allowed[number, : len(trie.depths), : len(trie.depths)] = trie.ancestors

    # The first of a prompt's reads stands in where it has fewer than others: padding that is computed in vain.
    seen_nodes = torch.where(read_there, read_nodes, read_nodes[:, :1])
    seen_places = torch.arange(n_prompts)[:, None] * n_nodes + seen_nodes
    seen_padded = rows[seen_places].flatten()
    seen_rows = read_rows.unique()
    place_of_row = torch.empty(len(places), dtype=torch.long)
    place_of_row[seen_padded] = torch.arange(len(seen_padded))

    return Batch(
        input_ids=input_ids[None].to(device),
        position_ids=position_ids[None].to(device),
        trunk=_groups(in_order, trunks),
        readout=_groups(read_servings[read_order], readouts),
        n_prompts=n_prompts,
        n_nodes=n_nodes,
        to_padded=None if aligned else rows.to(device),
        to_rows=None if aligned else places.to(device),
        kinds=kinds.to(device),
        allowed=allowed.to(device),
        depths=depths.to(device),
        read_rows=read_rows.to(device),
        read_prompts=read_prompts[read_order],
        read_steps=read_steps[read_order],
        reads=tuple(
            (some, read_numbers[trie.reads + starts[some, None, None]])
            for some, trie in zip(alike, distinct, strict=True)
        ),
        last=LastRows(
            rows=seen_rows.to(device),
            groups=_groups(in_order[seen_rows], trunks),
            nodes=seen_nodes.to(device),
            to_padded=seen_padded.to(device),
            to_rows=place_of_row[seen_rows].to(device),
        ),
    )


def _padded(tensors: Sequence[Tensor]) -> Shaped[Tensor, "tensor longest"]:
    return pad_sequence(list(tensors), batch_first=True)


def _groups(ordered: Int[Tensor, " row"], registry: Registry) -> Groups:
    numbers, sizes = torch.unique_consecutive(ordered, return_counts=True)
    return Groups(tuple(registry.servings[number] for number in numbers.tolist()), tuple(sizes.tolist()))
