"""Routing: who serves the rows of the pass in progress, as few runs of rows as possible."""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise

import torch
from torch import Tensor

from .packing import Groups
from .routes import Owner

MAX_RUNS = 4  # of one owner in one call; beyond it, gathering rows costs less than more, smaller products
NOBODY = -1  # in a pattern: rows that are left out
Pattern = tuple[int, ...]  # the owner of each group of rows
Rows = slice | Tensor


class Routing:
    """Who serves the rows of the pass in progress. Shared by the leaves; empty between passes."""

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        self.groups = Groups((), ())
        self._pieces: dict[Pattern, list[tuple[int, Rows]]] = {}
        self._others: dict[tuple[bool, ...], tuple[Routing, Rows]] = {}

    def start(self, groups: Groups, device: torch.device) -> None:
        self.clear()
        self.groups, self._device = groups, device
        ends = torch.tensor([0, *groups.sizes]).cumsum(0).tolist()
        self._bounds = list(pairwise(ends))

    @contextmanager
    def serving(self, groups: Groups, device: torch.device) -> Iterator[None]:
        """While something runs on rows of these groups; what is held for them is dropped also when it fails."""
        self.start(groups, device)
        try:
            yield
        finally:
            self.clear()

    def column(self, slot: int) -> tuple[Owner, ...]:
        """The owner of one (component, layer) in each group."""
        return tuple(serving[slot] for serving in self.groups.servings)

    def pieces(self, pattern: Pattern) -> list[tuple[int, Rows]]:
        """The rows of each owner, as few slices as possible; computed once per distinct pattern."""
        if pattern not in self._pieces:
            self._pieces[pattern] = self._cut(pattern)
        return self._pieces[pattern]

    def only(self, pattern: Pattern) -> tuple["Routing", Rows]:
        """(the routing of those rows alone that are nobody's in a pattern, these rows); computed once per distinct choice."""
        chosen = tuple(owner == NOBODY for owner in pattern)
        if chosen not in self._others:
            there = [number for number, taken in enumerate(chosen) if taken]
            groups = Groups(
                tuple(self.groups.servings[number] for number in there),
                tuple(self.groups.sizes[number] for number in there),
            )
            spans = [self._bounds[number] for number in there]
            rows: Rows = slice(spans[0][0], spans[-1][1])
            if there != list(range(there[0], there[-1] + 1)):
                rows = torch.cat([torch.arange(start, stop) for start, stop in spans]).to(self._device)
            other = Routing()
            other.start(groups, self._device)
            self._others[chosen] = other, rows
        return self._others[chosen]

    def _cut(self, pattern: Pattern) -> list[tuple[int, Rows]]:
        runs: dict[int, list[list[int]]] = {}
        previous = None
        for owner, (start, stop) in zip(pattern, self._bounds, strict=True):
            if owner == previous:
                runs[owner][-1][1] = stop
            else:
                runs.setdefault(owner, []).append([start, stop])
            previous = owner
        pieces: list[tuple[int, Rows]] = []
        for owner, spans in runs.items():
            longest = max(spans, key=lambda span: span[1] - span[0])
            direct = spans if len(spans) <= MAX_RUNS else [longest]
            pieces.extend((owner, slice(start, stop)) for start, stop in direct)
            if len(spans) > MAX_RUNS:
                gathered = [torch.arange(start, stop) for start, stop in spans if [start, stop] != longest]
                pieces.append((owner, torch.cat(gathered).to(self._device)))
        return pieces


def take(states: Tensor, dim: int, rows: Rows) -> Tensor:
    """Rows of a tensor along a dimension; a view where they are a slice."""
    if isinstance(rows, slice):
        return states.narrow(dim, rows.start, rows.stop - rows.start)
    return states.index_select(dim, rows)
