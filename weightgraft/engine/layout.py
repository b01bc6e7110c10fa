"""Layout: from the tries of some prompts to the rows, tiles and indices of a pass."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise

import numpy as np
import torch
from jaxtyping import Bool, Int, Shaped
from torch import Tensor

from .cuts import NOTHING
from .packing import Batch, Groups, LastRows, Segment, Tiles
from .states import Level, Registry, Tile, Trie


@dataclass(frozen=True)
class _Run:
    """`count` prompts with one trie, one after the other, and something that each of them has `size` of. Before these are put into
    the order of rows they are numbered prompt by prompt, from `first` on."""

    trie: Trie
    count: int
    size: int
    first: int

    def numbers(self, own: Int[np.ndarray, "..."]) -> Int[np.ndarray, "..."]:
        """From numbers within a prompt to those in each of these prompts."""
        return (self.first + self.size * np.arange(self.count)).reshape(-1, *[1] * own.ndim) + own


def _runs(alike: Sequence[Sequence[Trie]], sizes: Sequence[int]) -> list[_Run]:
    """sizes: of the tries of each run."""
    counts = [len(same) for same in alike]
    firsts = np.cumsum([0, *(count * size for count, size in zip(counts, sizes, strict=True))]).tolist()
    return [
        _Run(same[0], count, size, first)
        for same, count, size, first in zip(alike, counts, sizes, firsts[:-1], strict=True)
    ]


@dataclass(frozen=True)
class _Rows:
    """The rows of a segment before they are tensors. levels: of each run. nodes: of each row, the number of its node; rows: of
    each node, its row. groups: who serves them."""

    runs: list[_Run]
    levels: list[Level]
    nodes: Int[np.ndarray, " row"]
    rows: Int[np.ndarray, " node"]
    groups: Groups

    def per_row(self, values: Sequence[Int[np.ndarray, " _"]]) -> Int[np.ndarray, " row"]:
        """For each row, what its node has; values: for each run, those of its trie's nodes."""
        return _repeated(self.runs, values)[self.nodes]

    def lower(self, below: "_Rows") -> Int[np.ndarray, " row"]:
        """For each row, the row of the segment before that it comes from."""
        numbers = [
            run.numbers(level.above(lower)).ravel()
            for run, level, lower in zip(below.runs, self.levels, below.levels, strict=True)
        ]
        return below.rows[np.concatenate(numbers)[self.nodes]]


def _rows(alike: Sequence[Sequence[Trie]], start: int, slots: tuple[int, int], trunks: Registry) -> _Rows:
    """slots: those of the segment's layers, in a serving."""
    levels = [same[0].level_at(start) for same in alike]
    runs = _runs(alike, [len(level) for level in levels])
    servings = _repeated(runs, [level.servings for level in levels])
    nodes, groups = _grouped(servings, trunks, *slots)
    return _Rows(runs, levels, nodes, _inverse(nodes), groups)


def _repeated(runs: Sequence[_Run], values: Sequence[Int[np.ndarray, " _"]]) -> Int[np.ndarray, " all"]:
    return np.concatenate([np.tile(own, run.count) for run, own in zip(runs, values, strict=True)])


def _grouped(
    servings: Int[np.ndarray, " thing"], registry: Registry, start: int, stop: int
) -> tuple[Int[np.ndarray, " thing"], Groups]:
    """The order in which things served alike, as far as the slots from start to stop go, lie together; and who serves them."""
    ranks = registry.ranks(start, stop)[servings]
    order = np.argsort(ranks, kind="stable")
    firsts = np.flatnonzero(np.diff(ranks[order], prepend=-1))
    groups = Groups(
        tuple(registry.servings[number] for number in servings[order[firsts]].tolist()),
        tuple(np.diff(firsts, append=len(order)).tolist()),
    )
    return order, groups


