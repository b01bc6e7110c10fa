"""States: what is computed once for several schemes of a prompt.

Under causal attention, the state of a token after a layer depends on what serves the cells (this token or one before it, this
layer or one below it) and on nothing else. So for every layer there is a trie of the schemes' routes, cut after that layer: each of
its nodes is one token computed once. The tries refine each other from layer to layer: rows split where schemes part.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Int

from .cuts import Unseen
from .routes import Serving

KEYS = 192  # nodes that attend to each other as one tile
TILE = 128  # of a tile, where there are more; it attends to a prompt's length more at most


class Registry:
    """Numbers distinct servings in the order they are first seen, one that does not see everything apart from one that does.
    Once all are there, it compares them slot by slot."""

    def __init__(self) -> None:
        self.servings: list[Serving] = []
        self.unseen: list[Unseen] = []
        self.cut = False  # whether any does not see everything
        self._numbers: dict[tuple[Serving, Unseen], int] = {}
        self._alike: dict[int, Int[np.ndarray, " serving"]] = {}
        self._ranks: dict[tuple[int, int], Int[np.ndarray, " serving"]] = {}

    def number(self, serving: Serving, unseen: Unseen = ()) -> int:
        if (serving, unseen) not in self._numbers:
            self._numbers[serving, unseen] = len(self.servings)
            self.servings.append(serving)
            self.unseen.append(unseen)
            self.cut |= any(unseen)
        return self._numbers[serving, unseen]

    def alike(self, stop: int, n_layers: int = 0) -> Int[np.ndarray, " serving"]:
        """A number for each serving, the same for those that agree in all slots before `stop`, the end of the first n_layers
        layers, and see the same there."""
        if stop not in self._alike:
            seen: dict[tuple[Serving, Unseen], int] = {}
            numbers = [
                seen.setdefault((serving[:stop], unseen[:n_layers]), len(seen))
                for serving, unseen in zip(self.servings, self.unseen, strict=True)
            ]
            self._alike[stop] = np.array(numbers, np.int64)
        return self._alike[stop]

    def ranks(self, start: int, stop: int) -> Int[np.ndarray, " serving"]:
        """The place of each serving, as far as its slots from start to stop go, in an order that keeps alike ones together;
        equal for equal ones."""
        if (start, stop) not in self._ranks:
            parts = [serving[start:stop] for serving in self.servings]
            places = {part: place for place, part in enumerate(sorted(set(parts), key=_sortable))}
            self._ranks[start, stop] = np.array([places[part] for part in parts], np.int64)
        return self._ranks[start, stop]


def _sortable(serving: Serving) -> tuple[tuple[int, ...], ...]:
    return tuple(owner if isinstance(owner, tuple) else (owner,) for owner in serving)


@dataclass(frozen=True)
class Tile:
    """Some nodes of a trie that attend together. keys: the nodes that they attend to, in order. allowed[q, k]: whether key k is
    query q or a token before it."""

    queries: Int[np.ndarray, " query"]
    keys: Int[np.ndarray, " key"]
    allowed: Bool[np.ndarray, "query key"]

    def only(self, nodes: Int[np.ndarray, " _"]) -> "Tile":
        """The same for those queries that are among some nodes."""
        kept = np.isin(self.queries, nodes)
        return Tile(self.queries[kept], self.keys, self.allowed[kept])


@dataclass(frozen=True)
class Level:
    """The trie of a prompt's routes, cut after one layer. Nodes are numbered, parents before children, subtrees together.

    nodes: of each scheme and token. schemes, depths: of each node, a scheme that has it, and which token it is. servings: the
    number of a serving that the node has, as far as this layer. paths: the nodes from the first token to each node; what comes
    after it there means nothing.
    """

    nodes: Int[np.ndarray, "scheme token"]
    schemes: Int[np.ndarray, " node"]
    depths: Int[np.ndarray, " node"]
    servings: Int[np.ndarray, " node"]
    paths: Int[np.ndarray, "node token"]

    def __len__(self) -> int:
        return len(self.depths)

    def above(self, lower: "Level") -> Int[np.ndarray, " node"]:
        """For each node, the node of a level of lower layers that it comes from."""
        return lower.nodes[self.schemes, self.depths]

    @cached_property
    def tiles(self) -> tuple[Tile, ...]:
        """All nodes, some at a time: attention is quadratic within a tile. Subtrees lie together, so beside its own nodes a tile
        attends to one path only."""
        n_tiles = 1 if len(self) <= KEYS else -(-len(self) // TILE)
        return tuple(self.tile(some) for some in np.array_split(np.arange(len(self)), n_tiles))

    def tile(self, queries: Int[np.ndarray, " query"]) -> Tile:
        """Some nodes with all that they attend to."""
        paths = self.paths[queries]
        upto = np.arange(paths.shape[1]) <= self.depths[queries, None]
        keys = np.unique(paths[upto])
        allowed = np.zeros((len(queries), len(keys)), bool)
        allowed[upto.nonzero()[0], np.searchsorted(keys, paths[upto])] = True
        return Tile(queries, keys, allowed)


def build_level(routes: Int[np.ndarray, "scheme token"], alike: Int[np.ndarray, " serving"]) -> Level:
    """The trie of routes of one length. routes: the serving of each token under each scheme. alike: for each serving a number;
    servings with one number are not told apart."""
    n_schemes, n_tokens = routes.shape
    keys = alike[routes]
    order = np.lexsort(
        keys.T[::-1]
    )  # by the first token, then the second ...: schemes with a common prefix are neighbours
    keys = keys[order]
    new = np.ones((n_schemes, n_tokens), bool)
    new[1:] = np.logical_or.accumulate(keys[1:] != keys[:-1], axis=1)
    numbers = new.cumsum().reshape(n_schemes, n_tokens) - 1
    first = np.maximum.accumulate(np.where(new, np.arange(n_schemes)[:, None], 0), axis=0)
    in_order = numbers[first, np.arange(n_tokens)]
    nodes = np.empty_like(in_order)
    nodes[order] = in_order
    lines, depths = new.nonzero()
    schemes = order[lines]
    return Level(nodes, schemes, depths, routes[schemes, depths], in_order[lines])


@dataclass(frozen=True)
class Trie:
    """What is computed for a prompt: levels[i] is that of the layers from starts[i] on; it has more nodes than the one before.

    read_nodes, read_servings: nodes of the last level where logits are read, and who serves the readout there; distinct pairs.
    read_steps: which of the read tokens, from 0. reads[s, t]: the read of step t under scheme s.
    """

    levels: tuple[Level, ...]
    starts: tuple[int, ...]
    read_nodes: Int[np.ndarray, " read"]
    read_servings: Int[np.ndarray, " read"]
    read_steps: Int[np.ndarray, " read"]
    reads: Int[np.ndarray, "scheme step"]

    @property
    def rows(self) -> int:
        """Tokens that the last layer computes; no layer has more."""
        return len(self.levels[-1])

    def token_layers(self, n_layers: int) -> int:
        """Tokens computed, summed over layers."""
        stops = (*self.starts[1:], n_layers)
        return sum(
            (stop - start) * len(level)
            for level, start, stop in zip(self.levels, self.starts, stops, strict=True)
        )

    def level_at(self, layer: int) -> Level:
        return self.levels[sum(start <= layer for start in self.starts) - 1]


def build_trie(
    routes: Int[np.ndarray, "scheme token"],
    readouts: Int[np.ndarray, "scheme step"],
    alike: Callable[[int], Int[np.ndarray, " serving"]],
    n_layers: int,
) -> Trie:
    """The levels of some routes of one length, whose last tokens are read.

    routes: the serving of each token under each scheme; readouts: of the last tokens, that of the readout. alike: gives, for a
    layer, a number for each serving, the same for those that agree in all slots up to that layer.
    """
    built = {layer: build_level(routes, alike(layer)) for layer in {0, n_layers - 1}}

    def split(first: int, last: int) -> None:
        # A level as large as a coarser one is the same, and so are all between them.
        if last - first > 1 and len(built[first]) < len(built[last]):
            middle = (first + last) // 2
            built[middle] = build_level(routes, alike(middle))
            split(first, middle)
            split(middle, last)

    split(0, n_layers - 1)
    starts: list[int] = []
    for layer in sorted(built):
        if not starts or len(built[layer]) > len(built[starts[-1]]):
            starts.append(layer)
    last = built[starts[-1]]
    first_step = routes.shape[1] - readouts.shape[1]
    pairs = np.stack([last.nodes[:, first_step:], readouts], axis=-1).reshape(-1, 2)
    distinct, reads = np.unique(pairs, axis=0, return_inverse=True)
    return Trie(
        levels=tuple(built[start] for start in starts),
        starts=tuple(starts),
        read_nodes=distinct[:, 0],
        read_servings=distinct[:, 1],
        read_steps=last.depths[distinct[:, 0]] - first_step,
        reads=reads.reshape(readouts.shape),
    )
