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

from .routes import Owner
from .routing import NOBODY, Pattern, Routing, Rows, take

Columns = slice | Tensor


@dataclass(frozen=True)
class LowRank:
    """A LoRA update of a linear module: it adds B(A x), the scaling being part of B."""

    a: Float[Tensor, "rank inputs"]
    b: Float[Tensor, "outputs rank"]


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
        columns = dict.fromkeys(self.routing.column(part.slot) for part in self.wholes)
        # Rows whose components have one owner each, and the same, are served whole; the others in parts.
        pattern = tuple(
            owners[0] if len(set(owners)) == 1 and isinstance(owners[0], int) else NOBODY
            for owners in zip(*columns, strict=True)
        )
        served = tuple(owner if owner == NOBODY else self.served_by[owner] for owner in pattern)
        if len(set(served)) == 1 and served[0] != NOBODY:
            output = self.leaves[served[0]](states)
        else:
            output = self._routed(states[0], served)[None]
        self._add_updates(self.routing, states[0], output[0], pattern, slice(None), slice(None))
        if NOBODY in pattern:
            rest, rows = self.routing.only(pattern)
            product = self._in_parts(rest, take(states[0], 0, rows))
            if isinstance(rows, slice):
                output[0, rows] = product
            else:
                output[0].index_copy_(0, rows, product)
        return output

    def _routed(self, states: Float[Tensor, "row inputs"], served: Pattern) -> Float[Tensor, "row outputs"]:
        """Each owner's rows by its product; those of nobody are left open."""
        output = states.new_empty(states.shape[0], transposed_weight(self.leaves[0])[0].shape[1])
        for owner, rows in self.routing.pieces(served):
            if owner == NOBODY:
                continue
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

    def _in_parts(
        self, routing: Routing, states: Float[Tensor, "row inputs"]
    ) -> Float[Tensor, "row outputs"]:
        """Rows in parts, which add up in a zero output: columns of different owners, heads of o, its bias."""
        output = states.new_zeros(states.shape[0], transposed_weight(self.leaves[0])[0].shape[1])
        by_head = any(isinstance(owner, tuple) for part in self.wholes for owner in routing.column(part.slot))
        merged: dict[tuple[Pattern, str], list[tuple[int, int]]] = {}
        for part in self.heads if by_head else self.wholes:
            owners = tuple(
                owner[part.head or 0] if isinstance(owner, tuple) else owner
                for owner in routing.column(part.slot)
            )
            merged.setdefault((owners, part.kind), []).extend(part.spans)
        for (pattern, kind), spans in merged.items():
            columns = _columns(spans, states.device)
            inputs, outputs = (columns, slice(None)) if kind == "inputs" else (slice(None), columns)
            for owner, rows in routing.pieces(tuple(self.served_by[owner] for owner in pattern)):
                weight, bias = transposed_weight(self.leaves[owner])
                if kind == "bias":
                    _add(output, rows, slice(None), bias)
                    continue
                product = take(states, 0, rows)[:, inputs] @ weight[inputs][:, outputs]
                if kind == "outputs" and bias is not None:
                    product += bias[outputs]
                _add(output, rows, outputs, product)
            if kind != "bias":
                self._add_updates(routing, states, output, pattern, inputs, outputs)
        return output

    def _add_updates(
        self,
        routing: Routing,
        states: Float[Tensor, "row inputs"],
        output: Tensor,
        pattern: Pattern,
        inputs: Columns,
        outputs: Columns,
    ) -> None:
        if not any(self.updates[owner] for owner in {*pattern} - {NOBODY}):
            return
        for owner, rows in routing.pieces(pattern):
            update = None if owner == NOBODY else self.updates[owner]
            if update is not None:
                inner = take(states, 0, rows)[:, inputs].to(update.a.dtype) @ update.a[:, inputs].T
                # Added before it is rounded to the output's type, as peft does.
                _add(output, rows, outputs, inner @ update.b[outputs].T)


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