def _inverse(order: Int[np.ndarray, " thing"]) -> Int[np.ndarray, " thing"]:
    inverse = np.empty_like(order)
    inverse[order] = np.arange(len(order))
    return inverse


def build_batch(
    tries: Sequence[Trie],
    tokens: Sequence[Sequence[int]],
    trunks: Registry,
    readouts: Registry,
    ends: Sequence[int],
    device: torch.device,
) -> Batch:
    """Lay out packed prompts. tokens: for each prompt, its token at every depth. ends: for each layer, how many slots of a
    serving belong to it or to what comes before it."""

    def index(numbers: Shaped[np.ndarray, "..."]) -> Shaped[Tensor, "..."]:
        return torch.from_numpy(numbers).to(device)

    # Prompts with one trie are looked at together: with a tiny model, a few operations for every prompt would be seen in the time
    # of the whole pass.
    alike = [list(same) for _, same in groupby(tries, key=id)]
    starts = sorted({start for same in alike for start in same[0].starts})
    made: list[_Rows] = []
    segments: list[Segment] = []
    origin = None
    for start, stop in pairwise([*starts, len(ends)]):
        rows = _rows(alike, start, (ends[start - 1] if start else 0, ends[stop - 1]), trunks)
        lower = rows.lower(made[-1]) if made else None
        if lower is not None:
            origin = lower if origin is None else origin[lower]
        segments.append(
            Segment(
                start=start,
                groups=rows.groups,
                tiles=_tiles(
                    rows, [level.tiles for level in rows.levels], None, range(start, stop), trunks, index
                ),
                lower=None if lower is None else index(lower),
                origin=None if origin is None else index(origin),
            )
        )
        made.append(rows)
    first, last = made[0], made[-1]
    depths = first.per_row([level.depths for level in first.levels])
    prompts = np.repeat(np.arange(len(tries)), [len(trie.levels[0]) for trie in tries])[first.nodes]
    longest = max(map(len, tokens))
    ids = np.array([[*some, *[0] * (longest - len(some))] for some in tokens])

    reads = _runs(alike, [len(same[0].read_nodes) for same in alike])
    read_servings = _repeated(reads, [run.trie.read_servings for run in reads])
    read_order, readout = _grouped(read_servings, readouts, 0, len(readouts.servings[0]))
    read_nodes = [run.numbers(run.trie.read_nodes).ravel() for run in last.runs]
    read_rows = last.rows[np.concatenate(read_nodes)][read_order]
    read_prompts = np.repeat(np.arange(len(tries)), [len(trie.read_nodes) for trie in tries])
    read_steps = _repeated(reads, [run.trie.read_steps for run in reads])
    places = _inverse(read_order)
    prompt = np.cumsum([0, *(run.count for run in reads)])

    seen = np.unique(read_rows)
    seen_tiles = [
        tuple(tile.only(run.trie.read_nodes) for tile in level.tiles)
        for run, level in zip(last.runs, last.levels, strict=True)
    ]
    return Batch(
        input_ids=index(ids[prompts, depths][None]),
        position_ids=index(depths[None]),
        segments=tuple(segments),
        last=LastRows(
            rows=index(seen),
            groups=last.groups.of(seen),
            tiles=_tiles(
                last,
                [[tile for tile in tiles if len(tile.queries)] for tiles in seen_tiles],
                seen,
                range(len(ends) - 1, len(ends)),
                trunks,
                index,
            ),
        ),
        readout=readout,
        read_rows=index(read_rows),
        read_prompts=torch.from_numpy(read_prompts[read_order]),
        read_steps=torch.from_numpy(read_steps[read_order]),
        reads=tuple(
            (torch.arange(start, stop), torch.from_numpy(places[run.numbers(run.trie.reads)]))
            for run, (start, stop) in zip(reads, pairwise(prompt.tolist()), strict=True)
        ),
    )


