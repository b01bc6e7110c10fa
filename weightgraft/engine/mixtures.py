"""Donors made of the recipient and another donor: between and beyond the two, or with the largest changes only.

No model is copied: what serves a leaf is computed from the weights of both when it is asked for, and dropped after use.
"""

import copy
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import torch
from jaxtyping import Int
from torch import Tensor, nn

from .leaves import LowRank
from .words import shown, whole_numbers

HALF = 16  # bits that one pass over the changes sorts by; a float32 without its sign has two such halves


@dataclass(frozen=True)
class Interpolated:
    """The donor recipient + strength * (of - recipient): strength 0 is the recipient, 1 is `of`, to the bit.

    of: as any donor. Of an adapter the update is scaled, which stays low-rank.
    """

    of: Any
    strength: float


@dataclass(frozen=True)
class Sparse:
    """The recipient with the `entries` largest changes of `of - recipient` by magnitude, the rest its own weights.

    of: a whole model. Of changes that are equally large the first count, in the order of computation and in a weight that of
    memory. A tensor that embedding and unembedding share counts once.
    """

    of: Any
    entries: int


Leaf = nn.Module | LowRank | None


def whole_of(donor: Any) -> Any:
    """The donor that a mixture is made of; any other is that itself."""
    return donor.of if isinstance(donor, (Interpolated, Sparse)) else donor


def mix(found: dict[str, list[Leaf]], donors: Mapping[str, Any]) -> None:
    """Put in the place of what mixtures are made of what they are. found: for each module path the recipient's module and,
    in the order of the donors, theirs.

    Raises ValueError for a mixture that cannot be made, naming the donor.
    """
    for column, (name, donor) in enumerate(donors.items(), start=1):
        if isinstance(donor, Interpolated):
            _check_strength(name, donor.strength)
            for leaves in found.values():
                leaves[column] = interpolated(leaves[0], leaves[column], donor.strength)
        elif isinstance(donor, Sparse):
            pairs = []
            for leaves in found.values():
                own, theirs = leaves[0], leaves[column]
                if not isinstance(own, nn.Module) or not isinstance(theirs, nn.Module):
                    raise ValueError(
                        f"donor {name!r}: the largest changes of an adapter; give the merged model (merge_and_unload)"
                    )
                pairs.append((own, theirs))
            (entries,) = whole_numbers(f"donor {name!r}: entries", [donor.entries], "give how many to keep")
            for leaves, leaf in zip(found.values(), _sparse(name, pairs, entries), strict=True):
                leaves[column] = leaf


def _check_strength(name: str, strength: Any) -> None:
    try:
        finite = not isinstance(strength, str | bytes) and math.isfinite(strength)
    except (TypeError, ValueError, RuntimeError):  # what is no number, or several
        finite = False
    if not finite:
        raise ValueError(f"donor {name!r}: strength is {shown(strength)}; give a finite number")


def interpolated(own: Leaf, theirs: Leaf, strength: float) -> Leaf:
    """What serves in the place of a donor's leaf where its change is scaled."""
    if isinstance(theirs, LowRank):
        return replace(theirs, b=theirs.b * strength)
    if theirs is None:
        return None
    assert isinstance(own, nn.Module)

    def weight(ours: Tensor, other: Tensor) -> Tensor:
        return torch.lerp(ours, other, strength)  # to the bit at 0 and at 1

    return _made(own, {name: (weight, ours, other) for name, ours, other in _weights(own, theirs)})


def _sparse(name: str, pairs: Sequence[tuple[nn.Module, nn.Module]], entries: int) -> list[nn.Module]:
    tensors = {
        (ours.data_ptr(), other.data_ptr()): (ours, other)
        for own, theirs in pairs
        for _, ours, other in _weights(own, theirs)
    }
    total = sum(ours.numel() for ours, _ in tensors.values())
    if not 0 <= entries <= total:
        raise ValueError(f"donor {name!r}: {entries} entries; the models have 0 to {total}")
    least, left = least_kept([change for change in tensors.values()], entries)
    ties: dict[
        tuple[int, int], int
    ] = {}  # of each tensor, how many of the changes that are as large as the least
    for key, (ours, other) in tensors.items():
        ties[key] = min(left, int((changes(ours, other) == least).sum()))
        left -= ties[key]

    def kept(ours: Tensor, other: Tensor) -> Tensor:
        size, first = changes(ours, other), ties[ours.data_ptr(), other.data_ptr()]
        chosen = size > least
        if first:
            equal = size == least
            chosen |= equal & (equal.flatten().cumsum(0).view_as(equal) <= first)
        return torch.where(chosen, other, ours)

    return [
        _made(own, {name: (kept, ours, other) for name, ours, other in _weights(own, theirs)})
        for own, theirs in pairs
    ]


def changes(ours: Tensor, other: Tensor) -> Int[Tensor, "..."]:
    """How large each change is: the bits of its float32 without its sign, which are in the order of size."""
    return (other.float() - ours.float()).abs().view(torch.int32)


def least_kept(tensors: Sequence[tuple[Tensor, Tensor]], entries: int) -> tuple[int, int]:
    """(the size of the least of the `entries` largest changes, how many of that size are among them)."""
    if entries == 0:
        return 2**31 - 1, 0
    above, wanted = 0, entries  # the upper half of the size; how many of those that have it
    for low in (False, True):
        counts = torch.zeros(2**HALF, dtype=torch.int64)
        for ours, other in tensors:
            size = changes(ours, other).flatten()
            half = size[size >> HALF == above] & (2**HALF - 1) if low else size >> HALF
            counts += torch.bincount(half, minlength=2**HALF).cpu()
        so_far = counts.flip(0).cumsum(0)
        place = int(torch.searchsorted(so_far, wanted))
        found = 2**HALF - 1 - place
        wanted -= int(so_far[place - 1]) if place else 0
        above = (above << HALF) + found if low else found
    return above, wanted


def _weights(own: nn.Module, theirs: nn.Module) -> Iterator[tuple[str, Tensor, Tensor]]:
    others = dict(theirs.named_parameters())
    for name, ours in own.named_parameters():
        yield name, ours.detach(), others[name].detach()


def _made(
    own: nn.Module, weights: Mapping[str, tuple[Callable[[Tensor, Tensor], Tensor], Tensor, Tensor]]
) -> nn.Module:
    """A module as `own` whose parameters are computed each time that they are asked for."""
    leaf = copy.copy(own)
    leaf._parameters = {name: None for name in own._parameters if name not in weights}

    def asked_for(make: Callable[[Tensor, Tensor], Tensor], ours: Tensor, other: Tensor) -> property:
        return property(lambda _: make(ours, other))

    members = {name: asked_for(*made) for name, made in weights.items()}
    leaf.__class__ = cast(type[nn.Module], type(type(own).__name__, (type(own),), members))
    return leaf
