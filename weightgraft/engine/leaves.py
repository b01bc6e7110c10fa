"""Routed leaves: weight-bearing modules that pick, for every row, whose weights to use.

A routed leaf holds references to one module per model and copies nothing. Rows lie in groups with one serving
each (packing.py), so what a model serves is a few runs of rows: each run is multiplied once, straight into its
place in the output. Where one model owns the whole call, it is exactly that module's plain call.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from .packing import Groups
from .routes import Owner

MAX_RUNS = 4  # of one owner in one call; beyond it, gathering rows costs less than more, smaller products
Pattern = tuple[int, ...]  # the owner of each group of rows
Rows = slice | Tensor
Columns = slice | Tensor


@dataclass(frozen=True)
class LowRank:
    """A LoRA update of a linear module: it adds B(A x), the scaling being part of B."""

    a: Float[Tensor, "rank inputs"]
    b: Float[Tensor, "outputs rank"]


class Routing:
    """Who serves the rows of the pass in progress. Shared by the leaves; empty between passes."""

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        self.groups = Groups((), ())
        self._pieces: dict[Pattern, list[tuple[int, Rows]]] = {}

    def start(self, groups: Groups, device: torch.device) -> None:
        self.clear()
        self.groups, self._device = groups, device
        ends = torch.tensor([0, *groups.sizes]).cumsum(0).tolist()
        self._bounds = list(pairwise(ends))

    def column(self, slot: int) -> tuple[Owner, ...]:
        """The owner of one (component, layer) in each group."""
        return tuple(serving[slot] for serving in self.groups.servings)

    def pieces(self, pattern: Pattern) -> list[tuple[int, Rows]]:
        """The rows of each owner, as few slices as possible; computed once per distinct pattern."""
        if pattern not in self._pieces:
            self._pieces[pattern] = self._cut(pattern)
        return self._pieces[pattern]

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


class _Routed(nn.Module):
    """What both kinds of routed leaf share.

    leaves: of each model, the recipient's first; None or a LowRank where a donor has no module of its own and
    the recipient's serves.
    """

    def __init__(self, leaves: Sequence[nn.Module | LowRank | None], routing: Routing):
        super().__init__()
        recipients = leaves[0]
        assert isinstance(recipients, nn.Module)
        # Tuples, so that the models' modules do not become submodules of this one.
        self.leaves = tuple(leaf if isinstance(leaf, nn.Module) else recipients for leaf in leaves)
        self.updates = tuple(leaf if isinstance(leaf, LowRank) else None for leaf in leaves)
        self.served_by = tuple(
            owner if isinstance(leaf, nn.Module) else 0 for owner, leaf in enumerate(leaves)
        )
        self.routing = routing


class RoutedLeaf(_Routed):
    """A module that treats each token alone: a norm or an embedding.

    slot: the place in a serving that decides. token_dim: the dimension of the input that counts tokens.
    head_width: of one head, where heads lie side by side in the last dimension (OLMo-2's norm of queries).
    """

    def __init__(
        self,
        leaves: Sequence[nn.Module | LowRank | None],
        routing: Routing,
        slot: int,
        token_dim: int,
        head_width: int,
    ):
        super().__init__(leaves, routing)
        self.slot, self.token_dim, self.head_width = slot, token_dim, head_width

    def forward(self, states: Tensor) -> Tensor:
        column = self.routing.column(self.slot)
        pattern = tuple(self.served_by[owner] for owner in column if isinstance(owner, int))
        if len(pattern) < len(column):
            return self._by_heads(states, column)
        if len(set(pattern)) == 1:
            return self.leaves[pattern[0]](states)
        output = None
        for owner, rows in self.routing.pieces(pattern):
            served = self.leaves[owner](take(states, self.token_dim, rows))
            if output is None:
                shape = list(served.shape)
                shape[self.token_dim] = states.shape[self.token_dim]
                output = served.new_empty(shape)
            if isinstance(rows, slice):
                take(output, self.token_dim, rows).copy_(served)
            else:
                output.index_copy_(self.token_dim, rows, served)
        assert output is not None
        return output

    def _by_heads(self, states: Tensor, column: tuple[Owner, ...]) -> Tensor:
        """A norm of queries or keys where heads have different owners: each owner's norm, then a choice."""
        n_parts = max(len(owner) for owner in column if isinstance(owner, tuple))
        by_group = [owner if isinstance(owner, tuple) else (owner,) * n_parts for owner in column]
        sizes = torch.tensor(self.routing.groups.sizes)
        owners = torch.tensor(by_group).repeat_interleave(sizes, dim=0).to(states.device)  # (row, part)
        if states.dim() == 3:  # heads lie side by side in the last dimension
            owners = owners.repeat_interleave(self.head_width, dim=1)[None]
        else:
            owners = (owners if self.token_dim == 1 else owners.T)[None, :, :, None]
        output = self.leaves[0](states)
        for owner in sorted({owner for group in by_group for owner in group} - {0}):
            output = torch.where(owners == owner, self.leaves[owner](states), output)
        return output


@dataclass(frozen=True)
class Part:
    """What one entry of a serving decides in a linear module.

    slot, head: the entry; head None is a whole component. spans: its columns. kind: `outputs` if these are
    output columns, `inputs` if input columns whose products add up (o, head by head), `bias`: o's bias.
    """

    slot: int
    head: int | None
    spans: tuple[tuple[int, int], ...]
    kind: Literal["outputs", "inputs", "bias"] = "outputs"


class RoutedLinear(_Routed):
    """A Linear or Conv1D, served whole, or cut into components (fused projections), or into heads.

    wholes: its columns component by component. heads: the same head by head, where its components have heads.
    """

    def __init__(
        self,
        leaves: Sequence[nn.Module | LowRank | None],
        routing: Routing,
        wholes: Sequence[Part],
        heads: Sequence[Part],
    ):
        super().__init__(leaves, routing)
        self.wholes, self.heads = tuple(wholes), tuple(heads)

    def forward(self, states: Float[Tensor, "1 row inputs"]) -> Float[Tensor, "1 row outputs"]:
        columns = {self.routing.column(part.slot) for part in self.wholes}
        if any(isinstance(owner, tuple) for column in columns for owner in column):
            return self._in_parts(states[0], self.heads)[None]
        if len(columns) > 1:
            return self._in_parts(states[0], self.wholes)[None]
        pattern = self._pattern(self.wholes[0])
        served = tuple(self.served_by[owner] for owner in pattern)
        output = (
            self.leaves[served[0]](states) if len(set(served)) == 1 else self._routed(states[0], served)[None]
        )
        self._add_updates(states[0], output[0], pattern, slice(None), slice(None))
        return output

    def _routed(self, states: Float[Tensor, "row inputs"], served: Pattern) -> Float[Tensor, "row outputs"]:
        output = states.new_empty(states.shape[0], transposed_weight(self.leaves[0])[0].shape[1])
        for owner, rows in self.routing.pieces(served):
            weight, bias = transposed_weight(self.leaves[owner])
            into = output[rows] if isinstance(rows, slice) else None
            rows_in = take(states, 0, rows)
            product = (
                torch.mm(rows_in, weight, out=into)
                if bias is None
                else torch.addmm(bias, rows_in, weight, out=into)
            )
            if not isinstance(rows, slice):
                output.index_copy_(0, rows, product)
        return output

    def _pattern(self, part: Part) -> Pattern:
        column = self.routing.column(part.slot)
        return tuple(owner[part.head or 0] if isinstance(owner, tuple) else owner for owner in column)

    def _in_parts(
        self, states: Float[Tensor, "row inputs"], parts: Sequence[Part]
    ) -> Float[Tensor, "row outputs"]:
        """The same in parts, which add up in a zero output: columns of different owners, heads of o, its bias."""
        output = states.new_zeros(states.shape[0], transposed_weight(self.leaves[0])[0].shape[1])
        merged: dict[tuple[Pattern, str], list[tuple[int, int]]] = {}
        for part in parts:
            merged.setdefault((self._pattern(part), part.kind), []).extend(part.spans)
        for (pattern, kind), spans in merged.items():
            columns = _columns(spans, states.device)
            inputs, outputs = (columns, slice(None)) if kind == "inputs" else (slice(None), columns)
            for owner, rows in self.routing.pieces(tuple(self.served_by[owner] for owner in pattern)):
                weight, bias = transposed_weight(self.leaves[owner])
                if kind == "bias":
                    _add(output, rows, slice(None), bias)
                    continue
                product = take(states, 0, rows)[:, inputs] @ weight[inputs][:, outputs]
                if kind == "outputs" and bias is not None:
                    product += bias[outputs]
                _add(output, rows, outputs, product)
            if kind != "bias":
                self._add_updates(states, output, pattern, inputs, outputs)
        return output

    def _add_updates(
        self,
        states: Float[Tensor, "row inputs"],
        output: Tensor,
        pattern: Pattern,
        inputs: Columns,
        outputs: Columns,
    ) -> None:
        if not any(self.updates[owner] for owner in set(pattern)):
            return
        for owner, rows in self.routing.pieces(pattern):
            update = self.updates[owner]
            if update is not None:
                inner = take(states, 0, rows)[:, inputs].to(update.a.dtype) @ update.a[:, inputs].T
                _add(output, rows, outputs, (inner @ update.b[outputs].T).to(output.dtype))


def transposed_weight(
    leaf: nn.Module,
) -> tuple[Float[Tensor, "inputs outputs"], Float[Tensor, " outputs"] | None]:
    """A linear module's weight as (inputs, outputs), a view, and its bias."""
    assert isinstance(leaf, (nn.Linear, Conv1D))
    return (leaf.weight.T if isinstance(leaf, nn.Linear) else leaf.weight), leaf.bias


def is_linear(leaf: nn.Module) -> bool:
    """Whether a module is a plain linear map whose weight can be multiplied in slices."""
    return isinstance(leaf, Conv1D) or type(leaf) is nn.Linear


def _add(output: Tensor, rows: Rows, columns: Columns, product: Tensor | None) -> None:
    if product is None:
        return
    if isinstance(rows, slice):
        output[rows][:, columns] += product
    elif isinstance(columns, slice):
        output[rows, columns] += product
    else:
        output[rows[:, None], columns] += product


def _columns(spans: Sequence[tuple[int, int]], device: torch.device) -> Columns:
    """Column spans as a slice where they are one run, as an index otherwise."""
    ordered = sorted(spans)
    if all(left[1] == right[0] for left, right in pairwise(ordered)):
        return slice(ordered[0][0], ordered[-1][1]) if ordered else slice(0, 0)
    return torch.cat([torch.arange(start, stop) for start, stop in ordered]).to(device)