def _tiles(
    rows: _Rows,
    of_runs: Sequence[Sequence[Tile]],
    seen: Int[np.ndarray, " seen"] | None,
    layers: range,
    trunks: Registry,
    index: Callable[[Shaped[np.ndarray, "..."]], Shaped[Tensor, "..."]],
) -> Tiles:
    """The grid of a segment's rows, or of those in `seen`, for some of its layers. of_runs: for each run, the tiles of its trie."""
    distinct = [tile for tiles in of_runs for tile in tiles]
    n_queries, n_keys = (
        max(map(len, sides)) for sides in zip(*((t.queries, t.keys) for t in distinct), strict=True)
    )
    allowed = np.zeros((len(distinct), n_queries, n_keys), bool)
    for number, tile in enumerate(distinct):
        allowed[number, : len(tile.queries), : len(tile.keys)] = tile.allowed
    queries, keys, kinds, query_depths, key_depths, number = [], [], [], [], [], 0
    for run, level, tiles in zip(rows.runs, rows.levels, of_runs, strict=True):
        asking = _padded([tile.queries for tile in tiles], n_queries)
        asked = _padded([tile.keys for tile in tiles], n_keys)
        query_depths.append(level.depths[asking])
        key_depths.append(level.depths[asked])
        queries.append(run.numbers(asking).reshape(-1, n_queries))
        keys.append(run.numbers(asked).reshape(-1, n_keys))
        kinds.append(np.tile(np.arange(number, number + len(tiles)), run.count))
        number += len(tiles)
    kind = np.concatenate(kinds)
    query_nodes, key_nodes = np.concatenate(queries), np.concatenate(keys)
    # Each row's place: padding, which repeats the first query of a tile, comes before it here and is overwritten.
    place = np.empty_like(rows.nodes)
    places = np.arange(query_nodes.size)[::-1]
    place[query_nodes.ravel()[::-1]] = places
    to_rows = place[rows.nodes if seen is None else rows.nodes[seen]]
    query_rows, key_rows = rows.rows[query_nodes].ravel(), rows.rows[key_nodes].ravel()
    square = np.array_equal(query_nodes, key_nodes)
    aligned = square and np.array_equal(query_rows, np.arange(len(rows.nodes)))
    return Tiles(
        queries=None if aligned else index(query_rows),
        keys=None if square else index(key_rows),
        to_rows=None if aligned else index(to_rows),
        shape=(len(query_nodes), n_queries, n_keys),
        kinds=index(kind),
        allowed=index(allowed),
        query_depths=index(np.concatenate(query_depths)),
        key_depths=index(np.concatenate(key_depths)),
        cuts={
            layer: index(cut)
            for layer in (layers if trunks.cut else ())
            if (cut := _cut(rows, of_runs, trunks, layer, allowed.shape)) is not None
        },
    )


def _cut(
    rows: _Rows,
    of_runs: Sequence[Sequence[Tile]],
    trunks: Registry,
    layer: int,
    shape: tuple[int, ...],
) -> Bool[np.ndarray, "kind query key"] | None:
    """What the queries of each distinct tile do not see in a layer; None where they see everything."""
    hidden = [unseen[layer] if unseen else NOTHING for unseen in trunks.unseen]
    if not any(hidden):
        return None
    cut, number = np.zeros(shape, bool), 0
    for level, tiles in zip(rows.levels, of_runs, strict=True):
        for tile in tiles:
            depths = level.depths[tile.keys]
            for place, serving in enumerate(level.servings[tile.queries].tolist()):
                if hidden[serving]:
                    cut[number, place, : len(depths)] = np.isin(depths, sorted(hidden[serving]))
            number += 1
    return cut if cut.any() else None


def _padded(parts: Sequence[Int[np.ndarray, " _"]], size: int) -> Int[np.ndarray, "part size"]:
    """One line a part, filled up with its first number."""
    padded = np.empty((len(parts), size), np.int64)
    for line, part in zip(padded, parts, strict=True):
        line[: len(part)], line[len(part) :] = part, part[0]
    return padded
